// SPDX-License-Identifier: Apache-2.0 OR MIT
//! QEMU's control channel (QMP): one command, one answer, and the events that come between. Every line of it is kept in
//! the machine's `qmp.jsonl`. It knows no disk and no network; those say what to command.

use crate::disk::fault::Monitor;
use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long QEMU may take to answer a command, wall time: its main loop never waits for the guest.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
/// What is said of a QEMU that is no more.
const ENDED: &str = "QEMU ended; its last words are in qemu.log";
/// Longest line that is taken from QEMU, bytes.
const LINE_BYTES_MAX: usize = 4 << 20;

/// A connection to one QEMU.
#[derive(Debug)]
pub struct Qmp {
    lines: BufReader<UnixStream>,
    partial: Vec<u8>,
    events: Vec<Value>,
    log: File,
}

impl Qmp {
    /// Greets QEMU on a fresh connection; every line from now on is written to `log`.
    ///
    /// # Errors
    /// When the other side is no QEMU or does not answer.
    pub fn greet(stream: UnixStream, log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log).context("open the log of QMP")?;
        let mut qmp = Self { lines: BufReader::new(stream), partial: Vec::new(), events: Vec::new(), log };
        let greeting = qmp.line(Instant::now() + ANSWER_DEADLINE)?.context("QEMU did not greet")?;
        if greeting.get("QMP").is_none() {
            bail!("this is no QMP greeting: {greeting}");
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// One command and its answer.
    ///
    /// # Errors
    /// QEMU's own words, or that it ended.
    #[expect(clippy::needless_pass_by_value, reason = "arguments are written in place with json!")]
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let line = json!({ "execute": command, "arguments": arguments }).to_string();
        writeln!(self.log, "{line}").context("write the log of QMP")?;
        self.lines
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())
            .with_context(|| format!("QEMU ended before {command}"))?;
        let deadline = Instant::now() + ANSWER_DEADLINE;
        loop {
            let answer = self.line(deadline)?.with_context(|| format!("{command} was not answered"))?;
            if answer.get("event").is_some() {
                self.events.push(answer);
            } else if let Some(error) = answer.get("error") {
                return Err(anyhow!("QEMU refused {command} {arguments}: {error}"));
            } else if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
        }
    }

    /// A line for QEMU's human monitor, for what has no command.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub fn human(&mut self, line: &str) -> Result<String> {
        let answer = self.execute("human-monitor-command", json!({ "command-line": line }))?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }

    /// Waits for an event for which `matches` holds; those before it are forgotten.
    ///
    /// # Errors
    /// When it does not come in `within`, wall time, or QEMU ends.
    pub fn wait_event(&mut self, name: &str, within: Duration, matches: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + within;
        let is = |event: &Value| event["event"] == name && matches(event);
        loop {
            if let Some(at) = self.events.iter().position(is) {
                return self.events.drain(..=at).next_back().context("an event was found");
            }
            let event = self.line(deadline)?.with_context(|| format!("{name} did not come in {within:?}"))?;
            if event.get("event").is_some() {
                self.events.push(event);
            }
        }
    }

    /// Whether an event of this name came and was not taken yet.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn saw(&mut self, name: &str) -> Result<bool> {
        while let Some(event) = self.line(Instant::now() + Duration::from_millis(1))? {
            self.events.push(event);
        }
        Ok(self.events.iter().any(|event| event["event"] == name))
    }

    /// The next line, or none at the deadline.
    fn line(&mut self, deadline: Instant) -> Result<Option<Value>> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.lines.get_ref().set_read_timeout(Some(left)).context("set a deadline")?;
            match self.lines.read_until(b'\n', &mut self.partial) {
                Ok(0) => bail!(ENDED),
                // It ended before it read the command: the kernel throws the unread bytes away and says so.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => bail!(ENDED),
                Ok(_) if self.partial.ends_with(b"\n") => {
                    let line = std::mem::take(&mut self.partial);
                    self.log.write_all(&line).context("write the log of QMP")?;
                    return Ok(Some(serde_json::from_slice(&line).context("QEMU sent no JSON")?));
                }
                Ok(_) if self.partial.len() > LINE_BYTES_MAX => bail!("QEMU sent a line above {LINE_BYTES_MAX} bytes"),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("read from QEMU"),
            }
        }
    }
}

impl Monitor for Qmp {
    fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        Self::execute(self, command, arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A QEMU of a few lines: greets, answers each command with the next script entry, and stays until the test is over.
    fn scripted(script: &'static [&'static str]) -> (Qmp, tempfile::TempDir) {
        let (near, far) = UnixStream::pair().expect("a pair of sockets");
        std::thread::spawn(move || {
            let mut lines = BufReader::new(far);
            lines.get_mut().write_all(b"{\"QMP\":{}}\n").expect("greet");
            for answer in ["{\"return\":{}}"].iter().chain(script) {
                let mut command = String::new();
                if lines.read_line(&mut command).expect("a command") == 0 {
                    return;
                }
                lines.get_mut().write_all(format!("{answer}\n").as_bytes()).expect("answer");
            }
            let _over = lines.read_line(&mut String::new()).is_ok();
        });
        greeted(near)
    }

    fn greeted(near: UnixStream) -> (Qmp, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a directory");
        let qmp = Qmp::greet(near, &dir.path().join("qmp.jsonl")).expect("a greeting");
        (qmp, dir)
    }

    /// A QEMU that answered its first command before it was asked, so that a test can end it between any two bytes.
    fn hurried() -> (Qmp, UnixStream, tempfile::TempDir) {
        let (near, mut far) = UnixStream::pair().expect("a pair of sockets");
        far.write_all(b"{\"QMP\":{}}\n{\"return\":{}}\n").expect("greet");
        let (qmp, dir) = greeted(near);
        (qmp, far, dir)
    }

    #[test]
    fn an_event_before_the_answer_is_kept() {
        let (mut qmp, dir) = scripted(&["{\"event\":\"RESET\",\"data\":{\"guest\":true}}\n{\"return\":7}"]);
        assert_eq!(qmp.execute("query", json!({})).expect("an answer"), 7);
        assert!(qmp.saw("RESET").expect("a live connection"));
        let event = qmp.wait_event("RESET", Duration::from_secs(1), |event| event["data"]["guest"] == true);
        assert_eq!(event.expect("the event")["event"], "RESET");
        assert!(std::fs::read_to_string(dir.path().join("qmp.jsonl")).expect("a log").contains("\"RESET\""));
    }

    #[test]
    fn a_refusal_tells_the_command_and_the_reason() {
        let (mut qmp, _dir) = scripted(&["{\"error\":{\"class\":\"GenericError\",\"desc\":\"no such disk\"}}"]);
        let error = qmp.execute("device_del", json!({ "id": "hdx" })).expect_err("a refusal").to_string();
        assert!(error.contains("device_del") && error.contains("hdx") && error.contains("no such disk"), "{error}");
    }

    #[test]
    fn a_qemu_that_ends_is_told() {
        let (mut qmp, far, _dir) = hurried();
        drop(far);
        let error = qmp.execute("stop", json!({})).expect_err("it ended before the command");
        assert!(format!("{error:#}").contains("ended"), "{error:#}");

        let (mut qmp, far, _dir) = hurried();
        let mut lines = BufReader::new(far);
        lines.read_line(&mut String::new()).expect("the first command");
        drop(lines);
        let error = qmp.line(Instant::now() + ANSWER_DEADLINE).expect_err("it ended with every command read");
        assert!(format!("{error:#}").contains("ended"), "{error:#}");

        // Unread bytes when it ends: the next read says "connection reset", not "end of file".
        let (mut qmp, far, _dir) = hurried();
        drop(far);
        let error = qmp.line(Instant::now() + ANSWER_DEADLINE).expect_err("it ended with a command unread");
        assert!(format!("{error:#}").contains("ended"), "{error:#}");
    }
}

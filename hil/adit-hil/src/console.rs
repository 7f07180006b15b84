// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine's serial console: every line with the time it came, kept in `serial.log`, and expectations on it. An
//! expectation that fails shows the last lines, so that nobody has to ask what the machine was doing.

use crate::clock::MachineClock;
use anyhow::{Context as _, Result, bail};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lines of a console that are kept in memory for expectations; the file has them all.
pub const LINES_MAX: usize = 20_000;
/// Lines that a failed expectation shows.
const LINES_SHOWN: usize = 40;
/// Longest line, bytes; a longer one is broken, so that noise cannot fill the memory.
const LINE_BYTES_MAX: usize = 4096;
/// How often an expectation looks at the clock while nothing comes.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One console.
#[derive(Clone, Debug)]
pub struct Console {
    shared: Arc<(Mutex<State>, Condvar)>,
    writer: Arc<UnixStream>,
    shown: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<String>,
    /// How many lines were dropped from the front.
    dropped: usize,
    partial: Vec<u8>,
    /// How many lines an expectation has passed by.
    passed: usize,
    ended: bool,
}

impl Console {
    /// Reads `stream` in a thread of its own until it ends; lines go to `log` too.
    ///
    /// # Errors
    /// When the log cannot be opened or the system gives no thread.
    pub fn read(stream: UnixStream, log: &Path) -> Result<Self> {
        let mut log = File::options().create(true).append(true).open(log).context("open serial.log")?;
        let mut reader = stream.try_clone().context("share the console")?;
        let console = Self { shared: Arc::default(), writer: Arc::new(stream), shown: Arc::default() };
        let shown = Arc::clone(&console.shown);
        let shared = Arc::clone(&console.shared);
        let started = Instant::now();
        let pump = move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = reader.read(&mut buffer) {
                let mut state = lock(&shared.0);
                state.ended = count == 0;
                if shown.load(Ordering::Relaxed) {
                    let mut out = std::io::stdout().lock();
                    let _shown =
                        out.write_all(buffer.get(..count).unwrap_or_default()).and_then(|()| out.flush()).is_ok();
                }
                for byte in buffer.iter().take(count) {
                    state.take(*byte, started, &mut log);
                }
                shared.1.notify_all();
                if count == 0 {
                    break;
                }
            }
            lock(&shared.0).ended = true;
            shared.1.notify_all();
        };
        std::thread::Builder::new().name("console".to_owned()).spawn(pump).context("start the console's thread")?;
        Ok(console)
    }

    /// Waits until a line holds `text` and answers the line; lines up to it are not looked at again. The deadline is in
    /// the machine's own time, so a busy host does not make it shorter.
    ///
    /// # Errors
    /// When it does not come, or the machine ends; the last lines are shown.
    pub fn expect(&self, text: &str, clock: &MachineClock, within: Duration) -> Result<String> {
        let deadline = clock.now() + within;
        let mut state = lock(&self.shared.0);
        loop {
            if let Some(line) = state.find(text) {
                return Ok(line);
            }
            if state.ended {
                bail!("the console ended before \"{text}\" came; its last lines:\n{}", state.tail());
            }
            if clock.now() >= deadline {
                let took = within.as_secs();
                bail!("\"{text}\" did not come in {took} s of the machine's time; its last lines:\n{}", state.tail());
            }
            state = self.shared.1.wait_timeout(state, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The first kept line that holds one of these texts.
    #[must_use]
    pub fn find_any(&self, texts: &[&str]) -> Option<String> {
        let state = lock(&self.shared.0);
        state.lines.iter().find(|line| texts.iter().any(|text| line.contains(text))).cloned()
    }

    /// How many kept lines hold a text.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        lock(&self.shared.0).lines.iter().filter(|line| line.contains(text)).count()
    }

    /// The last lines, for a person.
    #[must_use]
    pub fn tail(&self) -> String {
        lock(&self.shared.0).tail()
    }

    /// Gives the console to the person at the terminal, line by line, until the end of input (Ctrl-D).
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn hand_over(&self) -> Result<()> {
        self.shown.store(true, Ordering::Relaxed);
        for line in std::io::stdin().lines() {
            self.write(format!("{}\n", line.context("read the terminal")?).as_bytes())?;
        }
        self.shown.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Types on the console.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        (&*self.writer).write_all(bytes).context("type on the console")
    }
}

impl State {
    fn take(&mut self, byte: u8, started: Instant, log: &mut File) {
        if byte == b'\r' || byte == 0 {
            return;
        }
        if byte != b'\n' {
            self.partial.push(byte);
            if self.partial.len() < LINE_BYTES_MAX {
                return;
            }
        }
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.partial)).into_owned();
        // The log is for people; a full disk must not end the scenario that it describes.
        let _written = writeln!(log, "{:9.3} {line}", started.elapsed().as_secs_f64()).is_ok();
        self.lines.push_back(line);
        if self.lines.len() > LINES_MAX {
            self.lines.pop_front();
            self.dropped += 1;
        }
    }

    fn find(&mut self, text: &str) -> Option<String> {
        let skip = self.passed.saturating_sub(self.dropped);
        let at = self.lines.iter().skip(skip).position(|line| line.contains(text));
        match at {
            Some(at) => {
                self.passed = self.dropped + skip + at + 1;
                self.lines.get(skip + at).cloned()
            }
            // A prompt is no whole line yet.
            None => {
                let partial = String::from_utf8_lossy(&self.partial).into_owned();
                partial.contains(text).then_some(partial)
            }
        }
    }

    fn tail(&self) -> String {
        let skip = self.lines.len().saturating_sub(LINES_SHOWN);
        let mut text: Vec<String> = self.lines.iter().skip(skip).cloned().collect();
        if !self.partial.is_empty() {
            text.push(String::from_utf8_lossy(&self.partial).into_owned());
        }
        text.join("\n")
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console() -> (Console, UnixStream, tempfile::TempDir) {
        let (near, far) = UnixStream::pair().expect("a pair of sockets");
        let dir = tempfile::tempdir().expect("a directory");
        let console = Console::read(near, &dir.path().join("serial.log")).expect("a console");
        (console, far, dir)
    }

    #[test]
    fn lines_are_found_in_order_and_only_once() {
        let (console, mut far, _dir) = console();
        far.write_all(b"one up\r\ntwo up\r\n").expect("write");
        let (clock, within) = (MachineClock::wall(), Duration::from_secs(5));
        assert_eq!(console.expect("up", &clock, within).expect("the first"), "one up");
        assert_eq!(console.expect("up", &clock, within).expect("the second"), "two up");
        drop(far);
        let error = console.expect("up", &clock, within).expect_err("there is no third").to_string();
        assert!(error.contains("ended") && error.contains("two up"), "{error}");
    }

    #[test]
    fn a_line_without_an_end_is_broken_and_memory_stays_bounded() {
        let (console, mut far, _dir) = console();
        for _ in 0..LINES_MAX / 100 {
            far.write_all(&b"x\n".repeat(200)).expect("write");
        }
        far.write_all(&vec![b'y'; 3 * LINE_BYTES_MAX]).expect("write");
        far.write_all(b"\nend\n").expect("write");
        console.expect("end", &MachineClock::wall(), Duration::from_secs(20)).expect("the end");
        let state = lock(&console.shared.0);
        assert_eq!(state.lines.len(), LINES_MAX);
        assert!(state.lines.iter().all(|line| line.len() <= LINE_BYTES_MAX));
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs that the first process starts: tools that run to their end, and services that are started again. Orphans of
//! others are laid to rest here too.

use anyhow::{Context as _, Result, ensure};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Longest text of a tool that goes into an error, bytes.
const SAID_BYTES_MAX: usize = 400;

/// How often a tool that was fed is looked at.
const FED_EVERY: Duration = Duration::from_millis(10);

/// Process ids that somebody waits for.
static OURS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn ours() -> MutexGuard<'static, BTreeSet<i32>> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap_or_default()
}

/// Starts a program that [`finished`] is called for later. Nobody lays it to rest in between.
pub(crate) fn spawn(command: &mut Command) -> Result<Child> {
    let mut ours = ours();
    let child = command.spawn().with_context(|| format!("start {}", command.get_program().display()))?;
    ours.insert(pid(&child));
    Ok(child)
}

/// Its end was seen.
pub(crate) fn finished(child: &Child) {
    ours().remove(&pid(child));
}

/// The same by its number, where the child itself is gone.
pub(crate) fn forget(pid: u32) {
    ours().remove(&i32::try_from(pid).unwrap_or_default());
}

/// What a tool did.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit code; none when it was killed.
    pub(crate) code: Option<i32>,
    /// Its last words.
    pub(crate) said: String,
}

/// Runs a tool to its end.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<Ran> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = spawn(&mut command)?;
    let id = pid(&child);
    let output = child.wait_with_output();
    ours().remove(&id);
    let output = output?;
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(Ran { code: output.status.code(), said })
}

/// Runs a tool to its end, with these bytes on its standard input; one that takes too long is killed. What it says has to fit
/// a pipe.
pub(crate) fn feed(
    program: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
    input: &[u8],
    patience: Duration,
) -> Result<Ran> {
    let mut command = Command::new(program);
    command.args(arguments).envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(&mut command)?;
    let id = pid(&child);
    let until = Instant::now() + patience;
    let fed = move || -> std::io::Result<Output> {
        if let Some(mut stdin) = child.stdin.take() {
            // A tool that ended before it read says why.
            let _unread = stdin.write_all(input);
        }
        while child.try_wait()?.is_none() {
            if Instant::now() > until {
                child.kill()?;
                break;
            }
            thread::sleep(FED_EVERY);
        }
        child.wait_with_output()
    };
    let output = fed();
    ours().remove(&id);
    let output = output?;
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(Ran { code: output.status.code(), said })
}

/// Runs a tool that has to succeed.
pub(crate) fn must(program: &str, arguments: &[&str]) -> Result<String> {
    let ran = run(program, arguments)?;
    ensure!(ran.code == Some(0), "{program} {}: {}", arguments.join(" "), last(&ran.said));
    Ok(ran.said)
}

/// The end of a tool's words, for an error.
pub(crate) fn last(said: &str) -> &str {
    let said = said.trim();
    let from = said.ceil_char_boundary(said.len().saturating_sub(SAID_BYTES_MAX));
    said.get(from..).unwrap_or_default()
}

/// What a program says goes into the log line by line, under its name.
pub(crate) fn log_output(name: &'static str, child: &mut Child) {
    let Some(stderr) = child.stderr.take() else { return };
    let relay = move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            log::info!(target: name, "{line}");
        }
    };
    drop(thread::Builder::new().name(format!("log {name}")).spawn(relay));
}

/// Lays to rest what nobody waits for: programs whose own parents have ended.
pub(crate) fn reap_orphans() {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    // The lock is held, so that a program just started is known to be ours.
    let ours = ours();
    while let Ok(WaitStatus::Exited(id, _) | WaitStatus::Signaled(id, _, _)) = waitid(Id::All, flags) {
        // One of ours stands first in the queue until its own thread has seen it; then comes the next.
        if ours.contains(&id.as_raw()) || waitpid(Pid::from_raw(id.as_raw()), Some(WaitPidFlag::WNOHANG)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_runs_to_its_end_and_a_failure_says_why() {
        assert_eq!(must("sh", &["-c", "echo made"]).unwrap(), "made\n");
        let error = must("sh", &["-c", "echo no room >&2; exit 3"]).unwrap_err();
        assert_eq!(error.to_string(), "sh -c echo no room >&2; exit 3: no room");
        assert_eq!(run("sh", &["-c", "exit 3"]).unwrap().code, Some(3));
        assert!(format!("{:#}", run("/nonexistent", &[]).unwrap_err()).starts_with("start /nonexistent"));
    }

    #[test]
    fn a_tool_is_fed_through_a_pipe_and_not_waited_for_without_end() {
        let long = Duration::from_secs(60);
        let ran = feed("sh", &["-c", "cat; printf $WORD"], &[("WORD", "end")], b"secret ", long).unwrap();
        assert_eq!((ran.code, ran.said.as_str()), (Some(0), "secret end"));
        assert_eq!(feed("sh", &["-c", "exit 2"], &[], b"unread", long).unwrap().code, Some(2));
        let ran = feed("sh", &["-c", "exec sleep 60"], &[], b"", Duration::ZERO).unwrap();
        assert_eq!(ran.code, None, "it was killed");
    }

    #[test]
    fn the_last_words_are_cut_at_a_character() {
        let long = "ü".repeat(1_000);
        assert_eq!(last(&long).len(), SAID_BYTES_MAX);
        assert_eq!(last(" short\n"), "short");
    }
}

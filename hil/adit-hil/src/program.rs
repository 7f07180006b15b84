// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A program of ours run to its end, on the host or inside a machine, and what it said. One type for both places, so that
//! a scenario reads the same wherever its source lives.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The exit code for a damaged store, of `adit` and `aditd`.
pub const DAMAGED: i32 = 7;
/// How long any program may take, wall time.
pub const RUN_DEADLINE: Duration = Duration::from_secs(300);
/// Characters of a program's words that an error shows.
const WORDS_SHOWN: usize = 2000;

/// A program that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its command line, for messages.
    pub line: String,
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said to people.
    pub stderr: String,
}

impl Ran {
    /// Insists on exit code 0.
    ///
    /// # Errors
    /// What it said.
    pub fn succeeded(self) -> Result<Self> {
        self.ended_with(0)
    }

    /// Insists on an exit code.
    ///
    /// # Errors
    /// What it said.
    pub fn ended_with(self, code: i32) -> Result<Self> {
        if self.code != code {
            let words = format!("{}\n{}", self.stdout.trim_end(), self.stderr.trim_end());
            let skip = words.chars().count().saturating_sub(WORDS_SHOWN);
            let words: String = words.chars().skip(skip).collect();
            bail!("{} ended with {}, expected {code}:\n{}", self.line, self.code, words.trim());
        }
        Ok(self)
    }

    /// The JSON object on its last line.
    ///
    /// # Errors
    /// When there is none.
    pub fn json(&self) -> Result<Value> {
        let text = self.stdout.trim();
        let last = || serde_json::from_str(text.lines().last().unwrap_or_default());
        serde_json::from_str(text).or_else(|_| last()).with_context(|| format!("{}: no JSON in {text:?}", self.line))
    }
}

/// A program that runs on the host. It is killed when the handle goes.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: Child,
    outputs: Vec<std::thread::JoinHandle<Vec<u8>>>,
}

impl Running {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start<S: AsRef<std::ffi::OsStr>>(program: &Path, arguments: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let line = format!("{command:?}");
        let mut child = command.spawn().with_context(|| format!("start {line}"))?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            bail!("{line} has no output");
        };
        Ok(Self { line, child, outputs: vec![collect(stdout), collect(stderr)] })
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("ask for a program's state")?.is_none())
    }

    /// Kills it without a warning.
    pub fn kill(&mut self) {
        // Gone already is as good.
        let _killed = self.child.kill().is_ok();
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// When it does not in [`RUN_DEADLINE`].
    pub fn finish(mut self) -> Result<Ran> {
        let deadline = Instant::now() + RUN_DEADLINE;
        let code = loop {
            if let Some(status) = self.child.try_wait().context("ask for a program's state")? {
                break status.code().unwrap_or(-1);
            }
            if Instant::now() > deadline {
                bail!("{} did not end within {RUN_DEADLINE:?}", self.line);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let line = std::mem::take(&mut self.line);
        let mut words = Vec::new();
        for output in std::mem::take(&mut self.outputs) {
            let bytes = output.join().map_err(|_| anyhow::anyhow!("{line}: its output could not be read"))?;
            words.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        let (stderr, stdout) = (words.pop().unwrap_or_default(), words.pop().unwrap_or_default());
        Ok(Ran { line, code, stdout, stderr })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        let _reaped = self.child.wait().is_ok();
    }
}

fn collect(mut output: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is still worth showing.
        let _whole = output.read_to_end(&mut bytes).is_ok();
        bytes
    })
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How failures reach a person: one line of what failed and why, one line of what to do, one exit code.
//!
//! Only the edge renders; engines give values. Exit codes are public and never change their meaning.

use std::error::Error;

/// Exit codes of `aditd`. The numbers up to 7 mean the same in `adit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Something failed that has no number of its own.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// This machine is not paired there.
    NotPaired = 3,
    /// The other machine can't be reached.
    Unreachable = 4,
    /// The other machine refused.
    Refused = 5,
    /// Stored bytes are damaged.
    Damaged = 7,
    /// The state directory or the store can't be used.
    State = 8,
}

/// The exit codes as a table for the help text.
pub const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 not paired, 4 unreachable, 5 refused,
7 damaged bytes in the store, 8 state directory or store cannot be used";

/// A failure as it is told to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What failed and why, one sentence.
    pub text: String,
    /// What to do.
    pub advice: Option<String>,
    /// How the program ends.
    pub exit: Exit,
}

impl Failure {
    /// A failure told by `error` and its causes.
    pub fn of(exit: Exit, error: &dyn Error) -> Self {
        Self { text: chain(error), advice: None, exit }
    }

    /// A failure told in words.
    pub fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { text: text.into(), advice: None, exit }
    }

    /// Adds what to do.
    #[must_use]
    pub fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "aditd: {}", self.text)?;
        match &self.advice {
            Some(advice) => write!(f, "\n  {advice}"),
            None => Ok(()),
        }
    }
}

/// An error and its causes, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

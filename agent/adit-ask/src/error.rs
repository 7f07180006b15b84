// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why a question got no answer, and what to do about it. One family: every module here does the same thing, asking.
//! It never holds what was asked for, only who was asked and what went wrong.

use crate::child::ChildError;
use adit_health::readings::silence::{Silence, Why};
use std::io;

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens, or the way there is shut.
    #[error("connect to {whom}")]
    Connect {
        /// The address or path.
        whom: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The conversation broke off.
    #[error("talk to {whom}")]
    Talk {
        /// The address or path.
        whom: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No answer in time.
    #[error("get an answer from {whom} within {limit_ms} ms")]
    Deadline {
        /// Who was asked.
        whom: String,
        /// The time it had, milliseconds.
        limit_ms: u64,
    },
    /// The answer is longer than one can be.
    #[error("take the answer of {whom}: more than {limit} {unit}")]
    TooLong {
        /// Who was asked.
        whom: String,
        /// The limit.
        limit: usize,
        /// What is counted: "bytes" or "lines".
        unit: &'static str,
    },
    /// The other side refused in its own words.
    #[error("ask {whom}: it said {words:?}")]
    Refused {
        /// Who was asked.
        whom: String,
        /// What it said, bounded.
        words: String,
    },
    /// The caller may not ask.
    #[error("ask {whom}: it does not know us or denies access ({words:?})")]
    Denied {
        /// Who was asked.
        whom: String,
        /// What it said, bounded.
        words: String,
    },
    /// Somebody else holds the lock; the next try may succeed.
    #[error("ask {whom}: another command holds its lock")]
    Busy {
        /// Who was asked.
        whom: String,
    },
    /// The answer is not of the known form.
    #[error("understand {whom}: {what}")]
    Malformed {
        /// Who was asked.
        whom: String,
        /// What was expected or missing.
        what: String,
    },
    /// The program could not be run or did not end well.
    #[error(transparent)]
    Child(#[from] ChildError),
}

impl AskError {
    /// One line for a person: what to do now.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "start the service, or correct its address in the configuration",
            Self::Talk { .. } => "look into the service's own log; it closed the connection",
            Self::Deadline { .. } => "the service hangs: look at its log and at what it waits for",
            Self::TooLong { .. } => "the answer is larger than any known one; ask for less, or report it",
            Self::Refused { .. } => "see the service's documentation for these words",
            Self::Denied { .. } => "give the agent a read-only key or user for this service",
            Self::Busy { .. } => "nothing: it is asked again later",
            Self::Malformed { .. } => "send the answer in with a report, so that it can be understood",
            Self::Child(error) => error.advice(),
        }
    }

    /// Whether asking again soon may help without anybody doing something.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Deadline { .. } | Self::Talk { .. })
    }

    /// What a rule needs to know of it.
    #[must_use]
    pub fn silence(&self) -> Silence {
        if let Self::Child(ChildError::Start { program, source }) = self {
            return not_started(program, source);
        }
        let why = match self {
            Self::Denied { .. } => Why::Denied,
            Self::Busy { .. } => Why::Busy,
            Self::Child(ChildError::Stuck { .. }) => Why::Stuck,
            Self::Connect { .. }
            | Self::Talk { .. }
            | Self::Deadline { .. }
            | Self::TooLong { .. }
            | Self::Refused { .. }
            | Self::Malformed { .. }
            | Self::Child(_) => Why::NotAnswering,
        };
        Silence { why, words: format!("failed to {self}") }
    }

    pub(crate) fn malformed(whom: &str, what: impl Into<String>) -> Self {
        Self::Malformed { whom: whom.to_owned(), what: crate::words::shortened(&what.into(), WORDS_BYTES_MAX) }
    }

    pub(crate) fn refused(whom: &str, words: &str) -> Self {
        Self::Refused { whom: whom.to_owned(), words: crate::words::shortened(words, WORDS_BYTES_MAX) }
    }

    pub(crate) fn denied(whom: &str, words: &str) -> Self {
        Self::Denied { whom: whom.to_owned(), words: crate::words::shortened(words, WORDS_BYTES_MAX) }
    }
}

/// A program that did not start: what is missing, or which right. Only the change of the user is answered by EPERM; a file that
/// may not be run is by EACCES (execve(2), setgroups(2)).
fn not_started(program: &str, source: &io::Error) -> Silence {
    let (why, words) = match source.raw_os_error() {
        Some(1) => (Why::Denied, format!("to run {program} as its user needs CAP_SETUID, CAP_SETGID")),
        Some(13) => (Why::Denied, format!("the agent's user may not run {program}")),
        Some(2) => (Why::NotAnswering, format!("there is no program {program}")),
        _ => (Why::NotAnswering, format!("failed to start {program}: {source}")),
    };
    Silence { why, words }
}

/// Foreign words that an error repeats, bytes.
pub const WORDS_BYTES_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_did_not_start_names_what_it_lacks() {
        let of = |number| {
            let source = io::Error::from_raw_os_error(number);
            AskError::from(ChildError::Start { program: "check_x".to_owned(), source }).silence()
        };
        let user = of(1);
        assert_eq!(
            (user.why, user.words.as_str()),
            (Why::Denied, "to run check_x as its user needs CAP_SETUID, CAP_SETGID")
        );
        assert_eq!((of(13).why, of(13).words.contains("may not run check_x")), (Why::Denied, true));
        assert_eq!((of(2).why, of(2).words.as_str()), (Why::NotAnswering, "there is no program check_x"));
    }
}

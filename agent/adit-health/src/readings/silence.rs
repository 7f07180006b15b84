// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why something that was asked did not answer, as far as a rule needs to know. The whole story is in the agent's log.

use serde::{Deserialize, Serialize};

/// No answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// What kind of silence.
    pub why: Why,
    /// What was tried, for a person; ≤ 64 bytes are shown.
    pub words: String,
}

/// Kinds of silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// It is not there, hangs, or speaks another language.
    NotAnswering,
    /// It does not let the agent ask.
    Denied,
    /// A command for it hangs in the kernel and cannot be ended.
    Stuck,
    /// Another command holds its lock: no fault, ask again.
    Busy,
}

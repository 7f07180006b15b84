// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit check`: a word that people try. It does nothing but name the two commands that they may mean.

use crate::exit::Exit;
use crate::failure::Failure;

/// Did you mean `adit verify` or `check_adit`?
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<std::ffi::OsString>,
}

impl Check {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        Err(Failure::new(
            Exit::Usage,
            "did you mean `adit verify` or `check_adit`?",
            "`adit verify` lets the box check what it stores; `check_adit` is the plugin for a monitoring system",
        ))
    }
}

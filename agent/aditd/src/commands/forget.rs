// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `aditd forget`: a thing that was taken out for good is not missed any more.

use super::{say, state, state_failure};
use crate::cli::Forget;
use crate::config::Config;
use crate::report::Failure;

pub(super) fn run(config: &Config, args: &Forget) -> Result<(), Failure> {
    state(config)?.forget(&args.id).map_err(|error| state_failure(&error.into()))?;
    say(format_args!("{} is forgotten with the agent's next look, within half a minute", args.id));
    Ok(())
}

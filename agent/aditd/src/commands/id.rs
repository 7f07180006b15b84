// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `aditd id`: this machine's key, as it stands in peer files and on recovery sheets.

use super::{say, state, state_failure};
use crate::config::Config;
use crate::report::Failure;

pub(super) fn run(config: &Config) -> Result<(), Failure> {
    let identity = state(config)?.identity().map_err(|error| state_failure(&error))?;
    say(identity.public_key());
    Ok(())
}

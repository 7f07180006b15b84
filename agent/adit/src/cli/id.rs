// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit id`: this machine's public key, for a peer file on a box. Makes the key when there is none.

use super::print;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::state::StateDir;

/// Print this machine's public key, 64 hex digits.
#[derive(Debug, clap::Args)]
pub(super) struct Id {}

impl Id {
    pub(super) fn run(self, state: &StateDir) -> Result<Exit, Failure> {
        let identity = match state.identity()? {
            Some(identity) => identity,
            None => {
                state.create()?;
                let _lock = state.lock()?;
                state.identity_or_new()?
            }
        };
        print(&format!("{}\n", identity.public_key()))?;
        Ok(Exit::Done)
    }
}

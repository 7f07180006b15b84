// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit request`: one line that the holder of the recovery key signs.

use super::print;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::source;
use crate::state::StateDir;

/// Write this source's certificate request to standard output.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The holder of the recovery key runs `adit certify --recovery-file F REQUEST…` on the file that \
this makes and sends back what it prints; `adit certificate install FILE` ends it."
)]
pub(super) struct Request {}

impl Request {
    pub(super) fn run(self, state: &StateDir) -> Result<Exit, Failure> {
        let name = state.source()?.name;
        let keys = source::keys(state)?;
        let request = keys.request(&name).and_then(|request| request.to_text(&keys));
        print(&format!("{}\n", request.map_err(|error| Failure::internal(error.to_string()))?))?;
        Ok(Exit::Done)
    }
}

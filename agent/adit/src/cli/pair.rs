// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit pair`: spends a one-time token. The token may come from a file or from standard input, so that it stands in no
//! process list.

use super::say;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::net::Net;
use crate::pairing::{Outcome, pair, parse_token};
use crate::state::{StateDir, names};
use crate::{prompt, source};
use adit_link::Target;
use adit_wire::pair::Role;
use std::path::PathBuf;

/// Pair with a box by a one-time token.
#[derive(Debug, clap::Args)]
pub(super) struct Pair {
    /// The token, or `-` to read it from standard input.
    #[arg(required_unless_present = "token_file")]
    token: Option<String>,
    /// Read the token from FILE.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// Reach the box at this address, NAME:PORT or [ADDRESS]:PORT, instead of those in the token; more than one may be given.
    #[arg(long, value_name = "ADDRESS", value_parser = Target::parse)]
    address: Vec<Target>,
    /// What this machine wants to be at the box.
    #[arg(long, default_value = "source", value_parser = ["source", "monitor", "admin"])]
    role: String,
    /// This machine's name at the box; for a source it is the source's name.
    #[arg(long)]
    name: Option<String>,
}

impl Pair {
    pub(super) fn run(self, state: &StateDir) -> Result<Exit, Failure> {
        let role = Role::from_word(&self.role).unwrap_or(Role::Source);
        let text = match (&self.token_file, self.token.as_deref()) {
            (Some(path), _) => prompt::read_text(Some(path))?,
            (None, Some("-") | None) => prompt::read_text(None)?,
            (None, Some(token)) => token.to_owned().into(),
        };
        let token = parse_token(&text)?;
        let addresses: Vec<String> = if self.address.is_empty() {
            token.addresses.iter().map(ToString::to_string).collect()
        } else {
            self.address.iter().map(ToString::to_string).collect()
        };
        let name = match (role, self.name) {
            (_, Some(name)) => name,
            (Role::Source, None) => state.source()?.name,
            (_, None) => source::host_name()?,
        };
        if role != Role::Source {
            if state.has(names::SOURCE) {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("{} belongs to a source", state.path().display()),
                    "give another --state directory for another role: one key holds one",
                ));
            }
            state.create()?;
        }
        let _lock = state.lock()?;
        let net = Net::start()?;
        match pair(state, &net, &token, addresses, role, &name)? {
            Outcome::Paired(pin) => say(&format!("paired with {} as {} {name}", pin.called(), role.word())),
            Outcome::Finished(pin) => {
                say(&format!("paired with {}: an earlier pairing had worked, only its answer was lost", pin.called()));
            }
            Outcome::Already(pin) => say(&format!("already paired with {}; the token was not used", pin.called())),
        }
        Ok(Exit::Done)
    }
}

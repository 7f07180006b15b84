// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `aditd peers`: who owns the state directory may list, rename and revoke. A running agent notices within seconds.

use super::{file_failure, say, state, tell};
use crate::cli::Peers;
use crate::config::Config;
use crate::files;
use crate::peers::{PeerName, PeerTable};
use crate::report::{Exit, Failure};

pub(super) fn run(config: &Config, command: &Peers) -> Result<(), Failure> {
    let state = state(config)?;
    let dir = state.peers();
    let (table, errors) = dir.load().map_err(file_failure)?;
    for error in errors {
        tell(format_args!("aditd: cannot {}", crate::report::chain(&error)));
    }
    match command {
        Peers::List { json } => {
            let heard = state.heard();
            for peer in table.iter() {
                let heard_s = heard.get(&peer.key).copied().unwrap_or(0);
                if *json {
                    say(serde_json::json!({
                        "name": peer.name.as_str(), "role": peer.role.word(), "key": peer.key.to_string(),
                        "source": peer.source.as_ref().map(|keys| keys.source.to_string()),
                        "addresses": peer.addresses, "paired_s": peer.paired_s, "heard_s": heard_s,
                    }));
                } else {
                    say(format_args!(
                        "{:<20} {:<8} {} heard_s={heard_s}",
                        peer.name.as_str(),
                        peer.role.word(),
                        peer.key
                    ));
                }
            }
            Ok(())
        }
        Peers::Rename { from, to } => {
            let from = known(&table, from)?;
            let to = PeerName::new(to).map_err(|error| Failure::new(Exit::Usage, format!("{to}: {error}")))?;
            if table.by_name(to.as_str()).is_some() {
                return Err(Failure::new(Exit::Usage, format!("a peer named {to} exists")));
            }
            files::apply(&dir.renaming(&from, &to)).map_err(file_failure)
        }
        Peers::Revoke { name } => {
            let name = known(&table, name)?;
            files::apply(&dir.removing(&name)).map_err(file_failure)?;
            tell(format_args!(
                "{name} is no peer any more. A running agent cuts its connections within seconds; its history stays."
            ));
            Ok(())
        }
    }
}

fn known(table: &PeerTable, name: &str) -> Result<PeerName, Failure> {
    table.by_name(name).map(|peer| peer.name.clone()).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("no peer is named {name}")).advise("list them with: aditd peers list")
    })
}

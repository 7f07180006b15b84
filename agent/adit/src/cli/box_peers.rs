// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit box peers list|rename|revoke`: needs a state directory that was paired with `--role admin`.

use super::box_machine::MachineVerb;
use super::box_store::StoreVerb;
use super::{print, print_json, say};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::net::{self, Net, Way};
use crate::state::StateDir;
use crate::text::{self, Lines as _};
use adit_link::{Door, Link};
use adit_wire::admin::{Done, Invite, Invited, Peers, PeersListed, Rename, Revoke, TOKEN_LIFETIME_S_MAX};
use adit_wire::pair::Role;
use serde_json::json;

/// Administer a box.
#[derive(Debug, clap::Args)]
pub(super) struct BoxCommand {
    #[command(subcommand)]
    command: Noun,
}

#[derive(Debug, clap::Subcommand)]
enum Noun {
    /// The keys that the box has pinned.
    #[command(subcommand)]
    Peers(Verb),
    /// Make a one-time token with which another machine pairs with the box.
    Token {
        /// What the machine becomes; an admin's token is made at the box itself.
        #[arg(long, value_parser = ["source", "monitor", "replica"], default_value = "source")]
        role: String,
        /// The name under which it is registered.
        #[arg(long)]
        name: String,
        /// It is the known source of this name, with another key.
        #[arg(long)]
        rejoin: bool,
        /// How long the token can be used: 90s, 15m, 2h or 7d; at most 14d.
        #[arg(long, value_name = "TIME", default_value = "15m", value_parser = lifetime_s)]
        lifetime: u32,
    },
    #[command(flatten)]
    Store(StoreVerb),
    #[command(flatten)]
    Machine(MachineVerb),
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List them.
    List {
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Give one another name.
    Rename {
        /// Its present name.
        from: String,
        /// Its new name.
        to: String,
    },
    /// Remove one: its connections are cut at once, its history stays.
    Revoke {
        /// Its name.
        name: String,
    },
}

struct Row {
    name: String,
    role: &'static str,
    key: String,
    source: String,
    heard_s: u64,
    connected: bool,
}

impl BoxCommand {
    pub(super) fn run(self, state: &StateDir) -> Result<Exit, Failure> {
        if let Noun::Token { role, rejoin: true, .. } = &self.command
            && role != Role::Source.word()
        {
            return Err(Failure::new(Exit::Usage, "--rejoin brings a source back", "use --role source"));
        }
        let (way, _) = Way::paired(state)?;
        let net = Net::start()?;
        let verb = match self.command {
            Noun::Peers(verb) => verb,
            Noun::Store(verb) => return net.run(verb.run(&way)),
            Noun::Machine(verb) => return net.run(verb.run(&way, state)),
            Noun::Token { role, name, rejoin, lifetime } => {
                let role = Role::from_word(&role).unwrap_or(Role::Source);
                return net.run(invite(&way, &Invite { role, name: &name, rejoin, lifetime_s: lifetime }));
            }
        };
        net.run(async {
            let link = way.connect(Door::Main).await?;
            match &verb {
                Verb::List { json } => list(&link, *json).await?,
                Verb::Rename { from, to } => {
                    net::read::<Done>(&net::ask(&link, &Rename { from, to }).await?)?;
                    say(&format!("{from} is now {to}"));
                }
                Verb::Revoke { name } => {
                    net::read::<Done>(&net::ask(&link, &Revoke { name }).await?)?;
                    say(&format!("{name} is revoked; its connections are cut, its history stays"));
                }
            }
            link.close(None).await;
            Ok(Exit::Done)
        })
    }
}

/// A lifetime that a box gives, seconds.
fn lifetime_s(text: &str) -> Result<u32, String> {
    let seconds = text::parse_duration(text)?.as_secs();
    let given = u32::try_from(seconds).ok().filter(|seconds| (1..=TOKEN_LIFETIME_S_MAX).contains(seconds));
    given.ok_or_else(|| "a token lives for 1s to 14d; write 90s, 15m, 2h or 7d".to_owned())
}

async fn invite(way: &Way, asked: &Invite<'_>) -> Result<Exit, Failure> {
    let link = way.connect(Door::Main).await?;
    let frame = net::ask(&link, asked).await?;
    let Invited { token } = net::read(&frame)?;
    print(&format!("{token}\n"))?;
    let by = if asked.role == Role::Source { ", by `adit pair -` there" } else { "" };
    say(&format!("{} can be paired with it once{by}; it is a secret until then", asked.name));
    link.close(None).await;
    Ok(Exit::Done)
}

async fn list(link: &Link, as_json: bool) -> Result<(), Failure> {
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let skip = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let frame = net::ask(link, &Peers { skip }).await?;
        let listed: PeersListed<'_> = net::read(&frame)?;
        let before = rows.len();
        for peer in listed.peers.iter() {
            let peer = peer.map_err(|error| Failure::new(Exit::Refused, error.to_string(), "update adit"))?;
            rows.push(Row {
                name: peer.name.to_owned(),
                role: peer.role.word(),
                key: peer.key.to_string(),
                source: if peer.source.is_zero() { String::new() } else { peer.source.to_string() },
                heard_s: peer.heard_s,
                connected: peer.connected,
            });
        }
        if !listed.more || rows.len() == before {
            break;
        }
    }
    if as_json {
        let array: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({
                    "name": row.name, "role": row.role, "key": row.key, "source": row.source,
                    "heard_s": row.heard_s, "connected": row.connected,
                })
            })
            .collect();
        return print_json(&json!(array));
    }
    let mut lines = format!("{:<20}{:<9}{:<20}{}\n", "NAME", "ROLE", "LAST HEARD", "KEY");
    for row in &rows {
        let heard = match (row.connected, row.heard_s) {
            (true, _) => "connected".to_owned(),
            (false, 0) => "never".to_owned(),
            (false, seconds) => text::time(seconds),
        };
        lines.line(format_args!("{:<20}{:<9}{heard:<20}{}", row.name, row.role, row.key));
    }
    print(&lines)
}

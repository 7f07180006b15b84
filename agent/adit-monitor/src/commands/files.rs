// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Commands that only change files of the state directory, whether the monitor runs or not; it notices within seconds.

use super::{runtime, say, tell};
use crate::cli::{Pair, Token};
use crate::config::{AGENTS_MAX, Config};
use adit_link::{About, DialError};
use adit_peers::clock::{self, Now};
use adit_peers::files;
use adit_peers::home::Home;
use adit_peers::joining::{self, JoinError};
use adit_peers::pairing::monitor_peer;
use adit_peers::peers::{PeerDir, PeerName, PeerTable};
use adit_peers::tokens::{COUNT_MAX, Wanted, parse_lifetime};
use adit_proto::token::{Kind, Token as PairingToken};
use adit_wire::pair::Role;
use anyhow::{Context as _, Result, bail, ensure};
use std::io::Read as _;

/// Longest token text that is read.
const TOKEN_BYTES_MAX: u64 = 2 << 10;

fn home(config: &Config) -> Result<Home> {
    Ok(Home::open(&config.state)?)
}

fn peers(home: &Home) -> Result<(PeerDir, PeerTable)> {
    let dir = home.peers().holding(AGENTS_MAX);
    let (table, errors) = dir.load()?;
    for error in errors {
        tell(format_args!("cannot {error}"));
    }
    Ok((dir, table))
}

pub(super) fn id(config: &Config) -> Result<()> {
    say(home(config)?.identity()?.public_key());
    Ok(())
}

/// Each token leaves the agent's name to the agent, unless one is given.
pub(super) fn token(config: &Config, args: &Token) -> Result<()> {
    ensure!(
        (1..=COUNT_MAX).contains(&args.count),
        "--count {}: between 1 and {COUNT_MAX} tokens can be made at once",
        args.count
    );
    ensure!(args.name.is_none() || args.count == 1, "--name is for one token; with --count agents name themselves");
    let lifetime = parse_lifetime(&args.lifetime)
        .with_context(|| format!("--lifetime {}: write 90s, 15m, 2h or 7d, at most 14d", args.lifetime))?;
    let home = home(config)?;
    let name = args.name.as_deref().unwrap_or("agent");
    let name = PeerName::new(name).with_context(|| format!("--name {name}"))?;
    if args.name.is_some() && peers(&home)?.1.by_name(name.as_str()).is_some() {
        bail!("an agent named {name} exists; remove it first: adit-monitor agents revoke {name}");
    }
    let interfaces = adit_peers::addresses::interfaces();
    let own = adit_peers::addresses::own(&config.addresses, config.listen, home.listening(), &interfaces)?;
    let maker = home.identity()?.public_key();
    let wanted =
        Wanted { kind: Kind::Monitor, role: Role::Agent, name, rejoin: false, own_name: args.name.is_none(), lifetime };
    for _ in 0..args.count {
        say(home.tokens().make(maker, &wanted, &own, &Now::read())?);
    }
    tell(format_args!("On an agent, within {}: aditd pair -   (and paste it)", args.lifetime));
    Ok(())
}

/// Joins an agent that made a token of role monitor, and dials it from then on.
pub(super) fn pair(config: &Config, args: &Pair) -> Result<()> {
    let mut text = args.token.clone();
    if text == "-" {
        text.clear();
        std::io::stdin().take(TOKEN_BYTES_MAX).read_to_string(&mut text).context("read the token")?;
    }
    let token = PairingToken::parse(text.trim())?;
    ensure!(token.kind == Kind::Agent, "this token was made by a monitor; agents redeem it: aditd pair");
    let home = home(config)?;
    let (dir, table) = peers(&home)?;
    if let Some(peer) = table.by_key(&token.maker) {
        say(format_args!("paired with {} already", peer.name));
        return Ok(());
    }
    let identity = home.identity()?;
    let about =
        About { software: concat!("adit-monitor ", env!("CARGO_PKG_VERSION")).to_owned(), address_record: Vec::new() };
    let addresses: Vec<String> = token.addresses.iter().map(ToString::to_string).collect();
    let joined = runtime()?.block_on(async {
        match joining::join(&token, &identity, &config.name, &about).await {
            // The answer of an earlier attempt may have been lost: then the agent has this monitor.
            Err(error) => {
                if joining::is_known(&token, &identity, &about).await {
                    Ok(None)
                } else {
                    Err(error)
                }
            }
            Ok(made) => Ok(Some(made)),
        }
    });
    let made = joined.map_err(advised)?;
    let own = made.as_ref().map(|made| made.name.clone()).unwrap_or_default();
    let name = args.name.clone().unwrap_or(own);
    let name =
        PeerName::new(&name).with_context(|| format!("the agent's name is {name:?}; say another one by --name"))?;
    ensure!(table.by_name(name.as_str()).is_none(), "an agent named {name} exists; say the same again with --name");
    let mut known: Vec<String> = made.iter().flat_map(|made| &made.addresses).map(ToString::to_string).collect();
    let more: Vec<String> = addresses.into_iter().filter(|address| !known.contains(address)).collect();
    known.extend(more);
    let peer = monitor_peer(name, Role::Agent, token.maker, known, clock::wall_s());
    files::apply(&dir.putting(&peer))?;
    say(format_args!("paired with {}", peer.name));
    Ok(())
}

fn advised(error: JoinError) -> anyhow::Error {
    let closed = matches!(&error, JoinError::Dial(DialError::PairingClosed));
    let error = anyhow::Error::from(error);
    if closed { error.context("make a new token on the agent: aditd token --role monitor") } else { error }
}

pub(super) fn list(config: &Config) -> Result<()> {
    let (_, table) = peers(&home(config)?)?;
    for peer in table.iter().filter(|peer| peer.role == Role::Agent) {
        say(format_args!("{:<24} {} {}", peer.name.as_str(), peer.key, peer.addresses.join(" ")));
    }
    for (name, agent) in &config.agents {
        if let Some(key) = agent.key.filter(|_| table.by_name(name.as_str()).is_none()) {
            say(format_args!("{:<24} {key} {} (configuration)", name.as_str(), agent.addresses.join(" ")));
        }
    }
    Ok(())
}

pub(super) fn rename(config: &Config, from: &str, to: &str) -> Result<()> {
    let (dir, table) = peers(&home(config)?)?;
    let from = table.by_name(from).with_context(|| format!("no agent is named {from}"))?.name.clone();
    let to = PeerName::new(to).with_context(|| to.to_owned())?;
    ensure!(table.by_name(to.as_str()).is_none(), "an agent named {to} exists");
    Ok(files::apply(&dir.renaming(&from, &to))?)
}

pub(super) fn revoke(config: &Config, name: &str) -> Result<()> {
    let (dir, table) = peers(&home(config)?)?;
    let name = table.by_name(name).with_context(|| format!("no agent is named {name}"))?.name.clone();
    files::apply(&dir.removing(&name))?;
    tell(format_args!(
        "{name} is no agent any more. It still has this monitor: on it, aditd peers revoke {}",
        config.name
    ));
    Ok(())
}

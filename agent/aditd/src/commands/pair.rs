// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `aditd pair`: joins a monitor with a token it made. The monitor may then read this machine's health, nothing else; the
//! running agent dials it and keeps the connection.

use super::{file_failure, runtime, say, state, state_failure, tell};
use crate::cli::Pair as Args;
use crate::clock;
use crate::config::Config;
use crate::files;
use crate::pairing::monitor_peer;
use crate::peers::PeerName;
use crate::report::{Exit, Failure};
use crate::state::{PendingPairing, State};
use adit_link::{About, DialError, Identity, LinkError};
use adit_peers::joining::{self, JoinError};
use adit_proto::pairing::{Made, PairingError};
use adit_proto::token::{Kind, Token};
use adit_wire::ids::PublicKey;
use adit_wire::pair::Role;
use adit_wire::refusal::Code;
use std::io::Read as _;

/// Longest token text that is read.
const TOKEN_BYTES_MAX: u64 = 2 << 10;

pub(super) fn run(config: &Config, args: &Args) -> Result<(), Failure> {
    let text = token_text(args)?;
    let token = Token::parse(text.trim()).map_err(|error| Failure::of(Exit::Usage, &error))?;
    if token.kind != Kind::Monitor {
        return Err(Failure::new(Exit::Usage, "this token was made by an agent or a box, not by a monitor")
            .advise("a source or an admin redeems it with: adit pair"));
    }
    let state = state(config)?;
    let (peers, _) = state.peers().load().map_err(file_failure)?;
    if let Some(peer) = peers.by_key(&token.maker) {
        say(format_args!("paired with {} already", peer.name));
        return Ok(());
    }
    let identity = state.identity().map_err(|error| state_failure(&error))?;
    runtime()?.block_on(join(config, args, &state, &identity, &token, text.trim()))
}

fn token_text(args: &Args) -> Result<String, Failure> {
    let from_stdin = args.token.as_deref() == Some("-") || args.token_file.as_deref().is_some_and(|path| path == "-");
    if from_stdin {
        let mut text = String::new();
        let read = std::io::stdin().take(TOKEN_BYTES_MAX).read_to_string(&mut text);
        return read.map(|_| text).map_err(|error| Failure::of(Exit::Usage, &error));
    }
    match (&args.token, &args.token_file) {
        (Some(text), _) => Ok(text.clone()),
        (None, Some(path)) => {
            let bytes = files::read(path, TOKEN_BYTES_MAX).map_err(|error| Failure::of(Exit::Usage, &error))?;
            String::from_utf8(bytes).map_err(|error| Failure::of(Exit::Usage, &error))
        }
        (None, None) => Err(Failure::new(Exit::Usage, "name a token")),
    }
}

/// R0 pending, the pairing itself, R1 the pin, R2 success.
async fn join(
    config: &Config,
    args: &Args,
    state: &State,
    identity: &Identity,
    token: &Token,
    text: &str,
) -> Result<(), Failure> {
    let addresses: Vec<String> = token.addresses.iter().map(ToString::to_string).collect();
    let again = state.pending_pairing().is_some_and(|pending| pending.maker == token.maker);
    if again && joining::is_known(token, identity, &about()).await {
        // The answer of an earlier attempt was lost on the way; the monitor has this machine.
        return pin(args, state, token.maker, None, addresses);
    }
    state.begin_pairing(&PendingPairing { maker: token.maker, token: text.to_owned() }).map_err(file_failure)?;
    let made =
        joining::join(token, identity, &config.machine_name(), &about()).await.map_err(|error| join_failure(&error))?;
    let mut known: Vec<String> = made.addresses.iter().map(ToString::to_string).collect();
    let more: Vec<String> = addresses.into_iter().filter(|address| !known.contains(address)).collect();
    known.extend(more);
    pin(args, state, token.maker, Some(made), known)
}

fn about() -> About {
    About { software: concat!("aditd ", env!("CARGO_PKG_VERSION")).to_owned(), address_record: Vec::new() }
}

fn join_failure(error: &JoinError) -> Failure {
    match error {
        JoinError::Dial(error) => dial_failure(error),
        JoinError::Link(error) => link_failure(error),
        JoinError::Silent => Failure::new(Exit::Refused, "the monitor closed without an answer"),
        JoinError::Pairing(PairingError::Request) => Failure::of(Exit::Failed, error),
        JoinError::Pairing(_) => Failure::of(Exit::Refused, error),
    }
}

fn pin(
    args: &Args,
    state: &State,
    maker: PublicKey,
    made: Option<Made>,
    addresses: Vec<String>,
) -> Result<(), Failure> {
    let own = made.as_ref().map_or("monitor", |made| made.name.as_str());
    let name = args.name.as_deref().unwrap_or(own);
    let name =
        PeerName::new(name).or_else(|_| PeerName::new("monitor")).map_err(|error| Failure::of(Exit::Usage, &error))?;
    let (peers, _) = state.peers().load().map_err(file_failure)?;
    if peers.by_name(name.as_str()).is_some() {
        return Err(Failure::new(Exit::Usage, format!("a peer named {name} exists"))
            .advise("say the same again with --name and another name"));
    }
    let peer = monitor_peer(name, Role::Monitor, maker, addresses, clock::wall_s());
    files::apply(&state.peers().putting(&peer)).map_err(file_failure)?;
    state.end_pairing().map_err(file_failure)?;
    say(format_args!("paired with {}", peer.name));
    tell("It may read this machine's health. A running agent connects within seconds.");
    Ok(())
}

fn dial_failure(error: &DialError) -> Failure {
    let exit = if matches!(error, DialError::PairingClosed) { Exit::Refused } else { Exit::Unreachable };
    Failure::of(exit, error).advise("make a new token on the monitor if this one is older than its lifetime")
}

fn link_failure(error: &LinkError) -> Failure {
    let LinkError::Refused(refusal) = error else { return Failure::of(Exit::Unreachable, error) };
    let failure = Failure::of(Exit::Refused, error);
    if refusal.code == Some(Code::NameTaken) {
        return failure.advise("set `name` in this machine's configuration");
    }
    failure
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who the agents are: peer files of role `agent` in the state directory, and `[[agent]]` tables with a key; and the pairing
//! door, at which a token of this monitor makes one more.

use crate::config::{AGENTS_MAX, Config};
use crate::daemon::Shared;
use crate::poll::Agent;
use adit_link::Link;
use adit_peers::clock::{self, Now};
use adit_peers::files::{self, FileError};
use adit_peers::home::Home;
use adit_peers::pairing::{hmac, monitor_peer, registering};
use adit_peers::peers::{PeerName, PeerTable};
use adit_peers::tokens::Known;
use adit_proto::pairing::{Answer, Channel, Maker, PairInput, Registry, TokenState};
use adit_proto::token::Kind;
use adit_wire::frame::{FLAG_END, Message as _};
use adit_wire::ids::{Id, PublicKey, SourceId, StoreId};
use adit_wire::pair::{Pair, Paired, Role};
use adit_wire::refusal::Code;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a stranger may take to say its one message.
const MESSAGE_WITHIN: Duration = Duration::from_secs(10);

/// All agents, by name and by key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    agents: BTreeMap<String, Agent>,
    names: BTreeMap<PublicKey, String>,
}

impl Roster {
    /// Reads the peer files; the configuration adds to them.
    pub(crate) fn load(home: &Home, config: &Config) -> Result<Self, FileError> {
        let (peers, errors) = home.peers().holding(AGENTS_MAX).load()?;
        for error in errors {
            log::warn!("cannot {error}");
        }
        let mut roster = Self::default();
        for peer in peers.iter().filter(|peer| peer.role == Role::Agent) {
            let configured = config.agents.get(&peer.name).map(|agent| agent.addresses.clone()).unwrap_or_default();
            let addresses = if configured.is_empty() { peer.addresses.clone() } else { configured };
            roster.insert(Agent { name: peer.name.to_string(), key: peer.key, addresses });
        }
        for (name, agent) in &config.agents {
            let Some(key) = agent.key else { continue };
            if roster.agents.contains_key(name.as_str()) || roster.names.contains_key(&key) {
                log::debug!("{name} is in the configuration and has a peer file: the file's key counts");
                continue;
            }
            roster.insert(Agent { name: name.to_string(), key, addresses: agent.addresses.clone() });
        }
        Ok(roster)
    }

    fn insert(&mut self, agent: Agent) {
        self.names.insert(agent.key, agent.name.clone());
        self.agents.insert(agent.name.clone(), agent);
    }

    pub(crate) fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Agent> {
        self.agents.get(name)
    }

    pub(crate) fn name_of(&self, key: &PublicKey) -> Option<&str> {
        self.names.get(key).map(String::as_str)
    }
}

/// Serves one stranger at the pairing door.
pub(crate) async fn pair(shared: Arc<Shared>, link: Link) {
    let remote = link.remote();
    let first = tokio::time::timeout(MESSAGE_WITHIN, link.incoming()).await;
    let Ok(Some((frame, conversation))) = first else {
        return link.close(Some(Code::Deadline)).await;
    };
    let channel =
        Channel { binding: link.channel_binding(), maker: shared.identity.public_key(), redeemer: link.peer() };
    let outcome =
        if frame.kind == Pair::KIND { redeem(&shared, channel, &frame.body).await } else { Err(Code::UnknownMethod) };
    // A reply that is lost is healed by the redeemer: it finds the main door open.
    let sent = match outcome {
        Ok((name, body)) => {
            log::info!("paired with {name}, from {remote}");
            conversation.send_parts(Paired::KIND, FLAG_END, &[&body]).await
        }
        Err(code) => {
            log::warn!("a pairing from {remote} was refused: {}", code.text());
            conversation.refuse(code, "").await
        }
    };
    drop(sent);
    link.close(None).await;
}

/// Judges one PAIR and, when it holds, makes the agent; answers its name and the body of PAIRED.
async fn redeem(shared: &Shared, channel: Channel, body: &[u8]) -> Result<(String, Vec<u8>), Code> {
    let _one_at_a_time = shared.pairing.lock().await;
    let mut input = PairInput::read(body)?;
    let trouble = |error: &dyn std::fmt::Display| {
        log::error!("a pairing failed: {error}");
        Code::Internal
    };
    let tokens = shared.home.tokens();
    let (token, burnt) = match tokens.find(&input.token()).map_err(|error| trouble(&error))? {
        Known::Unburnt(token) => (token, false),
        Known::Burnt { token, .. } => (token, true),
        Known::Unknown => return Err(Code::TokenUnknown),
    };
    let tries = tokens.count_try(&token.id).map_err(|error| trouble(&error))?;
    let peers = shared.home.peers().holding(AGENTS_MAX);
    let (known, _) = peers.load().map_err(|error| trouble(&error))?;
    // The MAC covers the name that the redeemer gives itself; a token with a name of its own overrules it.
    let own_name = input.pair.name;
    let name = if token.own_name { own_name } else { token.name.as_str() };
    let name = PeerName::new(name).map_err(|_| Code::Protocol)?;
    input.pair.name = name.as_str();
    let maker = Maker { channel, hmac: &hmac, verify: &adit_link::verify };
    let judged = TokenState {
        kind: Kind::Monitor,
        mac_key: token.mac_key,
        role: Role::Agent,
        tries: u8::try_from(tries).unwrap_or(u8::MAX),
        burnt,
        live: !token.is_expired(&Now::read()),
        rejoin: None,
    };
    let registry = Peers { known, configured: shared.roster() };
    let accept = maker.judge(&input, &judged, &registry)?;
    let peer = monitor_peer(name.clone(), Role::Agent, accept.key, Vec::new(), clock::wall_s());
    files::apply(&registering(&peers, &tokens, &token.id, &peer)).map_err(|error| trouble(&error))?;
    shared.reload_roster();
    let addresses = shared.own_addresses();
    let config = shared.config();
    let answer = Answer {
        name: &config.name,
        addresses: &addresses,
        store: StoreId::ZERO,
        newest_seq: 0,
        newest_head: Id::ZERO,
    };
    let reply = maker.reply(&accept, &token.mac_key, &answer).map_err(|error| trouble(&error))?;
    Ok((name.to_string(), reply))
}

struct Peers {
    known: PeerTable,
    configured: Arc<Roster>,
}

impl Registry for Peers {
    fn has_name(&self, name: &str) -> bool {
        self.known.by_name(name).is_some() || self.configured.by_name(name).is_some()
    }

    fn source_name(&self, _: &SourceId) -> Option<String> {
        None
    }

    fn key_name(&self, key: &PublicKey) -> Option<String> {
        let by_file = self.known.by_key(key).map(|peer| peer.name.to_string());
        by_file.or_else(|| self.configured.name_of(key).map(ToOwned::to_owned))
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The pairing door: one message in, one out, then the link closes. Served only while a token can be redeemed.
//!
//! The judgement is adit-proto's, the durable order is [`crate::pairing`]'s. Every refusal is counted and logged, without
//! secrets; an unknown token and a wrong proof look alike from outside.

use crate::clock::{self, Now};
use crate::event::Event;
use crate::files;
use crate::pairing::{hmac, registering};
use crate::peers::{Peer, PeerTable, SourceKeys};
use crate::shared::Shared;
use crate::state::State;
use crate::tokens::{Known, TokenFile};
use adit_link::Link;
use adit_proto::pairing::{Accept, Answer, Channel, Maker, PairInput, Registry, TokenState};
use adit_proto::token::Kind;
use adit_wire::frame::{FLAG_END, Message};
use adit_wire::ids::{Id, PublicKey, SourceId, StoreId};
use adit_wire::pair::{Pair, Paired, Role};
use adit_wire::refusal::Code;
use std::sync::Arc;
use std::time::Duration;

/// How long a stranger may take to say its one message.
const MESSAGE_WITHIN: Duration = Duration::from_secs(10);

/// Serves one stranger.
pub(crate) async fn serve(shared: Arc<Shared>, link: Link) {
    let remote = link.remote();
    let first = tokio::time::timeout(MESSAGE_WITHIN, link.incoming()).await;
    let Ok(Some((frame, conversation))) = first else {
        link.close(Some(Code::Deadline)).await;
        return;
    };
    let channel =
        Channel { binding: link.channel_binding(), maker: shared.identity.public_key(), redeemer: link.peer() };
    let outcome = if frame.kind == <Pair<'_> as Message<'_>>::KIND {
        redeem(&shared, channel, &frame.body, remote).await
    } else {
        Err(Code::UnknownMethod)
    };
    // A reply that is lost is healed by the redeemer: it finds the main door open.
    let sent = match outcome {
        Ok(body) => conversation.send_parts(<Paired<'_> as Message<'_>>::KIND, FLAG_END, &[&body]).await,
        Err(code) => {
            shared.events.record(&Event::PairRefused { code, remote });
            conversation.refuse(code, "").await
        }
    };
    drop(sent);
    link.close(None).await;
}

/// Judges one PAIR and, when it holds, makes the peer; answers the body of PAIRED.
async fn redeem(
    shared: &Arc<Shared>,
    channel: Channel,
    body: &[u8],
    remote: std::net::SocketAddrV6,
) -> Result<Vec<u8>, Code> {
    let state = shared.state.as_ref().ok_or(Code::NotServed)?;
    let _one_at_a_time = shared.pairing.lock().await;
    let mut input = PairInput::read(body)?;
    let trouble = |error: &dyn std::error::Error| {
        shared.events.record(&Event::Trouble { what: crate::report::chain(error) });
        Code::Internal
    };
    let known = state.tokens().find(&input.token()).map_err(|error| trouble(&error))?;
    let (token, burnt) = match known {
        Known::Unburnt(token) => (token, false),
        Known::Burnt { token, .. } => (token, true),
        Known::Unknown => return Err(Code::TokenUnknown),
    };
    let tries = state.tokens().count_try(&token.id).map_err(|error| trouble(&error))?;
    // The name under which the redeemer is registered is the token's, not the one it gives itself.
    input.pair.name = token.name.as_str();
    let facts = Facts::gather(shared, &token, &input.pair).await?;
    // Made twice, because its functions can't be held over an await.
    let maker = || Maker { channel, hmac: &hmac, verify: &adit_link::verify };
    let judged = TokenState {
        kind: Kind::Agent,
        mac_key: token.mac_key,
        role: token.role,
        tries: u8::try_from(tries).unwrap_or(u8::MAX),
        burnt,
        live: !token.is_expired(&Now::read()),
        rejoin: token.rejoin.then_some(token.name.as_str()),
    };
    let accept = maker().judge(&input, &judged, &facts)?;
    if accept.role == Role::Source && shared.store.is_none() {
        return Err(Code::NotServed);
    }
    register(shared, state, &token, &accept).await.map_err(|error| trouble(&*error))?;
    shared.events.record(&Event::Paired { name: token.name.to_string(), role: accept.role, remote });
    let addresses = shared.own_addresses();
    let answer = Answer {
        name: &shared.name,
        addresses: &addresses,
        store: shared.store.as_ref().map_or(StoreId::ZERO, |served| served.id),
        newest_seq: facts.newest_seq,
        newest_head: facts.newest_head,
    };
    maker().reply(&accept, &token.mac_key, &answer).map_err(|error| trouble(&error))
}

/// M1 to M3, then the store learns of the source.
async fn register(
    shared: &Arc<Shared>,
    state: &State,
    token: &TokenFile,
    accept: &Accept,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let source = (accept.role == Role::Source).then(|| SourceKeys {
        source: accept.source,
        signing_key: accept.signing_key,
        recovery_key: accept.recovery_key,
        certificate: accept.certificate.clone(),
    });
    let peer = Peer {
        name: token.name.clone(),
        role: accept.role,
        key: accept.key,
        addresses: Vec::new(),
        source: source.clone(),
        former_keys: Vec::new(),
        paired_s: clock::wall_s(),
    };
    files::apply(&registering(&state.peers(), &state.tokens(), &token.id, &peer))?;
    if let (Some(served), Some(keys)) = (&shared.store, source) {
        let (name, key, rejoins) = (peer.name.to_string(), peer.key, accept.rejoins);
        served
            .handle
            .call(move |store| {
                enter(store, &name, keys.clone(), rejoins)?;
                let noted =
                    adit_store::Peer { key, name, role: Role::Source as u8, source: Some(keys.source), paired: true };
                store.note_peer(noted, clock::moment()).map_err(adit_store::SourceError::from)
            })
            .await??;
    }
    shared.reload_peers()?;
    Ok(())
}

/// The source in the ledger. One that comes back by a token may bring a new signing key: that is a new epoch.
fn enter(
    store: &mut crate::store_thread::BoxStore,
    name: &str,
    keys: SourceKeys,
    rejoins: bool,
) -> Result<(), adit_store::SourceError> {
    let certified =
        adit_wire::signed::Certificate::read(&keys.certificate).ok().map(|(certificate, ..)| certificate.epoch);
    let known = store.source(&keys.source);
    let epoch = match (certified, known) {
        (Some(epoch), _) => epoch,
        (None, Some(known)) if rejoins && known.signing_key != keys.signing_key => known.epoch.saturating_add(1),
        (None, Some(known)) => known.epoch,
        // Every source begins at 1; only a certificate says otherwise.
        (None, None) => 1,
    };
    let recovery_key = match known {
        Some(known) if keys.recovery_key.is_zero() => known.recovery_key,
        Some(_) | None => keys.recovery_key,
    };
    let source = adit_store::Source {
        id: keys.source,
        name: name.to_owned(),
        signing_key: keys.signing_key,
        recovery_key,
        certificate: keys.certificate,
        epoch,
    };
    store.put_source(source, clock::moment())
}

/// What the judgement needs to know of this machine.
struct Facts {
    peers: Arc<PeerTable>,
    /// The name of the asked source in the store.
    source_name: Option<String>,
    /// Another source in the store has the token's name.
    name_in_store: bool,
    newest_seq: u64,
    newest_head: Id,
}

impl Facts {
    async fn gather(shared: &Shared, token: &TokenFile, pair: &Pair<'_>) -> Result<Self, Code> {
        let peers = shared.peers();
        let nothing = Self { peers, source_name: None, name_in_store: false, newest_seq: 0, newest_head: Id::ZERO };
        let Some(served) = &shared.store else { return Ok(nothing) };
        let (id, name, is_source) = (pair.source, token.name.to_string(), token.role == Role::Source);
        let facts = served.handle.call(move |store| {
            let source_name = store.source(&id).map(|source| source.name.clone());
            let name_in_store = is_source && store.sources().iter().any(|other| other.id != id && other.name == name);
            (source_name, name_in_store, store.newest(&id))
        });
        let (source_name, name_in_store, newest) = facts.await.map_err(|gone| gone.code())?;
        Ok(Self {
            source_name,
            name_in_store,
            newest_seq: newest.as_ref().map_or(0, |newest| newest.seq),
            newest_head: newest.map_or(Id::ZERO, |newest| newest.head),
            ..nothing
        })
    }
}

impl Registry for Facts {
    fn has_name(&self, name: &str) -> bool {
        self.name_in_store || self.peers.by_name(name).is_some()
    }

    fn source_name(&self, source: &SourceId) -> Option<String> {
        let by_file = self.peers.by_source(source).map(|peer| peer.name.to_string());
        by_file.or_else(|| self.source_name.clone())
    }

    fn key_name(&self, key: &PublicKey) -> Option<String> {
        self.peers.by_key(key).map(|peer| peer.name.to_string())
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Peers are listed, renamed, revoked, and give themselves up. No verb here shortens the life of data: revoking keeps the
//! history.

use super::{Caller, ServeError, keep, verify};
use crate::clock::Now;
use crate::peers::{PeerName, PeerTable};
use crate::tokens::Wanted;
use adit_link::{Conversation, Frame};
use adit_proto::encode::push_part;
use adit_wire::admin::{
    Collect, Done, Invite, Invited, Keep, Peer, Peers, PeersListed, Rename, Revoke, Stored, Unpair, Verify,
};
use adit_wire::frame::Message;
use adit_wire::ids::SourceId;
use adit_wire::list::Parts;
use adit_wire::pair::Role;
use adit_wire::refusal::Code;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of one list of peers.
const LIST_BYTES_MAX: usize = 512 << 10;

pub(super) async fn serve(caller: &Arc<Caller>, frame: &Frame, conversation: &Conversation) -> Result<(), ServeError> {
    match frame.kind {
        Peers::KIND => peers(caller, frame.message()?, conversation).await,
        Rename::KIND => {
            rename(caller, frame.message()?)?;
            caller.shared.register_sources().await;
            Ok(conversation.send(&Done {}, true).await?)
        }
        Revoke::KIND => {
            revoke(caller, frame.message()?)?;
            Ok(conversation.send(&Done {}, true).await?)
        }
        Unpair::KIND => unpair(caller, conversation).await,
        Invite::KIND => invite(caller, frame.message()?, conversation).await,
        Verify::KIND => verify::serve(caller, conversation).await,
        Keep::KIND => keep::keep(caller, frame.message()?, conversation).await,
        Stored::KIND => keep::stored(caller, frame.message()?, conversation).await,
        Collect::KIND => keep::collect(caller, frame.message()?, conversation).await,
        _ => Err(ServeError::refused(Code::UnknownMethod)),
    }
}

async fn peers(caller: &Caller, asked: Peers, conversation: &Conversation) -> Result<(), ServeError> {
    let (list, more) = pack(caller, &caller.shared.peers(), asked.skip);
    Ok(conversation.send(&PeersListed { peers: Parts::new(&list), more }, true).await?)
}

fn pack(caller: &Caller, table: &PeerTable, skip: u32) -> (Vec<u8>, bool) {
    let mut list = Vec::new();
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    for peer in table.iter().skip(skip) {
        let part = Peer {
            name: peer.name.as_str(),
            role: peer.role,
            key: peer.key,
            source: peer.source.as_ref().map_or(SourceId::ZERO, |keys| keys.source),
            heard_s: caller.shared.heard_s(&peer.key),
            connected: caller.shared.links().is_connected(&peer.key),
        };
        if !push_part(&mut list, &part, LIST_BYTES_MAX) {
            return (list, true);
        }
    }
    (list, false)
}

/// The peer of a name that somebody asked about.
fn known(caller: &Caller, name: &str) -> Result<PeerName, ServeError> {
    let peers = caller.shared.peers();
    let peer = peers.by_name(name).ok_or_else(|| ServeError::detailed(Code::NotFound, "no peer has this name"))?;
    Ok(peer.name.clone())
}

fn rename(caller: &Caller, asked: Rename<'_>) -> Result<(), ServeError> {
    let from = known(caller, asked.from)?;
    let to = PeerName::new(asked.to).map_err(|error| ServeError::detailed(Code::NotFound, error.to_string()))?;
    if caller.shared.peers().by_name(to.as_str()).is_some() {
        return Err(ServeError::refused(Code::NameTaken));
    }
    caller.shared.rename(&from, &to, &caller.name).map_err(|error| failed(caller, &error))
}

fn revoke(caller: &Caller, asked: Revoke<'_>) -> Result<(), ServeError> {
    let name = known(caller, asked.name)?;
    let own = caller.shared.peers().by_key(&caller.key).is_some_and(|peer| peer.name == name);
    if own {
        return Err(ServeError::detailed(Code::NotAllowed, "this is your own key; give it up with adit unpair"));
    }
    caller.shared.revoke(&name, &caller.name).map_err(|error| failed(caller, &error))
}

/// The answer goes out before the change, which cuts this very link.
async fn unpair(caller: &Arc<Caller>, conversation: &Conversation) -> Result<(), ServeError> {
    let name = caller.shared.peers().by_key(&caller.key).map(|peer| peer.name.clone());
    let name = name.ok_or_else(|| ServeError::refused(Code::NotAllowed))?;
    let path = caller.shared.state.as_ref().map(|state| state.peers());
    let Some(peers) = path else { return Err(ServeError::refused(Code::NotServed)) };
    crate::files::apply(&peers.removing(&name)).map_err(|error| failed(caller, &error))?;
    conversation.send(&Done {}, true).await?;
    // The running agent sees the change of the files within seconds and cuts what is left of the link.
    caller.tell(&crate::event::Event::PeerRevoked { name: name.to_string(), by: name.to_string() });
    Ok(())
}

/// Makes a token as `aditd token` does on the box itself, but never one for another admin: whoever steals an admin's key
/// must not be able to make more of them.
async fn invite(caller: &Caller, asked: Invite<'_>, conversation: &Conversation) -> Result<(), ServeError> {
    let shared = &caller.shared;
    let state = shared.state.as_ref().ok_or_else(|| ServeError::refused(Code::NotServed))?;
    let role = asked.role;
    let wrong = match (role, asked.rejoin) {
        _ if asked.lifetime_s == 0 => Some("a token lives for at least a second"),
        (Role::Admin | Role::Agent, _) => Some("a token that is made from afar makes no admin and no agent"),
        (Role::Monitor | Role::Replica, true) => Some("only a source comes back with another key"),
        (Role::Monitor | Role::Replica, false) | (Role::Source, _) => None,
    };
    if let Some(why) = wrong {
        return Err(ServeError::detailed(Code::Protocol, why));
    }
    let name = PeerName::new(asked.name).map_err(|error| ServeError::detailed(Code::NotFound, error.to_string()))?;
    check_name(caller, role, &name, asked.rejoin).await?;
    let lifetime = Duration::from_secs(u64::from(asked.lifetime_s));
    let kind = adit_proto::token::Kind::Agent;
    let wanted = Wanted { kind, role, name, rejoin: asked.rejoin, own_name: false, lifetime };
    let made = state.tokens().make(shared.identity.public_key(), &wanted, &shared.own_addresses(), &Now::read());
    let token = made.map_err(|error| failed(caller, &error))?;
    let (name, by) = (wanted.name.to_string(), caller.name.clone());
    shared.events.record(&crate::event::Event::Invited { name, role: role.word(), by });
    Ok(conversation.send(&Invited { token: &token }, true).await?)
}

/// Tells early what the pairing would refuse later. A source whose key was revoked is still the store's, and may come back.
async fn check_name(caller: &Caller, role: Role, name: &PeerName, rejoin: bool) -> Result<(), ServeError> {
    let peer = caller.shared.peers().by_name(name.as_str()).map(|peer| peer.role);
    let is_stored = if role == Role::Source {
        let name = name.to_string();
        caller.store()?.handle.call(move |store| store.sources().iter().any(|source| source.name == name)).await?
    } else {
        false
    };
    let is_source = peer.map_or(is_stored, |role| role == Role::Source);
    if rejoin && !is_source {
        return Err(ServeError::detailed(Code::NotFound, "no source here has this name"));
    }
    if !rejoin && (peer.is_some() || is_stored) {
        return Err(ServeError::refused(Code::NameTaken));
    }
    Ok(())
}

fn failed(caller: &Caller, error: &dyn std::error::Error) -> ServeError {
    caller.tell(&crate::event::Event::Trouble { what: crate::report::chain(error) });
    ServeError::refused(Code::Internal)
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The recovery door: who proves to hold a recovery key reads its sources, and may take one over with a new machine.
//!
//! An unknown key and a wrong proof look alike. A takeover needs a certificate of a higher epoch, signed by that key; from
//! then on the old machine is told that it was taken over.

use super::{Caller, ServeError};
use crate::clock;
use crate::event::Event;
use crate::peers::{FORMER_KEYS_MAX, Peer, SourceKeys};
use crate::store_thread::BoxStore;
use adit_link::{Conversation, Frame};
use adit_proto::encode::push_part;
use adit_proto::proof;
use adit_store::Source;
use adit_wire::frame::Message;
use adit_wire::ids::{Id, PublicKey, SourceId};
use adit_wire::list::Parts;
use adit_wire::recover::{Adopt, Adopted, Recover, Recoverable, Recovered};
use adit_wire::refusal::Code;
use adit_wire::signed::{Certificate, PREFIX_CERTIFICATE};
use std::sync::Arc;

/// Bytes of one list of sources.
const LIST_BYTES_MAX: usize = 512 << 10;

pub(super) async fn serve(caller: &Arc<Caller>, frame: &Frame, conversation: &Conversation) -> Result<(), ServeError> {
    match frame.kind {
        Recover::KIND => recover(caller, &frame.message()?, conversation).await,
        Adopt::KIND => adopt(caller, &frame.message()?, conversation).await,
        _ => Err(ServeError::refused(Code::UnknownMethod)),
    }
}

async fn recover(caller: &Caller, asked: &Recover, conversation: &Conversation) -> Result<(), ServeError> {
    let box_key = caller.shared.identity.public_key();
    let proven = proof::recovers(asked, &caller.binding, &box_key, &caller.key, &adit_link::verify);
    let (key, store) = (asked.recovery_key, caller.store()?);
    let (ids, list) = store.handle.call(move |store| belonging(store, &key)).await?;
    if !proven || ids.is_empty() {
        caller.tell(&Event::RecoveryRefused { remote: caller.remote });
        return Err(ServeError::refused(Code::RecoveryUnknown));
    }
    caller.tell(&Event::Recovering { sources: ids.len(), remote: caller.remote });
    caller.open_for_reading(ids);
    caller.transport.trust();
    Ok(conversation.send(&Recovered { store: store.id, sources: Parts::new(&list) }, true).await?)
}

/// The sources of a recovery key, and the list of them as it is sent.
fn belonging(store: &BoxStore, key: &PublicKey) -> (Vec<SourceId>, Vec<u8>) {
    let (mut ids, mut list) = (Vec::new(), Vec::new());
    for source in store.sources() {
        if source.recovery_key != *key || key.is_zero() {
            continue;
        }
        let newest = store.newest(&source.id);
        let part = Recoverable {
            source: source.id,
            name: &source.name,
            certificate: &source.certificate,
            signing_key: source.signing_key,
            newest_seq: newest.as_ref().map_or(0, |newest| newest.seq),
            newest_head: newest.as_ref().map_or(Id::ZERO, |newest| newest.head),
            received_s: newest.as_ref().map_or(0, |newest| newest.received_s),
        };
        if !push_part(&mut list, &part, LIST_BYTES_MAX) {
            break;
        }
        ids.push(source.id);
    }
    (ids, list)
}

async fn adopt(caller: &Arc<Caller>, asked: &Adopt<'_>, conversation: &Conversation) -> Result<(), ServeError> {
    let store = caller.store()?;
    if store.read_only {
        return Err(ServeError::detailed(Code::ReadOnly, "a carried store is only read; pair with a box to go on"));
    }
    let (certificate, body, signature) = Certificate::read(asked.certificate)
        .map_err(|error| ServeError::detailed(Code::Protocol, error.to_string()))?;
    let id = certificate.source;
    if !caller.may_read(&id) {
        return Err(ServeError::refused(Code::ProofNeeded));
    }
    let known = store.handle.call(move |store| store.source(&id).cloned()).await?;
    let known = known.ok_or_else(|| ServeError::refused(Code::NotFound))?;
    if !adit_link::verify(&known.recovery_key, PREFIX_CERTIFICATE, body, &signature) {
        return Err(ServeError::refused(Code::Signature));
    }
    if certificate.epoch <= known.epoch {
        return Err(ServeError::refused(Code::EpochOld));
    }
    let source = Source {
        name: known.name.clone(),
        signing_key: certificate.signing_key,
        certificate: asked.certificate.to_vec(),
        epoch: certificate.epoch,
        ..known
    };
    take_over(caller, source, asked.device_key, conversation).await
}

/// The peer's file first, then the store: a crash between the two leaves the new machine paired and the old epoch
/// standing, and the same ADOPT sent again finishes it.
async fn take_over(
    caller: &Arc<Caller>,
    source: Source,
    device_key: PublicKey,
    conversation: &Conversation,
) -> Result<(), ServeError> {
    let peer = successor(caller, &source, device_key)?;
    let (id, name) = (source.id, peer.name.to_string());
    caller.shared.put_peer(&peer).map_err(|error| {
        caller.tell(&Event::Trouble { what: crate::report::chain(&error) });
        ServeError::refused(Code::Internal)
    })?;
    let put = caller.store()?.handle.call(move |store| store.put_source(source, clock::moment())).await?;
    put.map_err(|error| ServeError::detailed(error.code(), error.to_string()))?;
    caller.tell(&Event::Adopted { name: name.clone(), source: id, key: device_key });
    Ok(conversation.send(&Adopted { name: &name }, true).await?)
}

/// The peer's file after the takeover.
fn successor(caller: &Caller, source: &Source, device_key: PublicKey) -> Result<Peer, ServeError> {
    let peers = caller.shared.peers();
    let Some(peer) = peers.by_source(&source.id) else {
        let detail = "this source is no longer paired here; ask for a token made with --rejoin";
        return Err(ServeError::detailed(Code::NotAllowed, detail));
    };
    if peers.by_key(&device_key).is_some_and(|other| other.name != peer.name) {
        return Err(ServeError::refused(Code::KeyKnown));
    }
    let mut peer = peer.clone();
    if peer.key != device_key {
        peer.former_keys.retain(|key| *key != peer.key && *key != device_key);
        peer.former_keys.insert(0, peer.key);
        peer.former_keys.truncate(FORMER_KEYS_MAX);
    }
    peer.key = device_key;
    peer.source = Some(SourceKeys {
        source: source.id,
        signing_key: source.signing_key,
        recovery_key: source.recovery_key,
        certificate: source.certificate.clone(),
    });
    Ok(peer)
}

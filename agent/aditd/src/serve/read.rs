// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Snapshots are listed and records fetched, in the order in which they lie on disk and with a bounded part of them in
//! memory. A source lists its own history; content goes only to who proved to hold the recovery key on this link.

use super::{Caller, ServeError};
use crate::clock;
use crate::store_thread::BoxStore;
use adit_link::{Conversation, Frame};
use adit_proto::encode::push_part;
use adit_proto::proof;
use adit_store::{FetchPlan, ReadError};
use adit_wire::frame::{Kind, Message, Service};
use adit_wire::ids::{Id, SourceId};
use adit_wire::list::{Ids, Parts};
use adit_wire::read::{FETCH_IDS_MAX, Fetch, Fetched, List, Listed, Listing, METHOD_RECORD, Prove, Proved};
use adit_wire::refusal::Code;

/// Bytes of one list of snapshots.
const LIST_BYTES_MAX: usize = 768 << 10;
/// Records are read from the disk in parts of about this size; two parts are in memory at once.
const PART_BYTES: usize = 1 << 20;
/// Kind of a frame whose body is one record.
const RECORD: Kind = Kind { service: Service::Read as u8, method: METHOD_RECORD, major: 1 };

pub(super) async fn serve(caller: &Caller, frame: &Frame, conversation: &Conversation) -> Result<(), ServeError> {
    match frame.kind {
        Prove::KIND => prove(caller, &frame.message()?, conversation).await,
        List::KIND => list(caller, frame.message()?, conversation).await,
        Fetch::KIND => {
            let asked: Fetch<'_> = frame.message()?;
            fetch(caller, &asked, conversation).await
        }
        _ => Err(ServeError::refused(Code::UnknownMethod)),
    }
}

async fn prove(caller: &Caller, prove: &Prove, conversation: &Conversation) -> Result<(), ServeError> {
    let id = prove.source;
    let known = caller.store()?.handle.call(move |store| store.source(&id).map(|source| source.recovery_key)).await?;
    // An unknown source and a wrong proof look alike.
    let holds = known.is_some_and(|key| proof::proves(prove, &key, &caller.binding, &adit_link::verify));
    if !holds {
        return Err(ServeError::detailed(Code::Signature, "the proof by the recovery key does not fit this source"));
    }
    caller.open_for_reading([id]);
    Ok(conversation.send(&Proved {}, true).await?)
}

async fn list(caller: &Caller, asked: List, conversation: &Conversation) -> Result<(), ServeError> {
    let own = caller.own_source().is_some_and(|keys| keys.source == asked.source);
    if !own && !caller.may_read(&asked.source) {
        return Err(ServeError::refused(Code::ProofNeeded));
    }
    let List { source: id, after_seq } = asked;
    let found = caller
        .store()?
        .handle
        .call(move |store| {
            let source = store.source(&id)?.clone();
            let (packed, more) = pack(store, &id, after_seq);
            Some((source, packed, more))
        })
        .await?;
    let (source, packed, more) = found.ok_or_else(|| ServeError::refused(Code::NotFound))?;
    let listed = Listed {
        certificate: &source.certificate,
        signing_key: source.signing_key,
        snapshots: Parts::new(&packed),
        more,
    };
    Ok(conversation.send(&listed, true).await?)
}

fn pack(store: &BoxStore, source: &SourceId, after_seq: u64) -> (Vec<u8>, bool) {
    let mut packed = Vec::new();
    for snapshot in store.snapshots(source).iter().filter(|snapshot| snapshot.seq > after_seq) {
        let part = Listing {
            head: snapshot.head,
            body: &snapshot.body,
            received_s: snapshot.received_s,
            new_records: snapshot.new_records,
            new_bytes: snapshot.new_bytes,
        };
        if !push_part(&mut packed, &part, LIST_BYTES_MAX) {
            return (packed, true);
        }
    }
    (packed, false)
}

async fn fetch(caller: &Caller, asked: &Fetch<'_>, conversation: &Conversation) -> Result<(), ServeError> {
    if !caller.may_read(&asked.source) {
        return Err(ServeError::refused(Code::ProofNeeded));
    }
    let handle = &caller.store()?.handle;
    let (source, scope, keys) = (asked.source, asked.scope, asked.keys);
    let ids: Vec<Id> = asked.ids.iter().collect();
    let plan = handle.call(move |store| store.plan_fetch(&source, scope, &ids, keys)).await?;
    let plan = plan.map_err(|error| refused(caller, &error))?;
    let mut records = 0u32;
    let mut part = handle.call(move |store| next_part(store, plan)).await?;
    loop {
        let Part { plan, sent, end, failed } = part;
        if let Some(error) = failed {
            return Err(refused(caller, &error));
        }
        records = records.saturating_add(u32::try_from(sent.len()).unwrap_or(u32::MAX));
        if end {
            send(conversation, &sent).await?;
            let damaged = packed(&plan.damaged, FETCH_IDS_MAX);
            let absent = packed(&plan.absent, FETCH_IDS_MAX.saturating_sub(plan.damaged.len()));
            let ids = |packed| Ids::new(packed).unwrap_or_default();
            let fetched = Fetched { records, absent: ids(&absent), damaged: ids(&damaged) };
            return Ok(conversation.send(&fetched, true).await?);
        }
        // The disk reads the next part while this one is sent.
        let (outcome, next) = tokio::join!(send(conversation, &sent), handle.call(move |store| next_part(store, plan)));
        outcome?;
        part = next?;
    }
}

async fn send(conversation: &Conversation, records: &[Vec<u8>]) -> Result<(), ServeError> {
    for record in records {
        conversation.send_parts(RECORD, 0, &[record]).await?;
    }
    Ok(())
}

/// Some records of a plan, and the plan.
struct Part {
    plan: FetchPlan,
    sent: Vec<Vec<u8>>,
    end: bool,
    failed: Option<ReadError>,
}

fn next_part(store: &mut BoxStore, mut plan: FetchPlan) -> Part {
    let (mut sent, mut bytes) = (Vec::new(), 0);
    let (end, failed) = loop {
        if bytes >= PART_BYTES {
            break (false, None);
        }
        match plan.next(store, clock::moment()) {
            None => break (true, None),
            Some(Ok(record)) => {
                bytes += record.len();
                sent.push(record);
            }
            // The plan lists it, and goes on behind it.
            Some(Err(ReadError::Damaged(_))) => {}
            Some(Err(error)) => break (true, Some(error)),
        }
    };
    Part { plan, sent, end, failed }
}

/// The first ids; FETCHED names no more than FETCH asks for.
fn packed(ids: &[Id], count_max: usize) -> Vec<u8> {
    ids.iter().take(count_max).flat_map(|id| id.0).collect()
}

fn refused(caller: &Caller, error: &ReadError) -> ServeError {
    if matches!(error.code(), Code::Internal | Code::Damaged) {
        caller.tell(&crate::event::Event::StoreFailed { why: crate::report::chain(error) });
    }
    ServeError::detailed(error.code(), error.to_string())
}

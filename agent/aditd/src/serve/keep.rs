// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the store keeps: an admin sees it, loosens or tightens it, brings back what expired. What shortens the life of data
//! waits in the store; nothing here can hurry it.

use super::{Caller, ServeError};
use crate::clock;
use adit_link::Conversation;
use adit_proto::encode::push_part;
use adit_store::retention::{Judged, Policy};
use adit_store::{Planned, RetainError};
use adit_wire::admin::{Collect, Done, Keep, KeepPolicy, Kept, KeptRow, Stored, StoredListed, StoredSource, Wish};
use adit_wire::appliance::WORDS_BYTES_MAX;
use adit_wire::ids::SourceId;
use adit_wire::list::Parts;
use adit_wire::refusal::Code;
use std::sync::Arc;

/// Bytes of one list.
const LIST_BYTES_MAX: usize = 512 << 10;

struct Answer {
    state: adit_store::retention::PolicyState,
    guard: String,
    rows: Vec<Planned>,
    now_s: u64,
    changed: u64,
}

pub(super) async fn keep(caller: &Arc<Caller>, asked: Keep<'_>, conversation: &Conversation) -> Result<(), ServeError> {
    let seqs = asked.seqs.iter().collect::<Result<Vec<u64>, _>>();
    let seqs = seqs.map_err(|_| ServeError::detailed(Code::Protocol, "a list of snapshots that does not decode"))?;
    let wish = asked.wish;
    if asked.source.is_empty() && !matches!(wish, Wish::Plan | Wish::Set) {
        return Err(ServeError::detailed(Code::NotFound, "name a source"));
    }
    if matches!(wish, Wish::Protect | Wish::Unprotect) && seqs.is_empty() {
        return Err(ServeError::detailed(Code::NotFound, "name a snapshot"));
    }
    let (policy, now_s, name) = (from_wire(asked.policy), asked.now_s, asked.source.to_owned());
    let wished = caller.store()?.handle.call(move |store| {
        let now = clock::moment();
        store.credit_clock(now_s, now);
        let source = store.sources().into_iter().find(|source| source.name == name).map(|source| source.id);
        let unknown = || RetainError::UnknownSource(SourceId::ZERO);
        let source = if name.is_empty() { None } else { Some(source.ok_or_else(unknown)?) };
        let one = source.ok_or_else(unknown);
        let changed = match wish {
            Wish::Plan => 0,
            Wish::Set => store.set_policy(source.as_ref(), policy, now).map(|_| 0)?,
            Wish::Undo => store.undo_expiry(&one?, &seqs, now)?.len() as u64,
            Wish::Protect => store.protect(&one?, &seqs, true, now).map(|()| seqs.len() as u64)?,
            Wish::Unprotect => store.protect(&one?, &seqs, false, now).map(|()| seqs.len() as u64)?,
            Wish::Allow => store.retain(&one?, true, now)?.expired,
        };
        let (rows, guard) = match &source {
            Some(source) => (store.retention_plan(source, now)?, store.retention_guard(source, now)?),
            None => (Vec::new(), None),
        };
        let guard = guard.map(|guard| guard.to_string()).unwrap_or_default();
        Ok(Answer { state: store.policy(source.as_ref()), guard, rows, now_s: store.retention_s(now), changed })
    });
    let answer = wished.await?.map_err(|error: RetainError| ServeError::detailed(error.code(), error.to_string()))?;
    if wish != Wish::Plan {
        let what = format!("{} wished about retention of {}: {wish:?}", caller.name, label(asked.source));
        caller.tell(&crate::event::Event::StoreNoted { what });
    }
    let in_force = answer.state.at(answer.now_s);
    let pending = answer.state.pending.filter(|pending| pending.from_s > answer.now_s);
    let mut rows = Vec::new();
    let skip = usize::try_from(asked.skip).unwrap_or(usize::MAX);
    let more = answer.rows.iter().skip(skip).any(|row| !push_part(&mut rows, &to_row(row), LIST_BYTES_MAX));
    let kept = Kept {
        policy: to_wire(in_force),
        pending: to_wire(pending.map_or(in_force, |pending| pending.policy)),
        pending_s: pending.map_or(0, |pending| pending.from_s),
        now_s: answer.now_s,
        changed: u32::try_from(answer.changed).unwrap_or(u32::MAX),
        guard: cut(&answer.guard),
        rows: Parts::new(&rows),
        more,
    };
    Ok(conversation.send(&kept, true).await?)
}

/// As much of a sentence as the message takes.
fn cut(words: &str) -> &str {
    &words[..words.floor_char_boundary(WORDS_BYTES_MAX)]
}

fn label(source: &str) -> &str {
    if source.is_empty() { "all sources" } else { source }
}

const fn from_wire(policy: KeepPolicy) -> Policy {
    let KeepPolicy { keep_all_d, hourly_d, daily_d, weekly_d, monthly_d, yearly_d, minimum, zone_min } = policy;
    Policy { keep_all_d, hourly_d, daily_d, weekly_d, monthly_d, yearly_d, minimum, zone_min }
}

const fn to_wire(policy: Policy) -> KeepPolicy {
    let Policy { keep_all_d, hourly_d, daily_d, weekly_d, monthly_d, yearly_d, minimum, zone_min } = policy;
    KeepPolicy { keep_all_d, hourly_d, daily_d, weekly_d, monthly_d, yearly_d, minimum, zone_min }
}

fn to_row(row: &Planned) -> KeptRow {
    let Judged { seq, received_s, by, until_s } = row.judged;
    let reasons = [by.young, by.hour, by.day, by.week, by.month, by.year, by.newest, by.protected];
    let (expired_s, release_s) = row.expired.unwrap_or_default();
    KeptRow {
        seq,
        received_s,
        reasons: reasons.iter().rev().fold(0, |bits, reason| bits << 1 | u8::from(*reason)),
        until_s,
        complete: row.complete,
        expired_s,
        release_s,
        new_bytes: row.new_bytes,
    }
}

pub(super) async fn stored(caller: &Caller, asked: Stored, conversation: &Conversation) -> Result<(), ServeError> {
    let handle = &caller.store()?.handle;
    let (status, holdings) = handle.call(|store| (store.status(), store.holdings())).await?;
    let collecting = handle.is_collecting().await?;
    let mut sources = Vec::new();
    let skip = usize::try_from(asked.skip).unwrap_or(usize::MAX);
    let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    let more = holdings.iter().skip(skip).any(|held| {
        let part = StoredSource {
            name: &held.name,
            source: held.source,
            snapshots: narrow(held.snapshots),
            expired: narrow(held.expired),
            released: held.released,
            newest_s: held.newest_s,
            records: held.records,
            bytes: held.bytes,
            guarded: held.guarded,
        };
        !push_part(&mut sources, &part, LIST_BYTES_MAX)
    });
    let read_only = status.read_only.unwrap_or_default();
    let listed = StoredListed {
        read_only: cut(&read_only),
        stored_bytes: status.segment_bytes,
        record_bytes: status.record_bytes,
        records: status.records,
        damaged_records: status.damaged_records,
        free_bytes: status.free_bytes.unwrap_or(u64::MAX),
        grown_bytes: status.grown_bytes,
        collecting,
        swept_s: status.swept.map_or(0, |swept| swept.at_s),
        swept_records: status.swept.map_or(0, |swept| swept.records),
        swept_bytes: status.swept.map_or(0, |swept| swept.bytes),
        sources: Parts::new(&sources),
        more,
    };
    Ok(conversation.send(&listed, true).await?)
}

pub(super) async fn collect(caller: &Caller, _asked: Collect, conversation: &Conversation) -> Result<(), ServeError> {
    let store = caller.store()?;
    if store.read_only {
        return Err(ServeError::refused(Code::ReadOnly));
    }
    store.handle.collect().await?;
    Ok(conversation.send(&Done {}, true).await?)
}

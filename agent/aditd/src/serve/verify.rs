// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Verification on request: reads everything, checks every hash, needs no key.
//!
//! It costs the box its disk: [`crate::verify_budget`] says how often.

use super::{Caller, ServeError};
use crate::clock;
use crate::event::Event;
use adit_link::Conversation;
use adit_store::VerifyReport;
use adit_wire::admin::{Verified, Verifying};
use adit_wire::ids::SourceId;
use adit_wire::list::Ids;
use adit_wire::refusal::Code;
use std::sync::Arc;
use std::time::Duration;

const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Gives the place of a verification back.
struct Place<'a>(&'a Caller);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.shared.verified().leave();
    }
}

pub(super) async fn serve(caller: &Arc<Caller>, conversation: &Conversation) -> Result<(), ServeError> {
    let store = caller.store()?;
    let source = caller.own_source().map(|keys| keys.source);
    let admitted = caller.shared.verified().enter(source, clock::wall_s());
    admitted.map_err(|busy| ServeError::Refused {
        code: Code::Busy,
        retry_after_s: busy.retry_after_s,
        detail: busy.detail.to_owned(),
    })?;
    let place = Place(caller);
    let mut verifying = store.handle.verify().await?;
    let mut tick = tokio::time::interval(PROGRESS_EVERY);
    let report = loop {
        tokio::select! {
            report = &mut verifying.report => break report,
            _ = tick.tick() => {
                let (done_bytes, total_bytes) = *verifying.progress.borrow();
                conversation.send(&Verifying { done_bytes, total_bytes }, false).await?;
            }
        }
    };
    drop(place);
    let report = report.map_err(|_| ServeError::detailed(Code::Internal, "the verification broke off"))?;
    caller.shared.verified().charge(source, report.bytes, clock::wall_s());
    note(&caller.shared, &report);
    let snapshots = store.handle.call(|store| store.status().snapshots).await?;
    Ok(answer(&report, snapshots, source, conversation).await?)
}

/// Remembers that everything was read, and tells of damage.
fn note(shared: &crate::shared::Shared, report: &VerifyReport) {
    let what = describe(report);
    shared.events.record(&Event::Verified { what: what.clone(), damaged: report.damaged_records });
    if !report.is_clean() {
        shared.events.record(&Event::DamageFound { what });
    }
    let now_s = clock::wall_s();
    {
        let mut verified = shared.verified();
        verified.last_s = Some(now_s);
        verified.first_damaged = report.damaged_ids.first().map(|(_, id)| *id);
    }
    if let Some(Err(error)) = shared.state.as_ref().map(|state| state.put_verified(now_s)) {
        shared.events.record(&Event::Trouble { what: crate::report::chain(&error) });
    }
    shared.health_changed();
}

/// A report in words.
pub(crate) fn describe(report: &VerifyReport) -> String {
    let mut text = format!("{} records in {} segments, {} bytes", report.records, report.segments, report.bytes);
    if let Some(place) = first_place(report) {
        text.push_str("; ");
        text.push_str(&place);
    }
    text
}

/// Where the first damage lies.
fn first_place(report: &VerifyReport) -> Option<String> {
    let range = report.damaged_ranges.first();
    range
        .map(|(segment, from, to)| format!("segment {segment:08x}, bytes {from} to {to}"))
        .or_else(|| report.damaged_places.first().cloned())
        .or_else(|| {
            report.incomplete_snapshots.first().map(|(source, seq)| format!("snapshot {seq} of source {source}"))
        })
}

async fn answer(
    report: &VerifyReport,
    snapshots: u64,
    source: Option<SourceId>,
    conversation: &Conversation,
) -> Result<(), adit_link::LinkError> {
    let count = |items: usize| u64::try_from(items).unwrap_or(u64::MAX);
    let incomplete = report.incomplete_snapshots.iter().filter(|(of, _)| source.is_none_or(|own| own == *of)).count();
    let place = first_place(report).unwrap_or_default();
    let ids = report.damaged_ids.iter().filter(|(of, _)| source.is_none_or(|own| own == *of));
    let damaged: Vec<u8> = ids.flat_map(|(_, id)| id.0).collect();
    let verified = Verified {
        bytes: report.bytes,
        records_well: report.records,
        records_damaged: report.damaged_records,
        places_damaged: count(report.damaged_places.len() + report.damaged_ranges.len()),
        snapshots,
        snapshots_incomplete: count(incomplete),
        damaged: Ids::new(&damaged).unwrap_or_default(),
        first_place: super::shorten(&place),
    };
    conversation.send(&verified, true).await
}

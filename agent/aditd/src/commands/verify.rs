// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `aditd verify`: reads a store that no agent has open, checks every hash, changes nothing.

use super::{say, tell};
use crate::cli::Verify as Args;
use crate::clock;
use crate::open_store::{self, Mode, StoreError};
use crate::report::{Exit, Failure};
use adit_store::{Step, VerifyReport};
use std::path::Path;
use std::time::{Duration, Instant};

const SLICE_BYTES: u64 = 16 << 20;
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

pub(super) fn run(path: &Path, args: &Args) -> Result<(), Failure> {
    let (mut store, _) = open_store::open(path, Mode::Carried).map_err(|error| store_failure(&error))?;
    let mut verification = store.verification();
    let mut told = Instant::now();
    let report = loop {
        let step = verification.step(&mut store, SLICE_BYTES, clock::moment());
        match step.map_err(|error| Failure::of(Exit::State, &error))? {
            Step::Finished(report) => break report,
            Step::Working { done, total } if told.elapsed() >= PROGRESS_EVERY => {
                told = Instant::now();
                tell(format_args!("{} of {} MiB read", done >> 20, total >> 20));
            }
            Step::Working { .. } => {}
        }
    };
    let snapshots = store.status().snapshots;
    print(&report, snapshots, args.json);
    if report.is_clean() {
        return Ok(());
    }
    Err(Failure::new(Exit::Damaged, "the store is damaged")
        .advise("each source sends damaged records again with its next backup, where it still has them"))
}

fn print(report: &VerifyReport, snapshots: u64, json: bool) {
    if json {
        let incomplete: Vec<String> =
            report.incomplete_snapshots.iter().map(|(source, seq)| format!("{source} {seq}")).collect();
        say(serde_json::json!({
            "bytes": report.bytes, "records": report.records, "segments": report.segments,
            "ledger_blocks": report.ledger_blocks, "snapshots": snapshots,
            "damaged_records": report.damaged_records, "damaged_ranges": report.damaged_ranges,
            "damaged": named(report), "damaged_places": report.damaged_places, "incomplete_snapshots": incomplete,
        }));
        return;
    }
    say(format_args!(
        "{} records, {} snapshots, {} bytes read: {} records damaged",
        report.records, snapshots, report.bytes, report.damaged_records
    ));
    for (segment, from, to) in &report.damaged_ranges {
        say(format_args!("damaged: segment {segment:08x}, bytes {from} to {to}"));
    }
    for name in named(report) {
        say(format_args!("damaged: record {name}"));
    }
    for place in &report.damaged_places {
        say(format_args!("damaged: {place}"));
    }
    for (source, seq) in &report.incomplete_snapshots {
        say(format_args!("incomplete: snapshot {seq} of source {source}"));
    }
}

/// Damaged records, each with its source.
fn named(report: &VerifyReport) -> Vec<String> {
    report.damaged_ids.iter().map(|(source, id)| format!("{id} of source {source}")).collect()
}

pub(super) fn store_failure(error: &StoreError) -> Failure {
    let failure = Failure::of(Exit::State, error);
    match error.advice() {
        Some(advice) => failure.advise(advice),
        None => failure,
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit backup`: one run, its progress on stderr, its result on stdout, its run record in the state directory.

use super::{print, print_json};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::job::{self, Job, Summary, summary_lines};
use crate::net::{Net, SOFTWARE};
use crate::progress::{Meter, skip_reason};
use crate::source;
use crate::state::StateDir;
use crate::text::{now_s, parse_duration};
use adit_archive::engine::Plan;
use adit_archive::info::About;
use adit_health::runs::{self, RunRecord};
use adit_wire::signed::Completeness;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Back up files and directories.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A pattern without a slash leaves out that name anywhere; one that begins with a slash is a whole \
path. A run that was cut off goes on where it stood: what the box holds is not sent again."
)]
pub(super) struct Backup {
    /// Print one JSON object on standard output at the end.
    #[arg(long)]
    json: bool,
    /// Leave out what matches the pattern.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Stay on the file system of each path.
    #[arg(long)]
    one_file_system: bool,
    /// Save directories marked by CACHEDIR.TAG as well.
    #[arg(long)]
    with_caches: bool,
    /// Files that change in place by pages: databases, disk images.
    #[arg(long, value_name = "PATTERN")]
    page_store: Vec<String>,
    /// How often this job is meant to run, so that a missed run is noticed.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    period: Option<Duration>,
    /// The job's name in run records.
    #[arg(long, default_value = "adit-backup")]
    job: String,
    /// How long a box that was lost is dialled again.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1h")]
    patience: Duration,
    /// Go on although the box's newest snapshot is not the one that this machine remembers: after you know why.
    #[arg(long)]
    accept_gap: bool,
    /// What to save.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

impl Backup {
    pub(super) fn run(self, state: &StateDir) -> Result<Exit, Failure> {
        state.source()?;
        let _lock = state.lock()?;
        let period_s = self.period.map_or(0, |period| period.as_secs());
        let mut record = RunRecord::started(&self.job, now_s(), period_s);
        append(state, &record)?;
        let result = self.job(state, &record);
        record.ended_s = Some(now_s());
        let exit = match &result {
            Ok(summary) => {
                record.skipped = summary.counts.skipped;
                record.bytes_total = summary.counts.bytes;
                record.bytes_read = summary.counts.bytes_read;
                record.bytes_sent = summary.traffic.bytes_sent;
                record.snapshot = Some(summary.head.to_string());
                match summary.completeness {
                    Completeness::Complete => Exit::Done,
                    Completeness::Partial => Exit::Partial,
                }
            }
            Err(failure) => failure.exit,
        };
        record.exit = Some(i32::from(exit as u8));
        append(state, &record)?;
        let summary = result?;
        if self.json {
            print_json(&to_json(&summary, &record.run))?;
        } else {
            print(&summary_lines(&summary))?;
        }
        Ok(exit)
    }

    fn job(&self, state: &StateDir, record: &RunRecord) -> Result<Summary, Failure> {
        let mut plan = Plan::new(self.paths.clone(), state.path().to_owned());
        plan.excludes.clone_from(&self.exclude);
        plan.one_file_system = self.one_file_system;
        plan.skip_caches = !self.with_caches;
        plan.page_stores.clone_from(&self.page_store);
        plan.about = About {
            host: source::host_name().unwrap_or_default(),
            job: self.job.clone(),
            run: record.run.clone(),
            period_s: record.period_s,
            program: SOFTWARE.to_owned(),
        };
        let job = Job { plan, patience: self.patience, accept_gap: self.accept_gap };
        let net = Net::start()?;
        let meter = Arc::new(Meter::bytes("backup"));
        job::run(state, &net, &job, &meter)
    }
}

fn append(state: &StateDir, record: &RunRecord) -> Result<(), Failure> {
    runs::append(state.path(), record)
        .map_err(|error| Failure::io("write to", &state.path().join(runs::FILE_NAME), &error))
}

fn to_json(summary: &Summary, run: &str) -> Value {
    let counts = &summary.counts;
    let skipped = summary.skipped.iter().filter(|skipped| skipped.reason.is_failure()).map(
        |skipped| json!({ "path": String::from_utf8_lossy(&skipped.path), "reason": skip_reason(skipped.reason) }),
    );
    json!({
        "snapshot": summary.head.to_string(),
        "seq": summary.seq,
        "run": run,
        "complete": summary.completeness == Completeness::Complete,
        "files": counts.files,
        "directories": counts.dirs,
        "others": counts.others,
        "bytes": counts.bytes,
        "files_read": counts.files_read,
        "bytes_read": counts.bytes_read,
        "bytes_new": counts.bytes_new,
        "bytes_sent": summary.traffic.bytes_sent,
        "bytes_received": summary.traffic.bytes_received,
        "bytes_resent": summary.traffic.bytes_resent,
        "records": counts.records,
        "repeats": summary.traffic.repeats,
        "round_trips": summary.traffic.round_trips,
        "reconnects": summary.traffic.reconnects,
        "resumed": summary.resumed,
        "skipped": counts.skipped,
        "skipped_paths": skipped.collect::<Vec<_>>(),
        "seconds": summary.took.as_secs_f64(),
    })
}

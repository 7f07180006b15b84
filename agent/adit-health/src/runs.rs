// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Run records: what each backup run leaves for the agent on the same host. One line of JSON when it starts, one when it
//! ends, under the same run id; the newest [`RECORDS_MAX`] runs are kept. A run that has no end and whose process is gone
//! was cut off: that is how a power cut or a kill becomes visible.

use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Runs that are kept.
pub const RECORDS_MAX: usize = 200;
/// Lines after which the file is written anew.
const LINES_MAX: usize = 2 * RECORDS_MAX + 100;
/// Longest line that is read, bytes.
const LINE_BYTES_MAX: usize = 4_096;
/// The file's name in a source's state directory.
pub const FILE_NAME: &str = "runs.jsonl";
/// Exit code of a run that skipped files.
pub const EXIT_PARTIAL: i32 = 6;

/// One run of one job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The job's name.
    pub job: String,
    /// Unique per job: start time and process.
    pub run: String,
    /// Process of the run, to tell a run under way from one cut off.
    pub process: u32,
    /// When it started, seconds since 1970.
    pub started_s: u64,
    /// When it ended, seconds since 1970.
    pub ended_s: Option<u64>,
    /// The exit code; `None` while it runs.
    pub exit: Option<i32>,
    /// Files that could not be saved.
    pub skipped: u64,
    /// Bytes read from files.
    pub bytes_read: u64,
    /// Bytes of all files that the snapshot holds; 0 in records of an older program.
    #[serde(default)]
    pub bytes_total: u64,
    /// Bytes sent to the box.
    pub bytes_sent: u64,
    /// Seconds between scheduled runs; 0 when it runs by hand.
    pub period_s: u64,
    /// Id of the resulting snapshot.
    pub snapshot: Option<String>,
    /// Not written: set by the reader when the run has no end and its process is gone.
    #[serde(skip)]
    pub ended_early: bool,
}

impl RunRecord {
    /// The record of a run that starts now in this process.
    #[must_use]
    pub fn started(job: &str, now_s: u64, period_s: u64) -> Self {
        let process = std::process::id();
        Self {
            job: job.into(),
            run: format!("{now_s}-{process}"),
            process,
            started_s: now_s,
            period_s,
            ..Self::default()
        }
    }
}

/// Appends one line and makes it durable: call at the start and at the end of a run.
///
/// # Errors
/// When the file cannot be written.
pub fn append(state_dir: &Path, record: &RunRecord) -> io::Result<()> {
    let path = state_dir.join(FILE_NAME);
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    let mut file = OpenOptions::new().append(true).create(true).mode(0o644).open(&path)?;
    file.write_all(&line)?;
    file.sync_data()?;
    compact(&path)
}

fn compact(path: &Path) -> io::Result<()> {
    let text = fs::read_to_string(path)?;
    if text.lines().count() <= LINES_MAX {
        return Ok(());
    }
    let mut kept = Vec::new();
    for record in merge(&text) {
        kept.append(&mut serde_json::to_vec(&record)?);
        kept.push(b'\n');
    }
    let next = path.with_extension("next");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&next)?;
    file.write_all(&kept)?;
    file.sync_data()?;
    fs::rename(&next, path)
}

/// The runs in a source's state directory, oldest first, the newest [`RECORDS_MAX`]. Lines that are torn or not
/// understood are skipped: a power cut may tear the last one.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn read(state_dir: &Path) -> io::Result<Vec<RunRecord>> {
    let text = match fs::read(state_dir.join(FILE_NAME)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut records = merge(&text);
    for record in &mut records {
        record.ended_early = record.exit.is_none() && !process_runs(record.process);
    }
    Ok(records)
}

fn merge(text: &str) -> Vec<RunRecord> {
    let mut records: Vec<RunRecord> = Vec::new();
    for line in text.lines().filter(|line| line.len() <= LINE_BYTES_MAX) {
        let Ok(record) = serde_json::from_str::<RunRecord>(line) else { continue };
        match records.iter_mut().rev().find(|known| known.run == record.run && known.job == record.job) {
            Some(known) => *known = record,
            None => records.push(record),
        }
    }
    let surplus = records.len().saturating_sub(RECORDS_MAX);
    records.drain(..surplus);
    records
}

/// A process id may have been given to another program since: then a cut-off run shows as running until it is late.
fn process_runs(process: u32) -> bool {
    PathBuf::from(format!("/proc/{process}")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_and_end_are_one_run() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = RunRecord::started("adit-backup", 1_000, 10_800);
        append(dir.path(), &record).unwrap();
        assert_eq!(read(dir.path()).unwrap(), [record.clone()]);
        record.exit = Some(0);
        record.ended_s = Some(1_010);
        record.snapshot = Some("abc".into());
        append(dir.path(), &record).unwrap();
        assert_eq!(read(dir.path()).unwrap(), [record]);
    }

    #[test]
    fn a_run_without_an_end_and_without_a_process_was_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        // Linux never gives out this process id: pid_max is at most 2^22.
        let record = RunRecord { process: 1 << 23, ..RunRecord::started("job", 1, 0) };
        append(dir.path(), &record).unwrap();
        assert!(read(dir.path()).unwrap()[0].ended_early);
    }

    #[test]
    fn the_newest_runs_are_kept_and_torn_lines_skipped() {
        let dir = tempfile::tempdir().unwrap();
        for second in 0..u64::try_from(LINES_MAX).unwrap() + 5 {
            let record = RunRecord { exit: Some(0), ..RunRecord::started("job", second, 0) };
            append(dir.path(), &record).unwrap();
        }
        let path = dir.path().join(FILE_NAME);
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LINES_MAX, "{lines} lines");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"job\":\"jo").unwrap();
        let records = read(dir.path()).unwrap();
        assert_eq!(records.len(), RECORDS_MAX);
        assert_eq!(records.last().unwrap().started_s, u64::try_from(LINES_MAX).unwrap() + 4);
    }

    #[test]
    fn no_file_is_no_runs() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).unwrap().is_empty());
    }
}

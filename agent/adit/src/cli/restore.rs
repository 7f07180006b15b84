// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit restore`: a snapshot, or a part of it, below a directory.

use super::{print, print_json, say};
use crate::bring::OpenSource;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history::Item;
use crate::prompt::KeyArgs;
use crate::state::StateDir;
use crate::text::{self, Lines as _};
use adit_archive::restore::{Fault, Report, Target};
use serde_json::json;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Faults that are shown; the rest are only counted.
const FAULTS_SHOWN: usize = 20;

/// Restore a snapshot, or a part of it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every path gets its full place below DIR: /etc/hosts becomes DIR/etc/hosts. What is there already \
is left alone."
)]
pub(super) struct Restore {
    /// Which snapshot: `latest`, its number or the first digits of its id.
    snapshot: String,
    #[command(flatten)]
    key: KeyArgs,
    /// The directory to restore to; it is made when it does not exist.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Only these paths; a directory brings what lies below it.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

impl Restore {
    pub(super) fn run(self, state: &StateDir) -> Result<Exit, Failure> {
        let opened = OpenSource::paired(state, &self.key)?;
        let reading = opened.reading();
        let item = reading.history.find(&self.snapshot)?.clone();
        let report = reading.restore(&item, &target_of(self.to.clone(), &self.paths))?;
        opened.close();
        finish(&item, &self.to, &report, self.json)
    }
}

/// What to bring back and where to.
pub(super) fn target_of(to: PathBuf, paths: &[PathBuf]) -> Target {
    let paths = paths.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect();
    Target { to, paths, numeric_owners: false, writers: 0 }
}

/// Prints a report; answers the exit code.
pub(super) fn finish(item: &Item, to: &Path, report: &Report, as_json: bool) -> Result<Exit, Failure> {
    let damaged = report.faults.iter().any(|(_, fault)| *fault == Fault::Damaged);
    let exit = match (damaged, report.faults.is_empty()) {
        (true, _) => Exit::Damaged,
        (false, true) => Exit::Done,
        (false, false) => Exit::Partial,
    };
    if as_json {
        let faults = report
            .faults
            .iter()
            .map(|(path, fault)| json!({ "path": String::from_utf8_lossy(path), "fault": fault_text(fault) }));
        print_json(&json!({
            "snapshot": item.head.to_string(),
            "seq": item.snapshot.seq,
            "to": to.to_string_lossy(),
            "files": report.files,
            "directories": report.dirs,
            "others": report.others,
            "bytes": report.bytes,
            "records": report.records,
            "owners_not_set": report.owners_not_set,
            "faults": faults.collect::<Vec<_>>(),
        }))?;
        return Ok(exit);
    }
    for (path, fault) in report.faults.iter().take(FAULTS_SHOWN) {
        say(&format!("{}: {}", String::from_utf8_lossy(path), fault_text(fault)));
    }
    if report.faults.len() > FAULTS_SHOWN {
        say(&format!("and {} more", report.faults.len() - FAULTS_SHOWN));
    }
    let mut lines = String::new();
    lines.line(format_args!(
        "snapshot {} ({}) of {}: {} files, {} directories, {} others, {} restored to {}",
        text::short(&item.head),
        item.snapshot.seq,
        text::time(item.received_s),
        text::count(report.files),
        text::count(report.dirs),
        text::count(report.others),
        text::bytes(report.bytes),
        to.display(),
    ));
    if report.owners_not_set > 0 {
        lines.line(format_args!("{} owners need root to be set; the files are yours", report.owners_not_set));
    }
    if !report.faults.is_empty() {
        lines.line(format_args!("{} paths did not come back whole", report.faults.len()));
    }
    print(&lines)?;
    Ok(exit)
}

/// What a person reads of a path that did not come back whole.
fn fault_text(fault: &Fault) -> String {
    match fault {
        Fault::Damaged => "damaged on the box; try another snapshot (`adit snapshots`)".to_owned(),
        Fault::Exists => "something is there already; it was left alone".to_owned(),
        Fault::System(errno) => format!("could not be written: {}", std::io::Error::from_raw_os_error(*errno)),
        Fault::SavedInPart => "could not be read whole when it was saved".to_owned(),
        Fault::NeedsRoot => "needs root to be restored".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_words() {
        let texts = [Fault::Damaged, Fault::Exists, Fault::System(28), Fault::SavedInPart, Fault::NeedsRoot]
            .map(|fault| fault_text(&fault));
        assert!(texts[2].contains("No space left on device"), "{texts:?}");
        assert!(texts.iter().all(|text| !text.is_empty()));
    }
}

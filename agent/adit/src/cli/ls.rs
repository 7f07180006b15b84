// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit ls`: the files of a snapshot, one line each, in the order of paths.

use super::{print, say};
use crate::bring::OpenSource;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::prompt::KeyArgs;
use crate::state::StateDir;
use crate::text::{self, Lines as _};
use adit_archive::entry::{Entry, Kind, Mark, display_path, parse_path};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// Lines written at once, bytes.
const PAGE_BYTES: usize = 64 << 10;

/// List the files of a snapshot.
#[derive(Debug, clap::Args)]
pub(super) struct Ls {
    /// Which snapshot: `latest`, its number or the first digits of its id.
    snapshot: String,
    #[command(flatten)]
    key: KeyArgs,
    /// Only what lies at or below these paths.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

impl Ls {
    pub(super) fn run(self, state: &StateDir) -> Result<Exit, Failure> {
        let mut paths = Vec::new();
        for path in &self.paths {
            paths.push(parse_path(path.as_os_str().as_bytes()).ok_or_else(|| {
                Failure::new(Exit::Usage, format!("{} leads upward", path.display()), "name the path without `..`")
            })?);
        }
        let opened = OpenSource::paired(state, &self.key)?;
        let reading = opened.reading();
        let item = reading.history.find(&self.snapshot)?.clone();
        let mut page = String::new();
        let mut printed = Ok(());
        let lost = reading.entries(&item, paths, &mut |entry| {
            page.line(line(entry));
            if page.len() >= PAGE_BYTES {
                printed = print(&page);
                page.clear();
            }
            printed.is_ok()
        })?;
        printed?;
        print(&page)?;
        opened.close();
        for path in &lost {
            say(&format!("damaged from here on: {}", String::from_utf8_lossy(&display_path(path))));
        }
        Ok(if lost.is_empty() { Exit::Done } else { Exit::Damaged })
    }
}

/// Type and mode, owner, size, time, path; what a terminal can't show is escaped.
fn line(entry: &Entry) -> String {
    let path = String::from_utf8_lossy(&entry.display_path()).escape_debug().to_string();
    let target = match &entry.kind {
        Kind::Symlink(target) => format!(" -> {}", String::from_utf8_lossy(target).escape_debug()),
        Kind::File | Kind::Dir | Kind::Parent | Kind::Fifo | Kind::CharDevice(..) | Kind::BlockDevice(..) => {
            String::new()
        }
    };
    let mark = match entry.mark {
        Mark::Whole => "",
        Mark::Changed => "  (changed while it was read)",
        Mark::Unreadable => "  (could not be read)",
    };
    let time = u64::try_from(entry.mtime.s).map_or_else(|_| format!("@{}", entry.mtime.s), text::time);
    let owner = format!("{}:{}", entry.owner.uid, entry.owner.gid);
    format!(
        "{}{:04o} {owner:>11} {:>9} {time} {path}{target}{mark}",
        letter(&entry.kind),
        entry.mode,
        text::bytes(entry.size)
    )
}

const fn letter(kind: &Kind) -> char {
    match kind {
        Kind::File => '-',
        Kind::Dir | Kind::Parent => 'd',
        Kind::Symlink(_) => 'l',
        Kind::Fifo => 'p',
        Kind::CharDevice(..) => 'c',
        Kind::BlockDevice(..) => 'b',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_stay_on_one_line() {
        let mut entry = Entry::new(b"tmp\0a\nb".to_vec(), Kind::Symlink(b"x".to_vec()));
        entry.mode = 0o777;
        let text = line(&entry);
        assert!(text.starts_with("l0777         0:0       0 B "), "{text}");
        assert!(text.ends_with("/tmp/a\\nb -> x"), "{text}");
    }
}

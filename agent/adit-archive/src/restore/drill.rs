// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A fire drill: random files come back for real and are compared with what is on the disk now.

use super::keyring::Keyring;
use super::reader::{Node, ReadError, TreeReader};
use super::run::{RestoreError, restore};
use super::{Fetcher, Report, Target};
use crate::entry::{Entry, Kind, Mark, display_path};
use crate::walk::{Stat, system_path};
use adit_wire::ids::Id;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// How a drill went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrillReport {
    /// Files that were drawn.
    pub drawn: u64,
    /// Came back and equal the file on the disk.
    pub equal: u64,
    /// Came back whole by their ids; the file on the disk has changed since or is gone.
    pub whole: u64,
    /// Came back and differ from an unchanged file on the disk, or did not come back: as a person writes paths.
    pub failed: Vec<Vec<u8>>,
    /// What the restore said.
    pub restore: Report,
}

/// Restores `count` random files of a snapshot below `scratch`, an empty directory, and compares. `fill` gives
/// randomness.
///
/// # Errors
/// When nothing can be restored at all.
pub fn drill(
    fetcher: &dyn Fetcher,
    keyring: &Keyring,
    root: Id,
    count: usize,
    scratch: &Path,
    fill: &mut dyn FnMut(&mut [u8]),
) -> Result<DrillReport, RestoreError> {
    let drawn = draw(&mut TreeReader::new(fetcher, keyring)?, root, count, fill)?;
    let mut report = DrillReport { drawn: drawn.len() as u64, ..DrillReport::default() };
    if drawn.is_empty() {
        return Ok(report);
    }
    let paths = drawn.iter().map(Entry::display_path).collect();
    let target = Target { paths, ..Target::all(scratch.to_owned()) };
    report.restore = restore(fetcher, keyring, root, &target, &|_, _| ())?;
    for entry in &drawn {
        let shown = display_path(&entry.path);
        let live = system_path(&entry.path);
        let restored = scratch.join(live.strip_prefix("/").unwrap_or(&live));
        let lost = report.restore.faults.iter().any(|(path, fault)| *path == shown && fault.is_loss());
        match (lost, is_unchanged(&live, entry)) {
            (true, _) => report.failed.push(shown),
            (false, true) if same_bytes(&live, &restored) => report.equal += 1,
            // It may have changed while it was compared: then its times tell now.
            (false, true) if is_unchanged(&live, entry) => report.failed.push(shown),
            (false, _) if restored.exists() => report.whole += 1,
            (false, _) => report.failed.push(shown),
        }
    }
    Ok(report)
}

/// Draws files by a uniform number over all entries; only leaves that hold a drawn number are fetched. A number that
/// hits something else takes the next file of its leaf, or none.
fn draw(
    reader: &mut TreeReader<'_>,
    root: Id,
    count: usize,
    fill: &mut dyn FnMut(&mut [u8]),
) -> Result<Vec<Entry>, RestoreError> {
    let (entries, _) = reader.totals(root)?;
    let mut numbers: Vec<u64> = (0..count)
        .map(|_| {
            let mut bytes = [0; 8];
            fill(&mut bytes);
            u64::from_le_bytes(bytes) % entries.max(1)
        })
        .collect();
    numbers.sort_unstable();
    let between = |from: u64, to: u64| {
        &numbers[numbers.partition_point(|number| *number < from)..numbers.partition_point(|number| *number < to)]
    };
    let mut drawn: Vec<Entry> = Vec::new();
    let mut ahead = vec![(root, 0u64)];
    for _ in 0..=adit_wire::record::HEIGHT_MAX {
        let ids: Vec<Id> = ahead.iter().map(|(id, _)| *id).collect();
        let mut found = reader.nodes(&ids)?;
        let mut below = Vec::new();
        for (id, start) in ahead {
            match found.remove(&id) {
                Some(Node::Inner(inner)) => {
                    let mut at = start;
                    for child in inner.children {
                        let end = at.saturating_add(child.entries);
                        if !between(at, end).is_empty() {
                            below.push((child.id, at));
                        }
                        at = end;
                    }
                }
                Some(Node::Leaf(entries)) => draw_from(&entries, start, &between, &mut drawn),
                Some(Node::List(..)) | None => return Err(ReadError::Damaged("node", id).into()),
            }
        }
        if below.is_empty() {
            break;
        }
        ahead = below;
    }
    Ok(drawn)
}

fn draw_from<'n>(entries: &[Entry], start: u64, between: &impl Fn(u64, u64) -> &'n [u64], drawn: &mut Vec<Entry>) {
    let mut due = 0;
    for (at, entry) in (start..).zip(entries) {
        due += between(at, at + 1).len();
        if due > 0 && entry.kind == Kind::File && entry.mark == Mark::Whole {
            due -= 1;
            drawn.push(entry.clone());
        }
    }
}

fn is_unchanged(live: &Path, entry: &Entry) -> bool {
    Stat::of_path(live).is_ok_and(|stat| stat.size == entry.size && stat.mtime == entry.mtime)
}

fn same_bytes(live: &Path, restored: &Path) -> bool {
    let (Ok(mut live), Ok(mut restored)) = (File::open(live), File::open(restored)) else { return false };
    let (mut a, mut b) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        match (fill_up(&mut live, &mut a), fill_up(&mut restored, &mut b)) {
            (Ok(0), Ok(0)) => return true,
            (Ok(x), Ok(y)) if x == y && a[..x] == b[..y] => {}
            _ => return false,
        }
    }
}

fn fill_up(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

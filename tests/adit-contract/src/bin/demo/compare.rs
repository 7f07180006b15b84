// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Compares what came back with what was saved, file by file, with a comparer that is not the product's own. Without
//! root some things cannot be set by anybody (owners, set-id bits, privileged attributes); they are named, not hidden.

use adit_contract::tree::{Entry, describe_readable};
use anyhow::{Context as _, Result};
use std::path::Path;

/// What the comparison found.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// Entries that are equal.
    pub(crate) equal: u64,
    /// Regular files among them.
    pub(crate) files: u64,
    /// Bytes of their content.
    pub(crate) bytes: u64,
    /// Entries of the source that this user cannot read, so that no backup by this user holds them.
    pub(crate) unreadable: u64,
    /// What differs, a line each.
    pub(crate) differences: Vec<String>,
}

/// Compares a saved tree with what came back.
pub(crate) fn compare(saved: &Path, back: &Path) -> Result<Comparison> {
    let privileged = rustix::process::geteuid().is_root();
    let mut comparison = Comparison::default();
    let (left, unreadable) = describe_readable(saved).with_context(|| format!("read {}", saved.display()))?;
    let (mut right, _) = describe_readable(back).with_context(|| format!("read {}", back.display()))?;
    comparison.unreadable = unreadable.len() as u64;
    for (path, mut entry) in left {
        let Some(mut other) = right.remove(&path) else {
            comparison.differences.push(format!("{} is missing", path.display()));
            continue;
        };
        if !privileged {
            settable(&mut entry);
            settable(&mut other);
        }
        if entry == other {
            comparison.equal += 1;
            comparison.bytes += entry.size;
            comparison.files += u64::from(entry.mode & 0o170_000 == 0o100_000);
        } else {
            comparison.differences.push(format!("{}: {entry:?} became {other:?}", path.display()));
        }
    }
    let extra = right.keys().filter(|path| !unreadable.contains(*path));
    comparison.differences.extend(extra.map(|path| format!("{} is extra", path.display())));
    Ok(comparison)
}

/// Takes away what only root can set.
fn settable(entry: &mut Entry) {
    entry.owner = (0, 0);
    entry.mode &= !0o6000;
    entry.xattrs.retain(|name, _| name.starts_with(b"user."));
}

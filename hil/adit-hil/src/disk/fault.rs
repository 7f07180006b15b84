// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Faults of a disk while its machine runs. Everything goes through QEMU's monitor and is undone by it; only silent
//! corruption changes the image itself. A flush never fails here: the reopen that heals a disk has to flush it.

use super::{Disk, Kind};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Most sectors with an error of their own at one time; each is a rule that QEMU walks at every request.
pub const BAD_SECTORS_MAX: u64 = 1024;
/// Shortest and longest marker that is looked for in an image, in bytes; a shorter one would be found by chance.
pub const MARKER_BYTES_MIN: usize = 8;
/// See [`MARKER_BYTES_MIN`].
pub const MARKER_BYTES_MAX: usize = 4096;
/// Most bytes that are corrupted at once.
pub const CORRUPTED_BYTES_MAX: usize = 1 << 20;
/// How much of an image is looked through at once, in bytes.
const WINDOW_BYTES: usize = 1 << 20;

/// A connection to QEMU's monitor.
pub trait Monitor {
    /// Runs one command and returns what came back; what QEMU refuses is an error with QEMU's words.
    fn execute(&mut self, command: &str, arguments: Value) -> Result<Value>;
}

/// What the guest tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Writing.
    Write,
}

/// The error that QEMU answers with. What the guest makes of it depends on the kind of disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errno {
    /// EIO, a failed medium.
    Io,
    /// ENOSPC, a thin device that is full.
    Full,
}

/// One kind of failure, in force until the disk heals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What fails.
    pub access: Access,
    /// On which sectors of 512 bytes; `None` is everywhere.
    pub sectors: Option<Range<u64>>,
    /// How it fails.
    pub errno: Errno,
}

/// The warning bits of an NVMe disk's health log.
pub mod nvme_warning {
    /// Spare blocks run out.
    pub const SPARE: u8 = 1;
    /// Too hot or too cold. QEMU has no knob for the temperature itself: it reads 323 K.
    pub const TEMPERATURE: u8 = 2;
    /// The medium is no longer reliable.
    pub const RELIABILITY: u8 = 4;
    /// The disk turned read-only.
    pub const READ_ONLY: u8 = 8;
    /// The capacitor of the cache failed.
    pub const CACHE_BACKUP: u8 = 16;
}

/// The faults of one disk. Lives as long as its machine, because nodes are numbered and never used twice.
#[derive(Debug)]
pub struct Faults {
    disk: Disk,
    error_node: Option<String>,
    error_nodes_made: u32,
    plugged: bool,
}

impl Faults {
    /// The faults of `disk` in a machine that was started just now.
    pub fn new(disk: &Disk) -> Self {
        Self { disk: disk.clone(), error_node: None, error_nodes_made: 0, plugged: disk.plugged }
    }

    /// Lets requests fail as told, instead of what was told before.
    pub fn fail(&mut self, monitor: &mut impl Monitor, failures: &[Failure]) -> Result<()> {
        let rules = rules(failures)?;
        self.error_nodes_made += 1;
        let node = format!("{}-error-{}", self.disk.name(), self.error_nodes_made);
        monitor.execute(
            "blockdev-add",
            json!({"driver": "blkdebug", "node-name": node, "image": self.disk.below_top(), "inject-error": rules,
                   "discard": "unmap"}),
        )?;
        self.reopen(monitor, Some(node))
    }

    /// Lets every read and every write fail: a dead disk that still answers.
    pub fn fail_all(&mut self, monitor: &mut impl Monitor) -> Result<()> {
        let all = |access| Failure { access, sectors: None, errno: Errno::Io };
        self.fail(monitor, &[all(Access::Read), all(Access::Write)])
    }

    /// Takes the failures away.
    pub fn heal(&mut self, monitor: &mut impl Monitor) -> Result<()> {
        self.reopen(monitor, None)
    }

    fn reopen(&mut self, monitor: &mut impl Monitor, error_node: Option<String>) -> Result<()> {
        let below = error_node.clone().unwrap_or_else(|| self.disk.below_top());
        monitor.execute("blockdev-reopen", json!({"options": [self.disk.top(&below)]}))?;
        if let Some(old) = std::mem::replace(&mut self.error_node, error_node) {
            monitor.execute("blockdev-del", json!({"node-name": old}))?;
        }
        Ok(())
    }

    /// Answers no more, but for the one request that QEMU's leaky bucket lets through first; then one sector in eight
    /// minutes. Requests wait; [`Faults::resume`] answers them. Any reopen (a failure, its healing) answers them too.
    pub fn stall(&self, monitor: &mut impl Monitor) -> Result<()> {
        self.limit(monitor, 0, 1)
    }

    /// At most so many requests and bytes a second; 0 is no limit. More than one limit may hold.
    pub fn slow(&self, monitor: &mut impl Monitor, requests: u64, bytes: u64) -> Result<()> {
        self.limit(monitor, requests, bytes)?;
        self.release(monitor)
    }

    /// Full speed again; what waited is answered.
    pub fn resume(&self, monitor: &mut impl Monitor) -> Result<()> {
        self.slow(monitor, 0, 0)
    }

    fn limit(&self, monitor: &mut impl Monitor, requests: u64, bytes: u64) -> Result<()> {
        let path = format!("/objects/{}", self.disk.throttle_group());
        let value = json!({"iops-total": requests, "bps-total": bytes});
        monitor.execute("qom-set", json!({"path": path, "property": "limits", "value": value}))?;
        Ok(())
    }

    /// New limits do not wake what waits for the old ones (QEMU 7.2); a reopen does.
    fn release(&self, monitor: &mut impl Monitor) -> Result<()> {
        monitor.execute("blockdev-reopen", json!({"options": [self.disk.throttle()]}))?;
        Ok(())
    }

    /// Pulls the disk. `deleted` waits for QEMU's DEVICE_DELETED with the given device; an NVMe disk needs a running
    /// guest for that, SCSI and USB do not.
    pub fn pull<M: Monitor>(
        &mut self,
        monitor: &mut M,
        deleted: impl FnOnce(&mut M, &str) -> Result<()>,
    ) -> Result<()> {
        ensure!(self.disk.pluggable(), "a {:?} disk cannot be pulled: let everything fail", self.disk.kind());
        ensure!(self.plugged, "disk {} is already out", self.disk.name());
        let id = self.disk.device_id();
        monitor.execute("device_del", json!({"id": id}))?;
        deleted(monitor, &id)?;
        self.plugged = false;
        Ok(())
    }

    /// Plugs the disk in.
    pub fn plug(&mut self, monitor: &mut impl Monitor) -> Result<()> {
        ensure!(self.disk.pluggable(), "a {:?} disk cannot be plugged in", self.disk.kind());
        ensure!(!self.plugged, "disk {} is already in", self.disk.name());
        monitor.execute("device_add", self.disk.device(0))?;
        self.plugged = true;
        Ok(())
    }

    /// Sets the bits of [`nvme_warning`]; 0 is a healthy disk.
    pub fn nvme_warn(&self, monitor: &mut impl Monitor, bits: u8) -> Result<()> {
        ensure!(self.disk.kind() == Kind::Nvme, "disk {} has no NVMe health log", self.disk.name());
        let path = format!("/machine/peripheral/{}", self.disk.device_id());
        monitor.execute("qom-set", json!({"path": path, "property": "smart_critical_warning", "value": bits}))?;
        Ok(())
    }

    /// Grows the disk to `size_bytes`. The guest notices by itself, except with NVMe, which must be out while it grows.
    pub fn grow(&self, monitor: &mut impl Monitor, size_bytes: u64) -> Result<()> {
        ensure!(
            self.disk.kind() != Kind::Nvme || !self.plugged,
            "QEMU cannot grow an NVMe disk that is plugged in: pull {} first",
            self.disk.name()
        );
        ensure!(size_bytes > self.disk.size_bytes(), "{size_bytes} bytes are not more than before");
        monitor.execute("block_resize", json!({"node-name": self.disk.name(), "size": size_bytes}))?;
        Ok(())
    }

    /// Inverts `bytes` of the raw image behind the guest's back. What the guest holds in its own cache stays as it was.
    pub fn corrupt(&self, bytes: Range<u64>) -> Result<()> {
        ensure!(self.disk.base.is_none(), "disk {} is an overlay: corrupt it at a marker", self.disk.name());
        invert(&self.image()?, bytes)
    }

    /// Inverts the first occurrence of `marker` in the image file and returns its offset in that file, in bytes.
    pub fn corrupt_marker(&self, marker: &[u8]) -> Result<u64> {
        let offset = self.find(marker)?;
        invert(&self.image()?, offset..offset + u64::try_from(marker.len())?)?;
        Ok(offset)
    }

    /// Where the first occurrence of `marker` stands in the image file, in bytes.
    pub fn find(&self, marker: &[u8]) -> Result<u64> {
        find(&self.image()?, marker)?.with_context(|| format!("no such marker in disk {}", self.disk.name()))
    }

    fn image(&self) -> Result<File> {
        let path = self.disk.image();
        OpenOptions::new().read(true).write(true).open(&path).with_context(|| format!("open {}", path.display()))
    }
}

/// The rules of QEMU's blkdebug for `failures`.
fn rules(failures: &[Failure]) -> Result<Vec<Value>> {
    let mut rules = Vec::new();
    let mut sectors_count = 0_u64;
    for failure in failures {
        let iotype = match failure.access {
            Access::Read => "read",
            Access::Write => "write",
        };
        let errno = match failure.errno {
            Errno::Io => 5,
            Errno::Full => 28,
        };
        let rule = json!({"event": "none", "iotype": iotype, "errno": errno, "once": false});
        let Some(sectors) = &failure.sectors else {
            rules.push(rule);
            continue;
        };
        ensure!(!sectors.is_empty(), "no sector between {} and {}", sectors.start, sectors.end);
        sectors_count = sectors_count.saturating_add(sectors.end - sectors.start);
        ensure!(sectors_count <= BAD_SECTORS_MAX, "more than {BAD_SECTORS_MAX} bad sectors: fail everything instead");
        for sector in sectors.clone() {
            let mut rule = rule.clone();
            rule["sector"] = sector.into();
            rules.push(rule);
        }
    }
    ensure!(!rules.is_empty(), "nothing is to fail: heal instead");
    Ok(rules)
}

fn invert(file: &File, bytes: Range<u64>) -> Result<()> {
    let length = usize::try_from(bytes.end.checked_sub(bytes.start).context("range ends before it starts")?)?;
    ensure!((1..=CORRUPTED_BYTES_MAX).contains(&length), "{length} bytes are not 1 to {CORRUPTED_BYTES_MAX}");
    let mut content = vec![0; length];
    file.read_exact_at(&mut content, bytes.start).context("read what is to be corrupted")?;
    content.iter_mut().for_each(|byte| *byte = !*byte);
    file.write_all_at(&content, bytes.start).context("write the corruption")
}

/// Where `marker` stands first in `file`.
fn find(file: &File, marker: &[u8]) -> Result<Option<u64>> {
    ensure!(
        (MARKER_BYTES_MIN..=MARKER_BYTES_MAX).contains(&marker.len()),
        "a marker has {MARKER_BYTES_MIN} to {MARKER_BYTES_MAX} bytes"
    );
    let mut window = vec![0; WINDOW_BYTES + marker.len()];
    let mut start = 0;
    loop {
        let length = read_up_to(file, &mut window, start)?;
        let seen = window.get(..length).unwrap_or_default();
        // Zeros are most of an image: the first byte is looked for with a fast search.
        let mut from = 0;
        while let Some(step) =
            seen.get(from..).and_then(|rest| rest.iter().position(|byte| Some(byte) == marker.first()))
        {
            if seen.get(from + step..).is_some_and(|rest| rest.starts_with(marker)) {
                return Ok(Some(start + u64::try_from(from + step)?));
            }
            from += step + 1;
        }
        if length < window.len() {
            return Ok(None);
        }
        start += u64::try_from(WINDOW_BYTES)?;
    }
}

fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> Result<usize> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + u64::try_from(length)?) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => bail!("read at {offset}: {error}"),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_sectors_are_counted() {
        let failure = |sectors| Failure { access: Access::Read, sectors: Some(sectors), errno: Errno::Io };
        assert_eq!(rules(&[failure(8..10)]).unwrap().len(), 2);
        assert_eq!(rules(&[failure(0..BAD_SECTORS_MAX)]).unwrap().len(), 1024);
        assert!(rules(&[failure(0..BAD_SECTORS_MAX), failure(9..10)]).unwrap_err().to_string().contains("1024"));
        assert!(rules(&[failure(0..u64::MAX), failure(0..u64::MAX)]).is_err());
        assert!(rules(&[failure(3..3)]).is_err());
        assert!(rules(&[]).is_err());
    }

    #[test]
    fn a_marker_is_found_across_windows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
        file.set_len(3 << 20).unwrap();
        let marker = b"adit-marker";
        assert_eq!(find(&file, marker).unwrap(), None);
        for offset in [2 * WINDOW_BYTES as u64 + 77, WINDOW_BYTES as u64 - 3, 0] {
            file.write_all_at(marker, offset).unwrap();
            assert_eq!(find(&file, marker).unwrap(), Some(offset));
        }
        invert(&file, 0..11).unwrap();
        assert_eq!(find(&file, marker).unwrap(), Some(WINDOW_BYTES as u64 - 3));
        assert!(find(&file, b"short").is_err());
        assert!(find(&file, &[7; MARKER_BYTES_MAX + 1]).is_err());
        assert!(invert(&file, 5..5).is_err());
        assert!(invert(&file, 0..CORRUPTED_BYTES_MAX as u64).is_ok());
        assert!(invert(&file, 0..CORRUPTED_BYTES_MAX as u64 + 1).is_err());
    }
}

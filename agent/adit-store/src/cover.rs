// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Parity files on the disk: when they are written, and how they are read. They are derived: a store without them keeps
//! every promise as long as its disk gives back what it took, so a full disk goes without until there is room.

use crate::bytes::{PAGE_U64, memory};
use crate::disk::{Disk, FileId, Mode, read_pages, replace_file};
use crate::error::{Fault, WriteError};
use crate::parity::{Encoder, ParityFile, Shape};
use crate::segment::{OpenSegment, number};
use crate::store::Store;
use crate::types::{Event, Moment};
use std::io;
use std::sync::Arc;

/// Directory of the parity files.
pub(crate) const DIR: &str = "par";
/// A flushed byte of an open segment is covered by parity on the disk after so long, or a call of [`Store::tend`] later.
pub const PARITY_DELAY_MS: u64 = 9 * 60_000;
/// Bytes read at once to compute parity.
pub(crate) const CHUNK_BYTES: u64 = 1 << 20;

/// Name of a segment's parity file.
pub(crate) fn name(segment: u32) -> String {
    format!("{segment:08x}.pq")
}

/// Path of a segment's parity file.
pub(crate) fn path(segment: u32) -> String {
    format!("{DIR}/{}", name(segment))
}

/// Writes a parity file whole. False when there is no room.
pub(crate) fn write(disk: &dyn Disk, segment: u32, bytes: &[u8]) -> Result<bool, Fault> {
    let written = disk.create_dir(DIR).and_then(|()| replace_file(disk, DIR, &name(segment), bytes));
    match written.map_err(Fault::write(path(segment))) {
        Ok(()) => Ok(true),
        Err(Fault::Full) => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// Reads a segment's parity file, whatever it covers; `None` if it is not there or no use.
pub(crate) fn read(disk: &dyn Disk, segment: u32, shape: Shape) -> Option<ParityFile> {
    let file = disk.open(&path(segment), Mode::Read).ok()?;
    disk.uncache(file);
    let bytes = disk.len(file).ok().filter(|length| *length <= longest(shape)).map(|length| {
        let mut bytes = vec![0; memory(length)];
        let (_, unreadable) = read_pages(disk, file, 0, &mut bytes);
        (bytes, unreadable)
    });
    disk.close(file);
    let (bytes, unreadable) = bytes?;
    ParityFile::from_bytes(&bytes, &unreadable).filter(|file| file.segment == segment && file.shape == shape)
}

/// No parity file is longer: two columns, the check sums of as many columns as there may be, header and hash.
const fn longest(shape: Shape) -> u64 {
    2 * PAGE_U64 + 2 * shape.column() + 4 * 257 * (shape.column() >> shape.cell_log2)
}

/// Takes bytes of a file into its parity, at most `max_bytes` more. False when the disk does not give them.
pub(crate) fn encode(disk: &dyn Disk, file: FileId, encoder: &mut Encoder, end: u64, max_bytes: u64) -> bool {
    let until = end.min(encoder.covered().saturating_add(max_bytes));
    while encoder.covered() < until {
        let mut bytes = vec![0; memory(CHUNK_BYTES.min(until - encoder.covered()))];
        if crate::disk::read_exact(disk, file, encoder.covered(), &mut bytes).is_err() {
            return false;
        }
        encoder.push(&bytes);
    }
    true
}

impl Store {
    pub(crate) const fn shape(&self) -> Shape {
        Shape::new(self.superblock.geometry)
    }

    /// What has to be done now and then, at least once a minute: parity of bytes that came a while ago.
    ///
    /// # Errors
    /// When the disk fails. A full disk only puts the work off.
    pub fn tend(&mut self, now: Moment) -> Result<(), WriteError> {
        if self.read_only.is_some() {
            return Ok(());
        }
        for place in 0..self.open.len() {
            let since = self.uncovered_ms[place];
            if since.is_some_and(|since| now.monotonic_ms.saturating_sub(since) >= PARITY_DELAY_MS) {
                match self.sync(now) {
                    Ok(()) => {}
                    Err(WriteError::DiskFull) => return Ok(()),
                    Err(error) => return Err(error),
                }
                self.write_parity(place)?;
            }
        }
        Ok(())
    }

    /// Notes since when flushed bytes lie behind the parity files.
    pub(crate) fn watch_parity(&mut self, now: Moment) {
        for (segment, since) in self.open.iter().zip(&mut self.uncovered_ms) {
            let wants = segment.as_ref().is_some_and(OpenSegment::wants_parity);
            *since = wants.then(|| since.unwrap_or(now.monotonic_ms));
        }
    }

    /// Writes the parity of one open segment, all of whose bytes are flushed. Without room it waits for the next time.
    pub(crate) fn write_parity(&mut self, place: usize) -> Result<(), WriteError> {
        let disk = Arc::clone(&self.disk);
        let Some(segment) = self.open[place].as_mut().filter(|segment| segment.wants_parity()) else { return Ok(()) };
        let Some(bytes) = segment.parity_file(segment.durable(), [0; 32]) else { return Ok(()) };
        match write(&*disk, segment.number(), &bytes) {
            Ok(true) => {
                segment.parity_is_written();
                self.uncovered_ms[place] = None;
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(fault) => Err(self.fail(fault)),
        }
    }

    /// Writes the parity of a segment that was just sealed, before anything rests on it. Without room, or where none was
    /// kept, the scrub computes it later.
    pub(crate) fn keep_parity(&mut self, segment: u32, bytes: Option<Vec<u8>>) -> Result<(), WriteError> {
        let written = match bytes {
            Some(bytes) => write(&*self.disk, segment, &bytes).map_err(|fault| self.fail(fault))?,
            None => false,
        };
        if !written {
            self.scrub.lacks_parity(segment);
        }
        Ok(())
    }

    /// Parity of an open segment that goes on after a proper end: from its file, or computed anew.
    pub(crate) fn resume_parity(&mut self, segment: &mut OpenSegment) {
        let (shape, end) = (self.shape(), segment.end());
        let written = read(&*self.disk, segment.number(), shape).filter(|file| file.covered == end);
        if let Some(parity) = written.and_then(Encoder::resume) {
            segment.keep_parity(parity, end);
        } else if shape.fits(end) {
            if self.disk.list(DIR).is_ok_and(|names| names.contains(&name(segment.number()))) {
                self.events.push(Event::ParityRewritten { segment: segment.number() });
            }
            let mut parity = Encoder::new(shape);
            if encode(&*self.disk, segment.file(), &mut parity, end, end) {
                segment.keep_parity(parity, 0);
            }
        }
    }

    /// Computes and writes the parity of a segment that was just sealed; what can't be read leaves it without.
    pub(crate) fn cover_sealed(&self, segment: u32, file: FileId, length: u64, hash: [u8; 32]) -> Result<(), Fault> {
        let mut parity = Encoder::new(self.shape());
        if self.shape().fits(length) && encode(&*self.disk, file, &mut parity, length, length) {
            write(&*self.disk, segment, &parity.to_file(segment, hash))?;
        }
        Ok(())
    }

    /// Removes parity of segments that are gone. What stays is tried again at the next start.
    pub(crate) fn remove_stray_parity(&self) {
        for stray in self.disk.list(DIR).unwrap_or_default() {
            let segment = stray.strip_suffix(".pq").and_then(|digits| number(&format!("{digits}.adt")));
            if segment.is_some_and(|segment| !self.state.segments.contains_key(&segment)) {
                remove(&*self.disk, &stray);
            }
        }
    }
}

/// Removes a parity file. What stays goes at the next start.
pub(crate) fn remove(disk: &dyn Disk, name: &str) {
    match disk.remove(&format!("{DIR}/{name}")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => log::warn!("cannot remove {DIR}/{name}: {error}"),
        Ok(()) | Err(_) => {}
    }
}

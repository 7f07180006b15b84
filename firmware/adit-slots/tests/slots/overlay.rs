// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A disk of a shared base and the sectors that changed, so that thousands of disks after a power cut cost little. It
//! writes down every sector write and flush.

use embedded_io::{ErrorKind, ErrorType, SeekFrom};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

/// A sector write, or a flush.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Sector(u64, Rc<Vec<u8>>),
    Flush,
}

/// Sectors that differ from the base.
pub(crate) type Changed = BTreeMap<u64, Rc<Vec<u8>>>;

#[derive(Clone, Debug)]
pub(crate) struct Overlay {
    pub(crate) base: Rc<Vec<u8>>,
    pub(crate) changed: Changed,
    pub(crate) sector_bytes: usize,
    pub(crate) log: Vec<Done>,
    pub(crate) read_only: bool,
    at: u64,
}

impl Overlay {
    pub(crate) fn new(base: Vec<u8>, sector_bytes: usize) -> Self {
        let base = Rc::new(base);
        Self { base, changed: Changed::new(), sector_bytes, log: Vec::new(), read_only: false, at: 0 }
    }

    /// The same disk with these changes, and nothing done yet.
    pub(crate) fn with(&self, changed: Changed) -> Self {
        Self { changed, log: Vec::new(), at: 0, ..self.clone() }
    }

    pub(crate) fn sector(&self, number: u64) -> &[u8] {
        let start = usize::try_from(number).expect("small") * self.sector_bytes;
        self.changed.get(&number).map_or_else(|| &self.base[start..start + self.sector_bytes], |bytes| bytes.as_slice())
    }

    fn read_some(&mut self, out: &mut [u8]) -> usize {
        if self.at >= self.base.len() as u64 {
            return 0;
        }
        let within = usize::try_from(self.at % self.sector_bytes as u64).expect("small");
        let sector = self.sector(self.at / self.sector_bytes as u64);
        let count = out.len().min(self.sector_bytes - within);
        out[..count].copy_from_slice(&sector[within..within + count]);
        self.at += count as u64;
        count
    }

    fn write_some(&mut self, bytes: &[u8]) -> usize {
        if self.at >= self.base.len() as u64 {
            return 0;
        }
        let number = self.at / self.sector_bytes as u64;
        let within = usize::try_from(self.at % self.sector_bytes as u64).expect("small");
        let count = bytes.len().min(self.sector_bytes - within);
        let mut sector = self.sector(number).to_vec();
        sector[within..within + count].copy_from_slice(&bytes[..count]);
        let sector = Rc::new(sector);
        self.log.push(Done::Sector(number, Rc::clone(&sector)));
        self.changed.insert(number, sector);
        self.at += count as u64;
        count
    }
}

impl ErrorType for Overlay {
    type Error = ErrorKind;
}

impl embedded_io::Seek for Overlay {
    fn seek(&mut self, to: SeekFrom) -> Result<u64, ErrorKind> {
        let SeekFrom::Start(at) = to else { return Err(ErrorKind::Unsupported) };
        self.at = at;
        Ok(at)
    }
}

impl embedded_io::Read for Overlay {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        Ok(self.read_some(out))
    }
}

impl embedded_io::Write for Overlay {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        // The driver writes whole sectors only; a disk with such sectors takes nothing else.
        assert!(self.at.is_multiple_of(self.sector_bytes as u64) && bytes.len().is_multiple_of(self.sector_bytes));
        if self.read_only { Err(ErrorKind::PermissionDenied) } else { Ok(self.write_some(bytes)) }
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        self.log.push(Done::Flush);
        Ok(())
    }
}

/// The same disk for the other driver.
pub(crate) struct ForFatfs<'d>(&'d mut Overlay);

impl<'d> ForFatfs<'d> {
    /// From the disk's begin, as that driver wants it.
    pub(crate) fn new(disk: &'d mut Overlay) -> Self {
        disk.at = 0;
        Self(disk)
    }
}

impl io::Read for ForFatfs<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        Ok(self.0.read_some(out))
    }
}

impl io::Write for ForFatfs<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.0.write_some(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Seek for ForFatfs<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.0.at = match to {
            io::SeekFrom::Start(at) => at,
            io::SeekFrom::Current(by) => self.0.at.checked_add_signed(by).expect("on the disk"),
            io::SeekFrom::End(by) => (self.0.base.len() as u64).checked_add_signed(by).expect("on the disk"),
        };
        Ok(self.0.at)
    }
}

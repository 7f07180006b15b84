// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A disk in memory that writes down what was done to it, and can refuse.

use embedded_io::{ErrorKind, ErrorType, Read, Seek, SeekFrom, Write};
use std::ops::Range;

/// What a program did to a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// These bytes at this offset.
    Write(u64, Vec<u8>),
    /// All before is to be on the medium now.
    Flush,
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) bytes: Vec<u8>,
    pub(crate) log: Vec<Done>,
    /// Bytes that cannot be read.
    pub(crate) unreadable: Range<u64>,
    /// Whether writes are refused.
    pub(crate) read_only: bool,
    /// Whether a written byte is kept as another one.
    pub(crate) forgets: bool,
    pub(crate) at: u64,
}

impl Disk {
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }
}

impl ErrorType for Disk {
    type Error = ErrorKind;
}

impl Seek for Disk {
    fn seek(&mut self, to: SeekFrom) -> Result<u64, ErrorKind> {
        let SeekFrom::Start(at) = to else { return Err(ErrorKind::Unsupported) };
        self.at = at;
        Ok(at)
    }
}

impl Read for Disk {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        let end = self.at + buffer.len() as u64;
        if self.at < self.unreadable.end && self.unreadable.start < end {
            return Err(ErrorKind::Other);
        }
        let at = usize::try_from(self.at).expect("small").min(self.bytes.len());
        let count = buffer.len().min(self.bytes.len() - at);
        buffer[..count].copy_from_slice(&self.bytes[at..at + count]);
        self.at += count as u64;
        Ok(count)
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        let at = usize::try_from(self.at).expect("small");
        if self.read_only || at + bytes.len() > self.bytes.len() {
            return Err(ErrorKind::WriteZero);
        }
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        if self.forgets {
            self.bytes[at] ^= 1;
        }
        self.log.push(Done::Write(self.at, bytes.to_vec()));
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        self.log.push(Done::Flush);
        Ok(())
    }
}

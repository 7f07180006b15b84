// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A state partition of two pages: what lies at the offsets of the record's copies, and nothing between.

use adit_slots::layout::{COPY_BYTES, STATE_RECORD_OFFSETS};
use embedded_io::{ErrorKind, ErrorType, Read, Seek, SeekFrom, Write};

/// The two pages.
pub(crate) struct Pages {
    pages: [[u8; COPY_BYTES]; 2],
    page: usize,
    at: usize,
}

impl Pages {
    pub(crate) const fn new() -> Self {
        Self { pages: [[0; COPY_BYTES]; 2], page: 0, at: 0 }
    }

    /// Damages the page that was written last, as a torn write would.
    pub(crate) fn tear(&mut self) {
        self.pages[self.page][512..].fill(0);
    }
}

impl ErrorType for Pages {
    type Error = ErrorKind;
}

impl Seek for Pages {
    fn seek(&mut self, to: SeekFrom) -> Result<u64, ErrorKind> {
        let SeekFrom::Start(offset) = to else { return Err(ErrorKind::Unsupported) };
        self.page = STATE_RECORD_OFFSETS.iter().position(|known| *known == offset).ok_or(ErrorKind::InvalidInput)?;
        self.at = 0;
        Ok(offset)
    }
}

impl Read for Pages {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        let page = &self.pages[self.page][self.at..];
        let count = out.len().min(page.len());
        out[..count].copy_from_slice(&page[..count]);
        self.at += count;
        Ok(count)
    }
}

impl Write for Pages {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        let page = &mut self.pages[self.page][self.at..];
        let count = bytes.len().min(page.len());
        page[..count].copy_from_slice(&bytes[..count]);
        self.at += count;
        if count == 0 { Err(ErrorKind::WriteZero) } else { Ok(count) }
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

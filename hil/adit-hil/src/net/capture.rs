// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A capture file of a network: every frame as its sender sent it, before any fault, in classic pcap format with
//! microseconds. It stops at its limit instead of filling the disk.

use anyhow::{Context, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The size at which a capture stops, in bytes.
pub const CAPTURE_BYTES_MAX: u64 = 64 << 20;

const LINKTYPE_ETHERNET: u32 = 1;

/// An open capture file; what was written is complete once it is dropped.
#[derive(Debug)]
pub(crate) struct Capture {
    /// `None` once the limit was reached or the disk refused.
    file: Option<BufWriter<File>>,
    room_bytes: u64,
}

impl Capture {
    pub(crate) fn create(path: &Path, bytes_max: u64) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("create the capture {}", path.display()))?;
        let mut file = BufWriter::new(file);
        let mut head = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
        head.extend([2, 0, 4, 0]);
        head.extend([0; 8]);
        head.extend(262_144_u32.to_le_bytes());
        head.extend(LINKTYPE_ETHERNET.to_le_bytes());
        file.write_all(&head).with_context(|| format!("begin the capture {}", path.display()))?;
        Ok(Self { file: Some(file), room_bytes: bytes_max.saturating_sub(head.len() as u64) })
    }

    pub(crate) fn frame(&mut self, frame: &[u8]) {
        let Some(file) = &mut self.file else { return };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // The format ends in 2106; a time beyond it only shows wrong.
        let seconds = u32::try_from(since.as_secs()).unwrap_or(u32::MAX);
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let mut record = Vec::with_capacity(16 + frame.len());
        for word in [seconds, since.subsec_micros(), length, length] {
            record.extend(word.to_le_bytes());
        }
        record.extend(frame);
        let fits = record.len() as u64 <= self.room_bytes;
        if fits && file.write_all(&record).is_ok() {
            self.room_bytes -= record.len() as u64;
        } else {
            self.file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_has_its_form_and_stops_at_its_limit() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("lan.pcap");
        let mut capture = Capture::create(&path, 24 + 2 * (16 + 60)).expect("create");
        for byte in 0..5 {
            capture.frame(&[byte; 60]);
        }
        drop(capture);
        let bytes = std::fs::read(&path).expect("read");
        assert_eq!(bytes.len(), 24 + 2 * (16 + 60));
        assert_eq!(&bytes[..6], [0xd4, 0xc3, 0xb2, 0xa1, 2, 0]);
        assert_eq!(&bytes[20..24], [1, 0, 0, 0]);
        assert_eq!(&bytes[24 + 8..24 + 16], [60, 0, 0, 0, 60, 0, 0, 0]);
        assert_eq!(&bytes[24 + 16..24 + 76], [0; 60]);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Two copies of a small thing on a raw partition, so that a power cut in a write leaves the older one.
//!
//! ```text
//! 0 magic 8 · sequence u64 · length u32 · payload · zeros · 4092 CRC-32C of all before      4096 bytes
//! ```
//! The copy with the higher sequence counts among those whose checksum holds. A write goes over the other copy, is
//! flushed and read back; so whatever part of it reaches the disk, the copy that counted until then still stands. The disk's
//! `flush` must return only when all is on the medium, which that of a `std::fs::File` does not do.

use crate::bytes::{Reader, Short, Writer};
use crate::layout::COPY_BYTES;
use crc::{CRC_32_ISCSI, Crc};
use embedded_io::{Read, Seek, SeekFrom, Write};

/// Longest payload, bytes.
pub const PAYLOAD_BYTES_MAX: usize = COPY_BYTES - HEAD_BYTES - 4;
const HEAD_BYTES: usize = 8 + 8 + 4;
static CRC_32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// What is held twice, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copies {
    /// First bytes of each copy.
    pub magic: [u8; 8],
    /// Where the copies lie on the disk, bytes.
    pub offsets: [u64; 2],
}

/// Why a copy was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CopiesError<E> {
    /// The disk reports an error.
    #[error("the disk refuses")]
    Disk(E),
    /// The disk reads back other bytes than were written.
    #[error("the disk read back other bytes than were written")]
    ReadBack,
    /// The payload is longer than [`PAYLOAD_BYTES_MAX`].
    #[error("{0} bytes do not fit a copy")]
    TooLong(usize),
}

/// One copy's bytes, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy<'a> {
    /// Rises by one with every write.
    pub sequence: u64,
    /// What is held.
    pub payload: &'a [u8],
}

impl Copies {
    /// Reads a copy's bytes. `None` when they are anything else, torn or damaged.
    #[must_use]
    pub fn parse<'a>(&self, bytes: &'a [u8; COPY_BYTES]) -> Option<Copy<'a>> {
        let (covered, sum) = bytes.split_last_chunk::<4>()?;
        if u32::from_le_bytes(*sum) != CRC_32C.checksum(covered) {
            return None;
        }
        let mut reader = Reader::new(covered);
        let magic: [u8; 8] = reader.array().ok()?;
        let (sequence, length) = (reader.u64().ok()?, reader.u32().ok()?);
        let payload = reader.bytes(usize::try_from(length).ok()?).ok()?;
        (magic == self.magic).then_some(Copy { sequence, payload })
    }

    /// The bytes of a copy. `None` when the payload is too long.
    #[must_use]
    pub fn encode(&self, copy: &Copy<'_>) -> Option<[u8; COPY_BYTES]> {
        let mut out = [0; COPY_BYTES];
        let (covered, sum) = out.split_last_chunk_mut::<4>()?;
        let mut writer = Writer::new(covered);
        let mut put = || -> Result<(), Short> {
            writer.put(&self.magic)?;
            writer.put(&copy.sequence.to_le_bytes())?;
            writer.put(&u32::try_from(copy.payload.len()).map_err(|_| Short)?.to_le_bytes())?;
            writer.put(copy.payload)
        };
        put().ok()?;
        *sum = CRC_32C.checksum(covered).to_le_bytes();
        Some(out)
    }

    /// Finds the copy that counts. `buffer` holds its bytes afterwards, and the answer is a part of it; `None` when no
    /// copy holds.
    ///
    /// # Errors
    /// The disk's, when neither copy could be read. One that cannot be read is as good as torn.
    pub fn load<'b, D: Read + Seek>(
        &self,
        disk: &mut D,
        buffer: &'b mut [u8; COPY_BYTES],
    ) -> Result<Option<Copy<'b>>, D::Error> {
        let newest = self.newest(disk, buffer)?;
        if let Some((index, _)) = newest
            && index == 0
        {
            // The buffer holds the second copy; it was read last.
            read_at(disk, self.offset(index), buffer)?;
        }
        Ok(newest.and_then(|_| self.parse(buffer)))
    }

    /// Writes `payload` over the copy that does not count, flushes and reads it back. From then on it counts.
    ///
    /// # Errors
    /// See [`CopiesError`]. The copy that counted before counts still, unless all was written and only the flush failed.
    pub fn store<D: Read + Write + Seek>(&self, disk: &mut D, payload: &[u8]) -> Result<u64, CopiesError<D::Error>> {
        let mut buffer = [0; COPY_BYTES];
        let newest = self.newest(disk, &mut buffer).map_err(CopiesError::Disk)?;
        let (index, sequence) = match newest {
            Some((index, sequence)) => (1_usize.saturating_sub(index), sequence.saturating_add(1)),
            None => (0, 1),
        };
        let copy = self.encode(&Copy { sequence, payload }).ok_or(CopiesError::TooLong(payload.len()))?;
        disk.seek(SeekFrom::Start(self.offset(index))).map_err(CopiesError::Disk)?;
        disk.write_all(&copy).map_err(CopiesError::Disk)?;
        disk.flush().map_err(CopiesError::Disk)?;
        match read_at(disk, self.offset(index), &mut buffer).map_err(CopiesError::Disk)? {
            true if buffer == copy => Ok(sequence),
            _ => Err(CopiesError::ReadBack),
        }
    }

    /// Index and sequence of the copy that counts; the buffer holds the second copy's bytes, as far as they could be read.
    fn newest<D: Read + Seek>(
        &self,
        disk: &mut D,
        buffer: &mut [u8; COPY_BYTES],
    ) -> Result<Option<(usize, u64)>, D::Error> {
        let first = read_at(disk, self.offset(0), buffer);
        let a = first.as_ref().ok().and_then(|whole| whole.then(|| self.parse(buffer))?).map(|copy| copy.sequence);
        let second = read_at(disk, self.offset(1), buffer);
        let b = second.as_ref().ok().and_then(|whole| whole.then(|| self.parse(buffer))?).map(|copy| copy.sequence);
        match (a, b, first, second) {
            (None, None, Err(error), Err(_)) => Err(error),
            (None, None, ..) => Ok(None),
            (Some(a), None, ..) => Ok(Some((0, a))),
            (None, Some(b), ..) => Ok(Some((1, b))),
            (Some(a), Some(b), ..) => Ok(Some(if a > b { (0, a) } else { (1, b) })),
        }
    }

    const fn offset(&self, index: usize) -> u64 {
        let [first, second] = self.offsets;
        if index == 0 { first } else { second }
    }
}

/// Fills the buffer from an offset. `false` when the disk ends there.
fn read_at<D: Read + Seek>(disk: &mut D, offset: u64, buffer: &mut [u8; COPY_BYTES]) -> Result<bool, D::Error> {
    disk.seek(SeekFrom::Start(offset))?;
    match disk.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(embedded_io::ReadExactError::UnexpectedEof) => Ok(false),
        Err(embedded_io::ReadExactError::Other(error)) => Err(error),
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The positional snapshot: which check came out how, and the readings, in the inventory's order.
//!
//! Layout: version u8 · time, minutes since 2026, varint · two bits a check, packed, lowest first · for every check that
//! is not ok: reason u8, since (minutes since 2026, varint), detail length u8 and bytes · per component a presence
//! bitmap over its readings (whole bytes) and a zigzag varint for each one present. Varints are LEB128, at most ten
//! bytes. Bytes after the last known field are skipped: a newer agent may append.

use super::codes::Verdict;
use super::{COMPONENTS_MAX, DETAIL_BYTES_MAX, Inventory, POSITIONS_MAX};

/// Why bytes are no snapshot, or do not fit the inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The inventory cannot be read.
    #[error("health inventory is {0}")]
    Inventory(&'static str),
    /// The snapshot ends early.
    #[error("health snapshot ends early")]
    Truncated,
    /// A version this program does not know.
    #[error("health snapshot has version {0}, this program reads {version}", version = Inventory::VERSION)]
    Version(u8),
    /// A number longer than 64 bits, a text too long or not UTF-8, too many components.
    #[error("health snapshot breaks the rule of its {0}")]
    Rule(&'static str),
    /// The buffer is too small.
    #[error("health snapshot does not fit its buffer")]
    NoRoom,
}

/// Writes a snapshot field by field, in the order of the layout.
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    at: usize,
}

impl<'b> Writer<'b> {
    /// Starts with version and time.
    ///
    /// # Errors
    /// When the buffer is too small.
    pub fn new(buffer: &'b mut [u8], time_minutes: u64) -> Result<Self, SnapshotError> {
        let mut writer = Self { buffer, at: 0 };
        writer.byte(Inventory::VERSION)?;
        writer.number(time_minutes)?;
        Ok(writer)
    }

    fn byte(&mut self, byte: u8) -> Result<(), SnapshotError> {
        *self.buffer.get_mut(self.at).ok_or(SnapshotError::NoRoom)? = byte;
        self.at = self.at.saturating_add(1);
        Ok(())
    }

    fn number(&mut self, mut value: u64) -> Result<(), SnapshotError> {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7u32;
            if value == 0 {
                return self.byte(low & 0x7f);
            }
            self.byte(low | 0x80)?;
        }
    }

    /// All verdicts, in the inventory's order.
    ///
    /// # Errors
    /// When the buffer is too small.
    pub fn verdicts(&mut self, verdicts: impl Iterator<Item = Verdict>) -> Result<(), SnapshotError> {
        let mut packed = 0u8;
        let mut filled = 0u8;
        for verdict in verdicts {
            packed |= (verdict as u8).wrapping_shl(u32::from(filled).saturating_mul(2));
            filled = filled.saturating_add(1);
            if filled == 4 {
                self.byte(packed)?;
                (packed, filled) = (0, 0);
            }
        }
        if filled > 0 { self.byte(packed) } else { Ok(()) }
    }

    /// Why a check is not ok: once for each such check, in the inventory's order.
    ///
    /// # Errors
    /// When the buffer is too small. A detail beyond its limit is cut at a character.
    pub fn reason(&mut self, reason: u8, since_minutes: u64, detail: &str) -> Result<(), SnapshotError> {
        self.byte(reason)?;
        self.number(since_minutes)?;
        let end = (0..=DETAIL_BYTES_MAX.min(detail.len())).rev().find(|end| detail.is_char_boundary(*end)).unwrap_or(0);
        let detail = detail.as_bytes().get(..end).unwrap_or_default();
        self.byte(u8::try_from(detail.len()).unwrap_or(0))?;
        detail.iter().try_for_each(|byte| self.byte(*byte))
    }

    /// One component's readings, in the inventory's order: `None` for one that could not be read.
    ///
    /// # Errors
    /// When the buffer is too small.
    pub fn readings(&mut self, readings: &[Option<i64>]) -> Result<(), SnapshotError> {
        for group in readings.chunks(8) {
            let bits = group.iter().enumerate().fold(0u8, |bits, (index, reading)| {
                let bit = u8::from(reading.is_some()).wrapping_shl(u32::try_from(index).unwrap_or(0));
                bits | bit
            });
            self.byte(bits)?;
        }
        readings.iter().flatten().try_for_each(|value| self.number(zigzag(*value)))
    }

    /// How many bytes were written.
    #[must_use]
    pub const fn finish(self) -> usize {
        self.at
    }
}

const fn zigzag(value: i64) -> u64 {
    ((value.cast_unsigned()) << 1u32) ^ ((value >> 63u32).cast_unsigned())
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1u32).cast_signed() ^ (value & 1).cast_signed().wrapping_neg()
}

/// What a snapshot tells, in the inventory's order.
pub trait Visitor {
    /// A component begins. `index` counts from 0 in the inventory.
    fn component(&mut self, index: usize, entry: &super::Entry<'_>);
    /// One of its checks.
    fn check(&mut self, component: usize, check: u8, finding: Finding<'_>);
    /// One of its readings.
    fn reading(&mut self, component: usize, quantity: u8, value: Option<i64>);
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding<'a> {
    /// The verdict.
    pub verdict: Verdict,
    /// A [`super::codes::Reason`], or the number of a newer one; 0 when ok.
    pub reason: u8,
    /// Since when, minutes since 2026; 0 when ok.
    pub since_minutes: u64,
    /// Free text, or nothing.
    pub detail: &'a str,
}

/// Reads a snapshot against its inventory and tells a visitor; answers the snapshot's time, minutes since 2026.
/// All checks come before all readings.
///
/// # Errors
/// When the bytes break the layout or a limit. The visitor may have heard a part by then.
pub fn read(inventory: &Inventory<'_>, bytes: &[u8], visitor: &mut dyn Visitor) -> Result<u64, SnapshotError> {
    let mut reader = Reader { rest: bytes };
    match reader.byte()? {
        Inventory::VERSION => {}
        version => return Err(SnapshotError::Version(version)),
    }
    let time = reader.number()?;
    let mut checks = 0usize;
    for (index, entry) in inventory.components.iter().enumerate() {
        let entry = entry.map_err(|_| SnapshotError::Inventory("malformed"))?;
        if index >= COMPONENTS_MAX || entry.checks.len() > POSITIONS_MAX || entry.readings.len() > POSITIONS_MAX {
            return Err(SnapshotError::Rule("size"));
        }
        checks = checks.saturating_add(entry.checks.len());
    }
    let verdicts = reader.bytes(checks.div_ceil(4))?;
    let mut position = 0usize;
    for (index, entry) in inventory.components.iter().flatten().enumerate() {
        visitor.component(index, &entry);
        for check in entry.checks {
            let packed = verdicts.get(position.div_euclid(4)).copied().unwrap_or(0);
            let shift = u32::try_from(position.rem_euclid(4)).unwrap_or(0).saturating_mul(2);
            position = position.saturating_add(1);
            let verdict = Verdict::from_bits(packed.wrapping_shr(shift));
            let finding = match verdict {
                Verdict::Ok => Finding { verdict, reason: 0, since_minutes: 0, detail: "" },
                Verdict::Warning | Verdict::Critical | Verdict::Unknown => reader.finding(verdict)?,
            };
            visitor.check(index, *check, finding);
        }
    }
    for (index, entry) in inventory.components.iter().flatten().enumerate() {
        let bitmap = reader.bytes(entry.readings.len().div_ceil(8))?;
        for (position, quantity) in entry.readings.iter().enumerate() {
            let byte = bitmap.get(position.div_euclid(8)).copied().unwrap_or(0);
            let present = byte.wrapping_shr(u32::try_from(position.rem_euclid(8)).unwrap_or(0)) & 1 == 1;
            let value = if present { Some(unzigzag(reader.number()?)) } else { None };
            visitor.reading(index, *quantity, value);
        }
    }
    Ok(time)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, SnapshotError> {
        let (byte, rest) = self.rest.split_first().ok_or(SnapshotError::Truncated)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], SnapshotError> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(SnapshotError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u64, SnapshotError> {
        let mut value = 0u64;
        for shift in (0..64u32).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits.wrapping_shl(shift);
            if shifted.wrapping_shr(shift) != bits {
                return Err(SnapshotError::Rule("number"));
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(SnapshotError::Rule("number"))
    }

    fn finding(&mut self, verdict: Verdict) -> Result<Finding<'a>, SnapshotError> {
        let reason = self.byte()?;
        let since_minutes = self.number()?;
        let length = usize::from(self.byte()?);
        if length > DETAIL_BYTES_MAX {
            return Err(SnapshotError::Rule("detail"));
        }
        let detail = core::str::from_utf8(self.bytes(length)?).map_err(|_| SnapshotError::Rule("detail"))?;
        Ok(Finding { verdict, reason, since_minutes, detail })
    }
}

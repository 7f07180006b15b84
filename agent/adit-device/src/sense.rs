// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sense data: why a device did not do what it was asked, and the registers that an ATA disk gave back (SPC-5, 4.4;
//! SAT-4, 12.2.7). Both forms are read: kernels and bridges use either.

use crate::fields::u8_at;
use crate::transport::{STATUS_CHECK_CONDITION, ScsiReply};

/// Sense key NOT READY.
pub(crate) const NOT_READY: u8 = 0x02;
/// Sense key ILLEGAL REQUEST: the device does not know this command or page.
pub(crate) const ILLEGAL_REQUEST: u8 = 0x05;
/// Sense key UNIT ATTENTION: something happened; ask again.
pub(crate) const UNIT_ATTENTION: u8 = 0x06;
/// Additional sense: LOGICAL UNIT NOT READY, INITIALIZING COMMAND REQUIRED. The disk is stopped.
pub(crate) const STOPPED: (u8, u8) = (0x04, 0x02);
/// Additional sense: ATA PASS-THROUGH INFORMATION AVAILABLE.
const ATA_INFORMATION: (u8, u8) = (0x00, 0x1d);

/// What sense data says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// Sense key, 0 to 15.
    pub key: u8,
    /// Additional sense code and its qualifier.
    pub additional: (u8, u8),
    /// Registers of the ATA disk, when the sense carries them.
    pub registers: Option<AtaRegisters>,
}

/// The registers that CHECK POWER MODE and SMART RETURN STATUS answer in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtaRegisters {
    /// Error register.
    pub error: u8,
    /// Count register, bits 7:0.
    pub count: u8,
    /// LBA register, bits 15:8.
    pub lba_mid: u8,
    /// LBA register, bits 23:16.
    pub lba_high: u8,
    /// Status register.
    pub status: u8,
}

impl AtaRegisters {
    /// Whether the disk refused the command: ERR or DF in the status (ACS-4, 6.2).
    #[must_use]
    pub const fn refused(self) -> bool {
        self.status & 0x21 != 0
    }
}

impl Sense {
    /// Reads sense bytes of either form; `None` when they are of neither or too short.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match u8_at(bytes, 0)? & 0x7f {
            0x70 | 0x71 => {
                let key = u8_at(bytes, 2)? & 0x0f;
                let additional = (u8_at(bytes, 12).unwrap_or(0), u8_at(bytes, 13).unwrap_or(0));
                let registers = (additional == ATA_INFORMATION).then(|| fixed_registers(bytes)).flatten();
                Some(Self { key, additional, registers })
            }
            0x72 | 0x73 => {
                let key = u8_at(bytes, 1)? & 0x0f;
                Some(Self { key, additional: (u8_at(bytes, 2)?, u8_at(bytes, 3)?), registers: descriptors(bytes) })
            }
            _ => None,
        }
    }

    /// The sense of an answer that carries one.
    #[must_use]
    pub fn of(reply: &ScsiReply) -> Option<Self> {
        (reply.status == STATUS_CHECK_CONDITION).then(|| Self::decode(reply.sense())).flatten()
    }
}

/// Fixed form: INFORMATION and COMMAND-SPECIFIC INFORMATION hold the registers (SAT-4, 12.2.7, table 175).
fn fixed_registers(bytes: &[u8]) -> Option<AtaRegisters> {
    Some(AtaRegisters {
        error: u8_at(bytes, 3)?,
        status: u8_at(bytes, 4)?,
        count: u8_at(bytes, 6)?,
        lba_mid: u8_at(bytes, 10)?,
        lba_high: u8_at(bytes, 11)?,
    })
}

/// Descriptor form: the ATA status return descriptor, code 09h, 14 bytes (SAT-4, 12.2.6).
fn descriptors(bytes: &[u8]) -> Option<AtaRegisters> {
    let end = usize::from(u8_at(bytes, 7)?).saturating_add(8).min(bytes.len());
    let mut rest = bytes.get(8..end)?;
    while let [code, len, ..] = *rest {
        let size = usize::from(len) + 2;
        let descriptor = rest.get(..size.min(rest.len()))?;
        if code == 0x09 && descriptor.len() >= 14 {
            return Some(AtaRegisters {
                error: descriptor[3],
                count: descriptor[5],
                lba_mid: descriptor[9],
                lba_high: descriptor[11],
                status: descriptor[13],
            });
        }
        rest = &rest[descriptor.len()..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hint::black_box;

    const DESCRIPTOR: [u8; 22] =
        [0x72, 1, 0, 0x1d, 0, 0, 0, 14, 9, 12, 0, 1, 0, 0xff, 0, 0, 0, 0xf4, 0, 0x2c, 0xa0, 0x50];

    #[test]
    fn registers_are_found_in_both_forms() {
        let expected = AtaRegisters { error: 1, count: 0xff, lba_mid: 0xf4, lba_high: 0x2c, status: 0x50 };
        let sense = Sense::decode(&DESCRIPTOR).expect("descriptor form");
        assert_eq!((sense.key, sense.additional, sense.registers), (1, ATA_INFORMATION, Some(expected)));
        let fixed = [0x70, 0, 1, 1, 0x50, 0xa0, 0xff, 10, 0, 0, 0xf4, 0x2c, 0, 0x1d, 0, 0, 0, 0];
        assert_eq!(Sense::decode(&fixed).and_then(|sense| sense.registers), Some(expected));
        // The same bytes without the mark are something else's information.
        let mut other = fixed;
        other[13] = 0;
        assert_eq!(Sense::decode(&other).map(|sense| sense.registers), Some(None));
    }

    #[test]
    fn a_descriptor_before_it_is_passed_over() {
        let mut bytes = vec![0x72, 1, 0, 0x1d, 0, 0, 0, 18, 0x02, 2, 0, 0];
        bytes.extend(&DESCRIPTOR[8..]);
        assert!(Sense::decode(&bytes).expect("sense").registers.is_some());
        assert_eq!(Sense::decode(&[0x72, 5, 0x20]), None);
        assert_eq!(Sense::decode(&[0x00; 18]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            black_box(Sense::decode(&bytes));
        }
        #[test]
        fn any_flip_is_read(at in 0usize..22, bit in 0u8..8, len in 0usize..=22) {
            let mut bytes = DESCRIPTOR;
            bytes[at] ^= 1 << bit;
            black_box(Sense::decode(&bytes[..len]));
        }
    }
}

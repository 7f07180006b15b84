// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The write cache of a Smart Array controller and what keeps it alive through a power cut: a battery, or flash with a
//! capacitor. By struct bmic_cache_configuration and the meanings in HP's own cciss_vol_status 1.12a (its source is the one
//! public description; facts are taken from it, no code). The answer has 512 bytes, packed, little-endian.

use serde::{Deserialize, Serialize};

/// Bits of `status`, at byte 32.
const ENABLED: u32 = 1 << 0;
const OFF_FOR_NOW: u32 = 1 << 1;
const OFF_FOR_GOOD: u32 = 1 << 2;
const LOST_ON_RESET: u32 = 1 << 4;
const UNFLUSHED: u32 = 1 << 8;
const ECC_ERRORS: u32 = 1 << 10;
const LOST_OTHERWISE: u32 = 1 << 11;
const BATTERY_ENABLE_FAULT: u32 = 1 << 14;
const BATTERY_CPLD_FAULT: u32 = 1 << 15;
const CAPACITOR: u32 = 1 << 16;

/// A write cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheReading {
    /// Memory of the module in all, MiB (KiB on controllers from before the P400); 0 where there is none.
    pub memory_mib: u16,
    /// Whether it takes writes.
    pub writes: Writes,
    /// It lost data that it had taken.
    pub lost_data: bool,
    /// It holds data that its drives do not take.
    pub unflushed: bool,
    /// Its memory has errors beyond what is usual.
    pub memory_errors: bool,
    /// What powers it through a cut cannot be switched on.
    pub power_fault: bool,
    /// Flash with a capacitor; otherwise batteries.
    pub has_capacitor: bool,
    /// Batteries; 0 with a capacitor.
    pub batteries: u16,
    /// Of these, how many failed.
    pub batteries_failed: u16,
}

/// Whether a cache takes writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Writes {
    /// It does.
    On,
    /// It is not configured to.
    #[default]
    Unconfigured,
    /// Not for now, and why.
    OffForNow(OffBecause),
    /// Not until somebody repairs it, and why.
    OffForGood(OffBecause),
}

/// Why a cache takes no writes: the code at byte 36.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OffBecause {
    /// 2: somebody switched it off.
    Wanted,
    /// 1, 7, 12: a battery or the capacitor is not charged, here or on the redundant controller.
    NotCharged,
    /// 3, 5, 6, 13: a rebuild, an expansion or a snapshot needs the memory, or its flash is being erased.
    Busy,
    /// 4: the module is not attached.
    NotAttached,
    /// 16, 17: what it held could not be read back.
    DataLost,
    /// 18: it cannot be written.
    NotWritable,
    /// Any other code: foreign data in it, a mismatch with the redundant controller, a configuration that it cannot follow.
    Other(u16),
}

/// Reads the answer of BMIC sense cache configuration; `None` when it is too short to be one.
#[must_use]
pub fn decode(data: &[u8]) -> Option<CacheReading> {
    let word = |at: usize| Some(u16::from_le_bytes(*data.get(at..)?.first_chunk()?));
    let status = u32::from_le_bytes(*data.get(32..)?.first_chunk()?);
    let because = off_because(word(36)?);
    let failed_map = word(208)?;
    let is = |bits: u32| status & bits != 0;
    let unconfigured = *data.get(8)? != 0;
    let writes = match () {
        () if is(OFF_FOR_GOOD) => Writes::OffForGood(because),
        () if is(OFF_FOR_NOW) => Writes::OffForNow(because),
        () if unconfigured || !is(ENABLED) => Writes::Unconfigured,
        () => Writes::On,
    };
    let has_capacitor = is(CAPACITOR);
    Some(CacheReading {
        memory_mib: word(38)?,
        writes,
        lost_data: is(LOST_ON_RESET | LOST_OTHERWISE),
        unflushed: is(UNFLUSHED),
        memory_errors: is(ECC_ERRORS),
        power_fault: is(BATTERY_ENABLE_FAULT | BATTERY_CPLD_FAULT),
        has_capacitor,
        batteries: word(40)?,
        batteries_failed: u16::try_from(failed_map.count_ones()).unwrap_or(u16::MAX),
    })
}

const fn off_because(code: u16) -> OffBecause {
    match code {
        1 | 7 | 12 => OffBecause::NotCharged,
        2 => OffBecause::Wanted,
        3 | 5 | 6 | 13 => OffBecause::Busy,
        4 => OffBecause::NotAttached,
        16 | 17 => OffBecause::DataLost,
        18 => OffBecause::NotWritable,
        other => OffBecause::Other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An answer whose fields that are not read are full of ones.
    fn answer(disable_flag: u8, status: u32, code: u16) -> Vec<u8> {
        let mut data = vec![0xff; 512];
        let mut put = |at: usize, bytes: &[u8]| data[at..at + bytes.len()].copy_from_slice(bytes);
        put(8, &[disable_flag]);
        put(32, &status.to_le_bytes());
        put(36, &code.to_le_bytes());
        put(38, &1024_u16.to_le_bytes());
        put(40, &2_u16.to_le_bytes());
        put(208, &0x0002_u16.to_le_bytes());
        data
    }

    #[test]
    fn fields_stand_where_the_structure_has_them() {
        let read = decode(&answer(0, ENABLED | CAPACITOR, 0)).unwrap();
        let expected = CacheReading {
            memory_mib: 1024,
            writes: Writes::On,
            has_capacitor: true,
            batteries: 2,
            batteries_failed: 1,
            ..CacheReading::default()
        };
        assert_eq!(read, expected);
        let bad =
            decode(&answer(0, OFF_FOR_GOOD | LOST_ON_RESET | UNFLUSHED | ECC_ERRORS | BATTERY_CPLD_FAULT, 17)).unwrap();
        assert_eq!(bad.writes, Writes::OffForGood(OffBecause::DataLost));
        assert!(bad.lost_data && bad.unflushed && bad.memory_errors && bad.power_fault && !bad.has_capacitor);
    }

    #[test]
    fn whether_it_takes_writes() {
        let of = |flag, status, code| decode(&answer(flag, status, code)).unwrap().writes;
        assert_eq!(of(0, 0, 0), Writes::Unconfigured);
        assert_eq!(of(1, ENABLED, 0), Writes::Unconfigured);
        for (code, because) in [
            (0, OffBecause::Other(0)),
            (1, OffBecause::NotCharged),
            (2, OffBecause::Wanted),
            (4, OffBecause::NotAttached),
            (12, OffBecause::NotCharged),
            (13, OffBecause::Busy),
            (18, OffBecause::NotWritable),
            (900, OffBecause::Other(900)),
        ] {
            assert_eq!(of(0, OFF_FOR_NOW, code), Writes::OffForNow(because));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded(data in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(decode(&data).is_some(), data.len() >= 210);
        }
    }
}

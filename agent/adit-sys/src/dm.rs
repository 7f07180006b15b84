// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Status lines of device-mapper volumes by DM_TABLE_STATUS on /dev/mapper/control.

use crate::abi::{DM_BUFFER_FULL_FLAG, DM_NOFLUSH_FLAG, DM_TABLE_STATUS, DM_TARGET_SPEC_BYTES, DmIoctl};
use adit_device::dm::{Mapper, Target};
use adit_device::transport::TransportError;
use std::mem::size_of;
use std::os::fd::OwnedFd;
use std::path::Path;

const CAPABILITY: &str = "CAP_SYS_ADMIN";
const EINVAL: i32 = 22;
const ENOBUFS: i32 = 105;
/// Most bytes of the status of one volume. A RAID line is below 1 KiB; a volume of many linear pieces is cut by
/// [`TransportError::Io`] with ENOBUFS.
const STATUS_BYTES_MAX: usize = 16 << 10;

/// `/dev/mapper/control`, open for reading.
#[derive(Debug)]
pub struct DeviceMapper {
    fd: OwnedFd,
}

#[repr(C)]
struct Status {
    header: DmIoctl,
    data: [u8; STATUS_BYTES_MAX],
}

impl DeviceMapper {
    /// Opens the control node.
    pub fn open(path: &Path) -> Result<Self, TransportError> {
        crate::open(path).map(|fd| Self { fd })
    }
}

impl Mapper for DeviceMapper {
    fn status(&mut self, volume: &str) -> Result<Vec<Target>, TransportError> {
        let mut name = [0; 128];
        // The last byte stays the zero that ends the name.
        let room = name.get_mut(..volume.len()).filter(|_| volume.len() < 128 && !volume.contains('\0'));
        room.ok_or(TransportError::Io(EINVAL))?.copy_from_slice(volume.as_bytes());
        let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let mut status = Box::new(Status {
            header: DmIoctl {
                version: [4, 0, 0],
                data_size: size(size_of::<Status>()),
                data_start: size(size_of::<DmIoctl>()),
                target_count: 0,
                open_count: 0,
                flags: DM_NOFLUSH_FLAG,
                event_nr: 0,
                padding: 0,
                dev: 0,
                name,
                uuid: [0; 129],
                data: [0; 7],
            },
            data: [0; STATUS_BYTES_MAX],
        });
        // SAFETY: DM_TABLE_STATUS takes a struct dm_ioctl with `data_size` bytes in all; Status begins with that header
        // (layout: abi.rs) and is `data_size` long, exclusively borrowed for the call. It holds no pointer.
        unsafe { crate::call::<DM_TABLE_STATUS, Status>(&self.fd, &mut *status) }
            .map_err(|error| crate::refusal(error, CAPABILITY))?;
        if status.header.flags & DM_BUFFER_FULL_FLAG != 0 {
            return Err(TransportError::Io(ENOBUFS));
        }
        let start = usize::try_from(status.header.data_start).unwrap_or(usize::MAX);
        let start = start.checked_sub(size_of::<DmIoctl>()).ok_or(TransportError::Io(EINVAL))?;
        targets(status.data.get(start..).unwrap_or_default(), status.header.target_count)
    }
}

/// Reads the chain of `struct dm_target_spec`, each with its parameters and the offset of the next from the first.
#[expect(clippy::host_endian_bytes, reason = "the kernel writes a structure of this machine")]
fn targets(data: &[u8], count: u32) -> Result<Vec<Target>, TransportError> {
    let broken = || TransportError::Io(EINVAL);
    let mut found = Vec::new();
    let mut at = 0;
    for _ in 0..count {
        let spec = data.get(at..).and_then(|rest| rest.split_at_checked(DM_TARGET_SPEC_BYTES));
        let (spec, rest) = spec.ok_or_else(broken)?;
        let word =
            |from: usize| spec.get(from..from + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_ne_bytes);
        let (start, length) = (word(0).ok_or_else(broken)?, word(8).ok_or_else(broken)?);
        let next = u32::from_ne_bytes(spec[20..24].try_into().map_err(|_| broken())?);
        let text = |bytes: &[u8]| {
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        };
        let next = usize::try_from(next).unwrap_or(usize::MAX);
        let parameters = rest.get(..next.saturating_sub(at + DM_TARGET_SPEC_BYTES)).unwrap_or(rest);
        found.push(Target { start, length, kind: text(&spec[24..]), status: text(parameters) });
        at = next;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::host_endian_bytes, reason = "as the kernel writes it")]
    fn spec(next: u32, kind: &str, status: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(8_u64.to_ne_bytes());
        bytes.extend(16_u64.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(next.to_ne_bytes());
        bytes.extend(kind.as_bytes());
        bytes.resize(DM_TARGET_SPEC_BYTES, 0);
        bytes.extend(status.as_bytes());
        bytes.resize(64, 0);
        bytes
    }

    #[test]
    fn a_chain_of_two_is_read_and_a_broken_one_refused() {
        let two = [spec(64, "linear", ""), spec(128, "raid", "raid1 2 AA 8/8 idle 0")].concat();
        let read = targets(&two, 2).unwrap();
        assert_eq!((read[0].kind.as_str(), read[0].status.as_str()), ("linear", ""));
        assert_eq!((read[1].kind.as_str(), read[1].status.as_str()), ("raid", "raid1 2 AA 8/8 idle 0"));
        assert_eq!((read[1].start, read[1].length), (8, 16));
        assert!(targets(&two, 3).is_err());
        for end in 0..two.len() {
            drop(targets(&two[..end], 2));
        }
        assert!(targets(&spec(u32::MAX, "x", "y"), 2).is_err());
    }
}

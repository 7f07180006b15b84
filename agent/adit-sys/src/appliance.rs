// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the first process of an appliance needs beyond files: how long a watchdog waits, and that the kernel reads a disk's
//! partitions again. The one part of this room that changes something.

use rustix::io::Errno;
use rustix::ioctl::{NoArg, Updater, ioctl, opcode};
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;

/// `WDIOC_SETTIMEOUT` of linux/watchdog.h.
const SET_TIMEOUT: rustix::ioctl::Opcode = opcode::read_write::<i32>(b'W', 6);
/// `BLKRRPART` of linux/fs.h.
const READ_PARTITIONS: rustix::ioctl::Opcode = opcode::none(0x12, 95);

/// Sets how long a watchdog waits for food; answers what the hardware made of it, seconds.
///
/// # Errors
/// When the file is no watchdog, or it cannot be told.
pub fn set_watchdog_timeout(watchdog: &File, seconds: u32) -> io::Result<u32> {
    let mut value = i32::try_from(seconds).map_err(|_| Errno::INVAL)?;
    // SAFETY: the kernel expects an int for this request and writes no more than it.
    let request = unsafe { Updater::<SET_TIMEOUT, i32>::new(&mut value) };
    // SAFETY: the descriptor is open, and `value` outlives the call.
    unsafe { ioctl(watchdog.as_fd(), request) }?;
    u32::try_from(value).map_err(|_| Errno::INVAL.into())
}

/// Makes the kernel read the partitions of a disk again. None of them may be in use.
///
/// # Errors
/// When one is, or the file is no disk.
pub fn read_partitions_again(disk: &File) -> io::Result<()> {
    // SAFETY: this request takes no argument.
    let request = unsafe { NoArg::<READ_PARTITIONS>::new() };
    // SAFETY: the descriptor is open, and no memory is handed over.
    unsafe { ioctl(disk.as_fd(), request) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_kernels_numbers() {
        assert_eq!((SET_TIMEOUT, READ_PARTITIONS), (0xc004_5706, 0x125f));
    }

    #[test]
    fn a_file_is_neither() {
        let file = tempfile::tempfile().unwrap();
        assert!(set_watchdog_timeout(&file, 30).is_err());
        assert!(set_watchdog_timeout(&file, u32::MAX).is_err());
        assert!(read_partitions_again(&file).is_err());
    }
}

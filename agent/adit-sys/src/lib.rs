// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The one room with unsafe code: the ioctls behind adit-device's transports, the socket that systemd hands over, the
//! kernel's clock, and two ioctls of the appliance's first process.
//!
//! Each owner holds one descriptor. What goes into an ioctl is built from adit-device's fixed lists of read-only commands
//! and buffers of this room; nothing here decides what to ask or what an answer means. It never writes to a device.
#![expect(unsafe_code, reason = "ioctls take pointers; this room exists so that no other one does")]

pub mod abi;
mod appliance;
mod cciss;
mod clock;
mod dm;
mod inherited;
mod ipmi;
mod nvme;
mod sg;

pub use appliance::{read_partitions_again, set_watchdog_timeout};
pub use cciss::SmartArray;
pub use clock::{ClockStatus, clock_is_kept, clock_status};
pub use dm::DeviceMapper;
pub use inherited::listener;
pub use ipmi::BmcDevice;
pub use nvme::NvmeDevice;
pub use sg::ScsiDevice;

use adit_device::transport::TransportError;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Opens a device node for reading. Non-blocking: the open itself must not spin up a disk or wait for a medium.
fn open(path: &Path) -> Result<OwnedFd, TransportError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    // By openat, not open: the one call whose flags adit-probe's filter looks at.
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| refusal(error, "CAP_DAC_READ_SEARCH or root"))
}

/// What the kernel's error number means for a command that needs `capability`.
fn refusal(error: Errno, capability: &'static str) -> TransportError {
    match error {
        Errno::PERM | Errno::ACCESS => TransportError::NeedsCapability(capability),
        Errno::NOTTY | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL => TransportError::NotSupported,
        Errno::NODEV | Errno::NXIO | Errno::NOENT | Errno::NOMEDIUM => TransportError::Gone,
        Errno::TIMEDOUT | Errno::TIME => TransportError::TimedOut,
        other => TransportError::Io(other.raw_os_error()),
    }
}

/// Runs one ioctl that reads and writes `value`.
///
/// # Safety
/// `REQUEST` must be an ioctl for which the kernel expects a `T` on this kind of descriptor, and every pointer and length
/// inside `value` must name memory that the kernel may use for as long as the call lasts.
unsafe fn call<const REQUEST: rustix::ioctl::Opcode, T>(fd: &OwnedFd, value: &mut T) -> Result<(), Errno> {
    // SAFETY: the caller vouches that REQUEST takes a T.
    let request = unsafe { rustix::ioctl::Updater::<REQUEST, T>::new(value) };
    // SAFETY: the descriptor is open as `fd` is borrowed; the caller vouches for what `value` points at.
    unsafe { rustix::ioctl::ioctl(fd, request) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_device::command::{IpmiCommand, LunAddress, NvmeCommand, ScsiCommand};
    use adit_device::dm::Mapper;
    use adit_device::transport::{Cciss, Ipmi, Nvme, Scsi};

    #[test]
    fn a_file_that_is_no_device_is_refused_by_each() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path();
        let unsupported = Err(TransportError::NotSupported);
        let inquiry = ScsiCommand::inquiry();
        let mut data = vec![0; inquiry.data_bytes()];
        assert_eq!(ScsiDevice::open(path).unwrap().execute(&inquiry, &mut data).map(drop), unsupported);
        let mut array = SmartArray::open(path).unwrap();
        assert_eq!(array.execute_at(LunAddress::CONTROLLER, &inquiry, &mut data).map(drop), unsupported);
        let identify = NvmeCommand::identify_controller();
        let mut data = vec![0; identify.data_bytes()];
        assert_eq!(NvmeDevice::open(path).unwrap().admin(&identify, &mut data).map(drop), unsupported);
        let mut reply = [0; 64];
        assert_eq!(
            BmcDevice::open(path).unwrap().request(&IpmiCommand::device_id(), &mut reply),
            unsupported.map(|()| 0)
        );
        assert_eq!(DeviceMapper::open(path).unwrap().status("none"), Err(TransportError::NotSupported));
    }

    #[test]
    fn a_node_that_is_not_there_is_gone() {
        let path = Path::new("/nonexistent/sda");
        assert_eq!(ScsiDevice::open(path).map(drop), Err(TransportError::Gone));
    }

    #[test]
    fn a_buffer_of_another_length_is_refused_before_the_kernel_sees_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut device = ScsiDevice::open(file.path()).unwrap();
        let mut short = [0; 35];
        assert_eq!(device.execute(&ScsiCommand::inquiry(), &mut short), Err(TransportError::Io(22)));
        let mut device = NvmeDevice::open(file.path()).unwrap();
        assert_eq!(device.admin(&NvmeCommand::health_log(), &mut short).map(drop), Err(TransportError::Io(22)));
    }

    #[test]
    fn error_numbers_have_their_meaning() {
        assert_eq!(refusal(Errno::PERM, "CAP_X"), TransportError::NeedsCapability("CAP_X"));
        assert_eq!(refusal(Errno::NOTTY, "CAP_X"), TransportError::NotSupported);
        assert_eq!(refusal(Errno::NODEV, "CAP_X"), TransportError::Gone);
        assert_eq!(refusal(Errno::IO, "CAP_X"), TransportError::Io(5));
    }
}

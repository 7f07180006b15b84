// SPDX-License-Identifier: Apache-2.0 OR MIT
//! SCSI commands to what stands behind a Smart Array controller, by CCISS_PASSTHRU of the hpsa driver.

use crate::abi::{CCISS_KIND, CCISS_PASSTHRU, CCISS_READ, CcissCommand};
use adit_device::command::{Direction, LunAddress, ScsiCommand};
use adit_device::transport::{Cciss, ScsiReply, TransportError};
use rustix::fs::{CWD, Mode, OFlags};
use std::os::fd::OwnedFd;
use std::path::Path;

const CAPABILITY: &str = "CAP_SYS_RAWIO";
const EIO: i32 = 5;
const EINVAL: i32 = 22;
/// `CommandStatus` of linux/cciss_defs.h.
const CMD_SUCCESS: u16 = 0;
const CMD_TARGET_STATUS: u16 = 1;
const CMD_DATA_UNDERRUN: u16 = 2;
const CMD_INVALID: u16 = 4;
const CMD_CONNECTION_LOST: u16 = 7;
const CMD_TIMEOUT: u16 = 11;

/// The node of a controller or of any drive of it.
#[derive(Debug)]
pub struct SmartArray {
    fd: OwnedFd,
}

impl SmartArray {
    /// Opens the node of a logical drive, or of a disk in HBA mode, for reading.
    pub fn open(path: &Path) -> Result<Self, TransportError> {
        crate::open(path).map(|fd| Self { fd })
    }

    /// Opens the controller's own generic node, e.g. `/dev/sg0`. The kernel passes driver ioctls on only from a node
    /// that is open for writing too; the list of commands keeps what is sent to reading all the same.
    pub fn open_generic(path: &Path) -> Result<Self, TransportError> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty());
        fd.map(|fd| Self { fd }).map_err(|error| crate::refusal(error, "write access to the controller's node"))
    }
}

impl Cciss for SmartArray {
    fn execute_at(
        &mut self,
        lun: LunAddress,
        command: &ScsiCommand,
        data: &mut [u8],
    ) -> Result<ScsiReply, TransportError> {
        let invalid = TransportError::Io(EINVAL);
        let length = u16::try_from(data.len()).ok().filter(|_| data.len() == command.data_bytes());
        let buf_size = length.ok_or_else(|| invalid.clone())?;
        let bytes = command.cdb();
        let mut cdb = [0; 16];
        cdb.get_mut(..bytes.len()).ok_or_else(|| invalid.clone())?.copy_from_slice(bytes);
        let direction = match command.direction() {
            Direction::None => 0,
            Direction::FromDevice => CCISS_READ,
        };
        let mut request = CcissCommand {
            lun: lun.0,
            cdb_len: u8::try_from(bytes.len()).map_err(|_| invalid)?,
            kind: CCISS_KIND | direction,
            timeout_s: u16::try_from(command.timeout_ms().div_ceil(1000)).unwrap_or(u16::MAX),
            cdb,
            scsi_status: 0,
            sense_len: 0,
            command_status: 0,
            residual: 0,
            more: [0; 8],
            sense: [0; 32],
            buf_size,
            buf: data.as_mut_ptr(),
        };
        // SAFETY: CCISS_PASSTHRU takes an IOCTL_Command_struct, whose layout CcissCommand has (abi.rs). `buf` and
        // `buf_size` are `data`, which outlives the call; the driver copies through a buffer of its own and, as the
        // direction is none or read, only ever writes to `buf`.
        unsafe { crate::call::<CCISS_PASSTHRU, CcissCommand>(&self.fd, &mut request) }
            .map_err(|error| crate::refusal(error, CAPABILITY))?;
        match request.command_status {
            CMD_SUCCESS | CMD_TARGET_STATUS | CMD_DATA_UNDERRUN => {}
            CMD_INVALID => return Err(TransportError::NotSupported),
            CMD_CONNECTION_LOST => return Err(TransportError::Gone),
            CMD_TIMEOUT => return Err(TransportError::TimedOut),
            _ => return Err(TransportError::Io(EIO)),
        }
        let written = usize::from(request.sense_len).min(request.sense.len());
        let residual = usize::try_from(request.residual).unwrap_or(usize::MAX).min(data.len());
        Ok(ScsiReply::new(request.scsi_status, &request.sense[..written], residual))
    }
}

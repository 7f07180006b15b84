// SPDX-License-Identifier: Apache-2.0 OR MIT
//! SCSI commands by SG_IO: to disks, and to ATA ones behind libata's SAT layer or a bridge.

use crate::abi::{SG_DXFER_FROM_DEV, SG_DXFER_NONE, SG_IO, SgIoHdr};
use adit_device::command::{Direction, ScsiCommand};
use adit_device::transport::{SENSE_BYTES_MAX, Scsi, ScsiReply, TransportError};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::ptr;

/// What SG_IO asks for when the command is more than a harmless SCSI one.
const CAPABILITY: &str = "CAP_SYS_RAWIO";
/// Host adapter's words (linux/scsi/scsi_host.h): no connection, bad target.
const DID_NO_CONNECT: u16 = 0x01;
const DID_BAD_TARGET: u16 = 0x04;
/// Gave up waiting.
const DID_TIME_OUT: u16 = 0x03;
/// What `driver_status` says when sense bytes are there (old kernels), which is no error.
const DRIVER_SENSE: u16 = 0x08;
/// Errors of the host's own making are told as "I/O error".
const EIO: i32 = 5;
const EINVAL: i32 = 22;

/// A disk's node, e.g. `/dev/sda` or `/dev/sg1`, open for reading.
#[derive(Debug)]
pub struct ScsiDevice {
    fd: OwnedFd,
}

impl ScsiDevice {
    /// Opens the node without waiting for the device.
    pub fn open(path: &Path) -> Result<Self, TransportError> {
        crate::open(path).map(|fd| Self { fd })
    }
}

impl Scsi for ScsiDevice {
    fn execute(&mut self, command: &ScsiCommand, data: &mut [u8]) -> Result<ScsiReply, TransportError> {
        let length = u32::try_from(data.len()).ok().filter(|_| data.len() == command.data_bytes());
        let length = length.ok_or(TransportError::Io(EINVAL))?;
        let mut sense = [0_u8; SENSE_BYTES_MAX];
        let cdb = command.cdb();
        let (Ok(cmd_len), Ok(mx_sb_len)) = (u8::try_from(cdb.len()), u8::try_from(sense.len())) else {
            return Err(TransportError::Io(EINVAL));
        };
        let dxfer_direction = match command.direction() {
            Direction::None => SG_DXFER_NONE,
            Direction::FromDevice => SG_DXFER_FROM_DEV,
        };
        let mut header = SgIoHdr {
            interface_id: i32::from(b'S'),
            dxfer_direction,
            cmd_len,
            mx_sb_len,
            iovec_count: 0,
            dxfer_len: length,
            dxferp: data.as_mut_ptr(),
            cmdp: cdb.as_ptr(),
            sbp: sense.as_mut_ptr(),
            timeout: command.timeout_ms(),
            flags: 0,
            pack_id: 0,
            usr_ptr: ptr::null_mut(),
            status: 0,
            masked_status: 0,
            msg_status: 0,
            sb_len_wr: 0,
            host_status: 0,
            driver_status: 0,
            resid: 0,
            duration: 0,
            info: 0,
        };
        // SAFETY: SG_IO takes an sg_io_hdr_t, whose layout SgIoHdr has (abi.rs). `dxferp` and `dxfer_len` are `data`,
        // `cmdp` and `cmd_len` the command, `sbp` and `mx_sb_len` `sense`: all outlive the call, which waits for the
        // answer and keeps no pointer; the direction is none or from the device, so `cmdp` is only read.
        unsafe { crate::call::<SG_IO, SgIoHdr>(&self.fd, &mut header) }.map_err(told)?;
        match header.host_status {
            0 => {}
            DID_NO_CONNECT | DID_BAD_TARGET => return Err(TransportError::Gone),
            DID_TIME_OUT => return Err(TransportError::TimedOut),
            // A reply with a status or sense is one, whatever the host adds.
            _ if header.status != 0 || header.sb_len_wr != 0 => {}
            _ => return Err(TransportError::Io(EIO)),
        }
        if header.driver_status & 0x0f & !DRIVER_SENSE != 0 && header.status == 0 && header.sb_len_wr == 0 {
            return Err(TransportError::Io(EIO));
        }
        let written = usize::from(header.sb_len_wr).min(sense.len());
        let residual = usize::try_from(header.resid).unwrap_or(0).min(data.len());
        Ok(ScsiReply::new(header.status, &sense[..written], residual))
    }
}

fn told(error: Errno) -> TransportError {
    crate::refusal(error, CAPABILITY)
}

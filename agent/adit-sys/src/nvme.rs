// SPDX-License-Identifier: Apache-2.0 OR MIT
//! NVMe admin commands by NVME_IOCTL_ADMIN_CMD.

use crate::abi::{NVME_IOCTL_ADMIN_CMD, NvmeAdminCmd};
use adit_device::command::NvmeCommand;
use adit_device::transport::{Nvme, NvmeReply, TransportError};
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode};
use std::ffi::c_void;
use std::os::fd::OwnedFd;
use std::path::Path;

const CAPABILITY: &str = "CAP_SYS_ADMIN";
const EINVAL: i32 = 22;
/// Status field without the "do not retry" and "more" bits that are not of the status itself.
const STATUS_MASK: i32 = 0x7fff;

/// A controller's node, e.g. `/dev/nvme0`, open for reading.
#[derive(Debug)]
pub struct NvmeDevice {
    fd: OwnedFd,
}

impl NvmeDevice {
    /// Opens the node.
    pub fn open(path: &Path) -> Result<Self, TransportError> {
        crate::open(path).map(|fd| Self { fd })
    }
}

/// The ioctl answers with the NVMe status field as its return value, which `rustix`'s own patterns throw away.
struct AdminCommand<'a>(&'a mut NvmeAdminCmd);

// SAFETY: `as_ptr` gives the exclusively borrowed structure that NVME_IOCTL_ADMIN_CMD takes (layout: abi.rs), and
// `output_from_ptr` only passes the return value on.
unsafe impl Ioctl for AdminCommand<'_> {
    type Output = i32;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        NVME_IOCTL_ADMIN_CMD
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self.0).cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _pointer: *mut c_void) -> rustix::io::Result<i32> {
        Ok(output)
    }
}

impl Nvme for NvmeDevice {
    fn admin(&mut self, command: &NvmeCommand, data: &mut [u8]) -> Result<NvmeReply, TransportError> {
        let length = u32::try_from(data.len()).ok().filter(|_| data.len() == command.data_bytes());
        let mut admin = NvmeAdminCmd {
            opcode: command.opcode(),
            nsid: command.nsid(),
            addr: u64::try_from(data.as_mut_ptr().expose_provenance()).map_err(|_| TransportError::Io(EINVAL))?,
            data_len: length.ok_or(TransportError::Io(EINVAL))?,
            cdw10: command.cdw10(),
            timeout_ms: command.timeout_ms(),
            ..NvmeAdminCmd::default()
        };
        // SAFETY: `addr` and `data_len` are `data`, which the kernel may fill until the call returns; there is no
        // metadata. The opcodes of NvmeCommand's list transfer from the controller only.
        let status = unsafe { rustix::ioctl::ioctl(&self.fd, AdminCommand(&mut admin)) };
        let status = status.map_err(|error| crate::refusal(error, CAPABILITY))?;
        let status = u16::try_from(status & STATUS_MASK).unwrap_or(u16::MAX);
        Ok(NvmeReply { status, result: admin.result })
    }
}

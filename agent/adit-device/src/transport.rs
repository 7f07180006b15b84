// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How a command reaches a device. Implemented by ioctls, by the simulator and by transcripts; the decoders know only this.
//!
//! A transport judges nothing: a CHECK CONDITION or an NVMe error status is a reply, not an error. It never retries.

use crate::command::{IpmiCommand, LunAddress, NvmeCommand, ScsiCommand};

/// Most sense bytes that a reply keeps. Descriptor sense with one ATA return descriptor needs 22 (SAT-4, 12.2.7).
pub const SENSE_BYTES_MAX: usize = 64;
/// Most bytes of an IPMI answer, completion code included (IPMI 2.0, 9.2: messages of the system interface).
pub const IPMI_REPLY_BYTES_MAX: usize = 272;

/// SCSI status GOOD (SAM-5, 5.3.1).
pub const STATUS_GOOD: u8 = 0x00;
/// SCSI status CHECK CONDITION: the sense bytes say more (SAM-5, 5.3.1).
pub const STATUS_CHECK_CONDITION: u8 = 0x02;

/// Why a command did not reach the device, or no answer came back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The driver or the device has no such interface.
    #[error("send the command: the device has no such interface")]
    NotSupported,
    /// The kernel refused for want of a capability, e.g. `CAP_SYS_RAWIO`.
    #[error("send the command: needs {0}")]
    NeedsCapability(&'static str),
    /// No answer within the command's time.
    #[error("wait for the device: no answer in time")]
    TimedOut,
    /// The device is not there any more.
    #[error("reach the device: it is gone")]
    Gone,
    /// Anything else the kernel said, as its error number.
    #[error("send the command: error {0}")]
    Io(i32),
}

/// A device's answer to a SCSI command.
#[derive(Clone, PartialEq, Eq)]
pub struct ScsiReply {
    /// SCSI status byte, e.g. [`STATUS_GOOD`].
    pub status: u8,
    sense: [u8; SENSE_BYTES_MAX],
    sense_len: usize,
    /// Bytes of the buffer that the device did not fill.
    pub residual: usize,
}

impl ScsiReply {
    /// An answer; sense beyond [`SENSE_BYTES_MAX`] is cut.
    #[must_use]
    pub fn new(status: u8, sense: &[u8], residual: usize) -> Self {
        let sense_len = sense.len().min(SENSE_BYTES_MAX);
        let mut kept = [0; SENSE_BYTES_MAX];
        kept[..sense_len].copy_from_slice(&sense[..sense_len]);
        Self { status, sense: kept, sense_len, residual }
    }

    /// A GOOD answer that filled the buffer.
    #[must_use]
    pub fn good() -> Self {
        Self::new(STATUS_GOOD, &[], 0)
    }

    /// The sense bytes, empty when there are none.
    #[must_use]
    pub fn sense(&self) -> &[u8] {
        &self.sense[..self.sense_len]
    }
}

impl std::fmt::Debug for ScsiReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "ScsiReply {{ status: {:#04x}, sense: {:02x?}, residual: {} }}",
            self.status,
            self.sense(),
            self.residual
        )
    }
}

/// A device's answer to an NVMe admin command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NvmeReply {
    /// Status field without the phase bit: 0 is success (NVMe 2.0, 3.3.3.2.1).
    pub status: u16,
    /// Dword 0 of the completion.
    pub result: u32,
}

/// A SCSI device, or an ATA one behind a SAT layer.
pub trait Scsi {
    /// Sends one command and waits. `data` is as long as [`ScsiCommand::data_bytes`] says, and filled from its start.
    fn execute(&mut self, command: &ScsiCommand, data: &mut [u8]) -> Result<ScsiReply, TransportError>;
}

/// An NVMe controller.
pub trait Nvme {
    /// Sends one admin command and waits. `data` is as long as [`NvmeCommand::data_bytes`] says.
    fn admin(&mut self, command: &NvmeCommand, data: &mut [u8]) -> Result<NvmeReply, TransportError>;
}

/// A baseboard management controller.
pub trait Ipmi {
    /// Sends one request and waits. Gives the length of the answer in `reply`; its first byte is the completion code.
    /// An answer longer than `reply` is cut.
    fn request(&mut self, command: &IpmiCommand, reply: &mut [u8]) -> Result<usize, TransportError>;
}

/// A Smart Array controller, which passes SCSI commands on to the addresses behind it.
pub trait Cciss {
    /// Sends one command to the device at `lun`, or to the controller itself at [`LunAddress::CONTROLLER`]; otherwise
    /// as [`Scsi::execute`].
    fn execute_at(
        &mut self,
        lun: LunAddress,
        command: &ScsiCommand,
        data: &mut [u8],
    ) -> Result<ScsiReply, TransportError>;
}

/// One disk behind a Smart Array controller, as an ordinary SCSI device.
#[derive(Debug)]
pub struct CcissDisk<'c, C: Cciss + ?Sized> {
    controller: &'c mut C,
    lun: LunAddress,
}

impl<'c, C: Cciss + ?Sized> CcissDisk<'c, C> {
    /// The disk at an address that REPORT PHYSICAL LUNS gave.
    pub const fn new(controller: &'c mut C, lun: LunAddress) -> Self {
        Self { controller, lun }
    }
}

impl<C: Cciss + ?Sized> Scsi for CcissDisk<'_, C> {
    fn execute(&mut self, command: &ScsiCommand, data: &mut [u8]) -> Result<ScsiReply, TransportError> {
        self.controller.execute_at(self.lun, command, data)
    }
}

impl<T: Scsi + ?Sized> Scsi for &mut T {
    fn execute(&mut self, command: &ScsiCommand, data: &mut [u8]) -> Result<ScsiReply, TransportError> {
        (**self).execute(command, data)
    }
}

impl<T: Nvme + ?Sized> Nvme for &mut T {
    fn admin(&mut self, command: &NvmeCommand, data: &mut [u8]) -> Result<NvmeReply, TransportError> {
        (**self).admin(command, data)
    }
}

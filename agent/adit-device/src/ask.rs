// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One question and its answer: repeats what a unit attention swallowed, tells "does not know this" from "does not answer".

use crate::command::ScsiCommand;
use crate::reading::{DiskReading, PowerState};
use crate::sense::{Sense, UNIT_ATTENTION};
use crate::transport::{STATUS_CHECK_CONDITION, STATUS_GOOD, Scsi, ScsiReply, TransportError};

/// How often a command is sent again because something happened meanwhile. A reset can leave several unit attentions
/// behind (SAM-5, 5.14), one for each event.
pub const UNIT_ATTENTION_RETRIES: usize = 4;

/// Why a disk could not be read at all. A single log that a disk does not have is no error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The device did not answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The device is something else, e.g. a tape or an enclosure: its peripheral device type.
    #[error("read the disk: its device type is {0:#04x}")]
    NotADisk(u8),
    /// A drive without a medium.
    #[error("read the disk: there is no medium in it")]
    NoMedium,
    /// The device did not say who it is, so nothing else that it says can be told of anybody.
    #[error("identify the disk: no usable answer")]
    NoIdentity,
}

/// How far a look at a disk may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// Only when it is working: reading an idle disk starts its timer for standby again. The kernel saw it work a moment
    /// ago, so a disk that does not tell its state may be read.
    ActiveOnly,
    /// When its platters turn, and it says so.
    IdleToo,
    /// Even when that wakes it.
    Wake,
}

/// What came of a look at a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visit {
    /// What it said.
    Read(Box<DiskReading>),
    /// It was left alone, for this state.
    LeftAlone(PowerState),
}

impl Permit {
    /// Whether a disk in this state may be read.
    #[must_use]
    pub const fn allows(self, state: PowerState) -> bool {
        match state {
            PowerState::Active => true,
            PowerState::Idle => !matches!(self, Self::ActiveOnly),
            PowerState::Unknown => !matches!(self, Self::IdleToo),
            PowerState::Asleep => matches!(self, Self::Wake),
        }
    }
}

/// Sends until no unit attention comes; gives the last answer with what it filled of the buffer.
pub(crate) fn send<S: Scsi + ?Sized>(
    device: &mut S,
    command: &ScsiCommand,
) -> Result<(ScsiReply, Vec<u8>), TransportError> {
    let mut left = UNIT_ATTENTION_RETRIES;
    loop {
        let mut data = vec![0; command.data_bytes()];
        let reply = device.execute(command, &mut data)?;
        let attention = Sense::of(&reply).is_some_and(|sense| sense.key == UNIT_ATTENTION);
        if attention && left > 0 {
            left -= 1;
            continue;
        }
        data.truncate(data.len().saturating_sub(reply.residual));
        return Ok((reply, data));
    }
}

/// The data of an answer; `None` when the device refused, or the driver cannot pass this one command.
pub(crate) fn ask<S: Scsi + ?Sized>(device: &mut S, command: &ScsiCommand) -> Result<Option<Vec<u8>>, TransportError> {
    match send(device, command) {
        Ok((reply, data)) => {
            // Key 1, recovered error: the data is good.
            let recovered = reply.status == STATUS_CHECK_CONDITION && Sense::of(&reply).is_some_and(|s| s.key <= 1);
            Ok((reply.status == STATUS_GOOD || recovered).then_some(data))
        }
        Err(TransportError::NotSupported | TransportError::Io(_)) => Ok(None),
        Err(error @ (TransportError::NeedsCapability(_) | TransportError::TimedOut | TransportError::Gone)) => {
            Err(error)
        }
    }
}

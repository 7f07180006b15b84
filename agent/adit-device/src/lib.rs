// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What disks, controllers and BMCs say: the commands that may be sent, the transports that carry them, decoders of the
//! answers, and the policy that lets sleeping disks sleep.
//!
//! Pure: no file, no clock, no device node. A transport is an argument, so that the same decoders run on real devices, on
//! recorded transcripts and on simulated ones. It never holds a command that writes: what is not a constructor of
//! [`command`] cannot be sent.
#![forbid(unsafe_code)]

mod ask;
pub mod ata;
pub mod command;
pub mod dm;
mod fields;
pub mod hpsa;
pub mod ipmi;
pub mod nvme;
pub mod pipe;
mod read_ata;
mod read_scsi;
pub mod reading;
pub mod redact;
pub mod scsi;
pub mod sense;
pub mod sim;
pub mod standby;
pub mod transcript;
pub mod transport;

pub use ask::{Permit, ReadError, UNIT_ATTENTION_RETRIES, Visit};
pub use nvme::read_nvme;
pub use read_ata::{ata_power_state, read_ata};
pub use read_scsi::{Attachment, read_disk, read_scsi, scsi_power_state};
pub use reading::{DiskKind, DiskReading, Identity, PowerState};

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What disks, controllers and BMCs say: the commands that may be sent, the transports that carry them, decoders of the
//! answers, and the policy that lets sleeping disks sleep.
//!
//! Pure: no file, no clock, no device node. A transport is an argument, so that the same decoders run on real devices, on
//! recorded transcripts and on simulated ones. It never holds a command that writes: what is not a constructor of
//! [`command`] cannot be sent.
#![forbid(unsafe_code)]

pub mod command;
pub mod dm;
pub mod hpsa;
pub mod transport;

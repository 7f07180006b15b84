// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Readings to checks to verdicts: what a machine knows about its own health, and the records that backup runs leave.
//!
//! Owns the model, the rules and the thin readers of the kernel's files. It stands apart from the daemon so that the tool
//! judges by the same rules and so that every reader is tested on a recorded tree. It never opens a device node, starts
//! a program, waits for a network or writes anything but run records.
#![forbid(unsafe_code)]

pub mod collect;
mod date;
mod devices;
pub mod expect;
pub mod gathered;
pub mod judge;
pub mod limits;
pub mod memory;
pub mod model;
mod readers;
pub mod readings;
pub mod report;
pub mod rules;
pub mod runs;
pub mod show;
mod text;

pub use collect::{Arrival, Collector, SourceArrival, StoreReading, Surroundings};
pub use devices::Devices;
pub use expect::Expected;
pub use gathered::{Asked, Gathered};
pub use judge::Judge;
pub use limits::Limits;
pub use memory::Memory;
pub use model::{Component, Finding, Report};
pub use report::{Answer, Reporter, decode};

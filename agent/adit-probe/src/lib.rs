// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The program that opens device nodes, so that the agent need not: it finds disks, controllers, a BMC and device-mapper
//! volumes in /sys, asks each by the fixed read-only commands of adit-device, and hands what they said to the agent over
//! a unix socket.
//!
//! It keeps two capabilities, has no network, starts no program and writes nothing. It judges nothing.

pub mod cli;
mod confine;
mod discover;
mod look;
mod record;
mod rounds;
mod serve;

pub use confine::{KEPT, confine, lacks};
pub use discover::{Device, Found, Kind, Roots, discover};
pub use look::{Looked, Looker, Memory, Nodes};
pub use record::kernel_files;
pub use rounds::{LOOK_SLOW, LOOKS_AT_ONCE, Rounds};
pub use serve::{ProbeError, serve};

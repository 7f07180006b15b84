// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The hand: what the harness asks the first process of its machines to do, and the frames that carry it over a
//! virtio-serial port. Both ends use these types, so that they cannot drift apart. Never part of an appliance.

pub mod client;
pub mod frame;
pub mod words;

/// Name of the virtio-serial port that carries the hand.
pub const PORT: &str = "adit.hand";
/// What PID 1 writes to the console when the hand is served, followed by a space and the uptime in seconds.
pub const READY: &str = "adit-guest: ready";
/// What PID 1 writes instead when the kernel's command line has [`EMPTY_OPTION`]: nothing but mounts was done.
pub const EMPTY: &str = "adit-guest: empty";
/// Word of the kernel's command line that asks for an empty boot, the measure of every other boot.
pub const EMPTY_OPTION: &str = "adit.empty";
/// In the first file system: the modules to load, one a line as `NAME PARAMETERS…`, in order.
pub const MODULE_LIST: &str = "lib/modules/order";

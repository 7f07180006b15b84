// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Real services to ask: Debian's packages are fetched, unpacked below target/ and run in namespaces of their own. It
//! stands apart because it needs root and a network to fetch from. It never installs a package, runs a maintainer's
//! script, or listens on an address of this machine.
#![forbid(unsafe_code)]

pub mod packages;
pub mod room;

pub use room::{HOSTS, Room, until};

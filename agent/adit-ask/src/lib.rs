// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Asks other programs what they know about this machine's health: UPS daemons, Ceph, Gluster, systemd, package
//! managers, ZFS, monitoring plugins. One module each; its parser is apart from its asking, so that any bytes can be tried.
//!
//! Every question has a deadline and takes a bounded answer, because whoever is asked may hang or be hostile. Nothing
//! here judges: rules do that, in adit-health. It changes nothing on any machine and never starts a shell.
#![forbid(unsafe_code)]

pub mod apcupsd;
pub mod ceph;
pub mod child;
mod dbus;
pub mod error;
pub mod gluster;
pub mod http;
pub mod nut;
pub mod plugin;
pub mod systemd;
mod talk;
pub mod updates;
pub mod version;
mod words;
pub mod zpool;

pub use error::AskError;

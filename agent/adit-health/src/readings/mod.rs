// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Typed readings: what a source said, in units, before anything judges it. One file per kind of source; rules take them.
//! They are plain data that serialises, so that another process may take a reading and a fixture may hold one.

pub mod array;
pub mod block;
pub mod ceph;
pub mod certificate;
pub mod edac;
pub mod environment;
pub mod file_system;
pub mod gluster;
pub mod link;
pub mod plugin;
pub mod pool;
pub mod power;
pub mod silence;
pub mod system;
pub mod units;
pub mod updates;
pub mod ups;
pub mod volume;
pub mod zpool;

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The rules, a file for each family of things. A rule is a pure function of a reading, the limits and the memory: it never
//! reads a file or a clock. Every reason that a rule can give has a case that fires it and one in which the same check is
//! quiet; `tests/rules` holds the cases and fails when one is missing.

pub mod array;
pub mod backup;
pub mod block;
pub mod bmc;
pub mod ceph;
pub mod certificate;
pub mod controller;
pub mod disk;
pub mod dm;
pub mod edac;
pub mod environment;
pub mod file_system;
pub mod gluster;
pub mod link;
pub mod plugin;
pub mod pool;
pub mod power;
pub mod system;
pub mod units;
pub mod updates;
pub mod ups;
pub mod volume;
pub mod zpool;

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Thin readers of /proc, /sys and a few files of /etc and /run: each turns files into a typed reading and judges nothing.
//! All paths hang below a root, so that a recorded tree of another machine can be read in a test. Each file says whether
//! its reads can block: then the thread that collects hangs, and its owner's deadline tells.

pub(crate) mod bcache;
pub(crate) mod block;
pub(crate) mod boot;
pub(crate) mod btrfs;
pub(crate) mod certificates;
pub(crate) mod dm;
pub(crate) mod edac;
pub(crate) mod hwmon;
pub(crate) mod kernel;
pub(crate) mod links;
pub(crate) mod md;
pub(crate) mod mounts;
pub(crate) mod power_supply;
pub(crate) mod rapl;
pub(crate) mod zfs;

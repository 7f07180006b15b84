// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Disks read from end to end: simulated ones, recorded ones, and the same ones as smartctl reads them.

mod distinct;
mod faults;
mod golden;
mod readings;
mod records;
mod smartctl;

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The harness: machines made of QEMU, networks made of a switch in this process, disks that fail when told to, power
//! that can be cut. It needs no root, no bridge, no tap, no container engine; where there is no usable KVM it uses TCG.
//! Never part of a program that a user runs.

pub mod bmc;
pub mod disk;
pub mod guest;
pub mod net;
mod port;
pub mod ups;

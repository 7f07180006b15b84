// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The harness: machines made of QEMU, networks made of a switch in this process, disks that fail when told to, power
//! that can be cut. It needs no root, no bridge, no tap, no container engine; where there is no usable KVM it uses TCG.
//! Never part of a program that a user runs.

pub mod accel;
pub mod agent;
pub mod appliance;
pub mod artifacts;
pub mod bmc;
pub mod box_machine;
pub mod clock;
pub mod console;
pub mod data;
pub mod disk;
pub mod guest;
mod hang;
pub mod health;
pub mod image;
pub mod lab;
pub mod machine;
pub mod net;
mod port;
pub mod program;
pub mod qmp;
pub mod running;
pub mod server;
pub mod slots;
pub mod source;
pub mod ups;

pub use box_machine::BoxMachine;
pub use guest::Guest;
pub use lab::Lab;
pub use machine::{Pace, Parts, Watchdog};
pub use running::Machine;

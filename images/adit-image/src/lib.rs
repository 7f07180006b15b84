// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What goes into something that boots: a cpio archive, a kernel taken out of its package, the modules it needs in loading
//! order. Everything is done by an ordinary user and gives the same bytes for the same input. Never mounts, never needs a
//! loop device, never looks at the machine it runs on but for the files it is given.

pub mod arch;
pub mod board;
pub mod builder;
pub mod cpio;
pub mod debian;
pub mod device;
pub mod digest;
pub mod elf;
pub mod esp;
pub mod fat;
pub mod image;
pub mod initrd;
pub mod inputs;
pub mod inspect;
pub mod keys;
pub mod modules;
pub mod outputs;
pub mod page;
pub mod pe;
pub mod preseed;
pub mod qcow2;
pub mod sbom;
pub mod table;
pub mod uki;
pub mod vmlinux;

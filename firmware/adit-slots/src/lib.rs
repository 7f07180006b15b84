// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an appliance needs to never lose its last bootable image: update files, slots, watchdog policy, time floor; and the
//! settings that it is given before its first start.
//!
//! Owns the bytes of an update and of the state that survives a power cut, and every decision about which image starts
//! next. It stands apart from the first process so that each decision can be tried in each state, with a cut at each
//! write. It never opens a file, reads a clock, draws a random number or allocates; a disk is an `embedded-io` stream,
//! and hashes and signatures are checked by functions that the caller gives.
//!
//! The crate builds three ways: plain, with `log`, with `defmt`; `make no-std` proves all three.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::std_instead_of_core,
        clippy::alloc_instead_of_core
    )
)]

#[cfg(test)]
extern crate std;

#[cfg(all(feature = "log", feature = "defmt"))]
compile_error!("choose one of the features `log` and `defmt`: a program has one logger");

mod bytes;

pub mod copies;
pub mod decide;
pub mod esp;
pub mod keys;
pub mod layout;
pub mod manifest;
pub mod name;
pub mod preseed;
pub mod record;
pub mod timefloor;
pub mod update;
pub mod version;
pub mod watchdog;

use adit_wire::ids::{PublicKey, Signature};

/// Whether a signature by a key covers a prefix and a body, given by whoever holds a cryptographic library. The same
/// type as `adit_proto::Verify`.
pub type Verify<'f> = dyn Fn(&PublicKey, &'static [u8], &[u8], &Signature) -> bool + 'f;

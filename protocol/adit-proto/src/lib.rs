// SPDX-License-Identifier: Apache-2.0 OR MIT
//! adit's conversations without I/O: pairing, the one table of roles, backup, liveness, proofs, address records.
//!
//! Owns what a peer may say when, and what the other side concludes from it. It stands apart from the links so that a
//! lost packet, a cut cable and a dishonest peer can be tried in a simulation, millions of times. It never opens a socket
//! or file, reads a clock or draws a random number: time comes as milliseconds, cryptography as a function.
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

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(all(feature = "log", feature = "defmt"))]
compile_error!("choose one of the features `log` and `defmt`: a program has one logger");

pub mod address;
pub mod backup;
pub mod encode;
pub mod liveness;
pub mod pairing;
pub mod proof;
pub mod roles;
pub mod token;

use adit_wire::ids::{Mac, PublicKey, Signature};

/// HMAC-SHA-256 over parts, given by whoever holds a cryptographic library.
pub type Hmac<'f> = dyn Fn(&[u8; 32], &[&[u8]]) -> Mac + 'f;

/// Whether a signature by a key covers a prefix and a body, given by whoever holds a cryptographic library.
pub type Verify<'f> = dyn Fn(&PublicKey, &'static [u8], &[u8], &Signature) -> bool + 'f;

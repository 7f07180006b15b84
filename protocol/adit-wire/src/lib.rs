// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What adit's peers say to each other, to the byte: frames, messages, records, signed bodies and their limits.
//!
//! Owns every type that crosses the wire and the client header that lies on disk unchanged. It stands apart so that
//! firmware, agents, tools and the test harness share one definition. It never opens a file or socket, reads a clock,
//! draws a random number or allocates. `protocol/SPEC.md` draws the bytes; `protocol/wire.lock` freezes them.
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

mod fmt;

pub mod admin;
pub mod appliance;
pub mod backup;
pub mod frame;
pub mod health;
pub mod ids;
pub mod link;
pub mod list;
pub mod pair;
pub mod read;
pub mod record;
pub mod recover;
pub mod refusal;
pub mod signed;

/// The one default TCP port of an agent, below the range that Linux gives to outgoing connections (32768 and up).
pub const DEFAULT_PORT: u16 = 11_713;

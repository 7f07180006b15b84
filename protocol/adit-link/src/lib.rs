// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The only room that opens sockets: TLS 1.3 with pinned raw public keys over IPv6, conversations of frames on it, and
//! the same frames over a serial line.
//!
//! It stands apart so that engines stay free of I/O and so that everything an unknown machine can reach before its key
//! is checked lies in one place. It never decides what a peer may do (the owner's [`Gate`] knows the pins, the table of
//! roles is adit-proto's), never resumes a session, never speaks IPv4 and never lets a peer make it hold more memory
//! than the named limits say.
#![forbid(unsafe_code)]

mod certificate;
mod conversation;
mod dial;
mod door;
mod identity;
pub mod limits;
mod link;
mod listen;
mod meter;
mod outbox;
mod run;
pub mod serial;
mod slots;
mod socket;
mod table;
mod target;
mod tls;

pub use certificate::{CertificateError, certificate};
pub use conversation::{Conversation, Frame};
pub use dial::{DialError, HopReport, Tried, dial, probe};
pub use door::{Door, Gate};
pub use identity::{Identity, verify};
pub use limits::{Deadlines, Limits};
pub use link::{About, Closer, Counters, Link, LinkError, PeerGreeting, Refusal};
pub use listen::{DoorCounts, Event, Incoming, ListenError, Listener};
pub use slots::NoPlace;
pub use target::{Target, TargetError};
pub use tls::provide_cryptography;

/// The value behind a lock. Every critical section here leaves the value whole, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

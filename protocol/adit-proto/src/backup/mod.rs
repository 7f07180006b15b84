// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A backup run's conversation: [`SourceSession`] on one side, [`BoxSession`] on the other, [`CreditPool`] between all
//! sessions of a box.
//!
//! One session per connection and session key; one run may outlive several. Records carry sequence numbers 1, 2, 3, … of
//! their *run*: a resumed run goes on behind the last durable one. ACK names two: *received* frees the window, *durable*
//! frees what the source keeps for sending again. Nothing here seals, stores or sends.

mod credit;
mod serve;
mod source;

pub use credit::CreditPool;
pub use serve::{BoxAction, BoxSession, Greeted, Refusal};
pub use source::{
    History, NewestInfo, Rec, Resume, ResumeError, SourceError, SourceEvent, SourceSession, SourceStart, Waits,
    WelcomeInfo,
};

use adit_wire::frame::{Kind, Service};
use alloc::vec::Vec;

/// A frame to send on the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Which message.
    pub kind: Kind,
    /// Its body.
    pub body: Vec<u8>,
    /// Whether it is the sender's last frame.
    pub end: bool,
}

/// The box asks its store for a sync when this much was appended since the last one: half of what a source holds, so that
/// the source's window never runs dry while the disk works.
pub const SYNC_AT_BYTES: u32 = adit_wire::backup::SYNC_EVERY_BYTES / 2;
const _: () = assert!(SYNC_AT_BYTES <= adit_wire::backup::SYNC_EVERY_BYTES);
/// The box syncs when nothing came for this long.
pub const IDLE_MS: u64 = 200;
/// The box acknowledges at the latest this long after it received a record.
pub const ACK_EVERY_MS: u64 = 1_000;

/// The kind of a REC frame; its body is the sequence number (u64 little-endian), then the record.
pub const REC: Kind = Kind { service: Service::Backup as u8, method: adit_wire::backup::METHOD_REC, major: 1 };

/// Bytes that a record takes of credit and window: its REC body.
fn rec_bytes(record_bytes: usize) -> u64 {
    u64::try_from(record_bytes.saturating_add(adit_wire::backup::REC_PREFIX_BYTES)).unwrap_or(u64::MAX)
}

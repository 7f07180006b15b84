// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Service 0: what two links say to each other whatever they are connected for. Conversation 0, both ways.

use crate::frame::message;
use serde::{Deserialize, Serialize};

/// Seconds without sending after which a link sends PING.
pub const PING_AFTER_S: u32 = 15;
/// Seconds without hearing anything after which a link is dead.
pub const DEAD_AFTER_S: u32 = 45;
/// Conversations that one side may have open at once.
pub const CONVERSATIONS_MAX: u16 = 8;
/// The protocol's major version.
pub const PROTOCOL_MAJOR: u8 = 1;

/// The first frame of each side on `adit/1` and `adit-recover/1`, sent without waiting for the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting<'a> {
    /// Lowest protocol major that the sender speaks.
    pub protocol_min: u8,
    /// Highest protocol major that the sender speaks.
    pub protocol_max: u8,
    /// Bits of optional abilities; none is defined in major 1.
    pub features: u32,
    /// Conversations the sender accepts at once.
    pub conversations_max: u16,
    /// The sender's signed address record ([`crate::signed::AddressRecord`]), or nothing.
    #[serde(borrow)]
    pub address_record: &'a [u8],
    /// Program and version, for logs.
    pub software: &'a str,
}
message!(Greeting<'a>, Link, 1, 1, Skipped, |m| m.software.len() <= 48
    && m.address_record.len() <= crate::signed::ADDRESS_RECORD_BYTES_MAX);

/// "Are you there?"
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// Comes back in the answer.
    pub nonce: u64,
}
message!(Ping, Link, 2, 1, Refused);

/// "I am."
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// The nonce of the question.
    pub nonce: u64,
}
message!(Pong, Link, 3, 1, Skipped);

/// The sender closes the link on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// A [`crate::refusal::Code`], or 0 when everything is done.
    pub code: u16,
}
message!(Goodbye, Link, 4, 1, Skipped);

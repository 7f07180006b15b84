// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every deadline and every bound of memory of the link, by name. Values that an owner may want to change are in
//! [`Deadlines`] and [`Limits`]; the rest are constants.

use adit_wire::frame::RECORD_BODY_BYTES_MAX;
use std::time::Duration;

/// Addresses that one dial tries.
pub const ADDRESSES_MAX: usize = 8;
/// Pause before the next address is tried beside the ones under way (RFC 8305 calls it the connection attempt delay).
pub const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// Segment size asked for: IPv6's least MTU of 1280 less 60 bytes of IPv6 and TCP headers. Tunnels that drop larger
/// packets without a word are common, and the hybrid ClientHello is the first packet that would meet one.
pub const MSS_BYTES: u32 = 1_220;
/// The peer takes none of our bytes for this long: the link ends. Longer than adit-wire's `DEAD_AFTER_S`, because a box
/// that waits for its disk still sends PING but reads nothing.
pub const STALLED_AFTER: Duration = Duration::from_secs(120);
/// A header that has begun, and a body, must be complete after this time: 2 MiB at 60 kbit/s.
pub const FRAME_WITHIN: Duration = Duration::from_secs(300);
/// How long [`crate::Conversation::recv`] waits unless told otherwise: longer than a full scan before the first record.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(3_600);
/// A conversation's owner leaves its queue full for this long: the link ends.
pub const UNREAD_FOR: Duration = Duration::from_secs(600);
/// Leave-taking ends when the peer takes nothing, or does not close its side, for this long.
pub const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of frames that wait to be written on one link; a longer frame waits alone. Small enough to stay in a
/// processor's cache from the sender to TLS.
pub const OUT_BYTES_MAX: usize = 1 << 20;
/// Bytes of frames that were read on one link and not yet taken by their conversations.
pub const IN_BYTES_MAX: usize = 4 << 20;
/// What a waiting frame counts beside its body, bytes.
pub const FRAME_COST_BYTES: usize = 128;
/// Frames for conversations that ended here; a peer that sends more of them doesn't listen.
pub const LATE_FRAMES_MAX: u64 = 65_536;
/// Body of a frame of the link itself (Greeting, PING, Goodbye), bytes.
pub const LINK_BODY_BYTES_MAX: usize = 4 << 10;
/// Bytes that a handshake may take from the other side.
pub const HANDSHAKE_BYTES_MAX: usize = 8 << 10;
/// Bytes that a handshake with an endpoint of the admin's may take: a long chain of 4096-bit keys is 10 KiB. Below the 64 KiB at
/// which rustls itself gives up.
pub const CHAIN_BYTES_MAX: usize = 32 << 10;

const _: () = assert!(IN_BYTES_MAX >= RECORD_BODY_BYTES_MAX + FRAME_COST_BYTES);

/// How long a dial waits for each hop.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// A name's addresses.
    pub resolve: Duration,
    /// TCP's handshake with one address.
    pub connect: Duration,
    /// TLS's handshake.
    pub handshake: Duration,
    /// The peer's Greeting.
    pub greeting: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let ten = Duration::from_secs(10);
        Self { resolve: ten, connect: ten, handshake: ten, greeting: ten }
    }
}

/// What strangers may cost a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Handshakes at once.
    pub handshakes: usize,
    /// Of these from one /64.
    pub handshakes_per_64: usize,
    /// Of these from one /48.
    pub handshakes_per_48: usize,
    /// How long one may take.
    pub handshake: Duration,
    /// Handshakes a second at the two doors of strangers; who comes faster waits for a turn.
    pub strangers_per_s: u32,
    /// Of these, how many need not wait after a pause.
    pub strangers_at_once: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshakes: 64,
            handshakes_per_64: 4,
            handshakes_per_48: 16,
            handshake: Duration::from_secs(10),
            strangers_per_s: 1,
            strangers_at_once: 4,
        }
    }
}

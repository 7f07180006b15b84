// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether the other side is still there: PING after 15 seconds without sending, dead after 45 without hearing.
//!
//! A link that only receives must speak too, or the other side gives it up; so the PING timer runs from the last frame
//! *sent*. Times are milliseconds of any clock that never goes back.

use adit_wire::link::{DEAD_AFTER_S, PING_AFTER_S};

const PING_AFTER_MS: u64 = PING_AFTER_S as u64 * 1_000;
const DEAD_AFTER_MS: u64 = DEAD_AFTER_S as u64 * 1_000;

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Due {
    /// Nothing.
    Nothing,
    /// Send PING with this nonce.
    Ping(u64),
    /// The other side is dead: close.
    Dead,
}

/// The timers of one link.
#[derive(Clone, Copy, Debug)]
pub struct Liveness {
    /// Never below `pinged_ms`.
    sent_ms: u64,
    heard_ms: u64,
    nonce: u64,
    /// When the PING with `nonce` went out, until its PONG came.
    pinged_ms: Option<u64>,
}

impl Liveness {
    /// A link that was just made.
    #[must_use]
    pub const fn new(now_ms: u64) -> Self {
        Self { sent_ms: now_ms, heard_ms: now_ms, nonce: 0, pinged_ms: None }
    }

    /// A frame was sent.
    pub const fn sent(&mut self, now_ms: u64) {
        self.sent_ms = now_ms;
    }

    /// A frame was heard, whichever it was.
    pub const fn heard(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
    }

    /// A PONG was heard; answers the round trip in milliseconds when it answers the newest PING.
    pub fn ponged(&mut self, now_ms: u64, nonce: u64) -> Option<u64> {
        self.heard(now_ms);
        if nonce != self.nonce {
            return None;
        }
        self.pinged_ms.take().map(|pinged_ms| now_ms.saturating_sub(pinged_ms))
    }

    /// What is due. A PING counts as sent.
    pub const fn poll(&mut self, now_ms: u64) -> Due {
        if now_ms.saturating_sub(self.heard_ms) >= DEAD_AFTER_MS {
            return Due::Dead;
        }
        if now_ms.saturating_sub(self.sent_ms) < PING_AFTER_MS {
            return Due::Nothing;
        }
        self.nonce = self.nonce.wrapping_add(1);
        self.pinged_ms = Some(now_ms);
        self.sent_ms = now_ms;
        Due::Ping(self.nonce)
    }

    /// When to poll next at the latest.
    #[must_use]
    pub fn next_deadline_ms(&self) -> u64 {
        let ping = self.sent_ms.saturating_add(PING_AFTER_MS);
        ping.min(self.heard_ms.saturating_add(DEAD_AFTER_MS))
    }
}

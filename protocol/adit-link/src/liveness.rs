// SPDX-License-Identifier: Apache-2.0 OR MIT
//! When to ask "are you there?" and when to stop believing. Pure: the clock's readings are arguments.

use adit_wire::link::{DEAD_AFTER_S, PING_AFTER_S};

/// PING after so much silence of our own, milliseconds.
const PING_AFTER_MS: u64 = PING_AFTER_S as u64 * 1_000;
/// Dead after so much silence of the other side, milliseconds.
const DEAD_AFTER_MS: u64 = DEAD_AFTER_S as u64 * 1_000;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Send PING, then ask again.
    Ping,
    /// The link is dead.
    Dead,
    /// Ask again at this time.
    At(u64),
}

/// The readings of one link's clock, all in milliseconds since it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readings {
    /// Now.
    pub(crate) now_ms: u64,
    /// When bytes last came; `None` while this side does not read because its queues are full.
    pub(crate) heard_ms: Option<u64>,
    /// When bytes last went.
    pub(crate) sent_ms: u64,
    /// When PING was last queued.
    pub(crate) pinged_ms: u64,
}

/// Judges the readings.
pub(crate) fn next(readings: Readings) -> Next {
    let Readings { now_ms, heard_ms, sent_ms, pinged_ms } = readings;
    let dead_ms = heard_ms.unwrap_or(now_ms).saturating_add(DEAD_AFTER_MS);
    if now_ms >= dead_ms {
        return Next::Dead;
    }
    let ping_ms = sent_ms.max(pinged_ms).saturating_add(PING_AFTER_MS);
    if now_ms >= ping_ms { Next::Ping } else { Next::At(ping_ms.min(dead_ms)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(now_ms: u64, heard_ms: Option<u64>, sent_ms: u64, pinged_ms: u64, expected: Next) {
        assert_eq!(next(Readings { now_ms, heard_ms, sent_ms, pinged_ms }), expected);
    }

    #[test]
    fn pings_after_silence_and_gives_up_later() {
        check(0, Some(0), 0, 0, Next::At(15_000));
        check(14_999, Some(14_000), 0, 0, Next::At(15_000));
        check(15_000, Some(0), 0, 0, Next::Ping);
        check(15_000, Some(0), 0, 15_000, Next::At(30_000));
        check(44_999, Some(0), 30_000, 30_000, Next::At(45_000));
        check(45_000, Some(0), 45_000, 45_000, Next::Dead);
        check(100_000, Some(99_999), 0, 0, Next::Ping);
        check(100_000, None, 99_000, 0, Next::At(114_000));
    }
}

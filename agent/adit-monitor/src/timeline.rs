// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The monitor's own time: seconds that never go back, over restarts too. Ages and deadlines are counted in it, so that a
//! wall clock that jumps fires nothing and hides nothing. Pure: both clocks are arguments.

/// A moment, by the monitor's own time and by the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Seconds of the timeline.
    pub t: u64,
    /// Seconds since 1970, for people and for history.
    pub wall_s: u64,
}

/// Turns clock readings into moments.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    /// The timeline's time at `boot_ms`.
    base: u64,
    boot_ms: u64,
}

/// A restart counts at most so long: beyond it the wall clock is believed to have jumped.
const AWAY_MAX_S: u64 = 7 * 86_400;

impl Timeline {
    /// Goes on after the last moment that was stored: by the time the wall clock says has passed, within reason.
    #[must_use]
    pub fn resume(last: Moment, wall_s: u64, boot_ms: u64) -> Self {
        let away_s = wall_s.saturating_sub(last.wall_s);
        let away_s = if last.t == 0 || away_s > AWAY_MAX_S { 0 } else { away_s };
        // A first moment leaves room for facts that are older than the monitor.
        Self { base: last.t.max(AGE_ROOM_S).saturating_add(away_s), boot_ms }
    }

    /// The moment of these readings: milliseconds of a clock that goes on through suspend, and the wall clock.
    #[must_use]
    pub fn moment(&self, wall_s: u64, boot_ms: u64) -> Moment {
        let passed_s = boot_ms.saturating_sub(self.boot_ms) / 1_000;
        Moment { t: self.base.saturating_add(passed_s), wall_s }
    }
}

/// The timeline begins here, so that what happened ten years before the monitor's first start has a time too.
const AGE_ROOM_S: u64 = 10 * 366 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_over_restarts_and_never_back() {
        let first = Timeline::resume(Moment::default(), 1_800_000_000, 50_000);
        let last = first.moment(1_800_000_090, 140_000);
        assert_eq!(last.t, AGE_ROOM_S + 90);
        assert_eq!(Timeline::resume(last, 1_800_000_100, 7).moment(0, 7).t, last.t + 10);
        assert_eq!(Timeline::resume(last, 1_700_000_000, 7).moment(0, 7).t, last.t, "the wall clock went back");
        assert_eq!(Timeline::resume(last, 1_900_000_000, 7).moment(0, 7).t, last.t, "the wall clock jumped by years");
    }

    #[test]
    fn a_wall_clock_that_jumps_moves_nothing() {
        let timeline = Timeline::resume(Moment::default(), 1_000, 0);
        assert_eq!(timeline.moment(9_999_999_999, 1_000).t, timeline.moment(0, 1_000).t);
    }
}

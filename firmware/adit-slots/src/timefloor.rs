// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What time it is at least, on a machine whose clock may be empty, or wrong by decades.
//!
//! Only forward, and never beyond what is plausible for the running image: a clock set to 2099 once must not stay.
//! The retention of backups never looks at this time.

/// How far behind the image's build a clock may plausibly be, seconds: twenty years.
pub const PLAUSIBLE_S: u64 = 20 * 365 * 86_400;

/// Where a time came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Source {
    /// The machine's battery clock.
    Rtc,
    /// What this machine or its images remember; time since the start was added to it.
    Floor,
    /// A time server.
    Server,
}

/// Times that a start knows, seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When the running image was built.
    pub build_s: u64,
    /// The battery clock; `None` when there is none.
    pub rtc_s: Option<u64>,
    /// The state record's.
    pub record_s: u64,
    /// The newest one of manifests that were checked.
    pub manifest_s: u64,
}

impl Times {
    /// The time to set at the start: the highest plausible one, and where it came from.
    #[must_use]
    pub fn start(&self) -> (u64, Source) {
        let floor = [self.record_s, self.manifest_s].into_iter().filter(|time| self.is_plausible(*time));
        let floor = floor.fold(self.build_s, u64::max);
        match self.rtc_s.filter(|time| self.is_plausible(*time) && *time > floor) {
            Some(rtc) => (rtc, Source::Rtc),
            None => (floor, Source::Floor),
        }
    }

    /// What the record keeps as its time now. Only rises; a battery clock alone does not raise it, for a wrong one would
    /// stay for ever.
    #[must_use]
    pub fn keep(&self, now_s: u64, source: Source) -> u64 {
        let kept = if self.is_plausible(self.record_s) { self.record_s } else { self.build_s };
        match source {
            Source::Floor | Source::Server if self.is_plausible(now_s) => kept.max(now_s),
            Source::Floor | Source::Server | Source::Rtc => kept,
        }
    }

    /// Whether a time may be true for this image.
    #[must_use]
    pub const fn is_plausible(&self, time_s: u64) -> bool {
        time_s >= self.build_s && time_s <= self.build_s.saturating_add(PLAUSIBLE_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BUILD_S: u64 = 1_800_000_000;
    const YEAR_2099_S: u64 = 4_070_908_800;

    fn times(rtc_s: Option<u64>, record_s: u64) -> Times {
        Times { build_s: BUILD_S, rtc_s, record_s, manifest_s: 0 }
    }

    #[test]
    fn an_empty_or_wild_clock_is_not_believed() {
        assert_eq!(times(Some(0), 0).start(), (BUILD_S, Source::Floor));
        assert_eq!(times(Some(YEAR_2099_S), 0).start(), (BUILD_S, Source::Floor));
        assert_eq!(times(None, BUILD_S + 9).start(), (BUILD_S + 9, Source::Floor));
        assert_eq!(times(Some(BUILD_S + 99), BUILD_S + 9).start(), (BUILD_S + 99, Source::Rtc));
        assert_eq!(times(Some(BUILD_S + 5), BUILD_S + 9).start(), (BUILD_S + 9, Source::Floor));
        let manifest = Times { manifest_s: BUILD_S + 50, ..times(None, BUILD_S + 9) };
        assert_eq!(manifest.start(), (BUILD_S + 50, Source::Floor));
    }

    #[test]
    fn only_a_server_or_the_floor_is_kept() {
        let wrong = times(Some(BUILD_S + 999), BUILD_S + 9);
        assert_eq!(wrong.keep(BUILD_S + 999, Source::Rtc), BUILD_S + 9);
        assert_eq!(wrong.keep(BUILD_S + 60, Source::Server), BUILD_S + 60);
        assert_eq!(wrong.keep(YEAR_2099_S, Source::Server), BUILD_S + 9);
        assert_eq!(times(None, YEAR_2099_S).keep(BUILD_S + 60, Source::Floor), BUILD_S + 60);
    }

    proptest! {
        #[test]
        fn what_is_kept_never_falls_and_is_plausible(build_s: u64, rtc_s: Option<u64>, record_s: u64, manifest_s: u64, now_s: u64) {
            let times = Times { build_s, rtc_s, record_s, manifest_s };
            for source in [Source::Rtc, Source::Floor, Source::Server] {
                let kept = times.keep(now_s, source);
                prop_assert!(times.is_plausible(kept));
                prop_assert!(kept >= record_s || !times.is_plausible(record_s));
            }
            prop_assert!(times.is_plausible(times.start().0));
        }
    }
}

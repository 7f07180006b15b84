// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The wall clock, for names and logs alone: never back, never beyond what is plausible for this image.

use adit_slots::timefloor::{Source, Times};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use std::sync::OnceLock;

/// What the start knew, and what the clock was set by.
static STARTED: OnceLock<(Times, Source)> = OnceLock::new();

/// Seconds since 1970 as the clock says now.
pub(crate) fn now_s() -> u64 {
    clock_gettime(ClockId::CLOCK_REALTIME).ok().and_then(|now| u64::try_from(now.tv_sec()).ok()).unwrap_or_default()
}

/// The time that is written down: a battery clock that is wrong must not stay wrong for ever by it.
pub(crate) fn kept_s() -> u64 {
    STARTED.get().map_or(0, |(times, source)| times.keep(now_s(), *source))
}

/// Sets the clock to what is known at least. The kernel has set it from the battery clock, where there is one.
pub(crate) fn set_floor(built_s: u64, record_s: u64) {
    let times = Times { build_s: built_s, rtc_s: Some(now_s()), record_s, manifest_s: 0 };
    let (start_s, source) = times.start();
    STARTED.get_or_init(|| (times, source));
    if start_s == now_s() {
        return;
    }
    let seconds = i64::try_from(start_s).unwrap_or_default();
    match clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(seconds, 0)) {
        Ok(()) => log::warn!("the clock was not to be believed; it is set to {start_s} s since 1970"),
        Err(error) => log::warn!("set the clock: {error}"),
    }
}

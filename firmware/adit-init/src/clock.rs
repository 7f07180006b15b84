// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The wall clock, for names and logs alone: at the start never back, and never beyond what is plausible for this image.

use adit_slots::timefloor::{Source, Times};
use anyhow::{Context as _, Result, ensure};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// What the start knew, and what the clock was set by.
static STARTED: OnceLock<(Times, Source)> = OnceLock::new();
/// Whether a time server was heard since.
static SERVER: AtomicBool = AtomicBool::new(false);
/// The most that the clock may be wrong after a server was heard, microseconds: what the way there and back may take.
const ERROR_US: u32 = 500_000;

/// Seconds since 1970 as the clock says now.
pub(crate) fn now_s() -> u64 {
    clock_gettime(ClockId::CLOCK_REALTIME).ok().and_then(|now| u64::try_from(now.tv_sec()).ok()).unwrap_or_default()
}

/// The time that is written down: a battery clock that is wrong must not stay wrong for ever by it.
pub(crate) fn kept_s() -> u64 {
    STARTED.get().map_or(0, |(times, source)| {
        let source = if SERVER.load(Ordering::Relaxed) { Source::Server } else { *source };
        times.keep(now_s(), source)
    })
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

/// Takes a time server's word, seconds since 1970: the clock is set when it is off by more than `off_max_s`, also back, since a
/// battery clock may be years ahead; never to what is not plausible for this image.
pub(crate) fn server_says(true_s: f64, off_max_s: f64) -> Result<()> {
    let (times, _) = STARTED.get().context("the clock was not looked at yet")?;
    let wanted = Duration::try_from_secs_f64(true_s).context("a time before 1970")?;
    ensure!(
        times.is_plausible(wanted.as_secs()),
        "a server's time of {} s since 1970 is not plausible",
        wanted.as_secs()
    );
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let off_s = wanted.as_secs_f64() - now.as_secs_f64();
    if off_s.abs() > off_max_s {
        let seconds = i64::try_from(wanted.as_secs()).context("a time beyond the kernel's")?;
        clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(seconds, i64::from(wanted.subsec_nanos())))
            .context("set the clock")?;
        log::info!("the clock was off by {off_s:.1} s and is set by a time server");
    }
    SERVER.store(true, Ordering::Relaxed);
    ensure!(
        adit_sys::clock_is_kept(ERROR_US),
        "tell the kernel that its clock is kept: {}",
        std::io::Error::last_os_error()
    );
    Ok(())
}

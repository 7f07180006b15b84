// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The three clocks of a daemon, read in one place.
//!
//! *Boot time* goes on through suspend and ends with a reboot: tokens end by it, so that no wrong wall clock lengthens
//! them. *Wall time* is for people and the store's retention clock. *Monotonic time* is for deadlines inside the process.

use nix::time::{ClockId, clock_gettime};

/// One reading of all clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// Names this boot of the machine.
    pub boot: String,
    /// Milliseconds since that boot, suspend included.
    pub boot_ms: u64,
    /// Seconds since 1970.
    pub wall_s: u64,
}

impl Now {
    /// Reads the clocks.
    #[must_use]
    pub fn read() -> Self {
        Self { boot: boot_id(), boot_ms: clock_ms(ClockId::CLOCK_BOOTTIME), wall_s: wall_s() }
    }
}

/// Seconds since 1970; 0 when the clock stands before that.
#[must_use]
pub fn wall_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Milliseconds of the monotonic clock.
#[must_use]
pub fn monotonic_ms() -> u64 {
    clock_ms(ClockId::CLOCK_MONOTONIC)
}

fn clock_ms(clock: ClockId) -> u64 {
    let Ok(time) = clock_gettime(clock) else {
        // Both clocks exist on every Linux that runs this; time that stands still ends no token early.
        return 0;
    };
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let millis = u64::try_from(time.tv_nsec()).unwrap_or(0) / 1_000_000;
    seconds.saturating_mul(1_000).saturating_add(millis)
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

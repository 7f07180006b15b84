// SPDX-License-Identifier: Apache-2.0 OR MIT
//! When the watchdog is fed: a pure function of how long ago each part of the machine last moved.
//!
//! A machine that hangs must start anew by itself, and one that only works hard must not. So the start is fed by its own
//! progress, the steady machine by everything that must keep moving, and a stop once. Times are milliseconds of a clock
//! that never goes back. Nothing here ever disarms a watchdog.

/// A start may take this long from one step to the next, seconds: the timeout itself is the limit.
pub const BOOT_TIMEOUT_S: u32 = 120;
/// The timeout of a machine that serves, seconds.
pub const STEADY_TIMEOUT_S: u32 = 60;
/// A stop may take this long from one step to the next, seconds.
pub const STOP_TIMEOUT_S: u32 = 180;
/// The first process must turn its loop this often, milliseconds.
pub const LOOP_MS: u64 = 30_000;
/// The storage must answer a small read this often, milliseconds. A disk may stall for a minute and come back.
pub const STORAGE_MS: u64 = 300_000;
/// The agent must give a sign of life this often, milliseconds; its supervisor restarts it well before.
pub const AGENT_MS: u64 = 300_000;
/// While an image is being written, bytes must move this often, milliseconds.
pub const WRITE_MS: u64 = 60_000;

/// What the machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Phase {
    /// It starts: steps follow each other.
    Boot,
    /// It serves.
    Steady,
    /// It stops: services, disks, restart.
    Stopping,
}

/// When each part last moved, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signs {
    /// Now.
    pub now_ms: u64,
    /// When the watchdog was last fed.
    pub fed_ms: u64,
    /// What the machine is doing.
    pub phase: Phase,
    /// When a step of the start or the stop was last finished; the begin of the phase counts as one.
    pub progress_ms: u64,
    /// When the first process last turned its loop.
    pub loop_ms: u64,
    /// When the storage last answered; `None` when no data is expected.
    pub storage_ms: Option<u64>,
    /// When the agent last gave a sign of life; `None` when none is expected.
    pub agent_ms: Option<u64>,
    /// When bytes of an image last moved; `None` when none is being written. Storage and agent may wait behind it.
    pub write_ms: Option<u64>,
}

/// What to do with the watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Feeding {
    /// Whether to feed it now.
    pub feed: bool,
    /// The time that it is to be set to, seconds.
    pub timeout_s: u32,
}

impl Signs {
    /// What to do now. Ask every second or on every step.
    #[must_use]
    pub fn judge(&self) -> Feeding {
        match self.phase {
            // A step may block the first process, so the timeout itself is the limit of a step.
            Phase::Boot => Feeding { feed: self.progress_ms > self.fed_ms, timeout_s: BOOT_TIMEOUT_S },
            Phase::Steady => Feeding { feed: self.is_alive(), timeout_s: STEADY_TIMEOUT_S },
            Phase::Stopping => Feeding { feed: self.progress_ms > self.fed_ms, timeout_s: STOP_TIMEOUT_S },
        }
    }

    fn is_alive(&self) -> bool {
        let moved = |at_ms: u64, limit_ms: u64| self.now_ms.saturating_sub(at_ms) <= limit_ms;
        let writing = self.write_ms.is_some_and(|at_ms| moved(at_ms, WRITE_MS));
        let storage = self.storage_ms.is_none_or(|at_ms| moved(at_ms, STORAGE_MS));
        let agent = self.agent_ms.is_none_or(|at_ms| moved(at_ms, AGENT_MS));
        moved(self.loop_ms, LOOP_MS) && (writing || (storage && agent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEADY: Signs = Signs {
        now_ms: 1_000_000,
        fed_ms: 999_000,
        phase: Phase::Steady,
        progress_ms: 20_000,
        loop_ms: 999_500,
        storage_ms: Some(990_000),
        agent_ms: Some(990_000),
        write_ms: None,
    };

    /// When the hardware fires, milliseconds after `silent_ms`, if the signs stay as they are and it is asked each second.
    fn fires_after_ms(mut signs: Signs, silent_ms: u64) -> u64 {
        let mut timeout_ms = u64::from(signs.judge().timeout_s) * 1000;
        for now_ms in (silent_ms..silent_ms + 3_600_000).step_by(1000) {
            signs.now_ms = now_ms;
            let feeding = signs.judge();
            timeout_ms = u64::from(feeding.timeout_s) * 1000;
            if feeding.feed {
                signs.fed_ms = now_ms;
            } else if now_ms - signs.fed_ms >= timeout_ms {
                return now_ms - silent_ms;
            }
        }
        timeout_ms * 1_000
    }

    #[test]
    fn a_start_is_fed_by_its_steps_alone() {
        let boot = Signs { phase: Phase::Boot, fed_ms: 0, progress_ms: 5_000, now_ms: 5_000, loop_ms: 5_000, ..STEADY };
        assert!(boot.judge().feed);
        assert!(!Signs { fed_ms: 5_000, ..boot }.judge().feed);
        assert_eq!(fires_after_ms(Signs { fed_ms: 5_000, ..boot }, 5_000), u64::from(BOOT_TIMEOUT_S) * 1000);
    }

    #[test]
    fn each_part_that_stops_lets_it_fire() {
        assert!(STEADY.judge().feed);
        let hour_ms = 3_600_000;
        let stuck = [
            Signs { loop_ms: 0, ..STEADY },
            Signs { storage_ms: Some(0), ..STEADY },
            Signs { agent_ms: Some(0), ..STEADY },
            Signs { write_ms: Some(0), storage_ms: Some(0), ..STEADY },
        ];
        for signs in stuck {
            assert!(fires_after_ms(signs, 1_000_000) < hour_ms, "{signs:?}");
        }
        assert!(Signs { storage_ms: None, agent_ms: None, ..STEADY }.judge().feed);
    }

    #[test]
    fn a_stalled_disk_and_a_long_write_are_waited_for() {
        let stalled = Signs { storage_ms: Some(STEADY.now_ms - 60_000), ..STEADY };
        assert!(stalled.judge().feed);
        let writing = Signs { write_ms: Some(STEADY.now_ms - 1_000), storage_ms: Some(0), agent_ms: Some(0), ..STEADY };
        assert!(writing.judge().feed);
    }

    #[test]
    fn a_stop_is_fed_once_per_step() {
        let stopping = Signs { phase: Phase::Stopping, progress_ms: 999_500, ..STEADY };
        assert_eq!(stopping.judge(), Feeding { feed: true, timeout_s: STOP_TIMEOUT_S });
        assert!(!Signs { fed_ms: 1_000_000, ..stopping }.judge().feed);
    }
}

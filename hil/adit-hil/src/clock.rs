// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine's own time, for deadlines. Wall time minus what its threads spent waiting for a processor of the host: a host
//! that runs something else does not use up a machine's deadline.

use std::fs;
use std::time::{Duration, Instant};

/// The time of one QEMU process.
#[derive(Clone, Debug)]
pub struct MachineClock {
    started: Instant,
    /// None: plain wall time.
    process: Option<u32>,
}

impl MachineClock {
    /// Starts with the machine.
    #[must_use]
    pub fn of(process: u32) -> Self {
        Self { started: Instant::now(), process: Some(process) }
    }

    /// Plain wall time, where there is no machine.
    #[must_use]
    pub fn wall() -> Self {
        Self { started: Instant::now(), process: None }
    }

    /// How long the machine could have run so far.
    #[must_use]
    pub fn now(&self) -> Duration {
        let waited = self.process.and_then(waited_for_processor).unwrap_or_default();
        self.started.elapsed().saturating_sub(waited)
    }
}

/// The longest time that any one thread of the process waited on a run queue: the machine advances as its slowest thread
/// does. Second field of schedstat (Documentation/scheduler/sched-stats.rst), nanoseconds.
fn waited_for_processor(process: u32) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten();
    let waited = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().nth(1)?.parse().ok()
    });
    waited.max().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_waited_for_a_processor_does_not_count() {
        let clock = MachineClock::of(std::process::id());
        let spin = || {
            let until = Instant::now() + Duration::from_millis(300);
            while Instant::now() < until {}
        };
        // Four busy threads for each processor: most of the time each of them waits.
        let count = 4 * std::thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..count).map(|_| std::thread::spawn(spin)).collect();
        std::thread::sleep(Duration::from_millis(150));
        let (own, wall) = (clock.now(), clock.started.elapsed());
        for thread in threads {
            thread.join().expect("a spinning thread ends");
        }
        assert!(own < wall.mul_f64(0.9), "own {own:?}, wall {wall:?}");
    }
}

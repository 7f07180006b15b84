// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a box does for its store between backups: parity of what came lately, and the scrub that reads everything again.
//!
//! It stands behind whoever uses the box: a slice is small, comes only when nothing else waits for the store, and is
//! followed by a pause of several times what it took, so a disk that is busy or slow is left alone the longer.

use crate::clock;
use crate::event::Event;
use crate::shared::{Served, Shared};
use adit_store::ScrubStep;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often parity that is due is looked for.
const TEND_EVERY: Duration = Duration::from_secs(30);
/// Bytes that the scrub reads at once: a few hundredths of a second on a slow disk.
const SLICE_BYTES: u64 = 1 << 20;
/// A pause is so many times what the slice took: the scrub has a fifth of the disk at most.
const PAUSE_TIMES: u32 = 4;
/// How long somebody else's work is waited for.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// How long it takes until something is due again, about.
const IDLE_PAUSE: Duration = Duration::from_secs(60);

/// Cares for the store until it is closed.
pub(crate) async fn keep(shared: Arc<Shared>) {
    if let Some(served) = shared.store.clone().filter(|served| !served.read_only) {
        tokio::join!(tend(&shared, &served), scrub(&shared, &served));
    }
}

async fn tend(shared: &Shared, served: &Served) {
    let mut tick = tokio::time::interval(TEND_EVERY);
    loop {
        tick.tick().await;
        let Ok(tended) = served.handle.call(|store| store.tend(clock::moment())).await else { return };
        if let Err(error) = tended {
            shared.events.record(&Event::StoreFailed { why: crate::report::chain(&error) });
        }
    }
}

async fn scrub(shared: &Shared, served: &Served) {
    let mut pause = BUSY_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        if !served.handle.is_idle() {
            pause = BUSY_PAUSE;
            continue;
        }
        let slice = served.handle.call(|store| {
            let since = Instant::now();
            (store.scrub_step(SLICE_BYTES, clock::moment()), since.elapsed(), store.scrub_rate())
        });
        let Ok((step, took, rate)) = slice.await else { return };
        pause = match step {
            Ok(ScrubStep::Working) => after(took, rate),
            Ok(ScrubStep::Idle) => IDLE_PAUSE,
            Err(error) => {
                shared.events.record(&Event::StoreFailed { why: crate::report::chain(&error) });
                IDLE_PAUSE
            }
        };
    }
}

/// The pause behind a slice: so long that the rate, in bytes a second, is not passed, and the disk has time for others.
fn after(took: Duration, rate: u64) -> Duration {
    let by_rate = Duration::from_micros(SLICE_BYTES * 1_000_000 / rate.max(1));
    by_rate.saturating_sub(took).max(took * PAUSE_TIMES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_disk_is_left_alone_and_a_fast_one_is_not_hurried() {
        assert_eq!(after(Duration::from_millis(10), 2 << 20), Duration::from_millis(490));
        assert_eq!(after(Duration::from_secs(1), 2 << 20), Duration::from_secs(4));
        assert_eq!(after(Duration::from_millis(7), 1 << 30), Duration::from_millis(28));
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the store says of itself. Its thread may be at work for a while, or hang with its disk; so it is asked by a task of
//! its own, at most one at a time, and a report waits for it only so long. What it said last stands then, with its age.

use crate::shared::{Served, Shared};
use adit_health::{Arrival, SourceArrival, StoreReading};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// How long a report waits for the store.
const WITHIN: Duration = Duration::from_secs(5);

/// The newest reading, and the question that is under way.
#[derive(Default)]
pub(super) struct Stored {
    newest: Option<(StoreReading, Instant)>,
    question: Option<JoinHandle<Option<StoreReading>>>,
}

impl Stored {
    /// The newest reading; `None` where there is no store, and before it first answered.
    pub(super) async fn newest(&mut self, shared: &Arc<Shared>) -> Option<StoreReading> {
        let served = shared.store.as_ref()?;
        // Late: the reading before stands, and the question goes on.
        let _late = timeout(WITHIN, async {
            // An answer to an earlier question may be older than what this report should show.
            if self.question.is_some() {
                self.answer().await;
            }
            self.question = Some(tokio::spawn(reading(served.clone(), Arc::clone(shared))));
            self.answer().await;
        })
        .await;
        let (reading, at) = self.newest.as_ref()?;
        Some(StoreReading { age_s: at.elapsed().as_secs(), ..reading.clone() })
    }

    async fn answer(&mut self) {
        let Some(question) = &mut self.question else { return };
        if let Ok(Some(reading)) = question.await {
            self.newest = Some((reading, Instant::now()));
        }
        self.question = None;
    }
}

async fn reading(served: Served, shared: Arc<Shared>) -> Option<StoreReading> {
    let path = served.path.clone();
    let (verified_s, first_damaged) = {
        let verified = shared.verified();
        (verified.last_s, verified.first_damaged.map(|id| id.to_string()))
    };
    let periods = shared.periods();
    drop(shared);
    let reading = served.handle.call(move |store| {
        let size_bytes = rustix::fs::statvfs(&path).map_or(0, |stat| stat.f_blocks.saturating_mul(stat.f_frsize));
        let status = store.status();
        // Everything was read through when the scrub was through all of it.
        let scrub = store.scrub_status();
        let scrubbed_s = (scrub.segments > 0 && scrub.never_read == 0).then_some(scrub.oldest_s);
        let sources = store
            .sources()
            .iter()
            .map(|source| SourceArrival {
                id: source.id.to_string(),
                name: source.name.clone(),
                newest: store.newest_arrival(&source.id).map(|newest| Arrival {
                    head: newest.head.to_string(),
                    seq: newest.seq,
                    received_s: newest.received_s,
                    new_bytes: newest.new_bytes,
                    bytes_before: newest.bytes_before,
                }),
                session_open: store.pending(&source.id).is_some(),
                period_s: periods.get(&source.id).copied().unwrap_or(0).into(),
            })
            .collect();
        StoreReading {
            path: path.display().to_string(),
            size_bytes,
            free_bytes: status.free_bytes.unwrap_or(0),
            stored_bytes: status.record_bytes,
            records: status.records,
            snapshots: status.snapshots,
            damaged: status.damaged_records,
            first_damaged,
            read_only: status.read_only,
            created_s: status.created_s,
            verified_s: verified_s.max(scrubbed_s),
            age_s: 0,
            sources,
        }
    });
    reading.await.ok()
}

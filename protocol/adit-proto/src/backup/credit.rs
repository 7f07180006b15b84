// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One pool of credit per box: what all sources together may have under way into its memory.
//!
//! Half of the pool is set aside for floors, so that a new session never finds it empty; the other half goes to whoever
//! drains. A grant can't be taken back, it is used up; so no session gets more than three quarters of what is free.

use adit_wire::backup::CREDIT_FLOOR_BYTES;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

/// Pool of a machine with less than 2 GiB of memory, bytes.
const SMALL_BYTES: u32 = 16 << 20;
/// Pool of any other machine, bytes; no pool is larger.
const LARGE_BYTES: u32 = 32 << 20;

/// The pool; clones share it.
#[derive(Clone, Debug)]
pub struct CreditPool {
    shared: Arc<Shared>,
}

/// Invariant: `floors_free * CREDIT_FLOOR_BYTES + surplus_free` + all that sessions hold == the pool's size.
#[derive(Debug)]
struct Shared {
    floors_free: AtomicU32,
    surplus_free: AtomicU32,
}

impl CreditPool {
    /// A pool of `bytes`, at least two floors, at most 32 MiB.
    #[must_use]
    pub fn new(bytes: u32) -> Self {
        let bytes = bytes.clamp(CREDIT_FLOOR_BYTES.saturating_mul(2), LARGE_BYTES);
        let floors = (bytes / 2).div_euclid(CREDIT_FLOOR_BYTES);
        let surplus = bytes.saturating_sub(floors.saturating_mul(CREDIT_FLOOR_BYTES));
        Self { shared: Arc::new(Shared { floors_free: AtomicU32::new(floors), surplus_free: AtomicU32::new(surplus) }) }
    }

    /// The pool for a machine with so much memory: 16 MiB below 2 GiB, else 32 MiB.
    #[must_use]
    pub fn for_memory(memory_bytes: u64) -> Self {
        Self::new(if memory_bytes < 2 << 30 { SMALL_BYTES } else { LARGE_BYTES })
    }

    /// Bytes that no session holds.
    #[must_use]
    pub fn free_bytes(&self) -> u32 {
        let floors = self.shared.floors_free.load(Ordering::Relaxed).saturating_mul(CREDIT_FLOOR_BYTES);
        floors.saturating_add(self.shared.surplus_free.load(Ordering::Relaxed))
    }

    /// One session's share; `None` when there are as many sessions as floors.
    pub(super) fn join(&self) -> Option<Share> {
        take(&self.shared.floors_free, |free| free.min(1)).eq(&1).then(|| Share { pool: self.clone(), surplus: 0 })
    }
}

/// What one session holds: its floor and some surplus. Dropping it gives both back.
#[derive(Debug)]
pub(super) struct Share {
    pool: CreditPool,
    surplus: u32,
}

impl Share {
    /// Bytes held.
    pub(super) const fn bytes(&self) -> u32 {
        self.surplus.saturating_add(CREDIT_FLOOR_BYTES)
    }

    /// Sets the share anew: at least `granted`, the bytes that the source may still send under what it was told, and
    /// otherwise three quarters of what is free. Answers the bytes held.
    pub(super) fn renew(&mut self, granted: u32) -> u32 {
        let bound = granted.saturating_sub(CREDIT_FLOOR_BYTES).min(self.surplus);
        give(&self.pool.shared.surplus_free, self.surplus.saturating_sub(bound));
        let more = take(&self.pool.shared.surplus_free, |free| {
            let fair = (free.saturating_add(bound) / 4).saturating_mul(3);
            fair.saturating_sub(bound).min(free)
        });
        self.surplus = bound.saturating_add(more);
        self.bytes()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        give(&self.pool.shared.surplus_free, self.surplus);
        give(&self.pool.shared.floors_free, 1);
    }
}

/// Takes what `want` says of what is free; answers how much that was.
fn take(free: &AtomicU32, want: impl Fn(u32) -> u32) -> u32 {
    let mut taken = 0;
    let updated = free.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| {
        taken = want(free);
        free.checked_sub(taken)
    });
    if updated.is_ok() { taken } else { 0 }
}

fn give(free: &AtomicU32, bytes: u32) {
    // The sum never passes the pool's size: whatever is given was taken before.
    free.fetch_add(bytes, Ordering::AcqRel);
}

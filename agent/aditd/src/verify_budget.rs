// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How often the whole store is read on request.
//!
//! It costs the box its disk, so few may wait at once, and for one source so much is read in a day as a small store needs
//! many times and a large one once.

use adit_wire::ids::{Id, SourceId};
use std::collections::BTreeMap;

/// Verifications that may wait or run at once.
pub(crate) const AT_ONCE_MAX: usize = 4;
/// Bytes that are read for one source in a day before it has to wait; a whole pass is always granted once.
pub(crate) const BYTES_PER_DAY: u64 = 64 << 30;
const DAY_S: u64 = 24 * 3_600;

/// Verifications on request.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    /// How many wait or run; at most [`AT_ONCE_MAX`].
    running: usize,
    /// Bytes read for each source since the given second.
    by_source: BTreeMap<SourceId, (u64, u64)>,
    /// When everything was last read through, seconds since 1970.
    pub(crate) last_s: Option<u64>,
    /// The first damaged record that was named then.
    pub(crate) first_damaged: Option<Id>,
}

/// Not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy {
    /// When to ask again.
    pub(crate) retry_after_s: u32,
    /// Why.
    pub(crate) detail: &'static str,
}

impl Verified {
    /// Nothing is running; everything was last read through at this second.
    pub(crate) fn since(last_s: Option<u64>) -> Self {
        Self { last_s, ..Self::default() }
    }

    /// Takes a place; give it back by [`Verified::leave`]. Who asks for no source of its own is an admin.
    pub(crate) fn enter(&mut self, source: Option<SourceId>, now_s: u64) -> Result<(), Busy> {
        let spent = source.and_then(|source| self.by_source.get(&source));
        if let Some((since_s, bytes)) = spent
            && now_s.saturating_sub(*since_s) < DAY_S
            && *bytes >= BYTES_PER_DAY
        {
            let wait_s = since_s.saturating_add(DAY_S).saturating_sub(now_s);
            let retry_after_s = u32::try_from(wait_s).unwrap_or(u32::MAX);
            return Err(Busy { retry_after_s, detail: "everything was read for this source today already" });
        }
        if self.running >= AT_ONCE_MAX {
            return Err(Busy { retry_after_s: 600, detail: "other verifications are waiting" });
        }
        self.running += 1;
        Ok(())
    }

    /// Gives a place back.
    pub(crate) const fn leave(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// So much was read for a source.
    pub(crate) fn charge(&mut self, source: Option<SourceId>, bytes: u64, now_s: u64) {
        let Some(source) = source else { return };
        let entry = self.by_source.entry(source).or_insert((now_s, 0));
        if now_s.saturating_sub(entry.0) >= DAY_S {
            *entry = (now_s, 0);
        }
        entry.1 = entry.1.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: Option<SourceId> = Some(SourceId([1; 16]));

    #[test]
    fn few_at_once() {
        let mut verified = Verified::default();
        for _ in 0..AT_ONCE_MAX {
            assert_eq!(verified.enter(WEB, 0), Ok(()));
        }
        assert!(verified.enter(None, 0).is_err());
        verified.leave();
        assert_eq!(verified.enter(None, 0), Ok(()));
    }

    #[test]
    fn a_large_store_once_a_day_a_small_one_often() {
        let mut verified = Verified::default();
        for _ in 0..100 {
            assert_eq!(verified.enter(WEB, 1_000), Ok(()));
            verified.leave();
            verified.charge(WEB, 1 << 20, 1_000);
        }
        verified.charge(WEB, 4 << 40, 1_000);
        let busy = verified.enter(WEB, 1_600).expect_err("spent");
        assert_eq!(u64::from(busy.retry_after_s), DAY_S - 600);
        assert_eq!(verified.enter(None, 1_600), Ok(()), "an admin is not charged");
        assert_eq!(verified.enter(WEB, 1_000 + DAY_S), Ok(()));
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the rules remember from one look to the next, and over restarts: how counters grew, which levels were raised,
//! since when a condition holds. Small on purpose: an entry that no rule asked for in [`FORGET_AFTER_S`] is dropped, and
//! beyond [`ENTRIES_MAX`] the one longest unasked. Its owner stores the bytes; damaged bytes are an empty memory.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Entries that are kept.
pub const ENTRIES_MAX: usize = 2_000;
/// Longest encoding, bytes: [`ENTRIES_MAX`] entries at their longest usual size.
pub const BYTES_MAX: usize = 64 << 10;
/// An entry that nobody asked for in this time is forgotten, seconds: a disk may be away for repair.
pub const FORGET_AFTER_S: u64 = 90 * DAY_S;
/// Days of which a counter's value is kept.
const MARKS_MAX: usize = 8;
/// Times of a name's changes that are kept.
const CHANGES_MAX: usize = 8;
/// A value that was not reached again for this long is not expected any more, seconds: somebody meant it so.
const BEST_KEPT_S: u64 = FORGET_AFTER_S;
const VERSION: u8 = 1;
const DAY_S: u64 = 86_400;

/// The memory of all rules of one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    entries: BTreeMap<u64, Entry>,
}

/// One remembered thing. The key is a hash of the component's id and what is remembered of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// The day on which a rule last asked, days since 1970.
    asked_day: u32,
    value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Value {
    Counter(Counter),
    Level(Level),
    Since(u64),
    Best(Best),
    /// (seconds since 1970, value) of the first look of each day, oldest first.
    Trend(Vec<(u64, i64)>),
    Changes(Changes),
}

/// The best value of late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Best {
    value: i64,
    /// When it was last that good, seconds since 1970.
    seen_s: u64,
}

/// When a name changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Changes {
    of: i64,
    /// Seconds since 1970, oldest first.
    times: Vec<u64>,
}

/// A counter's past.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counter {
    first: i64,
    last: i64,
    /// (day, the value at the end of the last look before it), oldest first, only days on which it moved.
    marks: Vec<(u32, i64)>,
}

/// The state of one level rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Level {
    /// 0 ok, 1 warning, 2 critical.
    pub(crate) raised: u8,
    /// Since when the value is beyond the level above `raised`, seconds since 1970.
    pub(crate) pending_s: Option<u64>,
}

/// How a counter moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Since it was first seen here.
    pub ever: i64,
    /// Today and yesterday.
    pub two_days: i64,
    /// In the last seven days and today.
    pub week: i64,
    /// Whether it moved today and also yesterday.
    pub daily: bool,
}

impl Memory {
    /// Reads what [`Self::encode`] wrote. Damaged bytes and those of a newer version give an empty memory: rules then learn
    /// anew, which costs a few days of growth and no verdict of the moment.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let Some((&VERSION, body)) = bytes.split_first() else { return Self::default() };
        let Ok(entries) = postcard::from_bytes::<Vec<(u64, Entry)>>(body) else { return Self::default() };
        Self { entries: entries.into_iter().take(ENTRIES_MAX).collect() }
    }

    /// The bytes to store, at most [`BYTES_MAX`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut entries: Vec<(&u64, &Entry)> = self.entries.iter().collect();
        loop {
            let mut bytes = vec![VERSION];
            bytes.extend(postcard::to_stdvec(&entries).unwrap_or_default());
            if bytes.len() <= BYTES_MAX {
                return bytes;
            }
            entries.truncate(entries.len() / 2);
        }
    }

    /// Drops what nobody asked for in a long time. Call once a round.
    pub fn tidy(&mut self, now_s: u64) {
        let oldest = day(now_s.saturating_sub(FORGET_AFTER_S));
        self.entries.retain(|_, entry| entry.asked_day >= oldest);
        while self.entries.len() > ENTRIES_MAX {
            let Some(key) = self.entries.iter().min_by_key(|(_, entry)| entry.asked_day).map(|(key, _)| *key) else {
                return;
            };
            self.entries.remove(&key);
        }
    }

    pub(crate) fn counter(&mut self, id: &str, what: &[u8], value: i64, now_s: u64) -> Growth {
        let today = day(now_s);
        let entry = self.entry(key(id, b'c', what), now_s, || {
            Value::Counter(Counter { first: value, last: value, marks: Vec::new() })
        });
        let Value::Counter(counter) = &mut entry.value else { return Growth::default() };
        if value < counter.last {
            // Counted anew: another device under the same name, or its counters were reset.
            *counter = Counter { first: value, last: value, marks: Vec::new() };
        }
        if value > counter.last && counter.marks.last().is_none_or(|(marked, _)| *marked != today) {
            counter.marks.push((today, counter.last));
            if counter.marks.len() > MARKS_MAX {
                counter.marks.remove(0);
            }
        }
        counter.last = value;
        let since = |first_day: u32| {
            counter
                .marks
                .iter()
                .find(|(marked, _)| *marked >= first_day)
                .map_or(0, |(_, before)| value.saturating_sub(*before))
        };
        let moved = |on: u32| counter.marks.iter().any(|(marked, _)| *marked == on);
        Growth {
            ever: value.saturating_sub(counter.first),
            two_days: since(today.saturating_sub(1)),
            week: since(today.saturating_sub(7)),
            daily: moved(today) && moved(today.saturating_sub(1)),
        }
    }

    pub(crate) fn level(&mut self, id: &str, rule: &[u8], now_s: u64) -> &mut Level {
        let entry = self.entry(key(id, b'l', rule), now_s, || Value::Level(Level::default()));
        if !matches!(entry.value, Value::Level(_)) {
            entry.value = Value::Level(Level::default());
        }
        match &mut entry.value {
            Value::Level(level) => level,
            Value::Counter(_) | Value::Since(_) | Value::Best(_) | Value::Trend(_) | Value::Changes(_) => {
                unreachable!("it was made a level above")
            }
        }
    }

    pub(crate) fn since(&mut self, id: &str, what: &[u8], holds: bool, now_s: u64) -> Option<u64> {
        let key = key(id, b's', what);
        if !holds {
            self.entries.remove(&key);
            return None;
        }
        let entry = self.entry(key, now_s, || Value::Since(now_s));
        match &mut entry.value {
            Value::Since(since) => {
                // A clock that was set back must not make a condition last for ever.
                *since = (*since).min(now_s);
                Some(*since)
            }
            Value::Counter(_) | Value::Level(_) | Value::Best(_) | Value::Trend(_) | Value::Changes(_) => None,
        }
    }

    /// Seconds since a condition last held; since the first look when it never did.
    pub(crate) fn since_last(&mut self, id: &str, what: &[u8], holds: bool, now_s: u64) -> u64 {
        let entry = self.entry(key(id, b'h', what), now_s, || Value::Since(now_s));
        if holds || !matches!(entry.value, Value::Since(_)) {
            entry.value = Value::Since(now_s);
        }
        if let Value::Since(last) = &entry.value { now_s.saturating_sub(*last) } else { 0 }
    }

    pub(crate) fn best(&mut self, id: &str, what: &[u8], value: i64, now_s: u64) -> i64 {
        let new = Best { value, seen_s: now_s };
        let entry = self.entry(key(id, b'b', what), now_s, || Value::Best(new));
        let known = if let Value::Best(known) = entry.value { known } else { new };
        let kept = known.value > value && now_s.saturating_sub(known.seen_s) <= BEST_KEPT_S;
        let best = if kept { known } else { new };
        entry.value = Value::Best(best);
        best.value
    }

    /// The growth of a value in a day: the lesser of its pace since yesterday and that of the last week, so that one day's
    /// copying is no trend. `None` in the first day.
    pub(crate) fn per_day(&mut self, id: &str, what: &[u8], value: i64, now_s: u64) -> Option<i64> {
        let entry = self.entry(key(id, b't', what), now_s, || Value::Trend(Vec::new()));
        let Value::Trend(marks) = &mut entry.value else { return None };
        if marks.last().is_none_or(|(at_s, _)| day(*at_s) != day(now_s)) {
            marks.push((now_s, value));
            if marks.len() > MARKS_MAX {
                marks.remove(0);
            }
        }
        let pace = |(at_s, before): (u64, i64)| {
            let elapsed_s = i128::from(now_s.saturating_sub(at_s));
            let grown = i128::from(value) - i128::from(before);
            i64::try_from(grown * i128::from(DAY_S) / elapsed_s.max(1)).unwrap_or(i64::MAX)
        };
        let old = |(at_s, _): &&(u64, i64)| now_s.saturating_sub(*at_s) >= DAY_S;
        let (long, short) = (marks.iter().find(old)?, marks.iter().rev().find(old)?);
        Some(pace(*long).min(pace(*short)))
    }

    pub(crate) fn changes(&mut self, id: &str, what: &[u8], of: i64, within_s: u64, now_s: u64) -> usize {
        let new = || Value::Changes(Changes { of, times: Vec::new() });
        let entry = self.entry(key(id, b'n', what), now_s, new);
        let Value::Changes(changes) = &mut entry.value else { return 0 };
        if changes.of != of {
            changes.of = of;
            changes.times.push(now_s);
            if changes.times.len() > CHANGES_MAX {
                changes.times.remove(0);
            }
        }
        changes.times.iter().filter(|at_s| now_s.saturating_sub(**at_s) <= within_s).count()
    }

    fn entry(&mut self, key: u64, now_s: u64, new: impl FnOnce() -> Value) -> &mut Entry {
        let entry = self.entries.entry(key).or_insert_with(|| Entry { asked_day: 0, value: new() });
        entry.asked_day = day(now_s);
        entry
    }
}

fn day(seconds: u64) -> u32 {
    u32::try_from(seconds / DAY_S).unwrap_or(u32::MAX)
}

fn key(id: &str, family: u8, what: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[family]).update(what).update(b"\0").update(id.as_bytes());
    let hash = hasher.finalize();
    u64::from_le_bytes(hash.as_bytes().first_chunk::<8>().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW_S: u64 = 1_795_000_000 / DAY_S * DAY_S + 3_600;

    #[test]
    fn growth_is_told_by_day_and_by_week() {
        let mut memory = Memory::default();
        let mut at = |day: u64, value: i64| memory.counter("disk", b"q", value, NOW_S + day * DAY_S);
        assert_eq!(at(0, 5), Growth::default(), "what was there before the first look is no growth");
        assert_eq!(at(0, 8), Growth { ever: 3, two_days: 3, week: 3, daily: false });
        assert_eq!(at(1, 8), Growth { ever: 3, two_days: 3, week: 3, daily: false });
        assert_eq!(at(1, 9), Growth { ever: 4, two_days: 4, week: 4, daily: true });
        assert_eq!(at(3, 9), Growth { ever: 4, two_days: 0, week: 4, daily: false });
        assert_eq!(at(30, 9), Growth { ever: 4, two_days: 0, week: 0, daily: false });
        assert_eq!(at(30, 2), Growth::default(), "counted anew");
        assert_eq!(at(30, 3), Growth { ever: 1, two_days: 1, week: 1, daily: false });
    }

    #[test]
    fn a_condition_lasts_from_its_first_look_until_it_breaks() {
        let mut memory = Memory::default();
        assert_eq!(memory.since("ups", b"r", true, 100), Some(100));
        assert_eq!(memory.since("ups", b"r", true, 160), Some(100));
        assert_eq!(memory.since("ups", b"r", false, 170), None);
        assert_eq!(memory.since("ups", b"r", true, 180), Some(180));
        assert_eq!(memory.since("ups", b"r", true, 90), Some(90), "the clock was set back");
    }

    #[test]
    fn the_best_is_kept_for_a_season() {
        let mut memory = Memory::default();
        assert_eq!(memory.best("link", b"s", 1_000, 0), 1_000);
        assert_eq!(memory.best("link", b"s", 100, DAY_S), 1_000);
        assert_eq!(memory.best("link", b"s", 100, BEST_KEPT_S), 1_000);
        assert_eq!(memory.best("link", b"s", 100, BEST_KEPT_S + 1), 100, "somebody meant it so");
        assert_eq!(memory.best("link", b"s", 2_500, BEST_KEPT_S + 2), 2_500);
    }

    #[test]
    fn a_pace_needs_a_day_and_one_days_copying_is_none() {
        let mut memory = Memory::default();
        let mut at = |hours: u64, value: i64| memory.per_day("fs", b"u", value, NOW_S + hours * 3_600);
        assert_eq!(at(0, 1_000), None);
        assert_eq!(at(12, 9_000), None);
        assert_eq!(at(24, 9_000), Some(8_000), "all that is known");
        assert_eq!(at(48, 9_100), Some(100), "less than the pace of both days");
        assert_eq!(at(72, 9_000), Some(-100));
    }

    #[test]
    fn a_condition_ended_that_long_ago() {
        let mut memory = Memory::default();
        assert_eq!(memory.since_last("md", b"c", false, 100), 0, "nobody knows what was before");
        assert_eq!(memory.since_last("md", b"c", false, 160), 60);
        assert_eq!(memory.since_last("md", b"c", true, 200), 0);
        assert_eq!(memory.since_last("md", b"c", false, 250), 50);
    }

    #[test]
    fn changes_are_counted_in_their_time() {
        let mut memory = Memory::default();
        let mut at = |now_s: u64, of: i64| memory.changes("host", b"b", of, 100, now_s);
        assert_eq!([at(0, 7), at(10, 7), at(20, 8), at(30, 9), at(120, 9), at(121, 9)], [0, 0, 1, 2, 2, 1]);
        assert_eq!((0..20).map(|of| at(200, 10 + of)).max(), Some(CHANGES_MAX));
    }

    #[test]
    fn a_full_memory_fits_its_limit_and_survives() {
        let mut memory = Memory::default();
        for index in 0..ENTRIES_MAX + 500 {
            let id = format!("disk{index}");
            memory.counter(&id, b"q", 1_000_000, NOW_S + u64::try_from(index).unwrap() * 60);
        }
        memory.tidy(NOW_S);
        assert_eq!(memory.entries.len(), ENTRIES_MAX);
        let bytes = memory.encode();
        assert!(bytes.len() <= BYTES_MAX, "{} bytes", bytes.len());
        assert_eq!(Memory::decode(&bytes), memory);
    }

    #[test]
    fn too_much_to_store_is_cut_and_still_reads() {
        let mut memory = Memory::default();
        for index in 0..ENTRIES_MAX {
            for day in 0..10 {
                let id = format!("disk{index}");
                memory.counter(&id, b"q", i64::try_from(day).unwrap() * 1_000_000_007, NOW_S + day * DAY_S);
            }
        }
        let bytes = memory.encode();
        assert!(bytes.len() <= BYTES_MAX && bytes.len() > BYTES_MAX / 4, "{} bytes", bytes.len());
        assert!(!Memory::decode(&bytes).entries.is_empty());
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten() {
        let mut memory = Memory::default();
        memory.counter("gone", b"q", 7, NOW_S);
        memory.tidy(NOW_S + FORGET_AFTER_S);
        assert_eq!(memory.entries.len(), 1);
        memory.tidy(NOW_S + FORGET_AFTER_S + DAY_S);
        assert!(memory.entries.is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_memory(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut memory = Memory::decode(&bytes);
            memory.counter("x", b"q", 1, NOW_S);
            memory.per_day("x", b"q", 1, NOW_S);
            prop_assert_eq!(Memory::decode(&memory.encode()), memory);
        }
    }
}

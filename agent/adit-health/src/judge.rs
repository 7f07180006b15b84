// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a rule is given beside its reading: the time, the limits and the memory. So a rule stays a pure function, and a
//! test can let weeks pass.

use crate::limits::{Limit, Limits, Rule, Side};
use crate::memory::{Growth, Memory};
use adit_wire::health::codes::{Check, Quantity, Reason, Verdict};

/// The bench a rule judges from. Made for one round.
#[derive(Debug)]
pub struct Judge<'m> {
    now_s: u64,
    limits: &'m Limits,
    memory: &'m mut Memory,
}

impl<'m> Judge<'m> {
    /// `now_s`: wall clock, seconds since 1970.
    #[must_use]
    pub const fn new(now_s: u64, limits: &'m Limits, memory: &'m mut Memory) -> Self {
        Self { now_s, limits, memory }
    }

    /// Seconds since 1970.
    #[must_use]
    pub const fn now_s(&self) -> u64 {
        self.now_s
    }

    /// The limits of a rule, for rules that need more than [`Self::level`].
    #[must_use]
    pub fn limit(&self, rule: Rule) -> Limit {
        self.limits.of(rule)
    }

    /// A value against a rule's limits. A level is raised when the value stays beyond its limit for the rule's time, and
    /// falls when the value came back by the rule's margin.
    pub fn level(&mut self, id: &str, rule: Rule, value: i64) -> Verdict {
        self.level_within(id, rule, self.limits.of(rule), value)
    }

    /// The same against other limits than the rule's own, such as those that a drive states for itself.
    pub fn level_within(&mut self, id: &str, rule: Rule, limit: Limit, value: i64) -> Verdict {
        let now_s = self.now_s;
        let beyond = |at: Option<i64>, margin: i64| {
            at.is_some_and(|at| match rule.side() {
                Side::Above => value >= at.saturating_sub(margin),
                Side::Below => value <= at.saturating_add(margin),
            })
        };
        let reached = if beyond(limit.critical, 0) { 2 } else { u8::from(beyond(limit.warning, 0)) };
        let held = if beyond(limit.critical, limit.margin) { 2 } else { u8::from(beyond(limit.warning, limit.margin)) };
        let level = self.memory.level(id, rule.name().as_bytes(), now_s);
        level.raised = level.raised.min(held);
        if reached > level.raised {
            let since = level.pending_s.map_or(now_s, |since| since.min(now_s));
            level.pending_s = Some(since);
            if now_s.saturating_sub(since) >= limit.for_s {
                (level.raised, level.pending_s) = (reached, None);
            }
        } else {
            level.pending_s = None;
        }
        match level.raised {
            0 => Verdict::Ok,
            1 => Verdict::Warning,
            _ => Verdict::Critical,
        }
    }

    /// How a counter moved since earlier looks. What it showed at the first look is no growth.
    pub fn counter(&mut self, id: &str, quantity: Quantity, value: i64) -> Growth {
        self.memory.counter(id, &[quantity as u8], value, self.now_s)
    }

    /// For how many seconds a condition has held without a break; `None` when it does not hold.
    pub fn lasting(&mut self, id: &str, what: Reason, holds: bool) -> Option<u64> {
        let now_s = self.now_s;
        self.memory.since(id, &[what as u8], holds, now_s).map(|since| now_s.saturating_sub(since))
    }

    /// Seconds since a condition last held, or since the first look when it never did.
    pub fn since_last(&mut self, id: &str, what: Check, holds: bool) -> u64 {
        self.memory.since_last(id, &[what as u8], holds, self.now_s)
    }

    /// The best (highest) value of the last 90 days, this one included: a spare that was there, a speed that was reached.
    /// What stayed away longer is not expected any more.
    pub fn best(&mut self, id: &str, what: Check, value: i64) -> i64 {
        self.memory.best(id, &[what as u8], value, self.now_s)
    }

    /// How much a value grows in a day, by the last week and by yesterday, whichever is less; `None` in the first day.
    pub fn per_day(&mut self, id: &str, what: Quantity, value: i64) -> Option<i64> {
        self.memory.per_day(id, &[what as u8], value, self.now_s)
    }

    /// How often a name changed within so many seconds, such as the name of a boot.
    pub fn changes(&mut self, id: &str, what: Check, name: i64, within_s: u64) -> usize {
        self.memory.changes(id, &[what as u8], name, within_s, self.now_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(rule: Rule, steps: &[(u64, i64)]) -> Vec<Verdict> {
        let (limits, mut memory) = (Limits::default(), Memory::default());
        steps.iter().map(|(now_s, value)| Judge::new(*now_s, &limits, &mut memory).level("x", rule, *value)).collect()
    }

    #[test]
    fn a_level_falls_only_beyond_its_margin() {
        use Verdict::{Critical, Ok, Warning};
        // Free space in per mille: warns at 100, critical at 30, margin 10.
        let values = [500, 100, 105, 110, 111, 30, 40, 41, 200];
        let steps: Vec<(u64, i64)> = values.iter().map(|value| (0, *value)).collect();
        let expected = [Ok, Warning, Warning, Warning, Ok, Critical, Critical, Warning, Ok];
        assert_eq!(verdicts(Rule::Space, &steps), expected);
    }

    #[test]
    fn a_level_is_raised_after_its_time() {
        use Verdict::{Critical, Ok, Warning};
        // A disk's temperature in tenths: 550 and 600, margin 30, for 300 s.
        let steps =
            [(0, 560), (299, 560), (300, 560), (310, 610), (400, 540), (410, 519), (420, 560), (600, 500), (720, 560)];
        let expected = [Ok, Ok, Warning, Warning, Warning, Ok, Ok, Ok, Ok];
        assert_eq!(verdicts(Rule::DiskTemperature, &steps), expected);
        assert_eq!(verdicts(Rule::DiskTemperature, &[(0, 610), (300, 610)]), [Ok, Critical]);
    }

    #[test]
    fn an_admins_limit_counts() {
        let mut limits = Limits::default();
        let limit = Limit { warning: Some(400), critical: None, margin: 0, for_s: 0 };
        limits.set(Rule::DiskTemperature, limit).unwrap();
        let mut memory = Memory::default();
        assert_eq!(Judge::new(0, &limits, &mut memory).level("x", Rule::DiskTemperature, 410), Verdict::Warning);
    }
}

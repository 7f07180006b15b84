// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is kept and how long: policies and the guards around them. Times are seconds of the retention clock.

mod calendar;
#[cfg(test)]
mod tests;

pub use calendar::{Date, local_date};

use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Seconds of a day. No day is longer or shorter: zones are fixed offsets.
pub const DAY_S: u64 = 86_400;
/// A tightening waits so long.
pub const COOL_OFF_S: u64 = 7 * DAY_S;
/// An expired snapshot can be brought back for so long.
pub const UNDO_S: u64 = 2 * DAY_S;
/// An unfinished session is given up after so long.
pub const ABANDON_S: u64 = 14 * DAY_S;

/// What keeps a snapshot. Windows are ages in days; a class with the window 0 keeps nothing. Each bucket of a class (an
/// hour, day, ISO week, month or year of the zone) is kept by its earliest complete snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Everything younger than this stays.
    pub keep_all_d: u32,
    /// One an hour.
    pub hourly_d: u32,
    /// One a day.
    pub daily_d: u32,
    /// One a week, Monday to Sunday.
    pub weekly_d: u32,
    /// One a month.
    pub monthly_d: u32,
    /// One a year.
    pub yearly_d: u32,
    /// So many of the newest stay, however old. At least 1.
    pub minimum: u32,
    /// Where a day begins: minutes east of UTC. Never a daylight saving time: no day is lost or counted twice.
    pub zone_min: i16,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            keep_all_d: 14,
            hourly_d: 0,
            daily_d: 30,
            weekly_d: 90,
            monthly_d: 730,
            yearly_d: 3_650,
            minimum: 10,
            zone_min: 0,
        }
    }
}

impl Policy {
    /// Whether the zone is one that a place on Earth has. Every other number is a policy.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.zone_min.unsigned_abs() <= 14 * 60
    }

    /// What keeps all that either of the two keeps, in the zone of the first.
    #[must_use]
    pub fn loosest(&self, other: &Self) -> Self {
        Self {
            keep_all_d: self.keep_all_d.max(other.keep_all_d),
            hourly_d: self.hourly_d.max(other.hourly_d),
            daily_d: self.daily_d.max(other.daily_d),
            weekly_d: self.weekly_d.max(other.weekly_d),
            monthly_d: self.monthly_d.max(other.monthly_d),
            yearly_d: self.yearly_d.max(other.yearly_d),
            minimum: self.minimum.max(other.minimum),
            zone_min: self.zone_min,
        }
    }

    /// Classes with their windows, the shortest bucket first.
    const fn classes(&self) -> [(Class, u32); 5] {
        [
            (Class::Hour, self.hourly_d),
            (Class::Day, self.daily_d),
            (Class::Week, self.weekly_d),
            (Class::Month, self.monthly_d),
            (Class::Year, self.yearly_d),
        ]
    }
}

impl PolicyState {
    /// What is in force at a time.
    #[must_use]
    pub fn at(&self, now_s: u64) -> Policy {
        self.pending.filter(|pending| pending.from_s <= now_s).map_or(self.policy, |pending| pending.policy)
    }

    /// A wish: what it loosens is in force at once, what it tightens waits for the cool-off.
    #[must_use]
    pub fn wish(&self, policy: Policy, now_s: u64) -> Self {
        let in_force = self.at(now_s).loosest(&policy);
        let pending = PendingPolicy { policy, from_s: now_s.saturating_add(COOL_OFF_S) };
        Self { policy: in_force, pending: (in_force != policy).then_some(pending) }
    }
}

/// The policy in force, and what will take its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyState {
    /// In force now.
    pub policy: Policy,
    /// A tightening that waits for its date.
    pub pending: Option<PendingPolicy>,
}

/// A policy that will be in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingPolicy {
    /// What will be in force.
    pub policy: Policy,
    /// From when on.
    pub from_s: u64,
}

/// What a guard says of a source, or of the whole box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// What it saw.
    pub kind: GuardKind,
    /// What it does.
    pub step: GuardStep,
    /// Since when.
    pub at_s: u64,
    /// How many snapshots would go.
    pub going: u32,
    /// Out of so many.
    pub of: u32,
}

impl std::fmt::Display for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { going, of, .. } = self;
        match self.kind {
            GuardKind::Share => write!(f, "{going} of {of} snapshots would go at once")?,
            GuardKind::Clock => f.write_str("the clock is in doubt")?,
            GuardKind::Young => write!(f, "only young snapshots stay, {going} of {of} go")?,
            GuardKind::Shrunk => write!(f, "what stays needs less than half of what is stored, {going} of {of} go")?,
        }
        f.write_str(match self.step {
            GuardStep::Held => "; nothing expires until an admin allows it",
            GuardStep::Alarm => "",
            GuardStep::Allowed => "; allowed by an admin",
        })
    }
}

/// What a guard saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuardKind {
    /// Much would go in one run.
    Share,
    /// The clock is in doubt.
    Clock,
    /// All that stays is younger than the window that keeps everything.
    Young,
    /// What stays needs less than half of the records or bytes.
    Shrunk,
}

/// What a guard does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuardStep {
    /// Nothing expires until the admin answers.
    Held,
    /// It only speaks up.
    Alarm,
    /// The admin said yes: that many may go.
    Allowed,
}

/// Buckets of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

/// A live snapshot, as far as retention looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub seq: u64,
    /// When it was received.
    pub received_s: u64,
    /// Whether all that it needs is here and healthy.
    pub complete: bool,
    /// It stays at least so long.
    pub protected_until_s: u64,
}

/// What retention says of one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Its number.
    pub seq: u64,
    /// When it was received.
    pub received_s: u64,
    /// What keeps it; all false: nothing does.
    pub by: Reasons,
    /// Until when windows and protection keep it; what the minimum keeps may stay longer.
    pub until_s: u64,
}

/// What keeps a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "eight independent reasons, each asked for by its name")]
pub struct Reasons {
    /// It is younger than the window that keeps everything.
    pub young: bool,
    /// It keeps its hour.
    pub hour: bool,
    /// It keeps its day.
    pub day: bool,
    /// It keeps its week.
    pub week: bool,
    /// It keeps its month.
    pub month: bool,
    /// It keeps its year.
    pub year: bool,
    /// It is among the newest.
    pub newest: bool,
    /// The admin protects it.
    pub protected: bool,
}

impl Reasons {
    /// Whether anything keeps it.
    #[must_use]
    pub fn any(self) -> bool {
        self != Self::default()
    }

    const fn of(&mut self, class: Class) -> &mut bool {
        match class {
            Class::Hour => &mut self.hour,
            Class::Day => &mut self.day,
            Class::Week => &mut self.week,
            Class::Month => &mut self.month,
            Class::Year => &mut self.year,
        }
    }
}

/// Judges all live snapshots of a source; they come oldest first. What a window says of a snapshot depends on its age and on
/// earlier snapshots only, so nobody can push an old one out by sending new ones.
#[must_use]
pub fn judge(policy: &Policy, candidates: &[Candidate], now_s: u64) -> Vec<Judged> {
    let window = |received_s: u64, days: u32| received_s.saturating_add(u64::from(days) * DAY_S);
    // The keeper of a bucket: its earliest complete snapshot; as long as none is complete, its earliest.
    let mut keepers: HashMap<(Class, i64), (usize, bool)> = HashMap::new();
    for (place, candidate) in candidates.iter().enumerate() {
        for (class, _) in policy.classes() {
            let bucket = calendar::bucket(class, candidate.received_s, policy.zone_min);
            let keeper = keepers.entry((class, bucket)).or_insert((place, candidate.complete));
            if candidate.complete && !keeper.1 {
                *keeper = (place, true);
            }
        }
    }
    let minimum = usize::try_from(policy.minimum.max(1)).unwrap_or(usize::MAX);
    let judged = candidates.iter().enumerate().map(|(place, candidate)| {
        let mut by = Reasons::default();
        let mut until_s = candidate.protected_until_s;
        let mut keep = |by: &mut bool, end_s: u64| {
            *by = end_s > now_s;
            until_s = until_s.max(end_s);
        };
        keep(&mut by.young, window(candidate.received_s, policy.keep_all_d));
        for (class, days) in policy.classes() {
            let bucket = calendar::bucket(class, candidate.received_s, policy.zone_min);
            if days > 0 && keepers.get(&(class, bucket)).is_some_and(|(keeper, _)| *keeper == place) {
                keep(by.of(class), window(candidate.received_s, days));
            }
        }
        keep(&mut by.protected, candidate.protected_until_s);
        by.newest = place + minimum >= candidates.len();
        Judged { seq: candidate.seq, received_s: candidate.received_s, by, until_s }
    });
    judged.collect()
}

/// What guards say before some of a source's snapshots go. A hold keeps all of them; an alarm lets them go.
#[must_use]
pub fn guard(policy: &Policy, judged: &[Judged], now_s: u64) -> Option<Guard> {
    let count = |kept: bool| judged.iter().filter(|each| each.by.any() == kept).count();
    let (going, staying) = (count(false), count(true));
    let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let guard = |kind, step| Some(Guard { kind, step, at_s: now_s, going: narrow(going), of: narrow(going + staying) });
    // One at a time is no landslide, however few there are.
    if going > 1 && going * 4 > going + staying {
        return guard(GuardKind::Share, GuardStep::Held);
    }
    let longer = policy.classes().iter().any(|(_, days)| *days > policy.keep_all_d);
    let all_young = judged.iter().filter(|each| each.by.any()).all(|each| each.by.young);
    if going > 0 && longer && all_young { guard(GuardKind::Young, GuardStep::Alarm) } else { None }
}

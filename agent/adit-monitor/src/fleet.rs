// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the monitor knows of its agents: last words, when they were heard, and facts that only show over time (when a
//! backup arrived, how fast a store fills). Pure: polls come in as values, pages and rules read it.
//!
//! Silence and sickness are two things: a silent host keeps its last words, with their age.

use crate::timeline::Moment;
use adit_health::{Component, Report};
use adit_wire::health::codes::{ComponentKind, Quantity};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sources, jobs and volumes of one host that are followed; a hostile agent cannot have more.
pub const TRACKS_MAX: usize = 256;
/// Sizes of earlier backups that are kept for comparison.
pub const SIZES_MAX: usize = 10;
/// Days of free space that are kept for the forecast.
pub const FREE_DAYS_MAX: usize = 15;

/// All agents by name, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// When this was so.
    pub now: Moment,
    /// The agents.
    pub hosts: BTreeMap<String, Arc<Host>>,
}

/// One agent.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Where it stands; empty when nobody said.
    pub site: String,
    /// Silence after which it is critical, seconds.
    pub silent_after_s: u64,
    /// Since when it is waited for: its pairing or this start of the monitor, seconds of the timeline.
    pub awaited_t: u64,
    /// When it last answered, seconds of the timeline; never, when none.
    pub heard_t: Option<u64>,
    /// Its last words.
    pub report: Option<Arc<Report>>,
    /// When these came, seconds of the timeline.
    pub received_t: u64,
    /// Program and version, as it greets.
    pub software: String,
    /// Why the last poll failed; empty after one that was answered.
    pub trouble: String,
    /// Polls in a row that failed.
    pub misses: u32,
    /// Whether a connection is up.
    pub connected: bool,
    /// Address from which, or at which, it is connected.
    pub remote: String,
    /// What shows over time.
    pub facts: Arc<Facts>,
}

/// What shows over time; stored with the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Sources of a box and jobs of a host, by component id behind `source:` or `job:`.
    pub tracks: BTreeMap<String, Track>,
    /// Free space by component id: day of the timeline and MiB, oldest first.
    pub free: BTreeMap<String, Vec<(u64, i64)>>,
}

/// One source or job over time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// What changes when something new is there: the snapshot's number, else the time that the agent tells.
    mark: i64,
    /// When the newest was there, seconds of the timeline.
    pub t: u64,
    /// When the one before was there.
    pub before_t: Option<u64>,
    /// Sizes of the ones before the newest, KiB, oldest first.
    pub sizes: Vec<i64>,
    /// Size of the newest, KiB.
    pub size: Option<i64>,
    /// How many there were when most were there: a source's newest sequence number.
    count_max: i64,
    /// How many there are.
    count: i64,
}

/// A reading of a component.
#[must_use]
pub fn reading(component: &Component, quantity: Quantity) -> Option<i64> {
    component.readings.iter().find(|(known, _)| *known == quantity).and_then(|(_, value)| *value)
}

/// Seconds since 1970 of a component's last event, by its own host's clock.
#[must_use]
pub fn last_s(component: &Component) -> Option<u64> {
    reading(component, Quantity::LastMinutes).map(adit_health::show::minutes_since_1970_s)
}

/// The key of a component's track.
#[must_use]
pub fn track_key(component: &Component) -> Option<String> {
    if component.kind == ComponentKind::Source {
        Some(format!("source:{}", component.id))
    } else {
        (component.kind == ComponentKind::Job).then(|| format!("job:{}", component.id))
    }
}

impl Host {
    /// An agent that is waited for from now on.
    #[must_use]
    pub fn awaited(site: String, silent_after_s: u64, awaited_t: u64) -> Self {
        Self { site, silent_after_s, awaited_t, ..Self::default() }
    }

    /// It answered that nothing changed.
    pub fn same(&mut self, t: u64) {
        self.heard_t = Some(t);
        self.misses = 0;
        self.trouble.clear();
    }

    /// It answered with a report.
    pub fn full(&mut self, t: u64, report: Report) {
        Arc::make_mut(&mut self.facts).take(t, self.heard_t, &report);
        self.report = Some(Arc::new(report));
        self.received_t = t;
        self.same(t);
    }

    /// It did not answer.
    pub fn missed(&mut self, why: &str) {
        self.misses = self.misses.saturating_add(1);
        self.trouble = why[..why.floor_char_boundary(256)].to_owned();
    }

    /// Seconds without a word.
    #[must_use]
    pub fn silent_s(&self, t: u64) -> u64 {
        t.saturating_sub(self.heard_t.unwrap_or(0).max(self.awaited_t))
    }

    /// When an event of its report happened, seconds of the timeline: by the age that its own clock gives.
    #[must_use]
    pub fn t_of(&self, event_s: u64) -> u64 {
        let age_s = self.report.as_ref().map_or(0, |report| report.time_s.saturating_sub(event_s));
        self.received_t.saturating_sub(age_s)
    }

    /// Its components of a kind.
    pub fn components(&self, kind: ComponentKind) -> impl Iterator<Item = &Component> {
        let components = self.report.iter().flat_map(|report| report.components.iter());
        components.filter(move |component| component.kind == kind)
    }

    /// The track of one of its sources or jobs.
    #[must_use]
    pub fn track(&self, component: &Component) -> Option<&Track> {
        self.facts.tracks.get(&track_key(component)?)
    }
}

impl Facts {
    fn take(&mut self, t: u64, heard_t: Option<u64>, report: &Report) {
        for component in &report.components {
            if let (Some(key), Some(last_s)) = (track_key(component), last_s(component)) {
                let mark = reading(component, Quantity::SnapshotHead)
                    .unwrap_or_else(|| i64::try_from(last_s).unwrap_or(i64::MAX));
                let full = self.tracks.len() >= TRACKS_MAX && !self.tracks.contains_key(&key);
                if full || self.tracks.get(&key).is_some_and(|track| track.mark == mark) {
                    continue;
                }
                let known = self.tracks.contains_key(&key);
                let age_s = report.time_s.saturating_sub(last_s);
                // What is new since the last answer happened since then, whatever the agent's clock says.
                let earliest = heard_t.filter(|_| known).unwrap_or(0);
                let at = t.saturating_sub(age_s).max(earliest);
                let count = reading(component, Quantity::Snapshots).unwrap_or(0);
                let track = self.tracks.entry(key).or_default();
                (track.mark, track.count) = (mark, count);
                // A box that went back brings nothing new.
                if count >= track.count_max {
                    track.count_max = count;
                    track.arrive(at, known, reading(component, Quantity::AddedKib));
                }
            }
            if let (ComponentKind::FileSystem | ComponentKind::Store, Some(free)) =
                (component.kind, reading(component, Quantity::FreeMib))
            {
                let full = self.free.len() >= TRACKS_MAX && !self.free.contains_key(&component.id);
                if !full {
                    note_free(self.free.entry(component.id.clone()).or_default(), t / 86_400, free);
                }
            }
        }
    }
}

impl Track {
    /// Whether the history is shorter than it once was.
    #[must_use]
    pub const fn went_back(&self) -> bool {
        self.count < self.count_max
    }

    fn arrive(&mut self, t: u64, known: bool, size: Option<i64>) {
        self.before_t = known.then_some(self.t);
        self.t = t;
        self.sizes.extend(self.size);
        if self.sizes.len() > SIZES_MAX {
            self.sizes.remove(0);
        }
        self.size = size;
    }
}

/// One value a day: the day's first.
fn note_free(days: &mut Vec<(u64, i64)>, day: u64, free: i64) {
    if days.last().is_none_or(|(last, _)| *last < day) {
        days.push((day, free));
        if days.len() > FREE_DAYS_MAX {
            days.remove(0);
        }
    }
}

/// Days until nothing is free, by a straight line through at least four days; `None` when it does not shrink.
#[must_use]
pub fn full_in_days(days: &[(u64, i64)], free_now: i64) -> Option<i64> {
    const DAYS_MIN: usize = 4;
    let (first, last) = (days.first()?, days.last()?);
    let span = i64::try_from(last.0.saturating_sub(first.0)).ok().filter(|span| *span > 0)?;
    if days.len() < DAYS_MIN {
        return None;
    }
    // Theil's line: the middle of all slopes, so that one large file moves nothing.
    let mut slopes: Vec<i64> = Vec::new();
    for (index, (day, free)) in days.iter().enumerate() {
        for (later, left) in days.iter().skip(index + 1) {
            let apart = i64::try_from(later.saturating_sub(*day)).unwrap_or(i64::MAX).max(1);
            slopes.push(free.saturating_sub(*left).saturating_mul(1_000) / apart);
        }
    }
    slopes.sort_unstable();
    let lost_a_day = slopes.get(slopes.len() / 2).copied().filter(|slope| *slope > 0)?;
    // A change below a thousandth of what is free in the whole time is noise.
    if lost_a_day.saturating_mul(span) < free_now {
        return None;
    }
    Some(free_now.saturating_mul(1_000) / lost_a_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_loses_a_tenth_a_day_is_full_in_as_many_days() {
        let days: Vec<(u64, i64)> =
            (0..8).map(|day| (day, 100_000 - i64::try_from(day).expect("small") * 10_000)).collect();
        assert_eq!(full_in_days(&days, 30_000), Some(3));
        let mut jump = days.clone();
        jump[3].1 = 5;
        assert_eq!(full_in_days(&jump, 30_000), Some(3), "one odd day changes nothing");
        assert_eq!(full_in_days(&days[..3], 80_000), None, "three days tell nothing");
        let steady: Vec<(u64, i64)> = (0..8).map(|day| (day, 100_000)).collect();
        assert_eq!(full_in_days(&steady, 100_000), None);
    }

    #[test]
    fn an_agents_clock_moves_no_arrival_out_of_the_gap_between_two_answers() {
        let source = |head: i64, last: i64| Component {
            kind: ComponentKind::Source,
            id: "s".to_owned(),
            label: "web".to_owned(),
            findings: Vec::new(),
            readings: vec![(Quantity::LastMinutes, Some(last)), (Quantity::SnapshotHead, Some(head))],
        };
        let report = |time_s, component| Report { host: "box".to_owned(), time_s, components: vec![component] };
        let minute_s = adit_health::show::minutes_since_1970_s;
        let mut host = Host::awaited(String::new(), 300, 1_000_000);
        host.full(1_000_000, report(minute_s(500), source(1, 440)));
        assert_eq!(host.facts.tracks["source:s"].t, 1_000_000 - 3_600);
        // The box's clock jumped ten years: the new backup still came between the two answers.
        host.full(1_000_060, report(minute_s(5_000_000), source(2, 501)));
        let track = &host.facts.tracks["source:s"];
        assert_eq!((track.t, track.before_t), (1_000_000, Some(1_000_000 - 3_600)));
    }
}

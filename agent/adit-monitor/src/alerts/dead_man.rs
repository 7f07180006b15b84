// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What no single agent can see, and what shows only by its absence: a silent host, a backup that did not come, a success
//! that lies, a store that nobody read for a month. Ages count in the monitor's own time, by when facts were seen to change.
//!
//! A rule whose facts nobody delivers says unknown, never ok; unknown is shown and nobody is told.

use super::engine::SEEN;
use super::{Observation, Pins, Policy, Subject};
use crate::fleet::{Fleet, Host, Track, full_in_days, last_s, reading};
use adit_health::rules::backup::{Held, Said, both_sides, late_after_s};
use adit_health::{Component, show};
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// A source's newest backup is older than its period and grace allow.
pub const LATE: &str = "backup.late";
/// What the sender says against what the receiver holds.
pub const BOTH: &str = "backup.both";
/// A source's history at the box became shorter.
pub const BACK: &str = "ledger.back";
/// A store was not read whole for long.
pub const SCRUB: &str = "scrub.old";
/// A disk will be full soon.
pub const FULL: &str = "disk.full";
/// A backup came from an unusual address.
pub const ADDRESS: &str = "backup.address";
/// A backup came off its schedule.
pub const SCHEDULE: &str = "backup.schedule";
/// A backup is three times as large as usual.
pub const SIZE: &str = "backup.threefold";

/// After the end of a run the box is waited for so long before its silence about the snapshot counts, seconds.
const SETTLE_S: u64 = 45;
/// A backup below this is never odd by its size, KiB.
const SIZE_KIB_MIN: i64 = 256 << 10;
/// Earlier sizes that say what is usual.
const SIZES_MIN: usize = 3;
/// The period of a source that names none, seconds.
const PERIOD_DEFAULT_S: u64 = 86_400;
/// Pairs of source and job that are remembered.
const PAIRS_MAX: usize = 65_536;

/// Which job of which host fills which source of which box, as learned from snapshots that both named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pairs(BTreeMap<String, (String, String)>);

impl Pairs {
    fn key(host: &str, source: &Component) -> String {
        format!("{host}/{}", source.id)
    }

    /// Learns from reports in which source and job name the same snapshot; answers whether something is new.
    pub fn learn(&mut self, fleet: &Fleet) -> bool {
        let mut jobs: HashMap<i64, (&str, &str)> = HashMap::new();
        for (name, host) in &fleet.hosts {
            for job in host.components(ComponentKind::Job) {
                if let Some(head) = reading(job, Quantity::SnapshotHead) {
                    jobs.insert(head, (name, &job.id));
                }
            }
        }
        let mut learned = false;
        for (name, host) in &fleet.hosts {
            for source in host.components(ComponentKind::Source) {
                let found = reading(source, Quantity::SnapshotHead).and_then(|head| jobs.get(&head));
                let Some((sender, job)) = found.map(|(sender, job)| ((*sender).to_owned(), (*job).to_owned())) else {
                    continue;
                };
                let key = Self::key(name, source);
                if self.0.len() < PAIRS_MAX && self.0.get(&key) != Some(&(sender.clone(), job.clone())) {
                    self.0.insert(key, (sender, job));
                    learned = true;
                }
            }
        }
        learned
    }

    /// The host and job that fill a source: as learned, else the only job of the host that has the source's name.
    fn of<'f>(&self, fleet: &'f Fleet, host: &str, source: &Component) -> Option<(&'f str, &'f Host, &'f Component)> {
        if let Some((sender, job)) = self.0.get(&Self::key(host, source)) {
            let (name, sender) = fleet.hosts.get_key_value(sender)?;
            return sender
                .components(ComponentKind::Job)
                .find(|found| found.id == *job)
                .map(|job| (name.as_str(), &**sender, job));
        }
        let (name, sender) = fleet.hosts.get_key_value(&source.label)?;
        let mut jobs = sender.components(ComponentKind::Job);
        match (jobs.next(), jobs.next()) {
            (Some(job), None) => Some((name.as_str(), &**sender, job)),
            _ => None,
        }
    }
}

/// One look at one host.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// What is not well.
    pub seen: Vec<Observation>,
    /// What cannot be decided yet: it stays as it was.
    pub undecided: Vec<Subject>,
}

/// Looks at every host.
#[must_use]
pub fn look(fleet: &Fleet, pairs: &Pairs, policy: &Policy) -> BTreeMap<String, Look> {
    let mut looks: BTreeMap<String, Look> = fleet.hosts.keys().map(|name| (name.clone(), Look::default())).collect();
    for (name, host) in &fleet.hosts {
        let mut seen = Vec::new();
        seen.extend(silence(fleet, name, host, policy));
        if seen.is_empty() && was_silent_before(host, fleet.now.t) {
            looks.entry(name.clone()).or_default().undecided.push(subject(name, "", SEEN));
        }
        for store in host.components(ComponentKind::Store) {
            seen.extend(scrub(fleet, name, host, store, policy));
            let why = "no agent tells the head of its ledger; only a history that became shorter is seen";
            seen.push(unknown(name, store, BACK, why));
            seen.push(unknown(name, store, ADDRESS, "no agent tells from where a backup came"));
        }
        for volume in host.components(ComponentKind::FileSystem).chain(host.components(ComponentKind::Store)) {
            seen.extend(fullness(name, host, volume, policy));
        }
        for source in host.components(ComponentKind::Source) {
            seen.extend(went_back(name, host, source));
            seen.extend(late(fleet, name, host, source));
            seen.extend(schedule(fleet, name, host, source));
            seen.extend(threefold(name, host, source));
            let (at, both) = both(fleet, pairs, name, host, source);
            let look = looks.entry(at.host.clone()).or_default();
            match both {
                Both::Well => {}
                Both::Undecided => look.undecided.push(at),
                Both::Unwell(observation) => look.seen.push(observation),
            }
        }
        looks.entry(name.clone()).or_default().seen.extend(seen);
    }
    looks
}

fn subject(host: &str, component: &str, topic: &str) -> Subject {
    Subject { host: host.to_owned(), component: component.to_owned(), topic: topic.to_owned() }
}

fn unwell(host: &str, component: &Component, topic: &str, verdict: Verdict, why: &str) -> Observation {
    Observation {
        subject: subject(host, &component.id, topic),
        verdict,
        text: format!("{} {why}", show::name(component)),
        pins: Pins { reason: topic.to_owned(), counters: Vec::new() },
        quiet: false,
    }
}

fn unknown(host: &str, component: &Component, topic: &str, why: &str) -> Observation {
    let observation = unwell(host, component, topic, Verdict::Unknown, "");
    Observation { text: format!("{}: {why}", show::name(component)), quiet: true, ..observation }
}

fn is_silent(host: &Host, t: u64) -> bool {
    host.silent_s(t) >= host.silent_after_s
}

/// The monitor was away, and has not heard the host since: whether it is silent still is not known yet.
fn was_silent_before(host: &Host, t: u64) -> bool {
    host.heard_t.is_none_or(|at| at < host.awaited_t && t.saturating_sub(at) >= host.silent_after_s)
}

fn silence(fleet: &Fleet, name: &str, host: &Host, policy: &Policy) -> Option<Observation> {
    let silent_s = host.silent_s(fleet.now.t);
    let soon_s = policy.interval_s.saturating_mul(3).saturating_add(policy.interval_s / 2);
    let critical = silent_s >= host.silent_after_s;
    if !critical && silent_s < soon_s {
        return None;
    }
    let why = if host.trouble.is_empty() { "it does not dial in" } else { &host.trouble };
    let ever = if host.heard_t.is_none() { "was never heard" } else { "is silent" };
    Some(Observation {
        subject: subject(name, "", SEEN),
        verdict: if critical { Verdict::Critical } else { Verdict::Warning },
        text: format!("{ever}: {why}"),
        pins: Pins { reason: SEEN.to_owned(), counters: Vec::new() },
        quiet: !critical,
    })
}

/// A period as its source names it, seconds; 0 when it names none.
fn period_s(source: &Component) -> u64 {
    let minutes = reading(source, Quantity::PeriodMinutes).and_then(|minutes| u64::try_from(minutes).ok());
    minutes.unwrap_or(0).saturating_mul(60)
}

fn judged_by_agent(component: &Component, check: Check) -> bool {
    component.findings.iter().any(|finding| finding.check == check && finding.verdict != Verdict::Ok)
}

fn late(fleet: &Fleet, name: &str, host: &Host, source: &Component) -> Option<Observation> {
    if is_silent(host, fleet.now.t) {
        return Some(unknown(name, source, LATE, "its box is silent"));
    }
    // The box says so itself, in its own words.
    if judged_by_agent(source, Check::Arrived) {
        return None;
    }
    let track = host.track(source)?;
    let period_s = if period_s(source) == 0 { PERIOD_DEFAULT_S } else { period_s(source) };
    let late = fleet.now.t.saturating_sub(track.t) > late_after_s(period_s);
    late.then(|| {
        let why = format!("sent no backup for longer than its period of {} allows", show::duration(period_s));
        unwell(name, source, LATE, Verdict::Critical, &why)
    })
}

enum Both {
    Well,
    Undecided,
    Unwell(Observation),
}

/// The six rows of what the sender says against what the receiver holds.
fn both(fleet: &Fleet, pairs: &Pairs, name: &str, host: &Host, source: &Component) -> (Subject, Both) {
    let t = fleet.now.t;
    let Some((sender, sending, job)) = pairs.of(fleet, name, source) else {
        let observation = unknown(name, source, BOTH, "no agent that is paired here tells its runs");
        return (observation.subject.clone(), Both::Unwell(observation));
    };
    let at = subject(sender, &job.id, BOTH);
    if is_silent(host, t) {
        let why = format!("{}: its box {name} is silent", show::name(job));
        let observation = Observation { subject: at.clone(), text: why, ..unknown(sender, job, BOTH, "") };
        return (at, Both::Unwell(observation));
    }
    let said = sending.track(job).and_then(|track| {
        let exit = reading(job, Quantity::Exit).and_then(|exit| i32::try_from(exit).ok())?;
        Some(Said { ended_s: track.t, exit, head: reading(job, Quantity::SnapshotHead) })
    });
    let held = host
        .track(source)
        .and_then(|track| Some(Held { received_s: track.t, head: reading(source, Quantity::SnapshotHead)? }));
    let finding = both_sides(said, held, period_s(source), t);
    if finding.verdict == Verdict::Ok {
        return (at, Both::Well);
    }
    let asked_since = said.is_none_or(|said| host.heard_t.unwrap_or(0) >= said.ended_s.saturating_add(SETTLE_S));
    if finding.reason == Reason::LyingSuccess && !asked_since {
        return (at, Both::Undecided);
    }
    let observation = Observation {
        subject: at.clone(),
        verdict: finding.verdict,
        text: format!("{} {} (at {name})", show::name(job), show::reason(&finding)),
        pins: Pins {
            reason: finding.reason.text().to_owned(),
            counters: vec![said.map_or(0, |said| said.exit.into())],
        },
        // The host's own check tells a failed run, and LATE a late one.
        quiet: matches!(finding.reason, Reason::RunFailed | Reason::BackupLate),
    };
    (at, Both::Unwell(observation))
}

fn went_back(name: &str, host: &Host, source: &Component) -> Option<Observation> {
    let shorter = host.track(source).is_some_and(Track::went_back);
    let why = "has a shorter history than before: its box went back";
    shorter.then(|| unwell(name, source, BACK, Verdict::Critical, why))
}

fn scrub(fleet: &Fleet, name: &str, host: &Host, store: &Component, policy: &Policy) -> Option<Observation> {
    if judged_by_agent(store, Check::StoreVerify) {
        return None;
    }
    let Some(at_s) = last_s(store) else {
        return Some(unknown(name, store, SCRUB, "it was never read whole, or its agent does not tell"));
    };
    let old = fleet.now.t.saturating_sub(host.t_of(at_s)) > policy.scrub_after_s;
    let why = format!("was not read whole for {}", show::duration(policy.scrub_after_s));
    old.then(|| unwell(name, store, SCRUB, Verdict::Warning, &why))
}

fn fullness(name: &str, host: &Host, volume: &Component, policy: &Policy) -> Option<Observation> {
    // An agent that forecasts by itself is believed.
    if volume.findings.iter().any(|finding| finding.check == Check::SpaceForecast) {
        return None;
    }
    let free = reading(volume, Quantity::FreeMib)?;
    let told = reading(volume, Quantity::DaysUntilFull);
    let days = told.or_else(|| full_in_days(host.facts.free.get(&volume.id)?, free))?;
    let (warning, critical) = policy.full_in_days;
    let verdict = if days < critical {
        Verdict::Critical
    } else if days < warning {
        Verdict::Warning
    } else {
        return None;
    };
    let limit = if verdict == Verdict::Critical { critical } else { warning };
    Some(unwell(name, volume, FULL, verdict, &format!("will be full in less than {limit} days")))
}

fn schedule(fleet: &Fleet, name: &str, host: &Host, source: &Component) -> Option<Observation> {
    let period_s = period_s(source);
    if period_s == 0 {
        return Some(unknown(name, source, SCHEDULE, "it does not tell how often it means to send"));
    }
    let track = host.track(source)?;
    let gap_s = track.t.saturating_sub(track.before_t?);
    let fresh = fleet.now.t.saturating_sub(track.t) < period_s;
    let early = gap_s < period_s / 2 && fresh;
    early.then(|| unwell(name, source, SCHEDULE, Verdict::Warning, "sent a backup off its schedule"))
}

fn threefold(name: &str, host: &Host, source: &Component) -> Option<Observation> {
    let track = host.track(source)?;
    let Some(size) = track.size else { return Some(unknown(name, source, SIZE, "its agent does not tell sizes")) };
    let mut usual = track.sizes.clone();
    usual.sort_unstable();
    let middle = usual.get(usual.len() / 2).copied().filter(|_| usual.len() >= SIZES_MIN)?;
    let odd = size > SIZE_KIB_MIN && size > middle.saturating_mul(3);
    let why = format!("sent {} MiB, usually {} MiB", size >> 10, middle >> 10);
    odd.then(|| unwell(name, source, SIZE, Verdict::Warning, &why))
}

#[cfg(test)]
mod tests;

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Incidents: when an observation becomes one, when it ends, and when somebody is told. At most one incident per subject.
//!
//! A verdict must be seen so many polls in a row to open and so many to close; what opens and closes more than
//! [`Policy::changes_max`] times an hour is called unstable once, and then waited for. An acknowledgement is pinned to the
//! values seen: a worse or changed value reopens. It never forgets to tell a recovery of what was told.

use super::{
    Class, Notice, Observation, Occasion, Pins, Policy, Subject, WORDS_BYTES_MAX, clear_after, mute_max_s, raise_after,
    rank,
};
use adit_wire::health::codes::Verdict;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 86_400;
/// Incidents of one host; a hostile agent cannot have more.
pub const INCIDENTS_PER_HOST_MAX: usize = 4_096;
/// Longest text of an incident, bytes.
const TEXT_BYTES_MAX: usize = 512;

/// The topic of a silent host: while it is critical, nobody is told of the host's other incidents.
pub const SEEN: &str = "host.seen";

/// One incident, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Who observes it.
    pub class: Class,
    /// How bad it was seen last; 0 to 3 as on the wire.
    verdict: u8,
    /// What, for a person.
    pub text: String,
    pins: Pins,
    quiet: bool,
    /// Looks in a row with this verdict.
    alike: u8,
    /// Looks in a row without it.
    clear: u8,
    /// While it is open.
    pub open: Option<Open>,
    /// When it opened or closed within the last hour.
    changes: Vec<u64>,
    /// It comes and goes.
    pub unstable: bool,
    /// Somebody was told that it comes and goes.
    unstable_told: bool,
    /// Somebody was told of a problem that ended while it was unstable, and how bad it was.
    owed: Option<u8>,
    /// Somebody knows.
    pub ack: Option<Ack>,
}

/// An open incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Since when, seconds of the timeline.
    pub since_t: u64,
    verdict: u8,
    /// How bad it was when somebody was told last.
    told: Option<u8>,
    reminders: u32,
    next_t: Option<u64>,
}

/// Somebody knows of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Who.
    pub by: String,
    /// Why nobody needs to be told.
    pub reason: String,
    /// Until when, seconds of the timeline.
    pub until_t: u64,
    pins: Pins,
    verdict: u8,
}

impl Open {
    /// How bad.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        Verdict::from_bits(self.verdict)
    }
}

/// A time in which nobody is told about a host or a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// A host's name, `site:NAME`, or `*`.
    pub scope: String,
    /// From, seconds of the timeline.
    pub from_t: u64,
    /// Until, seconds of the timeline.
    pub until_t: u64,
    /// Why.
    pub reason: String,
    /// Who says so.
    pub by: String,
}

/// Why an acknowledgement or a window is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AckError {
    /// Nothing is open there.
    #[error("no incident is open there")]
    NoIncident,
    /// No reason.
    #[error("a reason of 1 to {WORDS_BYTES_MAX} bytes is needed")]
    Words,
    /// Too long.
    #[error("it cannot be muted for longer than {0} days")]
    TooLong(u64),
}

/// All incidents and windows.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    incidents: BTreeMap<Subject, Incident>,
    windows: Vec<Window>,
    /// Subjects whose incident differs from what was stored.
    changed: BTreeSet<Subject>,
}

impl Engine {
    /// Goes on with what was stored.
    #[must_use]
    pub fn resume(incidents: impl IntoIterator<Item = (Subject, Incident)>, windows: Vec<Window>) -> Self {
        Self { incidents: incidents.into_iter().collect(), windows, changed: BTreeSet::new() }
    }

    /// The incidents by subject; not all of them are open.
    pub fn incidents(&self) -> impl Iterator<Item = (&Subject, &Incident)> {
        self.incidents.iter()
    }

    /// Maintenance windows, past ones until the next tick.
    #[must_use]
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// The subjects that changed since the last call, each with its incident unless that is gone: to be stored.
    pub fn take_changes(&mut self) -> Vec<(Subject, Option<Incident>)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|subject| (subject.clone(), self.incidents.get(&subject).cloned())).collect()
    }

    /// Takes one look of a class at one host: everything that is not well there.
    pub fn observe(&mut self, t: u64, host: &str, class: Class, seen: &[Observation], policy: &Policy) -> Vec<Notice> {
        self.observe_but(t, host, class, seen, &[], policy)
    }

    /// The same, where some subjects cannot be decided yet and stay as they were.
    pub fn observe_but(
        &mut self,
        t: u64,
        host: &str,
        class: Class,
        seen: &[Observation],
        undecided: &[Subject],
        policy: &Policy,
    ) -> Vec<Notice> {
        let mut notices = Vec::new();
        let well: Vec<Subject> = self
            .of_host(host)
            .filter(|(subject, incident)| {
                let named = seen.iter().any(|seen| seen.subject == **subject) || undecided.contains(subject);
                incident.class == class && !named
            })
            .map(|(subject, _)| subject.clone())
            .collect();
        let mut count = self.of_host(host).count();
        for observation in seen {
            if !self.incidents.contains_key(&observation.subject) {
                if count >= INCIDENTS_PER_HOST_MAX {
                    continue;
                }
                count += 1;
            }
            self.unwell(t, class, observation, policy);
        }
        for subject in well {
            notices.extend(self.well(t, &subject, policy));
        }
        notices
    }

    /// These changes could not be stored: they are changes still.
    pub fn unstored(&mut self, subjects: impl IntoIterator<Item = Subject>) {
        self.changed.extend(subjects);
    }

    fn of_host<'a>(&'a self, host: &'a str) -> impl Iterator<Item = (&'a Subject, &'a Incident)> {
        let from = Subject { host: host.to_owned(), component: String::new(), topic: String::new() };
        self.incidents.range(from..).take_while(move |(subject, _)| subject.host == host)
    }

    fn unwell(&mut self, t: u64, class: Class, seen: &Observation, policy: &Policy) {
        let verdict = seen.verdict as u8;
        let text = clipped(&seen.text, TEXT_BYTES_MAX);
        let incident = self.incidents.entry(seen.subject.clone()).or_insert_with(|| Incident::new(class));
        let before = incident.clone();
        incident.alike =
            if incident.verdict == verdict && incident.clear == 0 { incident.alike.saturating_add(1) } else { 1 };
        incident.clear = 0;
        (incident.verdict, incident.quiet) = (verdict, seen.quiet);
        (incident.text, incident.pins) = (text, seen.pins.clone());
        let enough = incident.alike >= raise_after(class, &seen.subject.topic, seen.verdict);
        match &mut incident.open {
            None if enough => {
                incident.open = Some(Open { since_t: t, verdict, told: None, reminders: 0, next_t: None });
                incident.change(t, policy);
            }
            Some(open) if enough => open.verdict = verdict,
            Some(_) | None => {}
        }
        let reopened = incident.ack.as_ref().is_some_and(|ack| {
            let worse = rank(seen.verdict) > rank(Verdict::from_bits(ack.verdict));
            worse || ack.pins != seen.pins
        });
        if reopened {
            incident.ack = None;
            if let Some(open) = &mut incident.open {
                open.told = None;
            }
        }
        // What only counts looks need not be stored: after a crash the looks are counted again.
        let alike = before.alike;
        if (Incident { alike, ..incident.clone() }) != before {
            self.changed.insert(seen.subject.clone());
        }
    }

    fn well(&mut self, t: u64, subject: &Subject, policy: &Policy) -> Option<Notice> {
        let incident = self.incidents.get_mut(subject)?;
        incident.clear = incident.clear.saturating_add(1);
        if incident.clear < clear_after(incident.class) {
            return None;
        }
        let Some(open) = incident.open.take() else {
            if !incident.remembers(t) {
                self.incidents.remove(subject);
                self.changed.insert(subject.clone());
            }
            return None;
        };
        self.changed.insert(subject.clone());
        incident.ack = None;
        incident.alike = 0;
        incident.change(t, policy);
        let told = open.told?;
        if incident.unstable {
            incident.owed = Some(told);
            return None;
        }
        Some(Notice {
            occasion: Occasion::Recovery,
            subject: subject.clone(),
            verdict: Verdict::from_bits(told),
            text: incident.text.clone(),
            since_t: open.since_t,
            t,
        })
    }

    /// Who must be told now. `site` names the site of a host.
    pub fn tick(&mut self, t: u64, site: &dyn Fn(&str) -> String) -> Vec<Notice> {
        self.windows.retain(|window| window.until_t > t);
        let silent: BTreeSet<String> = self
            .incidents
            .iter()
            .filter(|(subject, incident)| {
                subject.topic == SEEN && incident.open.as_ref().is_some_and(|open| open.verdict() == Verdict::Critical)
            })
            .map(|(subject, _)| subject.host.clone())
            .collect();
        let windows = std::mem::take(&mut self.windows);
        let hushed = |host: &str| {
            let running = windows.iter().filter(|window| window.from_t <= t);
            let mut scopes = running.map(|window| window.scope.as_str());
            scopes.any(|scope| scope == "*" || scope == host || scope.strip_prefix("site:") == Some(&site(host)))
        };
        let mut notices = Vec::new();
        for (subject, incident) in &mut self.incidents {
            let before = incident.clone();
            incident.settle(t);
            let suppressed = subject.topic != SEEN && silent.contains(&subject.host);
            if !suppressed && !hushed(&subject.host) {
                notices.extend(incident.tell(t, subject));
            }
            if *incident != before {
                self.changed.insert(subject.clone());
            }
        }
        self.windows = windows;
        notices
    }

    /// Somebody knows of an open incident and why nobody needs to be told for a while.
    ///
    /// # Errors
    /// When there is none, without a reason, or for too long.
    pub fn acknowledge(
        &mut self,
        t: u64,
        subject: &Subject,
        by: &str,
        reason: &str,
        for_s: u64,
    ) -> Result<(), AckError> {
        check_words(by, reason)?;
        let longest = mute_max_s(&subject.topic);
        if for_s > longest {
            return Err(AckError::TooLong(longest / DAY_S));
        }
        let incident = self.incidents.get_mut(subject).filter(|incident| incident.open.is_some());
        let incident = incident.ok_or(AckError::NoIncident)?;
        incident.ack = Some(Ack {
            by: by.to_owned(),
            reason: reason.to_owned(),
            until_t: t.saturating_add(for_s),
            pins: incident.pins.clone(),
            verdict: incident.verdict,
        });
        self.changed.insert(subject.clone());
        Ok(())
    }

    /// Nobody is told of a host, a site or anything for a while. Open incidents are told at its end.
    ///
    /// # Errors
    /// Without a reason, or for longer than a month.
    pub fn maintain(&mut self, window: Window) -> Result<(), AckError> {
        check_words(&window.by, &window.reason)?;
        if window.until_t.saturating_sub(window.from_t) > MUTE_WINDOW_MAX_S {
            return Err(AckError::TooLong(MUTE_WINDOW_MAX_S / DAY_S));
        }
        self.windows.push(window);
        Ok(())
    }

    /// An agent is gone: its incidents are nobody's business any more.
    pub fn forget(&mut self, host: &str) {
        let subjects: Vec<Subject> = self.of_host(host).map(|(subject, _)| subject.clone()).collect();
        for subject in subjects {
            self.incidents.remove(&subject);
            self.changed.insert(subject);
        }
    }
}

/// Longest maintenance window, seconds.
pub const MUTE_WINDOW_MAX_S: u64 = 31 * DAY_S;

fn check_words(by: &str, reason: &str) -> Result<(), AckError> {
    let fits = |words: &str| (1..=WORDS_BYTES_MAX).contains(&words.trim().len());
    if fits(by) && fits(reason) { Ok(()) } else { Err(AckError::Words) }
}

fn clipped(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

impl Incident {
    const fn new(class: Class) -> Self {
        Self {
            class,
            verdict: 0,
            text: String::new(),
            pins: Pins { reason: String::new(), counters: Vec::new() },
            quiet: false,
            alike: 0,
            clear: 0,
            open: None,
            changes: Vec::new(),
            unstable: false,
            unstable_told: false,
            owed: None,
            ack: None,
        }
    }

    /// How bad it was seen last.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        Verdict::from_bits(self.verdict)
    }

    /// Whether it is only shown.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// It opened or closed. What cannot be told is no change of state.
    fn change(&mut self, t: u64, policy: &Policy) {
        if self.verdict() == Verdict::Unknown {
            return;
        }
        self.changes.retain(|at| t.saturating_sub(*at) < HOUR_S);
        self.changes.push(t);
        self.unstable |= self.changes.len() > policy.changes_max;
    }

    fn remembers(&self, t: u64) -> bool {
        self.unstable || self.owed.is_some() || self.changes.iter().any(|at| t.saturating_sub(*at) < HOUR_S)
    }

    /// What passes with time: acknowledgements end, what stood still for an hour is stable again.
    fn settle(&mut self, t: u64) {
        if self.ack.as_ref().is_some_and(|ack| ack.until_t <= t) {
            self.ack = None;
            if let Some(open) = &mut self.open {
                open.told = None;
            }
        }
        if self.unstable && self.changes.iter().all(|at| t.saturating_sub(*at) >= HOUR_S) {
            (self.unstable, self.unstable_told) = (false, false);
            self.changes.clear();
        }
    }

    fn tell(&mut self, t: u64, subject: &Subject) -> Option<Notice> {
        if self.quiet || self.ack.is_some() {
            return None;
        }
        if self.unstable {
            if self.unstable_told {
                return None;
            }
            self.unstable_told = true;
            self.owed = Some(self.owed.unwrap_or(self.verdict));
            return Some(self.notice(Occasion::Unstable, t, subject, t));
        }
        let Some(open) = self.open.as_mut() else {
            let owed = self.owed.take()?;
            let verdict = Verdict::from_bits(owed);
            return Some(Notice { verdict, ..self.notice(Occasion::Recovery, t, subject, t) });
        };
        self.owed = None;
        let worse = open.told.is_none_or(|told| rank(open.verdict()) > rank(Verdict::from_bits(told)));
        let occasion = if worse {
            open.reminders = 0;
            Occasion::Problem
        } else if open.next_t.is_some_and(|at| at <= t) {
            open.reminders = open.reminders.saturating_add(1);
            Occasion::Reminder
        } else {
            return None;
        };
        open.told = Some(open.verdict);
        open.next_t = remind_after_s(open.verdict(), open.reminders).map(|after_s| t.saturating_add(after_s));
        let since_t = open.since_t;
        Some(self.notice(occasion, t, subject, since_t))
    }

    fn notice(&self, occasion: Occasion, t: u64, subject: &Subject, since_t: u64) -> Notice {
        let verdict = self.open.as_ref().map_or_else(|| self.verdict(), Open::verdict);
        Notice { occasion, subject: subject.clone(), verdict, text: self.text.clone(), since_t, t }
    }
}

/// When the next reminder is due after so many: critical hourly three times, then daily; warning after 1, 2, 4 … 32 days.
#[must_use]
pub fn remind_after_s(verdict: Verdict, reminders: u32) -> Option<u64> {
    match verdict {
        Verdict::Critical if reminders < 3 => Some(HOUR_S),
        Verdict::Critical => Some(DAY_S),
        Verdict::Warning => Some(DAY_S << reminders.min(5)),
        Verdict::Unknown | Verdict::Ok => None,
    }
}

#[cfg(test)]
mod tests;

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From verdicts to messages: what is observed ([`reported`], [`dead_man`]), when it becomes an incident and who must hear of
//! it ([`engine`]), and which notices are one message ([`group`]). All of it is pure: no clock, no I/O; a month is simulated
//! in a test.

pub mod dead_man;
pub mod engine;
pub mod group;
pub mod reported;
#[cfg(test)]
mod simulation;

use adit_wire::health::codes::Verdict;
use serde::{Deserialize, Serialize};

/// Longest time that what a drive calls failing, a degraded array or a missing thing can be muted, seconds.
pub const MUTE_FAILING_MAX_S: u64 = 30 * 86_400;
/// Longest time that anything can be muted, seconds.
pub const MUTE_MAX_S: u64 = 366 * 86_400;
/// Longest reason or name that a person may write, bytes.
pub const WORDS_BYTES_MAX: usize = 256;

/// What an incident is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// The agent's name here.
    pub host: String,
    /// The component's stable id; empty for the host as a whole.
    pub component: String,
    /// The check's or rule's name, such as `disk.status` or `host.seen`.
    pub topic: String,
}

impl Subject {
    /// What it is about, for a log line or a command: `host/component/topic`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}/{}", self.host, self.component, self.topic)
    }
}

/// Who observes: each class tells everything of a host that is not well, so what it leaves out is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Class {
    /// The agent, in its report.
    Reported,
    /// The monitor, by deadlines and by joining reports.
    Deadline,
}

/// Something that is not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What.
    pub subject: Subject,
    /// Never ok.
    pub verdict: Verdict,
    /// A sentence for a person: the component and why.
    pub text: String,
    /// The values that an acknowledgement is pinned to.
    pub pins: Pins,
    /// It is shown, but nobody is told.
    pub quiet: bool,
}

/// The values seen: the reason's words without their detail, and counters of damage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pins {
    /// The reason.
    pub reason: String,
    /// Counters, in a fixed order.
    pub counters: Vec<i64>,
}

/// Times of the alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Time between two polls, seconds.
    pub interval_s: u64,
    /// Silence after which an agent is critical, seconds.
    pub silent_after_s: u64,
    /// Changes within an hour beyond which a thing is called unstable.
    pub changes_max: usize,
    /// A store that was not read whole for so long is told, seconds.
    pub scrub_after_s: u64,
    /// Days before it is full at which a disk is told: warning, critical.
    pub full_in_days: (i64, i64),
}

impl Policy {
    /// The usual times for a poll interval.
    #[must_use]
    pub fn of_interval(interval_s: u64) -> Self {
        Self {
            interval_s,
            silent_after_s: 300.max(interval_s.saturating_mul(4)),
            changes_max: 4,
            scrub_after_s: 30 * 86_400,
            full_in_days: (14, 3),
        }
    }
}

/// Why somebody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Occasion {
    /// It began, or became worse.
    Problem,
    /// It goes on.
    Reminder,
    /// It is well again.
    Recovery,
    /// It comes and goes.
    Unstable,
}

/// One thing that somebody must hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Why.
    pub occasion: Occasion,
    /// About what.
    pub subject: Subject,
    /// How bad; at a recovery, how bad it was.
    pub verdict: Verdict,
    /// What.
    pub text: String,
    /// Since when, seconds of the timeline.
    pub since_t: u64,
    /// When the notice was made, seconds of the timeline.
    pub t: u64,
}

/// What stands before what: critical, warning, unknown, ok.
#[must_use]
pub const fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Ok => 0,
        Verdict::Unknown => 1,
        Verdict::Warning => 2,
        Verdict::Critical => 3,
    }
}

/// Topics that overview promises to tell within two minutes, or that an agent has already judged over several looks: the
/// first poll that shows one opens it.
const AT_ONCE: [&str; 17] = [
    "disk.present",
    "present",
    "md.state",
    "pool.state",
    "volume.state",
    "power.line",
    "ups.battery",
    "fs.ro",
    "store.state",
    "store.damage",
    "backup.run",
    "backup.both",
    "backup.arrived",
    "hpsa.ld",
    "hpsa.pd",
    "disk.status",
    "psu",
];
/// What can't be muted for long.
const FAILING: [&str; 8] =
    ["disk.status", "disk.present", "present", "md.state", "pool.state", "hpsa.ld", "hpsa.pd", "store.damage"];
/// From cause to effect: of several things on one host the first is the title.
const CAUSES: [&str; 16] = [
    "host.seen",
    "power.line",
    "ups.battery",
    "disk.present",
    "present",
    "disk.status",
    "disk.media",
    "hpsa.state",
    "hpsa.pd",
    "hpsa.ld",
    "md.state",
    "pool.state",
    "volume.state",
    "fs.ro",
    "store.state",
    "store.damage",
];

/// So many polls in a row must show it.
#[must_use]
pub fn raise_after(class: Class, topic: &str, verdict: Verdict) -> u8 {
    match (class, verdict) {
        (Class::Deadline, _) => 1,
        (Class::Reported, Verdict::Unknown) => 3,
        (Class::Reported, _) if AT_ONCE.contains(&topic) => 1,
        (Class::Reported, _) => 2,
    }
}

/// So many looks in a row must not show it.
#[must_use]
pub const fn clear_after(class: Class) -> u8 {
    match class {
        Class::Deadline => 1,
        Class::Reported => 2,
    }
}

/// Longest acknowledgement of this topic, seconds.
#[must_use]
pub fn mute_max_s(topic: &str) -> u64 {
    if FAILING.contains(&topic) { MUTE_FAILING_MAX_S } else { MUTE_MAX_S }
}

/// How near to the cause a topic is; the least is the cause.
#[must_use]
pub fn cause_rank(topic: &str) -> usize {
    CAUSES.iter().position(|cause| *cause == topic).unwrap_or(CAUSES.len())
}

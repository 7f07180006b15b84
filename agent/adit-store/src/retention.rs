// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is kept and how long: policies and the guards around them. Times are seconds of the retention clock.

use serde::{Deserialize, Serialize};

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

/// The policy in force, and what will take its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

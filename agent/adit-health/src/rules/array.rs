// SPDX-License-Identifier: Apache-2.0 OR MIT
//! md arrays. `array_state` alone is worthless: it stays "clean" when a member dies, so `degraded` and the members tell.
//!
//! What to do: look at the member that the detail names, replace that disk, `mdadm /dev/mdN --add` the new one.

use crate::judge::Judge;
use crate::limits::Rule;
use crate::model::{Component, Finding};
use crate::readings::array::{ArrayMember, ArrayReading};
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

const DAY_S: u64 = 86_400;

/// Everything about an array.
#[must_use]
pub fn array(judge: &mut Judge<'_>, array: &ArrayReading) -> Component {
    let mut findings = vec![state(array)];
    let mut readings = vec![
        (Quantity::Members, Some(array.raid_disks)),
        (Quantity::MembersMissing, Some(array.degraded.unwrap_or(0))),
    ];
    if array.redundancy_left().is_some() {
        findings.push(mismatches(judge, array));
        findings.push(bad_blocks(array));
        findings.push(spares(judge, array));
        findings.push(checked(judge, array));
        readings.push((Quantity::Mismatches, array.mismatches));
        readings.push((Quantity::SyncPermille, array.sync_permille));
    }
    Component {
        kind: ComponentKind::Array,
        id: array.id.clone(),
        label: format!("{} ({})", array.name, array.level),
        findings,
        readings,
    }
}

/// Whether all members are there and well.
#[must_use]
pub fn state(array: &ArrayReading) -> Finding {
    let found = |verdict, reason, detail: String| Finding::new(Check::ArrayState, verdict, reason).with_detail(detail);
    let (degraded, left) = (array.degraded.unwrap_or(0), array.redundancy_left());
    let lost = degraded >= array.raid_disks.max(1) || left.is_some_and(|left| left < 0);
    let failed = array.members.iter().find(|member| member.is("faulty"));
    if lost || matches!(array.state.as_str(), "inactive" | "broken") || (left.is_none() && failed.is_some()) {
        let detail = failed.map_or_else(|| array.state.clone(), |member| format!("{} failed", member.label()));
        return found(Verdict::Critical, Reason::Broken, detail);
    }
    if degraded == 0 {
        return members(array);
    }
    if sleeps_in_qnap(array) {
        let detail = format!("{} of {} members, none failed", array.members.len(), array.raid_disks);
        return found(Verdict::Warning, Reason::Degraded, detail);
    }
    let left = left.unwrap_or(0);
    let rest = if left == 0 { "no redundancy left".to_owned() } else { format!("{left} more may fail") };
    if array.sync_action == "recover" {
        let verdict = if left == 0 { Verdict::Critical } else { Verdict::Warning };
        return found(verdict, Reason::Rebuilding, rest);
    }
    let which = failed.map_or_else(
        || format!("{degraded} of {} members missing", array.raid_disks),
        |member| format!("{} failed", member.label()),
    );
    // The detail has 64 bytes; what is left matters more than the end of a long model's name.
    found(Verdict::Critical, Reason::Degraded, format!("{rest}: {which}"))
}

/// QNAP makes its system arrays for all the bays that any model has: "degraded" from the first day.
fn sleeps_in_qnap(array: &ArrayReading) -> bool {
    let populated = i64::try_from(array.members.len()).unwrap_or(i64::MAX);
    array.level == "raid1"
        && populated >= 2
        && array.raid_disks > populated.saturating_mul(2)
        && array.members.iter().all(|member| member.is("in_sync"))
}

/// An array with all its members: one of them may be failing, or a spare may have failed.
fn members(array: &ArrayReading) -> Finding {
    let bad = |member: &&ArrayMember| ["faulty", "want_replacement", "write_error"].iter().any(|flag| member.is(flag));
    let Some(member) = array.members.iter().find(bad) else { return Finding::ok(Check::ArrayState) };
    let detail = format!("{}: {}", member.label(), member.state.join(","));
    Finding::new(Check::ArrayState, Verdict::Warning, Reason::MemberFaulty).with_detail(detail)
}

/// Sectors that differ. With parity there is no harmless reason; on RAID1 and RAID10 swap and files that are written
/// while they are mapped leave such (md(4), SCRUBBING AND MISMATCHES), so there only new ones are told.
fn mismatches(judge: &mut Judge<'_>, array: &ArrayReading) -> Finding {
    let count = array.mismatches.unwrap_or(0);
    let grown = judge.counter(&array.id, Quantity::Mismatches, count).two_days;
    let mirrors = array.level.starts_with("raid1");
    let verdict = if array.last_sync_action == "repair" && array.sync_action == "idle" {
        Verdict::Ok // They were counted while they were repaired.
    } else if mirrors && grown > 0 {
        Verdict::Warning
    } else if !mirrors && count > 0 {
        Verdict::Critical
    } else {
        Verdict::Ok
    };
    Finding::judged(Check::ArrayMismatch, verdict, Reason::Mismatches).because(|| format!("{count} sectors"))
}

fn bad_blocks(array: &ArrayReading) -> Finding {
    match array.members.iter().find(|member| member.bad_blocks > 0) {
        Some(member) => Finding::new(Check::ArrayBadBlocks, Verdict::Warning, Reason::BadBlocks).with_detail(format!(
            "{} runs on {}",
            member.bad_blocks,
            member.label()
        )),
        None => Finding::ok(Check::ArrayBadBlocks),
    }
}

/// A spare that stood by and is gone, also by taking a failed member's place. While the array is degraded a device without
/// a place is on its way into one.
fn spares(judge: &mut Judge<'_>, array: &ArrayReading) -> Finding {
    let now = if array.degraded.unwrap_or(0) == 0 { array.spares() } else { 0 };
    // An array that was grown by its spare has lost none.
    let best = judge.best(&format!("{}/{}", array.id, array.raid_disks), Check::ArraySpare, now);
    let missing = best > now && array.sync_action != "recover";
    let verdict = if missing { Verdict::Warning } else { Verdict::Ok };
    Finding::judged(Check::ArraySpare, verdict, Reason::SpareMissing).because(|| format!("{now} of {best}"))
}

fn checked(judge: &mut Judge<'_>, array: &ArrayReading) -> Finding {
    let checks = matches!(array.sync_action.as_str(), "check" | "repair");
    let days = i64::try_from(judge.since_last(&array.id, Check::ArrayScrub, checks) / DAY_S).unwrap_or(i64::MAX);
    let verdict = judge.level(&array.id, Rule::ArrayCheckAge, days);
    Finding::judged(Check::ArrayScrub, verdict, Reason::CheckOld).because(|| format!("more than {days} days ago"))
}

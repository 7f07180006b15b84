// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Backups, on both sides: runs as their own host sees them, arrivals as the box sees them, and the store.

use crate::judge::Judge;
use crate::limits::Rule;
use crate::model::Finding;
use crate::runs::{EXIT_PARTIAL, RunRecord};
use crate::show::duration;
use adit_wire::health::codes::{Check, Reason, Verdict};

/// The id of the component that stands for a box's store.
pub const STORE: &str = "store";
/// Grace on top of a job's period: an hour, or half a period when that is more.
const GRACE_MIN_S: u64 = 3_600;

/// Runs beside which the newest one's size is judged.
const SIZE_RUNS: usize = 10;
/// Fewer earlier runs than this say nothing of what is usual.
const SIZE_RUNS_MIN: usize = 3;
/// A source that stores less than this at once cannot look like a thief's work, bytes.
const REWRITTEN_BYTES_MIN: u64 = 1 << 30;
/// A store that says nothing for this long hangs, seconds: the longest single piece of work, the check of a large commit on a
/// slow disk, takes minutes.
const STORE_SILENT_S: u64 = 900;
/// A session that waits this long for its commit is forgotten by its source, seconds.
const SESSION_OPEN_S: u64 = 2 * 86_400;

/// How late after its last start a job with this period may start again, seconds.
#[must_use]
pub fn late_after_s(period_s: u64) -> u64 {
    period_s.saturating_add(GRACE_MIN_S.max(period_s / 2))
}

/// A job by its newest run records, newest last.
#[must_use]
pub fn run(records: &[RunRecord], now_s: u64) -> Finding {
    let Some(newest) = records.last() else {
        return Finding::new(Check::Run, Verdict::Unknown, Reason::NotReadable).with_detail("no run yet");
    };
    let late = newest.period_s > 0 && now_s.saturating_sub(newest.started_s) > late_after_s(newest.period_s);
    if late {
        return Finding::new(Check::Run, Verdict::Critical, Reason::RunLate);
    }
    match (newest.exit, records.iter().rev().nth(1)) {
        (Some(0), _) => Finding::ok(Check::Run),
        (Some(EXIT_PARTIAL), _) => Finding::new(Check::Run, Verdict::Warning, Reason::RunPartial)
            .with_detail(format!("{} files skipped", newest.skipped)),
        (Some(exit), _) => {
            Finding::new(Check::Run, Verdict::Critical, Reason::RunFailed).with_detail(format!("exit code {exit}"))
        }
        (None, _) if !newest.ended_early => match records.iter().rev().skip(1).find_map(|record| record.exit) {
            // A run is under way: the one before it decides.
            Some(0) | None => Finding::ok(Check::Run),
            Some(_) => Finding::new(Check::Run, Verdict::Warning, Reason::RunFailed).with_detail("the run before"),
        },
        (None, _) => Finding::new(Check::Run, Verdict::Critical, Reason::RunCutOff),
    }
}

/// A source as the box sees it: whether its backups arrive. Without a known period a day is assumed.
#[must_use]
pub fn arrived(received_s: Option<u64>, period_s: u64, now_s: u64) -> Finding {
    let period_s = if period_s == 0 { 86_400 } else { period_s };
    match received_s {
        None => Finding::new(Check::Arrived, Verdict::Warning, Reason::NeverArrived),
        Some(at) if now_s.saturating_sub(at) > late_after_s(period_s) => {
            let hours = now_s.saturating_sub(at) / 3600;
            Finding::new(Check::Arrived, Verdict::Critical, Reason::BackupLate)
                .with_detail(format!("newest is {hours} h old"))
        }
        Some(_) => Finding::ok(Check::Arrived),
    }
}

/// What a source says of its newest ended run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// When it ended, seconds since 1970 by whoever joins.
    pub ended_s: u64,
    /// Its exit code.
    pub exit: i32,
    /// The snapshot that came of it, by [`head_number`].
    pub head: Option<i64>,
}

/// What a box holds of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// When its newest snapshot was committed, seconds since 1970 by whoever joins.
    pub received_s: u64,
    /// That snapshot, by [`head_number`].
    pub head: i64,
}

/// The number by which both sides name a snapshot in a report: the first 60 bits of its head, so that a reading holds it.
#[must_use]
pub fn head_number(head: &str) -> Option<i64> {
    head.get(..15).and_then(|digits| i64::from_str_radix(digits, 16).ok())
}

/// Both sides of one source, joined on the snapshot. No single side can see a success that lies: a run that ended well and
/// whose snapshot the box does not hold.
#[must_use]
pub fn both_sides(said: Option<Said>, held: Option<Held>, period_s: u64, now_s: u64) -> Finding {
    let period_s = if period_s == 0 { 86_400 } else { period_s };
    let fresh = |at_s: u64| now_s.saturating_sub(at_s) <= late_after_s(period_s);
    let said = said.filter(|said| fresh(said.ended_s));
    let lately = held.filter(|held| fresh(held.received_s));
    let (verdict, reason) = match (said, lately) {
        // A run that skipped files made a snapshot all the same; the job's own check warns of it.
        (Some(Said { exit: 0 | EXIT_PARTIAL, head, .. }), _)
            if head.is_some() && head == held.map(|held| held.head) =>
        {
            return Finding::ok(Check::BothSides);
        }
        // A later run's snapshot may have arrived before its record did.
        (Some(Said { exit: 0, ended_s, .. }), Some(held)) if held.received_s > ended_s => {
            return Finding::ok(Check::BothSides);
        }
        (Some(Said { exit: 0 | EXIT_PARTIAL, .. }), _) => (Verdict::Critical, Reason::LyingSuccess),
        (Some(said), Some(held)) if held.received_s > said.ended_s => (Verdict::Warning, Reason::PartialNewer),
        (Some(_), Some(_)) => (Verdict::Warning, Reason::RunFailed),
        (Some(_), None) => (Verdict::Critical, Reason::RunFailed),
        (None, Some(_)) => (Verdict::Warning, Reason::SourceSilent),
        (None, None) => (Verdict::Critical, Reason::BackupLate),
    };
    Finding::new(Check::BothSides, verdict, reason)
}

/// The newest run's size beside those before: half of the data gone, or three times as much, is seldom meant.
#[must_use]
pub fn size(records: &[RunRecord]) -> Finding {
    let mut sizes = records.iter().rev().filter(|record| record.exit == Some(0) && record.bytes_total > 0);
    let newest = sizes.next().map_or(0, |record| record.bytes_total);
    let mut before: Vec<u64> = sizes.take(SIZE_RUNS).map(|record| record.bytes_total).collect();
    before.sort_unstable();
    let Some(usual) = before.get(before.len() / 2).copied().filter(|_| before.len() >= SIZE_RUNS_MIN) else {
        return Finding::ok(Check::SizeTrend);
    };
    if (usual / 2..=usual.saturating_mul(3)).contains(&newest) {
        return Finding::ok(Check::SizeTrend);
    }
    Finding::new(Check::SizeTrend, Verdict::Warning, Reason::SizeOdd).with_detail(format!(
        "{} MiB, usually {}",
        newest >> 20,
        usual >> 20
    ))
}

/// The newest run's new bytes on the box, beside all that the source stored before: a run that stores most of it anew moved
/// its data, or had it encrypted by a thief.
#[must_use]
pub fn rewritten(new_bytes: u64, bytes_before: u64) -> Finding {
    if bytes_before == 0 || new_bytes < REWRITTEN_BYTES_MIN || new_bytes <= bytes_before / 2 {
        return Finding::ok(Check::SizeTrend);
    }
    Finding::new(Check::SizeTrend, Verdict::Warning, Reason::SizeOdd).with_detail(format!(
        "{} MiB new, {} MiB before",
        new_bytes >> 20,
        bytes_before >> 20
    ))
}

/// Whether a source has a session that never came to its commit, and for how long. A run under way has one too.
#[must_use]
pub fn session(judge: &mut Judge<'_>, source: &str, open: bool) -> Finding {
    match judge.lasting(source, Reason::SessionsOpen, open) {
        Some(seconds) if seconds > SESSION_OPEN_S => {
            Finding::new(Check::StoreSessions, Verdict::Warning, Reason::SessionsOpen)
                .with_detail(format!("for {} days", seconds / 86_400))
        }
        Some(_) | None => Finding::ok(Check::StoreSessions),
    }
}

/// When the whole store was last read and checked.
#[must_use]
pub fn verified(judge: &mut Judge<'_>, last_s: Option<u64>, created_s: u64) -> Finding {
    let days = judge.now_s().saturating_sub(last_s.unwrap_or(created_s)) / 86_400;
    let verdict = judge.level(STORE, Rule::VerifyAge, i64::try_from(days).unwrap_or(i64::MAX));
    let reason = if last_s.is_some() { Reason::VerifyOld } else { Reason::NeverVerified };
    Finding::judged(Check::StoreVerify, verdict, reason).because(|| format!("{days} days"))
}

/// Whether the store takes data, and whether it answers at all: it is asked with every report, and busy for seconds at most.
/// `read_only` is `None` where nothing forbids writing.
#[must_use]
pub fn takes_data(read_only: Option<&str>, age_s: u64) -> Finding {
    let critical = |reason| Finding::new(Check::StoreState, Verdict::Critical, reason);
    if age_s >= STORE_SILENT_S {
        return critical(Reason::NotAnswering).with_detail(format!("for {}: look at its disk", duration(age_s)));
    }
    read_only.map_or_else(|| Finding::ok(Check::StoreState), |why| critical(Reason::StoreReadOnly).with_detail(why))
}

/// Damaged records, and the beginning of the first one's id: enough to find it in the whole list of `adit verify`.
#[must_use]
pub fn damage(records: u64, first: Option<&str>) -> Finding {
    const ID_CHARS: usize = 16;
    if records == 0 {
        return Finding::ok(Check::StoreDamage);
    }
    let detail = match first.and_then(|id| id.get(..ID_CHARS)) {
        Some(id) => format!("{records} records, first {id}…"),
        None => format!("{records} records"),
    };
    Finding::new(Check::StoreDamage, Verdict::Critical, Reason::RecordsDamaged).with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_has_one_number_on_both_sides() {
        assert_eq!(head_number(&"f".repeat(64)), Some((1 << 60) - 1));
        assert_eq!(head_number("0123456789abcde0"), Some(0x0012_3456_789a_bcde));
        assert_eq!(head_number("short"), None);
        assert_eq!(head_number("not hexadecimal at all"), None);
    }

    #[test]
    fn late_is_a_period_and_its_grace() {
        // Three hours: grace is half of it, 1.5 h; ten minutes: grace is an hour.
        assert_eq!(late_after_s(10_800), 16_200);
        assert_eq!(late_after_s(600), 4_200);
        assert_eq!(arrived(Some(0), 10_800, 16_200).verdict, Verdict::Ok);
        assert_eq!(arrived(Some(0), 10_800, 16_201).reason, Reason::BackupLate);
    }

    #[test]
    fn a_run_is_judged_by_its_end() {
        let record = |exit: Option<i32>| RunRecord { exit, ..RunRecord::started("job", 100, 10_800) };
        let check = |records: &[RunRecord], now| run(records, now).reason;
        assert_eq!(check(&[record(Some(0))], 200), Reason::None);
        assert_eq!(check(&[record(Some(6))], 200), Reason::RunPartial);
        assert_eq!(check(&[record(Some(4))], 200), Reason::RunFailed);
        assert_eq!(check(&[record(Some(4)), record(None)], 200), Reason::RunFailed);
        assert_eq!(check(&[record(Some(0)), record(None)], 200), Reason::None);
        assert_eq!(check(&[RunRecord { ended_early: true, ..record(None) }], 200), Reason::RunCutOff);
        assert_eq!(check(&[record(Some(0))], 100 + 16_201), Reason::RunLate);
    }
}

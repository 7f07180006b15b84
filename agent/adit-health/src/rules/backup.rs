// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Backups, on both sides: runs as their own host sees them, arrivals as the box sees them, and the store.

use crate::model::Finding;
use crate::runs::{EXIT_PARTIAL, RunRecord};
use adit_wire::health::codes::{Check, Reason, Verdict};

/// A store that was not read through for this long, seconds.
const VERIFY_OLD_S: u64 = 30 * 86_400;
/// Grace on top of a job's period: an hour, or half a period when that is more.
const GRACE_MIN_S: u64 = 3_600;

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

/// When the whole store was last read and checked.
#[must_use]
pub fn verified(last_s: Option<u64>, created_s: u64, now_s: u64) -> Finding {
    match last_s {
        Some(at) if now_s.saturating_sub(at) > VERIFY_OLD_S => {
            Finding::new(Check::StoreVerify, Verdict::Warning, Reason::VerifyOld)
        }
        None if now_s.saturating_sub(created_s) > VERIFY_OLD_S => {
            Finding::new(Check::StoreVerify, Verdict::Warning, Reason::NeverVerified)
        }
        Some(_) | None => Finding::ok(Check::StoreVerify),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

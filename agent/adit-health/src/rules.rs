// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The thresholds, and where they come from. A rule is a pure function of readings.

use crate::model::Finding;
use crate::runs::{EXIT_PARTIAL, RunRecord};
use adit_wire::health::codes::{Check, Reason, Verdict};

/// Five-minute load per processor that is worth a look; batch machines live at 1.
const LOAD_PER_PROCESSOR_WARNING: f64 = 3.0;
/// Memory left for programs, per mille of all, below which a machine begins to thrash.
const MEMORY_PERMILLE_WARNING: i64 = 50;
/// The same, when the kernel is about to kill.
const MEMORY_PERMILLE_CRITICAL: i64 = 20;
/// "full avg300" above 5 %: tasks wait for memory one second in twenty.
const MEMORY_PRESSURE_WARNING: i64 = 500;
/// Kernel taint bits that tell a fault: 4 machine check, 5 bad page, 7 died (oops), 14 soft lock-up.
const TAINT_FAULTS: i64 = (1 << 4) | (1 << 5) | (1 << 7) | (1 << 14);
/// Free space, per mille, below which a file system is almost full.
const SPACE_FREE_PERMILLE_WARNING: i64 = 100;
/// Free space, per mille, below which it is as good as full.
const SPACE_FREE_PERMILLE_CRITICAL: i64 = 30;
/// Inodes in use, per mille.
const INODES_PERMILLE_WARNING: i64 = 900;
/// Hard disks fail more often above about 50 °C (Google, 2007); 55 leaves room for summer.
const DISK_TEMPERATURE_WARNING: i64 = 550;
/// Above what drives are specified for.
const DISK_TEMPERATURE_CRITICAL: i64 = 650;
/// A store that was not read through for this long, seconds.
const VERIFY_OLD_S: u64 = 30 * 86_400;
/// Grace on top of a job's period: an hour, or half a period when that is more.
const GRACE_MIN_S: u64 = 3_600;

/// Load against processors.
#[must_use]
pub fn load(five_minutes: f64, processors: usize) -> Finding {
    let processors = u32::try_from(processors.max(1)).unwrap_or(u32::MAX);
    if five_minutes > LOAD_PER_PROCESSOR_WARNING * f64::from(processors) {
        Finding::new(Check::Load, Verdict::Warning, Reason::LoadHigh)
    } else {
        Finding::ok(Check::Load)
    }
}

/// Memory left.
#[must_use]
pub fn memory(total_mib: i64, available_mib: i64) -> Finding {
    let permille = available_mib.saturating_mul(1000) / total_mib.max(1);
    let verdict = if permille < MEMORY_PERMILLE_CRITICAL {
        Verdict::Critical
    } else if permille < MEMORY_PERMILLE_WARNING {
        Verdict::Warning
    } else {
        return Finding::ok(Check::Memory);
    };
    Finding::new(Check::Memory, verdict, Reason::MemoryLow)
}

/// Time lost to waiting for memory; `None` when the kernel does not count it.
#[must_use]
pub fn memory_pressure(full_avg300: Option<i64>) -> Finding {
    match full_avg300 {
        Some(share) if share > MEMORY_PRESSURE_WARNING => {
            Finding::new(Check::Pressure, Verdict::Warning, Reason::MemoryPressure)
        }
        Some(_) => Finding::ok(Check::Pressure),
        None => Finding::new(Check::Pressure, Verdict::Unknown, Reason::NotReadable)
            .with_detail("needs a kernel with CONFIG_PSI"),
    }
}

/// Processes that the kernel killed since boot.
#[must_use]
pub fn oom_kills(count: Option<i64>) -> Finding {
    match count {
        Some(0) => Finding::ok(Check::OomKills),
        Some(count) => Finding::new(Check::OomKills, Verdict::Warning, Reason::OomKilled)
            .with_detail(format!("{count} since boot")),
        None => Finding::new(Check::OomKills, Verdict::Unknown, Reason::NotReadable).with_detail("needs /proc/vmstat"),
    }
}

/// What the kernel says about itself.
#[must_use]
pub fn taint(bits: Option<i64>) -> Finding {
    match bits {
        Some(bits) if bits & TAINT_FAULTS != 0 => {
            Finding::new(Check::Kernel, Verdict::Critical, Reason::KernelTainted).with_detail(format!("taint {bits}"))
        }
        Some(_) => Finding::ok(Check::Kernel),
        None => Finding::new(Check::Kernel, Verdict::Unknown, Reason::NotReadable)
            .with_detail("needs /proc/sys/kernel/tainted"),
    }
}

/// Space left on a file system.
#[must_use]
pub fn space(size_mib: i64, free_mib: i64) -> Finding {
    let free = free_mib.saturating_mul(1000) / size_mib.max(1);
    if free < SPACE_FREE_PERMILLE_CRITICAL {
        Finding::new(Check::Space, Verdict::Critical, Reason::SpaceOut).with_detail(format!("{free_mib} MiB free"))
    } else if free < SPACE_FREE_PERMILLE_WARNING {
        Finding::new(Check::Space, Verdict::Warning, Reason::SpaceLow).with_detail(format!("{free_mib} MiB free"))
    } else {
        Finding::ok(Check::Space)
    }
}

/// Inodes in use; `None` on file systems that make them as needed.
#[must_use]
pub fn inodes(used_permille: Option<i64>) -> Finding {
    match used_permille {
        Some(used) if used > INODES_PERMILLE_WARNING => {
            Finding::new(Check::Inodes, Verdict::Warning, Reason::InodesLow)
        }
        Some(_) | None => Finding::ok(Check::Inodes),
    }
}

/// Temperature of a sensor, tenths of a degree, with the sensor's own critical limit where it has one.
#[must_use]
pub fn temperature(tenths: Option<i64>, critical: Option<i64>) -> Finding {
    let Some(tenths) = tenths else {
        return Finding::new(Check::Temperature, Verdict::Unknown, Reason::NotReadable);
    };
    let critical = critical.filter(|limit| *limit > 0).unwrap_or(1_000);
    let warning = critical.saturating_sub(50);
    judge_temperature(tenths, warning, critical)
}

/// Temperature of a disk, tenths of a degree.
#[must_use]
pub fn disk_temperature(tenths: i64) -> Finding {
    judge_temperature(tenths, DISK_TEMPERATURE_WARNING, DISK_TEMPERATURE_CRITICAL)
}

fn judge_temperature(tenths: i64, warning: i64, critical: i64) -> Finding {
    let (verdict, reason) = if tenths >= critical {
        (Verdict::Critical, Reason::TooHot)
    } else if tenths >= warning {
        (Verdict::Warning, Reason::Hot)
    } else {
        return Finding::ok(Check::Temperature);
    };
    Finding::new(Check::Temperature, verdict, reason).with_detail(format!("{} °C", tenths / 10))
}

/// Members of an md array. `array_state` alone stays "clean" when a member dies: `degraded` tells.
#[must_use]
pub fn array(members: i64, degraded: i64, state: &str, sync_action: &str) -> Finding {
    if matches!(state, "inactive" | "broken" | "clear") || degraded >= members.max(1) {
        return Finding::new(Check::ArrayState, Verdict::Critical, Reason::Broken).with_detail(state);
    }
    if degraded == 0 {
        return Finding::ok(Check::ArrayState);
    }
    if sync_action == "recover" {
        return Finding::new(Check::ArrayState, Verdict::Warning, Reason::Rebuilding);
    }
    Finding::new(Check::ArrayState, Verdict::Critical, Reason::Degraded)
        .with_detail(format!("{degraded} of {members} members missing"))
}

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
    fn array_is_judged_by_degraded_not_by_its_state() {
        assert_eq!(array(2, 0, "clean", "idle").verdict, Verdict::Ok);
        assert_eq!(array(2, 1, "clean", "idle").reason, Reason::Degraded);
        assert_eq!(array(2, 1, "clean", "recover").verdict, Verdict::Warning);
        assert_eq!(array(2, 2, "clean", "idle").reason, Reason::Broken);
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

    #[test]
    fn space_is_judged_by_share() {
        assert_eq!(space(1000, 500).verdict, Verdict::Ok);
        assert_eq!(space(1000, 99).verdict, Verdict::Warning);
        assert_eq!(space(1000, 29).verdict, Verdict::Critical);
    }
}

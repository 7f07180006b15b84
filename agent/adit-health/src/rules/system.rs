// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The operating system: load, memory, the kernel's own complaints.

use crate::judge::Judge;
use crate::limits::Rule;
use crate::model::{Component, Finding};
use crate::readings::silence::Silence;
use crate::readings::system::{BootReading, ClockReading, RebootReading};
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

/// The id of the component that stands for the whole machine.
pub const HOST: &str = "host";
/// The id of the component that stands for the agent.
const AGENT: &str = "agent";
/// Kernel taint bits that tell a fault: 4 machine check, 5 bad page, 7 died (oops), 14 soft lock-up.
const TAINT_FAULTS: i64 = (1 << 4) | (1 << 5) | (1 << 7) | (1 << 14);
const DAY_S: u64 = 86_400;
/// So many boots in a day are a loop, or a supply that fails.
const BOOTS_OFTEN: usize = 3;
/// A reset by the watchdog is told for so long after the boot, seconds.
const RESET_TOLD_S: u64 = 2 * DAY_S;
/// The victims of the last day are worth a look; older ones were seen.
const OOM_LATELY: &str = "in the last two days";

/// Load against processors, hundredths.
#[must_use]
pub fn load(judge: &mut Judge<'_>, five_minutes: i64, processors: i64) -> Finding {
    let verdict = judge.level(HOST, Rule::Load, five_minutes / processors.max(1));
    Finding::judged(Check::Load, verdict, Reason::LoadHigh)
}

/// Memory left.
#[must_use]
pub fn memory(judge: &mut Judge<'_>, total_mib: i64, available_mib: i64) -> Finding {
    let permille = available_mib.saturating_mul(1000) / total_mib.max(1);
    let verdict = judge.level(HOST, Rule::Memory, permille);
    Finding::judged(Check::Memory, verdict, Reason::MemoryLow)
        .because(|| format!("{available_mib} of {total_mib} MiB left"))
}

/// Time lost to waiting for memory, hundredths of a per cent.
#[must_use]
pub fn memory_pressure(judge: &mut Judge<'_>, full_avg300: i64) -> Finding {
    Finding::judged(Check::Pressure, judge.level(HOST, Rule::MemoryPressure, full_avg300), Reason::MemoryPressure)
}

/// Time lost to waiting for disks, hundredths of a per cent.
#[must_use]
pub fn io_pressure(judge: &mut Judge<'_>, full_avg300: i64) -> Finding {
    Finding::judged(Check::IoPressure, judge.level(HOST, Rule::IoPressure, full_avg300), Reason::IoPressure)
        .because(|| format!("{} % of the last five minutes", full_avg300 / 100))
}

/// Memory that the kernel took out of use because it is broken, KiB.
#[must_use]
pub fn poisoned(kib: i64) -> Finding {
    let verdict = if kib > 0 { Verdict::Warning } else { Verdict::Ok };
    Finding::judged(Check::Ecc, verdict, Reason::EccUncorrected).because(|| format!("{kib} KiB taken out of use"))
}

/// The clock. Right after a boot nobody keeps it yet.
#[must_use]
pub fn clock(judge: &mut Judge<'_>, clock: &ClockReading) -> Finding {
    let alone_s = judge.lasting(HOST, Reason::ClockUnsynced, !clock.is_synchronised);
    let alone_s = alone_s.map_or(0, |seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
    let alone = judge.level(HOST, Rule::ClockUnsynced, alone_s);
    let off = judge.level(HOST, Rule::ClockOffset, clock.offset_ms.saturating_abs());
    if off != Verdict::Ok && off.worse(alone) == off {
        let detail = format!("by {} ms", clock.offset_ms);
        return Finding::new(Check::Clock, off, Reason::ClockOff).with_detail(detail);
    }
    Finding::judged(Check::Clock, alone, Reason::ClockUnsynced).because(|| "no time service keeps it".to_owned())
}

/// How the machine came up: a crash, its watchdog, one boot after the other.
#[must_use]
pub fn boot(judge: &mut Judge<'_>, boot: &BootReading) -> Finding {
    let boots = judge.changes(HOST, Check::Boot, boot.boot, DAY_S);
    let warning = |reason| Finding::new(Check::Boot, Verdict::Warning, reason);
    if boot.crash_records > 0 {
        let detail = format!("{} records in /sys/fs/pstore", boot.crash_records);
        return warning(Reason::Crashed).with_detail(detail);
    }
    if boot.watchdog_reset && boot.uptime_s < RESET_TOLD_S {
        return warning(Reason::WatchdogReset);
    }
    if boots >= BOOTS_OFTEN {
        return warning(Reason::RebootsOften).with_detail(format!("{boots} boots in 24 hours"));
    }
    Finding::ok(Check::Boot)
}

/// Whether a reboot has been due for long.
#[must_use]
pub fn reboot(judge: &mut Judge<'_>, reboot: &RebootReading) -> Finding {
    let due = reboot.asked_by.is_some() || reboot.newer_kernel.is_some();
    let days = judge
        .lasting(HOST, Reason::RebootNeeded, due)
        .map_or(-1, |seconds| i64::try_from(seconds / DAY_S).unwrap_or(i64::MAX));
    let verdict = judge.level(HOST, Rule::RebootDue, days);
    Finding::judged(Check::Reboot, verdict, Reason::RebootNeeded).because(|| {
        match (&reboot.newer_kernel, &reboot.asked_by) {
            (Some(version), _) => format!("for kernel {version}"),
            (None, Some(packages)) if !packages.is_empty() => format!("for {packages}"),
            (None, _) => String::new(),
        }
    })
}

/// Processes that the kernel killed. `since_boot` is the kernel's counter, which begins at 0 with each boot.
#[must_use]
pub fn oom_kills(judge: &mut Judge<'_>, since_boot: Option<i64>) -> Finding {
    let Some(count) = since_boot else {
        return Finding::new(Check::OomKills, Verdict::Unknown, Reason::NotReadable).with_detail("needs /proc/vmstat");
    };
    let lately = judge.counter(HOST, Quantity::OomKills, count).two_days;
    let verdict = if lately > 0 { Verdict::Warning } else { Verdict::Ok };
    Finding::judged(Check::OomKills, verdict, Reason::OomKilled).because(|| format!("{lately} {OOM_LATELY}"))
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

/// The agent itself, with what is to be said of it.
#[must_use]
pub fn agent(finding: Finding) -> Component {
    Component {
        kind: ComponentKind::Agent,
        id: AGENT.to_owned(),
        label: AGENT.to_owned(),
        findings: vec![finding],
        readings: Vec::new(),
    }
}

/// The agent's device helper: silent, held up by a device that does not answer, or without a capability that it needs for
/// what it found. What the device is, is told by its own checks where it is a disk.
#[must_use]
pub fn probe(silence: Option<&Silence>, stuck: Option<(&str, u64)>, lacks: &[String]) -> Finding {
    let found = |verdict, reason| Finding::new(Check::AgentSelf, verdict, reason);
    match (silence, stuck, lacks) {
        (Some(silence), ..) => found(Verdict::Warning, Reason::ProbeSilent).with_detail(silence.words.clone()),
        (None, Some((device, for_s)), _) => {
            found(Verdict::Warning, Reason::HelperStuck).with_detail(format!("{device}, for {} min", for_s / 60))
        }
        (None, None, []) => Finding::ok(Check::AgentSelf),
        (None, None, lacks) => found(Verdict::Unknown, Reason::NeedsDeviceAccess)
            .with_detail(format!("adit-probe lacks {}", lacks.join(", "))),
    }
}

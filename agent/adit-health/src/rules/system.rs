// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The operating system: load, memory, the kernel's own complaints.

use crate::judge::Judge;
use crate::limits::Rule;
use crate::model::Finding;
use adit_wire::health::codes::{Check, Reason, Verdict};

/// The id of the component that stands for the whole machine.
pub const HOST: &str = "host";
/// Kernel taint bits that tell a fault: 4 machine check, 5 bad page, 7 died (oops), 14 soft lock-up.
const TAINT_FAULTS: i64 = (1 << 4) | (1 << 5) | (1 << 7) | (1 << 14);
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

/// Time lost to waiting for memory, hundredths of a per cent; `None` when the kernel does not count it.
#[must_use]
pub fn memory_pressure(judge: &mut Judge<'_>, full_avg300: Option<i64>) -> Finding {
    match full_avg300 {
        Some(share) => {
            let verdict = judge.level(HOST, Rule::MemoryPressure, share);
            Finding::judged(Check::Pressure, verdict, Reason::MemoryPressure)
        }
        None => Finding::new(Check::Pressure, Verdict::Unknown, Reason::NotReadable)
            .with_detail("needs a kernel with CONFIG_PSI"),
    }
}

/// Processes that the kernel killed. `since_boot` is the kernel's counter, which begins at 0 with each boot.
#[must_use]
pub fn oom_kills(judge: &mut Judge<'_>, since_boot: Option<i64>) -> Finding {
    use adit_wire::health::codes::Quantity;
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

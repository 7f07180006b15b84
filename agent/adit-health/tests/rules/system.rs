// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: the operating system.

use super::{Bench, Case};
use adit_health::Finding;
use adit_health::readings::silence::{Silence, Why};
use adit_health::readings::system::{BootReading, ClockReading, RebootReading};
use adit_health::rules::system;
use adit_wire::health::codes::{Check, Reason, Verdict};

const HELPER: &str = "docs/health.md: the device helper";
const PSI: &str = "Linux, Documentation/accounting/psi.rst";
const TAINT: &str = "Linux, Documentation/admin-guide/tainted-kernels.rst";
const LOADAVG: &str = "proc_loadavg(5)";
const MEMINFO: &str = "proc_meminfo(5)";

const TIMEX: &str = "adjtimex(2), STA_UNSYNC and offset";
const BOOT_ID: &str = "random(4), /proc/sys/kernel/random/boot_id";
const WATCHDOG: &str = "Linux, Documentation/watchdog/watchdog-api.rst, WDIOF_CARDRESET; i6300esb: bootstatus 32";
const PSTORE: &str = "Linux, Documentation/ABI/testing/pstore";
const REBOOT: &str = "Debian, reboot-notifier and update-notifier-common: /run/reboot-required; kernel-img.conf(5)";
const POISON: &str = "Linux, Documentation/mm/hwpoison.rst; /proc/meminfo HardwareCorrupted";
const DAY_S: u64 = 86_400;

fn clock(bench: &mut Bench, is_synchronised: bool, offset_ms: i64) -> Vec<Finding> {
    vec![system::clock(&mut bench.judge(), &ClockReading { is_synchronised, offset_ms })]
}

fn boots(bench: &mut Bench, every_s: u64, count: i64) -> Vec<Finding> {
    for boot in 0..count {
        drop(system::boot(&mut bench.judge(), &BootReading { boot, uptime_s: 30, ..BootReading::default() }));
        bench.pass(every_s);
    }
    vec![system::boot(&mut bench.judge(), &BootReading { boot: count, uptime_s: 30, ..BootReading::default() })]
}

fn reboot(bench: &mut Bench, reading: &RebootReading, days: u64) -> Vec<Finding> {
    drop(system::reboot(&mut bench.judge(), reading));
    bench.pass(days * DAY_S);
    vec![system::reboot(&mut bench.judge(), reading)]
}

fn newer() -> RebootReading {
    RebootReading { newer_kernel: Some("6.1.0-18-amd64".into()), asked_by: None }
}

const REBOOT_NEEDED: &[(Check, Verdict, Reason)] = &[(Check::Reboot, Verdict::Warning, Reason::RebootNeeded)];

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "a busy machine of four processors",
        source: LOADAVG,
        judge: |bench| vec![system::load(&mut bench.judge(), 390, 4)],
        expect: &[],
    },
    Case {
        name: "twelve tasks on four processors for a quarter of an hour",
        source: LOADAVG,
        judge: |bench| {
            drop(system::load(&mut bench.judge(), 1_200, 4));
            bench.pass(900);
            vec![system::load(&mut bench.judge(), 1_250, 4)]
        },
        expect: &[(Check::Load, Verdict::Warning, Reason::LoadHigh)],
    },
    Case {
        name: "a short burst",
        source: LOADAVG,
        judge: |bench| vec![system::load(&mut bench.judge(), 4_000, 4)],
        expect: &[],
    },
    Case {
        name: "memory that caches use is left for programs",
        source: MEMINFO,
        judge: |bench| vec![system::memory(&mut bench.judge(), 4_096, 3_000)],
        expect: &[],
    },
    Case {
        name: "4 % left",
        source: MEMINFO,
        judge: |bench| vec![system::memory(&mut bench.judge(), 4_096, 164)],
        expect: &[(Check::Memory, Verdict::Warning, Reason::MemoryLow)],
    },
    Case {
        name: "1 % left",
        source: MEMINFO,
        judge: |bench| vec![system::memory(&mut bench.judge(), 4_096, 41)],
        expect: &[(Check::Memory, Verdict::Critical, Reason::MemoryLow)],
    },
    Case {
        name: "no task waits for memory",
        source: PSI,
        judge: |bench| vec![system::memory_pressure(&mut bench.judge(), 0)],
        expect: &[],
    },
    Case {
        name: "all tasks wait for memory 7 % of the time",
        source: PSI,
        judge: |bench| vec![system::memory_pressure(&mut bench.judge(), 725)],
        expect: &[(Check::Pressure, Verdict::Warning, Reason::MemoryPressure)],
    },
    Case {
        name: "processes were killed before the agent came",
        source: "proc_vmstat(5), oom_kill",
        judge: |bench| vec![system::oom_kills(&mut bench.judge(), Some(3))],
        expect: &[],
    },
    Case {
        name: "a process is killed",
        source: "proc_vmstat(5), oom_kill",
        judge: |bench| {
            drop(system::oom_kills(&mut bench.judge(), Some(3)));
            bench.pass(60);
            vec![system::oom_kills(&mut bench.judge(), Some(4))]
        },
        expect: &[(Check::OomKills, Verdict::Warning, Reason::OomKilled)],
    },
    Case {
        name: "the kill is a week old",
        source: "proc_vmstat(5), oom_kill",
        judge: |bench| {
            drop(system::oom_kills(&mut bench.judge(), Some(3)));
            bench.pass(60);
            drop(system::oom_kills(&mut bench.judge(), Some(4)));
            bench.pass(7 * 86_400);
            vec![system::oom_kills(&mut bench.judge(), Some(4))]
        },
        expect: &[],
    },
    Case { name: "a clean kernel", source: TAINT, judge: |_| vec![system::taint(Some(0))], expect: &[] },
    Case {
        name: "proprietary and out-of-tree modules (bits 0, 12) are the admin's choice",
        source: TAINT,
        judge: |_| vec![system::taint(Some((1 << 0) | (1 << 12)))],
        expect: &[],
    },
    Case {
        name: "the kernel oopsed (bit 7)",
        source: TAINT,
        judge: |_| vec![system::taint(Some(1 << 7))],
        expect: &[(Check::Kernel, Verdict::Critical, Reason::KernelTainted)],
    },
    Case {
        name: "a machine check (bit 4)",
        source: TAINT,
        judge: |_| vec![system::taint(Some(1 << 4))],
        expect: &[(Check::Kernel, Verdict::Critical, Reason::KernelTainted)],
    },
    Case {
        name: "tasks wait for disks half of the time, for ten minutes",
        source: PSI,
        judge: |bench| {
            drop(system::io_pressure(&mut bench.judge(), 5_000));
            bench.pass(600);
            vec![system::io_pressure(&mut bench.judge(), 5_000)]
        },
        expect: &[],
    },
    Case {
        name: "tasks wait for disks half of the time, for two hours",
        source: PSI,
        judge: |bench| {
            drop(system::io_pressure(&mut bench.judge(), 5_000));
            bench.pass(7_200);
            vec![system::io_pressure(&mut bench.judge(), 5_000)]
        },
        expect: &[(Check::IoPressure, Verdict::Warning, Reason::IoPressure)],
    },
    Case { name: "no broken memory", source: POISON, judge: |_| vec![system::poisoned(0)], expect: &[] },
    Case {
        name: "a page was taken out of use",
        source: POISON,
        judge: |_| vec![system::poisoned(4)],
        expect: &[(Check::Ecc, Verdict::Warning, Reason::EccUncorrected)],
    },
    Case { name: "a clock that is kept", source: TIMEX, judge: |bench| clock(bench, true, 3), expect: &[] },
    Case { name: "just booted", source: TIMEX, judge: |bench| clock(bench, false, 0), expect: &[] },
    Case {
        name: "nobody keeps the clock for half an hour",
        source: "Netdata, system clock alarm: unsynchronised 17 minutes after boot",
        judge: |bench| {
            drop(clock(bench, false, 0));
            bench.pass(1_800);
            clock(bench, false, 0)
        },
        expect: &[(Check::Clock, Verdict::Warning, Reason::ClockUnsynced)],
    },
    Case {
        name: "80 ms off and being moved",
        source: "kubernetes-monitoring/node-mixin, NodeClockSkewDetected: 50 ms",
        judge: |bench| {
            drop(clock(bench, true, -80));
            bench.pass(90);
            clock(bench, true, -80)
        },
        expect: &[(Check::Clock, Verdict::Warning, Reason::ClockOff)],
    },
    Case { name: "one reboot a month", source: BOOT_ID, judge: |bench| boots(bench, 30 * DAY_S, 4), expect: &[] },
    Case { name: "two reboots for an update", source: BOOT_ID, judge: |bench| boots(bench, 600, 2), expect: &[] },
    Case {
        name: "a boot every ten minutes",
        source: BOOT_ID,
        judge: |bench| boots(bench, 600, 4),
        expect: &[(Check::Boot, Verdict::Warning, Reason::RebootsOften)],
    },
    Case {
        name: "the watchdog reset the machine",
        source: WATCHDOG,
        judge: |bench| {
            let reading = BootReading { watchdog_reset: true, uptime_s: 60, ..BootReading::default() };
            vec![system::boot(&mut bench.judge(), &reading)]
        },
        expect: &[(Check::Boot, Verdict::Warning, Reason::WatchdogReset)],
    },
    Case {
        name: "the watchdog reset it last week",
        source: WATCHDOG,
        judge: |bench| {
            let reading = BootReading { watchdog_reset: true, uptime_s: 7 * DAY_S, ..BootReading::default() };
            vec![system::boot(&mut bench.judge(), &reading)]
        },
        expect: &[],
    },
    Case {
        name: "the kernel left a record of its crash",
        source: PSTORE,
        judge: |bench| {
            let reading = BootReading { crash_records: 2, ..BootReading::default() };
            vec![system::boot(&mut bench.judge(), &reading)]
        },
        expect: &[(Check::Boot, Verdict::Warning, Reason::Crashed)],
    },
    Case {
        name: "nothing asks for a reboot",
        source: REBOOT,
        judge: |bench| reboot(bench, &RebootReading::default(), 30),
        expect: &[],
    },
    Case {
        name: "an update of yesterday asks for one",
        source: REBOOT,
        judge: |bench| reboot(bench, &newer(), 1),
        expect: &[],
    },
    Case {
        name: "a newer kernel waits for eight days",
        source: REBOOT,
        judge: |bench| reboot(bench, &newer(), 8),
        expect: REBOOT_NEEDED,
    },
    Case {
        name: "packages have asked for eight days",
        source: REBOOT,
        judge: |bench| reboot(bench, &RebootReading { asked_by: Some("libc6".into()), ..RebootReading::default() }, 8),
        expect: REBOOT_NEEDED,
    },
    Case {
        name: "rebooted",
        source: REBOOT,
        judge: |bench| {
            drop(reboot(bench, &newer(), 8));
            reboot(bench, &RebootReading::default(), 0)
        },
        expect: &[],
    },
    Case {
        name: "the device helper answers",
        source: HELPER,
        judge: |_| vec![system::probe(None, None, &[])],
        expect: &[],
    },
    Case {
        name: "the device helper hung up",
        source: HELPER,
        judge: |_| {
            let words = "hear adit-probe: unexpected end of file".to_owned();
            vec![system::probe(Some(&Silence { why: Why::NotAnswering, words }), None, &[])]
        },
        expect: &[(Check::AgentSelf, Verdict::Warning, Reason::ProbeSilent)],
    },
    Case {
        name: "the device helper may not open NVMe devices",
        source: "capabilities(7), CAP_SYS_ADMIN",
        judge: |_| vec![system::probe(None, None, &["CAP_SYS_ADMIN".to_owned()])],
        expect: &[(Check::AgentSelf, Verdict::Unknown, Reason::NeedsDeviceAccess)],
    },
    Case {
        name: "the BMC does not come back from a question",
        source: HELPER,
        judge: |_| vec![system::probe(None, Some(("ipmi0", 180)), &[])],
        expect: &[(Check::AgentSelf, Verdict::Warning, Reason::HelperStuck)],
    },
];

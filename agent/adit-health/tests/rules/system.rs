// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: the operating system.

use super::Case;
use adit_health::rules::system;
use adit_wire::health::codes::{Check, Reason, Verdict};

const PSI: &str = "Linux, Documentation/accounting/psi.rst";
const TAINT: &str = "Linux, Documentation/admin-guide/tainted-kernels.rst";
const LOADAVG: &str = "proc_loadavg(5)";
const MEMINFO: &str = "proc_meminfo(5)";

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
        judge: |bench| vec![system::memory_pressure(&mut bench.judge(), Some(0))],
        expect: &[],
    },
    Case {
        name: "all tasks wait for memory 7 % of the time",
        source: PSI,
        judge: |bench| vec![system::memory_pressure(&mut bench.judge(), Some(725))],
        expect: &[(Check::Pressure, Verdict::Warning, Reason::MemoryPressure)],
    },
    Case {
        name: "a kernel without pressure accounting",
        source: PSI,
        judge: |bench| vec![system::memory_pressure(&mut bench.judge(), None)],
        expect: &[(Check::Pressure, Verdict::Unknown, Reason::NotReadable)],
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
];

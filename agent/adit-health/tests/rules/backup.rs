// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: backups, on both sides.

use super::Case;
use adit_health::rules::backup::{self, Held, Said};
use adit_health::runs::RunRecord;
use adit_wire::health::codes::{Check, Reason, Verdict};

const TABLE: &str = "docs/health.md: backups, on both sides";
const JOIN_NOW_S: u64 = 1_795_000_000;
const PERIOD_S: u64 = 10_800;

fn joined(said: Option<(u64, i32, i64)>, held: Option<(u64, i64)>) -> Vec<adit_health::Finding> {
    let said =
        said.map(|(age_s, exit, head)| Said { ended_s: JOIN_NOW_S - age_s, exit, head: (head != 0).then_some(head) });
    let held = held.map(|(age_s, head)| Held { received_s: JOIN_NOW_S - age_s, head });
    vec![backup::both_sides(said, held, PERIOD_S, JOIN_NOW_S)]
}

fn sizes(totals: &[u64]) -> Vec<adit_health::Finding> {
    let records: Vec<RunRecord> = totals
        .iter()
        .map(|mib| RunRecord { exit: Some(0), bytes_total: mib << 20, ..RunRecord::started("job", 1, PERIOD_S) })
        .collect();
    vec![backup::size(&records)]
}

fn runs(exits: &[Option<i32>], age_s: u64) -> Vec<adit_health::Finding> {
    let started_s = JOIN_NOW_S - age_s;
    let records: Vec<RunRecord> =
        exits.iter().map(|exit| RunRecord { exit: *exit, ..RunRecord::started("job", started_s, PERIOD_S) }).collect();
    vec![backup::run(&records, JOIN_NOW_S)]
}

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "exit 0 and the same snapshot here",
        source: TABLE,
        judge: |_| joined(Some((600, 0, 7)), Some((590, 7))),
        expect: &[],
    },
    Case {
        name: "the run skipped files, its snapshot is here",
        source: TABLE,
        judge: |_| joined(Some((600, 6, 7)), Some((590, 7))),
        expect: &[],
    },
    Case {
        name: "exit 0 and another snapshot here: a lying success",
        source: TABLE,
        judge: |_| joined(Some((600, 0, 7)), Some((11_400, 6))),
        expect: &[(Check::BothSides, Verdict::Critical, Reason::LyingSuccess)],
    },
    Case {
        name: "exit 0 and nothing here at all",
        source: TABLE,
        judge: |_| joined(Some((600, 0, 7)), None),
        expect: &[(Check::BothSides, Verdict::Critical, Reason::LyingSuccess)],
    },
    Case {
        name: "a run that names no snapshot has not stored one",
        source: TABLE,
        judge: |_| joined(Some((600, 0, 0)), Some((11_400, 6))),
        expect: &[(Check::BothSides, Verdict::Critical, Reason::LyingSuccess)],
    },
    Case {
        name: "the next run's snapshot came before its record",
        source: TABLE,
        judge: |_| joined(Some((10_800, 0, 7)), Some((5, 8))),
        expect: &[],
    },
    Case {
        name: "a failed run, an older snapshot still in time",
        source: TABLE,
        judge: |_| joined(Some((600, 4, 0)), Some((11_400, 6))),
        expect: &[(Check::BothSides, Verdict::Warning, Reason::RunFailed)],
    },
    Case {
        name: "failed runs, and the newest snapshot is too old",
        source: TABLE,
        judge: |_| joined(Some((600, 4, 0)), Some((20_000, 6))),
        expect: &[(Check::BothSides, Verdict::Critical, Reason::RunFailed)],
    },
    Case {
        name: "a failed run, yet a newer commit",
        source: TABLE,
        judge: |_| joined(Some((600, 4, 0)), Some((60, 8))),
        expect: &[(Check::BothSides, Verdict::Warning, Reason::PartialNewer)],
    },
    Case {
        name: "no word from the source, but commits",
        source: TABLE,
        judge: |_| joined(None, Some((60, 8))),
        expect: &[(Check::BothSides, Verdict::Warning, Reason::SourceSilent)],
    },
    Case {
        name: "an old word counts as none",
        source: TABLE,
        judge: |_| joined(Some((40_000, 0, 8)), Some((60, 8))),
        expect: &[(Check::BothSides, Verdict::Warning, Reason::SourceSilent)],
    },
    Case {
        name: "silence on both sides",
        source: TABLE,
        judge: |_| joined(None, Some((20_000, 8))),
        expect: &[(Check::BothSides, Verdict::Critical, Reason::BackupLate)],
    },
    Case {
        name: "a source that was paired and never sent",
        source: TABLE,
        judge: |_| joined(None, None),
        expect: &[(Check::BothSides, Verdict::Critical, Reason::BackupLate)],
    },
    Case { name: "sizes that breathe", source: TABLE, judge: |_| sizes(&[100, 104, 99, 120]), expect: &[] },
    Case {
        name: "two runs say nothing of what is usual",
        source: TABLE,
        judge: |_| sizes(&[100, 100, 1]),
        expect: &[],
    },
    Case {
        name: "a mount was missing: most of the data is gone",
        source: TABLE,
        judge: |_| sizes(&[100, 104, 99, 120, 30]),
        expect: &[(Check::SizeTrend, Verdict::Warning, Reason::SizeOdd)],
    },
    Case {
        name: "four times as much as usual",
        source: TABLE,
        judge: |_| sizes(&[100, 104, 99, 120, 420]),
        expect: &[(Check::SizeTrend, Verdict::Warning, Reason::SizeOdd)],
    },
    Case {
        name: "the first run stores everything",
        source: TABLE,
        judge: |_| vec![backup::rewritten(200 << 30, 0)],
        expect: &[],
    },
    Case {
        name: "a day's changes",
        source: TABLE,
        judge: |_| vec![backup::rewritten(3 << 30, 200 << 30)],
        expect: &[],
    },
    Case {
        name: "most of the data was stored anew",
        source: TABLE,
        judge: |_| vec![backup::rewritten(150 << 30, 200 << 30)],
        expect: &[(Check::SizeTrend, Verdict::Warning, Reason::SizeOdd)],
    },
    Case {
        name: "a session of an hour is a run under way",
        source: TABLE,
        judge: |bench| {
            drop(backup::session(&mut bench.judge(), "web1", true));
            bench.pass(3_600);
            vec![backup::session(&mut bench.judge(), "web1", true)]
        },
        expect: &[],
    },
    Case {
        name: "a session of three days was given up",
        source: TABLE,
        judge: |bench| {
            drop(backup::session(&mut bench.judge(), "web1", true));
            bench.pass(3 * 86_400);
            vec![backup::session(&mut bench.judge(), "web1", true)]
        },
        expect: &[(Check::StoreSessions, Verdict::Warning, Reason::SessionsOpen)],
    },
    Case {
        name: "it came to its commit after all",
        source: TABLE,
        judge: |bench| {
            drop(backup::session(&mut bench.judge(), "web1", true));
            bench.pass(3 * 86_400);
            vec![backup::session(&mut bench.judge(), "web1", false)]
        },
        expect: &[],
    },
    Case { name: "a good run", source: TABLE, judge: |_| runs(&[Some(0)], 600), expect: &[] },
    Case {
        name: "files were skipped",
        source: TABLE,
        judge: |_| runs(&[Some(6)], 600),
        expect: &[(Check::Run, Verdict::Warning, Reason::RunPartial)],
    },
    Case {
        name: "the box was not reached",
        source: TABLE,
        judge: |_| runs(&[Some(0), Some(4)], 600),
        expect: &[(Check::Run, Verdict::Critical, Reason::RunFailed)],
    },
    Case {
        name: "the next run is due since an hour and a half",
        source: TABLE,
        judge: |_| runs(&[Some(0)], PERIOD_S + 5_401),
        expect: &[(Check::Run, Verdict::Critical, Reason::RunLate)],
    },
    Case {
        name: "the run's process is gone",
        source: TABLE,
        judge: |_| {
            let record = RunRecord { ended_early: true, ..RunRecord::started("job", JOIN_NOW_S, PERIOD_S) };
            vec![backup::run(&[record], JOIN_NOW_S)]
        },
        expect: &[(Check::Run, Verdict::Critical, Reason::RunCutOff)],
    },
    Case {
        name: "arrived in time",
        source: TABLE,
        judge: |_| vec![backup::arrived(Some(JOIN_NOW_S - 60), PERIOD_S, JOIN_NOW_S)],
        expect: &[],
    },
    Case {
        name: "never arrived",
        source: TABLE,
        judge: |_| vec![backup::arrived(None, PERIOD_S, JOIN_NOW_S)],
        expect: &[(Check::Arrived, Verdict::Warning, Reason::NeverArrived)],
    },
    Case {
        name: "late by its period and grace",
        source: TABLE,
        judge: |_| vec![backup::arrived(Some(JOIN_NOW_S - 20_000), PERIOD_S, JOIN_NOW_S)],
        expect: &[(Check::Arrived, Verdict::Critical, Reason::BackupLate)],
    },
    Case {
        name: "the store was read through this week",
        source: TABLE,
        judge: |bench| {
            let then_s = bench.now_s() - 5 * 86_400;
            vec![backup::verified(&mut bench.judge(), Some(then_s), 0)]
        },
        expect: &[],
    },
    Case {
        name: "not for six weeks",
        source: TABLE,
        judge: |bench| {
            let then_s = bench.now_s() - 42 * 86_400;
            vec![backup::verified(&mut bench.judge(), Some(then_s), 0)]
        },
        expect: &[(Check::StoreVerify, Verdict::Warning, Reason::VerifyOld)],
    },
    Case {
        name: "never, and the store is two months old",
        source: TABLE,
        judge: |bench| {
            let made_s = bench.now_s() - 60 * 86_400;
            vec![backup::verified(&mut bench.judge(), None, made_s)]
        },
        expect: &[(Check::StoreVerify, Verdict::Warning, Reason::NeverVerified)],
    },
    Case {
        name: "the disk turned read-only under the store",
        source: TABLE,
        judge: |_| vec![backup::takes_data(Some("its disk is read-only"), 0)],
        expect: &[(Check::StoreState, Verdict::Critical, Reason::StoreReadOnly)],
    },
    Case { name: "a store that takes data", source: TABLE, judge: |_| vec![backup::takes_data(None, 0)], expect: &[] },
    Case {
        name: "a store that checks a large commit",
        source: TABLE,
        judge: |_| vec![backup::takes_data(None, 300)],
        expect: &[],
    },
    Case {
        name: "a store whose disk hangs",
        source: TABLE,
        judge: |_| vec![backup::takes_data(None, 900)],
        expect: &[(Check::StoreState, Verdict::Critical, Reason::NotAnswering)],
    },
    Case {
        name: "a verification found a damaged record",
        source: TABLE,
        judge: |_| vec![backup::damage(1, Some("0123456789abcdef0123"))],
        expect: &[(Check::StoreDamage, Verdict::Critical, Reason::RecordsDamaged)],
    },
    Case { name: "all records are well", source: TABLE, judge: |_| vec![backup::damage(0, None)], expect: &[] },
];

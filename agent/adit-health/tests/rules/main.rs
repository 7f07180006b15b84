// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases for the rules: facts of public sources, each with the verdict that a tired admin would want. A family of rules has a
//! file with its cases; this one runs them and demands, for every reason that there is, a case that fires it and one in
//! which the same check is quiet.

mod array;
mod backup;
mod block;
mod bmc;
mod ceph;
mod certificate;
mod controller;
mod disk;
mod dm;
mod environment;
mod expect;
mod file_system;
mod gluster;
mod link;
mod pool;
mod programs;
mod system;
mod ups;
mod volume;
mod zpool;

use adit_health::{Component, Finding, Judge, Limits, Memory};
use adit_wire::health::codes::{Check, Reason, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// One fact and what is to be made of it.
pub(crate) struct Case {
    /// What is shown.
    pub(crate) name: &'static str,
    /// Where the fact is from: a manual, a specification, a report in public. Not a file that was copied.
    pub(crate) source: &'static str,
    /// Lets time pass and rules judge; the findings of the last look.
    pub(crate) judge: fn(&mut Bench) -> Vec<Finding>,
    /// Every finding that is not ok, in its order.
    pub(crate) expect: &'static [(Check, Verdict, Reason)],
}

/// Limits, memory and a clock.
pub(crate) struct Bench {
    pub(crate) limits: Limits,
    memory: Memory,
    now_s: u64,
}

impl Bench {
    fn new() -> Self {
        Self { limits: Limits::default(), memory: Memory::default(), now_s: 1_795_046_400 }
    }

    /// The judge of this moment.
    pub(crate) fn judge(&mut self) -> Judge<'_> {
        Judge::new(self.now_s, &self.limits, &mut self.memory)
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now_s += seconds;
    }

    /// The time, seconds since 1970.
    pub(crate) const fn now_s(&self) -> u64 {
        self.now_s
    }
}

/// All findings of some components.
pub(crate) fn findings(components: Vec<Component>) -> Vec<Finding> {
    components.into_iter().flat_map(|component| component.findings).collect()
}

fn families() -> Vec<(&'static str, &'static [Case])> {
    vec![
        ("backup", backup::CASES),
        ("array", array::CASES),
        ("block", block::CASES),
        ("disk", disk::CASES),
        ("dm", dm::CASES),
        ("controller", controller::CASES),
        ("bmc", bmc::CASES),
        ("certificate", certificate::CASES),
        ("environment", environment::CASES),
        ("expect", expect::CASES),
        ("link", link::CASES),
        ("file_system", file_system::CASES),
        ("pool", pool::CASES),
        ("volume", volume::CASES),
        ("system", system::CASES),
        ("ceph", ceph::CASES),
        ("gluster", gluster::CASES),
        ("programs", programs::CASES),
        ("ups", ups::CASES),
        ("zpool", zpool::CASES),
    ]
}

/// Reasons that no rule gives: they say that there was nothing to judge.
const NO_RULE: [Reason; 3] = [Reason::None, Reason::NotReadable, Reason::NeedsDeviceAccess];

/// Reasons whose rules are not in this crate's cases yet. It shrinks; a reason that has cases must not stand here.
const WITHOUT_CASES: &[Reason] = &[];

#[test]
fn every_case_comes_out_as_it_should() {
    let mut wrong = Vec::new();
    for (family, cases) in families() {
        for case in cases {
            assert!(!case.source.is_empty(), "{}: where is the fact from?", case.name);
            let found = (case.judge)(&mut Bench::new());
            let bad: Vec<(Check, Verdict, Reason)> = found
                .iter()
                .filter(|finding| finding.verdict != Verdict::Ok)
                .map(|finding| (finding.check, finding.verdict, finding.reason))
                .collect();
            if bad != case.expect {
                wrong.push(format!("{family}: {}\n  expected {:?}\n  found    {found:?}", case.name, case.expect));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_reason_has_a_case_that_fires_it_and_one_that_is_quiet() {
    let mut fires: BTreeMap<Reason, BTreeSet<Check>> = BTreeMap::new();
    let mut quiet: BTreeSet<Check> = BTreeSet::new();
    for case in families().into_iter().flat_map(|(_, cases)| cases) {
        for (check, _, reason) in case.expect {
            fires.entry(*reason).or_default().insert(*check);
        }
        let found = (case.judge)(&mut Bench::new());
        quiet.extend(found.iter().filter(|finding| finding.verdict == Verdict::Ok).map(|finding| finding.check));
    }
    let excused = |reason: &Reason| NO_RULE.contains(reason) || WITHOUT_CASES.contains(reason);
    let silent: Vec<_> = Reason::ALL.iter().filter(|reason| !fires.contains_key(reason) && !excused(reason)).collect();
    assert!(silent.is_empty(), "no case fires {silent:?}");
    let loud: Vec<_> = fires
        .iter()
        .filter(|(reason, _)| !NO_RULE.contains(reason))
        .filter(|(_, checks)| !checks.iter().any(|check| quiet.contains(check)))
        .collect();
    assert!(loud.is_empty(), "no case keeps the check quiet: {loud:?}");
    let needless: Vec<_> = WITHOUT_CASES.iter().filter(|reason| fires.contains_key(reason)).collect();
    assert!(needless.is_empty(), "these have cases now, take them out of the list: {needless:?}");
}

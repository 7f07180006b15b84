// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Looking at this very machine again and again keeps memory as it is: a program of its own, so that what is measured is
//! what looking takes.

use adit_health::{Collector, Gathered, Limits, Memory, Reporter, Surroundings};

/// Half a day of looks; half of them to become steady.
const LOOKS: u64 = 1_500;
/// A leak of 350 bytes a look would not fit.
const GROWTH_KIB_MAX: u64 = 256;
/// Seconds between two looks, as the agent has them.
const EVERY_S: u64 = 30;

#[test]
fn looks_cost_no_memory() {
    let surroundings = Surroundings { root: "/".into(), ..Surroundings::default() };
    let mut collector = Collector::new(surroundings, Limits::default(), Memory::default());
    let mut reporter = Reporter::new(1);
    let mut look = |from: u64| {
        for number in from..from + LOOKS / 2 {
            let report = collector.collect(1_790_000_000 + number * EVERY_S, &Gathered::default());
            assert!(!report.components.is_empty());
            reporter.update(&report).unwrap();
            assert!(collector.memory().encode().len() + collector.expected().encode().len() > 1);
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let half = look(0);
    let all = look(LOOKS / 2);
    println!("{LOOKS} looks: {all} KiB, {half} KiB at half");
    assert!(all.saturating_sub(half) <= GROWTH_KIB_MAX, "from {half} to {all} KiB");
}

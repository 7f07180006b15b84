// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Real services in rooms of their own. They need root and Debian's packages; `make test-services` runs them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod ceph;
mod gluster;
mod nut;
mod plugins;
mod systemd;
mod updates;

use adit_health::{Component, Judge, Limits, Memory};
use adit_wire::health::codes::{Check, Reason, Verdict};

/// What the rules make of readings, over a clock of the test's own.
#[derive(Default)]
struct Bench {
    limits: Limits,
    memory: Memory,
    now_s: u64,
}

impl Bench {
    /// Every finding that is not ok, as the rules see it so many seconds after the last look.
    fn look(
        &mut self,
        seconds: u64,
        rule: impl FnOnce(&mut Judge<'_>) -> Vec<Component>,
    ) -> Vec<(Check, Verdict, Reason)> {
        self.now_s += seconds;
        let components = rule(&mut Judge::new(self.now_s, &self.limits, &mut self.memory));
        let findings = components.into_iter().flat_map(|component| component.findings);
        let bad = findings.filter(|finding| finding.verdict != Verdict::Ok);
        bad.map(|finding| (finding.check, finding.verdict, finding.reason)).collect()
    }
}

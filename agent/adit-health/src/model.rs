// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A report: components, each with findings (checks with a verdict) and readings (numbers with a unit).

use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

/// How one check came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was judged.
    pub check: Check,
    /// How it came out.
    pub verdict: Verdict,
    /// Why, when it is not ok.
    pub reason: Reason,
    /// Free text for a person, ≤ 64 bytes on the wire.
    pub detail: String,
    /// Since when the check has this verdict, seconds since 1970; known in a report that was polled, when it is not ok.
    pub since_s: Option<u64>,
}

impl Finding {
    /// All is well.
    #[must_use]
    pub const fn ok(check: Check) -> Self {
        Self { check, verdict: Verdict::Ok, reason: Reason::None, detail: String::new(), since_s: None }
    }

    /// Something is not well.
    #[must_use]
    pub const fn new(check: Check, verdict: Verdict, reason: Reason) -> Self {
        Self { check, verdict, reason, detail: String::new(), since_s: None }
    }

    /// As a rule judged it: the reason counts only when it is not well.
    #[must_use]
    pub const fn judged(check: Check, verdict: Verdict, reason: Reason) -> Self {
        match verdict {
            Verdict::Ok => Self::ok(check),
            Verdict::Warning | Verdict::Critical | Verdict::Unknown => Self::new(check, verdict, reason),
        }
    }

    /// The same with a free text that is made only when it is not well.
    #[must_use]
    pub fn because(self, detail: impl FnOnce() -> String) -> Self {
        if self.verdict == Verdict::Ok { self } else { self.with_detail(detail()) }
    }

    /// The same with a free text.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
}

impl Finding {
    /// One finding for each check: the worst, and of equals the first.
    #[must_use]
    pub fn worst_each(findings: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut kept: Vec<Self> = Vec::new();
        for finding in findings {
            match kept.iter_mut().find(|known| known.check == finding.check) {
                Some(known) if known.verdict.worse(finding.verdict) != known.verdict => *known = finding,
                Some(_) => {}
                None => kept.push(finding),
            }
        }
        kept
    }
}

/// A thing that can be well or unwell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// What it is.
    pub kind: ComponentKind,
    /// Stable over reboots.
    pub id: String,
    /// What a person calls it.
    pub label: String,
    /// How its checks came out.
    pub findings: Vec<Finding>,
    /// Its numbers; `None` for one that could not be read.
    pub readings: Vec<(Quantity, Option<i64>)>,
}

impl Component {
    /// The worst verdict of its findings.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.findings.iter().fold(Verdict::Ok, |worst, finding| worst.worse(finding.verdict))
    }
}

/// What a machine says about itself at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The host's name.
    pub host: String,
    /// When, seconds since 1970, by the machine's own clock.
    pub time_s: u64,
    /// The components.
    pub components: Vec<Component>,
}

impl Report {
    /// The worst verdict of all components.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.components.iter().fold(Verdict::Ok, |worst, component| worst.worse(component.verdict()))
    }
}

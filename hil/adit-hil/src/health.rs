// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an agent says of its machine, waited for: a check turns, and turns back. The report is read by the product's own
//! decoder, so a story sees what a person sees. Judges nothing itself.

use crate::running::Machine;
use adit_health::{Component, Finding, Report};
use adit_link::serial::Polled;
use adit_wire::health::codes::{Check, Quantity, Reason, Verdict};
use anyhow::{Context as _, Result, bail};
use std::fmt::Write as _;
use std::time::Duration;

/// How long a check may take to turn, the machine's own time: two rounds of the agent, which looks every 30 s, and the 15 s
/// that may pass before it asks again what it must ask.
pub const TURNS_WITHIN: Duration = Duration::from_secs(75);
/// How often the agent is asked meanwhile, wall time.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

impl Machine {
    /// The agent's newest report.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn health(&mut self) -> Result<Report> {
        let (inventory, snapshot) = self.full_report()?;
        adit_health::decode(&inventory, &snapshot).context("read the agent's report")
    }

    /// How large the newest report is on the wire without the inventory, which is sent once, bytes.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn report_bytes(&mut self) -> Result<usize> {
        Ok(self.full_report()?.1.len())
    }

    fn full_report(&mut self) -> Result<(Vec<u8>, Vec<u8>)> {
        match self.report()? {
            Polled::Full { snapshot, inventory_bytes, .. } => Ok((inventory_bytes, snapshot)),
            Polled::Same { .. } => bail!("the agent told nobody that all is the same"),
        }
    }

    /// Waits until a check of a component has this verdict for this reason. `of` is a part of the component's label or id.
    ///
    /// # Errors
    /// When it does not turn within [`TURNS_WITHIN`]; how everything is instead.
    pub fn turns(&mut self, of: &str, check: Check, verdict: Verdict, reason: Reason) -> Result<()> {
        let is = |found: &Finding| found.check == check && found.verdict == verdict && found.reason == reason;
        self.wait_for(of, check.text(), verdict.word(), |component| component.findings.iter().any(is))
    }

    /// Waits until a check of a component is well.
    ///
    /// # Errors
    /// As [`Self::turns`].
    pub fn well(&mut self, of: &str, check: Check) -> Result<()> {
        let is = |found: &Finding| found.check == check && found.verdict == Verdict::Ok;
        self.wait_for(of, check.text(), Verdict::Ok.word(), |component| component.findings.iter().any(is))
    }

    /// Waits until a reading of a component has this value.
    ///
    /// # Errors
    /// As [`Self::turns`].
    pub fn reads(&mut self, of: &str, quantity: Quantity, value: i64) -> Result<()> {
        let is = (quantity, Some(value));
        self.wait_for(of, quantity.text(), &value.to_string(), |component| component.readings.contains(&is))
    }

    fn wait_for(&mut self, of: &str, what: &str, wanted: &str, is: impl Fn(&Component) -> bool) -> Result<()> {
        let clock = self.clock()?;
        let from = clock.now();
        loop {
            let report = self.health()?;
            let mut named = report.components.iter().filter(|found| found.label.contains(of) || found.id.contains(of));
            if named.any(&is) {
                let seconds = clock.now().saturating_sub(from).as_secs_f64();
                return self.note(&format!("{what} of {of} is {wanted} after {seconds:.1} s"));
            }
            if clock.now() > from + TURNS_WITHIN {
                bail!("{what} of {of} did not turn {wanted} in {TURNS_WITHIN:?}:\n{}", table(&report));
            }
            std::thread::sleep(ASK_AGAIN_AFTER);
        }
    }
}

/// All that is not well, and what there is.
fn table(report: &Report) -> String {
    let mut text = String::new();
    for Component { label, id, findings, .. } in &report.components {
        // Writing to a string cannot fail.
        let _written = write!(text, "{label} ({id}):").is_ok();
        for found in findings {
            let (check, verdict) = (found.check.text(), found.verdict.word());
            let _written = write!(text, " {check} {verdict} {:?} {};", found.reason, found.detail).is_ok();
        }
        text.push('\n');
    }
    text
}

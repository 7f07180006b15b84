// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A virtual machine with one disk and nothing else: nothing is unknown, and a report is small.

use adit_hil::Lab;
use adit_hil::disk::Kind;
use adit_wire::health::codes::Verdict;
use anyhow::{Result, ensure};
use std::time::Duration;

/// The most that a report may take, without the inventory.
const REPORT_BYTES_MAX: usize = 120;
/// By then everything that is asked has answered once, and a second look has been taken.
const TWO_LOOKS: Duration = Duration::from_secs(35);

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let mut server = lab.start_machine("server", &[("system", Kind::Virtio)], |_| {})?;
    server.run_agent("")?;
    server.let_pass(TWO_LOOKS)?;
    let (bytes, report) = (server.report_bytes()?, server.health()?);
    let unknown = report.components.iter().filter(|component| component.verdict() == Verdict::Unknown);
    let unknown: Vec<_> = unknown.collect();
    ensure!(unknown.is_empty(), "unknown: {unknown:#?}");
    lab.tell(&format!("{} components in {bytes} bytes, {}", report.components.len(), report.verdict().word()))?;
    ensure!(bytes <= REPORT_BYTES_MAX, "a report of {bytes} bytes");
    Ok(())
}

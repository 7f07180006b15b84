// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit health`: one poll of the box, shown as a person reads it or as JSON.

use super::{print, print_json};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::net::{self, Net, Way};
use crate::state::StateDir;
use crate::text::{self, Lines as _};
use adit_health::{Report, decode};
use adit_link::Door;
use adit_wire::health::codes::Verdict;
use adit_wire::health::{Full, Poll};
use serde_json::{Value, json};

/// Ask the box how it is.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The exit code is 0 however the box is: it says that the question was answered. `check_adit` is \
the plugin whose exit code follows the verdict."
)]
pub(super) struct Health {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Health {
    pub(super) fn run(self, state: &StateDir) -> Result<Exit, Failure> {
        let (way, _) = Way::paired(state)?;
        let net = Net::start()?;
        let report = net.run(async {
            let link = way.connect(Door::Main).await?;
            let frame = net::ask(&link, &Poll { inventory: 0, report: 0 }).await?;
            let full: Full<'_> = net::read(&frame)?;
            let report = decode(full.inventory_bytes, full.snapshot).map_err(|error| {
                Failure::new(Exit::Refused, format!("the box's health report does not read: {error}"), "update adit")
            })?;
            link.close(None).await;
            Ok::<Report, Failure>(report)
        })?;
        if self.json {
            print_json(&to_json(&report))?
        } else {
            print(&lines(&report))?
        }
        Ok(Exit::Done)
    }
}

fn lines(report: &Report) -> String {
    let mut lines =
        format!("{}: {} ({})\n", report.host, report.verdict().word().to_uppercase(), text::time(report.time_s));
    for component in &report.components {
        lines.line(format_args!("\n{:<9}{} {}", component.verdict().word(), component.kind.text(), component.label));
        for finding in component.findings.iter().filter(|finding| finding.verdict != Verdict::Ok) {
            let detail = if finding.detail.is_empty() { String::new() } else { format!(" ({})", finding.detail) };
            lines.line(format_args!(
                "         {}: {}: {}{detail}",
                finding.check.text(),
                finding.verdict.word(),
                finding.reason.text()
            ));
        }
        for (quantity, value) in &component.readings {
            let value = value.map_or_else(|| "cannot be read here".to_owned(), |value| value.to_string());
            lines.line(format_args!("         {:<28}{value}", quantity.text()));
        }
    }
    lines
}

fn to_json(report: &Report) -> Value {
    let components = report.components.iter().map(|component| {
        let findings = component.findings.iter().map(|finding| {
            json!({
                "check": finding.check.text(),
                "verdict": finding.verdict.word(),
                "reason": finding.reason.text(),
                "detail": finding.detail,
            })
        });
        let readings = component.readings.iter().map(|(quantity, value)| (quantity.text().to_owned(), json!(value)));
        json!({
            "kind": component.kind.text(),
            "id": component.id,
            "label": component.label,
            "verdict": component.verdict().word(),
            "findings": findings.collect::<Vec<_>>(),
            "readings": readings.collect::<serde_json::Map<_, _>>(),
        })
    });
    json!({
        "host": report.host,
        "time_s": report.time_s,
        "verdict": report.verdict().word(),
        "components": components.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_health::{Component, Finding};
    use adit_wire::health::codes::{Check, ComponentKind, Quantity};

    #[test]
    fn a_report_reads_well() {
        let (check, quantity) = (Check::ALL[0], Quantity::ALL[0]);
        let report = Report {
            host: "cellar".to_owned(),
            time_s: 0,
            components: vec![Component {
                kind: ComponentKind::Host,
                id: "host".to_owned(),
                label: "cellar".to_owned(),
                findings: vec![Finding::ok(check)],
                readings: vec![(quantity, Some(7)), (quantity, None)],
            }],
        };
        let text = lines(&report);
        assert!(text.starts_with("cellar: OK ("), "{text}");
        assert!(text.contains("ok       host cellar\n"), "{text}");
        assert!(text.contains("cannot be read here"), "{text}");
        assert_eq!(to_json(&report)["components"][0]["verdict"], "ok");
    }
}

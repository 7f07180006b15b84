// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A report as a table for a person (worst first, with reasons and since when) and as JSON for a program.

use crate::text::{self, Lines as _};
pub use adit_health::show::{name, reason};
use adit_health::{Component, Finding, Report, show};
use adit_wire::health::codes::{Quantity, Verdict};
use serde_json::{Value, json};

/// Columns of a line when the terminal does not say how wide it is.
pub const WIDTH_DEFAULT: usize = 100;

/// How a table is written.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// With colours.
    pub colour: bool,
    /// Columns of a line; readings go over several lines.
    pub width: usize,
    /// Whether components that are well are shown one by one.
    pub all: bool,
}

/// The table.
#[must_use]
pub fn table(report: &Report, now_s: u64, style: Style) -> String {
    let mut components: Vec<&Component> = report.components.iter().collect();
    components.sort_by_key(|component| std::cmp::Reverse(rank(component.verdict())));
    let mut lines = String::new();
    lines.line(format_args!("{}  {}", style.word(report.verdict(), &report.host), head(report, now_s)));
    let (well, unwell): (Vec<&Component>, Vec<&Component>) =
        components.into_iter().partition(|component| component.verdict() == Verdict::Ok);
    for component in unwell {
        lines.line(format_args!(""));
        title(&mut lines, component, style);
        for finding in worst_first(component) {
            lines.line(format_args!("          {}", sentence(finding, now_s)));
        }
        readings(&mut lines, component, style);
    }
    if style.all {
        for component in well {
            lines.line(format_args!(""));
            title(&mut lines, component, style);
            readings(&mut lines, component, style);
        }
    } else if !well.is_empty() {
        lines.line(format_args!(""));
        wrapped(&mut lines, &style.word(Verdict::Ok, "ok       "), &names(&well), ", ", style.width);
    }
    lines
}

fn head(report: &Report, now_s: u64) -> String {
    let count = |verdict| {
        let findings = report.components.iter().flat_map(|component| &component.findings);
        findings.filter(|finding| finding.verdict == verdict).count()
    };
    let parts: Vec<String> = [Verdict::Critical, Verdict::Warning, Verdict::Unknown, Verdict::Ok]
        .into_iter()
        .map(|verdict| (count(verdict), verdict.word()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let age = show::duration(now_s.saturating_sub(report.time_s) / 60 * 60);
    format!("{}  ({}, {age} ago)", parts.join(", "), text::time(report.time_s))
}

fn title(lines: &mut String, component: &Component, style: Style) {
    let verdict = component.verdict();
    let word = style.word(verdict, &format!("{:<9}", verdict.word()));
    lines.line(format_args!("{word} {}", name(component)));
}

fn names(components: &[&Component]) -> Vec<String> {
    let mut kinds: Vec<(&str, Vec<&str>)> = Vec::new();
    for component in components {
        let label = component.label.as_str();
        match kinds.iter_mut().find(|(kind, _)| *kind == component.kind.text()) {
            Some((_, labels)) => labels.push(label),
            None => kinds.push((component.kind.text(), vec![label])),
        }
    }
    // Two of a kind are named, more are counted.
    kinds
        .into_iter()
        .map(|(kind, labels)| match labels[..] {
            [one] if one.starts_with(kind) => one.to_owned(),
            [one] => format!("{kind} {one}"),
            [one, two] => format!("{kind} {one}, {kind} {two}"),
            _ => format!("{} × {kind}", labels.len()),
        })
        .collect()
}

/// Its findings that are not well, the worst first.
pub fn worst_first(component: &Component) -> Vec<&Finding> {
    let mut findings: Vec<&Finding> =
        component.findings.iter().filter(|finding| finding.verdict != Verdict::Ok).collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(rank(finding.verdict)));
    findings
}

fn sentence(finding: &Finding, now_s: u64) -> String {
    let since = finding.since_s.map_or_else(String::new, |since| {
        format!(", since {} ({})", show::duration(now_s.saturating_sub(since) / 60 * 60), text::time(since))
    });
    format!("{}{since}  [{}]", reason(finding), finding.check.text())
}

fn readings(lines: &mut String, component: &Component, style: Style) {
    let parts: Vec<String> = component
        .readings
        .iter()
        .map(|(quantity, value)| {
            let (name, ..) = show::parts(*quantity);
            match (quantity, value) {
                (_, None) => format!("{name} cannot be read"),
                (Quantity::LastMinutes, Some(value)) => {
                    format!("{name} {}", text::time(show::minutes_since_1970_s(*value)))
                }
                (_, Some(value)) => format!("{name} {}", show::value(*quantity, *value)),
            }
        })
        .collect();
    if !parts.is_empty() {
        wrapped(lines, "         ", &parts, " · ", style.width);
    }
}

/// Parts one after the other, over as many lines as they need.
fn wrapped(lines: &mut String, head: &str, parts: &[String], between: &str, width: usize) {
    const INDENT: usize = 10;
    let mut line = String::new();
    let mut lead = head;
    for part in parts {
        let grown = INDENT + line.chars().count() + between.chars().count() + part.chars().count();
        if !line.is_empty() && grown > width {
            lines.line(format_args!("{lead} {line}"));
            lead = "         ";
            line.clear();
        }
        if !line.is_empty() {
            line.push_str(between);
        }
        line.push_str(part);
    }
    lines.line(format_args!("{lead} {line}"));
}

/// What stands before what.
pub(super) const fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Ok => 0,
        Verdict::Unknown => 1,
        Verdict::Warning => 2,
        Verdict::Critical => 3,
    }
}

impl Style {
    /// A text in the colour of a verdict. The words say all that the colours say.
    fn word(self, verdict: Verdict, text: &str) -> String {
        let code = match verdict {
            _ if !self.colour => return text.to_owned(),
            Verdict::Ok => "32",
            Verdict::Warning => "33",
            Verdict::Critical => "1;31",
            Verdict::Unknown => "35",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// The report as one JSON value. Readings have the wire's units, which their names tell.
#[must_use]
pub fn json(report: &Report) -> Value {
    let components = report.components.iter().map(|component| {
        let findings = component.findings.iter().map(|finding| {
            json!({
                "check": finding.check.text(),
                "verdict": finding.verdict.word(),
                "reason": finding.reason.text(),
                "detail": finding.detail,
                "since_s": finding.since_s,
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
pub(super) mod tests {
    use super::*;
    use adit_wire::health::codes::{Check, ComponentKind, Reason};

    pub(in crate::health) fn cellar() -> Report {
        let component = |kind, label: &str, findings, readings| Component {
            kind,
            id: label.to_owned(),
            label: label.to_owned(),
            findings,
            readings,
        };
        let mut degraded =
            Finding::new(Check::ArrayState, Verdict::Critical, Reason::Degraded).with_detail("1 of 2 members missing");
        degraded.since_s = Some(1_800_000_000 - 9_000);
        let sensor = |label| component(ComponentKind::Sensor, label, vec![Finding::ok(Check::Temperature)], Vec::new());
        Report {
            host: "cellar".to_owned(),
            time_s: 1_800_000_000 - 30,
            components: vec![
                component(
                    ComponentKind::Host,
                    "Debian 12",
                    vec![Finding::ok(Check::Load), Finding::ok(Check::Memory)],
                    vec![(Quantity::MemoryMib, Some(7_812)), (Quantity::SwapUsedMib, None)],
                ),
                component(
                    ComponentKind::Disk,
                    "sda (WDC WD40EFRX 123)",
                    vec![Finding::new(Check::DiskMedia, Verdict::Warning, Reason::PendingSectors).with_detail("3")],
                    vec![(Quantity::TemperatureTenths, Some(415)), (Quantity::PowerOnHours, Some(12_345))],
                ),
                component(ComponentKind::Array, "md0 (raid1)", vec![degraded], vec![(Quantity::Members, Some(2))]),
                sensor("CPU"),
                sensor("board"),
                sensor("PSU"),
            ],
        }
    }

    /// The table without times of day, which depend on where the test runs.
    fn shown(style: Style) -> String {
        let report = cellar();
        let table = table(&report, 1_800_000_000, style).replace(&text::time(report.time_s), "THEN");
        table.replace(&text::time(1_800_000_000 - 9_000), "BEFORE")
    }

    #[test]
    fn the_worst_stands_first() {
        insta::assert_snapshot!(shown(Style { colour: false, width: 80, all: false }));
    }

    #[test]
    fn all_components_are_shown_on_demand_and_long_lines_wrap() {
        insta::assert_snapshot!(shown(Style { colour: true, width: 40, all: true }).replace('\x1b', "^["));
    }

    #[test]
    fn json_tells_everything() {
        let value = json(&cellar());
        assert_eq!(value["components"][2]["findings"][0]["since_s"], 1_799_991_000);
        assert_eq!(value["components"][0]["readings"]["memory, MiB"], 7_812);
        assert_eq!(value["verdict"], "critical");
    }
}

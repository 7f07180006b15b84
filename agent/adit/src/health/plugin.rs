// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `check_adit`, a plugin for Icinga and Nagios: one line with the verdict, numbers behind a bar, a line for each unwell
//! component, and the verdict as exit code (0 ok, 1 warning, 2 critical, 3 unknown). By the Monitoring Plugins Development
//! Guidelines: ranges, units, output.
//!
//! A report that is old is "unknown": an agent that hangs must not look well.

use super::Whom;
use super::table::{name, rank, reason, worst_first};
use crate::state::{STATE_DEFAULT, StateDir};
use crate::text::{Lines as _, now_s};
use adit_health::readings::plugin::PluginRange;
use adit_health::{Component, Report, show};
use adit_link::serial::local;
use adit_wire::health::codes::{Check, Quantity, Verdict};
use clap::Parser;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// The name under which `adit` is this plugin.
pub const NAME: &str = "check_adit";
/// A report older than this tells nothing, seconds.
const OLD_S: u64 = 600;
/// Numbers in one line of output; Icinga keeps each of them.
const PERFDATA_MAX: usize = 100;

/// Icinga and Nagios plugin: how this machine is, or the box that this source is paired with.
#[derive(Debug, Parser)]
#[command(name = NAME, version, max_term_width = 100, disable_version_flag = true)]
struct Arguments {
    /// Ask the paired box (its name, or `box`) instead of this machine's own agent
    #[arg(short = 'H', long = "host", value_name = "HOST")]
    host: Option<String>,
    /// Judge only these checks, such as disk.status or backup.arrived; a name before the dot stands for all of its kind
    #[arg(short = 'C', long = "check", value_name = "CHECK")]
    checks: Vec<String>,
    /// Judge only components whose id or label contains this
    #[arg(short = 'n', long = "component", value_name = "TEXT")]
    component: Option<String>,
    /// Warn when a reading is outside: QUANTITY=RANGE, such as temperature=:50 or "free=10000:" (in the unit that is shown)
    #[arg(short = 'w', long = "warning", value_name = "QUANTITY=RANGE", value_parser = threshold)]
    warning: Vec<Threshold>,
    /// The same, critical
    #[arg(short = 'c', long = "critical", value_name = "QUANTITY=RANGE", value_parser = threshold)]
    critical: Vec<Threshold>,
    /// Treat a report that is older as unknown, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = OLD_S)]
    old: u64,
    /// Where this machine's agent answers
    #[arg(long, value_name = "PATH", default_value = local::PATH)]
    socket: PathBuf,
    /// The state directory of this source, when the box is asked
    #[arg(long, value_name = "DIR", default_value = STATE_DEFAULT)]
    state: PathBuf,
    /// Print the version
    #[arg(short = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

/// A limit on a quantity.
#[derive(Clone, Debug, PartialEq)]
struct Threshold {
    quantity: Quantity,
    range: PluginRange,
    text: String,
}

fn threshold(text: &str) -> Result<Threshold, String> {
    let (name, range) = text.split_once('=').ok_or("write QUANTITY=RANGE, such as temperature=:50")?;
    let quantity =
        Quantity::ALL.iter().copied().find(|quantity| show::parts(*quantity).0 == name).ok_or_else(|| {
            let names: Vec<&str> = Quantity::ALL.iter().map(|quantity| show::parts(*quantity).0).collect();
            format!("there is no quantity {name:?}; there are: {}", names.join(", "))
        })?;
    let parsed = PluginRange::parse(range)
        .ok_or_else(|| format!("{range:?} is no range: write 10, 10:, ~:10, 10:20 or @10:20"))?;
    Ok(Threshold { quantity, range: parsed, text: range.to_owned() })
}

/// What the plugin prints, and its verdict.
#[derive(Debug, PartialEq, Eq)]
struct Output {
    verdict: Verdict,
    text: String,
}

/// Runs the plugin; prints to stdout, as plugins do, even what went wrong.
#[expect(clippy::print_stdout, reason = "the edge: a plugin's output is its stdout")]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            print!("{error}");
            // The guidelines: a wrong command line is "unknown"; help too, so that nobody monitors a help text.
            return ExitCode::from(Verdict::Unknown as u8);
        }
    };
    let whom = arguments.host.clone().map_or_else(|| Whom::Here(arguments.socket.clone()), Whom::Box);
    let output = match super::ask(&whom, &StateDir::new(arguments.state.clone())) {
        Ok(report) => judge(&report, &arguments, now_s()),
        Err(failure) => {
            Output { verdict: Verdict::Unknown, text: format!("UNKNOWN - {}\n", failure.render().trim_end()) }
        }
    };
    print!("{}", output.text);
    ExitCode::from(output.verdict as u8)
}

fn judge(report: &Report, arguments: &Arguments, now_s: u64) -> Output {
    let age_s = now_s.saturating_sub(report.time_s);
    let mut perfdata = Vec::new();
    let mut sentences: Vec<(Verdict, String)> = Vec::new();
    let mut judged = 0usize;
    for component in report.components.iter().filter(|component| arguments.wants(component)) {
        for finding in worst_first(component).into_iter().filter(|finding| arguments.judges(finding.check)) {
            sentences.push((finding.verdict, format!("{} {}", name(component), reason(finding))));
        }
        judged += component.findings.iter().filter(|finding| arguments.judges(finding.check)).count();
        for (quantity, value) in component.readings.iter().filter_map(|(quantity, value)| Some((*quantity, (*value)?)))
        {
            let number = Number::of(quantity, value);
            if let Some(verdict) = arguments.beyond(quantity, number.thousandths) {
                let (label, ..) = show::parts(quantity);
                sentences.push((verdict, format!("{} {label} is {}", name(component), show::value(quantity, value))));
            }
            if arguments.checks.is_empty() && perfdata.len() < PERFDATA_MAX {
                perfdata.push(arguments.perfdata(component, quantity, &number));
            }
        }
    }
    sentences.sort_by_key(|(verdict, _)| std::cmp::Reverse(rank(*verdict)));
    let (verdict, first) = if age_s > arguments.old {
        (Verdict::Unknown, format!("{}: the report is {} old", report.host, show::duration(age_s)))
    } else if judged == 0 {
        (Verdict::Unknown, format!("{}: there is no such check or component here", report.host))
    } else {
        let (worst, text) = match &sentences[..] {
            [] => (Verdict::Ok, format!("{judged} checks")),
            [(worst, sentence)] => (*worst, sentence.clone()),
            [(worst, sentence), more @ ..] => (*worst, format!("{sentence}, and {} more", more.len())),
        };
        (worst, format!("{}: {text}", report.host))
    };
    let mut text = format!("{} - {}", verdict.word().to_uppercase(), one_line(&first));
    if !perfdata.is_empty() {
        text.push_str(" | ");
        text.push_str(&perfdata.join(" "));
    }
    text.push('\n');
    for (verdict, sentence) in &sentences {
        text.line(format_args!("{}: {}", verdict.word().to_uppercase(), one_line(sentence)));
    }
    Output { verdict, text }
}

/// The bar ends the text of a plugin, so it cannot stand in it.
fn one_line(text: &str) -> String {
    text.replace(['|', '\n'], "/")
}

/// A reading as perfdata has it.
struct Number {
    thousandths: i64,
    text: String,
    unit: &'static str,
}

impl Number {
    fn of(quantity: Quantity, value: i64) -> Self {
        let (_, unit, steps) = show::parts(quantity);
        // The guidelines know s, %, B (with K, M, G, T) and c. Other units are part of the label.
        let (unit, steps) = match (unit, steps) {
            ("MiB", 1) => ("MB", 1),
            ("KiB", 1) => ("KB", 1),
            ("GiB", 1) => ("GB", 1),
            ("s", 1) => ("s", 1),
            ("", 1000) => ("%", 10),
            ("%", steps) => ("%", steps),
            (_, steps) => ("", steps),
        };
        Self { thousandths: value.saturating_mul(1000) / i64::from(steps), text: show::decimal(value, steps), unit }
    }
}

impl Arguments {
    fn wants(&self, component: &Component) -> bool {
        self.component
            .as_ref()
            .is_none_or(|text| component.id.contains(text.as_str()) || component.label.contains(text.as_str()))
    }

    fn judges(&self, check: Check) -> bool {
        let name = check.text();
        self.checks.is_empty()
            || self.checks.iter().any(|wanted| wanted == name || name.split('.').next() == Some(wanted.as_str()))
    }

    fn beyond(&self, quantity: Quantity, thousandths: i64) -> Option<Verdict> {
        let alerts = |thresholds: &[Threshold]| {
            thresholds.iter().any(|threshold| threshold.quantity == quantity && threshold.range.alarms(thousandths))
        };
        if alerts(&self.critical) {
            Some(Verdict::Critical)
        } else if alerts(&self.warning) {
            Some(Verdict::Warning)
        } else {
            None
        }
    }

    fn perfdata(&self, component: &Component, quantity: Quantity, number: &Number) -> String {
        let limit = |thresholds: &[Threshold]| {
            let found = thresholds.iter().find(|threshold| threshold.quantity == quantity);
            found.map_or_else(String::new, |threshold| threshold.text.clone())
        };
        let (what, ..) = show::parts(quantity);
        let label = format!("{} {what}", component.label).replace(['\'', '='], "");
        let limits = format!(";{};{}", limit(&self.warning), limit(&self.critical));
        format!("'{}'={}{}{}", one_line(&label), number.text, number.unit, limits.trim_end_matches(';'))
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::cellar;
    use super::*;

    fn output(arguments: &[&str], age_s: u64) -> Output {
        let arguments =
            Arguments::try_parse_from([NAME].iter().chain(arguments)).expect("a command line that is right");
        let report = cellar();
        let now_s = report.time_s + age_s;
        judge(&report, &arguments, now_s)
    }

    #[test]
    fn the_worst_is_the_first_line_and_the_exit_code() {
        let found = output(&[], 30);
        assert_eq!(found.verdict, Verdict::Critical);
        insta::assert_snapshot!(found.text);
    }

    #[test]
    fn checks_and_components_are_chosen() {
        assert_eq!(output(&["-C", "temp"], 0).verdict, Verdict::Ok);
        assert_eq!(output(&["-C", "disk"], 0).verdict, Verdict::Warning);
        assert_eq!(output(&["-C", "disk.media", "-n", "sda"], 0).verdict, Verdict::Warning);
        assert_eq!(output(&["-n", "md0"], 0).verdict, Verdict::Critical);
        let none = output(&["-C", "ceph"], 0);
        assert_eq!(
            (none.verdict, none.text.starts_with("UNKNOWN - cellar: there is no such")),
            (Verdict::Unknown, true)
        );
    }

    #[test]
    fn an_old_report_is_unknown() {
        let old = output(&[], OLD_S + 1);
        assert_eq!(old.verdict, Verdict::Unknown);
        assert!(old.text.starts_with("UNKNOWN - cellar: the report is 10 min 1 s old"), "{}", old.text);
        assert_eq!(output(&["--old", "3600"], OLD_S + 1).verdict, Verdict::Critical);
    }

    #[test]
    fn thresholds_judge_readings_in_the_units_that_are_shown() {
        let hot = output(&["-C", "temp", "-w", "temperature=:40", "-c", "temperature=:60"], 0);
        assert_eq!(hot.verdict, Verdict::Warning);
        assert!(hot.text.contains("disk sda (WDC WD40EFRX 123) temperature is 41.5 °C"), "{}", hot.text);
        assert_eq!(output(&["-C", "temp", "-c", "temperature=:40"], 0).verdict, Verdict::Critical);
        assert!(output(&["-w", "temperature=:40"], 0).text.contains("temperature'=41.5;:40"));
    }

    #[test]
    fn a_threshold_that_cannot_be_is_refused() {
        assert!(threshold("warmth=:3").unwrap_err().contains("there are: uptime, "));
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! History for other programs: CSV for a person, OpenMetrics text with times for Prometheus
//! (`promtool tsdb create-blocks-from openmetrics`). Values are in the units that people use.

use super::format::SeriesKey;
use super::{History, POINTS_MAX, Point, Query};
use adit_health::show;
use adit_peers::files::FileError;
use adit_wire::health::codes::Quantity;
use std::fmt::Write as _;

/// Which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Comma-separated values with a line of names.
    Csv,
    /// OpenMetrics text.
    OpenMetrics,
}

/// All series of a host over a time, as text.
///
/// # Errors
/// When the files can't be read.
pub fn export(history: &History, host: &str, from_s: u64, until_s: u64, form: Form) -> Result<String, FileError> {
    let mut text = match form {
        Form::Csv => "host,component,quantity,unit,time,least,mean,greatest\n".to_owned(),
        Form::OpenMetrics => "# HELP adit_reading A reading of an agent in the unit of its label.\n\
                              # TYPE adit_reading gauge\n"
            .to_owned(),
    };
    for key in history.series(host)? {
        let Some(quantity) = Quantity::from_number(key.quantity) else { continue };
        let points = history.query(&Query { host, key: &key, from_s, until_s, points_max: POINTS_MAX })?;
        for point in &points {
            match form {
                Form::Csv => csv(&mut text, host, &key, quantity, point),
                Form::OpenMetrics => metric(&mut text, host, &key, quantity, point),
            }
        }
    }
    if form == Form::OpenMetrics {
        text.push_str("# EOF\n");
    }
    Ok(text)
}

fn csv(text: &mut String, host: &str, key: &SeriesKey, quantity: Quantity, point: &Point) {
    let (name, unit, steps) = show::parts(quantity);
    let [least, mean, greatest] =
        [point.span.least, point.span.mean, point.span.greatest].map(|value| show::decimal(value, steps));
    let component = key.component.replace('"', "\"\"");
    // Writing to a string cannot fail.
    let _infallible =
        writeln!(text, "{host},\"{component}\",\"{name}\",\"{unit}\",{},{least},{mean},{greatest}", point.at_s);
}

fn metric(text: &mut String, host: &str, key: &SeriesKey, quantity: Quantity, point: &Point) {
    let (name, unit, steps) = show::parts(quantity);
    let component = label(&key.component);
    let _infallible = writeln!(
        text,
        "adit_reading{{host=\"{host}\",component=\"{component}\",quantity=\"{name}\",unit=\"{unit}\"}} {} {}",
        show::decimal(point.span.mean, steps),
        point.at_s
    );
}

/// A label's value, escaped as OpenMetrics wants it.
#[must_use]
pub fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

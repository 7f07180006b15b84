// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Numbers and findings for people: a reading in whole units, a length of time in two words, a component and why it is
//! not well.

use crate::model::{Component, Finding};
use adit_wire::health::codes::{EPOCH_MINUTES, Quantity};

/// "disk sda (WDC …)"; a label that begins with its kind is not told twice.
#[must_use]
pub fn name(component: &Component) -> String {
    let (kind, label) = (component.kind.text(), component.label.as_str());
    if label.starts_with(kind) { label.to_owned() } else { format!("{kind} {label}") }
}

/// Why, in words.
#[must_use]
pub fn reason(finding: &Finding) -> String {
    let words = match finding.reason.text() {
        "" => finding.verdict.word(),
        words => words,
    };
    if finding.detail.is_empty() { words.to_owned() } else { format!("{words}: {}", finding.detail) }
}

/// What a quantity is called, the unit that people use, and how many steps of a reading make one of it: ("temperature", "°C",
/// 10) for "temperature, 1/10 °C".
#[must_use]
pub fn parts(quantity: Quantity) -> (&'static str, &'static str, u32) {
    let (name, unit) = quantity.text().split_once(", ").unwrap_or_else(|| (quantity.text(), ""));
    let Some(fraction) = unit.strip_prefix("1/") else { return (name, unit, 1) };
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    match (fraction.get(..digits).and_then(|steps| steps.parse().ok()), fraction.get(digits..)) {
        (Some(steps), Some(rest)) => (name, rest.trim_start(), steps),
        _ => (name, unit, 1),
    }
}

/// A reading with its unit: "34.5 °C". Shares are written in per cent.
#[must_use]
pub fn value(quantity: Quantity, value: i64) -> String {
    if quantity == Quantity::Asleep {
        return if value == 0 { "no" } else { "yes" }.to_owned();
    }
    let (_, unit, steps) = parts(quantity);
    let (unit, steps) = match (unit, steps) {
        ("", 1000) => ("%", 10),
        // Which unit that is stands in the component's label.
        ("of its unit", steps) => ("", steps),
        known => known,
    };
    let (value, unit, steps) = match (unit, u64::try_from(value)) {
        ("min", Ok(minutes)) => return duration(minutes.saturating_mul(60)),
        ("MiB", Ok(1_048_576..)) => (value.saturating_mul(10) >> 20, "TiB", 10),
        ("MiB", Ok(10_240..)) => (value.saturating_mul(10) >> 10, "GiB", 10),
        _ => (value, unit, steps),
    };
    let number = decimal(value, steps);
    if unit.is_empty() { number } else { format!("{number} {unit}") }
}

/// A number that counts steps of which so many (1, 10, 100, 1000) make one.
#[must_use]
pub fn decimal(value: i64, steps: u32) -> String {
    let digits = usize::try_from(steps.checked_ilog10().unwrap_or(0)).unwrap_or(0);
    if digits == 0 {
        return value.to_string();
    }
    let sign = if value < 0 { "-" } else { "" };
    let (whole, rest) = (value.unsigned_abs() / u64::from(steps), value.unsigned_abs() % u64::from(steps));
    format!("{sign}{whole}.{rest:0digits$}")
}

/// A float as an integer; `None` outside what both hold exactly, or for no number.
#[must_use]
pub fn rounded(value: f64) -> Option<i64> {
    const LIMIT: f64 = 9.0e15; // below 2^53 every integer is exact
    #[expect(clippy::cast_possible_truncation, reason = "the line before bounds it")]
    (value.abs() < LIMIT).then(|| value.round() as i64)
}

/// Seconds since 1970 of a reading that counts minutes since 2026.
#[must_use]
pub fn minutes_since_1970_s(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0).saturating_add(EPOCH_MINUTES).saturating_mul(60)
}

/// A length of time in its two largest units: "3 d 4 h".
#[must_use]
pub fn duration(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let Some(first) = units.iter().position(|(size, _)| seconds >= *size) else { return "0 s".to_owned() };
    let (size, name) = units[first];
    let rest = units.get(first + 1).map(|(next, name)| (seconds % size / next, name)).filter(|(count, _)| *count > 0);
    match rest {
        Some((count, smaller)) => format!("{} {name} {count} {smaller}", seconds / size),
        None => format!("{} {name}", seconds / size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_told_in_whole_units() {
        let cases = [
            (Quantity::TemperatureTenths, 345, "34.5 °C"),
            (Quantity::TemperatureTenths, -5, "-0.5 °C"),
            (Quantity::ChargePermille, 870, "87.0 %"),
            (Quantity::MemoryPressure, 725, "7.25 %"),
            (Quantity::LoadHundredths, 42, "0.42"),
            (Quantity::SizeMib, 7, "7 MiB"),
            (Quantity::SizeMib, 262_144, "256.0 GiB"),
            (Quantity::SizeMib, 3_815_447, "3.6 TiB"),
            (Quantity::Asleep, 1, "yes"),
            (Quantity::WrittenGib, 1_234, "1234 GiB"),
            (Quantity::UptimeMinutes, 1_500, "1 d 1 h"),
            (Quantity::PendingSectors, 3, "3"),
            (Quantity::VoltageMillivolts, 12_040, "12040 mV"),
            (Quantity::PowerTenthWatts, 1_234, "123.4 W"),
            (Quantity::SensorThousandths, 1_500, "1.500"),
        ];
        for (quantity, number, expected) in cases {
            assert_eq!(value(quantity, number), expected);
        }
    }

    #[test]
    fn every_quantity_has_a_name_and_a_unit_of_its_own() {
        for quantity in Quantity::ALL {
            let (name, unit, steps) = parts(*quantity);
            assert!(!name.is_empty() && !unit.contains("1/") && [1, 10, 100, 1000].contains(&steps), "{quantity:?}");
        }
    }

    #[test]
    fn time_has_two_words() {
        let cases =
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_661, "1 h 1 min"), (90_000, "1 d 1 h"), (86_400, "1 d")];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
    }
}

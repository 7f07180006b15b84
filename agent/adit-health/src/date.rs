// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Days of the Gregorian calendar, for dates in certificates and in what a person reads. No time zones: UTC.

/// Days from 1970-01-01 to a date. A month or day out of range counts on: certificates are data, not calendars.
pub(crate) fn days(year: i64, month: i64, day: i64) -> i64 {
    // The year begins in March, so that the odd day is its last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // Days before a month: 31, 30, 31, 30, 31 twice, then January and February.
    let before_month = (153 * month + 2) / 5;
    365 * year + leap_days + before_month + day - 1 - DAYS_TO_1970
}

/// From the first of March of the year 0 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;

/// "2026-11-22 14:05 UTC".
pub(crate) fn text(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let (day, minute) = (seconds / 86_400, seconds % 86_400 / 60);
    let year_and_month = |year: i64, month: i64| days(year, month, 1);
    // The mean year has 365.2425 days: the guess is at most one off.
    let guess = 1970 + day.saturating_mul(10_000) / 3_652_425;
    let year = (guess - 1..=guess + 1).rev().find(|year| year_and_month(*year, 1) <= day).unwrap_or(guess);
    let month = (1..=12).rev().find(|month| year_and_month(year, *month) <= day).unwrap_or(1);
    let date = day - year_and_month(year, month) + 1;
    format!("{year}-{month:02}-{date:02} {:02}:{:02} UTC", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_days_fit() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_767_225_599, "2025-12-31 23:59 UTC"),
            (1_795_356_343, "2026-11-22 14:05 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(text(seconds), expected);
        }
        assert_eq!((days(1970, 1, 1), days(2026, 1, 1), days(2000, 3, 1)), (0, 20_454, 11_017));
    }

    #[test]
    fn every_day_of_four_centuries_is_its_own() {
        let mut day = days(1970, 1, 1);
        for year in 1970..2370_i64 {
            for month in 1..=12 {
                let first = days(year, month, 1);
                assert_eq!(first, day, "{year}-{month}");
                let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
                day += match month {
                    4 | 6 | 9 | 11 => 30,
                    2 if leap => 29,
                    2 => 28,
                    _ => 31,
                };
                let text = text(u64::try_from(first * 86_400).unwrap());
                assert_eq!(text, format!("{year}-{month:02}-01 00:00 UTC"));
            }
        }
    }
}

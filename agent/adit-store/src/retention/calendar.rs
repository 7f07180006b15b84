// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Days, weeks, months and years of a fixed zone.

use super::{Class, DAY_S};

/// A day of the calendar, and the minute in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// The year.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// Minutes since midnight.
    pub minute: u16,
}

/// A time in a zone so many minutes east of UTC.
#[must_use]
pub fn local_date(time_s: u64, zone_min: i16) -> Date {
    let local = local_s(time_s, zone_min);
    let (year, month, day) = civil(local.div_euclid(DAY));
    let minute = u16::try_from(local.rem_euclid(DAY) / 60).unwrap_or(0);
    Date { year, month, day, minute }
}

const DAY: i64 = DAY_S.cast_signed();

fn local_s(time_s: u64, zone_min: i16) -> i64 {
    i64::try_from(time_s).unwrap_or(i64::MAX / 2).min(i64::MAX / 2) + i64::from(zone_min) * 60
}

/// The bucket of a class that a time falls into. Buckets ascend with time.
pub(super) fn bucket(class: Class, time_s: u64, zone_min: i16) -> i64 {
    let local = local_s(time_s, zone_min);
    let day = local.div_euclid(DAY);
    match class {
        Class::Hour => local.div_euclid(3_600),
        Class::Day => day,
        // 1 January 1970 was a Thursday: weeks begin on Mondays.
        Class::Week => (day + 3).div_euclid(7),
        Class::Month => {
            let (year, month, _) = civil(day);
            year * 12 + i64::from(month)
        }
        Class::Year => civil(day).0,
    }
}

/// Year, month and day of a day since 1970, Gregorian. Years are counted from March inside, so that the leap day is last.
fn civil(day: i64) -> (i64, u8, u8) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, u8::try_from(month).unwrap_or(0), u8::try_from(day).unwrap_or(0))
}

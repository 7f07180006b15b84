// SPDX-License-Identifier: Apache-2.0 OR MIT
//! History over days and years, through crashes and jumps of the clock, and its budget.

use super::*;
use crate::history::export::{Form, export};

const HOST: &str = "box";
/// A midnight that begins a month and a year of blocks.
const START_S: u64 = 56 * 364 * DAY_S;

fn key(number: usize, quantity: u8) -> SeriesKey {
    SeriesKey { component: format!("naa.5000c500a1b2c3{number:02x}"), quantity }
}

fn history() -> (tempfile::TempDir, History) {
    let dir = tempfile::tempdir().expect("directory");
    let history = History::new(dir.path().to_owned());
    (dir, history)
}

/// A generator of numbers with a seed.
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: u64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((self.0 >> 33) % limit).expect("small")
    }
}

/// The 75 series of a box with six disks: temperatures that wander, counters that grow, space that shrinks, loads that
/// jump, and much that stands still.
fn values(noise: &mut Noise, state: &mut [i64], tick: u64) -> Vec<(SeriesKey, Option<i64>)> {
    let hour = i64::try_from(tick / 12 % 24).expect("small");
    for (index, value) in state.iter_mut().enumerate() {
        match index % 15 {
            // Temperature, tenths of a degree in whole degrees, by the time of day.
            0..3 => *value = 300 + (hour - 12).abs() * 2 / 10 * 10 + noise.below(8) / 7 * 10,
            // Load, memory and power that move at every look.
            3 => *value = 40 + noise.below(60),
            4 => *value = (*value + noise.below(33) - 16).clamp(200, 4_000),
            // Counters of hours and of what was written.
            5 => *value += i64::from(tick.is_multiple_of(12)),
            6 => *value += noise.below(10) / 9,
            // Free space.
            7 => *value = 900_000 - i64::try_from(tick / 36).expect("small") * 3,
            // What stands still: errors, sectors, members, states.
            _ => {}
        }
    }
    state
        .iter()
        .enumerate()
        .map(|(index, value)| (key(index / 5, u8::try_from(index % 5 + 20).expect("small")), Some(*value)))
        .collect()
}

fn fill(history: &mut History, days: u64) -> u64 {
    let (mut noise, mut state) = (Noise(7), vec![0i64; 75]);
    let ticks = days * 288;
    for tick in 0..ticks {
        let values = values(&mut noise, &mut state, tick);
        history.append(HOST, START_S + tick * TICK_S, &values).expect("written");
    }
    START_S + ticks * TICK_S
}

#[test]
fn what_was_appended_is_answered_at_every_resolution() {
    let (_dir, mut history) = history();
    let key = key(0, 25);
    for tick in 0..288 * 60u64 {
        let value = i64::try_from(tick % 288).expect("small");
        history.append(HOST, START_S + tick * TICK_S, &[(key.clone(), Some(value))]).expect("written");
    }
    let ask = |from_s, until_s, points_max| {
        history.query(&Query { host: HOST, key: &key, from_s, until_s, points_max }).expect("read")
    };
    let last_day = START_S + 59 * DAY_S;
    let day = ask(last_day, last_day + DAY_S, 288);
    assert_eq!(day.len(), 288);
    assert_eq!(day[17], Point { at_s: last_day + 17 * TICK_S, span: Span::of(17) });
    // The first month is past its five minutes: its hours answer, and the days of sixty points too.
    let hours = ask(START_S, START_S + DAY_S, 24);
    assert_eq!((hours.len(), hours[1].span), (24, Span { least: 12, mean: 17, greatest: 23 }));
    let days = ask(START_S, START_S + 60 * DAY_S, 60);
    assert_eq!(
        (days.len(), days[0].span, days[59].span),
        (60, Span { least: 0, mean: 143, greatest: 287 }, days[0].span)
    );
}

#[test]
fn a_torn_write_costs_one_record() {
    let (dir, mut first) = history();
    let end_s = fill(&mut first, 2);
    let journal = dir.path().join(HOST).join("journal");
    let whole = std::fs::read(&journal).expect("read");
    for cut in [1, 7, 50, whole.len() - 9] {
        std::fs::write(&journal, &whole[..whole.len() - cut]).expect("torn");
        let mut again = History::new(dir.path().to_owned());
        again.append(HOST, end_s, &[(key(0, 20), Some(77))]).expect("written");
        let query = Query { host: HOST, key: &key(0, 20), from_s: end_s, until_s: end_s + TICK_S, points_max: 1 };
        assert_eq!(again.query(&query).expect("read").len(), 1, "cut {cut}");
        let earlier = Query { from_s: START_S, until_s: START_S + DAY_S, points_max: 288, ..query };
        assert_eq!(again.query(&earlier).expect("read").len(), 288, "cut {cut}");
    }
}

#[test]
fn a_torn_block_is_cut_off_before_the_next() {
    let (dir, mut first) = history();
    let end_s = fill(&mut first, 3);
    let minutes = dir.path().join(HOST).join("minutes");
    let whole = std::fs::read(&minutes).expect("read");
    std::fs::write(&minutes, &whole[..whole.len() - 3]).expect("torn");
    let mut again = History::new(dir.path().to_owned());
    again.append(HOST, end_s, &[(key(0, 20), Some(1))]).expect("written");
    again.append(HOST, end_s + DAY_S, &[(key(0, 20), Some(2))]).expect("written");
    let days = |history: &History| {
        let query = Query { host: HOST, key: &key(0, 20), from_s: START_S, until_s: end_s + 2 * DAY_S, points_max: 5 };
        history.query(&query).expect("read").len()
    };
    assert_eq!(days(&again), 4, "the torn day is lost, the others are there");
}

#[test]
fn a_clock_that_jumps_spoils_nothing_that_was_there() {
    let (_dir, mut history) = history();
    let k = key(0, 25);
    let mut note = |at_s: u64, value: i64| history.append(HOST, at_s, &[(k.clone(), Some(value))]).expect("written");
    note(START_S, 1);
    note(START_S + 10 * 365 * DAY_S, 2);
    note(START_S + TICK_S, 3);
    note(START_S + DAY_S, 4);
    let query = Query { host: HOST, key: &k, from_s: START_S, until_s: START_S + 2 * DAY_S, points_max: 576 };
    let values: Vec<i64> = history.query(&query).expect("read").iter().map(|point| point.span.mean).collect();
    assert_eq!(values, [1, 3, 4]);
}

#[test]
fn series_come_and_go() {
    let (_dir, mut history) = history();
    history.append(HOST, START_S, &[(key(0, 1), Some(1)), (key(1, 1), None)]).expect("written");
    history.append(HOST, START_S + TICK_S, &[(key(2, 1), Some(5)), (key(0, 1), Some(2))]).expect("written");
    assert_eq!(history.series(HOST).expect("read"), [key(0, 1), key(1, 1), key(2, 1)]);
    let csv = export(&history, HOST, START_S, START_S + DAY_S, Form::Csv).expect("read");
    assert_eq!(csv.lines().count(), 4, "{csv}");
    let text = export(&history, HOST, START_S, START_S + DAY_S, Form::OpenMetrics).expect("read");
    assert!(text.ends_with("# EOF\n") && text.contains("quantity=\"uptime\",unit=\"min\"} 5 "), "{text}");
}

/// The bar is 1.5 MB for ten years. Ten years are filled by months of five minutes, so that the test stays short: what the
/// tiers keep after them is what they would keep after every tick.
#[test]
fn ten_years_of_a_box_stay_in_their_budget() {
    const HOST_BYTES_MAX: u64 = 1_500_000;
    let (dir, mut history) = history();
    fill(&mut history, 64);
    let size = |name: &str| std::fs::metadata(dir.path().join(HOST).join(name)).map_or(0, |file| file.len());
    let minutes = size("minutes") * (MINUTES_KEPT_DAYS + TRIM_DAYS)
        / Place::of(dir.path(), HOST).heads(Tier::Minutes).expect("read").len() as u64;
    let hours = size("hours") / 2 * (HOURS_KEPT_DAYS / MONTH_DAYS + 2);
    // A block of days from the same series: their months, one slot a day.
    let months = Place::of(dir.path(), HOST).blocks(Tier::Hours, |_| true).expect("read");
    let mut day_block = Block { tier: Tier::Days, start: 0, count: 364, series: Vec::new() };
    for series in &months[0].series {
        let slots = (0..364).map(|day| series.slots[(day * 37 + day / 18) % 672]).collect();
        day_block.series.push(Series { key: series.key.clone(), slots });
    }
    let days = day_block.encode().expect("fits").len() as u64 * (DAYS_KEPT_DAYS / YEAR_DAYS + 2);
    let journal = size("journal").max(75 * 3 * 288);
    let all = minutes + hours + days + journal;
    println!("minutes {minutes}, hours {hours}, days {days}, journal {journal}: {all} bytes");
    assert!(all <= HOST_BYTES_MAX, "minutes {minutes}, hours {hours}, days {days}, journal {journal}: {all} bytes");
}

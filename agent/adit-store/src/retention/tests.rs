// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Random policies and histories against the words of the rules, read literally. A failure prints its seed;
//! `ADIT_RETENTION_SEED=n` runs that history alone.

use super::{COOL_OFF_S, Candidate, Class, DAY_S, GuardKind, GuardStep, Policy, PolicyState, calendar, guard, judge};
use std::collections::BTreeSet;

const HISTORIES: u64 = 20_000;
const NOW_S: u64 = 1_800_000_000;

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn days(&mut self, most: u64) -> u32 {
        if self.below(3) == 0 { 0 } else { u32::try_from(self.below(most)).expect("few days") }
    }

    fn policy(&mut self) -> Policy {
        Policy {
            keep_all_d: self.days(30),
            hourly_d: self.days(5),
            daily_d: self.days(60),
            weekly_d: self.days(200),
            monthly_d: self.days(900),
            yearly_d: self.days(2_000),
            minimum: u32::try_from(self.below(12)).expect("few"),
            zone_min: i16::try_from(self.below(1_681)).expect("minutes") - 840,
        }
    }

    fn history(&mut self) -> Vec<Candidate> {
        let count = self.below(40);
        let mut received_s = NOW_S - self.below(2_500) * DAY_S - self.below(DAY_S);
        let step = [600, 3_600, DAY_S / 3, DAY_S, 9 * DAY_S, 50 * DAY_S][usize::try_from(self.below(6)).expect("six")];
        (1..=count)
            .map(|seq| {
                received_s += 1 + self.below(step * 2);
                let protected_until_s = if self.below(20) == 0 { received_s + self.below(900) * DAY_S } else { 0 };
                Candidate { seq, received_s, complete: self.below(8) > 0, protected_until_s }
            })
            .collect()
    }
}

fn each_history(check: impl Fn(&mut Rng)) {
    let only = std::env::var("ADIT_RETENTION_SEED").ok().map(|seed| seed.parse::<u64>().expect("a number"));
    for seed in only.map_or(0..HISTORIES, |seed| seed..seed + 1) {
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&mut Rng(seed))));
        assert!(checked.is_ok(), "fails with ADIT_RETENTION_SEED={seed}");
    }
}

/// The calendar counted day by day from 1970 on: hours, days, weeks, months and years, as a person with a wall calendar does.
fn counted(days: i64) -> Vec<(i64, i64, i64)> {
    let (mut year, mut month, mut day) = (1970i64, 1i64, 1i64);
    let mut rows = Vec::new();
    for count in 0..days {
        let week = (count + 3) / 7;
        rows.push((week, year * 12 + month, year));
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = match month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        day += 1;
        if day > length {
            (day, month) = (1, month + 1);
        }
        if month > 12 {
            (month, year) = (1, year + 1);
        }
    }
    rows
}

#[test]
fn the_calendar_is_the_one_on_the_wall() {
    for (day, (week, month, year)) in (0u64..).zip(counted(80_000)) {
        for second in [0, 1, DAY_S / 2, DAY_S - 1] {
            let time_s = day * DAY_S + second;
            assert_eq!(calendar::bucket(Class::Day, time_s, 0), day.cast_signed());
            assert_eq!(calendar::bucket(Class::Week, time_s, 0), week);
            assert_eq!(calendar::bucket(Class::Month, time_s, 0), month);
            assert_eq!(calendar::bucket(Class::Year, time_s, 0), year);
        }
    }
}

#[test]
fn every_day_of_every_zone_has_24_hours() {
    for zone_min in [-840, -210, 0, 60, 345, 840] {
        let days = 30_000..30_800u64;
        for day in days {
            let noon = (day * DAY_S).checked_add_signed(DAY_S.cast_signed() / 2 - i64::from(zone_min) * 60);
            let midnight = noon.expect("after 1970") - DAY_S / 2;
            let of = |time_s| calendar::bucket(Class::Day, time_s, zone_min);
            assert_eq!((of(midnight), of(midnight + DAY_S - 1)), (day.cast_signed(), day.cast_signed()));
            assert_eq!(of(midnight + DAY_S), day.cast_signed() + 1);
            let hours: BTreeSet<i64> =
                (0..24).map(|hour| calendar::bucket(Class::Hour, midnight + hour * 3_600, zone_min)).collect();
            assert_eq!(hours.len(), 24);
        }
    }
}

/// What the rules say, read literally, of the snapshot at `place`.
fn must_stay(policy: &Policy, history: &[Candidate], place: usize, now_s: u64) -> bool {
    let it = history[place];
    let within = |days: u32| now_s < it.received_s + u64::from(days) * DAY_S;
    let rows = [
        (Class::Hour, policy.hourly_d),
        (Class::Day, policy.daily_d),
        (Class::Week, policy.weekly_d),
        (Class::Month, policy.monthly_d),
        (Class::Year, policy.yearly_d),
    ];
    let keeps_a_bucket = rows.into_iter().any(|(class, days)| {
        let of = |each: &Candidate| calendar::bucket(class, each.received_s, policy.zone_min);
        let same: Vec<&Candidate> = history.iter().filter(|each| of(each) == of(&it)).collect();
        let earliest = same.iter().find(|each| each.complete).or_else(|| same.first()).map(|each| each.seq);
        days > 0 && within(days) && earliest == Some(it.seq)
    });
    let newest = history.len() - place <= usize::try_from(policy.minimum.max(1)).expect("few");
    within(policy.keep_all_d) || keeps_a_bucket || newest || it.protected_until_s > now_s
}

fn kept(policy: &Policy, history: &[Candidate], now_s: u64) -> BTreeSet<u64> {
    judge(policy, history, now_s).iter().filter(|each| each.by.any()).map(|each| each.seq).collect()
}

#[test]
fn nothing_goes_faster_or_slower_than_the_policy_says() {
    each_history(|rng| {
        let (policy, history) = (rng.policy(), rng.history());
        let now_s = NOW_S + rng.below(1_000) * DAY_S;
        let judged = judge(&policy, &history, now_s);
        for (place, each) in judged.iter().enumerate() {
            assert_eq!(each.by.any(), must_stay(&policy, &history, place, now_s), "{policy:?} {history:?} {each:?}");
            if !each.by.newest {
                assert_eq!(each.by.any(), each.until_s > now_s, "the date that is shown is the date it goes: {each:?}");
            }
        }
        let newest =
            history.last().is_none_or(|newest| judged.last().is_some_and(|it| it.by.any() && it.seq == newest.seq));
        assert!(newest, "the newest always stays");
    });
}

#[test]
fn windows_depend_on_age_and_on_earlier_snapshots_only() {
    each_history(|rng| {
        let (policy, history) = (Policy { minimum: 1, ..rng.policy() }, rng.history());
        let split = usize::try_from(rng.below(history.len() as u64 + 1)).expect("few");
        let now_s = history.last().map_or(NOW_S, |newest| newest.received_s) + rng.below(100) * DAY_S;
        let (before, after) = (judge(&policy, &history[..split], now_s), judge(&policy, &history, now_s));
        for (place, (alone, among)) in before.iter().zip(&after).enumerate() {
            let displaced = !history[place].complete && alone.by.any() && !among.by.any();
            let without_newest = |mut by: super::Reasons| {
                by.newest = false;
                by
            };
            assert!(
                displaced || !history[place].complete || without_newest(alone.by) == without_newest(among.by),
                "{policy:?} {history:?} {alone:?} {among:?}"
            );
        }
    });
}

#[test]
fn time_only_takes_and_a_looser_policy_only_adds() {
    each_history(|rng| {
        let (policy, other, history) = (rng.policy(), rng.policy(), rng.history());
        let now_s = NOW_S + rng.below(300) * DAY_S;
        let later = kept(&policy, &history, now_s + rng.below(400) * DAY_S);
        assert!(later.is_subset(&kept(&policy, &history, now_s)));
        let loosest = kept(&policy.loosest(&other), &history, now_s);
        assert!(kept(&policy, &history, now_s).is_subset(&loosest));
        let other = Policy { zone_min: policy.zone_min, ..other };
        assert!(kept(&other, &history, now_s).is_subset(&loosest));
        // Running every day takes no more than running once at the end.
        let mut left = history.clone();
        for day in 0..20 {
            let stays = kept(&policy, &left, now_s + day * DAY_S);
            left.retain(|each| stays.contains(&each.seq));
        }
        let at_once = kept(&policy, &history, now_s + 19 * DAY_S);
        let daily: BTreeSet<u64> = left.iter().map(|each| each.seq).collect();
        assert!(at_once.is_subset(&daily), "{policy:?} {history:?}");
    });
}

#[test]
fn tightening_waits_and_loosening_does_not() {
    each_history(|rng| {
        let (old, new, history) = (rng.policy(), rng.policy(), rng.history());
        let state = PolicyState { policy: old, pending: None }.wish(new, NOW_S);
        let before = kept(&old, &history, NOW_S);
        for day in 0..7 {
            let now_s = NOW_S + day * DAY_S;
            let now = kept(&state.at(now_s), &history, now_s);
            assert!(kept(&old, &history, now_s).is_subset(&now), "{old:?} {new:?}");
            assert!(now.is_subset(&before) || new.loosest(&old) != old, "{old:?} {new:?}");
        }
        assert_eq!(state.at(NOW_S + COOL_OFF_S), new);
        // A second wish begins its own cool-off from what is in force, and taking a wish back is at once.
        assert_eq!(state.wish(state.policy, NOW_S + 1).at(NOW_S + 2), state.policy);
        assert_eq!(state.wish(state.policy, NOW_S + 1).pending, None);
        let again = state.wish(rng.policy(), NOW_S + DAY_S);
        assert!(again.pending.is_none_or(|pending| pending.from_s == NOW_S + DAY_S + COOL_OFF_S));
    });
}

fn daily(count: u64) -> Vec<Candidate> {
    let day =
        |seq: u64| Candidate { seq, received_s: NOW_S - (count - seq) * DAY_S, complete: true, protected_until_s: 0 };
    (1..=count).map(day).collect()
}

#[test]
fn a_landslide_is_held_and_young_survivors_are_told() {
    let policy = Policy { monthly_d: 0, yearly_d: 0, minimum: 1, ..Policy::default() };
    let judged = judge(&policy, &daily(60), NOW_S);
    let held = guard(&policy, &judged, NOW_S).expect("half of them would go");
    assert_eq!((held.kind, held.step, held.of), (GuardKind::Share, GuardStep::Held, 60));
    assert!(u64::from(held.going) * 4 > 60);
    let judged = judge(&Policy::default(), &daily(40), NOW_S);
    assert_eq!(guard(&Policy::default(), &judged, NOW_S), None, "a few at the end of their windows");
    // Two a day for two weeks, and one from long ago that no window keeps.
    let mut history =
        vec![Candidate { seq: 1, received_s: NOW_S - 5_000 * DAY_S, complete: true, protected_until_s: 0 }];
    history.extend((2..30).map(|seq| Candidate {
        seq,
        received_s: NOW_S - 13 * DAY_S + seq * DAY_S / 3,
        complete: true,
        protected_until_s: 0,
    }));
    let policy = Policy { minimum: 1, ..Policy::default() };
    let told = guard(&policy, &judge(&policy, &history, NOW_S), NOW_S).expect("only young ones would stay");
    assert_eq!((told.kind, told.step, told.going), (GuardKind::Young, GuardStep::Alarm, 1));
}

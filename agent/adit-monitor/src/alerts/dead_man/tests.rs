// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Each rule of absence once firing and once quiet.

use super::*;
use crate::timeline::Moment;
use adit_health::Report;
use std::sync::Arc;

const T: u64 = 400_000_000;
const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 86_400;
/// Minutes since 2026 at which the agents' clocks stand.
const CLOCK_MIN: i64 = 1_000_000;
const PERIOD_MIN: i64 = 180;

fn component(kind: ComponentKind, id: &str, readings: &[(Quantity, i64)]) -> Component {
    Component {
        kind,
        id: id.to_owned(),
        label: id.to_owned(),
        findings: Vec::new(),
        readings: readings.iter().map(|(quantity, value)| (*quantity, Some(*value))).collect(),
    }
}

fn source(head: i64, ago_min: i64, more: &[(Quantity, i64)]) -> Component {
    let mut readings = vec![
        (Quantity::LastMinutes, CLOCK_MIN - ago_min),
        (Quantity::SnapshotHead, head),
        (Quantity::PeriodMinutes, PERIOD_MIN),
        (Quantity::Snapshots, head),
    ];
    readings.extend(more);
    component(ComponentKind::Source, "web", &readings)
}

fn job(head: i64, ago_min: i64, exit: i64) -> Component {
    let mut readings = vec![(Quantity::LastMinutes, CLOCK_MIN - ago_min), (Quantity::Exit, exit)];
    // A run that failed names no snapshot.
    readings.extend((head != 0).then_some((Quantity::SnapshotHead, head)));
    component(ComponentKind::Job, "daily", &readings)
}

fn host(t: u64, components: Vec<Component>) -> Host {
    let mut host = Host::awaited("berlin".to_owned(), 300, t);
    heard(&mut host, t, components);
    host
}

fn heard(host: &mut Host, t: u64, components: Vec<Component>) {
    let time_s = show::minutes_since_1970_s(CLOCK_MIN);
    host.full(t, Report { host: "h".to_owned(), time_s, components });
}

fn fleet(t: u64, hosts: Vec<(&str, Host)>) -> Fleet {
    let hosts = hosts.into_iter().map(|(name, host)| (name.to_owned(), Arc::new(host))).collect();
    Fleet { now: Moment { t, wall_s: 0 }, hosts }
}

/// What the rules say of a subject: nothing when it is well.
fn said(fleet: &Fleet, host: &str, topic: &str) -> Option<Verdict> {
    let mut pairs = Pairs::default();
    pairs.learn(fleet);
    said_with(fleet, &pairs, host, topic)
}

fn said_with(fleet: &Fleet, pairs: &Pairs, host: &str, topic: &str) -> Option<Verdict> {
    let looks = look(fleet, pairs, &Policy::of_interval(60));
    let mut verdicts: Vec<Verdict> =
        looks[host].seen.iter().filter(|seen| seen.subject.topic == topic).map(|seen| seen.verdict).collect();
    verdicts.sort_by_key(|verdict| crate::alerts::rank(*verdict));
    verdicts.pop()
}

fn both_at(sender: Component, receiver: Component) -> Option<Verdict> {
    let fleet = fleet(T, vec![("web", host(T, vec![sender])), ("box", host(T, vec![receiver]))]);
    said(&fleet, "web", BOTH)
}

/// The six rows, sender against receiver. A period of three hours has a grace of one and a half.
#[test]
fn the_six_rows_of_sender_and_receiver() {
    use Verdict::{Critical, Warning};
    let silent_min = 10 * 60;
    assert_eq!(both_at(job(7, 60, 0), source(7, 61, &[])), None, "success, and it is there");
    assert_eq!(both_at(job(8, 60, 0), source(7, 240, &[])), Some(Critical), "a success that lies");
    assert_eq!(both_at(job(0, 60, 4), source(7, 240, &[])), Some(Warning), "failed, an older one is there");
    assert_eq!(both_at(job(0, 60, 4), source(7, silent_min, &[])), Some(Critical), "failed, and none in time");
    assert_eq!(both_at(job(0, 60, 4), source(8, 30, &[])), Some(Warning), "failed, though a newer one came");
    assert_eq!(both_at(job(6, silent_min, 0), source(8, 30, &[])), Some(Warning), "backups without run records");
    assert_eq!(both_at(job(7, silent_min, 0), source(6, silent_min, &[])), Some(Critical), "nobody says anything");
}

#[test]
fn a_run_that_just_ended_is_not_called_a_lie_before_the_box_was_asked() {
    let mut receiver = host(T - 30, vec![source(7, 240, &[])]);
    let sender = || host(T, vec![job(8, 0, 0)]);
    let look_at = |t: u64, receiver: &Host| {
        let fleet = fleet(t, vec![("web", sender()), ("box", receiver.clone())]);
        let look = look(&fleet, &Pairs::default(), &Policy::of_interval(60)).remove("web").expect("there");
        let seen = look.seen.iter().find(|seen| seen.subject.topic == BOTH).map(|seen| seen.verdict);
        (seen, look.undecided.len())
    };
    assert_eq!(look_at(T + 10, &receiver), (None, 1), "undecided");
    receiver.same(T + 46);
    assert_eq!(look_at(T + 50, &receiver), (Some(Verdict::Critical), 0), "asked, and it is not there");
}

#[test]
fn a_pair_is_learned_from_a_snapshot_that_both_name() {
    let mut pairs = Pairs::default();
    let alike =
        fleet(T, vec![("other-name", host(T, vec![job(7, 10, 0)])), ("box", host(T, vec![source(7, 10, &[])]))]);
    assert_eq!(said_with(&alike, &pairs, "box", BOTH), Some(Verdict::Unknown), "nobody knows whose it is");
    assert!(pairs.learn(&alike) && !pairs.learn(&alike), "learned once");
    let lie = fleet(T, vec![("other-name", host(T, vec![job(9, 10, 0)])), ("box", host(T, vec![source(7, 200, &[])]))]);
    let look = look(&lie, &pairs, &Policy::of_interval(60));
    assert_eq!(look["other-name"].seen.len(), 1, "the lie is the sender's");
    assert_eq!(said_with(&lie, &pairs, "box", BOTH), None);
}

#[test]
fn silence_is_told_at_its_deadline_and_not_before() {
    let at = |silent_s: u64| said(&fleet(T + silent_s, vec![("box", host(T, Vec::new()))]), "box", SEEN);
    assert_eq!(
        [at(60), at(209), at(210), at(299), at(300)],
        [None, None, Some(Verdict::Warning), Some(Verdict::Warning), Some(Verdict::Critical)]
    );
    let mut home = host(T, Vec::new());
    home.silent_after_s = HOUR_S;
    let at = |silent_s: u64| said(&fleet(T + silent_s, vec![("box", home.clone())]), "box", SEEN);
    assert_eq!([at(HOUR_S - 1), at(HOUR_S)], [Some(Verdict::Warning), Some(Verdict::Critical)]);
    // After a restart of the monitor the time in which it did not ask is not the agent's silence.
    let mut awaited = host(T, Vec::new());
    awaited.awaited_t = T + DAY_S;
    assert_eq!(said(&fleet(T + DAY_S + 60, vec![("box", awaited)]), "box", SEEN), None);
}

#[test]
fn a_source_that_sends_nothing_is_late_after_period_and_grace() {
    let at = |ago_min: i64| said(&fleet(T, vec![("box", host(T, vec![source(7, ago_min, &[])]))]), "box", LATE);
    assert_eq!([at(269), at(271)], [None, Some(Verdict::Critical)]);
    let silent = fleet(T + HOUR_S, vec![("box", host(T, vec![source(7, 600, &[])]))]);
    assert_eq!(said(&silent, "box", LATE), Some(Verdict::Unknown), "a silent box says nothing of its sources");
}

#[test]
fn a_history_that_became_shorter_is_told() {
    let store = component(ComponentKind::Store, "store", &[]);
    let mut receiver = host(T, vec![store.clone(), source(9, 60, &[])]);
    assert_eq!(
        said(&fleet(T, vec![("box", receiver.clone())]), "box", BACK),
        Some(Verdict::Unknown),
        "its ledger is not told"
    );
    heard(&mut receiver, T + 60, vec![store.clone(), source(8, 50, &[])]);
    assert_eq!(said(&fleet(T + 60, vec![("box", receiver.clone())]), "box", BACK), Some(Verdict::Critical));
    heard(&mut receiver, T + 120, vec![store, source(10, 40, &[])]);
    assert_eq!(said(&fleet(T + 120, vec![("box", receiver)]), "box", BACK), Some(Verdict::Unknown), "it went on");
}

#[test]
fn a_store_that_nobody_read_whole_is_told_after_a_month() {
    let at = |days: i64| {
        let store = component(ComponentKind::Store, "store", &[(Quantity::LastMinutes, CLOCK_MIN - days * 1_440)]);
        said(&fleet(T, vec![("box", host(T, vec![store]))]), "box", SCRUB)
    };
    assert_eq!([at(29), at(31)], [None, Some(Verdict::Warning)]);
    let never = host(T, vec![component(ComponentKind::Store, "store", &[])]);
    assert_eq!(said(&fleet(T, vec![("box", never)]), "box", SCRUB), Some(Verdict::Unknown));
}

#[test]
fn a_disk_that_fills_is_told_days_before() {
    let volume = |free: i64| component(ComponentKind::FileSystem, "/srv", &[(Quantity::FreeMib, free)]);
    let after_days = |a_day: i64| {
        let mut filling = host(T, vec![volume(100_000)]);
        for day in 1..8u64 {
            heard(&mut filling, T + day * DAY_S, vec![volume(100_000 - a_day * i64::try_from(day).expect("small"))]);
        }
        said(&fleet(T + 7 * DAY_S, vec![("box", filling)]), "box", FULL)
    };
    assert_eq!(
        [after_days(0), after_days(6_000), after_days(12_000)],
        [None, Some(Verdict::Warning), Some(Verdict::Critical)]
    );
}

#[test]
fn what_nobody_delivers_is_unknown() {
    let store = component(ComponentKind::Store, "store", &[]);
    let nothing = component(
        ComponentKind::Source,
        "web",
        &[(Quantity::LastMinutes, CLOCK_MIN - 10), (Quantity::SnapshotHead, 1)],
    );
    let fleet = fleet(T, vec![("box", host(T, vec![store, nothing]))]);
    for topic in [BACK, ADDRESS, SCRUB, SCHEDULE, SIZE, BOTH] {
        assert_eq!(said(&fleet, "box", topic), Some(Verdict::Unknown), "{topic}");
    }
    let looks = look(&fleet, &Pairs::default(), &Policy::of_interval(60));
    assert!(looks["box"].seen.iter().all(|seen| seen.quiet), "nobody is told of what is unknown");
}

#[test]
fn a_backup_off_its_schedule_is_told() {
    let after_min = |gap: u64| {
        let mut receiver = host(T, vec![source(7, 0, &[])]);
        heard(&mut receiver, T + gap * 60, vec![source(8, 0, &[])]);
        said(&fleet(T + gap * 60, vec![("box", receiver)]), "box", SCHEDULE)
    };
    assert_eq!([after_min(180), after_min(100), after_min(80)], [None, None, Some(Verdict::Warning)]);
}

#[test]
fn a_backup_three_times_the_usual_is_told() {
    let last = |mib: i64| {
        let mut receiver = host(T, vec![source(1, 0, &[(Quantity::AddedKib, 300 << 10)])]);
        for (number, size) in [310, 290, 305, mib].into_iter().enumerate() {
            let t = T + 3 * HOUR_S * (number as u64 + 1);
            let head = i64::try_from(number).expect("small") + 2;
            heard(&mut receiver, t, vec![source(head, 0, &[(Quantity::AddedKib, size << 10)])]);
        }
        said(&fleet(T + 12 * HOUR_S, vec![("box", receiver)]), "box", SIZE)
    };
    assert_eq!([last(800), last(1_000)], [None, Some(Verdict::Warning)]);
}

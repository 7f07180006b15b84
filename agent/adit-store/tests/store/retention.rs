// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Retention in the store: nothing goes before its time, by any clock, and what went can be brought back in time.

use crate::support::{SMALL, TestSource, at, backup, created, open};
use adit_store::retention::{COOL_OFF_S, DAY_S, GuardKind, GuardStep, Policy, UNDO_S};
use adit_store::{Access, Event, Moment, RetainError, SimDisk, Store};

/// Keeps three days, then one a month.
const SHORT: Policy = Policy {
    keep_all_d: 3,
    hourly_d: 0,
    daily_d: 0,
    weekly_d: 0,
    monthly_d: 400,
    yearly_d: 0,
    minimum: 2,
    zone_min: 0,
};

fn day(days: u64) -> Moment {
    at(days * DAY_S)
}

struct Box {
    disk: SimDisk,
    store: Store,
    source: TestSource,
}

impl Box {
    /// So many daily backups, the policy in force from the start.
    fn new(days: u64, policy: Policy) -> Self {
        let disk = created(SMALL);
        let mut store = open(&disk);
        let mut source = TestSource::new(7);
        store.put_source(source.source(), at(0)).expect("a source");
        // Before there is anything to lose, the default's tightening has passed.
        store.set_policy(Some(&source.id), policy, at(0)).expect("a policy");
        store.retain(&source.id, false, day(8)).expect("the policy's time has come");
        assert_eq!(store.policy(Some(&source.id)).policy, policy);
        for count in 0..days {
            backup(&mut store, &mut source, 2, (10 + count) * DAY_S);
        }
        Self { disk, store, source }
    }

    fn seqs(&self) -> Vec<u64> {
        self.store.snapshots(&self.source.id).iter().map(|snapshot| snapshot.seq).collect()
    }

    /// The power goes; the clock that counts from the machine's start begins anew.
    fn reopened(mut self, now: Moment) -> Self {
        drop(self.store);
        self.disk.unlock();
        self.store = Store::open(self.disk.clone(), Access::ReadWrite, now).expect("it opens again").0;
        self
    }
}

#[test]
fn what_no_rule_keeps_is_hidden_then_released_unless_it_is_brought_back() {
    let mut it = Box::new(5, SHORT);
    let id = it.source.id;
    let now = day(18);
    let planned = it.store.retention_plan(&id, now).expect("a plan");
    let going: Vec<u64> = planned.iter().filter(|row| !row.judged.by.any()).map(|row| row.judged.seq).collect();
    assert_eq!(going, [2, 3], "1 keeps its month, 4 and 5 are the newest");
    assert_eq!(it.seqs(), [1, 2, 3, 4, 5], "a plan changes nothing");
    // Two of five would go: held.
    let held = it.store.retain(&id, false, now).expect("a run");
    let guard = held.guard.expect("a guard");
    assert_eq!((held.expired, guard.kind, guard.step), (0, GuardKind::Share, GuardStep::Held));
    assert_eq!(it.store.guards().len(), 1);
    it = it.reopened(now);
    assert_eq!((it.seqs(), it.store.guards().len()), (vec![1, 2, 3, 4, 5], 1));
    assert_eq!(it.store.retain(&id, true, now).expect("allowed").expired, 2);
    assert_eq!((it.seqs(), it.store.guards().len()), (vec![1, 4, 5], 0));
    it = it.reopened(now);
    assert_eq!(it.seqs(), [1, 4, 5]);
    // One comes back and stays although no rule keeps it.
    assert_eq!(it.store.undo_expiry(&id, &[2], now).expect("in time"), [2]);
    assert!(matches!(it.store.undo_expiry(&id, &[9], now), Err(RetainError::NoSnapshot(9))));
    let later = at(18 * DAY_S + UNDO_S - 10);
    assert_eq!(it.store.retain(&id, false, later).expect("a run").released, 0);
    let later = at(18 * DAY_S + UNDO_S);
    let run = it.store.retain(&id, false, later).expect("a run");
    assert_eq!((run.expired, run.released), (0, 1));
    assert_eq!(it.store.undo_expiry(&id, &[], later).expect("nothing left"), [0u64; 0]);
    it = it.reopened(later);
    assert_eq!(it.seqs(), [1, 2, 4, 5]);
    assert!(it.store.take_events().iter().all(|event| !matches!(event, Event::Guarded(..))));
    // The next backup follows the newest as ever.
    let (mut store, mut source) = (it.store, it.source);
    backup(&mut store, &mut source, 2, 21 * DAY_S);
    assert_eq!(store.newest(&id).expect("the newest").seq, 6);
}

#[test]
fn a_policy_tightens_after_seven_days_and_loosens_at_once() {
    let mut it = Box::new(5, SHORT);
    let id = it.source.id;
    let tight = Policy { monthly_d: 0, minimum: 1, ..SHORT };
    let wide = Policy { daily_d: 30, ..SHORT };
    let state = it.store.set_policy(Some(&id), tight, day(15)).expect("a wish");
    assert_eq!((state.policy, state.pending.map(|it| it.policy)), (SHORT, Some(tight)));
    it = it.reopened(day(16));
    let almost = at(15 * DAY_S + COOL_OFF_S - 1);
    assert_eq!(it.store.policy(Some(&id)).at(it.store.retention_s(almost)), SHORT);
    assert_eq!(it.store.set_policy(Some(&id), wide, day(16)).expect("a wish").policy, wide);
    assert_eq!(it.store.policy(Some(&id)).pending, None, "the last wish holds");
    assert_eq!(it.store.policy(None).policy, Policy::default(), "other sources have the box's default");
    let wrong = Policy { zone_min: 900, ..SHORT };
    assert!(matches!(it.store.set_policy(None, wrong, day(16)), Err(RetainError::Zone)));
}

#[test]
fn a_wrong_clock_makes_nothing_old() {
    let mut it = Box::new(6, SHORT);
    let id = it.source.id;
    let base = day(16);
    it = it.reopened(base);
    // The wall clock jumps to the future: the machine's own clock says that an hour has passed.
    let jumped = Moment { wall_s: base.wall_s + 3_000 * DAY_S, monotonic_ms: base.monotonic_ms + 3_600_000 };
    let before = it.store.retention_s(base);
    assert!(it.store.retention_s(jumped) <= before + 3_604);
    assert!(it.store.retention_plan(&id, jumped).expect("a plan").iter().all(|row| row.judged.until_s > 0));
    assert_eq!(it.store.retain(&id, false, jumped).expect("a run").expired, 0);
    // A peer that is wrong in the same way is not enough while the wall clock is right.
    it.store.credit_clock(base.wall_s + 3_000 * DAY_S, base);
    assert!(it.store.retention_s(base) <= base.wall_s);
    // A backup that comes while the wall clock is far behind is not old when it is right again.
    let behind = Moment { wall_s: 1_000_000, monotonic_ms: base.monotonic_ms + 60_000 };
    let (mut store, source) = (it.store, it.source);
    let held = store.retain(&source.id, false, behind).expect("a run");
    assert_eq!(held.guard.map(|guard| (guard.kind, guard.step)), Some((GuardKind::Clock, GuardStep::Held)));
    assert!(store.retention_s(behind) + 3_600 >= day(15).wall_s, "it goes back by an hour at most");
    // Right again: the doubt goes by itself.
    let right = Moment { wall_s: base.wall_s + 120, monotonic_ms: base.monotonic_ms + 120_000 };
    store.retain(&source.id, false, right).expect("a run");
    assert_eq!(store.guards().iter().filter(|(whose, _)| whose.is_none()).count(), 0);
}

#[test]
fn what_is_protected_stays_and_protection_ends_after_the_cool_off() {
    let mut it = Box::new(5, SHORT);
    let id = it.source.id;
    it.store.protect(&id, &[2, 3], true, day(15)).expect("protected");
    assert!(matches!(it.store.protect(&id, &[77], true, day(15)), Err(RetainError::NoSnapshot(77))));
    it = it.reopened(day(18));
    assert_eq!(it.store.retain(&id, true, day(18)).expect("a run").expired, 0);
    it.store.protect(&id, &[2], false, day(18)).expect("let go");
    assert_eq!(it.store.retain(&id, true, day(24)).expect("a run").expired, 0);
    assert_eq!(it.store.retain(&id, true, day(26)).expect("a run").expired, 1);
    assert_eq!(it.seqs(), [1, 3, 4, 5]);
}

#[test]
fn an_unfinished_session_is_given_up_after_fourteen_days() {
    let mut it = Box::new(2, SHORT);
    let id = it.source.id;
    let key = it.source.new_key();
    let session = it.store.open_session(&id, &key, None, day(20)).expect("a session");
    it.store.retain(&id, false, day(40)).expect("a run");
    assert!(it.store.pending(&id).is_some(), "a session that runs is not given up");
    it.store.end_session(session);
    it.store.retain(&id, false, day(33)).expect("a run");
    assert!(it.store.pending(&id).is_some());
    it.store.retain(&id, false, day(40)).expect("a run");
    assert!(it.store.pending(&id).is_none());
    it = it.reopened(day(40));
    assert!(it.store.pending(&id).is_none());
    let (mut store, mut source) = (it.store, it.source);
    backup(&mut store, &mut source, 1, 41 * DAY_S);
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Retention in the store: its clock, policies, expiry with its time to undo, release. What stays is decided in
//! [`crate::retention`]; here it becomes ledger entries, one block a step, each of them whole or not there after a cut.

use crate::error::{RetainError, WriteError};
use crate::ledger::{
    AbandonEntry, ClockEntry, Entry, ExpireEntry, GuardEntry, PolicyEntry, ProtectEntry, ReleaseEntry, SnapshotState,
    State,
};
use crate::retention::{
    ABANDON_S, COOL_OFF_S, Candidate, DAY_S, Guard, GuardKind, GuardStep, Judged, Policy, PolicyState, UNDO_S, guard,
    judge,
};
use crate::store::Store;
use crate::types::{Event, Moment};
use adit_wire::ids::SourceId;

/// The ledger learns so often how far the retention clock is, with the next block that is written.
const CLOCK_EVERY_S: u64 = 3_600;
/// A wall clock that went back by more than this is in doubt.
const CLOCK_BACK_S: u64 = 3_600;
/// What was brought back stays so long: time to change the policy.
const UNDO_STAY_S: u64 = 30 * DAY_S;

/// Never ahead of the wall clock, and of its own runs only as fast as the machine: a wrong wall clock or a wrong peer alone
/// makes nothing old. While the machine is off it stands, which keeps longer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetentionClock {
    base_s: u64,
    base_ms: u64,
}

impl RetentionClock {
    pub(crate) fn new(state: &State, created_s: u64, now: Moment) -> Self {
        let known = if state.retention_s > 0 {
            state.retention_s
        } else {
            // A store from before this clock was kept: it surely is as late as its newest snapshot.
            let snapshots = state.sources.iter().filter_map(|source| source.snapshots.last());
            snapshots.map(|newest| newest.received_s).max().unwrap_or(0)
        };
        Self { base_s: known.max(created_s), base_ms: now.monotonic_ms }
    }

    /// Time that passed here, a thousandth more: oscillators may be slow by that much.
    const fn local_s(self, now: Moment) -> u64 {
        let elapsed_ms = now.monotonic_ms.saturating_sub(self.base_ms);
        self.base_s.saturating_add(elapsed_ms / 1_000).saturating_add(elapsed_ms / 1_000_000)
    }
}

/// A snapshot in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What keeps it and until when.
    pub judged: Judged,
    /// Whether all that it needs is here and healthy.
    pub complete: bool,
    /// When it expired and when it will be released; it can be brought back until then.
    pub expired: Option<(u64, u64)>,
    /// Bytes that its run stored.
    pub new_bytes: u64,
}

/// What one step of retention did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Snapshots hidden now.
    pub expired: u64,
    /// Snapshots released now.
    pub released: u64,
    /// What a guard says.
    pub guard: Option<Guard>,
}

impl Store {
    /// The retention clock, seconds since 1970. Ages are counted by it alone.
    #[must_use]
    pub fn retention_s(&self, now: Moment) -> u64 {
        self.clock.local_s(now).min(now.wall_s).max(self.state.retention_s)
    }

    /// A paired monitor or admin told its time: the retention clock may rise to it, never above the wall clock here.
    pub const fn credit_clock(&mut self, peer_s: u64, now: Moment) {
        let peer_s = if peer_s < now.wall_s { peer_s } else { now.wall_s };
        if peer_s > self.clock.local_s(now) {
            self.clock = RetentionClock { base_s: peer_s, base_ms: now.monotonic_ms };
        }
    }

    /// What the ledger should hear of the clock with the next block.
    pub(crate) fn clock_entry(&self, now: Moment) -> Option<Entry> {
        let retention_s = self.retention_s(now);
        // A new store starts from its own making.
        let known = self.state.retention_s.max(self.superblock.created_s);
        (retention_s >= known.saturating_add(CLOCK_EVERY_S)).then_some(Entry::Clock(ClockEntry { retention_s }))
    }

    /// The policy of a source, or the box's default.
    #[must_use]
    pub fn policy(&self, source: Option<&SourceId>) -> PolicyState {
        let own = source.and_then(|source| self.state.source(self.state.number_of(source)?)?.policy);
        own.or(self.state.policy).unwrap_or_default()
    }

    /// Wishes for a policy, of one source or as the box's default. What it loosens is in force at once, what it tightens
    /// after seven days. Durable on return.
    ///
    /// # Errors
    /// When the source is unknown, the policy makes no sense or nothing can be written.
    pub fn set_policy(
        &mut self,
        source: Option<&SourceId>,
        policy: Policy,
        now: Moment,
    ) -> Result<PolicyState, RetainError> {
        let number = source.map(|source| self.number(source)).transpose()?;
        if !policy.is_sound() {
            return Err(RetainError::Zone);
        }
        let state = self.policy(source).wish(policy, self.retention_s(now));
        self.writable()?;
        self.note(now, &[Entry::Policy(PolicyEntry { source: number, policy: state })])?;
        Ok(state)
    }

    fn number(&self, source: &SourceId) -> Result<u32, RetainError> {
        self.state.number_of(source).ok_or(RetainError::UnknownSource(*source))
    }

    fn live(&self, number: u32) -> Vec<Candidate> {
        let Some(state) = self.state.source(number) else { return Vec::new() };
        // Every commit was complete; only damage changes that.
        let doubtful = self.index.damaged() > 0 || !self.state.quarantine.is_empty();
        let live = state.snapshots.iter().filter(|snapshot| snapshot.expired.is_none());
        live.map(|snapshot| Candidate {
            seq: snapshot.seq,
            received_s: snapshot.received_s,
            complete: !doubtful || self.is_snapshot_complete(&state.source.id, snapshot),
            protected_until_s: snapshot.protected_until_s,
        })
        .collect()
    }

    /// What stays of a source and why, what would go, and what went and can be brought back; oldest first.
    ///
    /// # Errors
    /// When the source is unknown.
    pub fn retention_plan(&self, source: &SourceId, now: Moment) -> Result<Vec<Planned>, RetainError> {
        let number = self.number(source)?;
        let now_s = self.retention_s(now);
        let live = self.live(number);
        let judged = judge(&self.policy(Some(source)).at(now_s), &live, now_s);
        let snapshots = self.state.source(number).map_or(&[][..], |state| &state.snapshots);
        let planned = snapshots.iter().map(|snapshot| {
            let place = judged.binary_search_by_key(&snapshot.seq, |judged| judged.seq).ok();
            let gone = Judged {
                seq: snapshot.seq,
                received_s: snapshot.received_s,
                by: crate::retention::Reasons::default(),
                until_s: 0,
            };
            Planned {
                judged: place.map_or(gone, |place| judged[place]),
                complete: place.is_some_and(|place| live[place].complete),
                expired: snapshot.expired,
                new_bytes: snapshot.bytes,
            }
        });
        Ok(planned.collect())
    }

    /// What a guard would say of a source if retention ran now.
    ///
    /// # Errors
    /// When the source is unknown.
    pub fn retention_guard(&self, source: &SourceId, now: Moment) -> Result<Option<Guard>, RetainError> {
        let number = self.number(source)?;
        let now_s = self.retention_s(now);
        let policy = self.policy(Some(source)).at(now_s);
        Ok(self.clock_guard(now).or_else(|| guard(&policy, &judge(&policy, &self.live(number), now_s), now_s)))
    }

    /// Guards that hold something or speak up; `None` for the whole box.
    #[must_use]
    pub fn guards(&self) -> Vec<(Option<SourceId>, Guard)> {
        let name = |number: &u32| self.state.source(*number).map(|state| state.source.id);
        self.state.guards.iter().map(|(number, guard)| (number.as_ref().and_then(name), *guard)).collect()
    }

    /// Keeps snapshots for ever, or lets the policy have them again after the cool-off.
    ///
    /// # Errors
    /// When a snapshot is not there, or nothing can be written.
    pub fn protect(&mut self, source: &SourceId, seqs: &[u64], protect: bool, now: Moment) -> Result<(), RetainError> {
        let number = self.number(source)?;
        let now_s = self.retention_s(now);
        self.snapshot_states(number, seqs)?;
        let until_s = if protect { u64::MAX } else { now_s.saturating_add(COOL_OFF_S) };
        let protected = self.snapshot_states(number, seqs)?.into_iter();
        let changed = |snapshot: &&SnapshotState| protect || snapshot.protected_until_s > until_s;
        let seqs: Vec<u64> = protected.filter(changed).map(|snapshot| snapshot.seq).collect();
        if !seqs.is_empty() {
            self.writable()?;
            self.note(now, &[Entry::Protect(ProtectEntry { source: number, seqs, until_s })])?;
        }
        Ok(())
    }

    fn snapshot_states(&self, number: u32, seqs: &[u64]) -> Result<Vec<&SnapshotState>, RetainError> {
        let snapshots = self.state.source(number).map_or(&[][..], |state| &state.snapshots);
        let find = |seq: &u64| {
            let place = snapshots.binary_search_by_key(seq, |snapshot| snapshot.seq);
            place.map(|place| &snapshots[place]).map_err(|_| RetainError::NoSnapshot(*seq))
        };
        seqs.iter().map(find).collect()
    }

    /// Brings expired snapshots back, all of a source's if none is named; they stay for 30 days at least. Answers which.
    ///
    /// # Errors
    /// When a named one is not there, or nothing can be written.
    pub fn undo_expiry(&mut self, source: &SourceId, seqs: &[u64], now: Moment) -> Result<Vec<u64>, RetainError> {
        let number = self.number(source)?;
        self.snapshot_states(number, seqs)?;
        let snapshots = self.state.source(number).map_or(&[][..], |state| &state.snapshots);
        let expired = snapshots.iter().filter(|snapshot| snapshot.expired.is_some());
        let named = expired.filter(|snapshot| seqs.is_empty() || seqs.contains(&snapshot.seq));
        let back: Vec<u64> = named.map(|snapshot| snapshot.seq).collect();
        if !back.is_empty() {
            let until_s = self.retention_s(now).saturating_add(UNDO_STAY_S);
            self.writable()?;
            self.note(now, &[Entry::Undo(ProtectEntry { source: number, seqs: back.clone(), until_s })])?;
        }
        Ok(back)
    }

    /// Whether the clock is in doubt: it went back, or snapshots came from the future.
    fn clock_guard(&self, now: Moment) -> Option<Guard> {
        let now_s = self.retention_s(now);
        let newest = self.state.sources.iter().filter_map(|source| source.snapshots.last());
        let newest_s = newest.map(|newest| newest.received_s).max().unwrap_or(0);
        let doubt = now.wall_s.saturating_add(CLOCK_BACK_S) < now_s || newest_s > now.wall_s.saturating_add(DAY_S);
        let known = self.state.guards.get(&None).map_or(now_s, |guard| guard.at_s);
        doubt.then_some(Guard { kind: GuardKind::Clock, step: GuardStep::Held, at_s: known, going: 0, of: 0 })
    }

    /// Sources, to be retained one by one.
    #[must_use]
    pub fn source_ids(&self) -> Vec<SourceId> {
        self.state.sources.iter().map(|state| state.source.id).collect()
    }

    /// One source's retention: a policy whose time has come, a session given up, releases, expiry. With `allow` a guard that
    /// holds it is overruled this once.
    ///
    /// # Errors
    /// When the source is unknown or nothing can be written. What was done before stays done.
    pub fn retain(&mut self, source: &SourceId, allow: bool, now: Moment) -> Result<Retained, RetainError> {
        self.writable()?;
        let number = self.number(source)?;
        let now_s = self.retention_s(now);
        self.settle_policy(number, now_s, now)?;
        self.abandon(number, source, now_s, now)?;
        let released = self.release(number, source, now_s, now)?;
        let clock = self.clock_guard(now);
        self.note_guard(None, clock, now)?;
        if clock.is_some() && !allow {
            return Ok(Retained { expired: 0, released, guard: clock });
        }
        let policy = self.policy(Some(source)).at(now_s);
        let judged = judge(&policy, &self.live(number), now_s);
        let guard = guard(&policy, &judged, now_s);
        let held = guard.filter(|guard| guard.step == GuardStep::Held && !allow);
        // An alarm stays until the next time that something goes without one.
        let seqs: Vec<u64> = judged.iter().filter(|each| !each.by.any()).map(|each| each.seq).collect();
        let told = if allow { guard.map(|guard| Guard { step: GuardStep::Allowed, ..guard }) } else { guard };
        if told.is_some() || !seqs.is_empty() || self.is_held(number) {
            self.note_guard(Some(number), told.filter(|guard| guard.step != GuardStep::Allowed), now)?;
        }
        if held.is_some() || seqs.is_empty() {
            return Ok(Retained { expired: 0, released, guard: told });
        }
        let expired = seqs.len() as u64;
        let release_s = now_s.saturating_add(UNDO_S);
        self.note(now, &[Entry::Expire(ExpireEntry { source: number, seqs, expired_s: now_s, release_s })])?;
        self.events.push(Event::Expired { source: *source, snapshots: expired });
        Ok(Retained { expired, released, guard: told })
    }

    fn is_held(&self, number: u32) -> bool {
        self.state.guards.get(&Some(number)).is_some_and(|guard| guard.step == GuardStep::Held)
    }

    /// Notes what a guard says if that is news.
    fn note_guard(&mut self, source: Option<u32>, guard: Option<Guard>, now: Moment) -> Result<(), WriteError> {
        let known = self.state.guards.get(&source).copied();
        let same = |a: Guard, b: Guard| (a.kind, a.step, a.going, a.of) == (b.kind, b.step, b.going, b.of);
        let news = match (known, guard) {
            (None, None) => false,
            (Some(known), Some(guard)) => !same(known, guard),
            (None, Some(_)) | (Some(_), None) => true,
        };
        if news {
            self.note(now, &[Entry::Guard(GuardEntry { source, guard })])?;
            if let Some(guard) = guard {
                let name = source.and_then(|number| self.state.source(number)).map(|state| state.source.id);
                self.events.push(Event::Guarded(name, guard));
            }
        }
        Ok(())
    }

    /// A tightening whose time has come.
    fn settle_policy(&mut self, number: u32, now_s: u64, now: Moment) -> Result<(), WriteError> {
        let own = self.state.source(number).and_then(|state| state.policy);
        for (source, state) in [(Some(number), own), (None, self.state.policy)] {
            if let Some(state) = state.filter(|state| state.pending.is_some_and(|pending| pending.from_s <= now_s)) {
                let policy = PolicyState { policy: state.at(now_s), pending: None };
                self.note(now, &[Entry::Policy(PolicyEntry { source, policy })])?;
            }
        }
        Ok(())
    }

    /// Gives up a session that nobody went on with for 14 days.
    fn abandon(&mut self, number: u32, source: &SourceId, now_s: u64, now: Moment) -> Result<(), WriteError> {
        let running = self.sessions.running.values().any(|session| session.source == number);
        let pending = self.state.source(number).and_then(|state| state.pending.as_ref());
        let Some(pending) = pending.filter(|it| !running && it.opened_s.saturating_add(ABANDON_S) <= now_s) else {
            return Ok(());
        };
        let key_id = pending.key_id;
        self.note(now, &[Entry::Abandon(AbandonEntry { source: number, key_id })])?;
        self.sessions.received.remove(&number);
        self.events.push(Event::Abandoned(*source));
        Ok(())
    }

    fn release(&mut self, number: u32, source: &SourceId, now_s: u64, now: Moment) -> Result<u64, WriteError> {
        let snapshots = self.state.source(number).map_or(&[][..], |state| &state.snapshots);
        let due = snapshots.iter().filter(|it| it.expired.is_some_and(|(_, release_s)| release_s <= now_s));
        let seqs: Vec<u64> = due.map(|snapshot| snapshot.seq).collect();
        let released = seqs.len() as u64;
        if released > 0 {
            self.note(now, &[Entry::Release(ReleaseEntry { source: number, seqs })])?;
            self.events.push(Event::Released { source: *source, snapshots: released });
        }
        Ok(released)
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! When a disk may be looked at, so that one that sleeps goes on sleeping and one that wants to sleep can.
//!
//! A pure state machine: the caller tells what the kernel counts, asks what to do, does it, and tells how it went. Three
//! things keep a disk awake against its owner's will, and none happens here: a command to a sleeping disk, a read from an
//! idle one (it starts the drive's timer again), and opening a device that the kernel has suspended.

use crate::ask::Permit;
use crate::reading::PowerState;

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 24 * HOUR_S;
/// For how long after work a disk is taken to be awake, seconds. Timers below that are rare: they wear the disk out.
const AWAKE_S: u64 = 300;

/// How often disks are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandbyPolicy {
    /// Between two looks at a disk without platters, seconds.
    pub solid_every_s: u64,
    /// Between two looks at a disk with platters, seconds. Taken when it works anyway.
    pub rotating_every_s: u64,
    /// An idle disk that nobody uses is read all the same after this long, seconds; its platters turn, so this only puts
    /// its next sleep off.
    pub idle_every_s: u64,
    /// A sleeping disk is woken after this long, seconds; `None` is never.
    pub wake_every_s: Option<u64>,
}

impl Default for StandbyPolicy {
    /// Half an hour, six hours, a week, never.
    fn default() -> Self {
        Self { solid_every_s: HOUR_S / 2, rotating_every_s: 6 * HOUR_S, idle_every_s: 7 * DAY_S, wake_every_s: None }
    }
}

/// What the kernel says of a disk without the disk being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelSight {
    /// Has platters (`queue/rotational`).
    pub rotational: bool,
    /// The kernel suspended the device, or is about to (`device/power/runtime_status`).
    pub suspended: bool,
    /// Reads and writes completed since boot (`stat`), their sum; `None` when it is not told.
    pub completed: Option<u64>,
}

/// What to do with a disk now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing: what is known is fresh enough.
    Fresh,
    /// Nothing: the disk sleeps. Do not even open it.
    LetSleep,
    /// Nothing: nobody uses the disk now, so it may be about to sleep.
    LetRest,
    /// Look at it, as far as the permit goes.
    Look(Permit),
}

/// What is remembered of one disk between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standby {
    /// When it was last read.
    read_at_s: Option<u64>,
    /// When it was last read though nobody used it, or woken.
    forced_at_s: Option<u64>,
    /// When it was first seen: the clock of the first forced look.
    seen_at_s: Option<u64>,
    /// `completed` at the last plan.
    completed: Option<u64>,
    /// When `completed` was last seen to move.
    worked_at_s: Option<u64>,
    /// What it was found doing.
    state: PowerState,
}

impl Standby {
    /// What to do at `now_s`, a clock that only goes forward. To be asked often, at least every few minutes: a disk that
    /// works for a minute a day is read in that minute.
    pub fn plan(&mut self, policy: &StandbyPolicy, sight: KernelSight, now_s: u64) -> Plan {
        let seen_at_s = *self.seen_at_s.get_or_insert(now_s);
        let before = std::mem::replace(&mut self.completed, sight.completed);
        if sight.completed.is_none() || before.is_some_and(|before| sight.completed != Some(before)) {
            self.worked_at_s = Some(now_s);
        }
        let passed =
            |since: Option<u64>, every_s: u64| since.is_none_or(|since| now_s.saturating_sub(since) >= every_s);
        if !sight.rotational {
            return if passed(self.read_at_s, policy.solid_every_s) { Plan::Look(Permit::Wake) } else { Plan::Fresh };
        }
        let quiet_since = Some(self.forced_at_s.max(self.read_at_s).unwrap_or(seen_at_s));
        let wake_due = policy.wake_every_s.is_some_and(|every_s| passed(quiet_since, every_s));
        if wake_due {
            return Plan::Look(Permit::Wake);
        }
        if sight.suspended {
            self.state = PowerState::Asleep;
            return Plan::LetSleep;
        }
        if !passed(self.read_at_s, policy.rotating_every_s) {
            return Plan::Fresh;
        }
        let works = self.worked_at_s.is_some_and(|at| now_s.saturating_sub(at) <= AWAKE_S);
        match (self.read_at_s, works) {
            (_, false) if passed(quiet_since, policy.idle_every_s) => Plan::Look(Permit::IdleToo),
            // Nothing is known of it yet: an idle disk may be read once.
            (None, false) => Plan::Look(Permit::IdleToo),
            (Some(_), false) => Plan::LetRest,
            // A disk that says "idle" while it works is read all the same, but as seldom as one that rests.
            (_, true) if passed(quiet_since, policy.idle_every_s) && self.state == PowerState::Idle => {
                Plan::Look(Permit::IdleToo)
            }
            (_, true) => Plan::Look(Permit::ActiveOnly),
        }
    }

    /// It was read, with `permit`.
    pub fn read(&mut self, permit: Permit, now_s: u64) {
        self.read_at_s = Some(now_s);
        if permit != Permit::ActiveOnly {
            self.forced_at_s = Some(now_s);
        }
        self.state = PowerState::Active;
    }

    /// It was looked at and left alone for this state.
    pub fn left_alone(&mut self, state: PowerState) {
        self.state = state;
    }

    /// What it was doing when it was last seen.
    #[must_use]
    pub const fn state(&self) -> PowerState {
        self.state
    }

    /// How old the last reading is, seconds; `None` when there is none.
    #[must_use]
    pub fn age_s(&self, now_s: u64) -> Option<u64> {
        self.read_at_s.map(|at| now_s.saturating_sub(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: StandbyPolicy =
        StandbyPolicy { solid_every_s: 1800, rotating_every_s: 21_600, idle_every_s: 604_800, wake_every_s: None };

    fn sight(completed: u64) -> KernelSight {
        KernelSight { rotational: true, suspended: false, completed: Some(completed) }
    }

    #[test]
    fn a_disk_without_platters_is_read_on_its_clock() {
        let solid = KernelSight { rotational: false, ..sight(1) };
        let mut disk = Standby::default();
        assert_eq!(disk.plan(&POLICY, solid, 0), Plan::Look(Permit::Wake));
        disk.read(Permit::Wake, 0);
        assert_eq!(disk.plan(&POLICY, solid, 1799), Plan::Fresh);
        assert_eq!(disk.plan(&POLICY, solid, 1800), Plan::Look(Permit::Wake));
    }

    #[test]
    fn a_disk_is_read_when_somebody_used_it() {
        let mut disk = Standby::default();
        assert_eq!(disk.plan(&POLICY, sight(10), 0), Plan::Look(Permit::IdleToo));
        disk.read(Permit::IdleToo, 0);
        assert_eq!(disk.plan(&POLICY, sight(11), 21_000), Plan::Fresh);
        // It worked ten minutes ago: it may be about to sleep.
        assert_eq!(disk.plan(&POLICY, sight(11), 21_600), Plan::LetRest);
        assert_eq!(disk.plan(&POLICY, sight(12), 21_660), Plan::Look(Permit::ActiveOnly));
        // Found idle: it goes on trying while there is work, and says what it saw.
        disk.left_alone(PowerState::Idle);
        assert_eq!(disk.state(), PowerState::Idle);
        assert_eq!(disk.plan(&POLICY, sight(12), 21_960), Plan::Look(Permit::ActiveOnly));
        assert_eq!(disk.plan(&POLICY, sight(12), 21_961), Plan::LetRest);
        assert_eq!(disk.age_s(30_000), Some(30_000));
        // A disk that always says idle is read once a week.
        assert_eq!(disk.plan(&POLICY, sight(13), 604_800), Plan::Look(Permit::IdleToo));
        // Where the kernel does not count, the disk's word decides.
        let uncounted = KernelSight { completed: None, ..sight(0) };
        let mut disk = Standby::default();
        assert_eq!(disk.plan(&POLICY, uncounted, 0), Plan::Look(Permit::ActiveOnly));
    }

    #[test]
    fn an_unused_disk_is_read_once_a_week_at_most() {
        let mut disk = Standby::default();
        disk.read(Permit::ActiveOnly, 0);
        assert_eq!(disk.plan(&POLICY, sight(10), 604_799), Plan::LetRest);
        assert_eq!(disk.plan(&POLICY, sight(10), 604_800), Plan::Look(Permit::IdleToo));
        disk.read(Permit::IdleToo, 604_800);
        assert_eq!(disk.plan(&POLICY, sight(10), 700_000), Plan::LetRest);
    }

    #[test]
    fn a_suspended_disk_is_not_opened_unless_that_is_asked_for() {
        let asleep = KernelSight { suspended: true, ..sight(10) };
        let mut disk = Standby::default();
        assert_eq!(disk.plan(&POLICY, asleep, 0), Plan::LetSleep);
        assert_eq!((disk.state(), disk.age_s(5)), (PowerState::Asleep, None));
        assert_eq!(disk.plan(&POLICY, asleep, u64::MAX / 2), Plan::LetSleep);
        let waking = StandbyPolicy { wake_every_s: Some(1000), ..POLICY };
        let mut disk = Standby::default();
        assert_eq!(disk.plan(&waking, asleep, 0), Plan::LetSleep);
        assert_eq!(disk.plan(&waking, asleep, 999), Plan::LetSleep);
        assert_eq!(disk.plan(&waking, asleep, 1000), Plan::Look(Permit::Wake));
        disk.read(Permit::Wake, 1000);
        assert_eq!(disk.plan(&waking, asleep, 1999), Plan::LetSleep);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A month with everything that can go wrong, each told within one interval of its deadline and nothing besides; and a quiet
//! year, in which clocks jump, agents and the monitor restart, and nobody is told anything.

use super::Occasion::{Problem, Recovery};
use super::dead_man::{BACK, BOTH, LATE, Pairs, look};
use super::engine::{Engine, Incident, SEEN};
use super::{Class, Notice, Occasion, Policy, Subject, reported};
use crate::fleet::{Fleet, Host};
use crate::timeline::{Moment, Timeline};
use adit_health::{Component, Report};
use adit_wire::health::codes::{ComponentKind, Quantity};
use std::collections::BTreeMap;
use std::sync::Arc;

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 86_400;
const PERIOD_S: u64 = 3 * HOUR_S;
/// A run ends so long after it is due.
const RUN_S: u64 = 600;

/// A machine with its own clock.
#[derive(Clone, Default)]
struct Machine {
    /// Its clock beside the true time, seconds.
    offset_s: i64,
    silent: bool,
    /// Its newest run or arrival: by its own clock, and the snapshot.
    last: Option<(u64, i64)>,
}

impl Machine {
    fn clock_s(&self, true_s: u64) -> u64 {
        true_s.saturating_add_signed(self.offset_s)
    }

    fn report(&self, name: &str, true_s: u64) -> Report {
        let mut components = Vec::new();
        if let Some((at_s, head)) = self.last {
            let minutes = i64::try_from(at_s / 60).expect("small") - 29_453_760;
            let mut readings = vec![
                (Quantity::LastMinutes, Some(minutes)),
                (Quantity::SnapshotHead, Some(head)),
                (Quantity::Exit, Some(0)),
            ];
            let (kind, id) = if name == "box" { (ComponentKind::Source, "s1") } else { (ComponentKind::Job, "daily") };
            if name == "box" {
                readings.push((Quantity::PeriodMinutes, Some(180)));
                readings.push((Quantity::Snapshots, Some(head)));
                readings.push((Quantity::AddedKib, Some((head * 37 % 11 + 20) << 10)));
            }
            components.push(Component {
                kind,
                id: id.to_owned(),
                label: "web".to_owned(),
                findings: Vec::new(),
                readings,
            });
        }
        Report { host: name.to_owned(), time_s: self.clock_s(true_s) / 60 * 60, components }
    }
}

/// The world and its monitor. Time is true seconds since the beginning.
struct World {
    true_s: u64,
    interval_s: u64,
    /// The monitor's wall clock beside the true time.
    wall_offset_s: i64,
    box_: Machine,
    web: Machine,
    /// Runs end well, and their snapshots never arrive.
    lies: bool,
    /// Runs do not happen.
    idle: bool,
    head: i64,
    monitor: Option<Monitor>,
    stored: BTreeMap<Subject, Incident>,
    stored_moment: Moment,
    stored_hosts: BTreeMap<String, Arc<Host>>,
    pairs: Pairs,
    /// What was told: when, why, about what.
    told: Vec<(u64, Occasion, String, String)>,
}

struct Monitor {
    timeline: Timeline,
    engine: Engine,
    fleet: Fleet,
}

/// The true time at the beginning: a moment of 2027.
const BEGIN_S: u64 = 1_800_000_000;

impl World {
    fn new(interval_s: u64) -> Self {
        let mut world = Self {
            true_s: 0,
            interval_s,
            wall_offset_s: 0,
            box_: Machine::default(),
            web: Machine::default(),
            lies: false,
            idle: false,
            head: 1,
            monitor: None,
            stored: BTreeMap::new(),
            stored_moment: Moment::default(),
            stored_hosts: BTreeMap::new(),
            pairs: Pairs::default(),
            told: Vec::new(),
        };
        world.start_monitor();
        world
    }

    fn now(&self) -> Moment {
        let wall_s = (BEGIN_S + self.true_s).saturating_add_signed(self.wall_offset_s);
        let timeline = self.monitor.as_ref().expect("runs").timeline;
        timeline.moment(wall_s, self.true_s * 1_000)
    }

    fn start_monitor(&mut self) {
        let wall_s = (BEGIN_S + self.true_s).saturating_add_signed(self.wall_offset_s);
        let timeline = Timeline::resume(self.stored_moment, wall_s, self.true_s * 1_000);
        let now = timeline.moment(wall_s, self.true_s * 1_000);
        let mut hosts = self.stored_hosts.clone();
        for name in ["box", "web"] {
            let host =
                hosts.entry(name.to_owned()).or_insert_with(|| Arc::new(Host::awaited("home".to_owned(), 300, now.t)));
            Arc::make_mut(host).awaited_t = now.t;
        }
        let engine = Engine::resume(self.stored.clone(), Vec::new());
        self.monitor = Some(Monitor { timeline, engine, fleet: Fleet { now, hosts } });
    }

    /// Ends without a word, as by kill -9.
    fn kill_monitor(&mut self) {
        self.monitor = None;
    }

    /// One interval passes.
    fn step(&mut self) {
        self.true_s += self.interval_s;
        let run_ended = self.true_s % PERIOD_S / self.interval_s == RUN_S / self.interval_s;
        if run_ended && !self.idle {
            self.head += 1;
            let true_s = BEGIN_S + self.true_s - self.interval_s / 2;
            self.web.last = Some((self.web.clock_s(true_s), self.head));
            if !self.lies {
                self.box_.last = Some((self.box_.clock_s(true_s), self.head));
            }
        }
        if self.monitor.is_some() {
            self.poll_and_look();
        }
    }

    fn poll_and_look(&mut self) {
        let (now, policy) = (self.now(), Policy { silent_after_s: 300, ..Policy::of_interval(self.interval_s) });
        let Some(monitor) = &mut self.monitor else { return };
        monitor.fleet.now = now;
        let mut notices: Vec<Notice> = Vec::new();
        for (name, machine) in [("box", &self.box_), ("web", &self.web)] {
            let host = Arc::make_mut(monitor.fleet.hosts.get_mut(name).expect("there"));
            if machine.silent {
                host.missed("no answer");
                continue;
            }
            let report = machine.report(name, BEGIN_S + self.true_s);
            let changed = host.report.as_ref().is_none_or(|known| known.components != report.components);
            if changed {
                host.full(now.t, report)
            } else {
                host.same(now.t)
            }
            let seen = host.report.as_ref().map(|report| reported::observations(name, report)).unwrap_or_default();
            notices.extend(monitor.engine.observe(now.t, name, Class::Reported, &seen, &policy));
        }
        self.pairs.learn(&monitor.fleet);
        for (name, look) in look(&monitor.fleet, &self.pairs, &policy) {
            notices.extend(monitor.engine.observe_but(
                now.t,
                &name,
                Class::Deadline,
                &look.seen,
                &look.undecided,
                &policy,
            ));
        }
        notices.extend(monitor.engine.tick(now.t, &|_| "home".to_owned()));
        for (subject, incident) in monitor.engine.take_changes() {
            match incident {
                Some(incident) => drop(self.stored.insert(subject, incident)),
                None => drop(self.stored.remove(&subject)),
            }
        }
        self.stored_moment = now;
        self.stored_hosts.clone_from(&monitor.fleet.hosts);
        for notice in notices.into_iter().filter(|notice| notice.occasion != Occasion::Reminder) {
            self.told.push((self.true_s, notice.occasion, notice.subject.host, notice.subject.topic));
        }
    }

    fn until(&mut self, true_s: u64) {
        while self.true_s < true_s {
            self.step();
        }
    }

    /// What was told since the last call must be this, each within an interval of its time.
    fn told_is(&mut self, expected: &[(u64, Occasion, &str, &str)]) {
        let told = std::mem::take(&mut self.told);
        let shown: Vec<(Occasion, &str, &str)> =
            told.iter().map(|(_, occasion, host, topic)| (*occasion, host.as_str(), topic.as_str())).collect();
        let wanted: Vec<(Occasion, &str, &str)> =
            expected.iter().map(|(_, occasion, host, topic)| (*occasion, *host, *topic)).collect();
        assert_eq!(shown, wanted, "{told:?}");
        for ((at_s, _, _, topic), (due_s, ..)) in told.iter().zip(expected) {
            assert!((*due_s..=due_s + self.interval_s).contains(at_s), "{topic} told at {at_s}, due at {due_s}");
        }
    }
}

#[test]
fn a_month_tells_every_failure_in_time_and_nothing_else() {
    let mut world = World::new(60);
    backups_fail(&mut world);
    machines_go_away(&mut world);
    clocks_jump_and_a_box_goes_back(&mut world);
}

/// Days 0 to 5.
fn backups_fail(world: &mut World) {
    world.until(3 * DAY_S);
    world.told_is(&[]);

    // No run for a while: the newest arrived half an interval before this minute.
    world.until(3 * DAY_S + RUN_S);
    world.idle = true;
    let arrived_s = world.true_s - 30;
    world.until(3 * DAY_S + 9 * HOUR_S);
    world.idle = false;
    world.until(4 * DAY_S);
    let back_s = 3 * DAY_S + 9 * HOUR_S + RUN_S;
    world.told_is(&[(arrived_s + PERIOD_S + PERIOD_S / 2, Problem, "box", LATE), (back_s, Recovery, "box", LATE)]);

    // A success that lies: three minutes after its run at the latest, which is one interval after the box was asked.
    world.lies = true;
    world.until(4 * DAY_S + RUN_S);
    world.lies = false;
    let lie_s = world.true_s;
    world.until(5 * DAY_S);
    // Without that backup the newest is too old, too.
    let late_s = lie_s - 30 + PERIOD_S / 2;
    world.told_is(&[
        (lie_s, Problem, "web", BOTH),
        (late_s, Problem, "box", LATE),
        (lie_s + PERIOD_S, Recovery, "box", LATE),
        (lie_s + PERIOD_S, Recovery, "web", BOTH),
    ]);
}

/// Days 5 to 8.
fn machines_go_away(world: &mut World) {
    // An agent restarts, quickly and slowly.
    world.web.silent = true;
    world.until(5 * DAY_S + 180);
    world.web.silent = false;
    world.until(6 * DAY_S);
    world.web.silent = true;
    world.until(6 * DAY_S + 1_200);
    world.web.silent = false;
    world.until(7 * DAY_S);
    world.told_is(&[(6 * DAY_S + 300, Problem, "web", SEEN), (6 * DAY_S + 1_200, Recovery, "web", SEEN)]);

    // The monitor is killed in the middle of an outage; the time in which it did not ask is nobody's silence.
    world.box_.silent = true;
    world.until(7 * DAY_S + 120);
    world.kill_monitor();
    world.until(7 * DAY_S + 180);
    world.start_monitor();
    world.until(7 * DAY_S + 3_600);
    world.kill_monitor();
    world.until(7 * DAY_S + 3_660);
    world.start_monitor();
    world.until(7 * DAY_S + 7_200);
    world.box_.silent = false;
    world.until(8 * DAY_S);
    world.told_is(&[(7 * DAY_S + 180 + 300, Problem, "box", SEEN), (7 * DAY_S + 7_200, Recovery, "box", SEEN)]);
}

/// Days 8 to 30.
fn clocks_jump_and_a_box_goes_back(world: &mut World) {
    // Clocks jump by years, here and there, and back.
    world.box_.offset_s = 10 * 365 * 86_400;
    world.until(9 * DAY_S);
    world.web.offset_s = -400 * 86_400;
    world.wall_offset_s = -5_000_000;
    world.until(10 * DAY_S);
    world.kill_monitor();
    world.start_monitor();
    (world.box_.offset_s, world.web.offset_s, world.wall_offset_s) = (0, 0, 90_000_000);
    world.until(12 * DAY_S);
    world.told_is(&[]);

    // The box goes back to an older state of its disk.
    world.until(13 * DAY_S);
    if let Some((at_s, head)) = &mut world.box_.last {
        (*at_s, *head) = (*at_s - PERIOD_S, *head - 1);
    }
    world.until(13 * DAY_S + RUN_S);
    let went_back = std::mem::take(&mut world.told);
    assert_eq!(
        (went_back[0].0, went_back[0].1, went_back[0].3.as_str()),
        (13 * DAY_S + 60, Problem, BACK),
        "{went_back:?}"
    );
    world.until(30 * DAY_S);
    assert!(world.told.iter().all(|(_, occasion, ..)| *occasion == Recovery), "{:?}", world.told);
    let open = world.stored.values().filter(|incident| incident.open.is_some() && !incident.is_quiet()).count();
    assert_eq!(open, 0, "the month ends well");
}

#[test]
fn a_quiet_year_tells_nothing() {
    let mut world = World::new(100);
    for day in 1..=365u64 {
        world.until(day * DAY_S - DAY_S / 2);
        match day % 30 {
            3 => world.kill_monitor(),
            7 => world.web.silent = true,
            11 => world.box_.offset_s += 3_600,
            13 => world.web.offset_s -= 86_400,
            17 => world.wall_offset_s += 40_000_000,
            19 => world.wall_offset_s = 0,
            23 => world.box_.offset_s = 0,
            _ => {}
        }
        world.until(day * DAY_S - DAY_S / 2 + 200);
        world.web.silent = false;
        if world.monitor.is_none() {
            world.start_monitor();
        }
        world.until(day * DAY_S);
    }
    assert_eq!(world.told, []);
}

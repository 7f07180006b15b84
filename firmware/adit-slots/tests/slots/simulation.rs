// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every state that slots can get into, with a power cut at every step: a search over the record, the slot files and what
//! runs, from a new machine, by every event, to the end.
//!
//! The boot loader is modelled as systemd-boot does it: the newest version that has tries left or needs none, counted down
//! before it starts; an entry without tries only when there is no other. A start may die before its first process, after
//! any write, or go on. What holds in each state and over each step stands in `World::check` and `check_step`.

use adit_slots::decide::{self, FIXES_MAX, FLOOR_AFTER_S, Fix, Found, Start};
use adit_slots::manifest::{Digest, Manifest};
use adit_slots::name::{Mark, SlotFile};
use adit_slots::record::{COPIES, FactoryReset, Record, Reset, SlotState};
use adit_slots::version::Version;
use std::collections::{BTreeMap, HashSet};

const BOOT_ID: [u8; 16] = [7; 16];
/// The most starts that a machine needs to come to rest after a power cut.
const STARTS_TO_REST_MAX: usize = 4;

/// An image: its version, the floor it asks for. The first one is what a machine is delivered with; the last one has a
/// version that another one has too.
const IMAGES: [(Version, Version); 4] = [
    (Version::new(1, 0, 0), Version::new(0, 0, 0)),
    (Version::new(1, 1, 0), Version::new(1, 0, 0)),
    (Version::new(1, 2, 0), Version::new(1, 1, 0)),
    (Version::new(1, 1, 0), Version::new(1, 1, 0)),
];

fn digest_of(image: usize) -> Digest {
    Digest([u8::try_from(image).expect("few images") + 1; 32])
}

fn manifest_of(image: usize) -> Manifest {
    let (version, floor) = IMAGES[image];
    let mut manifest = crate::signing::manifest();
    (manifest.version, manifest.floor, manifest.uki_sha256) = (version, floor, digest_of(image));
    manifest
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    /// `None` before the first start, or when both copies were lost.
    record: Option<Record>,
    /// Slot files and which image is in each, in order.
    esp: Vec<(SlotFile, usize)>,
    /// The image that runs, and how its start went on; `None` when the power is off.
    up: Option<(usize, Start)>,
    /// Images whose health was good in some start of theirs: a bit each.
    confirmed: u8,
}

/// What may happen to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    PowerOn,
    DieBeforeFirstProcess,
    Stage(usize),
    WriteImage,
    Staged,
    Activate,
    Cancel,
    Confirm,
    RollBack,
    Stop(Reset),
    Week,
    Erase(FactoryReset),
    PowerOff,
    LoseRecord,
}

const EVENTS: [Event; 21] = [
    Event::PowerOn,
    Event::DieBeforeFirstProcess,
    Event::Stage(1),
    Event::Stage(2),
    Event::Stage(3),
    Event::WriteImage,
    Event::Staged,
    Event::Activate,
    Event::Cancel,
    Event::Confirm,
    Event::RollBack,
    Event::Stop(Reset::Asked),
    Event::Stop(Reset::Health),
    Event::Week,
    Event::Erase(FactoryReset::Asked),
    Event::Erase(FactoryReset::VarErased),
    Event::Erase(FactoryReset::DataErased),
    Event::Erase(FactoryReset::None),
    Event::PowerOff,
    Event::LoseRecord,
    Event::Stop(Reset::Update),
];

impl World {
    fn new() -> Self {
        let delivered = SlotFile { version: IMAGES[0].0, mark: Mark::Good };
        Self { record: None, esp: vec![(delivered, 0)], up: None, confirmed: 1 }
    }

    fn files(&self) -> Vec<SlotFile> {
        self.esp.iter().map(|(file, _)| *file).collect()
    }

    fn off(&self) -> Self {
        Self { up: None, ..self.clone() }
    }

    /// What the boot loader does: counts down, and names the image. `None` when nothing can start.
    fn boot_loader(&self) -> Option<(Self, usize)> {
        let entries = self.esp.iter().filter(|(file, _)| file.mark != Mark::New);
        let (file, image) = *entries.max_by_key(|(file, _)| (file.mark.is_live(), file.version))?;
        let mut next = self.off();
        if let Mark::Counted { left, done } = file.mark
            && left > 0
        {
            next.rename(file, Mark::Counted { left: left - 1, done: done + 1 });
        }
        Some((next, image))
    }

    fn rename(&mut self, from: SlotFile, to: Mark) {
        let new = SlotFile { version: from.version, mark: to };
        assert!(self.esp.iter().all(|(file, _)| *file != new), "{new:?} stands in the way in {self:?}");
        let (file, _) = self.esp.iter_mut().find(|(file, _)| *file == from).expect("the file to rename");
        *file = new;
        self.esp.sort();
    }

    /// Writes a record and lets the slot files follow, and gives the world after each of these steps. Every one but the
    /// last may be the one in which the power goes.
    fn follow(&self, record: Record) -> Vec<Self> {
        let mut steps = vec![self.clone(), Self { record: Some(rest(record)), ..self.clone() }];
        for _ in 0..=FIXES_MAX {
            let mut next = steps.last().expect("two steps").clone();
            let Some(fix) = decide::fixes(&record, &next.files()).next() else { return steps };
            match fix {
                Fix::Rename { from, to } => next.rename(from, to),
                Fix::Delete(gone) => next.esp.retain(|(file, _)| *file != gone),
            }
            steps.push(next);
        }
        panic!("the fixes never end: {self:?}");
    }

    /// A start by the boot loader: the first process decides, writes, fixes.
    fn power_on(&self) -> Vec<Self> {
        let Some((started, image)) = self.boot_loader() else { panic!("nothing can start: {self:?}") };
        let files = started.files();
        let (version, floor) = IMAGES[image];
        let found = Found { version, floor, files: &files, boot_id: BOOT_ID, time_s: 0, reset: Reset::Unknown };
        let decision = decide::start(started.record, &found);
        let mut steps = started.follow(decision.record);
        let last = steps.last_mut().expect("two steps");
        let start =
            if matches!(decision.start, Start::Trying { .. }) { Start::Trying { left: 0 } } else { decision.start };
        last.up = (start != Start::Leave).then_some((image, start));
        steps
    }

    /// The worlds after each step of an event; empty when it cannot happen now.
    fn after(&self, event: Event) -> Vec<Self> {
        let files = self.files();
        let (Some(record), Some((image, start))) = (self.record, self.up) else {
            return match (event, self.up) {
                (Event::PowerOn, None) => self.power_on(),
                (Event::DieBeforeFirstProcess, None) => self.boot_loader().map(|(next, _)| next).into_iter().collect(),
                (Event::LoseRecord, None) if self.record.is_some() => vec![Self { record: None, ..self.clone() }],
                _ => Vec::new(),
            };
        };
        let next = match event {
            Event::PowerOn | Event::DieBeforeFirstProcess | Event::LoseRecord => return Vec::new(),
            Event::PowerOff => return vec![self.off()],
            Event::WriteImage => return self.write_image(&record),
            // What update::check refuses is not offered.
            Event::Stage(offered) => {
                let (version, _) = IMAGES[offered];
                let refused = version <= IMAGES[image].0 || version < record.floor;
                if refused { return Vec::new() } else { decide::stage(&record, &manifest_of(offered)) }
            }
            Event::Staged => {
                let other = record.other_slot().version;
                let written = self.esp.iter().find(|(f, _)| *f == SlotFile { version: other, mark: Mark::New });
                let Some((_, written)) = written else { return Vec::new() };
                decide::staged(&record, digest_of(*written))
            }
            Event::Activate => decide::activate(&record),
            Event::Cancel => decide::cancel(&record),
            Event::Confirm => decide::confirm(&record, &BOOT_ID, true),
            Event::RollBack => decide::roll_back(&record, &files),
            Event::Stop(why) => Ok(decide::stop(&record, why, 0)),
            Event::Week => Ok(decide::tick(&record, FLOOR_AFTER_S, 0, 0)),
            Event::Erase(done) => decide::factory_reset(&record, done),
        };
        let Ok(next) = next else { return Vec::new() };
        let confirmed = if event == Event::Confirm { self.confirmed | 1 << image } else { self.confirmed };
        let mut steps = Self { confirmed, ..self.clone() }.follow(next);
        let last = steps.last_mut().expect("two steps");
        let stops = matches!(event, Event::Stop(_) | Event::RollBack | Event::Erase(FactoryReset::None));
        last.up = (!stops).then_some((image, start));
        steps
    }

    fn write_image(&self, record: &Record) -> Vec<Self> {
        let other = record.other_slot();
        let new = SlotFile { version: other.version, mark: Mark::New };
        if other.state != SlotState::Writing || self.esp.iter().any(|(file, _)| *file == new) {
            return Vec::new();
        }
        let image = (0..IMAGES.len()).find(|image| digest_of(*image) == other.digest).expect("one of ours");
        let mut next = self.clone();
        next.esp.push((new, image));
        next.esp.sort();
        vec![next]
    }

    /// What holds in every state.
    fn check(&self) {
        let startable = self.esp.iter().filter(|(file, _)| file.mark != Mark::New);
        let proved = startable.clone().filter(|(_, image)| self.confirmed & 1 << image != 0);
        assert!(proved.count() > 0, "no proved image can start: {self:?}");
        assert!(self.esp.len() <= 3, "{self:?}");
        let Some(record) = &self.record else { return };
        for slot in record.slots.iter().filter(|slot| slot.state == SlotState::Good) {
            let held = self.esp.iter().filter(|(file, _)| file.version == slot.version);
            let image = (0..IMAGES.len()).find(|image| digest_of(*image) == slot.digest);
            let known = image.into_iter().chain(held.map(|(_, image)| *image));
            assert!(known.clone().count() == 0 || known.into_iter().any(|i| self.confirmed & 1 << i != 0), "{self:?}");
        }
    }
}

/// A record as far as it can make a difference to what happens next: reasons are only told, clocks only grow, and the order
/// in which images failed says nothing while there are fewer than places.
fn rest(mut record: Record) -> Record {
    for slot in &mut record.slots {
        if let SlotState::Bad(_) = slot.state {
            slot.state = SlotState::Bad(Reset::Unknown);
        }
    }
    record.denied.sort_by(|a, b| b.cmp(a));
    record.denied_next =
        u8::try_from(record.denied.iter().filter(|digest| **digest != Digest::ZERO).count()).expect("few");
    record.boots_unconfirmed = record.boots_unconfirmed.min(6);
    Record { reset: Reset::Unknown, stop: Reset::Unknown, good_running_s: 0, data_expected: false, ..record }
}

/// What holds over every step.
fn check_step(before: &World, event: Event, after: &World) {
    let tries = |world: &World, version: Version| {
        let marks = world.esp.iter().filter(|(file, _)| file.version == version).map(|(file, _)| file.mark);
        let left = marks.map(|mark| if let Mark::Counted { left, .. } = mark { left } else { 0 });
        left.max().unwrap_or(0)
    };
    if event != Event::Activate {
        for (version, _) in IMAGES {
            assert!(
                tries(after, version) <= tries(before, version),
                "tries rose by {event:?}: {before:?} to {after:?}"
            );
        }
    }
    let (Some(old), Some(new)) = (&before.record, &after.record) else { return };
    assert!(new.floor >= old.floor, "the floor fell by {event:?}: {before:?}");
    let taken = |record: &Record, slot: usize| {
        matches!(record.slots[slot].state, SlotState::Writing | SlotState::Staged | SlotState::Trying)
    };
    for slot in 0..2 {
        let fresh = taken(new, slot) && new.slots[slot] != old.slots[slot] && !taken(old, slot);
        assert!(!fresh || !new.is_denied(new.slots[slot].digest), "a failed image came back by {event:?}: {before:?}");
    }
}

/// From any state, starts that all go well come to rest within a few, on a proved image; also when every image that is not
/// proved dies at once.
fn check_rest(world: &World, unproved_dies: bool) {
    let mut now = world.off();
    for _ in 0..STARTS_TO_REST_MAX {
        let (counted, image) = now.boot_loader().expect("something starts");
        if unproved_dies && now.confirmed & 1 << image == 0 {
            now = counted;
            continue;
        }
        now = now.power_on().pop().expect("a last step");
        while let Some((_, Start::FactoryReset)) = now.up {
            let done = match now.record.expect("written by the start").factory_reset {
                FactoryReset::Asked => FactoryReset::VarErased,
                FactoryReset::VarErased => FactoryReset::DataErased,
                FactoryReset::None | FactoryReset::DataErased => FactoryReset::None,
            };
            now = now.after(Event::Erase(done)).pop().expect("a last step");
            // The restart behind a finished reset is planned; it is not one that a cut made necessary.
            if now.up.is_none() {
                now = now.power_on().pop().expect("a last step");
            }
        }
        let Some((image, start)) = now.up else { continue };
        let record = now.record.expect("written by the start");
        assert_eq!(decide::fixes(&record, &now.files()).next(), None, "{now:?}");
        match start {
            Start::Normal | Start::Trying { .. } => {
                assert!(now.after(Event::Confirm).pop().is_some(), "{now:?}");
                return;
            }
            // It stays up and reachable. Only a machine whose other slot could not start either may end here.
            Start::Recovery => {
                let files = now.files();
                let other = record.other_slot();
                let live = files.iter().any(|file| file.version == other.version && file.mark.is_live());
                assert!(other.state != SlotState::Good || !live || now.confirmed & 1 << image != 0, "{now:?}");
                return;
            }
            Start::Leave | Start::FactoryReset => {}
        }
    }
    panic!("no rest within {STARTS_TO_REST_MAX} starts: {world:?}, now {now:?}");
}

/// What a search reached.
#[derive(Debug, Default)]
struct Reached {
    states: usize,
    steps: u64,
    power_cuts: u64,
    starts: BTreeMap<&'static str, u64>,
    records: HashSet<Record>,
}

/// Every state that these events lead to.
fn search(may_happen: impl Fn(Event) -> bool) -> Reached {
    let events: Vec<Event> = EVENTS.into_iter().filter(|event| may_happen(*event)).collect();
    let mut seen: HashSet<World> = HashSet::from([World::new()]);
    let mut waiting = vec![World::new()];
    let mut reached = Reached::default();
    while let Some(world) = waiting.pop() {
        world.check();
        check_rest(&world, false);
        check_rest(&world, true);
        if let Some((_, start)) = world.up {
            *reached.starts.entry(name_of(start)).or_default() += 1;
        }
        reached.records.extend(world.record);
        for event in &events {
            let after = world.after(*event);
            let count = after.len();
            for (index, next) in after.into_iter().enumerate() {
                check_step(&world, *event, &next);
                reached.steps += 1;
                // In every step but the last the power goes; the last one stays up where the event lets it.
                let cut = index + 1 < count;
                reached.power_cuts += u64::from(cut);
                let next = if cut { next.off() } else { next };
                if !seen.contains(&next) {
                    seen.insert(next.clone());
                    waiting.push(next);
                }
            }
        }
    }
    reached.states = seen.len();
    reached
}

const fn name_of(start: Start) -> &'static str {
    match start {
        Start::Normal => "normal",
        Start::Trying { .. } => "trying",
        Start::Leave => "leave",
        Start::Recovery => "recovery",
        Start::FactoryReset => "factory reset",
    }
}

fn report(reached: &Reached, starts: &[&str]) -> String {
    let Reached { states, steps, power_cuts, starts: ups, records } = reached;
    assert!(*states > 1_000 && *power_cuts > 1_000);
    for start in starts {
        assert!(ups.get(start).is_some_and(|count| *count > 0), "no {start} start was reached");
    }
    format!("states {states}, steps {steps}, power cuts {power_cuts}, records {}, ups {ups:?}", records.len())
}

#[test]
fn every_state_of_three_updates_with_a_power_cut_at_every_step() {
    let reached = search(|event| !matches!(event, Event::Erase(_) | Event::LoseRecord));
    println!("{}", report(&reached, &["normal", "trying", "recovery"]));
    println!("torn record writes {}", every_record_survives_a_torn_write(&reached.records));
}

#[test]
fn every_state_with_a_factory_reset_and_a_lost_record() {
    let reached = search(|event| !matches!(event, Event::Stage(2 | 3)));
    println!("{}", report(&reached, &["normal", "trying", "recovery", "factory reset"]));
}

/// Each record that the search met is written over the one before, torn after every sector: the older one counts until the
/// last sector is there, and then the new one.
fn every_record_survives_a_torn_write(records: &HashSet<Record>) -> u64 {
    let mut torn_writes = 0_u64;
    let mut before = Record::default();
    for (number, record) in (2..).zip(records) {
        assert_eq!(Record::parse(&record.encode()), Some(*record));
        let encode = |record: &Record, sequence| {
            let payload = record.encode();
            COPIES.encode(&adit_slots::copies::Copy { sequence, payload: &payload }).expect("a record fits")
        };
        let (old, older, new) = (encode(&before, number - 1), encode(&before, number - 2), encode(record, number));
        for sectors in 0..=8 {
            let mut torn = older;
            torn[..sectors * 512].copy_from_slice(&new[..sectors * 512]);
            let copies = [COPIES.parse(&old), COPIES.parse(&torn)];
            let newest = copies.into_iter().flatten().max_by_key(|copy| copy.sequence).expect("one copy holds");
            let expected = if torn == new { *record } else { before };
            assert_eq!(Record::parse(newest.payload), Some(expected));
            torn_writes += 1;
        }
        before = *record;
    }
    assert!(torn_writes > 0);
    torn_writes
}

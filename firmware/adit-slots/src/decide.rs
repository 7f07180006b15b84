// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which image starts, and every step from a new image to a good one and back: pure functions over the record and the
//! slot files on the ESP.
//!
//! The protocol of use. Each function gives the next record. Write it, and only then make the slot files follow it by the
//! [`fixes`] that it asks for; a start does both once, first. A power cut between any two writes is healed by the next
//! start, because it derives the same fixes again.
//!
//! - [`start`]: once, as soon as the ESP and the state partition can be read.
//! - [`stage`] an image into the slot that does not run, write it to the ESP under [`Mark::New`], read it back, [`staged`];
//!   [`activate`], restart. [`cancel`] gives the slot up at any time before it ran.
//! - [`confirm`]: once the health of this start is known to be good. [`roll_back`]: a person wants the other slot.
//! - [`stop`] before an orderly stop, [`tick`] now and then, [`factory_reset`] for each of its steps.
//!
//! Nothing here raises a candidate's tries again, or overwrites the only slot that is known to start.

use crate::manifest::{Digest, Manifest};
use crate::name::{Mark, SlotFile};
use crate::record::{BootId, FactoryReset, Record, Reset, Slot, SlotState};
use crate::version::Version;

/// Starts of a slot in a row without confirmation, after which it counts as failed.
pub const STARTS_UNCONFIRMED_MAX: u8 = 3;
/// Starts that may leave a failed slot for the other one before the machine stays up, whatever the boot loader does.
const LEAVES_MAX: u8 = 2;
/// Running time as Good after which a slot's floor counts, seconds: seven days.
pub const FLOOR_AFTER_S: u64 = 7 * 86_400;
/// Changes to slot files that one record can ask for.
pub const FIXES_MAX: usize = 8;

/// What a start finds.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The version of the image that runs.
    pub version: Version,
    /// Its floor, as built into it.
    pub floor: Version,
    /// The slot files on the ESP. Empty when there is no ESP.
    pub files: &'a [SlotFile],
    /// A new random number.
    pub boot_id: BootId,
    /// The time, with the floor applied, seconds since 1970.
    pub time_s: u64,
    /// What the hardware and the kernel's own memory tell of the last end; [`Reset::Unknown`] when nothing.
    pub reset: Reset,
}

/// How to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Start {
    /// A Good slot runs: serve.
    Normal,
    /// A candidate runs: serve, judge health, confirm or restart.
    Trying {
        /// Tries that remain after this one.
        left: u8,
    },
    /// This slot has failed: make the fixes and restart at once, the other one starts then. When a fix fails, stay up as in
    /// [`Start::Recovery`].
    Leave,
    /// No slot can be relied on: stay up and reachable, change nothing by yourself, never restart in a loop.
    Recovery,
    /// A factory reset is under way: go on with its next step.
    FactoryReset,
}

/// What a start does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Decision {
    /// How to go on.
    pub start: Start,
    /// The record to write first.
    pub record: Record,
}

/// A change of one slot file. All are harmless when made twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Fix {
    /// Give the file another name.
    Rename {
        /// The name it has.
        from: SlotFile,
        /// The name it gets; the version is the same.
        to: Mark,
    },
    /// Delete the file.
    Delete(SlotFile),
}

/// Why a step is not taken; the record stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum StepError {
    /// The other slot is good, and the one that runs is not confirmed in this start.
    #[error("the running version has not proved itself in this start yet")]
    NotConfirmed,
    /// The image failed here before.
    #[error("this image failed here before and is not taken again")]
    Denied,
    /// The running slot has this version.
    #[error("this version runs already")]
    Runs,
    /// The slot is in another state than the step starts from.
    #[error("the other slot is not at this step")]
    Order,
    /// Another start of the machine than the one that is confirmed.
    #[error("the machine has been restarted since")]
    OtherBoot,
    /// There is no other slot to go to.
    #[error("no other version is left to go back to")]
    NoOther,
    /// A factory reset is under way.
    #[error("a factory reset is under way")]
    Resetting,
}

/// Decides a start. Write the record before anything else, then make the [`fixes`].
#[must_use]
pub fn start(record: Option<Record>, found: &Found<'_>) -> Decision {
    let mut record = record.unwrap_or_default();
    let previous = record.running_slot().version;
    recognise(&mut record, found);
    record.reset = if found.reset == Reset::Unknown { record.stop } else { found.reset };
    record.stop = Reset::Unknown;
    record.boot_id = found.boot_id;
    record.time_s = record.time_s.max(found.time_s);
    if record.running_slot().version != previous {
        record.boots_unconfirmed = 0;
        record.good_running_s = 0;
    }
    record.boots_unconfirmed = record.boots_unconfirmed.saturating_add(1);
    settle_other(&mut record, found);
    settle_running(&mut record, found);
    let start = how(&record, found);
    Decision { start, record }
}

/// Finds the slot that runs, by its version; one that the record does not know takes a slot that can be spared.
fn recognise(record: &mut Record, found: &Found<'_>) {
    let [first, second] = &record.slots;
    let is = |slot: &Slot| slot.state != SlotState::Empty && slot.version == found.version;
    record.running = match (is(first), is(second)) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => u8::from(spare(record) == 1),
    };
    if !is(record.running_slot()) {
        let state = match mark_of(found.files, found.version) {
            Some(Mark::Counted { .. }) => SlotState::Trying,
            Some(Mark::Good | Mark::New) | None => SlotState::Good,
        };
        *record.running_slot_mut() = Slot { version: found.version, floor: found.floor, digest: Digest::ZERO, state };
    }
    // A slot file that the record does not know is adopted only where nothing is lost by it.
    if record.other_slot().state == SlotState::Empty {
        let unknown = found.files.iter().find(|file| file.version != found.version && file.mark != Mark::New);
        if let Some(file) = unknown {
            let state = if file.mark == Mark::Good { SlotState::Good } else { SlotState::Trying };
            *record.other_slot_mut() =
                Slot { version: file.version, floor: Version::default(), digest: Digest::ZERO, state };
        }
    }
}

/// Index of the slot that an unknown running image takes: one that is not Good, else the older one.
fn spare(record: &Record) -> usize {
    let [first, second] = &record.slots;
    let rank = |slot: &Slot| match slot.state {
        SlotState::Empty => (0, slot.version),
        SlotState::Writing | SlotState::Staged | SlotState::Bad(_) => (1, slot.version),
        SlotState::Trying => (2, slot.version),
        SlotState::Good => (3, slot.version),
    };
    usize::from(rank(second) < rank(first))
}

/// What the other slot became while this one starts.
fn settle_other(record: &mut Record, found: &Found<'_>) {
    let mark = mark_of(found.files, record.other_slot().version);
    let reset = record.reset;
    let other = *record.other_slot();
    let settled = match (other.state, mark) {
        (SlotState::Writing, _) => SlotState::Empty,
        // Activated, but the name did not change before the power went: a person activates it again.
        (SlotState::Trying, Some(Mark::New)) => SlotState::Staged,
        // The record is older than the names: they tell what had been decided.
        (SlotState::Staged, Some(mark)) if mark.is_live() => SlotState::Trying,
        (SlotState::Trying, Some(Mark::Good)) => SlotState::Good,
        (SlotState::Staged | SlotState::Trying | SlotState::Good, Some(mark)) if mark.is_dead() => {
            SlotState::Bad(reset)
        }
        (SlotState::Staged, None) => SlotState::Empty,
        // No ESP at all tells nothing; an ESP without the file tells that it is gone.
        (SlotState::Trying | SlotState::Good, None) if !found.files.is_empty() => SlotState::Bad(Reset::Missing),
        (state, _) => state,
    };
    if matches!(settled, SlotState::Bad(why) if why != Reset::Missing) && !matches!(other.state, SlotState::Bad(_)) {
        record.deny(other.digest);
    }
    *record.other_slot_mut() =
        if settled == SlotState::Empty { Slot::default() } else { Slot { state: settled, ..other } };
}

/// What the slot that starts became.
fn settle_running(record: &mut Record, found: &Found<'_>) {
    let mark = mark_of(found.files, found.version);
    let running = *record.running_slot();
    let exhausted = record.boots_unconfirmed > STARTS_UNCONFIRMED_MAX;
    let settled = match (running.state, mark) {
        (SlotState::Trying, Some(Mark::Good)) => SlotState::Good,
        // It runs, so it was whole; only its name can say that it is on trial.
        (SlotState::Writing | SlotState::Staged | SlotState::Empty, _) => SlotState::Trying,
        (state, _) => state,
    };
    let failed = match settled {
        SlotState::Trying => exhausted,
        // The only good slot stays good: nothing better is known, and health may confirm it yet.
        SlotState::Good => exhausted && can_start(record.other_slot(), found.files),
        SlotState::Empty | SlotState::Writing | SlotState::Staged | SlotState::Bad(_) => false,
    };
    if failed && settled == SlotState::Trying {
        record.deny(running.digest);
    }
    record.running_slot_mut().state = if failed { SlotState::Bad(Reset::Starts) } else { settled };
}

fn how(record: &Record, found: &Found<'_>) -> Start {
    if record.factory_reset != FactoryReset::None {
        return Start::FactoryReset;
    }
    let mark = mark_of(found.files, found.version);
    match record.running_slot().state {
        SlotState::Good if record.boots_unconfirmed <= STARTS_UNCONFIRMED_MAX => Start::Normal,
        SlotState::Trying => Start::Trying { left: tries_left(mark) },
        // Counted, so that it ends even where the fixes do not hold, or the other slot cannot start after all.
        SlotState::Bad(_)
            if can_start(record.other_slot(), found.files)
                && record.boots_unconfirmed <= STARTS_UNCONFIRMED_MAX.saturating_add(LEAVES_MAX) =>
        {
            Start::Leave
        }
        SlotState::Good | SlotState::Bad(_) | SlotState::Empty | SlotState::Writing | SlotState::Staged => {
            Start::Recovery
        }
    }
}

const fn tries_left(mark: Option<Mark>) -> u8 {
    match mark {
        Some(Mark::Counted { left, .. }) => left,
        Some(Mark::Good | Mark::New) | None => 0,
    }
}

/// Whether the boot loader starts this slot when the running one is dead.
fn can_start(slot: &Slot, files: &[SlotFile]) -> bool {
    slot.state == SlotState::Good && mark_of(files, slot.version).is_some_and(Mark::is_live)
}

/// The mark of a version's file. Of two, which only a power cut in a rename leaves, the one that starts counts.
fn mark_of(files: &[SlotFile], version: Version) -> Option<Mark> {
    let mut marks = files.iter().filter(|file| file.version == version).map(|file| file.mark);
    let first = marks.next()?;
    Some(marks.fold(first, |kept, mark| if kept == Mark::New { mark } else { kept }))
}

/// What the slot files need to follow the record. Ask again with a new listing until nothing is left.
///
/// Files of no slot are deleted only while a Good slot runs, and the running version's file never is.
pub fn fixes(record: &Record, files: &[SlotFile]) -> impl Iterator<Item = Fix> {
    files.iter().filter_map(|file| fix(record, files, *file)).take(FIXES_MAX)
}

fn fix(record: &Record, files: &[SlotFile], file: SlotFile) -> Option<Fix> {
    let rename = |to: Mark| (file.mark != to).then_some(Fix::Rename { from: file, to });
    let slot = record.slots.iter().find(|slot| slot.state != SlotState::Empty && slot.version == file.version);
    let runs = record.running_slot().version == file.version;
    let good_runs = record.running_slot().state == SlotState::Good;
    let Some(slot) = slot else {
        return (good_runs || file.mark == Mark::New).then_some(Fix::Delete(file));
    };
    match (slot.state, file.mark) {
        (SlotState::Good, Mark::Counted { .. }) => rename(Mark::Good),
        (SlotState::Trying, Mark::New) if !runs => rename(Mark::TRIAL),
        (SlotState::Writing | SlotState::Staged, Mark::Good | Mark::Counted { .. }) if !runs && good_runs => {
            Some(Fix::Delete(file))
        }
        (SlotState::Bad(_), Mark::New) => Some(Fix::Delete(file)),
        (SlotState::Bad(_), mark) if mark.is_live() => {
            let others = record.slots.iter().filter(|other| other.version != file.version);
            others.into_iter().any(|other| can_start(other, files)).then(|| rename(Mark::DEAD)).flatten()
        }
        _ => None,
    }
}

/// Takes the slot that does not run for an image. The fixes delete what it held; then write the image.
///
/// # Errors
/// [`StepError::NotConfirmed`], [`StepError::Denied`], [`StepError::Runs`], [`StepError::Resetting`].
pub fn stage(record: &Record, manifest: &Manifest) -> Result<Record, StepError> {
    let (version, digest) = (manifest.version, manifest.uki_sha256);
    if record.factory_reset != FactoryReset::None {
        return Err(StepError::Resetting);
    }
    if record.is_denied(digest) {
        return Err(StepError::Denied);
    }
    if record.running_slot().version == version {
        return Err(StepError::Runs);
    }
    spared(record)?;
    let mut next = *record;
    *next.other_slot_mut() = Slot { version, floor: manifest.floor, digest, state: SlotState::Writing };
    Ok(next)
}

/// A Good slot is given up only while another one has proved itself in this very start.
fn spared(record: &Record) -> Result<(), StepError> {
    let proved = record.running_slot().state == SlotState::Good && record.boots_unconfirmed == 0;
    let spared = proved || record.other_slot().state != SlotState::Good;
    if spared { Ok(()) } else { Err(StepError::NotConfirmed) }
}

/// The image was written, and these are the length and hash of what was read back, checked by `update::Checked::image`.
///
/// # Errors
/// [`StepError::Order`] when no image with this hash is being written.
pub fn staged(record: &Record, read_back: Digest) -> Result<Record, StepError> {
    let other = record.other_slot();
    if other.state != SlotState::Writing || other.digest != read_back {
        return Err(StepError::Order);
    }
    let mut next = *record;
    next.other_slot_mut().state = SlotState::Staged;
    Ok(next)
}

/// Gives the staged image its tries. The fixes rename its file; restart then.
///
/// # Errors
/// [`StepError::Order`] when nothing is staged, [`StepError::Denied`], [`StepError::Resetting`].
pub fn activate(record: &Record) -> Result<Record, StepError> {
    if record.factory_reset != FactoryReset::None {
        return Err(StepError::Resetting);
    }
    let other = record.other_slot();
    if other.state != SlotState::Staged {
        return Err(StepError::Order);
    }
    if record.is_denied(other.digest) {
        return Err(StepError::Denied);
    }
    let mut next = *record;
    next.other_slot_mut().state = SlotState::Trying;
    next.stop = Reset::Update;
    Ok(next)
}

/// Gives up an image that never ran: the slot is empty, and the fixes delete its file.
///
/// # Errors
/// [`StepError::Order`] when the other slot is empty, Good or Bad.
pub fn cancel(record: &Record) -> Result<Record, StepError> {
    match record.other_slot().state {
        SlotState::Writing | SlotState::Staged | SlotState::Trying => {}
        SlotState::Empty | SlotState::Good | SlotState::Bad(_) => return Err(StepError::Order),
    }
    let mut next = *record;
    *next.other_slot_mut() = Slot::default();
    Ok(next)
}

/// Health of the start with this id is good: a candidate becomes Good, a Good slot stays so. The fixes drop the counter
/// from its name.
///
/// # Errors
/// [`StepError::OtherBoot`]; [`StepError::Order`] when the running slot is Bad.
pub fn confirm(record: &Record, boot_id: &BootId, data_mounted: bool) -> Result<Record, StepError> {
    if record.boot_id != *boot_id {
        return Err(StepError::OtherBoot);
    }
    let mut next = *record;
    match record.running_slot().state {
        SlotState::Good => {}
        SlotState::Trying => next.good_running_s = 0,
        SlotState::Empty | SlotState::Writing | SlotState::Staged | SlotState::Bad(_) => return Err(StepError::Order),
    }
    next.running_slot_mut().state = SlotState::Good;
    next.boots_unconfirmed = 0;
    next.data_expected = data_mounted;
    Ok(next)
}

/// A person wants the other slot. The running image is denied, so that nothing brings it back by itself; the fixes mark
/// its file; restart then.
///
/// # Errors
/// [`StepError::NoOther`] when the other slot is not Good, or its file could not start.
pub fn roll_back(record: &Record, files: &[SlotFile]) -> Result<Record, StepError> {
    if !can_start(record.other_slot(), files) {
        return Err(StepError::NoOther);
    }
    let mut next = *record;
    next.deny(record.running_slot().digest);
    next.running_slot_mut().state = SlotState::Bad(Reset::RollBack);
    next.stop = Reset::RollBack;
    Ok(next)
}

/// A person allows an image that failed here to be tried again.
#[must_use]
pub fn forgive(record: &Record, digest: Digest) -> Record {
    let mut next = *record;
    for denied in &mut next.denied {
        if *denied == digest {
            *denied = Digest::ZERO;
        }
    }
    next
}

/// An orderly stop, and why. A stop that a person or the power supply asked for is no failed start; telling it twice
/// changes nothing more.
#[must_use]
pub const fn stop(record: &Record, why: Reset, time_s: u64) -> Record {
    let mut next = *record;
    next.stop = why;
    if time_s > next.time_s {
        next.time_s = time_s;
    }
    if matches!(record.stop, Reset::Unknown) && matches!(why, Reset::Asked | Reset::PowerButton | Reset::Ups) {
        next.boots_unconfirmed = next.boots_unconfirmed.saturating_sub(1);
    }
    next
}

/// Running time has passed since the last tick. After [`FLOOR_AFTER_S`] as Good the running slot's floor counts.
#[must_use]
pub fn tick(record: &Record, ran_s: u64, time_s: u64, contact_s: u64) -> Record {
    let mut next = *record;
    next.time_s = record.time_s.max(time_s);
    next.contact_s = record.contact_s.max(contact_s);
    if record.running_slot().state == SlotState::Good && record.boots_unconfirmed == 0 {
        next.good_running_s = record.good_running_s.saturating_add(ran_s);
        if next.good_running_s >= FLOOR_AFTER_S {
            next.floor = record.floor.max(record.running_slot().floor);
        }
    }
    next
}

/// The next step of a factory reset is done; [`FactoryReset::Asked`] begins one. After the last step nothing is left of
/// what the machine knew, but the slots, what failed in them and the floor stay: a reset must not open the way back to an
/// old image.
///
/// # Errors
/// [`StepError::Order`] when the step does not follow the one before.
pub fn factory_reset(record: &Record, done: FactoryReset) -> Result<Record, StepError> {
    let mut next = *record;
    next.factory_reset = match (record.factory_reset, done) {
        (FactoryReset::None, FactoryReset::Asked) => FactoryReset::Asked,
        (FactoryReset::Asked, FactoryReset::VarErased) => FactoryReset::VarErased,
        (FactoryReset::VarErased, FactoryReset::DataErased) => FactoryReset::DataErased,
        (FactoryReset::DataErased, FactoryReset::None) => FactoryReset::None,
        _ => return Err(StepError::Order),
    };
    next.stop = Reset::FactoryReset;
    if done == FactoryReset::None {
        next.contact_s = 0;
        next.data_expected = false;
    }
    Ok(next)
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Disks for a person without a shell: what each is to this machine, and the steps that make a blank one hold the data. A
//! disk is named by its serial number. One that holds anything is never touched from here.

use crate::block::{self, Disk};
use crate::children;
use crate::data::{self, ARRAY};
use crate::lock::Lock;
use adit_slots::layout::{DATA_NAME, DATA_TYPE, ESP_TYPE, MIRROR_NAME, MIRROR_TYPE};
use adit_wire::appliance::Share;
use adit_wire::ids::PublicKey;
use adit_wire::refusal::Code;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Members of the mirror.
const MEMBERS: &str = "2";
/// The smallest disk that is taken, bytes.
const BYTES_MIN: u64 = 64 << 20;
/// How much is read at a time to let a light blink, and the pause after it.
const BLINK_BYTES: usize = 1 << 20;
const BLINK_PAUSE: Duration = Duration::from_millis(300);

/// What a disk is to this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It boots the machine; the data may lie on it too.
    System,
    /// It holds the data alone.
    Data,
    /// One of two that hold the data.
    Member,
    /// It is being filled from the other member.
    Rebuilding,
    /// It belonged to the mirror and failed.
    Failed,
    /// Nothing lies on it.
    Blank,
    /// Something lies on it that is not ours.
    Foreign,
}

impl Part {
    /// In a word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Data => "data",
            Self::Member => "member",
            Self::Rebuilding => "rebuilding",
            Self::Failed => "failed",
            Self::Blank => "blank",
            Self::Foreign => "foreign",
        }
    }
}

/// Why an order was not carried out.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: Code,
    pub(crate) detail: String,
}

impl Refused {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Code::DiskFailed, format!("{error:#}"))
    }
}

/// A disk and what it is.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) disk: Disk,
    pub(crate) part: Part,
    pub(crate) holds: String,
}

/// All disks, by serial number.
pub(crate) fn list() -> Vec<Known> {
    let mut known: Vec<Known> = block::disks().into_iter().map(know).collect();
    known.sort_by(|one, other| one.disk.serial.cmp(&other.disk.serial));
    known
}

fn know(disk: Disk) -> Known {
    let holds = disk.holds().unwrap_or_else(|error| format!("not readable ({error:#})"));
    let member = disk.partition(MIRROR_TYPE);
    let part = if disk.partition(ESP_TYPE).is_some() && disk.partition(adit_slots::layout::STATE_TYPE).is_some() {
        Part::System
    } else if let Some(member) = member {
        member_part(&member.path)
    } else if disk.partition(DATA_TYPE).is_some() {
        Part::Data
    } else if holds.is_empty() {
        Part::Blank
    } else {
        Part::Foreign
    };
    Known { disk, part, holds }
}

/// The state of a member as md tells it (Documentation/admin-guide/md.rst): a comma-separated list of words.
fn member_part(path: &Path) -> Part {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let state = fs::read_to_string(format!("/sys/block/md127/md/dev-{name}/state")).unwrap_or_default();
    match state.trim() {
        state if state.contains("in_sync") => Part::Member,
        state if state.contains("faulty") => Part::Failed,
        state if state.contains("spare") => Part::Rebuilding,
        // Not in the array: it was left behind when it failed.
        _ => Part::Failed,
    }
}

fn find(serial: &str) -> Result<Known, Refused> {
    let mut found: Vec<Known> = list().into_iter().filter(|known| known.disk.serial == serial).collect();
    match (found.pop(), found.is_empty()) {
        (Some(one), true) if !serial.is_empty() => Ok(one),
        (Some(_), false) => Err(Refused::new(Code::DiskUnknown, format!("two disks say that they are {serial}"))),
        _ => Err(Refused::new(Code::DiskUnknown, format!("no disk {serial} is here"))),
    }
}

/// A disk that may be written over: blank, large enough, in use by nothing.
fn blank(serial: &str) -> Result<Disk, Refused> {
    let known = find(serial)?;
    match known.part {
        Part::Blank => {}
        Part::Foreign => return Err(Refused::new(Code::DiskHolds, format!("{serial} holds {}", known.holds))),
        part @ (Part::System | Part::Data | Part::Member | Part::Rebuilding | Part::Failed) => {
            return Err(Refused::new(Code::DiskInUse, format!("{serial} is {} here", part.word())));
        }
    }
    if known.disk.bytes < BYTES_MIN {
        return Err(Refused::new(Code::DiskTooSmall, format!("{serial} has {} MB", known.disk.bytes / 1_000_000)));
    }
    Ok(known.disk)
}

/// Whether data to come are encrypted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Closed<'a> {
    /// They are not.
    No,
    /// They are; the share and the peer that holds it.
    By(&'a Share, PublicKey),
}

/// Takes one disk for the data, or two as a mirror. Data that lie elsewhere already are not moved: then it is refused.
pub(crate) fn take(
    (serial, mirror): (&str, &str),
    boot_holds_data: bool,
    lock: &Lock,
    closed: Closed<'_>,
    mut tell: impl FnMut(&str),
) -> Result<(), Refused> {
    if list().iter().any(|known| matches!(known.part, Part::Data | Part::Member | Part::Rebuilding | Part::Failed)) {
        return Err(Refused::new(Code::DiskInUse, "the data lie on another disk already"));
    }
    if lock.holders().is_some() {
        // A new key would make the old one, and all behind it, worthless: the disk may only be unplugged.
        return Err(Refused::new(
            Code::DiskInUse,
            "encrypted data lie on a disk that is not here; only a person at the box may give them up",
        ));
    }
    if boot_holds_data {
        return Err(Refused::new(
            Code::DiskInUse,
            "backups lie on the boot disk already; they cannot be moved to another disk yet",
        ));
    }
    let first = blank(serial)?;
    if mirror == serial {
        return Err(Refused::new(Code::DiskUnknown, "a mirror needs two disks"));
    }
    let second = if mirror.is_empty() { None } else { Some(blank(mirror)?) };
    if let Closed::By(_, holder) = closed {
        lock.begin(holder)?;
    }
    data::forget_place()?;
    let made = make(&first, second.as_ref(), lock, closed, &mut tell);
    if made.is_err()
        && matches!(closed, Closed::By(..))
        && let Err(error) = undo(&first, second.as_ref(), lock)
    {
        log::error!("take back what was begun: {error:#}");
    }
    made
}

/// Nothing lies on the disks yet: they become blank again, and the key is forgotten, so that the same order can come again.
fn undo(first: &Disk, second: Option<&Disk>, lock: &Lock) -> anyhow::Result<()> {
    data::stop();
    first.blank()?;
    second.map_or(Ok(()), Disk::blank)?;
    lock.forget()
}

fn make(
    first: &Disk,
    second: Option<&Disk>,
    lock: &Lock,
    closed: Closed<'_>,
    tell: &mut impl FnMut(&str),
) -> Result<(), Refused> {
    let Some(second) = second else {
        tell("makes a partition");
        let path = first.partition_whole(DATA_NAME, DATA_TYPE)?;
        return fill(path, lock, closed, tell);
    };
    tell("makes partitions");
    let paths = [first.partition_whole(MIRROR_NAME, MIRROR_TYPE)?, second.partition_whole(MIRROR_NAME, MIRROR_TYPE)?];
    let [first, second] = &paths;
    tell("makes the mirror");
    create(&[&text(first)?, &text(second)?])?;
    fill(PathBuf::from(ARRAY), lock, closed, tell)
}

/// Makes the file system, in an encrypted volume where one is wanted.
fn fill(path: PathBuf, lock: &Lock, closed: Closed<'_>, tell: &mut impl FnMut(&str)) -> Result<(), Refused> {
    let path = match closed {
        Closed::No => path,
        Closed::By(share, _) => {
            tell("makes an encrypted volume");
            lock.make(&path, share)?
        }
    };
    tell("makes a file system");
    Ok(data::format(&path, DATA_NAME)?)
}

/// Both disks were just blanked, so what they hold is alike enough for a mirror: what was never written is never read.
fn create(members: &[&str]) -> Result<(), Refused> {
    let fixed = [
        "--create",
        ARRAY,
        "--run",
        "--level=1",
        "--metadata=1.2",
        "--homehost=any",
        "--name=adit-data",
        "--bitmap=internal",
        "--assume-clean",
        "--raid-devices",
        MEMBERS,
    ];
    Ok(children::must("/sbin/mdadm", &[&fixed[..], members].concat()).map(drop)?)
}

/// Puts a blank disk into the mirror in place of one that failed or is gone.
pub(crate) fn replace(old: &str, new: &str, mut tell: impl FnMut(&str)) -> Result<(), Refused> {
    let degraded = block::number(Path::new("/sys/block/md127/md/degraded"));
    if degraded.is_none_or(|missing| missing == 0) {
        return Err(Refused::new(Code::DiskNoPlace, "the mirror is whole, or there is none"));
    }
    if let Some(known) = list().into_iter().find(|known| known.disk.serial == old) {
        if known.part != Part::Failed {
            return Err(Refused::new(Code::DiskInUse, format!("{old} is {} here", known.part.word())));
        }
        leave(&known)?;
    }
    let fresh = blank(new)?;
    if fresh.partition_room() < member_bytes() {
        return Err(Refused::new(Code::DiskTooSmall, format!("{new} is smaller than the disk that it replaces")));
    }
    // What was pulled has no name any more; nothing to remove is no failure.
    let _gone = children::run("/sbin/mdadm", &[ARRAY, "--remove", "detached"])?;
    tell("makes a partition");
    let path = text(&fresh.partition_whole(MIRROR_NAME, MIRROR_TYPE)?)?;
    tell("adds the disk to the mirror, which fills it now");
    children::must("/sbin/mdadm", &[ARRAY, "--add", &path])?;
    Ok(())
}

/// What a member of the array needs: the data of each, in KiB, behind what md keeps before them, in sectors of 512 bytes.
fn member_bytes() -> u64 {
    let array = Path::new("/sys/block/md127/md");
    let data = block::number(&array.join("component_size")).unwrap_or_default().saturating_mul(1_024);
    let members = fs::read_dir(array).into_iter().flatten().flatten();
    let members = members.filter(|entry| entry.file_name().to_string_lossy().starts_with("dev-"));
    let before = members.filter_map(|member| block::number(&member.path().join("offset"))).max().unwrap_or_default();
    data.saturating_add(before.saturating_mul(512))
}

/// Takes a member out of the array, if it still is in it.
fn leave(known: &Known) -> Result<(), Refused> {
    let member = known.disk.partition(MIRROR_TYPE).map(|member| text(&member.path)).transpose()?;
    if let Some(member) = member {
        let _not_in_it = children::run("/sbin/mdadm", &[ARRAY, "--fail", &member])?;
        let _not_in_it = children::run("/sbin/mdadm", &[ARRAY, "--remove", &member])?;
    }
    Ok(())
}

/// Takes a healthy member out of the mirror.
pub(crate) fn retire(serial: &str) -> Result<(), Refused> {
    let known = find(serial)?;
    if known.part != Part::Member {
        return Err(Refused::new(
            Code::DiskInUse,
            format!("{serial} is {}, not a member of a mirror", known.part.word()),
        ));
    }
    let whole = list().iter().filter(|known| known.part == Part::Member).count();
    if whole < 2 {
        return Err(Refused::new(Code::DiskLast, "the other disk is not whole"));
    }
    leave(&known)
}

/// Empties a disk that is not in use, for a person at the box: both ends, where every table and file system has its marks.
pub(crate) fn empty(serial: &str) -> Result<(), Refused> {
    let known = find(serial)?;
    let free = match known.part {
        Part::Foreign | Part::Failed => true,
        // Prepared for data, but they never came up on it.
        Part::Data => known.disk.partition(DATA_TYPE).is_some_and(|partition| !data::is_used(&partition.path)),
        Part::System | Part::Member | Part::Rebuilding | Part::Blank => false,
    };
    if !free {
        return Err(Refused::new(Code::DiskInUse, format!("{serial} is {}", known.part.word())));
    }
    if known.part == Part::Failed {
        leave(&known)?;
    }
    Ok(known.disk.blank()?)
}

/// Lets a disk's light blink by reading from it, in the background.
pub(crate) fn locate(serial: &str, seconds: u16) -> Result<(), Refused> {
    let path: PathBuf = find(serial)?.disk.path();
    let blink = move || {
        let until = Instant::now() + Duration::from_secs(u64::from(seconds));
        let mut buffer = vec![0; BLINK_BYTES];
        let Ok(mut disk) = File::open(path) else { return };
        while Instant::now() < until {
            // Another place each time: what is cached moves no head and lights no lamp.
            if disk.read_exact(&mut buffer).is_err() && disk.seek(SeekFrom::Start(0)).is_err() {
                return;
            }
            thread::sleep(BLINK_PAUSE);
        }
    };
    thread::Builder::new()
        .name("locate".to_owned())
        .spawn(blink)
        .map(drop)
        .map_err(|error| anyhow::Error::from(error).into())
}

fn text(path: &Path) -> Result<String, Refused> {
    path.to_str().map(str::to_owned).ok_or_else(|| Refused::new(Code::DiskFailed, "a device's name is no text"))
}

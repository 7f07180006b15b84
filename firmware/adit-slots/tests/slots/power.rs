// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Power cuts while the ESP changes: after every write of every step, with every set of unflushed sectors lost, the volume
//! is opened, healed, and read by another driver (`fatfs`). What was good before must be there, whole, once.
//!
//! A disk keeps what was written before its last flush. Of what came after, any sectors may be there and any may be
//! missing; where these are too many sets to try: none, all, the newest lost or alone kept, one lost, and random ones.

use crate::checked::{Wrong, wrong_with};
use crate::overlay::{Changed, Done, ForFatfs, Overlay};
use adit_slots::esp::{Esp, FILES_MAX, Healed};
use adit_slots::name::{Mark, SlotFile};
use adit_slots::version::Version;
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use std::collections::{BTreeSet, HashSet};
use std::io::{Read as _, Write as _};
use std::rc::Rc;

/// All sets of this many unflushed sectors are tried; of more, those named above.
const SECTORS_ALL_SETS: usize = 6;
const RANDOM_SETS: u64 = 8;
const SEED: u64 = 0x5EED_0E5B;

pub(crate) const OLD: Version = Version::new(1, 0, 0);
pub(crate) const NEW: Version = Version::new(1, 1, 0);
const TRIED: Mark = Mark::Counted { left: 2, done: 1 };

pub(crate) fn content(version: Version, cluster_bytes: usize) -> Vec<u8> {
    // The old one ends shortly before a sector of the table does where sectors are small, so the new one takes two.
    let clusters = if version == OLD { 100 } else { 30 };
    let length = clusters * cluster_bytes + 17;
    (0..length).map(|at| u8::try_from((at * 31 + usize::from(version.minor) * 7) % 251).expect("a byte")).collect()
}

/// A volume as another program made it: folders, the boot loader, some foreign files that move the others about, and a
/// good slot.
pub(crate) fn volume(sector_bytes: usize, foreign_files: usize) -> Overlay {
    let sectors = 68_000_u32;
    // What a disk held before shows through where a driver forgets to write. (The large one stays sparse in memory.)
    let before = if sector_bytes == 512 { 0xA5 } else { 0 };
    let mut disk = Overlay::new(vec![before; sectors as usize * sector_bytes], sector_bytes);
    let options = FormatVolumeOptions::new().fat_type(FatType::Fat32).total_sectors(sectors);
    let options = options.bytes_per_sector(u16::try_from(sector_bytes).expect("at most 4096"));
    let cluster_bytes = u32::try_from(sector_bytes).expect("small");
    format_volume(ForFatfs::new(&mut disk), options.bytes_per_cluster(cluster_bytes)).expect("formatted");
    {
        let volume = FileSystem::new(ForFatfs::new(&mut disk), FsOptions::new()).expect("a volume");
        let root = volume.root_dir();
        for folder in ["EFI", "EFI/BOOT", "EFI/Linux", "loader"] {
            root.create_dir(folder).expect("a folder");
        }
        let write = |path: &str, bytes: &[u8]| root.create_file(path).and_then(|mut f| f.write_all(bytes)).expect(path);
        write("EFI/BOOT/BOOTX64.EFI", b"boot loader");
        write("loader/loader.conf", b"timeout 0\n");
        write("adit.toml", b"# preseed\n");
        for number in 0..foreign_files {
            write(&format!("EFI/Linux/foreign{number}.txt"), b"somebody else's");
        }
        let name = SlotFile { version: OLD, mark: Mark::Good }.name().expect("a name");
        write(&format!("EFI/Linux/{}", name.as_str()), &content(OLD, sector_bytes));
    }
    let mut base = disk.base.to_vec();
    for (number, bytes) in &disk.changed {
        let start = usize::try_from(*number).expect("small") * sector_bytes;
        base[start..start + sector_bytes].copy_from_slice(bytes);
    }
    Overlay::new(base, sector_bytes)
}

/// A step of an update's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Stage,
    Activate,
    /// The boot loader counts down, by another driver.
    Firmware,
    Confirm,
    RollBack,
    Delete,
}

const STEPS: [Step; 6] = [Step::Stage, Step::Activate, Step::Firmware, Step::Confirm, Step::RollBack, Step::Delete];

impl Step {
    /// The version that it changes, and its mark before and after; `None` is "no file".
    fn change(self) -> (Version, Option<Mark>, Option<Mark>) {
        match self {
            Self::Stage => (NEW, None, Some(Mark::New)),
            Self::Activate => (NEW, Some(Mark::New), Some(Mark::TRIAL)),
            Self::Firmware => (NEW, Some(Mark::TRIAL), Some(TRIED)),
            Self::Confirm => (NEW, Some(TRIED), Some(Mark::Good)),
            Self::RollBack => (OLD, Some(Mark::Good), Some(Mark::DEAD)),
            Self::Delete => (OLD, Some(Mark::DEAD), None),
        }
    }

    fn run(self, disk: Overlay) -> Overlay {
        let (version, before, after) = self.change();
        let file = |mark| SlotFile { version, mark };
        if self == Self::Firmware {
            return rename_by_firmware(disk, file(Mark::TRIAL), file(TRIED));
        }
        let sector_bytes = disk.sector_bytes;
        let mut esp = Esp::open(disk, 0).expect("a volume");
        match (before, after) {
            (None, Some(mark)) => {
                let bytes = content(version, sector_bytes);
                let size = u32::try_from(bytes.len()).expect("small");
                let mut told = 0;
                esp.write(file(mark), size, &mut bytes.as_slice(), &mut |written| told = written).expect("written");
                assert_eq!(told, u64::from(size));
            }
            (Some(from), Some(to)) => esp.rename(file(from), to).expect("renamed"),
            (Some(mark), None) => {
                esp.delete(file(mark)).expect("deleted");
                esp.heal(&mut [0; 9000]).expect("healed");
            }
            (None, None) => {}
        }
        esp.into_disk()
    }
}

/// What the firmware's driver does to a name: the old one is removed, a new one made, all within its cache; then every
/// sector that changed is written, and flushed.
fn rename_by_firmware(disk: Overlay, from: SlotFile, to: SlotFile) -> Overlay {
    let mut after = disk.clone();
    {
        let volume = FileSystem::new(ForFatfs::new(&mut after), FsOptions::new()).expect("a volume");
        let folder = volume.root_dir().open_dir("EFI/Linux").expect("the folder");
        let [from, to] = [from, to].map(|file| file.name().expect("a name"));
        folder.rename(from.as_str(), &folder, to.as_str()).expect("renamed");
    }
    let written: Vec<Done> = after
        .changed
        .iter()
        .filter(|(number, bytes)| disk.sector(**number) != bytes.as_slice())
        .map(|(number, bytes)| Done::Sector(*number, Rc::clone(bytes)))
        .collect();
    after.log = written.into_iter().chain([Done::Flush]).collect();
    after
}

/// Every state that a disk can be in after a power cut somewhere in a log.
fn after_cuts(before: &Overlay, log: &[Done]) -> Vec<Changed> {
    let mut durable = before.changed.clone();
    let mut open: Vec<(u64, Rc<Vec<u8>>)> = Vec::new();
    let mut states = vec![durable.clone()];
    let mut random = SEED;
    for done in log {
        match done {
            Done::Flush => {
                durable.extend(open.drain(..));
                states.push(durable.clone());
            }
            Done::Sector(number, bytes) => {
                open.push((*number, Rc::clone(bytes)));
                // Sets without this write were tried after the one before.
                states.extend(sets(open.len(), &mut random).into_iter().map(|kept| {
                    let mut state = durable.clone();
                    let chosen = open.iter().enumerate().filter(|(index, _)| kept.contains(index));
                    state.extend(chosen.map(|(_, (number, bytes))| (*number, Rc::clone(bytes))));
                    state
                }));
            }
        }
    }
    states
}

/// Sets of writes that reached the medium, out of `count`.
fn sets(count: usize, random: &mut u64) -> Vec<BTreeSet<usize>> {
    if count <= SECTORS_ALL_SETS {
        return (0..1_usize << count).map(|bits| (0..count).filter(|index| bits >> index & 1 == 1).collect()).collect();
    }
    let newest = count - 1;
    let mut sets = vec![(0..count).collect(), BTreeSet::new(), BTreeSet::from([newest]), (0..newest).collect()];
    let lost = usize::try_from(*random % newest as u64).expect("small");
    sets.push((0..count).filter(|index| *index != lost).collect());
    for _ in 0..RANDOM_SETS {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        sets.push((0..count).filter(|index| *random >> (index % 60) & 8 != 0).collect());
    }
    sets
}

/// The slot files as the other driver reads them.
fn read_by_fatfs(disk: &mut Overlay) -> Vec<(SlotFile, Vec<u8>)> {
    let volume = FileSystem::new(ForFatfs::new(disk), FsOptions::new()).expect("a volume");
    let root = volume.root_dir();
    for (path, bytes) in [("EFI/BOOT/BOOTX64.EFI", b"boot loader".as_slice()), ("adit.toml", b"# preseed\n")] {
        let mut found = Vec::new();
        root.open_file(path).expect(path).read_to_end(&mut found).expect(path);
        assert_eq!(found, bytes);
    }
    let folder = root.open_dir("EFI/Linux").expect("the folder");
    let entries = folder.iter().map(|entry| entry.expect("an entry"));
    let slots = entries.filter_map(|entry| Some((SlotFile::parse(entry.file_name().as_bytes())?, entry)));
    slots
        .map(|(file, entry)| {
            let mut bytes = Vec::new();
            // A chain that ends early gives what there is; the comparison tells.
            drop(entry.to_file().read_to_end(&mut bytes));
            (file, bytes)
        })
        .collect()
}

/// Heals a disk after a cut and looks at it. Gives the disk and what healing did.
fn check(disk: Overlay, step: Step, prepared: &str) -> (Overlay, Healed) {
    let sector_bytes = disk.sector_bytes;
    let mut esp = Esp::open(disk, 0).expect("a volume");
    let healed = esp.heal(&mut [0; 9000]).unwrap_or_else(|error| panic!("{step:?} {prepared}: {error:?}"));
    let mut listed = [SlotFile { version: OLD, mark: Mark::Good }; FILES_MAX];
    let count = esp.files(&mut listed).expect("a listing");
    let mut disk = esp.into_disk();
    let log = std::mem::take(&mut disk.log);
    assert_eq!(wrong_with(&disk), Wrong::default(), "{step:?} {prepared}");
    let found = read_by_fatfs(&mut disk);
    disk.log = log;
    assert_eq!(listed[..count].to_vec(), found.iter().map(|(file, _)| *file).collect::<Vec<_>>());
    let (subject, before, after) = step.change();
    for (file, bytes) in &found {
        assert!(*bytes == content(file.version, sector_bytes), "{file:?} is not whole: {step:?} {prepared}");
    }
    let marks = |version| found.iter().filter(|(f, _)| f.version == version).map(|(f, _)| f.mark).collect::<Vec<_>>();
    let allowed = |mark: &Mark| Some(*mark) == before || Some(*mark) == after;
    match marks(subject).as_slice() {
        [mark] => assert!(allowed(mark), "{mark:?}: {step:?} {prepared}"),
        // Another driver than ours may lose the candidate's name; never a good slot's.
        [] => assert!(before.is_none() || after.is_none() || step == Step::Firmware, "gone: {step:?} {prepared}"),
        two => panic!("{two:?}: {step:?} {prepared}"),
    }
    let (other, mark) = if subject == NEW { (OLD, Mark::Good) } else { (NEW, Mark::Good) };
    assert_eq!(marks(other), [mark], "{step:?} {prepared}");
    (disk, healed)
}

#[derive(Debug, Default)]
struct Tried {
    writes: usize,
    states: usize,
    second_names: u32,
    clusters: u32,
    table_sectors: u32,
    one_sector_renames: usize,
    other_renames: usize,
    cuts_while_healing: usize,
}

/// The life of one update, with cuts in each of its steps.
fn life(sector_bytes: usize, foreign_files: usize, tried: &mut Tried) {
    let mut disk = volume(sector_bytes, foreign_files);
    for step in STEPS {
        let before = disk.with(disk.changed.clone());
        let done = step.run(before.clone());
        let sectors = done.log.iter().filter(|done| **done != Done::Flush).count();
        tried.writes += sectors;
        if matches!(step, Step::Activate | Step::Confirm | Step::RollBack) {
            if sectors == 1 { tried.one_sector_renames += 1 } else { tried.other_renames += 1 }
        }
        let mut seen = HashSet::new();
        let states = after_cuts(&before, &done.log).into_iter().filter(|state| seen.insert(state.clone()));
        for (number, state) in states.enumerate() {
            let prepared = format!("{sector_bytes} B, {foreign_files} foreign files, state {number}");
            let cut = before.with(state);
            let (mended, healed) = check(cut.clone(), step, &prepared);
            tried.states += 1;
            tried.second_names += healed.names;
            tried.clusters += healed.clusters;
            tried.table_sectors += healed.table_sectors;
            // Healing itself may be cut; one cut per write is enough, its flushes are tried above.
            let mut again = cut.changed.clone();
            for written in mended.log {
                let Done::Sector(at, bytes) = written else { continue };
                again.insert(at, bytes);
                check(cut.with(again.clone()), step, &prepared);
                tried.cuts_while_healing += 1;
            }
        }
        disk = done;
        check(disk.with(disk.changed.clone()), step, "whole");
    }
}

#[test]
fn every_power_cut_on_512_byte_sectors() {
    let mut tried = Tried::default();
    for foreign_files in 0..16 {
        life(512, foreign_files, &mut tried);
    }
    println!("seed {SEED:#x}: {tried:?}");
    assert!(tried.states > 500 && tried.second_names > 0 && tried.clusters > 0 && tried.table_sectors > 0);
    assert!(tried.one_sector_renames > 0 && tried.other_renames > 0 && tried.cuts_while_healing > 0);
}

#[test]
fn every_power_cut_on_4096_byte_sectors() {
    let mut tried = Tried::default();
    for foreign_files in [0, 40, 41, 42] {
        life(4096, foreign_files, &mut tried);
    }
    println!("seed {SEED:#x}: {tried:?}");
    assert!(tried.states > 100 && tried.clusters > 0 && tried.one_sector_renames > 0);
}

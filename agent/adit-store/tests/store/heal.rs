// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What rots on one disk is healed on that disk alone: bits, regions, unreadable blocks, whole files, at structural and
//! random places, and with the power going while it is healed. A healed store verifies and gives back what it took.
//!
//! A failure prints its seed; `ADIT_HEAL_SEED=n` runs that one case.

use crate::support::{Made, Rng, TINY, TestSource, at, backup, created, new_store, open, reboot, send, verify};
use adit_store::disk::{Disk, Image, Mode};
use adit_store::{Access, Event, Geometry, ScrubStep, SimDisk, Store};
use adit_wire::ids::{Id, SourceId};
use std::sync::{Arc, Mutex};

/// Any region of two columns less one cell comes back.
const LONGEST: u64 = (2 << 14) - 4096;
const RANDOM_CASES: u64 = 10_000;
const SUBSETS: u64 = 8;

/// A closed store, all segments but the open ones sealed, and what was put into it.
struct Filled {
    image: Image,
    source: SourceId,
    records: Vec<Made>,
    /// Files that are the store's, with their lengths. The index is derived, and rebuilt.
    files: Vec<(String, u64)>,
}

fn filled() -> Filled {
    let disk = created(TINY);
    let mut store = open(&disk);
    let mut source = TestSource::new(1);
    store.put_source(source.source(), at(0)).expect("a source");
    let mut records = Vec::new();
    for run in 0..6 {
        records.extend(backup(&mut store, &mut source, 20, run + 1).0.records);
    }
    scrub(&mut store, 10);
    store.close(at(10)).expect("a clean end");
    let disk = reboot(&disk);
    let files = disk.paths().into_iter().filter(|path| !path.starts_with("idx/") && path != "par/scrub");
    let files: Vec<_> = files.map(|path| (path.clone(), length(&disk, &path))).collect();
    assert!(files.iter().filter(|(path, _)| path.starts_with("seg/")).count() > 2, "{files:?}");
    assert!(files.iter().filter(|(path, _)| path.starts_with("par/")).count() > 4, "{files:?}");
    Filled { image: disk.image(), source: source.id, records, files }
}

fn length(disk: &SimDisk, path: &str) -> u64 {
    let file = disk.open(path, Mode::Read).expect("a file");
    let length = disk.len(file).expect("its length");
    disk.close(file);
    length
}

/// Reads everything until nothing is due.
fn scrub(store: &mut Store, seconds: u64) {
    store.scrub_now(at(seconds));
    for _ in 0..100_000 {
        if store.scrub_step(64 << 10, at(seconds + 1)).expect("a scrub reads") == ScrubStep::Idle {
            return;
        }
    }
    panic!("the scrub never ends: {:?}", store.scrub_status());
}

/// Opens a damaged store, lets it heal, and compares all of it.
fn heals(filled: &Filled, disk: SimDisk, seconds: u64, case: &dyn std::fmt::Debug) -> Vec<Event> {
    let (mut store, opening) = Store::open(disk, Access::ReadWrite, at(seconds)).expect("it opens");
    assert_eq!(opening.read_only, None, "{case:?}");
    scrub(&mut store, seconds);
    let events = store.take_events();
    assert_eq!(store.read_only(), None, "{case:?} {events:?}");
    let report = verify(&mut store);
    assert!(report.is_clean() && report.healed_ranges.is_empty(), "{case:?} {report:?}");
    for made in &filled.records {
        let read = store.read_record(&filled.source, &made.id).expect("a healthy record");
        assert_eq!(read.as_ref(), Some(&made.bytes), "{case:?}");
    }
    assert!(store.snapshots(&filled.source).iter().all(|snapshot| snapshot.complete), "{case:?}");
    let status = store.scrub_status();
    assert_eq!((status.without_parity, status.never_read, status.left_to_read), (0, 0, 0), "{case:?}");
    events
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip,
    Spoil,
    Lose,
}

fn damage(disk: &SimDisk, path: &str, from: u64, to: u64, how: Damage) {
    match how {
        Damage::Flip => disk.flip(path, from, 1 << (from % 8)),
        Damage::Spoil => (from..to).for_each(|offset| disk.flip(path, offset, 0xff)),
        Damage::Lose => disk.lose(path, from, to),
    }
}

/// Whether a heal has to show: what lies behind a ledger's last block, or is read as zero anyway, may rot unseen.
fn must_show(path: &str, how: Damage) -> bool {
    !path.starts_with("ledger/") && !matches!(how, Damage::Lose)
}

fn one_case(filled: &Filled, path: &str, (from, to): (u64, u64), how: Damage, case: &dyn std::fmt::Debug) {
    let disk = SimDisk::from_image(filled.image.clone());
    damage(&disk, path, from, to, how);
    let events = heals(filled, disk, 1_000, case);
    assert!(!must_show(path, how) || !events.is_empty(), "{case:?}: nothing was said");
}

#[test]
fn structural_places_heal() {
    let filled = filled();
    let mut cases = 0;
    for (path, length) in &filled.files {
        for start in (0..*length).step_by(4096) {
            for from in [start.saturating_sub(1), start, start + 1, start + 64] {
                let to = (from + LONGEST).min(*length);
                if from >= to {
                    continue;
                }
                let how = [Damage::Flip, Damage::Spoil, Damage::Lose][cases % 3];
                // A drive loses whole blocks.
                let to = if matches!(how, Damage::Lose) { to.min((from & !4095) + LONGEST) } else { to };
                one_case(&filled, path, (from, to), how, &(path, from, to, how));
                cases += 1;
            }
        }
    }
    assert!(cases > 800, "{cases}");
    println!("healed {cases} structural cases");
}

#[test]
fn random_places_heal() {
    let filled = filled();
    let only = std::env::var("ADIT_HEAL_SEED").ok().map(|seed| seed.parse::<u64>().expect("a number"));
    for seed in only.map_or(0..RANDOM_CASES, |seed| seed..seed + 1) {
        let mut rng = Rng(seed);
        let (path, length) = &filled.files[usize::try_from(rng.below(filled.files.len() as u64)).expect("few")];
        let from = rng.below(*length);
        let how =
            [Damage::Flip, Damage::Flip, Damage::Spoil, Damage::Lose][usize::try_from(rng.below(4)).expect("few")];
        let longest = if matches!(how, Damage::Lose) { LONGEST - from % 4096 } else { LONGEST };
        let to = (from + 1 + rng.below(longest)).min(*length).min(from + longest);
        one_case(&filled, path, (from, to), how, &(seed, path, from, to, how));
    }
    println!("healed {RANDOM_CASES} random cases");
}

/// A parity file or a small segment that is gone, or cut short, comes back whole.
#[test]
fn lost_files_come_back() {
    let filled = filled();
    let mut cases = 0;
    for (path, length) in &filled.files {
        if path.starts_with("ledger/") && *length > LONGEST {
            continue;
        }
        for keep in [None, Some(length.saturating_sub(LONGEST)), Some(length / 2), Some(length - 1)] {
            let lost = length - keep.unwrap_or(0);
            if (path.starts_with("seg/") || path.starts_with("met/")) && lost > LONGEST {
                continue;
            }
            let disk = SimDisk::from_image(filled.image.clone());
            match keep {
                None => disk.remove(path).expect("it goes"),
                Some(keep) => {
                    let file = disk.open(path, Mode::Write).expect("a file");
                    disk.set_len(file, keep).expect("it is cut");
                    disk.close(file);
                }
            }
            heals(&filled, disk, 1_000, &(path, keep));
            cases += 1;
        }
    }
    assert!(cases > 30, "{cases}");
}

/// The power goes at every write, flush and directory operation of a heal, each time with eight random subsets of what
/// was not flushed: the next start heals what is left.
#[test]
fn a_heal_that_is_cut_is_done_again() {
    let filled = filled();
    let mut cuts = 0;
    for (case, kind) in ["seg/", "met/", "par/", "ledger/", "store"].into_iter().enumerate() {
        let (path, length) = filled.files.iter().find(|(path, _)| path.starts_with(kind)).expect("a file of each kind");
        let disk = SimDisk::from_image(filled.image.clone());
        let to = (*length).min(9_000);
        damage(&disk, path, 100, to, if case % 2 == 0 { Damage::Spoil } else { Damage::Lose });
        let boundaries: Arc<Mutex<Vec<Image>>> = Arc::default();
        let recorder = Arc::clone(&boundaries);
        disk.watch(move |_, image| recorder.lock().expect("no panic while recording").push(image.clone()));
        heals(&filled, disk, 1_000, &kind);
        let boundaries = std::mem::take(&mut *boundaries.lock().expect("no panic while recording"));
        for (place, image) in boundaries.iter().enumerate() {
            for subset in 0..SUBSETS {
                let seed = (case as u64) << 32 | (place as u64) << 8 | subset;
                heals(&filled, SimDisk::power_cut(image, seed, None), 2_000, &(kind, place, subset));
                cuts += 1;
            }
        }
    }
    assert!(cuts > 500, "{cuts}");
    println!("cut {cuts} heals");
}

/// A sector that takes no write: the segment is written anew and the bad file set aside.
#[test]
fn what_cannot_be_rewritten_in_place_moves() {
    let filled = filled();
    // The last cell of a file is shorter than its block: writing it needs the rest of the block, which can't be read.
    let (path, length) = filled.files.iter().find(|(path, _)| path.starts_with("seg/")).expect("a segment");
    let disk = SimDisk::from_image(filled.image.clone());
    disk.lose(path, length - 1, *length);
    heals(&filled, disk.clone(), 1_000, &path);
    let aside = disk.paths().into_iter().filter(|path| path.starts_with("lost/")).count();
    assert_eq!((aside, length % 4096 == 0), (1, false));
}

/// Bytes of an open segment are covered ten minutes after they came, without a stop of the store.
#[test]
fn an_open_segment_is_covered_in_time() {
    let disk = created(TINY);
    let mut store = open(&disk);
    let mut source = TestSource::new(5);
    store.put_source(source.source(), at(0)).expect("a source");
    let (tree, _) = backup(&mut store, &mut source, 3, 1);
    let parity = |disk: &SimDisk| disk.paths().into_iter().filter(|path| path.starts_with("par/")).count();
    for second in (1..9 * 60).step_by(30) {
        store.tend(at(second)).expect("nothing to do yet");
        assert_eq!(parity(&disk), 0, "after {second} seconds");
    }
    store.tend(at(1 + 9 * 60)).expect("room");
    assert_eq!(parity(&disk), 2);
    // The power goes, and a bit rots.
    drop(store);
    let disk = SimDisk::power_cut(&disk.image(), 3, Some(adit_store::disk::PowerCut::Lost));
    let segment = disk.paths().into_iter().find(|path| path.starts_with("seg/")).expect("a data segment");
    disk.flip(&segment, 4096 + 500, 1);
    let mut store = open(&disk);
    let events = store.take_events();
    assert!(events.iter().any(|event| matches!(event, Event::HealedRange { .. })), "{events:?}");
    for made in &tree.records {
        assert_eq!(store.read_record(&source.id, &made.id).expect("healthy").as_ref(), Some(&made.bytes));
    }
    assert_eq!(store.heals(10).len(), 1);
    assert!(verify(&mut store).is_clean());
}

/// A restore that meets a rotten place gets what was there.
#[test]
fn reading_heals() {
    let filled = filled();
    let disk = SimDisk::from_image(filled.image.clone());
    for (path, length) in filled.files.iter().filter(|(path, _)| path.starts_with("seg/") || path.starts_with("met/")) {
        let mut store = open(&disk);
        damage(&disk, path, 5_000, (*length).min(9_000), Damage::Spoil);
        let ids: Vec<Id> = filled.records.iter().map(|made| made.id).collect();
        let scope = adit_wire::read::Scope::Records;
        let mut plan = store.plan_fetch(&filled.source, scope, &ids, false).expect("a plan");
        let mut read = 0;
        while let Some(record) = plan.next(&mut store, at(20)) {
            record.expect("a healthy record");
            read += 1;
        }
        assert_eq!((read, plan.damaged.len()), (ids.len(), 0), "{path}");
        drop(store);
        disk.unlock();
    }
}

/// What parity can't give back is set aside, asked of its source, and healthy again with the record it sends.
#[test]
fn beyond_parity_its_source_is_asked() {
    let filled = filled();
    let disk = SimDisk::from_image(filled.image.clone());
    let (path, _) = filled.files.iter().find(|(path, _)| path.starts_with("seg/")).expect("a segment");
    disk.lose(path, 4096, 4096 + LONGEST + 3 * 4096);
    let mut store = open(&disk);
    scrub(&mut store, 1_000);
    let wanted = store.wanted(&filled.source, 4_096);
    assert!(!wanted.is_empty());
    let lost: Vec<&Made> = filled.records.iter().filter(|made| wanted.contains(&made.id)).collect();
    assert_eq!(lost.len(), wanted.len(), "everything that is wanted was sent once");
    let damaged: Vec<Id> = filled
        .records
        .iter()
        .filter(|made| store.read_record(&filled.source, &made.id).is_err())
        .map(|made| made.id)
        .collect();
    assert_eq!(damaged.len(), wanted.len());
    assert!(store.take_events().iter().any(|event| matches!(event, Event::Quarantined { .. })));
}

/// Columns of 4 MiB as on a box: twenty regions of 8 MiB less 4 KiB, anywhere.
#[test]
fn full_size_regions_heal() {
    const FULL: u64 = (8 << 20) - 4096;
    let disk = SimDisk::new();
    Store::create(&disk, &new_store(Geometry::default())).expect("an empty disk");
    let mut store = open(&disk);
    let mut source = TestSource::new(6);
    store.put_source(source.source(), at(0)).expect("a source");
    let key = source.new_key();
    let session = store.open_session(&source.id, &key, None, at(1)).expect("a session");
    let mut seq = 1;
    while store.status().segments < 4 {
        let made = source.data(2_000_000);
        seq = send(&mut store, session, &[made], seq) + 1;
    }
    store.close(at(2)).expect("a clean end");
    let image = reboot(&disk).image();
    let path = "seg/00000001.adt";
    let path = if reboot(&disk).paths().iter().any(|known| known == path) { path } else { "seg/00000000.adt" };
    let length = length(&reboot(&disk), path);
    let before = contents(&reboot(&disk), path);
    assert!(length > 250 << 20, "{length}");
    let mut rng = Rng(7);
    for case in 0..20u64 {
        let from = match case {
            0 => 0,
            1 => length - FULL,
            2 => (4 << 20) - 1,
            _ => rng.below(length - FULL),
        };
        let disk = SimDisk::from_image(image.clone());
        if case % 2 == 0 {
            (from..from + FULL).step_by(509).for_each(|offset| disk.flip(path, offset, 0x10));
        } else {
            disk.lose(path, from, from + FULL - from % 4096);
        }
        let mut store = open(&disk);
        scrub(&mut store, 1_000);
        let events = store.take_events();
        assert!(events.iter().any(|event| matches!(event, Event::HealedRange { .. })), "{case}: {events:?}");
        assert!(store.status().damaged_records == 0 && contents(&disk, path) == before, "case {case}, from {from}");
    }
}

fn contents(disk: &SimDisk, path: &str) -> [u8; 32] {
    let file = disk.open(path, Mode::Read).expect("a file");
    let mut hasher = blake3::Hasher::new();
    let mut bytes = vec![0; 1 << 20];
    let mut offset = 0;
    loop {
        let count = disk.read_at(file, offset, &mut bytes).expect("readable bytes");
        hasher.update(&bytes[..count]);
        offset += count as u64;
        if count < bytes.len() {
            disk.close(file);
            return *hasher.finalize().as_bytes();
        }
    }
}

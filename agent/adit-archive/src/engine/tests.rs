// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whole runs against a box in memory: what is read, what is sent, and what happens when something breaks.

use super::*;
use crate::fixture::{Machine, MemoryBox, assert_same, noise, roomy, settle};
use crate::info::SkipReason;
use crate::journal::Journal;
use adit_wire::record::Class;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

fn many(data: &Path, dirs: usize, files: usize, bytes: usize) {
    for dir in 0..dirs {
        let path = data.join(format!("d{dir:03}"));
        fs::create_dir_all(&path).unwrap();
        for file in 0..files {
            let number = dir * files + file;
            let content = noise(number as u64, bytes + (number * 37) % bytes.max(1));
            fs::write(path.join(format!("f{file:04}")), content).unwrap();
        }
    }
}

/// Classes of the records that arrived since, without the info record: (data, nodes).
fn sent_since(peer: &MemoryBox, from: usize) -> (usize, usize) {
    let classes = peer.classes_since(from);
    let data = classes.iter().filter(|class| **class == Class::Data).count();
    (data - 1, classes.len() - data)
}

#[test]
fn fifty_thousand_small_files_are_read_once() {
    let mut machine = Machine::at(roomy());
    many(&machine.data(), 200, 250, 120);
    settle(&machine.data());
    let first = machine.backup();
    assert_eq!((first.counts.files, first.counts.files_read), (50_000, 50_000));
    // Bundles and leaves, not a record a file.
    assert!(first.counts.records < 1_200, "{} records", first.counts.records);
    let before = machine.peer.len();
    let second = machine.backup();
    assert_eq!(second.root, first.root);
    assert_eq!((second.counts.files, second.counts.files_read, second.counts.bytes_read), (50_000, 0, 0));
    assert_eq!((second.counts.records, machine.peer.len() - before), (1, 1));
    assert!(second.counts.record_bytes < 1_024, "an info record of {} bytes", second.counts.record_bytes);
    assert!(!second.is_state_changed);
}

#[test]
fn renamed_and_copied_directories_send_metadata_only() {
    let mut machine = Machine::new();
    many(&machine.data(), 1, 1_000, 900);
    machine.backup();
    fs::rename(machine.data().join("d000"), machine.data().join("renamed")).unwrap();
    let before = machine.peer.len();
    let second = machine.backup();
    let (data, nodes) = sent_since(&machine.peer, before);
    assert_eq!(data, 0, "content was sent again");
    assert!(nodes <= 24, "{nodes} nodes for 1,000 renamed files");
    assert_eq!(second.counts.files_read, 1_000);
    fs::create_dir(machine.data().join("copy")).unwrap();
    for entry in fs::read_dir(machine.data().join("renamed")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), machine.data().join("copy").join(entry.file_name())).unwrap();
    }
    let before = machine.peer.len();
    let third = machine.backup();
    assert_eq!(sent_since(&machine.peer, before).0, 0, "copies were sent");
    let (report, restored) = machine.restore(third.root, "back");
    assert_eq!(report.faults, Vec::new());
    assert_same(&machine.data(), &restored);
}

#[test]
fn equal_small_files_of_one_run_are_sent_once() {
    let mut machine = Machine::new();
    for n in 0..300 {
        fs::write(machine.data().join(format!("f{n}")), noise(n % 3, 50_000)).unwrap();
    }
    let outcome = machine.backup();
    assert_eq!(outcome.counts.bytes_new / 50_000, 3);
    let (report, restored) = machine.restore(outcome.root, "back");
    assert_eq!(report.faults, Vec::new());
    assert_same(&machine.data(), &restored);
}

#[test]
fn one_changed_byte_sends_at_most_two_chunks() {
    let mut machine = Machine::new();
    let mut content = noise(1, 12 << 20);
    let path = machine.data().join("big");
    for at in [0, 6 << 20, (12 << 20) - 1] {
        fs::write(&path, &content).unwrap();
        machine.backup();
        content[at] ^= 1;
        fs::write(&path, &content).unwrap();
        let before = machine.peer.len();
        machine.backup();
        let (data, nodes) = sent_since(&machine.peer, before);
        assert!((1..=2).contains(&data), "{data} chunks for a byte at {at}");
        assert!(nodes <= 5, "{nodes} nodes");
    }
    // A page store: always exactly the page.
    let page_store = [b"SQLite format 3\0".to_vec(), noise(2, 9 << 20)].concat();
    fs::write(&path, &page_store).unwrap();
    machine.backup();
    let mut changed = page_store;
    changed[7 << 20] ^= 1;
    fs::write(&path, &changed).unwrap();
    let before = machine.peer.len();
    machine.backup();
    assert_eq!(sent_since(&machine.peer, before).0, 1);
}

#[test]
fn a_byte_in_front_moves_no_other_cut() {
    let mut machine = Machine::new();
    let content = noise(1, 8 << 20);
    let path = machine.data().join("big");
    fs::write(&path, &content).unwrap();
    machine.backup();
    fs::write(&path, [b"x".to_vec(), content].concat()).unwrap();
    let before = machine.peer.len();
    machine.backup();
    assert!(sent_since(&machine.peer, before).0 <= 2);
}

#[test]
fn a_broken_run_goes_on_where_it_stopped() {
    let mut machine = Machine::new();
    many(&machine.data(), 20, 60, 9_000);
    fs::write(machine.data().join("big"), noise(5, 9 << 20)).unwrap();
    let whole = {
        let (plan, run_key, other) = (machine.plan(), machine.open(), MemoryBox::new());
        Run::start(&plan, &machine.keys, &run_key, Known::default(), &other, &Silent).unwrap().counts.records
    };
    let mut total = 0;
    for (round, accepted) in [7, 30, 20].into_iter().enumerate() {
        machine.peer.accept_only(accepted);
        total += accepted;
        let plan = machine.plan();
        let pending = resume(&machine);
        let known = Known { pending, ..Known::default() };
        let error = machine.run(&plan, known).unwrap_err();
        assert!(matches!(error, RunError::Sink(SinkClosed)), "{error:?}");
        journal(&machine);
        assert_eq!(machine.peer.len() as u64, total, "round {round} sent something twice");
    }
    machine.peer.accept_only(u64::MAX);
    let plan = machine.plan();
    let known = Known { pending: resume(&machine), ..Known::default() };
    let outcome = machine.run(&plan, known).unwrap();
    assert_eq!(machine.peer.repeats(), 0);
    assert_eq!(outcome.counts.records + total, whole);
    let outcome = machine.commit(outcome);
    Journal::remove(&machine.state_dir).unwrap();
    let (report, restored) = machine.restore(outcome.root, "back");
    assert_eq!(report.faults, Vec::new());
    assert_same(&machine.data(), &restored);
}

/// Writes the journal that a sender would have written.
fn journal(machine: &Machine) {
    let mut journal = Journal::create(&machine.state_dir, adit_wire::ids::KeyId([1; 16]), &[]).unwrap();
    for (at, id) in machine.peer.order().iter().enumerate() {
        journal.append(at as u64 + 1, id).unwrap();
    }
}

fn resume(machine: &Machine) -> Vec<Id> {
    Journal::read(&machine.state_dir).unwrap().map(|journal| journal.up_to(u64::MAX)).unwrap_or_default()
}

#[test]
fn what_the_box_lost_is_sent_again() {
    let mut machine = Machine::new();
    many(&machine.data(), 6, 60, 2_000);
    fs::write(machine.data().join("big"), noise(5, 4 << 20)).unwrap();
    fs::write(machine.data().join("medium"), noise(6, 400_000)).unwrap();
    settle(&machine.data());
    let first = machine.backup();
    let mut root = first.root;
    for round in 0..12 {
        // Ids are random: content and structure are lost in turn, whichever stand where.
        let class = if round % 2 == 0 { Class::Data } else { Class::Node };
        let closure = machine.peer.closure(root).into_iter();
        let losable: Vec<Id> = closure.filter(|id| machine.peer.class(id) == class).collect();
        let lost = losable[round * 7 % losable.len()];
        machine.peer.lose(&lost);
        let plan = machine.plan();
        let known = machine.known();
        let outcome = machine.run(&plan, known).unwrap();
        let missing = machine.peer.missing(&[outcome.root, outcome.info]);
        assert_eq!(missing, vec![lost], "an unchanged run sent what it could not know to be lost");
        let state = outcome.state_next.reopen().unwrap();
        let known = Known { state: Some(state), missing, ..Known::default() };
        let repaired = machine.run(&plan, known).unwrap();
        assert_eq!(machine.peer.repeats(), 0, "a repair sent what was there");
        let repaired = machine.commit(repaired);
        let (report, restored) = machine.restore(repaired.root, &format!("back{round}"));
        assert_eq!(report.faults, Vec::new());
        assert_same(&machine.data(), &restored);
        fs::remove_dir_all(machine.home.path().join(format!("back{round}"))).unwrap();
        settle(&machine.data());
        root = machine.backup().root;
    }
}

#[test]
fn a_lost_bundle_comes_back_as_it_was_while_its_files_are_there() {
    let mut machine = Machine::new();
    many(&machine.data(), 1, 30, 2_000);
    settle(&machine.data());
    let first = machine.backup();
    let bundle = machine.peer.order().into_iter().find(|id| machine.peer.class(id) == Class::Data).unwrap();
    for is_whole in [true, false] {
        machine.peer.lose(&bundle);
        if !is_whole {
            fs::write(machine.data().join("d000/f0007"), noise(1_000, 500)).unwrap();
            settle(&machine.data());
        }
        let (plan, known) = (machine.plan(), machine.known());
        let outcome = machine.run(&plan, Known { missing: vec![bundle], ..known }).unwrap();
        assert_eq!(machine.peer.repeats(), 0);
        let outcome = machine.commit(outcome);
        assert_eq!(outcome.root == first.root, is_whole);
        assert_eq!(machine.peer.missing(&[first.root]).is_empty(), is_whole, "the older snapshot");
        assert_eq!(outcome.counts.files_read, if is_whole { 0 } else { 30 });
        let (report, restored) = machine.restore(outcome.root, if is_whole { "one" } else { "two" });
        assert_eq!(report.faults, Vec::new());
        assert_same(&machine.data(), &restored);
    }
}

#[test]
fn a_lost_chunk_of_a_file_that_is_gone_does_not_stop_the_backup() {
    let mut machine = Machine::new();
    many(&machine.data(), 2, 30, 4_000);
    fs::write(machine.data().join("big"), noise(5, 12 << 20)).unwrap();
    let first = machine.backup();
    let data = machine.peer.order().into_iter().find(|id| machine.peer.class(id) == Class::Data).unwrap();
    machine.peer.lose(&data);
    fs::remove_file(machine.data().join("big")).unwrap();
    many(&machine.data(), 2, 30, 5_000);
    let second = machine.backup();
    assert_ne!(first.root, second.root);
}

#[test]
fn without_a_state_have_saves_what_is_there() {
    let mut machine = Machine::new();
    many(&machine.data(), 4, 60, 4_000);
    fs::write(machine.data().join("big"), noise(5, 12 << 20)).unwrap();
    let first = machine.backup();
    fs::remove_file(machine.state_dir.join("state")).unwrap();
    machine.peer.answers_have = true;
    assert!(matches!(machine.settled(), crate::state::Settled::Absent(_)));
    let before = machine.peer.len();
    let second = machine.backup();
    assert_eq!(second.root, first.root);
    assert_eq!((machine.peer.len() - before, machine.peer.repeats()), (1, 0));
    assert_eq!(second.counts.files_read, 241);
}

#[test]
fn half_empty_bundles_are_packed_anew_a_run_later() {
    let mut machine = Machine::new();
    for n in 0..40u64 {
        fs::write(machine.data().join(format!("f{n:02}")), noise(n, 3_000)).unwrap();
    }
    settle(&machine.data());
    machine.backup();
    for n in 0..28u64 {
        fs::write(machine.data().join(format!("f{n:02}")), noise(n + 100, 3_000)).unwrap();
    }
    settle(&machine.data());
    let second = machine.backup();
    assert_eq!(second.counts.files_read, 28);
    let third = machine.backup();
    assert_eq!(third.counts.files_read, 12, "survivors of a bundle under half were not packed anew");
    assert_eq!(third.counts.bytes_new / 3_000, 12);
    let before = machine.peer.len();
    let fourth = machine.backup();
    assert_eq!((fourth.counts.files_read, machine.peer.len() - before), (0, 1));
    let (report, restored) = machine.restore(fourth.root, "back");
    assert_eq!(report.faults, Vec::new());
    assert_same(&machine.data(), &restored);
}

#[test]
fn files_that_can_not_be_read_are_named_and_the_run_goes_on() {
    let mut machine = Machine::new();
    many(&machine.data(), 1, 5, 100);
    let mut plan = machine.plan();
    // Reading the first page of this process's memory fails for everybody, root included.
    plan.roots.push("/proc/self/mem".into());
    if !rustix::process::geteuid().is_root() {
        fs::write(machine.data().join("secret"), b"s").unwrap();
        fs::set_permissions(machine.data().join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    }
    let known = machine.known();
    let outcome = machine.run(&plan, known).unwrap();
    assert_eq!(outcome.completeness, Completeness::Partial);
    assert!(
        outcome
            .skipped
            .iter()
            .any(|skipped| skipped.path.ends_with(b"/mem") && matches!(skipped.reason, SkipReason::Unreadable(5)))
    );
    let failures = if rustix::process::geteuid().is_root() { 1 } else { 2 };
    assert_eq!(outcome.counts.skipped, failures);
    let outcome = machine.commit(outcome);
    let (report, restored) = machine.restore(outcome.root, "back");
    assert!(report.faults.iter().any(|(_, fault)| *fault == crate::restore::Fault::SavedInPart));
    assert!(restored.join("d000/f0004").exists());
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(machine.data().join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn a_file_that_does_not_hold_still_is_marked() {
    let mut machine = Machine::new();
    let path = machine.data().join("restless");
    fs::write(&path, noise(1, 24 << 20)).unwrap();
    fs::write(machine.data().join("still"), noise(2, 1_000)).unwrap();
    let stop = AtomicBool::new(false);
    let plan = machine.plan();
    let known = machine.known();
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            let mut byte = 0u8;
            while !stop.load(Ordering::Relaxed) {
                byte = byte.wrapping_add(1);
                std::os::unix::fs::FileExt::write_at(&file, &[byte], 5 << 20).unwrap();
            }
        });
        let outcome = machine.run(&plan, known);
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap()
    });
    assert_eq!((outcome.completeness, outcome.counts.skipped), (Completeness::Partial, 1));
    assert_eq!(outcome.skipped[0].reason, SkipReason::Changed);
    machine.commit(outcome);
    // It is read again although its times may be the same, and is whole now.
    settle(&machine.data());
    let second = machine.backup();
    assert_eq!(second.counts.skipped, 0);
    let (report, restored) = machine.restore(second.root, "back");
    assert_eq!(report.faults, Vec::new());
    assert_same(&machine.data(), &restored);
}

#[test]
fn a_change_within_the_clock_tick_of_a_run_is_not_overlooked() {
    let mut machine = Machine::new();
    let path = machine.data().join("f");
    let mut overlooked = 0;
    for round in 0..20u8 {
        fs::write(&path, [round; 200]).unwrap();
        machine.backup();
        fs::write(&path, [round + 100; 200]).unwrap();
        let outcome = machine.backup();
        let (_, restored) = machine.restore(outcome.root, &format!("back{round}"));
        overlooked += u32::from(fs::read(restored.join("f")).unwrap() != [round + 100; 200]);
    }
    assert_eq!(overlooked, 0);
}

#[test]
fn what_is_left_out_is_left_out() {
    let mut machine = Machine::new();
    let data = machine.data();
    many(&data, 2, 5, 100);
    fs::create_dir(data.join("cache")).unwrap();
    fs::write(data.join("cache/CACHEDIR.TAG"), b"Signature: 8a477f597d28d172789f06886806bc55 and more").unwrap();
    fs::write(data.join("cache/junk"), b"junk").unwrap();
    fs::create_dir(data.join("no cache")).unwrap();
    fs::write(data.join("no cache/CACHEDIR.TAG"), b"Signature: 8a477f597d28d172789f068868").unwrap();
    fs::write(data.join("no cache/kept"), b"kept").unwrap();
    fs::write(data.join("d001/x.tmp"), b"x").unwrap();
    let socket = std::os::unix::net::UnixListener::bind(data.join("socket")).unwrap();
    let mut plan = machine.plan();
    plan.roots = vec![machine.home.path().to_owned()];
    plan.excludes = vec!["*.tmp".to_owned(), format!("{}/d000", data.display())];
    let known = machine.known();
    let outcome = machine.run(&plan, known).unwrap();
    drop(socket);
    assert_eq!(outcome.skipped.len(), 1);
    assert_eq!((outcome.skipped[0].reason, outcome.counts.skipped), (SkipReason::Socket, 0));
    let outcome = machine.commit(outcome);
    let (report, restored) = machine.restore(outcome.root, "../back");
    assert_eq!(report.faults, Vec::new());
    let there = |path: &str| restored.join(path).exists();
    assert!(!there("d000") && !there("d001/x.tmp") && !there("socket") && there("d001/f0000"));
    assert!(there("cache/CACHEDIR.TAG") && !there("cache/junk") && there("no cache/kept"));
    assert!(!restored.parent().unwrap().join("state").exists(), "the state saved itself");
    fs::remove_dir_all(machine.home.path().join("../back")).unwrap();
}

#[test]
fn sources_that_are_not_there_end_the_run() {
    let mut machine = Machine::new();
    let mut plan = machine.plan();
    plan.roots = vec!["/nowhere at all".into()];
    let known = machine.known();
    assert!(matches!(machine.run(&plan, known).unwrap_err(), RunError::Root { .. }));
    plan.roots = Vec::new();
    let known = machine.known();
    assert!(matches!(machine.run(&plan, known).unwrap_err(), RunError::NoRoots));
    plan.roots = vec![machine.data()];
    plan.excludes = vec!["[".to_owned()];
    let known = machine.known();
    assert!(matches!(machine.run(&plan, known).unwrap_err(), RunError::Pattern { .. }));
    plan.excludes.clear();
    plan.first_counter = 1 << 31;
    let known = machine.known();
    assert!(matches!(machine.run(&plan, known).unwrap_err(), RunError::Counter));
}

#[test]
fn hard_links_that_come_and_go_keep_their_content() {
    let mut machine = Machine::new();
    let data = machine.data();
    fs::write(data.join("b"), noise(1, 5_000)).unwrap();
    fs::hard_link(data.join("b"), data.join("c")).unwrap();
    settle(&data);
    machine.backup();
    fs::hard_link(data.join("b"), data.join("a")).unwrap();
    settle(&data);
    let before = machine.peer.len();
    let second = machine.backup();
    assert_eq!(sent_since(&machine.peer, before).0, 0);
    let (report, restored) = machine.restore(second.root, "back");
    assert_eq!((report.faults.len(), report.files), (0, 3));
    assert_same(&data, &restored);
    fs::remove_file(data.join("a")).unwrap();
    fs::remove_file(data.join("c")).unwrap();
    let third = machine.backup();
    let (_, restored) = machine.restore(third.root, "back again");
    assert_same(&data, &restored);
}

#[test]
fn every_sealing_thread_count_and_level_gives_the_same_tree() {
    let mut machine = Machine::new();
    many(&machine.data(), 3, 40, 2_000);
    let mut roots = Vec::new();
    for (sealers, level) in [(1, Level::Fixed(1)), (4, Level::Fixed(9)), (3, Level::Auto)] {
        let plan = Plan { sealers, level, ..machine.plan() };
        roots.push(machine.run(&plan, Known::default()).unwrap().root);
    }
    assert!(roots.windows(2).all(|pair| pair[0] == pair[1]), "{roots:?}");
}

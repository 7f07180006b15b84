// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Torn states, lost answers, and what is believed after a crash.

use super::open::{MAGIC, Trailer};
use super::*;
use crate::fixture::{Machine, noise, settle};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

fn machine() -> Machine {
    let machine = Machine::new();
    for dir in 0..8 {
        let path = machine.data().join(format!("d{dir}"));
        fs::create_dir(&path).unwrap();
        for file in 0..90u64 {
            fs::write(path.join(format!("f{file:03}")), noise(dir * 100 + file, 500)).unwrap();
        }
    }
    fs::write(machine.data().join("big"), noise(5, 3 << 20)).unwrap();
    settle(&machine.data());
    machine
}

/// Offsets at which blocks and tables begin, and the file's end.
fn boundaries(bytes: &[u8]) -> Vec<usize> {
    let mut at = MAGIC.len();
    let mut found = vec![0];
    let trailer_at = bytes.len() - Trailer::BYTES;
    let blocks_end = u64::from_le_bytes(*bytes[trailer_at + 8 + 32 + 8 + 8..].first_chunk().unwrap());
    let blocks_end = usize::try_from(blocks_end).unwrap();
    while at < blocks_end {
        found.push(at);
        at += 4 + usize::try_from(u32::from_le_bytes(*bytes[at..].first_chunk().unwrap())).unwrap() + 16;
    }
    assert_eq!(at, blocks_end, "blocks fill their part of the file");
    found.extend([blocks_end, trailer_at, bytes.len()]);
    found
}

/// Where the pages of the content index begin.
fn index_start(bytes: &[u8]) -> usize {
    let trailer_at = bytes.len() - Trailer::BYTES;
    let pages = u64::from_le_bytes(*bytes[trailer_at + 8 + 32 + 8 + 4 * 8..].first_chunk().unwrap());
    trailer_at - usize::try_from(pages).unwrap() * 4_096
}

#[test]
fn torn_or_rotten_anywhere_costs_a_read_and_nothing_else() {
    let mut machine = machine();
    let first = machine.backup();
    let path = machine.state_dir.join(BODY);
    let whole = fs::read(&path).unwrap();
    let boundaries = boundaries(&whole);
    assert!(boundaries.len() > 8, "only {} boundaries", boundaries.len());
    let index_at = index_start(&whole);
    let head = fs::read(machine.state_dir.join(HEAD)).unwrap();
    machine.peer.answers_have = true;
    let newest = machine.newest;
    let mut check = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        fs::write(machine.state_dir.join(HEAD), &head).unwrap();
        machine.newest = newest;
        let before = machine.peer.bytes();
        let again = machine.backup();
        assert_eq!(again.root, first.root, "{what}");
        assert!(machine.peer.bytes() - before < 2_048, "{what}: sent {} bytes", machine.peer.bytes() - before);
        let is_whole = fs::read(&path).unwrap() == whole;
        // A rotten page of the content index costs an upload of a renamed file at most, and stays until the next change.
        let only_index =
            bytes.len() == whole.len() && bytes[..index_at] == whole[..index_at] && again.counts.files_read == 0;
        assert!(is_whole || only_index, "{what}: the state did not become whole again");
        again.counts.files_read
    };
    for cut in &boundaries[..boundaries.len() - 1] {
        assert_eq!(check(&whole[..*cut], &format!("cut at {cut}")), 721);
    }
    for (block, at) in boundaries.iter().enumerate() {
        for offset in [0, 2, 40, 4_000] {
            let at = at + offset;
            if at < whole.len() {
                let mut rotten = whole.clone();
                rotten[at] ^= 4;
                let files_read = check(&rotten, &format!("rot at {at} in part {block}"));
                assert!(files_read <= 721);
            }
        }
    }
    assert_eq!(check(&whole, "whole"), 0);
}

#[test]
fn a_lost_answer_is_found_at_the_next_welcome() {
    let mut machine = machine();
    machine.backup();
    fs::write(machine.data().join("d0/f000"), noise(1_000, 500)).unwrap();
    settle(&machine.data());
    let (plan, known) = (machine.plan(), machine.known());
    let mut outcome = machine.run(&plan, known).unwrap();
    let (seq, head) = machine.sign(&outcome);
    let old = machine.newest;
    outcome.state_next.prepare(seq, head).unwrap();
    let root = outcome.root;
    drop(outcome);
    // The box did not commit: the state before holds.
    machine.newest = old;
    let Settled::Current(state) = machine.settled() else { panic!("the old state is gone") };
    assert_ne!(state.root(), root);
    assert!(!machine.state_dir.join(BODY_NEXT).exists());
    // The same again, and this time the box did.
    let known = machine.known();
    let mut outcome = machine.run(&plan, known).unwrap();
    let (seq, head) = machine.sign(&outcome);
    outcome.state_next.prepare(seq, head).unwrap();
    drop(outcome);
    machine.newest = Some((seq, head));
    let Settled::Current(state) = machine.settled() else { panic!("the new state was not taken") };
    assert_eq!(state.root(), root);
    assert_eq!(State::newest(&machine.state_dir).unwrap(), Some((seq, head)));
    // Killed between the two renames.
    let (plan, known) = (machine.plan(), machine.known());
    fs::write(machine.data().join("d0/f001"), b"changed").unwrap();
    let mut outcome = machine.run(&plan, known).unwrap();
    let (seq, head) = machine.sign(&outcome);
    outcome.state_next.prepare(seq, head).unwrap();
    fs::rename(machine.state_dir.join(BODY_NEXT), machine.state_dir.join(BODY)).unwrap();
    machine.newest = Some((seq, head));
    assert!(matches!(machine.settled(), Settled::Current(_)));
}

#[test]
fn an_unchanged_run_moves_the_head_only() {
    let mut machine = machine();
    machine.backup();
    let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(machine.state_dir.join(name)).unwrap());
    let before = inode(BODY);
    let mut machine = machine;
    machine.backup();
    let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(machine.state_dir.join(name)).unwrap());
    assert_eq!(inode(BODY), before);
    assert!(matches!(machine.settled(), Settled::Current(_)));
}

#[test]
fn states_of_other_snapshots_are_not_believed() {
    let mut machine = machine();
    assert!(matches!(machine.settled(), Settled::Absent("the box has no snapshot yet")));
    machine.backup();
    let (seq, head) = machine.newest.unwrap();
    machine.newest = Some((seq + 1, head));
    assert!(matches!(machine.settled(), Settled::Absent(_)));
    machine.newest = Some((seq, Id([9; 32])));
    assert!(matches!(machine.settled(), Settled::Absent(_)));
    machine.newest = Some((seq, head));
    assert!(matches!(machine.settled(), Settled::Current(_)));
    let mode = |name: &str| fs::metadata(machine.state_dir.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(BODY), mode(HEAD)), (0o600, 0o600));
    fs::write(machine.state_dir.join(format!("{TEMPORARY}7")), b"left over").unwrap();
    assert!(matches!(machine.settled(), Settled::Current(_)));
    assert!(!machine.state_dir.join(format!("{TEMPORARY}7")).exists());
}

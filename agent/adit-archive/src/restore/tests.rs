// SPDX-License-Identifier: Apache-2.0 OR MIT
//! There and back: every odd kind of file, damage, filters, and what a restore must never do.

mod waits;

use super::*;
use crate::entry::Entry;
use crate::fixture::{Machine, MemoryFetcher, assert_same, filler, noise, settle};
use adit_wire::record::Class;
use rustix::fs::XattrFlags;
use std::ffi::OsStr;
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::atomic::Ordering;

fn set_times(path: &Path, s: i64, ns: i64) {
    let time = rustix::fs::Timespec { tv_sec: s, tv_nsec: ns };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// One of every odd kind that this user may make; answers how many kinds.
fn make_odd(data: &Path) -> usize {
    let mut kinds = 0;
    let mut did = |done: bool| kinds += usize::from(done);
    fs::write(data.join("empty"), b"").unwrap();
    fs::write(data.join("inline"), b"sixty-four bytes or fewer lie in the entry").unwrap();
    fs::write(data.join("small"), noise(1, 3_000)).unwrap();
    fs::write(data.join("one chunk"), noise(2, 150_000)).unwrap();
    fs::write(data.join("some chunks"), noise(3, 900_000)).unwrap();
    fs::write(data.join("list"), noise(4, 9_000_000)).unwrap();
    fs::write(data.join("zeros"), vec![0; 5_000_000]).unwrap();
    fs::write(data.join("page store"), [b"SQLite format 3\0".to_vec(), noise(5, 700_000)].concat()).unwrap();
    did(true);
    fs::write(data.join(OsStr::from_bytes(b"not \xff\xfe utf-8")), b"x").unwrap();
    fs::write(data.join("line\nbreak\ttab"), b"y").unwrap();
    fs::write(data.join("n".repeat(255)), b"long name").unwrap();
    did(true);
    fs::create_dir_all(data.join("dir.a/b/c/d")).unwrap();
    fs::create_dir(data.join("dir")).unwrap();
    fs::write(data.join("dir.a/file"), noise(6, 70_000)).unwrap();
    fs::write(data.join("dir/file"), noise(7, 70)).unwrap();
    fs::create_dir(data.join("empty dir")).unwrap();
    did(true);
    symlink("../nowhere/../\n", data.join("dangling")).unwrap();
    symlink("small", data.join("to small")).unwrap();
    symlink("dir", data.join("to dir")).unwrap();
    did(true);
    fs::hard_link(data.join("small"), data.join("dir/small again")).unwrap();
    fs::hard_link(data.join("small"), data.join("zz small again")).unwrap();
    fs::hard_link(data.join("list"), data.join("dir/list again")).unwrap();
    did(true);
    did(make_sparse(data));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        data.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    did(true);
    did(make_xattrs(data));
    did(make_privileged(data));
    fs::set_permissions(data.join("inline"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(data.join("empty"), fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(data.join("dir/file"), fs::Permissions::from_mode(0o000)).unwrap_or(());
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(data.join("dir/file"), fs::Permissions::from_mode(0o400)).unwrap();
    }
    fs::set_permissions(data.join("dir"), fs::Permissions::from_mode(0o2711)).unwrap();
    set_times(&data.join("inline"), -5, 999_999_999);
    set_times(&data.join("dangling"), 1_000_000_007, 123_456_789);
    set_times(&data.join("one chunk"), 4_102_444_800, 1);
    set_times(&data.join("dir.a"), 981_173_106, 7);
    kinds
}

fn make_sparse(data: &Path) -> bool {
    let mut sparse = fs::File::create(data.join("sparse")).unwrap();
    for at in [1u64 << 20, 5 << 20] {
        sparse.seek(SeekFrom::Start(at)).unwrap();
        sparse.write_all(&noise(at, 100_000)).unwrap();
    }
    sparse.set_len(20 << 20).unwrap();
    fs::File::create(data.join("hole")).unwrap().set_len(3 << 20).unwrap();
    let mut holes = fs::File::create(data.join("many holes")).unwrap();
    for at in 0..100u64 {
        holes.seek(SeekFrom::Start(at << 16)).unwrap();
        holes.write_all(b"data").unwrap();
    }
    drop(holes);
    fs::metadata(data.join("sparse")).unwrap().blocks() * 512 < 10 << 20
}

fn make_xattrs(data: &Path) -> bool {
    let set = |name: &str, key: &str, value: &[u8]| {
        rustix::fs::lsetxattr(data.join(name), key, value, XattrFlags::empty()).is_ok()
    };
    let made = set("small", "user.note", b"\0\xffbinary") && set("dir", "user.dir", b"d");
    // Larger than an entry holds.
    set("list", "user.long", &noise(9, 3_000)) && set("list", "user.longer", &noise(10, 900)) | made
}

/// Devices, foreign owners, ACLs, file capabilities: only root may make them.
fn make_privileged(data: &Path) -> bool {
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    let device = rustix::fs::makedev(1, 3);
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    let char_device = rustix::fs::FileType::CharacterDevice;
    if rustix::fs::mknodat(rustix::fs::CWD, data.join("null"), char_device, mode, device).is_err() {
        return false;
    }
    let block_device = rustix::fs::FileType::BlockDevice;
    rustix::fs::mknodat(rustix::fs::CWD, data.join("disk"), block_device, mode, rustix::fs::makedev(7, 200)).unwrap();
    std::os::unix::fs::chown(data.join("some chunks"), Some(12_345), Some(54_321)).unwrap();
    std::os::unix::fs::lchown(data.join("to small"), Some(12_345), Some(1)).unwrap();
    std::os::unix::fs::chown(data.join("empty dir"), Some(1), Some(1)).unwrap();
    // Version 2, user::rw-, user 1000:rwx, group::r--, mask::rwx, other::---.
    let mut acl = vec![2, 0, 0, 0];
    for (tag, permissions, id) in
        [(1u16, 6u16, u32::MAX), (2, 7, 1_000), (4, 4, u32::MAX), (16, 7, u32::MAX), (32, 0, u32::MAX)]
    {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&permissions.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    let set = |name: &str, key: &str, value: &[u8]| {
        rustix::fs::lsetxattr(data.join(name), key, value, XattrFlags::empty()).is_ok()
    };
    set("dir.a/file", "system.posix_acl_access", &acl)
        && set("dir.a", "system.posix_acl_default", &acl)
        && set("one chunk", "security.capability", &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        && set("dangling", "trusted.link", b"on the link itself")
        && set("fifo", "trusted.fifo", b"f")
}

#[test]
fn every_odd_kind_comes_back() {
    let mut machine = Machine::new();
    let kinds = make_odd(&machine.data());
    let outcome = machine.backup();
    assert_eq!(outcome.skipped, Vec::new());
    assert_eq!(outcome.counts.skipped, 0);
    let (report, restored) = machine.restore(outcome.root, "back");
    assert_eq!(report.faults, Vec::new());
    assert_same(&machine.data(), &restored);
    let root = rustix::process::geteuid().is_root();
    assert!(kinds >= if root { 9 } else { 7 }, "only {kinds} kinds could be made here");
    assert_eq!(report.files, outcome.counts.files);
    assert_eq!(report.others, outcome.counts.others);
    let hole = fs::metadata(restored.join("hole")).unwrap();
    assert!(hole.blocks() * 512 < 1 << 20, "a hole was filled");
}

#[test]
fn a_second_run_sees_no_change_in_odd_kinds() {
    let mut machine = Machine::new();
    make_odd(&machine.data());
    settle(&machine.data());
    let first = machine.backup();
    let before = machine.peer.len();
    let second = machine.backup();
    assert_eq!(first.root, second.root);
    assert_eq!(machine.peer.len(), before + 1, "more than an info record was sent");
    assert_eq!((second.counts.files_read, second.counts.bytes_read), (0, 0));
    assert!(!second.is_state_changed);
}

#[test]
fn parents_of_sources_come_with_their_modes() {
    let mut machine = Machine::new();
    let (one, two) = (machine.data().join("a/one"), machine.data().join("b/two"));
    fs::create_dir_all(&one).unwrap();
    fs::create_dir_all(&two).unwrap();
    fs::create_dir(one.join("deep")).unwrap();
    fs::write(one.join("deep/x"), b"x").unwrap();
    fs::write(two.join("y"), b"y").unwrap();
    fs::write(machine.data().join("a/not asked for"), b"z").unwrap();
    fs::set_permissions(machine.data().join("a"), fs::Permissions::from_mode(0o751)).unwrap();
    let mut plan = machine.plan();
    plan.roots = vec![two.clone(), one.clone(), one.join("deep"), two.join("y")];
    let known = machine.known();
    let outcome = machine.run(&plan, known).unwrap();
    let outcome = machine.commit(outcome);
    let (report, restored) = machine.restore(outcome.root, "back");
    assert_eq!(report.faults, Vec::new());
    assert_same(&one, &restored.join("a/one"));
    assert_same(&two, &restored.join("b/two"));
    assert!(!restored.join("a/not asked for").exists());
    assert_eq!(fs::metadata(restored.join("a")).unwrap().mode() & 0o7777, 0o751);
    // What else changes in a parent is no change.
    fs::write(machine.data().join("a/more"), b"z").unwrap();
    settle(&machine.data());
    let known = machine.known();
    let again = machine.run(&plan, known).unwrap();
    assert_eq!(again.root, outcome.root);
}

fn many(data: &Path, dirs: usize, files: usize) {
    for dir in 0..dirs {
        let path = data.join(format!("d{dir:03}"));
        fs::create_dir(&path).unwrap();
        for file in 0..files {
            let number = dir * files + file;
            let content = noise(number as u64, 100 + (number * 37) % 4_000);
            fs::write(path.join(format!("f{file:04}")), content).unwrap();
        }
    }
}

#[test]
fn paths_select_what_comes_back() {
    let mut machine = Machine::new();
    many(&machine.data(), 20, 60);
    let outcome = machine.backup();
    let data = machine.data();
    let shown = |path: &str| data.join(path).as_os_str().as_bytes().to_vec();
    let to = machine.home.path().join("some");
    let target = Target { paths: vec![shown("d003"), shown("d011/f0007"), shown("none")], ..Target::all(to.clone()) };
    let report = machine.restore_to(outcome.root, &target);
    assert_eq!((report.faults.len(), report.files), (0, 61));
    let restored = to.join(data.strip_prefix("/").unwrap());
    assert_same(&data.join("d003"), &restored.join("d003"));
    assert_eq!(fs::read(data.join("d011/f0007")).unwrap(), fs::read(restored.join("d011/f0007")).unwrap());
    assert_eq!(fs::read_dir(restored.join("d011")).unwrap().count(), 1);
    let refused = Target { paths: vec![b"/a/../../b".to_vec()], ..target };
    let fetcher = MemoryFetcher::new(&machine.peer);
    let error = restore(&fetcher, &machine.keyring(), outcome.root, &refused, &|_, _| ()).unwrap_err();
    assert!(matches!(error, RestoreError::Path(_)));
}

#[test]
fn what_is_there_is_left_alone() {
    let mut machine = Machine::new();
    make_odd(&machine.data());
    let outcome = machine.backup();
    let to = machine.home.path().join("back");
    let there = to.join(machine.data().strip_prefix("/").unwrap());
    fs::create_dir_all(&there).unwrap();
    fs::write(there.join("small"), b"mine").unwrap();
    fs::write(there.join("list"), b"mine too").unwrap();
    fs::write(there.join("empty dir"), b"a file, not a directory").unwrap();
    let report = machine.restore_to(outcome.root, &Target::all(to));
    let mut paths: Vec<(Vec<u8>, Fault)> = report.faults;
    paths.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(paths.iter().any(|(path, fault)| path.ends_with(b"/small") && *fault == Fault::Exists), "{paths:?}");
    assert!(paths.iter().any(|(path, fault)| path.ends_with(b"/list") && *fault == Fault::Exists), "{paths:?}");
    assert!(paths.iter().any(|(path, fault)| path.ends_with(b"/empty dir") && *fault == Fault::Exists));
    assert_eq!(fs::read(there.join("small")).unwrap(), b"mine");
    assert_eq!(fs::read(there.join("list")).unwrap(), b"mine too");
    assert!(
        !fs::read_dir(&there)
            .unwrap()
            .any(|entry| { entry.unwrap().file_name().as_bytes().starts_with(b".adit-restore") })
    );
}

#[test]
fn links_in_the_target_are_not_followed() {
    let mut machine = Machine::new();
    many(&machine.data(), 2, 3);
    let outcome = machine.backup();
    let to = machine.home.path().join("back");
    let outside = machine.home.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let there = to.join(machine.data().strip_prefix("/").unwrap());
    fs::create_dir_all(&there).unwrap();
    symlink(&outside, there.join("d000")).unwrap();
    symlink("../../../../../outside", there.join("d001")).unwrap();
    let report = machine.restore_to(outcome.root, &Target::all(to));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something was written outside");
    assert_eq!(report.files, 0);
    assert!(report.faults.len() >= 2);
}

#[test]
fn damage_is_told_and_never_filled_in() {
    let mut machine = Machine::new();
    many(&machine.data(), 12, 50);
    fs::write(machine.data().join("big"), noise(5, 6_000_000)).unwrap();
    let outcome = machine.backup();
    let data: Vec<Id> =
        machine.peer.closure(outcome.root).into_iter().filter(|id| machine.peer.class(id) == Class::Data).collect();
    let mut checked = 0;
    for (number, id) in data.iter().enumerate().step_by(3) {
        let record = machine.peer.order().iter().filter(|other| *other == id).count();
        assert_eq!(record, 1);
        machine.peer.spoil(id);
        let (report, restored) = machine.restore(outcome.root, &format!("back{number}"));
        let lost: Vec<&Vec<u8>> = report.faults.iter().map(|(path, _)| path).collect();
        assert!(!lost.is_empty(), "a spoiled record was not noticed");
        assert!(report.faults.iter().all(|(_, fault)| *fault == Fault::Damaged));
        let data = machine.data();
        let mut whole = 0;
        for entry in walk_files(&data) {
            let name = entry.strip_prefix(&data).unwrap();
            let back = restored.join(name);
            if lost.contains(&&entry.as_os_str().as_bytes().to_vec()) {
                assert!(!back.exists(), "{name:?} is there though damaged");
            } else {
                assert_eq!(fs::read(&entry).unwrap(), fs::read(&back).unwrap());
                whole += 1;
            }
        }
        assert_eq!(whole + lost.len(), 12 * 50 + 1);
        machine.peer.spoil(id);
        checked += 1;
    }
    assert!(checked >= 5);
}

fn walk_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk_files(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn a_lost_leaf_costs_its_own_entries_only() {
    let mut machine = Machine::new();
    many(&machine.data(), 30, 40);
    let outcome = machine.backup();
    let nodes: Vec<Id> = machine
        .peer
        .closure(outcome.root)
        .into_iter()
        .filter(|id| *id != outcome.root && machine.peer.class(id) == Class::Node)
        .collect();
    machine.peer.lose(&nodes[nodes.len() / 2]);
    let (report, _) = machine.restore(outcome.root, "back");
    assert!(report.faults.iter().any(|(_, fault)| *fault == Fault::Damaged));
    assert!(report.files >= 1_200 - 424 && report.files < 1_200, "{} files came back", report.files);
    assert!(report.entries_lost >= 1_200 - report.files && report.entries_lost <= 424);
}

#[test]
fn reader_lists_finds_and_diffs() {
    let mut machine = Machine::new();
    many(&machine.data(), 30, 40);
    let first = machine.backup();
    fs::write(machine.data().join("d007/f0003"), b"changed").unwrap();
    fs::remove_file(machine.data().join("d008/f0004")).unwrap();
    fs::write(machine.data().join("d009/new"), b"new").unwrap();
    let second = machine.backup();
    let keyring = machine.keyring();
    let fetcher = MemoryFetcher::new(&machine.peer);
    let mut reader = TreeReader::new(&fetcher, &keyring).unwrap();
    let mut files = 0u64;
    let lost = reader
        .entries(second.root, Vec::new(), &mut |entry| {
            files += u64::from(entry.kind == crate::entry::Kind::File);
            true
        })
        .unwrap();
    assert_eq!((files, lost.len()), (1_200, 0));
    assert_eq!(reader.info(second.info).unwrap().counts.files, 1_200);
    let path = crate::entry::parse_path(machine.data().join("d007/f0003").as_os_str().as_bytes()).unwrap();
    assert_eq!(reader.find(second.root, &path).unwrap().map(|entry| entry.size), Some(7));
    assert_eq!(reader.find(second.root, b"nowhere").unwrap(), None);
    let mut seen = Vec::new();
    let name = |entry: &Entry| String::from_utf8_lossy(crate::entry::split_name(&entry.path).1).into_owned();
    let served_before = reader.line.records.load(Ordering::Relaxed);
    reader
        .diff(first.root, second.root, &mut |difference| {
            seen.push(match difference {
                Difference::Added(entry) => format!("+{}", name(&entry)),
                Difference::Removed(entry) => format!("-{}", name(&entry)),
                Difference::Changed(old, new) => format!("~{} {}", name(&new), old.size != new.size),
            });
        })
        .unwrap();
    assert_eq!(seen, ["~f0003 true", "~d008 false", "-f0004", "~d009 false", "+new"]);
    assert!(
        reader.line.records.load(Ordering::Relaxed) - served_before <= 14,
        "a diff of three changes read the whole tree"
    );
}

#[test]
fn adopting_needs_nothing_sent_again() {
    let mut machine = Machine::new();
    many(&machine.data(), 10, 60);
    fs::write(machine.data().join("big"), noise(5, 6_000_000)).unwrap();
    let outcome = machine.backup();
    let (report, restored) = machine.restore(outcome.root, "back");
    assert_eq!(report.faults, Vec::new());
    // A new machine: the old data and the old state are gone, the restored tree takes its place.
    fs::remove_dir_all(machine.data()).unwrap();
    fs::rename(&restored, machine.home.path().join("data")).unwrap();
    fs::remove_dir_all(&machine.state_dir).unwrap();
    fs::create_dir(&machine.state_dir).unwrap();
    let keyring = machine.keyring();
    let fetcher = MemoryFetcher::new(&machine.peer);
    let mut reader = TreeReader::new(&fetcher, &keyring).unwrap();
    let (seq, head) = machine.newest.unwrap();
    adopt_state(&mut reader, outcome.root, &machine.state_dir, seq, head).unwrap();
    settle(&machine.data());
    let before = machine.peer.bytes();
    let next = machine.backup();
    assert_eq!(next.root, outcome.root);
    assert_eq!(next.counts.files_read, 0);
    assert!(machine.peer.bytes() - before < 4_096, "{} bytes were sent", machine.peer.bytes() - before);
    // From here on the state is as good as an own one.
    fs::write(machine.data().join("big"), noise(5, 6_000_001)).unwrap();
    let before = machine.peer.bytes();
    machine.backup();
    assert!(machine.peer.bytes() - before < 2 << 20, "a byte more sent the file again");
}

#[test]
fn a_drill_compares() {
    let mut machine = Machine::new();
    many(&machine.data(), 10, 60);
    let outcome = machine.backup();
    let keyring = machine.keyring();
    let scratch = |name: &str| machine.home.path().join(name);
    let run = |name: &str| {
        let fetcher = MemoryFetcher::new(&machine.peer);
        drill(&fetcher, &keyring, outcome.root, 40, &scratch(name), &mut filler(3)).unwrap()
    };
    let report = run("one");
    assert_eq!((report.drawn, report.equal, report.failed.len()), (report.drawn, report.drawn, 0));
    assert!(report.drawn >= 35);
    // Same size and time, other bytes: only a comparison finds it.
    let victim = walk_files(&scratch("one")).pop().unwrap();
    let live = Path::new("/").join(victim.strip_prefix(scratch("one")).unwrap());
    let (meta, mut bytes) = (fs::metadata(&live).unwrap(), fs::read(&live).unwrap());
    bytes[0] ^= 1;
    fs::write(&live, bytes).unwrap();
    set_times(&live, meta.mtime(), meta.mtime_nsec());
    assert_eq!(run("two").failed, vec![live.as_os_str().as_bytes().to_vec()]);
    fs::write(&live, b"changed openly").unwrap();
    let report = run("three");
    assert_eq!((report.failed.len(), report.whole), (0, 1));
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A store made of fixed bytes is the same file by file, for ever. When this fails, the format changed: that needs a new
//! format number or a feature bit, and a reader for the old one.

use crate::support::{SMALL, TestSource, at, backup, created, open, reboot, verify};
use adit_store::disk::{Disk, Mode};
use adit_store::{Access, SimDisk, Store};
use std::fmt::Write;

const GOLDEN: &str = include_str!("golden.txt");
/// Both copies of the same store's ledger as the first version wrote it, before a CHECKPOINT knew of retention: offset and
/// bytes, what is zero left out. All other files were the same.
const LEDGER_V1: &str = include_str!("golden-v1.txt");

fn golden_store() -> (SimDisk, TestSource) {
    let disk = created(SMALL);
    let mut store = open(&disk);
    let mut source = TestSource::new(2026);
    store.put_source(source.source(), at(0)).expect("a source");
    backup(&mut store, &mut source, 5, 1);
    store.close(at(2)).expect("a clean end");
    // The second half of the history comes after an unclean end: sealed segments with a footer.
    disk.unlock();
    let mut store = open(&disk);
    backup(&mut store, &mut source, 3, 3);
    drop(store);
    disk.unlock();
    let mut store = open(&disk);
    backup(&mut store, &mut source, 2, 4);
    store.close(at(5)).expect("a clean end");
    (reboot(&disk), source)
}

/// Path, length and BLAKE3 of every file but the index, which is derived.
fn listing(disk: &SimDisk) -> String {
    let mut listing = String::new();
    for path in disk.paths().into_iter().filter(|path| !path.starts_with("idx/")) {
        let file = disk.open(&path, Mode::Read).expect("a listed file");
        let mut bytes = vec![0; usize::try_from(disk.len(file).expect("its length")).expect("short")];
        disk.read_at(file, 0, &mut bytes).expect("its bytes");
        writeln!(listing, "{path} {} {}", bytes.len(), blake3::hash(&bytes).to_hex()).expect("text");
    }
    listing
}

#[test]
fn a_store_of_fixed_bytes_does_not_change() {
    let (disk, source) = golden_store();
    let listing = listing(&disk);
    assert_eq!(listing, GOLDEN, "\n{listing}");
    let (mut store, opening) = Store::open(disk, Access::ReadWrite, at(6)).expect("it opens");
    assert!(opening.clean);
    assert_eq!(store.snapshots(&source.id).len(), 3);
    assert!(verify(&mut store).is_clean());
}

#[test]
fn a_store_of_the_first_version_opens() {
    let (disk, source) = golden_store();
    for path in ["ledger/a/00000000", "ledger/b/00000000"] {
        let file = disk.open(path, Mode::CreateOrEmpty).expect("a ledger file");
        disk.set_len(file, 64 << 10).expect("its length");
        for line in LEDGER_V1.lines() {
            let (offset, hex) = line.split_once(' ').expect("offset and bytes");
            let bytes: Vec<u8> = hex
                .as_bytes()
                .as_chunks::<2>()
                .0
                .iter()
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
                .collect();
            disk.write_at(file, offset.parse().expect("a number"), &bytes).expect("its bytes");
        }
        disk.sync(file).expect("a flush");
    }
    let listed = listing(&disk);
    let v1 = "5b065ecc6470b8d5f7f74e55b7a133e2c30d2fa0095a824a4f1e179a762ce1d0";
    assert_eq!(listed.matches(v1).count(), 2, "the ledger of the first version\n{listed}");
    let (mut store, opening) = Store::open(disk, Access::ReadWrite, at(6)).expect("it opens");
    assert!(opening.clean);
    assert_eq!(store.snapshots(&source.id).len(), 3);
    assert!(verify(&mut store).is_clean());
}

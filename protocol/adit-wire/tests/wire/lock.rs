// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `protocol/wire.lock` freezes the wire: numbers, fields, bytes. This test writes it anew and compares.
//!
//! `ADIT_BLESS=new cargo test -p adit-wire --test wire` adds lines for new messages, variants and codes; it refuses to
//! change or drop a line. A released type never changes: give the new layout the next major. `ADIT_BLESS=all` rewrites
//! everything, which is right only for what no release has spoken yet.

use crate::frozen;
use crate::vectors::{Case, cases, part_cases};
use adit_wire::frame::{Service, Trailing};
use data_encoding::HEXLOWER;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Longer vectors stand in the file by length and hash.
const HEX_BYTES_MAX: usize = 640;

const HEAD: &str = "\
# The wire, frozen. adit-wire's tests/wire/lock.rs writes and checks this file; protocol/SPEC.md explains it.
# message SERVICE METHOD MAJOR NAME, trailing bytes, longest body, fields, then bodies in hexadecimal (long ones by length
# and BLAKE3). part: what lies packed in lists. enum, code: numbers that are never used again. bytes: fixed layouts.
";

fn lock_path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../wire.lock"))
}

/// One block of the file: lines that belong together, the first one names it.
fn blocks() -> Vec<String> {
    let mut blocks: Vec<String> = cases().iter().map(message_block).collect();
    for part in part_cases() {
        let mut block = format!("part {}\n  fields {}\n", part.name, part.schema);
        vector_lines(&mut block, &part.vectors);
        blocks.push(block);
    }
    blocks.extend(frozen::enum_blocks());
    for (name, vectors) in frozen::layouts() {
        let mut block = format!("bytes {name}\n");
        vector_lines(&mut block, &vectors);
        blocks.push(block);
    }
    blocks
}

fn message_block(case: &Case) -> String {
    let service = Service::from_byte(case.kind.service).expect("a known service");
    let trailing = match case.trailing {
        Trailing::Refused => "refused",
        Trailing::Skipped => "skipped",
    };
    let longest = case.vectors.iter().map(|(_, body)| body.len()).max().expect("a vector");
    let (method, major, name) = (case.kind.method, case.kind.major, case.name);
    let mut block = format!(
        "message {} {method} {major} {name}\n  trailing {trailing}, longest {longest} bytes\n  fields {}\n",
        format!("{service:?}").to_lowercase(),
        case.schema
    );
    vector_lines(&mut block, &case.vectors);
    block
}

fn vector_lines(block: &mut String, vectors: &[(&'static str, Vec<u8>)]) {
    for (label, bytes) in vectors {
        if bytes.len() <= HEX_BYTES_MAX {
            writeln!(block, "  {label} = {}", HEXLOWER.encode(bytes)).expect("a string takes everything");
        } else {
            writeln!(block, "  {label} = {} bytes, blake3 {}", bytes.len(), blake3::hash(bytes)).expect("as above");
        }
    }
}

#[test]
fn the_wire_is_what_the_lock_says() {
    let written: String =
        std::iter::once(HEAD.to_owned()).chain(blocks().iter().map(|block| format!("\n{block}"))).collect();
    let locked = std::fs::read_to_string(lock_path()).unwrap_or_default();
    if locked == written {
        return;
    }
    let gone: Vec<&str> = locked.lines().filter(|line| !line.starts_with('#') && !written.contains(line)).collect();
    match std::env::var("ADIT_BLESS").as_deref() {
        Ok("all") => std::fs::write(lock_path(), &written).expect("wire.lock can be written"),
        Ok("new") if gone.is_empty() => std::fs::write(lock_path(), &written).expect("wire.lock can be written"),
        _ => {
            let new: Vec<&str> = written.lines().filter(|line| !locked.contains(line)).collect();
            panic!(
                "the wire is not what protocol/wire.lock says.\nlines that are gone or changed: {gone:#?}\nnew lines: \
                 {new:#?}\nIf nothing is gone, run with ADIT_BLESS=new. If something is gone, a released layout changed: \
                 give it the next major instead."
            );
        }
    }
}

/// The bytes in the file, not the ones made here, must still be read: an old peer sends them.
#[test]
fn bodies_of_the_lock_are_read() {
    let locked = std::fs::read_to_string(lock_path()).expect("wire.lock is there");
    let cases = cases();
    let mut current: Option<&Case> = None;
    let mut read = 0;
    for line in locked.lines() {
        if let Some(head) = line.strip_prefix("message ") {
            let name = head.rsplit(' ').next().expect("a name");
            current = Some(cases.iter().find(|case| case.name == name).expect("a known message"));
        } else if !line.starts_with("  ") {
            current = None;
        } else if let (Some(case), Some((label, hex))) = (current, line.split_once(" = "))
            && let Ok(body) = HEXLOWER.decode(hex.as_bytes())
        {
            assert_eq!((case.recode)(&body).as_ref(), Ok(&body), "{} {label}", case.name);
            read += 1;
        }
    }
    assert!(read > 100, "only {read} vectors were read");
}

/// A message that nobody added to the vectors would change unseen.
#[test]
fn every_message_of_the_source_is_locked() {
    let mut declared: Vec<String> = Vec::new();
    let mut folders = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = std::fs::read_to_string(path).expect("text");
            let names = source.lines().filter_map(|line| line.strip_prefix("message!("));
            declared.extend(names.map(|rest| rest.split(['<', ',']).next().expect("a name").to_owned()));
        }
    }
    declared.push("Refused".to_owned());
    declared.sort_unstable();
    let mut locked: Vec<String> = cases().iter().map(|case| case.name.to_owned()).collect();
    locked.sort_unstable();
    assert_eq!(declared, locked);
    let mut kinds: Vec<_> = cases().iter().map(|case| case.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), locked.len(), "two messages share their numbers");
}

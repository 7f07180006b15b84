// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Measures a store on a real directory: append with a flush every 16 MiB, look-ups, reading, verification, opening.
//!
//!     cargo run --release -p adit-store --example store_speed -- DIR [GB] [RECORD_KB] [bare]
//!
//! `bare` goes without parity, by columns that are too many for it.
#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

#[path = "../tests/store/support.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod support;

use adit_store::{Access, DirDisk, Geometry, Step, Store};
use adit_wire::ids::Id;
use adit_wire::read::Scope;
use std::time::Instant;
use support::{TestSource, at, new_store};

const FLUSH_BYTES: u64 = 16 << 20;

/// Wall clock and this thread's processor time, seconds.
#[derive(Clone, Copy)]
struct Clock {
    wall: Instant,
    cpu_s: f64,
}

impl Clock {
    fn now() -> Self {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let nanoseconds = text.split(' ').next().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        Self { wall: Instant::now(), cpu_s: nanoseconds / 1e9 }
    }

    fn elapsed(self) -> (f64, f64) {
        let now = Self::now();
        (now.wall.duration_since(self.wall).as_secs_f64(), now.cpu_s - self.cpu_s)
    }
}

fn report(what: &str, bytes: u64, records: u64, (wall, cpu): (f64, f64)) {
    let megabytes = bytes as f64 / 1e6;
    let (by_wall, by_cpu) = (megabytes / wall, megabytes / cpu);
    println!("{what:<8} {records:>8} records {wall:>7.2} s {by_wall:>6.0} MB/s   cpu {cpu:>6.2} s {by_cpu:>6.0} MB/s");
}

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().expect("a directory");
    let total = args.next().map_or(1, |text| text.parse::<u64>().expect("gigabytes")) * 1_000_000_000;
    let record_bytes = args.next().map_or(170, |text| text.parse::<usize>().expect("kilobytes")) * 1_000;
    let bare = args.next().is_some_and(|text| text == "bare");
    let geometry = Geometry::default();
    let geometry = if bare { Geometry { col_log2: 9, cell_log2: 9, ..geometry } } else { geometry };
    std::fs::create_dir_all(&dir).expect("the directory");
    let disk = DirDisk::open(&dir).expect("a directory");
    Store::create(&disk, &new_store(geometry)).expect("an empty directory");
    drop(disk);
    let open = || Store::open(DirDisk::open(&dir).expect("a directory"), Access::ReadWrite, at(0)).expect("a store").0;
    let mut store = open();
    let mut source = TestSource::new(1);
    store.put_source(source.source(), at(0)).expect("a source");
    let key = source.new_key();
    let session = store.open_session(&source.id, &key, None, at(0)).expect("a session");

    let (mut bytes, mut seq) = (0u64, 0u64);
    let mut taken = (0.0, 0.0);
    let mut ids: Vec<Id> = Vec::new();
    while bytes < total {
        let batch: Vec<_> = (0..FLUSH_BYTES.div_ceil(record_bytes as u64)).map(|_| source.data(record_bytes)).collect();
        let since = Clock::now();
        for made in &batch {
            seq += 1;
            store.append(session, seq, &made.bytes, at(0)).expect("a record");
            bytes += made.bytes.len() as u64;
        }
        store.sync(at(0)).expect("a flush");
        let elapsed = since.elapsed();
        taken = (taken.0 + elapsed.0, taken.1 + elapsed.1);
        ids.extend(batch.iter().map(|made| made.id));
    }
    report("append", bytes, seq, taken);
    let since = Clock::now();
    let mut read = 0;
    for chunk in ids.chunks(10_000) {
        let mut plan = store.plan_fetch(&source.id, Scope::Records, chunk, true).expect("a plan");
        while let Some(record) = plan.next(&mut store, at(0)) {
            read += record.expect("a healthy record").len() as u64;
        }
    }
    report("fetch", read, ids.len() as u64, since.elapsed());
    let since = Clock::now();
    let mut verification = store.verification();
    let verified = loop {
        if let Step::Finished(report) = verification.step(&mut store, 64 << 20, at(0)).expect("reading") {
            break report;
        }
    };
    assert!(verified.is_clean(), "{verified:?}");
    report("verify", verified.bytes, verified.records, since.elapsed());
    drop(store);
    let since = Clock::now();
    let store = open();
    report("recover", 0, 0, since.elapsed());
    store.close(at(0)).expect("a clean end");
    let since = Clock::now();
    drop(open());
    report("open", 0, 0, since.elapsed());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().filter(|line| line.starts_with("VmHWM")).for_each(|line| println!("{line}"));
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Interrupted: either side is killed at any moment; what was acknowledged stays, and little is sent twice.

use adit_contract::lab::{Lab, Source};
use adit_contract::tree::{differences, noise, restored};
use nix::sys::signal::Signal;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What may be sent twice after a kill, bytes.
const SENT_TWICE_MAX: u64 = 16 << 20;
/// Room for keys, tree and TLS beside the data, bytes.
const OVERHEAD_MAX: u64 = 3 << 20;
const DATA_BYTES: usize = 96 << 20;

/// Bytes of segments in a store: its ledger has a fixed size from the start.
fn stored(store: &Path) -> u64 {
    ["seg", "met"].iter().map(|dir| below(&store.join(dir))).sum()
}

fn below(dir: &Path) -> u64 {
    let mut total = 0;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        total += if metadata.is_dir() { below(&entry.path()) } else { metadata.len() };
    }
    total
}

fn write_data(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    for index in 0..12u64 {
        fs::write(dir.join(format!("file{index}")), noise(DATA_BYTES / 12, 100 + index)).unwrap();
    }
}

/// Restores the newest snapshot and compares it with the data.
fn comes_back(lab: &Lab, source: &Source, file: &Path, data: &Path) {
    let to = lab.path("restored");
    let args = [
        "restore".as_ref(),
        "latest".as_ref(),
        "--recovery-file".as_ref(),
        file.as_os_str(),
        "--to".as_ref(),
        to.as_os_str(),
    ];
    source.adit(args).succeeded();
    assert_eq!(differences(data, &restored(&to, data)).unwrap(), [""; 0]);
}

#[test]
fn killed_source_goes_on_where_it_was() {
    let lab = Lab::new();
    let mut lab_box = lab.new_box("box");
    lab_box.start();
    let (file, public) = lab.recovery_key("admin");
    let data = lab.path("data");
    write_data(&data);
    let source = lab.source("source");
    source.set_up(&lab_box, "web1", &[&public]);
    for share in [3u64, 2] {
        let mut run = source.start(["backup".as_ref(), data.as_os_str()]);
        let goal = u64::try_from(DATA_BYTES).unwrap() / share;
        run.wait_until("a part of the data at the box", || stored(&lab_box.store) > goal);
        run.signal(Signal::SIGKILL);
        run.wait(Duration::from_secs(10));
    }
    let before = stored(&lab_box.store);
    let report = source.backup(&[&data]);
    let sent = report["bytes_sent"].as_u64().unwrap();
    let rest = u64::try_from(DATA_BYTES).unwrap().saturating_sub(before);
    assert!(sent <= rest + SENT_TWICE_MAX + OVERHEAD_MAX, "{sent} bytes sent, {rest} were missing");
    comes_back(&lab, &source, &file, &data);
}

#[test]
fn killed_box_is_found_again_by_the_same_run() {
    let lab = Lab::new();
    let mut lab_box = lab.new_box("box");
    lab_box.start();
    let (file, public) = lab.recovery_key("admin");
    let data = lab.path("data");
    write_data(&data);
    let source = lab.source("source");
    source.set_up(&lab_box, "web1", &[&public]);
    let mut run = source.start(["backup".as_ref(), "--json".as_ref(), data.as_os_str()]);
    let goal = u64::try_from(DATA_BYTES).unwrap() / 3;
    run.wait_until("a part of the data at the box", || stored(&lab_box.store) > goal);
    lab_box.kill();
    lab_box.start();
    let status = run.wait(Duration::from_secs(120));
    assert!(status.success(), "{}", run.log());
    let log = run.log();
    let json = log.lines().rev().find(|line| line.starts_with('{')).expect("one JSON object");
    let report: serde_json::Value = serde_json::from_str(json).unwrap();
    let sent = report["bytes_sent"].as_u64().unwrap();
    let limit = u64::try_from(DATA_BYTES).unwrap() + SENT_TWICE_MAX + OVERHEAD_MAX;
    assert!(sent <= limit, "{sent} bytes sent for {DATA_BYTES} bytes of data");
    comes_back(&lab, &source, &file, &data);
}

/// Starts a backup, sets the box back in the middle of it so many times to what it was before, and tells how the run
/// ended and what it said. The data must come back when it went well.
fn set_back(times: u32) -> (i32, String) {
    let lab = Lab::new();
    let mut lab_box = lab.new_box("box");
    lab_box.start();
    let (file, public) = lab.recovery_key("admin");
    let data = lab.path("data");
    write_data(&data);
    let source = lab.source("source");
    source.set_up(&lab_box, "web1", &[&public]);
    lab_box.stop();
    let (copy, original) = (lab.path("copy"), lab.path("box"));
    duplicate(&original, &copy);
    lab_box.start();
    let mut run = source.start(["backup".as_ref(), "--json".as_ref(), data.as_os_str()]);
    let goal = u64::try_from(DATA_BYTES).unwrap() / 3;
    for _ in 0..times {
        run.wait_until("a part of the data at the box", || stored(&lab_box.store) > goal);
        lab_box.kill();
        fs::remove_dir_all(&original).unwrap();
        duplicate(&copy, &original);
        lab_box.start();
    }
    let code = run.wait(Duration::from_secs(120)).code().unwrap_or(-1);
    if code == 0 {
        comes_back(&lab, &source, &file, &data);
    }
    (code, run.log())
}

fn duplicate(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "cp ended with {status}");
}

#[test]
fn a_box_that_was_set_back_gets_a_new_session_from_the_same_run() {
    let (code, log) = set_back(2);
    assert_eq!((code, log.matches("opening a new session").count()), (0, 2), "{log}");
}

#[test]
fn a_box_that_forgets_again_and_again_ends_the_run() {
    let (code, log) = set_back(3);
    assert_eq!((code, log.matches("opening a new session").count()), (4, 2), "{log}");
    assert!(log.contains("the box no longer holds this run's session"), "{log}");
}

#[test]
fn acknowledged_snapshots_survive_a_killed_box() {
    let lab = Lab::new();
    let mut lab_box = lab.new_box("box");
    lab_box.start();
    let (file, public) = lab.recovery_key("admin");
    let data = lab.path("data");
    fs::create_dir(&data).unwrap();
    let source = lab.source("source");
    source.set_up(&lab_box, "web1", &[&public]);
    for round in 0..5u64 {
        fs::write(data.join(format!("file{round}")), noise(2 << 20, round)).unwrap();
        source.backup(&[&data]);
        lab_box.kill();
        lab_box.start();
        let listed = source.adit(["snapshots", "--json"]).succeeded().json();
        let count = listed.as_array().or_else(|| listed["snapshots"].as_array()).unwrap().len();
        assert_eq!(count, usize::try_from(round).unwrap() + 1, "{listed}");
    }
    source.adit(["verify"]).succeeded();
    comes_back(&lab, &source, &file, &data);
}

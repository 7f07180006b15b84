// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Budgets: bytes and round trips of a run with nothing changed, memory of both sides.

use adit_contract::lab::{Lab, peak_memory};
use adit_contract::tree::{make_small, noise};
use std::fs;
use std::path::Path;

const UNCHANGED_ROUND_TRIPS_MAX: u64 = 6;
const UNCHANGED_BYTES_MAX: u64 = 8_000;
const AGENT_IDLE_BYTES_MAX: u64 = 16 << 20;
const AGENT_RECEIVING_BYTES_MAX: u64 = 64 << 20;
const TOOL_BYTES_MAX: u64 = 72 << 20;

#[test]
fn unchanged_run_stays_within_its_budget() {
    let lab = Lab::new();
    let mut lab_box = lab.new_box("box");
    lab_box.start();
    let keys = ["one", "two", "three"].map(|name| lab.recovery_key(name).1);
    let recipients: Vec<&Path> = keys.iter().map(std::path::PathBuf::as_path).collect();
    let mut sent = Vec::new();
    for (name, files) in [("small", 100), ("large", 20_000)] {
        let data = lab.path(format!("data-{name}"));
        make_small(&data, files, 3).unwrap();
        let source = lab.source(&format!("source-{name}"));
        source.set_up(&lab_box, name, &recipients);
        source.backup(&[&data]);
        let report = source.backup(&[&data]);
        let (bytes, trips) = (report["bytes_sent"].as_u64().unwrap(), report["round_trips"].as_u64().unwrap());
        assert!(bytes <= UNCHANGED_BYTES_MAX && trips <= UNCHANGED_ROUND_TRIPS_MAX, "{report}");
        assert_eq!(report["bytes_read"].as_u64(), Some(0), "unchanged files are not read: {report}");
        sent.push(bytes);
    }
    assert!(sent[0].abs_diff(sent[1]) < 500, "the size of the tree must not matter: {sent:?} bytes");
}

#[test]
fn agent_is_small_when_idle_and_when_eight_sources_send() {
    let lab = Lab::new();
    let mut lab_box = lab.new_box("box");
    lab_box.start();
    let idle = peak_memory(lab_box.process_id()).unwrap();
    assert!(idle <= AGENT_IDLE_BYTES_MAX, "idle: {} KiB", idle >> 10);
    let (_, public) = lab.recovery_key("admin");
    let sources: Vec<_> = (0..8)
        .map(|index| {
            let data = lab.path(format!("data{index}"));
            fs::create_dir(&data).unwrap();
            fs::write(data.join("large"), noise(24 << 20, index)).unwrap();
            let source = lab.source(&format!("source{index}"));
            source.set_up(&lab_box, &format!("web{index}"), &[&public]);
            (source, data)
        })
        .collect();
    let mut runs: Vec<_> =
        sources.iter().map(|(source, data)| source.start(["backup".as_ref(), data.as_os_str()])).collect();
    for run in &mut runs {
        let status = run.wait(std::time::Duration::from_secs(120));
        assert!(status.success(), "{}", run.log());
    }
    let receiving = peak_memory(lab_box.process_id()).unwrap();
    assert!(receiving <= AGENT_RECEIVING_BYTES_MAX, "receiving: {} KiB", receiving >> 10);
    println!("agent: idle {} KiB, receiving from 8 sources {} KiB", idle >> 10, receiving >> 10);
}

#[test]
fn tool_is_small_with_a_hundred_thousand_files() {
    let lab = Lab::new();
    let mut lab_box = lab.new_box("box");
    lab_box.start();
    let (_, public) = lab.recovery_key("admin");
    let data = lab.path("data");
    make_small(&data, 100_000, 4).unwrap();
    let source = lab.source("source");
    source.set_up(&lab_box, "web1", &[&public]);
    for round in ["initial", "unchanged"] {
        let mut run = source.start(["backup".as_ref(), data.as_os_str()]);
        let id = run.id();
        let mut peak = 0;
        while run.runs() {
            peak = peak_memory(id).unwrap_or(0).max(peak);
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
        assert!(run.wait(std::time::Duration::from_secs(1)).success(), "{}", run.log());
        assert!(peak > 0 && peak <= TOOL_BYTES_MAX, "{round}: {} KiB", peak >> 10);
        println!("tool, {round} run of 100,000 files: {} KiB", peak >> 10);
    }
}

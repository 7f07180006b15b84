// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The demo, as `make demo` runs it, on a small directory: it tells the whole story and leaves nothing running.

use adit_contract::lab::{Lab, run};
use adit_contract::tree::make_small;
use std::path::{Path, PathBuf};

#[test]
fn the_demo_tells_the_whole_story() {
    let lab = Lab::new();
    let data = lab.path("data");
    make_small(&data, 300, 12).unwrap();
    let place = lab.path("stage");
    let told = run("demo", [&data, &place]).succeeded();
    for part in ["0 damaged", "DAMAGED", "recover", "entries equal", "Nothing runs any more"] {
        assert!(told.stdout.contains(part), "no {part:?} in:\n{}", told.stdout);
    }
    assert!(!place.join("source").exists(), "the lost source's state is still there");
    let left = processes_in(&place);
    assert!(left.is_empty(), "still running: {left:?}");
}

/// Processes that work in a directory, as /proc shows them.
fn processes_in(dir: &Path) -> Vec<PathBuf> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(|process| process.path());
    processes.filter(|process| std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir))).collect()
}

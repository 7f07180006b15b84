// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The box's disk fills up in the middle of a backup: the source is told so, nothing acknowledged is lost, and when there
//! is room again the next run finishes. Once with a limit of file size, which any user can set on the running box, once
//! on a small file system, which only root can mount.

use adit_contract::lab::{Lab, LabBox};
use adit_contract::tree::{differences, make_small, noise, restored};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// More than a source keeps while nothing is durable, so that a box that kept silent would be waited for.
const DATA_BYTES: usize = 40 << 20;
/// Room for the ledger and the first snapshot, not for the second one.
const ROOM_BYTES: u64 = 12 << 20;

const SENTENCE: &str = "adit: the box refused: the box's disk is full; nothing stored is lost\n  next: free space on the \
                        box or give it a larger disk; what is stored stays readable";

/// Backs up, fills the disk by `fill`, backs up what doesn't fit, and once more after `make_room`.
fn story(lab: &Lab, mut lab_box: LabBox, fill: impl FnOnce(&LabBox), make_room: impl FnOnce(&LabBox)) {
    lab_box.start();
    let (recovery, public) = lab.recovery_key("admin");
    let data = lab.path("data");
    make_small(&data, 20, 5).unwrap();
    let source = lab.source("source");
    source.set_up(&lab_box, "web1", &[&public]);
    source.backup(&[&data]);
    let before = lab.path("before");
    fs::rename(&data, &before).unwrap();
    make_small(&data, 20, 5).unwrap();
    fs::write(data.join("large"), noise(DATA_BYTES, 6)).unwrap();
    fill(&lab_box);
    for _ in 0..2 {
        let run = source.adit(["backup".as_ref(), data.as_os_str()]);
        assert_eq!((run.code, run.stderr.trim_end()), (5, SENTENCE), "{}", lab_box.log());
    }
    let restore = |to: PathBuf| {
        let words = ["restore", "latest", "--recovery-file"].map(OsStr::new);
        source.adit(words.into_iter().chain([recovery.as_os_str(), "--to".as_ref(), to.as_os_str()])).succeeded();
        restored(&to, &data)
    };
    source.adit(["verify"]).succeeded();
    assert_eq!(differences(&restore(lab.path("first")), &before).unwrap(), Vec::<String>::new());
    make_room(&lab_box);
    let done = source.backup(&[&data]);
    assert_eq!(differences(&restore(lab.path("second")), &data).unwrap(), Vec::<String>::new());
    assert!(done["seq"].as_u64() == Some(2), "{done}");
    source.adit(["verify"]).succeeded();
    lab_box.stop();
}

fn limit_files(lab_box: &LabBox, bytes: Option<u64>) {
    let process = Pid::from_raw(lab_box.process_id().try_into().unwrap());
    prlimit(process, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

#[test]
fn a_full_disk_is_told_and_passes() {
    let lab = Lab::new();
    let lab_box = lab.new_box("box");
    story(&lab, lab_box, |lab_box| limit_files(lab_box, Some(ROOM_BYTES)), |lab_box| limit_files(lab_box, None));
}

/// A file system in memory, gone when this goes.
struct Mounted(PathBuf);

impl Mounted {
    fn at(place: &Path, options: &str) -> Self {
        fs::create_dir_all(place).unwrap();
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(place).status().unwrap();
        assert!(status.success());
        Self(place.to_owned())
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("--lazy").arg(&self.0).status().is_ok();
    }
}

#[test]
fn netns_a_small_file_system_fills_up_and_grows() {
    let lab = Lab::new();
    let lab_box = lab.new_box("box");
    let mounted = Mounted::at(&lab_box.store, "size=1g");
    let shrink = |lab_box: &LabBox| {
        let used = rustix::fs::statvfs(&lab_box.store).unwrap();
        let used_bytes = (used.f_blocks - used.f_bfree) * used.f_frsize;
        mounted.remount(&format!("size={}", used_bytes + ROOM_BYTES));
    };
    story(&lab, lab_box, shrink, |_| mounted.remount("size=1g"));
}

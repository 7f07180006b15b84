// SPDX-License-Identifier: Apache-2.0 OR MIT
//! There and back with as many real files as a server has, and one of every odd kind beside them.

use adit_contract::lab::Lab;
use adit_contract::tree::{differences, make_odd, restored};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Regular files in the tree.
const FILES: usize = 50_000;
/// Files above this are left out, so that the test ends in time; the odd kinds have large ones.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of the tree, for the same reason.
const TREE_BYTES_MAX: u64 = 256 << 20;
/// Bytes a file may have when the tree would else outgrow its bound before it has its files.
const FILE_BYTES_FAIR: u64 = TREE_BYTES_MAX / FILES as u64;

/// Real files of this machine that this user can read, in the order of their paths.
struct RealFiles {
    /// Where copies go.
    to: PathBuf,
    copied: Vec<PathBuf>,
    bytes: u64,
}

impl RealFiles {
    /// Copies what lies below `dir` under the same names, as long as there is room.
    fn take(&mut self, dir: &Path) {
        let mut names: Vec<PathBuf> =
            fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        names.sort();
        for path in names {
            if self.copied.len() >= FILES {
                return;
            }
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                self.take(&path);
            } else if metadata.is_file() && self.has_room(metadata.size()) {
                self.copy(&path);
            }
        }
    }

    fn has_room(&self, bytes: u64) -> bool {
        let spent = u64::try_from(self.copied.len()).unwrap() * FILE_BYTES_FAIR;
        bytes <= FILE_BYTES_FAIR || (bytes <= FILE_BYTES_MAX && self.bytes + bytes <= spent)
    }

    fn copy(&mut self, path: &Path) {
        let copy = self.to.join(path.strip_prefix("/").unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        // Some files of a system may not be read, or vanish: then they are none of ours.
        if let Ok(bytes) = fs::copy(path, &copy) {
            self.bytes += bytes;
            self.copied.push(copy);
        }
    }

    /// Fills up to the number of files: what is there again, with a line that makes it another file.
    fn top_up(&mut self) {
        let real = self.copied.len();
        assert!(real > 1_000, "this machine has {real} files that can be read: where is its system?");
        for number in real..FILES {
            let mut content = fs::read(&self.copied[number % real]).unwrap();
            content.truncate(usize::try_from(FILE_BYTES_FAIR).unwrap());
            content.extend_from_slice(format!("\ncopy {number}\n").as_bytes());
            let copy = self.to.join(format!("top-up/{:04}/{number:06}", number / 200));
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::write(&copy, content).unwrap();
            self.copied.push(copy);
        }
    }
}

/// Directories with files that every machine with this toolchain has.
fn places() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = ["/usr/share", "/usr/lib", "/usr/include"].map(PathBuf::from).to_vec();
    let rustc = Command::new("rustc").args(["--print", "sysroot"]).output();
    places.extend(rustc.ok().map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())));
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    places.extend(cargo.map(|cargo| cargo.join("registry/src")));
    places.into_iter().filter(|place| place.is_absolute()).collect()
}

#[test]
fn restore_equals_source_on_fifty_thousand_real_files() {
    let lab = Lab::roomy(4 * TREE_BYTES_MAX);
    let data = lab.path("data");
    let mut files = RealFiles { to: data.join("real"), copied: Vec::new(), bytes: 0 };
    for place in places() {
        files.take(&place);
    }
    let real = files.copied.len();
    files.top_up();
    assert!(files.copied.len() >= FILES);
    let kinds = make_odd(&data.join("odd")).unwrap();
    assert!(kinds >= 14, "only {kinds} odd kinds could be made");
    let mut lab_box = lab.new_box("box");
    lab_box.start();
    let (file, public) = lab.recovery_key("admin");
    let source = lab.source("source");
    source.set_up(&lab_box, "web1", &[&public]);
    let report = source.backup(&[&data]);
    assert!(report["files"].as_u64().unwrap() >= u64::try_from(FILES).unwrap(), "{report}");
    let to = lab.path("restored");
    source
        .adit(["restore", "latest", "--recovery-file", file.to_str().unwrap(), "--to", to.to_str().unwrap()])
        .succeeded();
    assert_eq!(differences(&data, &restored(&to, &data)).unwrap(), [""; 0]);
    println!("{} files, {real} of them real, {} MB, {kinds} odd kinds", files.copied.len(), files.bytes / 1_000_000);
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit-image preseed` as a person uses it: a file that is checked, put onto an image, or both; options instead of a file.

use adit_image::arch::Arch;
use adit_image::esp::{Esp, Window};
use adit_image::image::{Parts, write_file};
use adit_image::table::{ESP, SectorSize, Table};
use adit_slots::version::Version;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

const EVERY_KEY: &str = include_str!("../../../firmware/adit-slots/tests/golden/preseed.toml");

/// What it said on success, or on failure.
fn preseed(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_adit-image")).arg("preseed").args(arguments).output();
    let output = output.expect("the program");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn image(path: &Path) {
    let (version, sector_size) = (Version::new(1, 2, 3), SectorSize::B512);
    let disk = Parts { arch: Arch::X86_64, version, sector_size, loader: b"MZ", uki: b"MZ" }.assemble();
    write_file(path, &disk.expect("an image")).expect("a file");
}

fn on_stick(path: &Path) -> String {
    let mut file = File::options().read(true).write(true).open(path).expect("the image");
    let table = Table::read(&mut file).expect("a table");
    let part = table.partition(ESP).expect("an ESP");
    let esp = Esp::open(Window::new(file, part.start_bytes, part.size_bytes)).expect("a file system");
    String::from_utf8(esp.read("adit.toml").expect("settings")).expect("text")
}

#[test]
fn a_file_is_checked_and_put_onto_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let [disk, good, bad] = ["disk.img", "good.toml", "bad.toml"].map(|name| folder.path().join(name));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    image(&disk);
    fs::write(&good, EVERY_KEY).unwrap();
    fs::write(&bad, "hostname = \"my box\"\n").unwrap();
    let (disk_text, good, bad) = (text(&disk), text(&good), text(&bad));
    assert_eq!(preseed(&["--file", &good]).unwrap(), "a box takes these settings\n");
    assert!(preseed(&[&disk_text, "--file", &good]).unwrap().starts_with("adit.toml is on "));
    assert_eq!(on_stick(&disk), EVERY_KEY);
    for refused in [vec!["--file", &bad], vec![&disk_text, "--file", &bad]] {
        let said = preseed(&refused).unwrap_err();
        assert!(said.contains("use 1 to 63 letters, digits and dashes"), "{said}");
    }
    let both = preseed(&[&disk_text, "--file", &good, "--hostname", "attic"]).unwrap_err();
    assert!(both.contains("--hostname") && both.contains("cannot be used with"), "{both}");
    assert!(preseed(&["--hostname", "attic"]).is_err(), "nothing to write to");
    assert_eq!(on_stick(&disk), EVERY_KEY);
    preseed(&[&disk_text, "--hostname", "attic"]).unwrap();
    assert_eq!(on_stick(&disk), "hostname = \"attic\"\n");
    let nothing = folder.path().join("nothing.img");
    fs::write(&nothing, vec![0; 1 << 20]).unwrap();
    let said = preseed(&[&text(&nothing), "--hostname", "attic"]).unwrap_err();
    assert!(said.contains("give a raw image or a stick that one was written to"), "{said}");
}

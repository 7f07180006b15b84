// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The real smartctl over the golden transcripts: an ioctl player, loaded before libc, answers it from the same file that
//! our decoders read. `make test-services` fetches smartctl and runs this.

use crate::golden::{compare, golden};
use adit_device::transcript::Transcript;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Names the program; set by `tests/parts.sh`.
const SMARTCTL: &str = "ADIT_SMARTCTL";

/// Transcripts, and how smartctl is told to speak to their device.
const DISKS: [(&str, &str); 8] = [
    ("ata-old", "sat"),
    ("ata", "sat"),
    ("usb", "sat"),
    ("nvme", "nvme,0xffffffff"),
    ("scsi", "scsi"),
    ("scsi-ssd", "scsi"),
    ("cciss-ata", "cciss,0"),
    ("cciss-scsi", "cciss,0"),
];

#[test]
fn services_smartctl_reads_the_same() {
    let smartctl = std::env::var_os(SMARTCTL).expect("`make test-services` sets ADIT_SMARTCTL");
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let (player, device) = (directory.path().join("player.so"), directory.path().join("disk"));
    std::fs::write(&device, "").expect("a file to open");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disks/player.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
        .args([&player, &source])
        .status();
    assert!(built.expect("run cc").success(), "the player does not compile");
    for (name, kind) in DISKS {
        let path = golden(name, "transcript");
        let output = Command::new(&smartctl)
            .args(["-x", "--json", "-d", kind])
            .arg(&device)
            .env("ADIT_TRANSCRIPT", &path)
            .env("LD_PRELOAD", &player)
            .output()
            .expect("run smartctl");
        let mut told: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{name}: {error}: {}", String::from_utf8_lossy(&output.stderr)));
        let transcript: Transcript = std::fs::read_to_string(&path).expect("read").parse().expect("parse");
        let compared = compare(name, &transcript, &told);
        println!("{name}: {} fields equal", compared.len());
        lasting(&mut told);
        keep_or_compare(name, &told);
    }
}

/// Takes out what differs from run to run.
fn lasting(told: &mut Value) {
    let fields = told.as_object_mut().expect("an object");
    fields.remove("local_time");
    fields.remove("device");
    if let Some(smartctl) = fields.get_mut("smartctl").and_then(Value::as_object_mut) {
        smartctl.retain(|name, _| name == "version");
    }
}

/// What is kept is what this smartctl said; another version may say more and is only compared field by field.
fn keep_or_compare(name: &str, told: &Value) {
    let path = golden(name, "json");
    if std::env::var_os("ADIT_BLESS").is_some() {
        let text = serde_json::to_string_pretty(told).expect("JSON");
        std::fs::write(&path, text + "\n").expect("write");
    }
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&path).expect("read")).expect("JSON");
    if kept["smartctl"]["version"] == told["smartctl"]["version"] {
        assert_eq!(&kept, told, "{name}: smartctl says something else than what is kept");
    }
}

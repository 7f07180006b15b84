// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The real smartctl and nvme-cli over the golden transcripts: an ioctl player, loaded before libc, answers them from the
//! same file that our decoders read. `make test-services` fetches both and runs this.

use crate::golden::{compare, compare_nvme_cli, golden};
use adit_device::transcript::Transcript;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the directory that holds Debian's smartmontools, nvme-cli and libnvme1, unpacked; set by `tests/parts.sh`.
const PROGRAMS: &str = "ADIT_DISK_PROGRAMS";

/// Transcripts, and how smartctl is told to speak to their device.
const DISKS: [(&str, &str); 9] = [
    ("ata-old", "sat"),
    ("ata", "sat"),
    ("usb", "sat"),
    ("usb-short", "sat,12"),
    ("nvme", "nvme,0xffffffff"),
    ("scsi", "scsi"),
    ("scsi-ssd", "scsi"),
    ("cciss-ata", "cciss,0"),
    ("cciss-scsi", "cciss,0"),
];

/// The programs, the player and a directory for them.
struct Stage {
    programs: PathBuf,
    directory: tempfile::TempDir,
}

impl Stage {
    fn set() -> Self {
        let programs = std::env::var_os(PROGRAMS).expect("`make test-services` sets ADIT_DISK_PROGRAMS").into();
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disks/player.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
            .args([directory.path().join("player.so"), source])
            .status();
        assert!(built.expect("run cc").success(), "the player does not compile");
        std::fs::write(directory.path().join("disk"), "").expect("a file to open");
        Self { programs, directory }
    }

    /// What a program says over a transcript.
    fn told(&self, program: &str, transcript: &str, arguments: &[&str]) -> Value {
        let output = Command::new(self.programs.join("usr/sbin").join(program))
            .args(arguments)
            .current_dir(self.directory.path())
            .env("ADIT_TRANSCRIPT", golden(transcript, "transcript"))
            .env("LD_PRELOAD", self.directory.path().join("player.so"))
            .env("LD_LIBRARY_PATH", self.libraries())
            .output()
            .expect("run the program");
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{transcript}: {error}: {said}"))
    }

    /// Debian's directory of libraries for this kind of machine.
    fn libraries(&self) -> PathBuf {
        let all = std::fs::read_dir(self.programs.join("usr/lib")).expect("libraries");
        let found =
            all.map(|entry| entry.expect("an entry").path()).find(|path| path.to_string_lossy().contains("-linux-gnu"));
        found.expect("libnvme1 is unpacked")
    }
}

fn transcript(name: &str) -> Transcript {
    std::fs::read_to_string(golden(name, "transcript")).expect("read").parse().expect("parse")
}

#[test]
fn services_smartctl_reads_the_same() {
    let stage = Stage::set();
    for (name, kind) in DISKS {
        let mut told = stage.told("smartctl", name, &["-x", "--json", "-d", kind, "disk"]);
        println!("{name}: {} fields equal", compare(name, &transcript(name), &told).len());
        lasting(&mut told);
        let kept = keep(name, "json", &told);
        // Another version may say more and is only compared field by field.
        if kept["smartctl"]["version"] == told["smartctl"]["version"] {
            assert_eq!(kept, told, "{name}: smartctl says something else than what is kept");
        }
    }
}

#[test]
fn services_smartctl_leaves_out_what_nvme_cli_says() {
    let stage = Stage::set();
    // nvme-cli opens character devices only; the player answers for /dev/null.
    let said =
        ["id-ctrl", "self-test-log"].map(|what| (what, stage.told("nvme", "nvme", &[what, "/dev/null", "-o", "json"])));
    let told = Value::Object(said.into_iter().map(|(what, said)| (what.to_owned(), said)).collect());
    println!("nvme: {} fields equal", compare_nvme_cli(&transcript("nvme"), &told).len());
    keep("nvme", "cli.json", &told);
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

/// What is kept of it; written anew first when that is asked for.
fn keep(name: &str, extension: &str, told: &Value) -> Value {
    let path = golden(name, extension);
    if std::env::var_os("ADIT_BLESS").is_some() {
        let text = serde_json::to_string_pretty(told).expect("JSON");
        std::fs::write(&path, text + "\n").expect("write");
    }
    serde_json::from_str(&std::fs::read_to_string(&path).expect("read")).expect("JSON")
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How many bytes a poll of a whole box costs, all of it made by the readers and rules that a machine uses: a line of 1 Mbit/s
//! from a cellar is what they go over.

use adit_device::PowerState;
use adit_device::pipe::{Answer, DeviceReport, Said};
use adit_device::reading::{DiskKind, DiskReading};
use adit_health::readings::ups::{UpsReading, UpsState};
use adit_health::{Answer as Polled, Collector, Devices, Gathered, Limits, Memory, Reporter, Surroundings};
use adit_wire::health::Poll;
use adit_wire::health::codes::ComponentKind;
use std::fs;
use std::path::Path;

/// Bytes of a snapshot: disks, and how many may be taken.
const SNAPSHOT_BYTES_MAX: [(u8, usize); 2] = [(6, 300), (24, 600)];
const SENSORS: usize = 8;

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("below the root")).expect("a folder");
    fs::write(path, text).expect("a file");
}

/// The files of a machine with so many SATA disks, a mirror and eight sensors.
fn machine(root: &Path, disks: u8) {
    for index in 0..disks {
        let disk = format!("sys/block/sd{}", char::from(b'a' + index));
        for (file, text) in [
            ("size", "7814037168\n"),
            ("queue/rotational", "1\n"),
            ("stat", "1 2 3 4 5 6 7 8 9 10 11\n"),
            ("device/vendor", "ATA     \n"),
            ("device/model", "WDC WD40EFRX-68N\n"),
            ("device/state", "running\n"),
            ("device/iotmo_cnt", "0x0\n"),
            ("device/wwid", &format!("naa.50014ee2b12345{index:02x}\n")),
        ] {
            put(root, &format!("{disk}/{file}"), text);
        }
    }
    for (file, text) in [
        ("level", "raid1\n"),
        ("raid_disks", "2\n"),
        ("array_state", "clean\n"),
        ("degraded", "0\n"),
        ("sync_action", "idle\n"),
        ("mismatch_cnt", "0\n"),
        ("uuid", "5f1c7a1e-1b2c-4d5e-8f90-123456789abc\n"),
    ] {
        put(root, &format!("sys/block/md0/md/{file}"), text);
    }
    put(root, "sys/block/md0/size", "7814037168\n");
    put(root, "sys/class/hwmon/hwmon0/name", "nct6775\n");
    for index in 1..=SENSORS {
        put(root, &format!("sys/class/hwmon/hwmon0/temp{index}_input"), &format!("{}\n", 31_000 + index * 1_700));
        put(root, &format!("sys/class/hwmon/hwmon0/temp{index}_label"), &format!("SENSOR{index}\n"));
    }
    put(root, "proc/vmstat", "oom_kill 0\n");
    put(root, "proc/sys/kernel/tainted", "0\n");
    put(root, "proc/pressure/memory", "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
}

/// What its disks and its UPS told: every number that such a disk has.
fn told(disks: u8) -> Gathered {
    let reading = |index: u8| DiskReading {
        kind: DiskKind::AtaHdd,
        power: PowerState::Active,
        failing: Some(false),
        reallocated: Some(0),
        pending: Some(0),
        uncorrectable: Some(0),
        reported_uncorrectable: Some(0),
        spin_retries: Some(0),
        command_timeouts: Some(0),
        link_errors: Some(3),
        written_bytes: Some(93_000_000_000_000),
        power_on_hours: Some(31_234 + u64::from(index)),
        start_stops: Some(412),
        temperature_c: Some(36),
        ..DiskReading::default()
    };
    let report = |index: u8| DeviceReport {
        name: format!("sd{}", char::from(b'a' + index)),
        power: PowerState::Active,
        said: Some(Said::Disk(Box::new(reading(index)))),
        age_s: 30,
        waiting_s: None,
        trouble: None,
    };
    let ups = UpsReading {
        name: "eaton".to_owned(),
        daemon: "[::1]:3493".to_owned(),
        status: vec![UpsState::Online],
        charge_permille: Some(1_000),
        runtime_s: Some(2_400),
        load_permille: Some(230),
        ..UpsReading::default()
    };
    Gathered {
        devices: Devices {
            answer: Some(Answer { version: 1, devices: (0..disks).map(report).collect(), ..Answer::default() }),
            silence: None,
        },
        upses: vec![("eaton@[::1]:3493".to_owned(), Some(Ok(vec![ups])))],
        ..Gathered::default()
    }
}

#[test]
fn a_whole_box_takes_few_bytes() {
    for (disks, bytes_max) in SNAPSHOT_BYTES_MAX {
        let root = tempfile::tempdir().unwrap();
        machine(root.path(), disks);
        let surroundings = Surroundings { root: root.path().to_owned(), ..Surroundings::default() };
        let mut collector = Collector::new(surroundings, Limits::default(), Memory::default());
        let report = collector.collect(1_795_000_000, &told(disks));
        let of = |kind| report.components.iter().filter(|component| component.kind == kind).count();
        let kinds = [ComponentKind::Disk, ComponentKind::Array, ComponentKind::Ups, ComponentKind::Sensor];
        assert_eq!(kinds.map(of), [usize::from(disks), 1, 1, SENSORS]);
        let checks: usize = report.components.iter().map(|component| component.findings.len()).sum();
        assert!(checks >= 30, "{checks} checks");
        let mut reporter = Reporter::new(2);
        reporter.update(&report).unwrap();
        let Polled::Full { snapshot, inventory_bytes, .. } = reporter.answer(Poll { inventory: 0, report: 0 }) else {
            panic!("the first report is a whole one");
        };
        println!("{disks} disks, {checks} checks: {} bytes, once {} bytes", snapshot.len(), inventory_bytes.len());
        assert!(snapshot.len() <= bytes_max, "{disks} disks take {} bytes", snapshot.len());
    }
}

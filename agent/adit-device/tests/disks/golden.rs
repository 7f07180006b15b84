// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Recorded disks beside what smartctl 7.3 said of the same transcripts (`golden/`), and nvme-cli 2.3 of what smartctl leaves
//! out: every field that both tell is equal, and no field of ours is told by nobody else.
//! The transcripts are the simulator's; `make test-services` runs the real smartctl over them again.

use crate::distinct;
use adit_device::command::LunAddress;
use adit_device::reading::SelfTestOutcome;
use adit_device::transcript::{Replay, Request, Transcript};
use adit_device::transport::CcissDisk;
use adit_device::{Attachment, DiskKind, DiskReading, Permit, read_disk, read_nvme};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Reads the one device of a transcript by its kind.
#[track_caller]
pub(crate) fn reading_of(transcript: &Transcript) -> DiskReading {
    let device = &transcript.devices[0];
    let mut replay = Replay::new(device);
    let visit = match device.kind.as_str() {
        "nvme" => return read_nvme(&mut replay).expect("read"),
        "cciss" => {
            let lun = device.exchanges.iter().rev().find_map(|exchange| match exchange.request {
                Request::Scsi { lun: Some(lun), .. } if lun != LunAddress::CONTROLLER => Some(lun),
                Request::Scsi { .. } | Request::Nvme { .. } | Request::Ipmi { .. } => None,
            });
            let lun = lun.expect("a disk behind the controller");
            read_disk(&mut CcissDisk::new(&mut replay, lun), Attachment::Direct, Permit::Wake)
        }
        "usb" => read_disk(&mut replay, Attachment::Usb, Permit::Wake),
        _ => read_disk(&mut replay, Attachment::Direct, Permit::Wake),
    };
    crate::readings::read(visit)
}

pub(crate) fn golden(name: &str, extension: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/disks/golden/{name}.{extension}"))
}

type Facts = BTreeMap<&'static str, Value>;

/// The fields of a reading under names of our own; absent ones are left out.
fn ours(reading: &DiskReading) -> Facts {
    let tests = &reading.self_tests;
    let failed: Vec<_> =
        reading.failed_attributes.iter().map(|a| json!([a.id, a.current, a.worst, a.threshold, a.now])).collect();
    let all = [
        ("model", json!(reading.identity.model)),
        ("serial", json!(reading.identity.serial)),
        ("firmware", json!(reading.identity.firmware)),
        ("wwn", json!(reading.identity.wwn)),
        ("size_bytes", json!(reading.size_bytes)),
        ("rotation_rpm", json!(reading.rotation_rpm)),
        ("failing", json!(reading.failing)),
        ("exception", json!(reading.exception)),
        ("critical_warning", json!(reading.critical_warning)),
        ("failed_attributes", if failed.is_empty() { Value::Null } else { json!(failed) }),
        ("reallocated", json!(reading.reallocated)),
        ("pending", json!(reading.pending)),
        ("uncorrectable", json!(reading.uncorrectable)),
        ("reported_uncorrectable", json!(reading.reported_uncorrectable)),
        ("spin_retries", json!(reading.spin_retries)),
        ("command_timeouts", json!(reading.command_timeouts)),
        ("link_errors", json!(reading.link_errors)),
        ("grown_defects", json!(reading.grown_defects)),
        ("uncorrected_errors", json!(reading.uncorrected_errors)),
        ("scan_defects", json!(reading.scan_defects)),
        ("media_errors", json!(reading.media_errors)),
        ("error_log_entries", json!(reading.error_log_entries)),
        ("wear_used_percent", json!(reading.wear_used_percent)),
        ("spare_percent", json!(reading.spare_percent)),
        ("spare_threshold_percent", json!(reading.spare_threshold_percent)),
        ("written_bytes", json!(reading.written_bytes)),
        ("read_bytes", json!(reading.read_bytes)),
        ("power_on_hours", json!(reading.power_on_hours)),
        ("power_cycles", json!(reading.power_cycles)),
        ("start_stops", json!(reading.start_stops)),
        ("load_cycles", json!(reading.load_cycles)),
        ("unsafe_shutdowns", json!(reading.unsafe_shutdowns)),
        ("temperature_c", json!(reading.temperature_c)),
        ("temperature_warning_c", json!(reading.temperature_warning_c)),
        ("temperature_limit_c", json!(reading.temperature_limit_c)),
        (
            "test_passed",
            json!(tests.newest.filter(|o| *o != SelfTestOutcome::Aborted).map(|o| o == SelfTestOutcome::Passed)),
        ),
        ("test_age_hours", json!(tests.newest_age_hours)),
        ("test_failed_at_hours", json!(tests.failed_at_hours)),
        ("test_failed_lba", json!(tests.failed_lba)),
        ("test_percent_left", json!(tests.running_percent_left)),
    ];
    all.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

/// The same fields from smartctl's words.
fn theirs(told: &Value, kind: DiskKind) -> Facts {
    let mut facts = Facts::new();
    let mut put = |name, value: Value| drop(facts.insert(name, value));
    let at = |path: &str| told.pointer(path).cloned().unwrap_or(Value::Null);
    put("serial", at("/serial_number"));
    put("rotation_rpm", Some(at("/rotation_rate")).filter(|rate| *rate != json!(0)).unwrap_or_default());
    put("failing", at("/smart_status/passed").as_bool().map_or(Value::Null, |passed| json!(!passed)));
    put("temperature_c", at("/temperature/current"));
    put("power_on_hours", at("/power_on_time/hours"));
    match kind {
        DiskKind::Nvme => nvme_facts(told, &mut facts),
        DiskKind::ScsiHdd | DiskKind::ScsiSsd => scsi_facts(told, &mut facts),
        DiskKind::AtaHdd | DiskKind::AtaSsd | DiskKind::Unknown => ata_facts(told, &mut facts),
    }
    facts.retain(|_, value| !value.is_null());
    facts
}

fn number(told: &Value, path: &str) -> Option<u64> {
    told.pointer(path).and_then(Value::as_u64)
}

fn ata_facts(told: &Value, facts: &mut Facts) {
    let at = |path: &str| told.pointer(path).cloned().unwrap_or(Value::Null);
    let list = |path: &str| told.pointer(path).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut put = |name, value: Value| drop(facts.insert(name, value));
    put("model", at("/model_name"));
    put("firmware", at("/firmware_version"));
    let wwn = number(told, "/wwn/naa").zip(number(told, "/wwn/oui")).zip(number(told, "/wwn/id"));
    put("wwn", json!(wwn.map(|((naa, oui), id)| format!("{:016x}", naa << 60 | oui << 36 | id))));
    put("size_bytes", at("/user_capacity/bytes"));
    put("power_cycles", at("/power_cycle_count"));
    put("temperature_limit_c", at("/temperature/op_limit_max"));
    let attributes = list("/ata_smart_attributes/table");
    let raw = |id: u64| attributes.iter().find(|a| a["id"] == json!(id)).and_then(|a| a["raw"]["value"].as_u64());
    let statistics = list("/ata_device_statistics/pages");
    let statistic = |page: u64, offset: u64| {
        let page = statistics.iter().find(|found| found["number"] == json!(page))?;
        let entry = page["table"].as_array()?.iter().find(|entry| entry["offset"] == json!(offset))?;
        entry["value"].as_u64()
    };
    put("reallocated", json!(statistic(3, 32).or_else(|| raw(5))));
    put("spin_retries", json!(statistic(3, 48).or_else(|| raw(10))));
    put("reported_uncorrectable", json!(statistic(4, 8).or_else(|| raw(187))));
    put("link_errors", json!(statistic(6, 24).or_else(|| raw(199))));
    put("load_cycles", json!(statistic(3, 24).or_else(|| raw(193))));
    put("wear_used_percent", json!(statistic(7, 8)));
    put("written_bytes", json!(statistic(1, 24).map(|sectors| sectors * 512)));
    put("read_bytes", json!(statistic(1, 40).map(|sectors| sectors * 512)));
    put("pending", json!(raw(197)));
    put("uncorrectable", json!(raw(198)));
    put("command_timeouts", json!(raw(188).map(|packed| packed & 0xffff)));
    put("start_stops", json!(raw(4)));
    let failed = attributes.iter().filter(|a| a["when_failed"] != json!(""));
    let failed =
        failed.map(|a| json!([a["id"], a["value"], a["worst"], a["thresh"], a["when_failed"] == json!("now")]));
    let failed: Vec<Value> = failed.collect();
    put("failed_attributes", if failed.is_empty() { Value::Null } else { json!(failed) });
    let errors = number(told, "/ata_smart_error_log/extended/count")
        .or_else(|| number(told, "/ata_smart_error_log/summary/count"));
    put("error_log_entries", json!(errors));
    put("test_percent_left", at("/ata_smart_data/self_test/status/remaining_percent"));
    let mut tests = list("/ata_smart_self_test_log/extended/table");
    tests.extend(list("/ata_smart_self_test_log/standard/table"));
    let hours = number(told, "/power_on_time/hours").unwrap_or(0);
    if let Some(newest) = tests.first() {
        put("test_passed", newest["status"]["passed"].clone());
        put("test_age_hours", json!(newest["lifetime_hours"].as_u64().map(|then| hours - then)));
    }
    // smartctl tells which failed tests a later one has outdated, by their number only.
    let outdated = ["extended", "standard"]
        .map(|kind| number(told, &format!("/ata_smart_self_test_log/{kind}/error_count_outdated")));
    if outdated.iter().flatten().sum::<u64>() == 0
        && let Some(failed) = tests.iter().find(|test| test["status"]["passed"] == json!(false))
    {
        put("test_failed_at_hours", failed["lifetime_hours"].clone());
        put("test_failed_lba", failed["lba"].clone());
    }
}

fn nvme_facts(told: &Value, facts: &mut Facts) {
    let at = |path: &str| told.pointer(path).cloned().unwrap_or(Value::Null);
    let log = |name: &str| at(&format!("/nvme_smart_health_information_log/{name}"));
    facts.remove("failing");
    facts.extend([
        ("model", at("/model_name")),
        ("firmware", at("/firmware_version")),
        ("size_bytes", at("/nvme_total_capacity")),
        ("critical_warning", log("critical_warning")),
        ("spare_percent", log("available_spare")),
        ("spare_threshold_percent", log("available_spare_threshold")),
        ("wear_used_percent", log("percentage_used")),
        ("read_bytes", json!(log("data_units_read").as_u64().map(|units| units * 512_000))),
        ("written_bytes", json!(log("data_units_written").as_u64().map(|units| units * 512_000))),
        ("power_cycles", log("power_cycles")),
        ("unsafe_shutdowns", log("unsafe_shutdowns")),
        ("media_errors", log("media_errors")),
        ("error_log_entries", log("num_err_log_entries")),
    ]);
}

fn scsi_facts(told: &Value, facts: &mut Facts) {
    let at = |path: &str| told.pointer(path).cloned().unwrap_or(Value::Null);
    let errors = ["read", "write", "verify"]
        .map(|kind| number(told, &format!("/scsi_error_counter_log/{kind}/total_uncorrected_errors")));
    let phys = ["invalid_dword_count", "running_disparity_error_count", "loss_of_dword_synchronization_count"]
        .into_iter()
        .chain(["phy_reset_problem_count"])
        .map(|name| number(told, &format!("/scsi_sas_port_0/phy_0/{name}")));
    let results = told["scsi_background_scan"]
        .as_object()
        .map(|scan| scan.keys().filter(|key| key.starts_with("result")).count());
    // smartctl tells gigabytes with three places.
    let bytes = |kind: &str| {
        let told = at(&format!("/scsi_error_counter_log/{kind}/gigabytes_processed"));
        told.as_str().and_then(|text| text.replace('.', "").parse::<u64>().ok()).map(|megabytes| megabytes * 1_000_000)
    };
    let hours = number(told, "/power_on_time/hours").unwrap_or(0);
    facts.extend([
        ("model", at("/scsi_model_name")),
        ("firmware", at("/scsi_revision")),
        ("wwn", json!(at("/logical_unit_id").as_str().map(|id| id.trim_start_matches("0x").to_owned()))),
        ("exception", json!([at("/smart_status/scsi/asc"), at("/smart_status/scsi/ascq")])),
        ("temperature_limit_c", at("/temperature/drive_trip")),
        ("start_stops", at("/scsi_start_stop_cycle_counter/accumulated_start_stop_cycles")),
        ("load_cycles", at("/scsi_start_stop_cycle_counter/accumulated_load_unload_cycles")),
        ("grown_defects", at("/scsi_grown_defect_list")),
        ("wear_used_percent", at("/scsi_percentage_used_endurance_indicator")),
        ("uncorrected_errors", json!(errors.into_iter().sum::<Option<u64>>())),
        ("link_errors", json!(phys.sum::<Option<u64>>())),
        ("scan_defects", json!(results)),
        ("written_bytes", json!(bytes("write"))),
        ("read_bytes", json!(bytes("read"))),
        ("test_passed", json!(number(told, "/scsi_self_test_0/result/value").map(|result| result == 0))),
        ("test_age_hours", json!(number(told, "/scsi_self_test_0/power_on_time/hours").map(|then| hours - then))),
        ("test_failed_at_hours", at("/scsi_self_test_1/power_on_time/hours")),
        ("test_failed_lba", at("/scsi_self_test_1/lba_first_failure/value")),
    ]);
}

/// Compares both; gives the names of what smartctl told. Nothing may be told by one and differ in the other.
#[track_caller]
pub(crate) fn compare(name: &str, transcript: &Transcript, told: &Value) -> Vec<&'static str> {
    let reading = reading_of(transcript);
    let (mut ours, mut theirs) = (ours(&reading), theirs(told, reading.kind));
    if matches!(reading.kind, DiskKind::ScsiHdd | DiskKind::ScsiSsd) {
        // Told to three places of a gigabyte.
        for field in ["written_bytes", "read_bytes"] {
            let round = |value: &mut Value| *value = json!((value.as_u64().unwrap_or(0) + 500_000) / 1_000_000);
            ours.get_mut(field).map(round);
            theirs.get_mut(field).map(round);
        }
    }
    for (field, value) in &theirs {
        assert_eq!(ours.get(field), Some(value), "{name}: {field} differs");
    }
    theirs.into_keys().collect()
}

/// Fields of ours that nobody else told.
fn ours_alone(transcript: &Transcript, told: &[&str]) -> Vec<&'static str> {
    ours(&reading_of(transcript)).into_keys().filter(|field| !told.contains(field)).collect()
}

/// What nvme-cli says of the controller: its answers to `id-ctrl` and `self-test-log`.
#[track_caller]
pub(crate) fn compare_nvme_cli(transcript: &Transcript, told: &Value) -> Vec<&'static str> {
    let celsius = |name: &str| json!(told["id-ctrl"][name].as_i64().map(|kelvins| kelvins - 273));
    let log = &told["self-test-log"];
    let hours = |test: &Value| test["Power on hours"].as_i64().expect("hours");
    let reports = log["List of Valid Reports"].as_array().expect("a list");
    let done: Vec<&Value> = reports.iter().filter(|test| test["Self test result"] != json!(15)).collect();
    let failed = done.iter().find(|test| matches!(test["Self test result"].as_i64(), Some(5..=7))).expect("one failed");
    let percent = log["Current Device Self-Test Completion"].as_i64().expect("a test is running");
    let theirs: Facts = Facts::from([
        ("temperature_warning_c", celsius("wctemp")),
        ("temperature_limit_c", celsius("cctemp")),
        ("test_passed", json!(done[0]["Self test result"] == json!(0))),
        ("test_age_hours", json!(15_999 - hours(done[0]))),
        ("test_failed_at_hours", json!(hours(failed))),
        ("test_failed_lba", failed["Failing LBA"].clone()),
        ("test_percent_left", json!(100 - percent)),
    ]);
    let ours = ours(&reading_of(transcript));
    for (field, value) in &theirs {
        assert_eq!(ours.get(field), Some(value), "nvme-cli: {field} differs");
    }
    theirs.into_keys().collect()
}

fn told(name: &str, extension: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(golden(name, extension)).expect("read")).expect("JSON")
}

#[test]
fn golden_transcripts_are_the_simulators() {
    for (name, transcript) in distinct::recorded() {
        let path = golden(name, "transcript");
        if std::env::var_os("ADIT_BLESS").is_some() {
            std::fs::write(&path, transcript.to_string()).expect("write");
        }
        let kept = std::fs::read_to_string(&path).expect("read");
        assert!(
            kept == transcript.to_string(),
            "{name}: set ADIT_BLESS=1, then run `make test-services` with it as well"
        );
    }
}

#[test]
fn every_field_equals_what_smartctl_said() {
    let mut counts = Vec::new();
    for (name, transcript) in distinct::recorded() {
        let mut compared = compare(name, &transcript, &told(name, "json"));
        if name == "nvme" {
            compared.extend(compare_nvme_cli(&transcript, &told(name, "cli.json")));
        }
        assert_eq!(ours_alone(&transcript, &compared), Vec::<&str>::new(), "{name}: told by us alone");
        counts.push((name, compared.len()));
    }
    // A field that falls out of the comparison shows here.
    let expected = [
        ("ata-old", 24),
        ("ata", 26),
        ("usb", 26),
        ("usb-short", 24),
        ("nvme", 23),
        ("scsi", 22),
        ("scsi-ssd", 22),
        ("cciss-ata", 24),
        ("cciss-scsi", 22),
    ];
    assert_eq!(counts, expected);
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: disks by what they say of themselves. Numbers are facts of public reports; what a disk would say beside them is
//! filled in as well.

use super::{Bench, Case};
use adit_device::reading::{DiskKind, DiskReading, FailedAttribute, Part, PowerState, SelfTestOutcome, SelfTests};
use adit_health::Finding;
use adit_health::readings::block::{DiskTemperature, KernelView};
use adit_health::rules::disk;
use adit_wire::health::codes::{Check, Quantity, Reason, Verdict};

const BACKBLAZE: &str = "Backblaze, What SMART Stats Tell Us About Hard Drives, 2016";
const BUCKETS: &str = "Scrutiny (MIT), thresholds from Backblaze's data: share of disks that fail within the year";
const GOOGLE: &str = "Pinheiro, Weber, Barroso: Failure Trends in a Large Disk Drive Population, FAST 2007";
const PACKED: &str = "smartmontools issues 314 and 319, AnalogJ/scrutiny issue 734: 188 of Seagate disks";
const P510: &str = "olafkfreund/nixos_config issue 1259: ST12000NM0127 with 14101 h, PASSED";
const CRC: &str = "AnalogJ/scrutiny issues 364 and 309, gnacho/easyzfs issue 1: a cable that was replaced long ago";
const MX500: &str = "smartmontools issue 48, openstreetmap/operations issue 273: Crucial MX500, M3CR023";
const NVME: &str = "NVM Express base specification 2.0, 5.16.1.3, critical warning";
const NVME_WORN: &str = "smartmontools issue 537, ubicloud pull request 5631: Samsung MZVL2512HCJQ at Hetzner";
const NVME_TABLES: &str = "linux-hardware.org probes 543d2dfef7 and 7117d51b53: smartctl -x of healthy disks";
const SPC: &str = "SPC-5, annex F: additional sense codes 5Dh and 0Bh";
const SAS_FAILING: &str = "nasty-project/nasty pull request 369: ST3400755SS, 9 grown defects, 8 uncorrected, PASSED";
const SAS_TABLES: &str = "AnalogJ/scrutiny issues 119 and 176, check_smart_attributes issue 104: SAS disks in service";
const ATA_SELF_TEST: &str = "ACS-3, table A.20: self-test execution status; smartd(8): later extended tests disprove";
const THRESHOLDS: &str = "SFF-8035i rev 2.0, 4.5; smartmontools FAQ: attributes at or below their thresholds";
const QEMU: &str = "QEMU hw/ide/core.c, hw/nvme/ctrl.c: the constants that virtual disks show";
const STANDBY: &str = "smartd.conf(5), -n standby: a disk that sleeps is not asked";

const DAY_S: u64 = 86_400;

/// A hard disk in service of which nothing bad is known.
fn hdd(change: impl FnOnce(&mut DiskReading)) -> DiskReading {
    let mut disk = DiskReading {
        kind: DiskKind::AtaHdd,
        power: PowerState::Active,
        rotation_rpm: Some(7200),
        failing: Some(false),
        reallocated: Some(0),
        pending: Some(0),
        uncorrectable: Some(0),
        reported_uncorrectable: Some(0),
        spin_retries: Some(0),
        command_timeouts: Some(0),
        link_errors: Some(0),
        error_log_entries: Some(0),
        power_on_hours: Some(14_101),
        start_stops: Some(87),
        temperature_c: Some(36),
        ..DiskReading::default()
    };
    change(&mut disk);
    disk
}

fn ssd(change: impl FnOnce(&mut DiskReading)) -> DiskReading {
    hdd(|disk| {
        (disk.kind, disk.rotation_rpm, disk.wear_used_percent) = (DiskKind::AtaSsd, None, Some(4));
        change(disk);
    })
}

fn nvme(change: impl FnOnce(&mut DiskReading)) -> DiskReading {
    let mut disk = DiskReading {
        kind: DiskKind::Nvme,
        power: PowerState::Active,
        critical_warning: Some(0),
        temperature_c: Some(44),
        temperature_warning_c: Some(81),
        temperature_limit_c: Some(82),
        spare_percent: Some(100),
        spare_threshold_percent: Some(5),
        wear_used_percent: Some(0),
        media_errors: Some(0),
        error_log_entries: Some(499),
        unsafe_shutdowns: Some(79),
        power_on_hours: Some(145),
        ..DiskReading::default()
    };
    change(&mut disk);
    disk
}

fn sas(change: impl FnOnce(&mut DiskReading)) -> DiskReading {
    let mut disk = DiskReading {
        kind: DiskKind::ScsiHdd,
        power: PowerState::Active,
        failing: Some(false),
        uncorrected_errors: Some(0),
        grown_defects: Some(0),
        scan_defects: Some(0),
        link_errors: Some(0),
        power_on_hours: Some(63_349),
        temperature_c: Some(27),
        temperature_limit_c: Some(68),
        ..DiskReading::default()
    };
    change(&mut disk);
    disk
}

fn view(reading: &DiskReading) -> KernelView {
    let rotational = matches!(reading.kind, DiskKind::AtaHdd | DiskKind::ScsiHdd);
    KernelView { id: "naa.5000".into(), names: vec!["sda".into()], paths: 1, rotational, ..KernelView::default() }
}

fn judged(bench: &mut Bench, reading: &DiskReading) -> Vec<Finding> {
    disk::disk(&mut bench.judge(), &view(reading), reading).findings
}

/// One disk at several looks, a day apart.
fn daily<const N: usize>(bench: &mut Bench, readings: [DiskReading; N]) -> Vec<Finding> {
    let mut last = Vec::new();
    for reading in &readings {
        last = judged(bench, reading);
        bench.pass(DAY_S);
    }
    last
}

/// A temperature that stays for a quarter of an hour.
fn lasting(bench: &mut Bench, reading: &DiskReading) -> Vec<Finding> {
    drop(judged(bench, reading));
    bench.pass(900);
    judged(bench, reading)
}

fn failed(id: u8, current: u8, worst: u8, threshold: u8, prefailure: bool, now: bool) -> Vec<FailedAttribute> {
    vec![FailedAttribute { id, current, worst, threshold, prefailure, now }]
}

fn tests(newest: SelfTestOutcome, failed_at_hours: Option<u64>) -> SelfTests {
    SelfTests { newest: Some(newest), newest_age_hours: Some(9), failed_at_hours, ..SelfTests::default() }
}

/// A case in few lines.
macro_rules! case {
    ($name:literal, $source:expr, $judge:expr, [$($verdict:ident $check:ident $reason:ident),*]) => {
        Case {
            name: $name,
            source: $source,
            judge: $judge,
            expect: &[$((Check::$check, Verdict::$verdict, Reason::$reason)),*],
        }
    };
}

pub(crate) const CASES: &[Case] = &[
    // Backblaze's five attributes and the buckets made of its data.
    case!("a disk with all five at 0", BACKBLAZE, |b| judged(b, &hdd(|_| {})), []),
    case!("187: one error reached the host", BUCKETS, |b| judged(b, &hdd(|d| d.reported_uncorrectable = Some(1))),
        [Warning DiskMedia Uncorrectable]),
    case!("187: 3 to 6, half of them fail", BUCKETS, |b| judged(b, &hdd(|d| d.reported_uncorrectable = Some(5))),
        [Warning DiskMedia Uncorrectable]),
    case!("187: a further one today", BACKBLAZE, |b| {
        daily(b, [hdd(|d| d.reported_uncorrectable = Some(1)), hdd(|d| d.reported_uncorrectable = Some(2))])
    }, [Critical DiskMedia Uncorrectable]),
    case!("187: 21 that stay for a week", BUCKETS, |b| {
        drop(daily(b, [hdd(|d| d.reported_uncorrectable = Some(20)), hdd(|d| d.reported_uncorrectable = Some(21))]));
        b.pass(7 * DAY_S);
        judged(b, &hdd(|d| d.reported_uncorrectable = Some(21)))
    }, [Warning DiskMedia Uncorrectable]),
    case!("197: one sector waits", BUCKETS, |b| judged(b, &hdd(|d| d.pending = Some(1))),
        [Warning DiskMedia PendingSectors]),
    case!("197: 2 to 6 sectors, two thirds fail", BUCKETS, |b| judged(b, &hdd(|d| d.pending = Some(5))),
        [Warning DiskMedia PendingSectors]),
    case!("197: 16 to 40 sectors, 96 % fail", BUCKETS, |b| judged(b, &hdd(|d| d.pending = Some(16))),
        [Critical DiskMedia PendingSectors]),
    case!(
        "197: written again, the sector is well",
        GOOGLE,
        |b| { daily(b, [hdd(|d| d.pending = Some(1)), hdd(|_| {})]) },
        []
    ),
    case!("197: one more each day", GOOGLE, |b| {
        daily(b, [hdd(|d| d.pending = Some(1)), hdd(|d| d.pending = Some(2)), hdd(|d| d.pending = Some(3))])
    }, [Critical DiskMedia PendingSectors]),
    case!("198: one sector of a disk that says PASSED", "v-zhuravlev/zbx-smartctl issue 77",
        |b| judged(b, &hdd(|d| d.uncorrectable = Some(1))), [Warning DiskMedia PendingSectors]),
    case!("198: 8 sectors", BUCKETS, |b| judged(b, &hdd(|d| d.uncorrectable = Some(8))),
        [Critical DiskMedia PendingSectors]),
    case!(
        "5: 1 to 4 sectors that were there before, 2.7 % fail as with none",
        BUCKETS,
        |b| daily(b, [hdd(|d| d.reallocated = Some(3)), hdd(|d| d.reallocated = Some(3))]),
        []
    ),
    case!("5: the first sector ever", GOOGLE, |b| daily(b, [hdd(|_| {}), hdd(|d| d.reallocated = Some(1))]),
        [Warning DiskMedia SectorsReallocated]),
    case!("5: 16 to 70 sectors, steady", BUCKETS, |b| judged(b, &hdd(|d| d.reallocated = Some(40))), []),
    case!("5: from 15 to 17", BUCKETS, |b| {
        daily(b, [hdd(|d| d.reallocated = Some(15)), hdd(|d| d.reallocated = Some(17))])
    }, [Critical DiskMedia SectorsReallocated]),
    case!("5: grew five days ago and stands", GOOGLE, |b| {
        drop(daily(b, [hdd(|d| d.reallocated = Some(20)), hdd(|d| d.reallocated = Some(30))]));
        b.pass(4 * DAY_S);
        judged(b, &hdd(|d| d.reallocated = Some(30)))
    }, [Warning DiskMedia SectorsReallocated]),
    case!("5: 70 to 260 sectors, 36 % fail", BUCKETS, |b| judged(b, &hdd(|d| d.reallocated = Some(100))),
        [Warning DiskMedia SectorsReallocated]),
    case!("5: more than 1100", BUCKETS, |b| judged(b, &hdd(|d| d.reallocated = Some(1200))),
        [Warning DiskMedia SectorsReallocated]),
    case!("10: one more try to start, 56 % fail", BUCKETS, |b| judged(b, &hdd(|d| d.spin_retries = Some(1))),
        [Warning DiskMedia SpinRetries]),
    case!(
        "188: 10 to 37 that do not grow",
        BUCKETS,
        |b| daily(b, [hdd(|d| d.command_timeouts = Some(20)), hdd(|d| d.command_timeouts = Some(20))]),
        []
    ),
    case!("188: one more", BACKBLAZE,
        |b| daily(b, [hdd(|d| d.command_timeouts = Some(20)), hdd(|d| d.command_timeouts = Some(21))]),
        [Warning DiskAnswers CommandTimeouts]),
    case!(
        "188: 4295032833 is three counters of 1",
        PACKED,
        |b| daily(
            b,
            [hdd(|d| d.command_timeouts = Some(4_295_032_833 & 0xffff)), hdd(|d| d.command_timeouts = Some(1))]
        ),
        []
    ),
    case!(
        "188: 4295032841 is 9 of them",
        PACKED,
        |b| judged(b, &hdd(|d| d.command_timeouts = Some(4_295_032_841 & 0xffff))),
        []
    ),
    case!(
        "188: from 25770196998 to 6 is no change",
        "007revad/Synology_SMART_info issue 29",
        |b| daily(
            b,
            [hdd(|d| d.command_timeouts = Some(25_770_196_998 & 0xffff)), hdd(|d| d.command_timeouts = Some(6))]
        ),
        []
    ),
    case!(
        "a new disk with 72 hours, and rates that look huge",
        "Unraid documentation, Understanding SMART reports",
        |b| judged(b, &hdd(|d| (d.power_on_hours, d.start_stops) = (Some(72), Some(7)))),
        []
    ),
    case!("2872 replaced, 624 pending, 624 unreadable", P510, |b| {
        judged(b, &hdd(|d| {
            (d.reallocated, d.pending, d.uncorrectable) = (Some(2872), Some(624), Some(624));
            d.error_log_entries = Some(1693);
        }))
    }, [Critical DiskMedia PendingSectors]),
    case!("its neighbour ST1000LM035 is clean", P510, |b| judged(b, &hdd(|d| d.power_on_hours = Some(9000))), []),
    case!("168 replaced at 18 places and one pending", "wikiroot.ru question on a Hitachi with 1179816 in attribute 5",
        |b| judged(b, &hdd(|d| (d.reallocated, d.pending) = (Some(1_179_816 & 0xffff), Some(1)))),
        [Warning DiskMedia PendingSectors]),
    // The maker's own verdict.
    case!("SMART RETURN STATUS says failing", "ACS-3, 7.50.8: LBA mid F4h, high 2Ch",
        |b| judged(b, &hdd(|d| d.failing = Some(true))), [Critical DiskStatus FailurePredicted]),
    case!(
        "a bridge that returns no registers",
        "wallacebrf/Synology-SMART-test-scheduler issue 19: STT_FTM64GX25H",
        |b| judged(b, &ssd(|d| d.failing = None)),
        []
    ),
    case!("a pre-failure attribute is at its threshold now", THRESHOLDS,
        |b| judged(b, &hdd(|d| d.failed_attributes = failed(5, 36, 36, 36, true, true))),
        [Critical DiskStatus AttributeFailing]),
    case!("a pre-failure attribute was there once", THRESHOLDS,
        |b| judged(b, &hdd(|d| d.failed_attributes = failed(10, 100, 51, 97, true, false))),
        [Warning DiskStatus AttributeFailed]),
    case!("an attribute of age is at its threshold", THRESHOLDS,
        |b| judged(b, &hdd(|d| d.failed_attributes = failed(9, 1, 1, 1, false, true))),
        [Warning DiskStatus AttributeFailing]),
    case!(
        "190 fell below 45 in a summer long ago",
        "smartmontools wiki: Airflow_Temperature_Cel, In_the_past",
        |b| judged(b, &hdd(|d| d.failed_attributes = failed(190, 64, 43, 45, false, false))),
        []
    ),
    case!("status and attribute together", THRESHOLDS, |b| {
        judged(b, &hdd(|d| {
            d.failing = Some(true);
            d.failed_attributes = failed(5, 1, 1, 36, true, true);
        }))
    }, [Critical DiskStatus FailurePredicted]),
    // Cables.
    case!(
        "199 stands at 87 since years",
        CRC,
        |b| daily(b, [hdd(|d| d.link_errors = Some(87)), hdd(|d| d.link_errors = Some(87))]),
        []
    ),
    case!("199 stands at 20 since years", CRC, |b| judged(b, &hdd(|d| d.link_errors = Some(20))), []),
    case!(
        "65 transfer errors in the log of a new disk",
        "eschava/psmqtt issue 33: at 7 of its hours",
        |b| judged(b, &hdd(|d| (d.link_errors, d.error_log_entries) = (Some(65), Some(65)))),
        []
    ),
    case!(
        "199 grew by 4 in a day",
        CRC,
        |b| daily(b, [hdd(|d| d.link_errors = Some(87)), hdd(|d| d.link_errors = Some(91))]),
        []
    ),
    case!("199 grew by 5 in a day", CRC,
        |b| daily(b, [hdd(|d| d.link_errors = Some(87)), hdd(|d| d.link_errors = Some(92))]),
        [Warning DiskLink CableErrors]),
    case!("a defective backplane, the disk is well", "hiyohiyo/CrystalDiskInfo issue 239",
        |b| daily(b, [ssd(|d| d.link_errors = Some(0)), ssd(|d| d.link_errors = Some(1500))]),
        [Warning DiskLink CableErrors]),
    case!(
        "five days after the cable was replaced",
        CRC,
        |b| {
            drop(daily(b, [hdd(|d| d.link_errors = Some(0)), hdd(|d| d.link_errors = Some(900))]));
            b.pass(4 * DAY_S);
            judged(b, &hdd(|d| d.link_errors = Some(900)))
        },
        []
    ),
    case!("dwords lost on a SAS phy", "SPL-4, 9.2.8: phy error counters",
        |b| daily(b, [sas(|d| d.link_errors = Some(2)), sas(|d| d.link_errors = Some(300))]),
        [Warning DiskLink CableErrors]),
    // Self-tests.
    case!(
        "passed nine hours ago",
        ATA_SELF_TEST,
        |b| judged(b, &hdd(|d| d.self_tests = tests(SelfTestOutcome::Passed, None))),
        []
    ),
    case!(
        "aborted by a reboot",
        ATA_SELF_TEST,
        |b| judged(b, &hdd(|d| d.self_tests = tests(SelfTestOutcome::Aborted, None))),
        []
    ),
    case!("short and extended tests fail, the status says PASSED", "smartmontools issue 398: WD My Passport",
        |b| judged(b, &hdd(|d| d.self_tests = tests(SelfTestOutcome::Failed, Some(5940)))),
        [Critical DiskSelfTest SelfTestFailed]),
    case!(
        "a read failure at 5940 h that a newer extended test disproved",
        "smartmontools issue 391",
        |b| judged(b, &hdd(|d| d.self_tests = tests(SelfTestOutcome::Passed, None))),
        []
    ),
    case!("a short test passed after a long one failed", ATA_SELF_TEST,
        |b| judged(b, &hdd(|d| d.self_tests = tests(SelfTestOutcome::Passed, Some(31_100)))),
        [Critical DiskSelfTest SelfTestFailed]),
    case!(
        "a test is running",
        ATA_SELF_TEST,
        |b| { judged(b, &hdd(|d| d.self_tests.running_percent_left = Some(40))) },
        []
    ),
    case!("an NVMe test failed in a segment", "NVM Express base specification 2.0, 5.16.1.7, result 7h",
        |b| judged(b, &nvme(|d| d.self_tests = tests(SelfTestOutcome::Failed, Some(140)))),
        [Critical DiskSelfTest SelfTestFailed]),
    // Flash.
    case!("one pending sector of an MX500 for an hour", MX500, |b| judged(b, &ssd(|d| d.pending = Some(1))), []),
    case!(
        "the same every other day",
        MX500,
        |b| { daily(b, [ssd(|d| d.pending = Some(1)), ssd(|_| {}), ssd(|d| d.pending = Some(1)), ssd(|_| {})]) },
        []
    ),
    case!("one pending sector that stays", MX500, |b| {
        daily(b, [ssd(|d| d.pending = Some(1)), ssd(|d| d.pending = Some(1))])
    }, [Warning DiskMedia PendingSectors]),
    case!("a solid-state disk with 12 pending sectors", BACKBLAZE, |b| judged(b, &ssd(|d| d.pending = Some(12))),
        [Critical DiskMedia PendingSectors]),
    case!(
        "rated life 89 % used",
        "ACS-4, 9.5.10: percentage used endurance indicator",
        |b| judged(b, &ssd(|d| d.wear_used_percent = Some(89))),
        []
    ),
    case!("rated life 90 % used", "ACS-4, 9.5.10: percentage used endurance indicator",
        |b| judged(b, &ssd(|d| d.wear_used_percent = Some(90))), [Warning DiskWear Wearing]),
    case!("rated life used up", "ACS-4, 9.5.10: percentage used endurance indicator",
        |b| judged(b, &ssd(|d| d.wear_used_percent = Some(100))), [Critical DiskWear WornOut]),
    case!("errors that could not be corrected grow day by day, health 100 %", "hiyohiyo/CrystalDiskInfo issue 239, comment", |b| {
        daily(b, [ssd(|d| d.reported_uncorrectable = Some(4)), ssd(|d| d.reported_uncorrectable = Some(9))])
    }, [Critical DiskMedia Uncorrectable]),
    // NVMe.
    case!("Samsung MZVLB1T0HBLR, 499 log entries, 79 unsafe shutdowns", NVME_TABLES, |b| judged(b, &nvme(|_| {})), []),
    case!(
        "Kingston SNV2S2000G, 22 hours",
        NVME_TABLES,
        |b| {
            judged(
                b,
                &nvme(|d| {
                    (d.temperature_c, d.temperature_warning_c, d.temperature_limit_c) = (Some(43), Some(83), Some(90));
                    (d.error_log_entries, d.power_on_hours, d.unsafe_shutdowns) = (Some(0), Some(22), Some(1));
                }),
            )
        },
        []
    ),
    case!(
        "Intel SSDPEDME400G4, 12 % used at 50 °C",
        "v-zhuravlev/zbx-smartctl issue 129",
        |b| {
            lasting(
                b,
                &nvme(|d| {
                    (d.wear_used_percent, d.temperature_c, d.spare_threshold_percent) = (Some(12), Some(50), Some(10));
                    (d.temperature_warning_c, d.temperature_limit_c) = (None, None);
                }),
            )
        },
        []
    ),
    case!(
        "log entries from 2519 to 2521",
        "superuser question 1812742: smartd mails about a Toshiba KBG30ZMV256G",
        |b| daily(b, [nvme(|d| d.error_log_entries = Some(2519)), nvme(|d| d.error_log_entries = Some(2521))]),
        []
    ),
    case!(
        "three media errors that stay",
        "AnalogJ/scrutiny issue 729: spare 53 %, 2 % used",
        |b| {
            let old =
                || nvme(|d| (d.media_errors, d.spare_percent, d.wear_used_percent) = (Some(3), Some(53), Some(2)));
            daily(b, [old(), old()])
        },
        []
    ),
    case!("the first media error", NVME, |b| daily(b, [nvme(|_| {}), nvme(|d| d.media_errors = Some(1))]),
        [Warning DiskMedia MediaErrors]),
    case!("media errors doubled within the week", NVME,
        |b| daily(b, [nvme(|d| d.media_errors = Some(14)), nvme(|d| d.media_errors = Some(28))]),
        [Critical DiskMedia MediaErrors]),
    case!("bit 0: spare below the threshold", NVME, |b| {
        judged(b, &nvme(|d| (d.critical_warning, d.spare_percent, d.spare_threshold_percent) = (Some(1), Some(4), Some(5))))
    }, [Critical DiskWear SpareLow]),
    case!("spare below the threshold, and no bit", NVME,
        |b| judged(b, &nvme(|d| (d.spare_percent, d.spare_threshold_percent) = (Some(9), Some(10)))),
        [Critical DiskWear SpareLow]),
    case!(
        "spare at the threshold",
        NVME,
        |b| judged(b, &nvme(|d| (d.spare_percent, d.spare_threshold_percent) = (Some(10), Some(10)))),
        []
    ),
    case!("bit 1: temperature", NVME, |b| judged(b, &nvme(|d| d.critical_warning = Some(2))),
        [Warning Temperature Hot]),
    case!("bit 2: reliability degraded by media errors", NVME, |b| {
        judged(b, &nvme(|d| (d.critical_warning, d.media_errors, d.wear_used_percent) = (Some(4), Some(700), Some(31))))
    }, [Critical DiskStatus FailurePredicted]),
    case!("bit 2 because 100 % is used, spare 100 %", NVME_WORN, |b| {
        judged(b, &nvme(|d| {
            (d.critical_warning, d.wear_used_percent, d.spare_threshold_percent) = (Some(4), Some(100), Some(10));
        }))
    }, [Critical DiskWear WornOut]),
    case!("bit 2, worn, and with media errors", NVME_WORN, |b| {
        judged(b, &nvme(|d| (d.critical_warning, d.wear_used_percent, d.media_errors) = (Some(4), Some(120), Some(2))))
    }, [Critical DiskStatus FailurePredicted, Critical DiskWear WornOut]),
    case!("200 % used", "Napsty/check_smart pull request 101: Samsung MZVLB512HAJQ",
        |b| judged(b, &nvme(|d| d.wear_used_percent = Some(200))), [Critical DiskWear WornOut]),
    case!("bit 3: read-only", NVME, |b| judged(b, &nvme(|d| d.critical_warning = Some(8))),
        [Critical DiskStatus MediaReadOnly]),
    case!("bit 4: power backup of its memory", NVME, |b| judged(b, &nvme(|d| d.critical_warning = Some(16))),
        [Critical DiskStatus BackupPowerFailed]),
    case!("bit 5: persistent memory region", NVME, |b| judged(b, &nvme(|d| d.critical_warning = Some(32))),
        [Warning DiskStatus MediaReadOnly]),
    case!("bits 0 and 3, as at the end of a flash disk's life", NVME, |b| {
        judged(b, &nvme(|d| (d.critical_warning, d.spare_percent) = (Some(9), Some(0))))
    }, [Critical DiskStatus MediaReadOnly, Critical DiskWear SpareLow]),
    case!(
        "threshold 255 %, 255 % used, spare 64 %",
        "hiyohiyo/CrystalDiskInfo issue 186: a 980 PRO a few days old",
        |b| {
            judged(
                b,
                &nvme(|d| {
                    (d.spare_percent, d.spare_threshold_percent, d.wear_used_percent) =
                        (Some(64), Some(255), Some(255));
                }),
            )
        },
        []
    ),
    // SCSI.
    case!("5Dh/10h: failure predicted", SPC,
        |b| judged(b, &sas(|d| (d.failing, d.exception) = (Some(true), Some((0x5d, 0x10))))),
        [Critical DiskStatus FailurePredicted]),
    case!("5Dh/FFh: a test of the mode page", "Linux scsi_debug with sdparm --set TEST=1",
        |b| judged(b, &sas(|d| (d.failing, d.exception) = (Some(true), Some((0x5d, 0xff))))),
        [Critical DiskStatus FailurePredicted]),
    case!("0Bh/01h: warning, temperature", SPC, |b| judged(b, &sas(|d| d.exception = Some((0x0b, 0x01)))),
        [Warning Temperature Hot]),
    case!("0Bh/03h: background self-test failed", SPC, |b| judged(b, &sas(|d| d.exception = Some((0x0b, 0x03)))),
        [Critical DiskSelfTest SelfTestFailed]),
    case!("0Bh/05h: background scan found an error", SPC, |b| judged(b, &sas(|d| d.exception = Some((0x0b, 0x05)))),
        [Warning DiskMedia MediaErrors]),
    case!("0Bh/06h: cache lost its backup", SPC, |b| judged(b, &sas(|d| d.exception = Some((0x0b, 0x06)))),
        [Warning DiskStatus AttributeFailing]),
    case!("9 grown defects, 8 uncorrected write errors, PASSED", SAS_FAILING,
        |b| judged(b, &sas(|d| (d.grown_defects, d.uncorrected_errors) = (Some(9), Some(8)))),
        [Warning DiskMedia Uncorrectable]),
    case!(
        "Seagate ST4000NM0043 with 7 grown defects at 27 °C",
        SAS_TABLES,
        |b| daily(b, [sas(|d| d.grown_defects = Some(7)), sas(|d| d.grown_defects = Some(7))]),
        []
    ),
    case!(
        "30 grown defects that stay",
        "prometheus-community/smartctl_exporter issue 118",
        |b| daily(b, [sas(|d| d.grown_defects = Some(30)), sas(|d| d.grown_defects = Some(30))]),
        []
    ),
    case!("from 7 to 9 grown defects", SAS_TABLES,
        |b| daily(b, [sas(|d| d.grown_defects = Some(7)), sas(|d| d.grown_defects = Some(9))]),
        [Warning DiskMedia GrownDefects]),
    case!("a Toshiba with 63349 h and 49 corrected by rereads", SAS_TABLES, |b| judged(b, &sas(|_| {})), []),
    case!(
        "HGST HUH721010AL5200 at 32 of 50 °C",
        SAS_TABLES,
        |b| lasting(b, &sas(|d| (d.temperature_c, d.temperature_limit_c) = (Some(32), Some(50)))),
        []
    ),
    case!(
        "60 places that the background scan rewrote long ago",
        "nobody43/zabbix-smartmontools issue 42",
        |b| daily(b, [sas(|d| d.scan_defects = Some(60)), sas(|d| d.scan_defects = Some(60))]),
        []
    ),
    case!("the scan found one more", "nobody43/zabbix-smartmontools issue 42",
        |b| daily(b, [sas(|d| d.scan_defects = Some(60)), sas(|d| d.scan_defects = Some(61))]),
        [Warning DiskMedia MediaErrors]),
    // Temperature.
    case!("a hard disk at 56 °C for a quarter of an hour", GOOGLE, |b| lasting(b, &hdd(|d| d.temperature_c = Some(56))),
        [Warning Temperature Hot]),
    case!("a hard disk at 61 °C", GOOGLE, |b| lasting(b, &hdd(|d| d.temperature_c = Some(61))),
        [Critical Temperature TooHot]),
    case!(
        "61 °C four hours ago",
        GOOGLE,
        |b| lasting(b, &hdd(|d| (d.temperature_c, d.age_s) = (Some(61), 14_400))),
        []
    ),
    case!("a flash disk at 61 °C", NVME, |b| lasting(b, &nvme(|d| d.temperature_c = Some(61))), []),
    case!("a flash disk above its own critical limit", NVME, |b| lasting(b, &nvme(|d| d.temperature_c = Some(83))),
        [Critical Temperature TooHot]),
    case!(
        "the driver's temperature is newer than the disk's",
        "Linux, Documentation/hwmon/drivetemp.rst",
        |b| {
            let reading = hdd(|d| d.temperature_c = Some(70));
            let driver = DiskTemperature { tenths: Some(380), ..DiskTemperature::default() };
            let view = KernelView { temperature: Some(driver), ..view(&reading) };
            drop(disk::disk(&mut b.judge(), &view, &reading));
            b.pass(900);
            disk::disk(&mut b.judge(), &view, &reading).findings
        },
        []
    ),
    // Virtual disks, sleep, silence.
    case!(
        "QEMU's ide-hd",
        QEMU,
        |b| judged(b, &hdd(|d| (d.temperature_c, d.power_on_hours) = (Some(31), Some(1)))),
        []
    ),
    case!(
        "QEMU's nvme: spare 0 of 0, 50 °C",
        QEMU,
        |b| {
            lasting(
                b,
                &nvme(|d| {
                    (d.spare_percent, d.spare_threshold_percent, d.temperature_c) = (Some(0), Some(0), Some(50));
                    (d.temperature_warning_c, d.temperature_limit_c) = (Some(70), Some(100));
                }),
            )
        },
        []
    ),
    case!(
        "a virtual scsi-hd tells nothing, and nothing is missed",
        QEMU,
        |b| {
            let reading = DiskReading { kind: DiskKind::ScsiHdd, power: PowerState::Active, ..DiskReading::default() };
            let view = KernelView { is_virtual: true, ..view(&reading) };
            disk::disk(&mut b.judge(), &view, &reading).findings
        },
        []
    ),
    case!("a USB stick that tells nothing", "smartmontools wiki, USB: bridges without pass-through", |b| {
        judged(b, &DiskReading { kind: DiskKind::ScsiHdd, power: PowerState::Active, ..DiskReading::default() })
    }, [Unknown DiskStatus NotReadable]),
    case!(
        "asleep for three days",
        STANDBY,
        |b| judged(b, &hdd(|d| (d.power, d.age_s) = (PowerState::Asleep, 3 * DAY_S))),
        []
    ),
    case!("asleep since it was first seen", STANDBY, |b| judged(b, &DiskReading::asleep()), []),
    case!("asleep for two months", STANDBY,
        |b| judged(b, &hdd(|d| (d.power, d.age_s) = (PowerState::Asleep, 61 * DAY_S))),
        [Unknown DiskStatus NotReadable]),
    case!("awake and not read for nine days", STANDBY, |b| judged(b, &hdd(|d| d.age_s = 9 * DAY_S)),
        [Unknown DiskStatus NotReadable]),
    case!("asleep, with pending sectors when it was last read", STANDBY,
        |b| judged(b, &hdd(|d| (d.power, d.age_s, d.pending) = (PowerState::Asleep, DAY_S, Some(3)))),
        [Warning DiskMedia PendingSectors]),
    case!("attributes with a wrong checksum", "ACS-3, 7.50.6: byte 511", |b| {
        judged(b, &hdd(|d| d.unusable = vec![Part::Attributes]))
    }, [Unknown DiskStatus NotReadable]),
    case!(
        "an error log with a wrong checksum",
        "smartctl(8), -b: firmware with wrong checksums in its logs",
        |b| { judged(b, &hdd(|d| d.unusable = vec![Part::ErrorLog])) },
        []
    ),
];

#[test]
fn a_sleeping_disk_says_so_and_its_label_names_it() {
    let mut bench = Bench::new();
    let mut reading = hdd(|d| d.power = PowerState::Asleep);
    reading.identity.model = "ST4000VN008".to_owned();
    reading.identity.serial = Some("ZDH1".to_owned());
    let component = disk::disk(&mut bench.judge(), &view(&reading), &reading);
    assert_eq!(component.label, "sda (ST4000VN008 ZDH1)");
    let status = component.findings.iter().find(|finding| finding.check == Check::DiskStatus).unwrap();
    assert_eq!((status.verdict, status.detail.as_str()), (Verdict::Ok, "asleep"));
}

#[test]
fn numbers_are_told_once_and_only_when_the_disk_tells_them() {
    let mut bench = Bench::new();
    let reading = nvme(|d| d.written_bytes = Some(9 << 40));
    let component = disk::disk(&mut bench.judge(), &view(&reading), &reading);
    let value =
        |quantity| component.readings.iter().filter(move |(q, _)| *q == quantity).map(|(_, v)| *v).collect::<Vec<_>>();
    assert_eq!(value(Quantity::WrittenGib), [Some(9 << 10)]);
    assert_eq!(value(Quantity::SizeGib).len(), 1);
    assert_eq!(value(Quantity::ReallocatedSectors), []);
    assert!(component.readings.iter().all(|(_, value)| value.is_some()));
}

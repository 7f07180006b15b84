// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: disks as the kernel sees them.

use super::{Bench, Case};
use adit_health::Finding;
use adit_health::readings::block::{DiskTemperature, EmmcWear, KernelView};
use adit_health::rules::block;
use adit_wire::health::codes::{Check, Reason, Verdict};

const SCSI_STATES: &str = "Linux, drivers/scsi/scsi_sysfs.c, sdev_states";
const SCSI_COUNTS: &str =
    "Linux, drivers/scsi/scsi_lib.c: ioerr_cnt counts commands with a result, iotmo_cnt those timed out";
const NVME_STATES: &str = "Linux, drivers/nvme/host/sysfs.c, nvme_ctrl_state";
const EMMC: &str = "JESD84-B51 EXT_CSD 267..269; Linux, Documentation/driver-api/mmc/mmc-dev-attrs.rst";
const NVME_TEMPERATURE: &str =
    "NVM Express base specification 2.0, WCTEMP and CCTEMP; Linux, drivers/nvme/host/hwmon.c";
const HDD_TEMPERATURE: &str =
    "Pinheiro, Weber, Barroso: Failure Trends in a Large Disk Drive Population, FAST 2007, figure 4";
const MULTIPATH: &str = "multipath(8): a path in state offline is failed, the map goes on over the others";

fn disk() -> KernelView {
    KernelView { id: "naa.5000".into(), names: vec!["sda".into()], paths: 1, is_virtual: true, ..KernelView::default() }
}

fn judged(bench: &mut Bench, view: &KernelView) -> Vec<Finding> {
    block::disk(&mut bench.judge(), view).findings
}

/// The same disk with other counts, after so many seconds.
fn later(bench: &mut Bench, first: &KernelView, seconds: u64, then: &KernelView) -> Vec<Finding> {
    drop(judged(bench, first));
    bench.pass(seconds);
    judged(bench, then)
}

fn lost(state: &str) -> KernelView {
    KernelView { lost_paths: vec![state.into()], ..disk() }
}

fn errors(count: i64) -> KernelView {
    KernelView { errors: Some(count), ..disk() }
}

fn timeouts(count: i64) -> KernelView {
    KernelView { timeouts: Some(count), ..disk() }
}

fn waits() -> KernelView {
    KernelView { waiting_paths: vec!["nvme0 resetting".into()], ..disk() }
}

fn emmc(life: u8, spare: u8) -> KernelView {
    KernelView { emmc: Some(EmmcWear { life, spare }), ..disk() }
}

fn ssd(tenths: i64, alarm: bool) -> KernelView {
    let temperature = DiskTemperature { tenths: Some(tenths), warning: Some(848), critical: Some(858), alarm };
    KernelView { temperature: Some(temperature), ..disk() }
}

fn hdd(tenths: i64, critical: Option<i64>) -> KernelView {
    let temperature = DiskTemperature { tenths: Some(tenths), critical, ..DiskTemperature::default() };
    KernelView { rotational: true, temperature: Some(temperature), ..disk() }
}

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "a disk of a virtual machine has nothing to say and nothing is missed",
        source: "virtio specification 1.2 §5.2: a block device has no health of its own",
        judge: |bench| judged(bench, &disk()),
        expect: &[],
    },
    Case {
        name: "a real disk that nobody may ask",
        source: "smartctl(8): SG_IO needs CAP_SYS_RAWIO",
        judge: |bench| judged(bench, &KernelView { is_virtual: false, ..disk() }),
        expect: &[(Check::DiskStatus, Verdict::Unknown, Reason::NeedsDeviceAccess)],
    },
    Case {
        name: "error handling took the device offline",
        source: SCSI_STATES,
        judge: |bench| judged(bench, &lost("sda offline")),
        expect: &[(Check::DiskPresent, Verdict::Critical, Reason::Offline)],
    },
    Case {
        name: "the transport lost its target",
        source: SCSI_STATES,
        judge: |bench| judged(bench, &lost("sda transport-offline")),
        expect: &[(Check::DiskPresent, Verdict::Critical, Reason::Offline)],
    },
    Case {
        name: "a dead NVMe controller",
        source: NVME_STATES,
        judge: |bench| judged(bench, &lost("nvme0n1 dead")),
        expect: &[(Check::DiskPresent, Verdict::Critical, Reason::Offline)],
    },
    Case {
        name: "one of two paths is gone",
        source: MULTIPATH,
        judge: |bench| judged(bench, &KernelView { paths: 2, ..lost("sdb offline") }),
        expect: &[(Check::DiskPresent, Verdict::Warning, Reason::Offline)],
    },
    Case {
        name: "both of two paths are gone",
        source: MULTIPATH,
        judge: |bench| {
            let lost_paths = vec!["sda offline".into(), "sdb offline".into()];
            judged(bench, &KernelView { paths: 2, lost_paths, ..disk() })
        },
        expect: &[(Check::DiskPresent, Verdict::Critical, Reason::Offline)],
    },
    Case {
        name: "a reset of a controller for ten seconds",
        source: NVME_STATES,
        judge: |bench| later(bench, &waits(), 10, &waits()),
        expect: &[],
    },
    Case {
        name: "a reset that does not end",
        source: NVME_STATES,
        judge: |bench| later(bench, &waits(), 90, &waits()),
        expect: &[(Check::DiskAnswers, Verdict::Critical, Reason::Stalled)],
    },
    Case {
        name: "commands that failed while the machine booted",
        source: SCSI_COUNTS,
        judge: |bench| later(bench, &errors(2), 60, &errors(2)),
        expect: &[],
    },
    Case {
        name: "a command fails",
        source: SCSI_COUNTS,
        judge: |bench| later(bench, &errors(2), 60, &errors(3)),
        expect: &[(Check::DiskErrors, Verdict::Warning, Reason::IoErrors)],
    },
    Case {
        name: "the count begins anew with a boot",
        source: SCSI_COUNTS,
        judge: |bench| later(bench, &errors(40), 600, &errors(2)),
        expect: &[],
    },
    Case {
        name: "no command timed out",
        source: SCSI_COUNTS,
        judge: |bench| later(bench, &timeouts(0), 60, &timeouts(0)),
        expect: &[],
    },
    Case {
        name: "a command timed out",
        source: SCSI_COUNTS,
        judge: |bench| later(bench, &timeouts(0), 60, &timeouts(1)),
        expect: &[(Check::DiskAnswers, Verdict::Warning, Reason::CommandTimeouts)],
    },
    Case {
        name: "a time-out of last week",
        source: SCSI_COUNTS,
        judge: |bench| {
            drop(later(bench, &timeouts(0), 60, &timeouts(1)));
            bench.pass(7 * 86_400);
            judged(bench, &timeouts(1))
        },
        expect: &[],
    },
    Case { name: "an eMMC at 30 %", source: EMMC, judge: |bench| judged(bench, &emmc(3, 1)), expect: &[] },
    Case { name: "an eMMC that does not tell", source: EMMC, judge: |bench| judged(bench, &emmc(0, 0)), expect: &[] },
    Case {
        name: "life time 0x0a: 90 to 100 %",
        source: EMMC,
        judge: |bench| judged(bench, &emmc(10, 1)),
        expect: &[(Check::DiskWear, Verdict::Warning, Reason::Wearing)],
    },
    Case {
        name: "life time 0x0b: exceeded",
        source: EMMC,
        judge: |bench| judged(bench, &emmc(11, 1)),
        expect: &[(Check::DiskWear, Verdict::Critical, Reason::WornOut)],
    },
    Case {
        name: "pre-EOL 0x02: 80 % of the reserved blocks are used",
        source: EMMC,
        judge: |bench| judged(bench, &emmc(2, 2)),
        expect: &[(Check::DiskWear, Verdict::Warning, Reason::SpareLow)],
    },
    Case {
        name: "pre-EOL 0x03: urgent",
        source: EMMC,
        judge: |bench| judged(bench, &emmc(2, 3)),
        expect: &[(Check::DiskWear, Verdict::Critical, Reason::SpareLow)],
    },
    Case {
        name: "an NVMe disk at work, 70 °C of 84.8",
        source: NVME_TEMPERATURE,
        judge: |bench| later(bench, &ssd(700, false), 900, &ssd(700, false)),
        expect: &[],
    },
    Case {
        name: "above WCTEMP for a quarter of an hour",
        source: NVME_TEMPERATURE,
        judge: |bench| later(bench, &ssd(850, false), 900, &ssd(850, false)),
        expect: &[(Check::Temperature, Verdict::Warning, Reason::Hot)],
    },
    Case {
        name: "above CCTEMP",
        source: NVME_TEMPERATURE,
        judge: |bench| later(bench, &ssd(860, true), 900, &ssd(870, true)),
        expect: &[(Check::Temperature, Verdict::Critical, Reason::TooHot)],
    },
    Case {
        name: "the drive raises critical warning bit 1 itself",
        source: NVME_TEMPERATURE,
        judge: |bench| judged(bench, &ssd(500, true)),
        expect: &[(Check::Temperature, Verdict::Warning, Reason::Hot)],
    },
    Case {
        name: "a hard disk at 45 °C",
        source: HDD_TEMPERATURE,
        judge: |bench| later(bench, &hdd(450, Some(700)), 900, &hdd(450, Some(700))),
        expect: &[],
    },
    Case {
        name: "a hard disk at 56 °C, whatever its maker allows",
        source: HDD_TEMPERATURE,
        judge: |bench| later(bench, &hdd(560, Some(700)), 900, &hdd(560, Some(700))),
        expect: &[(Check::Temperature, Verdict::Warning, Reason::Hot)],
    },
    Case {
        name: "a hard disk at 62 °C",
        source: HDD_TEMPERATURE,
        judge: |bench| later(bench, &hdd(620, None), 900, &hdd(620, None)),
        expect: &[(Check::Temperature, Verdict::Critical, Reason::TooHot)],
    },
    Case {
        name: "a disk that allows no more than 50 °C",
        source: "Linux, Documentation/hwmon/drivetemp.rst, temp1_crit",
        judge: |bench| later(bench, &hdd(510, Some(500)), 900, &hdd(510, Some(500))),
        expect: &[(Check::Temperature, Verdict::Critical, Reason::TooHot)],
    },
    Case {
        name: "a sleeping disk is not asked",
        source: "Linux, Documentation/hwmon/drivetemp.rst: reading may reset the spin-down timer",
        judge: |bench| {
            let asleep = KernelView { temperature: Some(DiskTemperature::default()), rotational: true, ..disk() };
            judged(bench, &asleep)
        },
        expect: &[],
    },
];

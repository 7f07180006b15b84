// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Disks whose every number differs from every other and from 0, so that no field can be taken for another unseen.

use adit_device::ata::Statistics;
use adit_device::nvme::Health;
use adit_device::sim::{
    AtaDisk, NvmeDisk, NvmeSelfTest, ScsiDisk, ScsiSelfTest, SimAttribute, SimSelfTest, SmartArray,
};
use adit_device::transcript::{Recorded, Recorder, Transcript};
use adit_device::transport::CcissDisk;
use adit_device::{Attachment, Permit, read_disk, read_nvme, read_scsi};

fn attribute(id: u8, raw: u64, current: u8, worst: u8, threshold: u8, flags: u16) -> SimAttribute {
    SimAttribute { id, flags, current, worst, raw, threshold }
}

/// The old disk behind a bridge that knows the short form alone.
pub(crate) fn short_form() -> AtaDisk {
    AtaDisk { short_form_only: true, vendor: "OLD USB".to_owned(), ..old_hdd() }
}

/// A failing hard disk of the older kind: attributes and SMART logs only.
pub(crate) fn old_hdd() -> AtaDisk {
    AtaDisk {
        model: "ADIT OLD HDD 2TB".to_owned(),
        serial: "OLD-7F3A11".to_owned(),
        firmware: "OF21".to_owned(),
        wwn: 0x5001_4ee2_0abc_def1,
        rotation: 5405,
        sectors: 3_907_029_168,
        failing: true,
        attributes: vec![
            // 5 is at its threshold now; 10 was once.
            attribute(5, 2011, 36, 35, 36, 0x33),
            attribute(9, 31_207, 58, 57, 0, 0x32),
            attribute(10, 3, 99, 51, 97, 0x33),
            attribute(12, 417, 98, 97, 0, 0x32),
            attribute(4, 1029, 96, 95, 0, 0x32),
            attribute(187, 61, 39, 38, 0, 0x32),
            attribute(188, 0x0005_0003_0007, 94, 93, 0, 0x32),
            attribute(193, 90_411, 55, 54, 0, 0x32),
            attribute(194, 43, 43, 52, 0, 0x22),
            attribute(197, 24, 92, 91, 0, 0x12),
            attribute(198, 17, 90, 89, 0, 0x10),
            attribute(199, 6, 88, 87, 0, 0x3e),
        ],
        errors: 213,
        self_tests: vec![
            SimSelfTest { kind: 1, status: 0x10, hours: 31_200, lba: 0xffff_ffff },
            SimSelfTest { kind: 2, status: 0x79, hours: 31_100, lba: 0x00ab_cdef },
            SimSelfTest { kind: 1, status: 0x00, hours: 28_000, lba: 0xffff_ffff },
        ],
        ..AtaDisk::default()
    }
}

/// A hard disk with device statistics that differ from its attributes.
pub(crate) fn hdd() -> AtaDisk {
    AtaDisk {
        model: "ADIT NEW HDD 8TB".to_owned(),
        serial: "NEW-0081X2".to_owned(),
        firmware: "NF07".to_owned(),
        wwn: 0x5000_c500_a1b2_c3d4,
        rotation: 7202,
        sectors: 15_628_053_168,
        statistics: Some(Statistics {
            power_cycles: Some(33),
            power_on_hours: Some(20_123),
            sectors_written: Some(34_567_890_123),
            sectors_read: Some(98_765_432_109),
            head_loads: Some(742),
            reallocated: Some(112),
            start_failures: Some(2),
            reported_uncorrectable: Some(19),
            temperature_c: Some(38),
            temperature_limit_c: Some(61),
            crc_errors: Some(5),
            wear_used_percent: None,
        }),
        pending_defects: None,
        errors: 71,
        self_tests: vec![
            SimSelfTest { kind: 2, status: 0x00, hours: 20_011, lba: 0xffff_ffff_ffff },
            SimSelfTest { kind: 1, status: 0x72, hours: 19_000, lba: 0x0001_2345_6789 },
        ],
        running_tenths_left: Some(4),
        ..old_hdd()
    }
    .healthy()
}

/// A solid-state disk behind a USB bridge.
pub(crate) fn ssd() -> AtaDisk {
    AtaDisk {
        model: "ADIT SSD 1TB".to_owned(),
        serial: "SSD-44K9Z".to_owned(),
        firmware: "SF3".to_owned(),
        wwn: 0x5002_538d_4567_89ab,
        rotation: 1,
        sectors: 1_953_525_168,
        vendor: "ADITUSB".to_owned(),
        fixed_sense: false,
        statistics: Some(Statistics {
            power_cycles: Some(77),
            power_on_hours: Some(9_876),
            sectors_written: Some(55_544_433_322),
            sectors_read: Some(11_122_233_344),
            reported_uncorrectable: Some(4),
            temperature_c: Some(29),
            temperature_limit_c: Some(71),
            crc_errors: Some(8),
            wear_used_percent: Some(23),
            ..Statistics::default()
        }),
        errors: 13,
        self_tests: vec![SimSelfTest { kind: 2, status: 0x00, hours: 9_800, lba: 0xffff_ffff_ffff }],
        ..hdd()
    }
}

/// Lifts what the older disk says of its own failing.
trait Healthy {
    fn healthy(self) -> Self;
}

impl Healthy for AtaDisk {
    fn healthy(mut self) -> Self {
        self.failing = false;
        for attribute in &mut self.attributes {
            (attribute.current, attribute.worst) = (attribute.current.max(98), attribute.worst.max(98));
        }
        self
    }
}

pub(crate) fn nvme() -> NvmeDisk {
    NvmeDisk {
        model: "ADIT NVME 2TB".to_owned(),
        serial: "NVM-5512QQ".to_owned(),
        firmware: "VF9".to_owned(),
        size_bytes: 2_000_398_934_016,
        limits_k: (349, 358),
        health: Health {
            critical_warning: 0x0d,
            temperature_c: Some(47),
            spare_percent: 8,
            spare_threshold_percent: 12,
            wear_used_percent: 97,
            read_bytes: 512_000 * 123_456_789,
            written_bytes: 512_000 * 987_654_321,
            power_cycles: 211,
            power_on_hours: 15_999,
            unsafe_shutdowns: 44,
            media_errors: 14,
            error_log_entries: 639,
            warning_minutes: 31,
            critical_minutes: 6,
        },
        self_tests: Some(vec![
            NvmeSelfTest { kind: 1, result: 7, hours: 15_900, lba: Some(0x0fed_cba9) },
            NvmeSelfTest { kind: 2, result: 0, hours: 15_000, lba: None },
        ]),
        running_percent: Some(35),
        ..NvmeDisk::default()
    }
}

pub(crate) fn scsi() -> ScsiDisk {
    ScsiDisk {
        vendor: "ADITSAS".to_owned(),
        product: "SAS HDD 600G".to_owned(),
        revision: "SR12".to_owned(),
        serial: "SAS-90210B".to_owned(),
        wwn: 0x5000_cca0_1357_9bde,
        rotation: 15_030,
        uncorrected: [3, 11, 5],
        processed: [123_456_789_000, 987_654_321_000],
        temperature: (41, 68),
        cycles: (87, 1_234),
        self_tests: vec![
            ScsiSelfTest { kind: 1, result: 0, hours: 30_400, lba: None },
            ScsiSelfTest { kind: 2, result: 6, hours: 30_300, lba: Some(0x0000_1122_3344) },
        ],
        background: (1_830_000, 9),
        phy_errors: [21, 22, 23, 24],
        exception: (0x5d, 0x10),
        grown_defects: 37,
        attentions: vec![(0x29, 0x00), (0x2a, 0x01)],
        ..ScsiDisk::default()
    }
}

/// Every kind of disk, recorded while it was read: name and device.
pub(crate) fn recorded() -> Vec<(&'static str, Transcript)> {
    let ata = |disk: AtaDisk, at: Attachment, kind: &str| {
        let mut recorder = Recorder::new(disk);
        read_disk(&mut recorder, at, Permit::Wake).expect("read the simulated disk");
        one(recorder.finish("sda", kind))
    };
    let mut nvme_recorder = Recorder::new(nvme());
    read_nvme(&mut nvme_recorder).expect("read the simulated controller");
    let mut scsi_recorder = Recorder::new(scsi());
    read_scsi(&mut scsi_recorder, Permit::Wake).expect("read the simulated disk");
    let mut solid_recorder = Recorder::new(ScsiDisk { rotation: 1, wear: Some(61), ..scsi() });
    read_scsi(&mut solid_recorder, Permit::Wake).expect("read the simulated disk");
    vec![
        ("ata-old", ata(old_hdd(), Attachment::Direct, "sat")),
        ("ata", ata(hdd(), Attachment::Direct, "sat")),
        ("usb", ata(ssd(), Attachment::Usb, "usb")),
        ("usb-short", ata(short_form(), Attachment::Usb, "usb")),
        ("nvme", one(nvme_recorder.finish("nvme0", "nvme"))),
        ("scsi", one(scsi_recorder.finish("sdb", "scsi"))),
        ("scsi-ssd", one(solid_recorder.finish("sdc", "scsi"))),
        ("cciss-ata", behind_controller(old_hdd())),
        ("cciss-scsi", behind_controller(ScsiDisk { attentions: Vec::new(), ..scsi() })),
    ]
}

fn behind_controller<D: adit_device::transport::Scsi>(disk: D) -> Transcript {
    let mut recorder = Recorder::new(SmartArray { disks: vec![disk] });
    // What any program asks a controller first; its size is what smartctl takes.
    let luns = adit_device::command::ScsiCommand::report_physical_luns(1032);
    let mut list = vec![0; luns.data_bytes()];
    let controller = adit_device::command::LunAddress::CONTROLLER;
    adit_device::transport::Cciss::execute_at(&mut recorder, controller, &luns, &mut list).expect("list the disks");
    let address = adit_device::command::LunAddress(list[8..16].try_into().expect("eight bytes"));
    read_disk(&mut CcissDisk::new(&mut recorder, address), Attachment::Direct, Permit::Wake).expect("read the disk");
    one(recorder.finish("sg0", "cciss"))
}

fn one(device: Recorded) -> Transcript {
    Transcript { devices: vec![device] }
}

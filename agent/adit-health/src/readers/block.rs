// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Disks by the kernel's own counters, from /sys/block (Documentation/ABI/stable/sysfs-block). No node is opened.
//!
//! Can block: only the temperature of a disk, whose driver asks the disk. So a disk that turns is asked only when it worked
//! since the last look: it cannot be asleep then, and the question does not keep it awake.

use crate::readings::block::{DiskTemperature, EmmcWear, KernelView};
use crate::text;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Block devices that are no disks of their own: made of other devices, of memory, of a file, of a network's device.
const NO_DISKS: [&str; 13] =
    ["loop", "ram", "zram", "md", "dm-", "sr", "fd", "bcache", "zd", "drbd", "nbd", "rbd", "mtdblock"];
/// What hypervisors call the disks that they make up: a SMART value there is a constant at best. QEMU's SATA and NVMe disks
/// answer as real ones do and are not here.
const VIRTUAL_NAMES: [&str; 3] = ["vd", "xvd", "pmem"];
const VIRTUAL_VENDORS: [&str; 6] = ["QEMU", "Msft", "VMware", "VBOX", "Google", "Xen"];
const VIRTUAL_MODELS: [&str; 4] = ["Amazon Elastic Block Store", "nvme_card", "VMware Virtual NVMe Disk", "MSFT NVMe"];
/// Paths of one disk, and disks of one machine.
const DISKS_MAX: usize = 256;

/// The requests that each disk had served at the last look: tells whether it worked since.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    served: BTreeMap<String, u64>,
}

impl Activity {
    fn worked(&mut self, name: &str, served: u64) -> bool {
        self.served.insert(name.to_owned(), served).is_some_and(|before| before != served)
    }
}

/// All disks, each once however many paths lead to it.
pub(crate) fn disks(root: &Path, activity: &mut Activity) -> Vec<KernelView> {
    let blocks = root.join("sys/block");
    let mut disks: Vec<KernelView> = Vec::new();
    for name in text::names(&blocks) {
        let partition_of_emmc = name.starts_with("mmcblk") && (name.contains("boot") || name.ends_with("rpmb"));
        if partition_of_emmc || NO_DISKS.iter().any(|prefix| name.starts_with(prefix)) || disks.len() >= DISKS_MAX {
            continue;
        }
        let Some(disk) = disk(&blocks.join(&name), &name, activity) else { continue };
        match disks.iter_mut().find(|known| known.id == disk.id) {
            Some(known) => join(known, disk),
            None => disks.push(disk),
        }
    }
    disks
}

/// The kernel's name of the disk that a partition (or the disk itself) is on.
pub(crate) fn disk_of(root: &Path, name: &str) -> Option<String> {
    let blocks = root.join("sys/block");
    if blocks.join(name).is_dir() {
        return Some(name.to_owned());
    }
    text::names(&blocks)
        .into_iter()
        .find(|disk| name.starts_with(disk.as_str()) && blocks.join(disk).join(name).is_dir())
}

fn disk(dir: &Path, name: &str, activity: &mut Activity) -> Option<KernelView> {
    let sectors = text::number(&dir.join("size"))?;
    if sectors == 0 || text::number(&dir.join("hidden")) == Some(1) {
        return None; // An empty card reader is no disk; a path of a native NVMe multipath is hidden.
    }
    let device = dir.join("device");
    let field = |file: &str| text::word(&device.join(file)).map(|text| squeeze(&text));
    let (model, vendor) = (field("model").or_else(|| field("name")), field("vendor").unwrap_or_default());
    let serial = field("serial").or_else(|| text::word(&dir.join("serial"))).or_else(|| unit_serial(&device));
    let usb = fs::read_link(dir).is_ok_and(|target| target.to_string_lossy().contains("/usb"));
    let states = states(&device, name);
    let bad = |(_, state): &&(String, String)| is_lost(state);
    let waits = |(_, state): &&(String, String)| matches!(state.as_str(), "resetting" | "connecting" | "blocked");
    let told = |(path, state): &(String, String)| format!("{path} {state}");
    let rotational = text::number(&dir.join("queue/rotational")) == Some(1);
    let asks = !rotational || (is_awake(&device) && activity.worked(name, served(dir)));
    Some(KernelView {
        id: identity(dir, &device, model.as_deref(), serial.as_deref()).unwrap_or_else(|| name.to_owned()),
        names: vec![name.to_owned()],
        bay: bay(&device),
        paths: states.len().max(1),
        size_mib: sectors >> 11,
        rotational,
        removable: usb || text::number(&dir.join("removable")) == Some(1),
        is_virtual: is_virtual(name, &vendor, model.as_deref().unwrap_or_default()),
        lost_paths: states.iter().filter(bad).map(told).collect(),
        waiting_paths: states.iter().filter(waits).map(told).collect(),
        errors: if usb || vendor == "ATA" { None } else { text::number(&device.join("ioerr_cnt")) },
        timeouts: text::number(&device.join("iotmo_cnt")),
        temperature: temperature(&device, asks),
        emmc: emmc(&device),
        model,
        serial,
    })
}

/// Another path to a disk that is known.
fn join(known: &mut KernelView, path: KernelView) {
    known.names.extend(path.names);
    known.paths += path.paths;
    known.lost_paths.extend(path.lost_paths);
    known.waiting_paths.extend(path.waiting_paths);
    let sum = |a: Option<i64>, b: Option<i64>| Some(a?.saturating_add(b?));
    known.errors = sum(known.errors, path.errors);
    known.timeouts = sum(known.timeouts, path.timeouts);
}

/// drivers/scsi/scsi_sysfs.c and drivers/nvme/host/core.c name the states.
fn is_lost(state: &str) -> bool {
    matches!(state, "offline" | "transport-offline" | "deleted" | "cancel" | "dead") || state.starts_with("deleting")
}

/// The state of the device, or of each controller where a subsystem of NVMe has several.
fn states(device: &Path, name: &str) -> Vec<(String, String)> {
    if let Some(state) = text::word(&device.join("state")) {
        return vec![(name.to_owned(), state)];
    }
    let controllers = text::names(device).into_iter().filter(|entry| entry.starts_with("nvme"));
    controllers.filter_map(|entry| Some((entry.clone(), text::word(&device.join(&entry).join("state"))?))).collect()
}

fn identity(dir: &Path, device: &Path, model: Option<&str>, serial: Option<&str>) -> Option<String> {
    let named = |text: &String| text.chars().any(|c| c.is_ascii_alphanumeric() && c != '0');
    let wwid = [device.join("wwid"), dir.join("wwid"), device.join("cid")].iter().find_map(|path| text::word(path));
    let serial = serial.map(|serial| match model {
        Some(model) => format!("{model} {serial}"),
        None => serial.to_owned(),
    });
    wwid.map(|wwid| squeeze(&wwid)).filter(named).or_else(|| serial.filter(named))
}

/// VPD page 80h (SPC-5 §7.7.19): a header of four bytes, then text.
fn unit_serial(device: &Path) -> Option<String> {
    let page = text::bytes(&device.join("vpd_pg80"))?;
    let text = String::from_utf8(page.get(4..)?.to_vec()).ok()?;
    Some(squeeze(text.trim_matches(['\0', ' ']))).filter(|text| !text.is_empty())
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_virtual(name: &str, vendor: &str, model: &str) -> bool {
    VIRTUAL_NAMES.iter().any(|prefix| name.starts_with(prefix))
        || VIRTUAL_VENDORS.contains(&vendor)
        || VIRTUAL_MODELS.iter().any(|prefix| model.starts_with(prefix))
}

fn bay(device: &Path) -> Option<String> {
    let place = text::names(device).into_iter().find(|entry| entry.starts_with("enclosure_device"))?;
    text::word(&device.join(place).join("slot"))
}

fn is_awake(device: &Path) -> bool {
    !matches!(text::word(&device.join("power/runtime_status")).as_deref(), Some("suspended" | "suspending"))
}

/// Requests of all kinds that were completed (Documentation/admin-guide/iostats.rst: fields 1, 5, 12 and 16).
fn served(dir: &Path) -> u64 {
    let stat = text::read(&dir.join("stat")).unwrap_or_default();
    let fields: Vec<u64> = stat.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    [0, 4, 11, 15].iter().filter_map(|index| fields.get(*index)).fold(0, |sum, count| sum.wrapping_add(*count))
}

/// The drivetemp and nvme drivers show a disk's temperature as a hwmon device below it.
fn temperature(device: &Path, asks: bool) -> Option<DiskTemperature> {
    let hwmon = [device.join("hwmon"), device.to_path_buf()].into_iter().find_map(|dir| {
        text::names(&dir)
            .into_iter()
            .find(|name| name.starts_with("hwmon") && name != "hwmon")
            .map(|name| dir.join(name))
    })?;
    if !asks {
        return Some(DiskTemperature::default());
    }
    let tenths = |file: &str| text::number(&hwmon.join(file)).map(|thousandths| thousandths / 100);
    let limit = |file: &str| tenths(file).filter(|tenths| (1..=1_500).contains(tenths));
    Some(DiskTemperature {
        tenths: tenths("temp1_input"),
        warning: limit("temp1_max"),
        critical: limit("temp1_crit"),
        alarm: text::number(&hwmon.join("temp1_alarm")) == Some(1),
    })
}

fn emmc(device: &Path) -> Option<EmmcWear> {
    let byte = |text: &str| u8::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let life = text::word(&device.join("life_time"))?.split_whitespace().filter_map(byte).max()?;
    let spare = text::word(&device.join("pre_eol_info")).as_deref().and_then(byte).unwrap_or(0);
    Some(EmmcWear { life, spare })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tree;

    fn read(files: &[(&str, &str)]) -> Vec<KernelView> {
        disks(tree(files).path(), &mut Activity::default())
    }

    #[test]
    fn a_disk_has_its_own_name_and_partitions_lead_to_it() {
        let tree = tree(&[
            ("sys/block/sda/size", "1953525168\n"),
            ("sys/block/sda/sda1/size", "1953521664\n"),
            ("sys/block/sda/device/vendor", "SEAGATE \n"),
            ("sys/block/sda/device/model", "ST4000NM0023    \n"),
            ("sys/block/sda/device/wwid", "naa.5000c500123456ab\n"),
            ("sys/block/sda/device/vpd_pg80", "\0\u{1}\0\u{10}Z1Z0ABCD        "),
            ("sys/block/sda/device/ioerr_cnt", "0x2\n"),
            ("sys/block/sda/device/state", "running\n"),
            ("sys/block/sda/device/enclosure_device:Slot 03/slot", "3\n"),
            ("sys/block/loop0/size", "100\n"),
            ("sys/block/sdb/size", "0\n"),
            ("sys/block/mmcblk0boot0/size", "8192\n"),
        ]);
        let disks = disks(tree.path(), &mut Activity::default());
        assert_eq!(disks.len(), 1);
        assert_eq!(disks[0].id, "naa.5000c500123456ab");
        assert_eq!(disks[0].label(), "sda (ST4000NM0023 Z1Z0ABCD bay 3)");
        assert_eq!((disks[0].errors, disks[0].size_mib, disks[0].is_virtual), (Some(2), 953_869, false));
        assert_eq!(disk_of(tree.path(), "sda1").as_deref(), Some("sda"));
        assert_eq!(disk_of(tree.path(), "sdz1"), None);
    }

    #[test]
    fn behind_sat_the_count_of_errors_says_nothing() {
        let disks = read(&[
            ("sys/block/sda/size", "2048\n"),
            ("sys/block/sda/device/vendor", "ATA     \n"),
            ("sys/block/sda/device/model", "QEMU HARDDISK   \n"),
            ("sys/block/sda/device/ioerr_cnt", "0x9\n"),
            ("sys/devices/pci0/usb2/2-1/block/sdb/size", "2048\n"),
            ("sys/devices/pci0/usb2/2-1/block/sdb/device/ioerr_cnt", "0x9\n"),
            ("sys/block/sdb", "-> ../devices/pci0/usb2/2-1/block/sdb"),
        ]);
        assert_eq!(disks.iter().map(|disk| disk.errors).collect::<Vec<_>>(), [None, None]);
        assert_eq!(disks.iter().map(|disk| disk.removable).collect::<Vec<_>>(), [false, true]);
        assert!(!disks[0].is_virtual, "QEMU's SATA disk answers as a real one does");
    }

    #[test]
    fn two_paths_are_one_disk() {
        let path = |name: &str, file: &str| format!("sys/block/{name}/{file}");
        let files: Vec<(String, &str)> = ["sda", "sdb"]
            .iter()
            .flat_map(|name| [(path(name, "size"), "2048"), (path(name, "device/wwid"), "naa.600a0b80001234")])
            .chain([(path("sda", "device/state"), "running"), (path("sdb", "device/state"), "offline")])
            .collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let disks = read(&files);
        assert_eq!(disks.len(), 1);
        assert_eq!(
            (disks[0].names.join(" "), disks[0].lost_paths.clone()),
            ("sda sdb".into(), vec!["sdb offline".into()])
        );
    }

    #[test]
    fn hypervisors_disks_are_known() {
        for (name, vendor, model, is) in [
            ("vda", "0x1af4", "", true),
            ("xvda", "", "", true),
            ("sda", "QEMU", "QEMU HARDDISK", true),
            ("sda", "Msft", "Virtual Disk", true),
            ("sda", "VMware", "Virtual disk", true),
            ("nvme0n1", "", "Amazon Elastic Block Store", true),
            ("nvme0n1", "", "QEMU NVMe Ctrl", false),
            ("sda", "ATA", "WDC WD40EFRX-68N", false),
        ] {
            assert_eq!(is_virtual(name, vendor, model), is, "{name} {vendor} {model}");
        }
    }

    #[test]
    fn a_turning_disk_is_asked_for_its_temperature_only_when_it_worked() {
        let files = |stat| {
            [
                ("sys/block/sda/size", "2048"),
                ("sys/block/sda/queue/rotational", "1"),
                ("sys/block/sda/stat", stat),
                ("sys/block/sda/device/hwmon/hwmon1/temp1_input", "41500"),
                ("sys/block/sda/device/hwmon/hwmon1/temp1_crit", "70000"),
            ]
        };
        let (idle, busy) = (tree(&files("5 0 40 1 0 0 0 0 0 1 1")), tree(&files("6 0 48 1 0 0 0 0 0 1 1")));
        let mut activity = Activity::default();
        let mut look = |tree: &tempfile::TempDir| disks(tree.path(), &mut activity)[0].temperature.unwrap().tenths;
        assert_eq!([look(&idle), look(&idle), look(&busy), look(&busy)], [None, None, Some(415), None]);
        fs::create_dir_all(busy.path().join("sys/block/sda/device/power")).unwrap();
        fs::write(busy.path().join("sys/block/sda/device/power/runtime_status"), "suspended\n").unwrap();
        fs::write(busy.path().join("sys/block/sda/stat"), "9 0 0 0 0 0 0 0 0 0 0").unwrap();
        assert_eq!(look(&busy), None, "a suspended disk is let sleep");
    }

    #[test]
    fn nvme_and_emmc_tell_what_they_have() {
        let disks = read(&[
            ("sys/block/mmcblk0/size", "2048"),
            ("sys/block/mmcblk0/device/name", "DG4016"),
            ("sys/block/mmcblk0/device/serial", "0x1c2d3e4f"),
            ("sys/block/mmcblk0/device/cid", "4501004447343031360148b2c3d4e5f6"),
            ("sys/block/mmcblk0/device/life_time", "0x03 0x0a\n"),
            ("sys/block/mmcblk0/device/pre_eol_info", "0x02\n"),
            ("sys/block/nvme0c0n1/size", "2048"),
            ("sys/block/nvme0c0n1/hidden", "1"),
            ("sys/block/nvme0n1/size", "2048"),
            ("sys/block/nvme0n1/wwid", "eui.0025385b71b00001"),
            ("sys/block/nvme0n1/device/model", "Samsung SSD 970 EVO"),
            ("sys/block/nvme0n1/device/nvme0/state", "dead"),
            ("sys/block/nvme0n1/device/nvme1/state", "resetting"),
        ]);
        assert_eq!(disks.len(), 2);
        assert_eq!(disks[0].emmc, Some(EmmcWear { life: 10, spare: 2 }));
        assert_eq!((&disks[1].lost_paths[0][..], &disks[1].waiting_paths[0][..]), ("nvme0 dead", "nvme1 resetting"));
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which devices there are, by /sys below a root, and what the kernel says of them. Opens no device node.

use adit_device::Attachment;
use adit_device::pipe::DEVICES_MAX;
use adit_device::standby::KernelSight;
use std::fs;
use std::path::{Path, PathBuf};

/// Device-mapper volumes that are asked for their status.
const VOLUMES_MAX: usize = 256;

/// Where the kernel's files stand; `/` but for tests.
#[derive(Clone, Debug)]
pub struct Roots {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
}

impl Roots {
    /// `sys` and `dev` below a root.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self { sys: root.join("sys"), dev: root.join("dev") }
    }
}

/// A device that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The kernel's name.
    pub name: String,
    /// What it is and where it is asked.
    pub kind: Kind,
}

/// What a device is and where it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A disk that speaks SCSI, or ATA behind a SAT layer.
    Scsi {
        /// Its block node.
        node: PathBuf,
        /// How it is attached.
        at: Attachment,
        /// What the kernel says of it.
        sight: KernelSight,
    },
    /// An NVMe controller.
    Nvme {
        /// Its node.
        node: PathBuf,
    },
    /// A BMC.
    Bmc {
        /// Its node.
        node: PathBuf,
    },
    /// An HP Smart Array controller.
    SmartArray {
        /// Nodes of its drives, each of which leads to it.
        drives: Vec<PathBuf>,
        /// Its own generic node.
        generic: Option<PathBuf>,
        /// What it calls itself.
        model: String,
    },
    /// All device-mapper volumes.
    Mapper {
        /// The control node.
        node: PathBuf,
        /// The volumes.
        volumes: Vec<Volume>,
    },
}

/// A device-mapper volume as /sys names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Name.
    pub name: String,
    /// UUID.
    pub uuid: String,
    /// I/O to it is held back.
    pub suspended: bool,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The devices by name, at most [`DEVICES_MAX`].
    pub devices: Vec<Device>,
    /// Those beyond.
    pub left_out: u16,
}

/// Looks through /sys. What cannot be read is not there.
#[must_use]
pub fn discover(roots: &Roots) -> Found {
    let arrays: Vec<u32> = names(&roots.sys.join("class/scsi_host"))
        .filter(|host| text(&roots.sys.join("class/scsi_host").join(host).join("proc_name")) == "hpsa")
        .filter_map(|host| host.strip_prefix("host")?.parse().ok())
        .collect();
    let disks = names(&roots.sys.join("block")).filter(|name| name.starts_with("sd"));
    let mut devices: Vec<Device> = disks.filter_map(|name| disk(roots, name, &arrays)).collect();
    devices.extend(arrays.iter().map(|host| smart_array(roots, *host)));
    let named = |class: &str, prefix: &'static str| {
        let numbered = move |name: &String| {
            name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
        };
        names(&roots.sys.join("class").join(class)).filter(numbered).map(|name| (roots.dev.join(&name), name))
    };
    devices.extend(named("nvme", "nvme").map(|(node, name)| Device { name, kind: Kind::Nvme { node } }));
    devices.extend(named("ipmi", "ipmi").map(|(node, name)| Device { name, kind: Kind::Bmc { node } }));
    devices.extend(mapper(roots));
    devices.sort_by(|a, b| a.name.cmp(&b.name));
    let left_out = u16::try_from(devices.len().saturating_sub(DEVICES_MAX)).unwrap_or(u16::MAX);
    devices.truncate(DEVICES_MAX);
    Found { devices, left_out }
}

fn disk(roots: &Roots, name: String, arrays: &[u32]) -> Option<Device> {
    let block = roots.sys.join("block").join(&name);
    // The link ends in the address: host, channel, target, unit.
    let link = fs::canonicalize(block.join("device")).ok()?;
    let host: Option<u32> = link.file_name()?.to_str()?.split(':').next()?.parse().ok();
    let behind_array = host.is_some_and(|host| arrays.contains(&host));
    // A logical drive has no health of its own beyond what its controller tells.
    if behind_array && text(&block.join("device/model")).starts_with("LOGICAL VOLUME") {
        return None;
    }
    let usb = link.components().any(|part| part.as_os_str().to_str().is_some_and(|part| part.starts_with("usb")));
    // Bridges of disks are asked for an ATA disk behind them; sticks and card readers may choke on the question.
    let bridge = usb && text(&block.join("removable")) != "1";
    let at = if bridge { Attachment::Usb } else { Attachment::Direct };
    let runtime = text(&block.join("device/power/runtime_status"));
    let stat = text(&block.join("stat"));
    let counter = |at: usize| stat.split_ascii_whitespace().nth(at)?.parse::<u64>().ok();
    let sight = KernelSight {
        rotational: text(&block.join("queue/rotational")) != "0",
        suspended: matches!(runtime.as_str(), "suspended" | "suspending"),
        // Completed reads and writes (Documentation/block/stat.rst); commands like ours are not counted there.
        completed: counter(0).and_then(|reads| counter(4).map(|writes| reads.wrapping_add(writes))),
    };
    let node = roots.dev.join(&name);
    Some(Device { name, kind: Kind::Scsi { node, at, sight } })
}

fn smart_array(roots: &Roots, host: u32) -> Device {
    let class = roots.sys.join("class/scsi_device");
    let prefix = format!("{host}:");
    let (mut drives, mut generic, mut model) = (Vec::new(), None, String::new());
    for device in names(&class).filter(|address| address.starts_with(&prefix)).map(|a| class.join(a).join("device")) {
        drives.extend(names(&device.join("block")).map(|name| roots.dev.join(name)));
        // Peripheral device type 0Ch: a storage array controller.
        if text(&device.join("type")) == "12" {
            generic = names(&device.join("scsi_generic")).next().map(|name| roots.dev.join(name));
            model = text(&device.join("model"));
        }
    }
    Device { name: format!("host{host}"), kind: Kind::SmartArray { drives, generic, model } }
}

fn mapper(roots: &Roots) -> Option<Device> {
    let blocks = names(&roots.sys.join("block")).filter(|name| name.starts_with("dm-"));
    let volumes: Vec<Volume> = blocks
        .take(VOLUMES_MAX)
        .map(|name| {
            let dm = roots.sys.join("block").join(name).join("dm");
            let suspended = text(&dm.join("suspended")) == "1";
            Volume { name: text(&dm.join("name")), uuid: text(&dm.join("uuid")), suspended }
        })
        .filter(|volume| !volume.name.is_empty())
        .collect();
    let node = roots.dev.join("mapper/control");
    (!volumes.is_empty()).then(|| Device { name: "mapper".to_owned(), kind: Kind::Mapper { node, volumes } })
}

/// Names in a folder, in order; none when it is not there.
fn names(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names.into_iter()
}

/// The text of a small file without what surrounds it; empty when it cannot be read.
fn text(path: &Path) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A /sys with an AHCI disk, a USB one, an SSD behind hpsa, a logical drive, NVMe, a BMC and two volumes.
    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let sys = folder.path().join("sys");
        let put = |path: &str, text: &str| {
            let path = sys.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let disk = |name: &str, place: &str, address: &str, model: &str, rotational: &str| {
            let device = format!("devices/{place}/{address}");
            put(&format!("{device}/model"), model);
            put(&format!("{device}/type"), "0\n");
            put(&format!("{device}/power/runtime_status"), if name == "sdb" { "suspended\n" } else { "active\n" });
            put(&format!("{device}/block/{name}/stat"), " 10 0 80 5 20 0 160 9 0 1 1\n");
            put(&format!("block/{name}/stat"), " 10 0 80 5 20 0 160 9 0 1 1\n");
            put(&format!("block/{name}/queue/rotational"), rotational);
            std::os::unix::fs::symlink(sys.join(&device), sys.join("block").join(name).join("device")).unwrap();
            let class = sys.join("class/scsi_device").join(address);
            fs::create_dir_all(&class).unwrap();
            std::os::unix::fs::symlink(sys.join(&device), class.join("device")).unwrap();
        };
        disk("sda", "pci0/ata1/host0", "0:0:0:0", "ST4000", "1\n");
        disk("sdb", "pci0/usb2/2-1/host1", "1:0:0:0", "Elements", "1\n");
        disk("sdc", "pci1/host2", "2:0:1:0", "MK0200GEYKC", "0\n");
        disk("sdd", "pci1/host2", "2:1:0:0", "LOGICAL VOLUME  ", "1\n");
        put("class/scsi_host/host0/proc_name", "ahci\n");
        put("class/scsi_host/host2/proc_name", "hpsa\n");
        put("devices/pci1/host2/2:0:0:0/type", "12\n");
        put("devices/pci1/host2/2:0:0:0/model", "P420i           \n");
        put("devices/pci1/host2/2:0:0:0/scsi_generic/sg2/dev", "21:2\n");
        fs::create_dir_all(sys.join("class/scsi_device/2:0:0:0")).unwrap();
        let link = sys.join("class/scsi_device/2:0:0:0/device");
        std::os::unix::fs::symlink(sys.join("devices/pci1/host2/2:0:0:0"), link).unwrap();
        put("class/nvme/nvme0/model", "x");
        put("class/nvme/nvme-subsys0/model", "x");
        put("class/ipmi/ipmi0/dev", "240:0");
        put("block/dm-0/dm/name", "vg-pool\n");
        put("block/dm-0/dm/uuid", "LVM-abc\n");
        put("block/dm-0/dm/suspended", "0\n");
        put("block/dm-1/dm/name", "luks\n");
        put("block/dm-1/dm/uuid", "CRYPT-LUKS2-1\n");
        put("block/dm-1/dm/suspended", "1\n");
        put("block/loop0/size", "0");
        folder
    }

    #[test]
    fn devices_are_found_with_what_the_kernel_says() {
        let tree = tree();
        let roots = Roots::below(tree.path());
        let found = discover(&roots);
        let names: Vec<&str> = found.devices.iter().map(|device| device.name.as_str()).collect();
        assert_eq!(names, ["host2", "ipmi0", "mapper", "nvme0", "sda", "sdb", "sdc"]);
        let kind = |name: &str| found.devices.iter().find(|device| device.name == name).unwrap().kind.clone();
        let sight = |rotational, suspended| KernelSight { rotational, suspended, completed: Some(30) };
        let node = |name: &str| roots.dev.join(name);
        let (sda, direct) = (node("sda"), Attachment::Direct);
        assert_eq!(kind("sda"), Kind::Scsi { node: sda, at: direct, sight: sight(true, false) });
        let sdb = Kind::Scsi { node: node("sdb"), at: Attachment::Usb, sight: sight(true, true) };
        assert_eq!(kind("sdb"), sdb);
        assert_eq!(kind("sdc"), Kind::Scsi { node: node("sdc"), at: direct, sight: sight(false, false) });
        let drives = vec![node("sdc"), node("sdd")];
        let array = Kind::SmartArray { drives, generic: Some(node("sg2")), model: "P420i".to_owned() };
        assert_eq!(kind("host2"), array);
        let volume = |name: &str, uuid: &str, suspended| Volume { name: name.into(), uuid: uuid.into(), suspended };
        let volumes = vec![volume("vg-pool", "LVM-abc", false), volume("luks", "CRYPT-LUKS2-1", true)];
        assert_eq!(kind("mapper"), Kind::Mapper { node: node("mapper/control"), volumes });
    }

    #[test]
    fn an_empty_machine_has_nothing_and_a_large_one_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(discover(&Roots::below(folder.path())), Found::default());
        let class = folder.path().join("sys/class/nvme");
        for number in 0..DEVICES_MAX + 3 {
            fs::create_dir_all(class.join(format!("nvme{number}"))).unwrap();
        }
        let found = discover(&Roots::below(folder.path()));
        assert_eq!((found.devices.len(), found.left_out), (DEVICES_MAX, 3));
    }
}

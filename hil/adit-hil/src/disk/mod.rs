// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Disks and what befalls them: errors on chosen sectors, silent corruption, stalls, power cuts with a volatile cache.
//!
//! A [`Disk`] is a description; it makes its files and says QEMU's arguments. Between the guest's device and the image
//! stands always the same chain of block nodes, so that a fault is switched on and off while the machine runs:
//!
//! ```text
//! device NAME-dev → NAME (throttle) → NAME-top (raw) → [NAME-error-N (blkdebug)] → [NAME-record (blklogwrites)]
//!                                                                               → [NAME-format (qcow2)] → NAME-file
//! ```

pub mod fault;
#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "a test's small numbers")]
mod live;
pub mod log;
pub mod overlay;
pub mod replay;
pub mod view;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Longest serial number that every kind of device carries whole, in bytes.
pub const SERIAL_BYTES_MAX: usize = 20;
/// Longest name of a disk, in bytes: QEMU's node names end at 31 and ours add at most 13.
pub const NAME_BYTES_MAX: usize = 16;
/// SATA ports of the q35 machine.
pub const AHCI_PORTS: usize = 6;
/// NVMe disks of one machine; each has a root port of its own, or it could not be pulled.
pub const NVME_DISKS_MAX: usize = 8;
/// Size of a fresh write log, in bytes. The file is sparse; QEMU cannot grow it, and a full one fails the guest's writes.
pub const LOG_BYTES: u64 = 8 << 30;
/// Sectors of an image are at least this large, and faults count in it.
pub const SECTOR_BYTES: u32 = 512;
/// Largest sector, in bytes.
pub const SECTOR_BYTES_MAX: u32 = 4096;

/// How the guest sees a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// virtio-blk; the cheapest, cannot be pulled.
    Virtio,
    /// NVMe behind its own root port; can be pulled, can warn, cannot grow while plugged.
    Nvme,
    /// SATA on the board's AHCI controller; cannot be pulled, 512-byte logical sectors only.
    Ahci,
    /// A disk on the machine's one virtio-scsi controller; can be pulled.
    Scsi,
    /// A USB stick on the machine's one xHCI controller; can be pulled.
    Usb,
}

impl Kind {
    /// The kernel's modules that it needs beside those of every machine.
    #[must_use]
    pub const fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Virtio => &[],
            Self::Nvme => &["nvme"],
            Self::Ahci => &["ahci", "sd_mod"],
            Self::Scsi => &["virtio_scsi", "sd_mod"],
            Self::Usb => &["xhci_pci", "usb_storage", "sd_mod"],
        }
    }
}

/// One disk of a machine.
#[derive(Debug, Clone)]
pub struct Disk {
    name: String,
    kind: Kind,
    folder: PathBuf,
    size_bytes: u64,
    base: Option<PathBuf>,
    serial: String,
    logical_bytes: u32,
    physical_bytes: u32,
    rotation_rpm: u16,
    boot_index: Option<u32>,
    recorded: bool,
    plugged: bool,
}

impl Disk {
    /// An empty raw disk of `size_bytes` whose files lie in `folder`. The name is also its serial number.
    pub fn new(name: &str, kind: Kind, folder: &Path, size_bytes: u64) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            folder: folder.to_owned(),
            size_bytes,
            base: None,
            serial: name.to_owned(),
            logical_bytes: SECTOR_BYTES,
            physical_bytes: SECTOR_BYTES,
            rotation_rpm: 0,
            boot_index: None,
            recorded: false,
            plugged: true,
        }
    }

    /// Begins as the raw file `base`, which is never written: the disk becomes a qcow2 overlay.
    #[must_use]
    pub fn over(mut self, base: &Path) -> Self {
        self.base = Some(base.to_owned());
        self
    }

    /// Serial number, at most [`SERIAL_BYTES_MAX`] printable bytes.
    #[must_use]
    pub fn serial(mut self, serial: &str) -> Self {
        serial.clone_into(&mut self.serial);
        self
    }

    /// Logical and physical sector size, in bytes.
    #[must_use]
    pub fn sectors(mut self, logical_bytes: u32, physical_bytes: u32) -> Self {
        (self.logical_bytes, self.physical_bytes) = (logical_bytes, physical_bytes);
        self
    }

    /// Revolutions a minute that SATA and SCSI disks tell; 1 means no moving parts, 0 that it is not told.
    #[must_use]
    pub fn rotation(mut self, rpm: u16) -> Self {
        self.rotation_rpm = rpm;
        self
    }

    /// Place in the firmware's boot order.
    #[must_use]
    pub fn boot(mut self, index: u32) -> Self {
        self.boot_index = Some(index);
        self
    }

    /// Records every write from the start of the machine, for [`replay`].
    #[must_use]
    pub fn recorded(mut self) -> Self {
        self.recorded = true;
        self
    }

    /// Is there, but not plugged in, when the machine starts.
    #[must_use]
    pub fn unplugged(mut self) -> Self {
        self.plugged = false;
        self
    }

    /// Name, and the node that the guest's device uses.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the guest sees it.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Size at the start, in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The image file.
    pub fn image(&self) -> PathBuf {
        self.folder.join(format!("{}.{}", self.name, if self.base.is_some() { "qcow2" } else { "img" }))
    }

    /// The write log, where writes are recorded.
    pub fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    /// What the write log starts from: the overlay's base, or a copy that [`Disk::create`] makes of a raw image.
    pub fn log_base(&self) -> PathBuf {
        self.base.clone().unwrap_or_else(|| self.folder.join(format!("{}.base", self.name)))
    }

    /// Whether the guest's device can be removed while the machine runs.
    pub fn pluggable(&self) -> bool {
        matches!(self.kind, Kind::Nvme | Kind::Scsi | Kind::Usb)
    }

    /// Makes the files that are missing; an image that exists is kept. A recorded disk gets an empty log, and what the
    /// log starts from. An overlay that was written before cannot be recorded: nothing holds what its log would start from.
    pub fn create(&self) -> Result<()> {
        self.check()?;
        self.make_folder()?;
        let image = self.image();
        let fresh = !image.exists();
        if let Some(base) = &self.base {
            ensure!(fresh || !self.recorded, "{} was used before, so its writes cannot be recorded", image.display());
            if fresh {
                overlay::Overlay { base, size_bytes: self.size_bytes }.write(&image, &[])?;
            }
        } else if fresh {
            sparse(&image, self.size_bytes)?;
        }
        if self.recorded {
            sparse(&self.log(), LOG_BYTES)?;
            if self.base.is_none() {
                replay::copy_sparse(&image, &self.log_base())?;
            }
        }
        Ok(())
    }

    /// Makes the folder of its files.
    pub(crate) fn make_folder(&self) -> Result<()> {
        std::fs::create_dir_all(&self.folder).with_context(|| format!("make {}", self.folder.display()))
    }

    fn check(&self) -> Result<()> {
        let name = &self.name;
        let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        ensure!(
            plain && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.len() <= NAME_BYTES_MAX,
            "disk name {name:?} is not 1 to {NAME_BYTES_MAX} of a-z and 0-9, a letter first"
        );
        let printable = self.serial.bytes().all(|b| b.is_ascii_graphic());
        ensure!(
            printable && (1..=SERIAL_BYTES_MAX).contains(&self.serial.len()),
            "disk {name}: serial {:?} is not 1 to {SERIAL_BYTES_MAX} printable bytes",
            self.serial
        );
        let (logical, physical) = (self.logical_bytes, self.physical_bytes);
        let right = |bytes: u32| bytes.is_power_of_two() && (SECTOR_BYTES..=SECTOR_BYTES_MAX).contains(&bytes);
        ensure!(right(logical) && right(physical), "disk {name}: sectors of {logical}/{physical} bytes");
        ensure!(logical <= physical, "disk {name}: logical sector {logical} is larger than physical {physical}");
        ensure!(
            self.kind != Kind::Ahci || logical == SECTOR_BYTES,
            "disk {name}: QEMU's SATA disks have 512-byte sectors"
        );
        let size = self.size_bytes;
        ensure!(size > 0 && size.is_multiple_of(u64::from(logical)), "disk {name}: {size} bytes are not whole sectors");
        ensure!(self.plugged || self.pluggable(), "disk {name}: a {:?} disk cannot be plugged in later", self.kind);
        Ok(())
    }

    /// The node above which errors are switched in.
    fn below_top(&self) -> String {
        let below = match (self.recorded, &self.base) {
            (true, _) => "record",
            (false, Some(_)) => "format",
            (false, None) => "file",
        };
        format!("{}-{below}", self.name)
    }

    /// The `raw` node, as it is opened and reopened, over the node `below`.
    fn top(&self, below: &str) -> Value {
        json!({"driver": "raw", "node-name": format!("{}-top", self.name), "file": below, "discard": "unmap"})
    }

    /// The `throttle` node that the device uses.
    fn throttle(&self) -> Value {
        json!({"driver": "throttle", "node-name": self.name, "throttle-group": self.throttle_group(),
               "file": format!("{}-top", self.name), "discard": "unmap"})
    }

    fn throttle_group(&self) -> String {
        format!("{}-limits", self.name)
    }

    /// The identity of the guest's device, for `device_del` and the event after it.
    pub fn device_id(&self) -> String {
        format!("{}-dev", self.name)
    }

    /// The guest's device, in the form of `-device` and `device_add`. `port` counts SATA disks.
    fn device(&self, port: usize) -> Value {
        let (driver, bus) = match self.kind {
            Kind::Virtio => ("virtio-blk-pci", None),
            Kind::Nvme => ("nvme", Some(format!("{}-port", self.name))),
            Kind::Ahci => ("ide-hd", Some(format!("ide.{port}"))),
            Kind::Scsi => ("scsi-hd", Some("scsi0.0".to_owned())),
            Kind::Usb => ("usb-storage", Some("xhci0.0".to_owned())),
        };
        let mut device = json!({"driver": driver, "id": self.device_id(), "drive": self.name, "serial": self.serial,
            "logical_block_size": self.logical_bytes, "physical_block_size": self.physical_bytes, "write-cache": "on"});
        if let Some(bus) = bus {
            device["bus"] = bus.into();
        }
        if self.kind != Kind::Nvme {
            // A full host disk must not stop the machine: the guest sees the error.
            device["rerror"] = "report".into();
            device["werror"] = "report".into();
        }
        if matches!(self.kind, Kind::Ahci | Kind::Scsi) && self.rotation_rpm != 0 {
            device["rotation_rate"] = self.rotation_rpm.into();
        }
        if let Some(index) = self.boot_index {
            device["bootindex"] = index.into();
        }
        device
    }

    fn nodes(&self) -> Result<Vec<Value>> {
        let name = &self.name;
        let text = |path: PathBuf| -> Result<String> {
            let lossless = path.to_str().map(str::to_owned);
            lossless.with_context(|| format!("path {} is not UTF-8, so QEMU's JSON cannot say it", path.display()))
        };
        // Without locking the host may change bytes below a running guest.
        let mut nodes = vec![json!({"driver": "file", "node-name": format!("{name}-file"), "locking": "off",
            "filename": text(self.image())?, "discard": "unmap"})];
        let mut below = format!("{name}-file");
        if self.base.is_some() {
            let node = format!("{name}-format");
            nodes.push(json!({"driver": "qcow2", "node-name": node, "file": below, "discard": "unmap"}));
            below = node;
        }
        if self.recorded {
            // The log is no promise to anybody, so its flushes are not paid for.
            nodes.push(json!({"driver": "file", "node-name": format!("{name}-log"), "locking": "off",
                "filename": text(self.log())?, "cache": {"no-flush": true}}));
            nodes.push(json!({"driver": "blklogwrites", "node-name": format!("{name}-record"), "file": below,
                "log": format!("{name}-log"), "log-sector-size": self.logical_bytes, "discard": "unmap"}));
        }
        nodes.push(self.top(&self.below_top()));
        nodes.push(self.throttle());
        Ok(nodes)
    }
}

/// QEMU's arguments for all disks of one q35 machine, the controllers they share included.
pub fn arguments(disks: &[Disk]) -> Result<Vec<String>> {
    let mut names = BTreeSet::new();
    for disk in disks {
        disk.check()?;
        ensure!(names.insert(&disk.name), "two disks have the name {}", disk.name);
    }
    let count = |kind| disks.iter().filter(|disk| disk.kind == kind).count();
    ensure!(count(Kind::Ahci) <= AHCI_PORTS, "{} SATA disks, but {AHCI_PORTS} ports", count(Kind::Ahci));
    ensure!(count(Kind::Nvme) <= NVME_DISKS_MAX, "{} NVMe disks, at most {NVME_DISKS_MAX}", count(Kind::Nvme));
    let mut arguments = Vec::new();
    let mut push = |option: &str, value: Value| arguments.extend([option.to_owned(), value.to_string()]);
    if count(Kind::Scsi) > 0 {
        push("-device", json!({"driver": "virtio-scsi-pci", "id": "scsi0"}));
    }
    if count(Kind::Usb) > 0 {
        push("-device", json!({"driver": "qemu-xhci", "id": "xhci0"}));
    }
    let (mut sata, mut slots) = (0, 0);
    for disk in disks {
        push("-object", json!({"qom-type": "throttle-group", "id": disk.throttle_group()}));
        for node in disk.nodes()? {
            push("-blockdev", node);
        }
        if disk.kind == Kind::Nvme {
            slots += 1;
            let id = format!("{}-port", disk.name);
            push("-device", json!({"driver": "pcie-root-port", "id": id, "chassis": slots, "slot": slots}));
        }
        if disk.plugged {
            push("-device", disk.device(sata));
        }
        sata += usize::from(disk.kind == Kind::Ahci);
    }
    Ok(arguments)
}

/// An empty file of `size_bytes` that takes no space yet.
fn sparse(path: &Path, size_bytes: u64) -> Result<()> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    file.set_len(size_bytes).with_context(|| format!("extend {} to {size_bytes} bytes", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_descriptions_are_refused_with_a_reason() {
        let folder = Path::new("/nowhere");
        let disk = |name: &str, kind| Disk::new(name, kind, folder, 1 << 20);
        let check = |disks: &[Disk], expected: &str| {
            let error = arguments(disks).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&[disk("", Kind::Scsi)], "disk name");
        check(&[disk("a,b", Kind::Scsi)], "disk name");
        check(&[disk(&"a".repeat(NAME_BYTES_MAX + 1), Kind::Scsi).serial("s")], "disk name");
        check(&[disk("a", Kind::Scsi).serial(&"s".repeat(SERIAL_BYTES_MAX + 1))], "serial");
        check(&[disk("a", Kind::Scsi).sectors(1024, 512)], "larger than physical");
        check(&[disk("a", Kind::Scsi).sectors(512, 2 * SECTOR_BYTES_MAX)], "sectors of");
        check(&[disk("a", Kind::Ahci).sectors(4096, 4096)], "512-byte sectors");
        check(&[disk("a", Kind::Virtio).unplugged()], "cannot be plugged in");
        check(&[Disk::new("a", Kind::Scsi, folder, 1000)], "whole sectors");
        check(&[disk("a", Kind::Scsi), disk("a", Kind::Usb)], "two disks");
        let many = |kind, count| (0..count).map(|i| disk(&format!("d{i}"), kind)).collect::<Vec<_>>();
        check(&many(Kind::Ahci, AHCI_PORTS + 1), "ports");
        check(&many(Kind::Nvme, NVME_DISKS_MAX + 1), "at most");
        assert!(arguments(&many(Kind::Ahci, AHCI_PORTS)).is_ok());
    }

    #[test]
    fn a_used_overlay_is_not_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base");
        sparse(&base, 1 << 20).unwrap();
        let disk = Disk::new("a", Kind::Scsi, folder.path(), 1 << 20).over(&base);
        disk.clone().recorded().create().unwrap();
        disk.create().unwrap();
        assert!(disk.recorded().create().unwrap_err().to_string().contains("used before"));
    }
}

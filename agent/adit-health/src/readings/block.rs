// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A disk as the kernel sees it. What the disk says of itself comes from elsewhere.

/// A disk, with all the paths that lead to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelView {
    /// Stable over reboots: its world-wide name, else model and serial, else the kernel's name.
    pub id: String,
    /// The kernel's names such as "sda": one for each path.
    pub names: Vec<String>,
    /// The maker's name for it.
    pub model: Option<String>,
    /// Its serial.
    pub serial: Option<String>,
    /// The slot of its enclosure.
    pub bay: Option<String>,
    /// Size, MiB.
    pub size_mib: i64,
    /// Whether its medium turns.
    pub rotational: bool,
    /// Whether it may be taken away at any time: USB, cards.
    pub removable: bool,
    /// Whether a hypervisor made it up: it has no health of its own.
    pub is_virtual: bool,
    /// How many paths lead to it: mostly one.
    pub paths: usize,
    /// Paths that the kernel gave up, each with its state: "sda offline".
    pub lost_paths: Vec<String>,
    /// Paths that the kernel tries to bring back: "nvme0n1 resetting".
    pub waiting_paths: Vec<String>,
    /// Commands that failed since boot; `None` where the count says nothing: behind SAT (libata, USB) it also counts
    /// each answer that carries sense data, so anybody who reads SMART raises it.
    pub errors: Option<i64>,
    /// Commands that timed out since boot.
    pub timeouts: Option<i64>,
    /// Its temperature, where a driver shows it.
    pub temperature: Option<DiskTemperature>,
    /// What an eMMC says of its wear.
    pub emmc: Option<EmmcWear>,
}

impl KernelView {
    /// What a person calls it: names, model, serial, bay.
    #[must_use]
    pub fn label(&self) -> String {
        let mut about = vec![self.model.as_deref().unwrap_or("disk").to_owned()];
        about.extend(self.serial.clone());
        about.extend(self.bay.as_ref().map(|bay| format!("bay {bay}")));
        format!("{} ({})", self.names.join(" "), about.join(" "))
    }
}

/// A disk's temperature with the limits that it states, all in tenths of a degree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskTemperature {
    /// Now; `None` when asking could wake the disk.
    pub tenths: Option<i64>,
    /// Where it begins to slow down (NVMe WCTEMP, SCT's highest recommended).
    pub warning: Option<i64>,
    /// Where it may take harm (NVMe CCTEMP, SCT's limit).
    pub critical: Option<i64>,
    /// Whether it raised its own alarm (NVMe critical warning, bit 1).
    pub alarm: bool,
}

/// Wear of an eMMC (JESD84-B51 §7.4, EXT_CSD 267 to 269; Documentation/driver-api/mmc/mmc-dev-attrs.rst).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmmcWear {
    /// The worse of the two life time estimates: 1 is 0–10 % used, 10 is 90–100 %, 11 beyond; 0 not defined.
    pub life: u8,
    /// Spare blocks: 1 normal, 2 80 % used, 3 90 % used; 0 not defined.
    pub spare: u8,
}

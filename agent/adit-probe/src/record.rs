// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Writes down one look at each device, and what the kernel says beside it, as a text that can be sent in: a transcript
//! (adit-device) whose comments hold the kernel's files. Serial numbers and world wide names are replaced, names that
//! people gave are left out, and a sleeping disk is left alone as ever.

use crate::discover::{Device, Kind, Roots, discover};
use crate::look::{Looked, array, mapper, open_array};
use adit_device::ipmi;
use adit_device::pipe::Said;
use adit_device::redact::redact;
use adit_device::standby::{Plan, Standby, StandbyPolicy};
use adit_device::transcript::{Recorded, Recorder, Transcript};
use adit_device::{Attachment, read_disk, read_nvme};
use adit_sys::{BmcDevice, NvmeDevice, ScsiDevice};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// How a line with a file of the kernel begins; path and text follow.
const FILE_MARK: &str = "# file ";
/// Most bytes of a file that are written down.
const FILE_BYTES_MAX: usize = 512;
/// Most files.
const FILES_MAX: usize = 2048;
/// How deep below /sys/block/X and its like files are looked for.
const DEPTH_MAX: usize = 4;

/// Folders of /sys that are written down.
const FOLDERS: [&str; 6] =
    ["block", "class/nvme", "class/hwmon", "class/power_supply", "class/scsi_host", "class/ipmi"];
/// Files of them that tell of health or kind, and nothing of who the machine belongs to.
const FILES: [&str; 34] = [
    "size",
    "ro",
    "removable",
    "rotational",
    "logical_block_size",
    "stat",
    "model",
    "vendor",
    "rev",
    "firmware_rev",
    "state",
    "type",
    "ioerr_cnt",
    "iotmo_cnt",
    "iodone_cnt",
    "life_time",
    "pre_eol_info",
    "runtime_status",
    "suspended",
    "array_state",
    "level",
    "raid_disks",
    "degraded",
    "sync_action",
    "mismatch_cnt",
    "proc_name",
    "name",
    "online",
    "status",
    "capacity",
    "temp1_input",
    "temp1_max",
    "temp1_crit",
    "fan1_input",
];

/// The whole text.
pub(crate) fn record(roots: &Roots, policy: &StandbyPolicy) -> String {
    let found = discover(roots);
    let mut notes = String::new();
    let mut transcript = Transcript::default();
    for device in &found.devices {
        match recorded(device, policy) {
            Ok(device) => transcript.devices.push(device),
            Err(why) => note(&mut notes, &format!("{}: {why}", device.name)),
        }
    }
    redact(&mut transcript);
    files(roots, &mut notes);
    format!("{transcript}{notes}")
}

/// The kernel's files of a recording, path below the root and text.
pub fn kernel_files(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.strip_prefix(FILE_MARK)?.split_once(' '))
}

fn note(notes: &mut String, text: &str) {
    // A comment of one line, whatever a device calls itself.
    let text: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    // Writing to a string does not fail.
    let _written = writeln!(notes, "# {text}");
}

fn recorded(device: &Device, policy: &StandbyPolicy) -> Result<Recorded, String> {
    let opened = |error: adit_device::transport::TransportError| error.to_string();
    let name = device.name.as_str();
    match &device.kind {
        Kind::Scsi { node, at, sight } => {
            let permit = match Standby::default().plan(policy, *sight, 0) {
                Plan::Look(permit) => permit,
                Plan::Fresh | Plan::LetSleep | Plan::LetRest => return Err("sleeps, not asked".to_owned()),
            };
            let mut disk = Recorder::new(ScsiDevice::open(node).map_err(opened)?);
            // What it said is in the recording, a refusal too.
            drop(read_disk(&mut disk, *at, permit));
            Ok(disk.finish(name, if *at == Attachment::Usb { "usb" } else { "scsi" }))
        }
        Kind::Nvme { node } => {
            let mut disk = Recorder::new(NvmeDevice::open(node).map_err(opened)?);
            drop(read_nvme(&mut disk));
            Ok(disk.finish(name, "nvme"))
        }
        Kind::Bmc { node } => {
            let mut bmc = Recorder::new(BmcDevice::open(node).map_err(opened)?);
            drop(ipmi::read(&mut bmc, &mut ipmi::Records::default()));
            Ok(bmc.finish(name, "ipmi"))
        }
        Kind::SmartArray { drives, generic, model } => {
            let mut controller = Recorder::new(open_array(drives, generic.as_deref()).map_err(opened)?);
            drop(array(&mut controller, model));
            Ok(controller.finish(name, "cciss"))
        }
        // No transport of bytes: the readings stand in a note, without the names that people gave.
        Kind::Mapper { node, volumes } => Err(match mapper(node, volumes) {
            Ok(Looked::Said(Said::Volumes(volumes))) => {
                let targets: Vec<_> = volumes.iter().map(|volume| &volume.targets).collect();
                format!("{targets:?}")
            }
            Ok(other) => format!("{other:?}"),
            Err(trouble) => format!("{trouble:?}"),
        }),
    }
}

fn files(roots: &Roots, notes: &mut String) {
    let mut left = FILES_MAX;
    for folder in FOLDERS {
        let Ok(entries) = fs::read_dir(roots.sys.join(folder)) else { continue };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        for name in names.iter().filter(|name| !name.starts_with("loop") && !name.starts_with("ram")) {
            // The entries of a class are links; below them no further ones are followed but `device`.
            walk(&roots.sys.join(folder).join(name), &format!("sys/{folder}/{name}"), DEPTH_MAX, &mut left, notes);
        }
    }
}

fn walk(folder: &Path, shown: &str, depth: usize, left: &mut usize, notes: &mut String) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    for name in names {
        let path = folder.join(&name);
        let Ok(kind) = fs::symlink_metadata(&path).map(|metadata| metadata.file_type()) else { continue };
        // A volume's name and UUID are its owner's.
        if shown.ends_with("/dm") && name == "name" {
            continue;
        }
        if kind.is_file() && FILES.contains(&name.as_str()) && *left > 0 {
            let Ok(text) = fs::read(&path) else { continue };
            let text = String::from_utf8_lossy(&text[..text.len().min(FILE_BYTES_MAX)]).trim().replace('\n', " ");
            *left -= 1;
            note(notes, &format!("file {shown}/{name} {text}"));
        } else if depth > 0 && (kind.is_dir() || (kind.is_symlink() && name == "device")) {
            let deeper = if kind.is_symlink() { depth.min(2) } else { depth };
            walk(&path, &format!("{shown}/{name}"), deeper - 1, left, notes);
        }
    }
}

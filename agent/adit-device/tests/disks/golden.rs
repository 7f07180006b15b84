// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Recorded disks beside what smartctl said of the same transcripts: every field that both tell is equal.

use adit_device::command::LunAddress;
use adit_device::transcript::{Replay, Request, Transcript};
use adit_device::transport::CcissDisk;
use adit_device::{Attachment, DiskReading, Permit, read_disk, read_nvme};

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

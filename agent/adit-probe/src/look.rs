// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One look at one device: open its node, ask, close. Runs on a thread of its own, as any of it may wait for hardware.

use crate::discover::{Device, Kind, Volume};
use adit_device::command::LunAddress;
use adit_device::dm::{self, Mapper as _, TargetStatus};
use adit_device::hpsa;
use adit_device::ipmi;
use adit_device::pipe::{ArrayDisk, Said, Trouble};
use adit_device::transport::{Cciss, CcissDisk, TransportError};
use adit_device::{Permit, PowerState, Visit, read_disk, read_nvme};
use adit_sys::{BmcDevice, DeviceMapper, NvmeDevice, ScsiDevice, SmartArray};
use std::path::{Path, PathBuf};

/// What came of a look.
#[derive(Debug)]
pub enum Looked {
    /// What it said.
    Said(Said),
    /// It was left alone, for this state.
    LeftAlone(PowerState),
    /// It gave nothing.
    Trouble(Trouble),
}

/// What is kept of a device between looks.
#[derive(Debug, Default)]
pub struct Memory {
    /// A BMC's sensor records, and how far its log was read.
    pub records: ipmi::Records,
}

/// Who looks. The real one is [`Nodes`].
pub trait Looker: Send + Sync + 'static {
    /// Looks at a device as far as the permit goes. May take as long as the device likes.
    fn look(&self, device: &Device, permit: Permit, memory: &mut Memory) -> Looked;
}

/// Looks at the device nodes of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Nodes;

impl Looker for Nodes {
    fn look(&self, device: &Device, permit: Permit, memory: &mut Memory) -> Looked {
        let looked = match &device.kind {
            Kind::Scsi { node, at, .. } => ScsiDevice::open(node)
                .map_err(Trouble::from)
                .and_then(|mut disk| read_disk(&mut disk, *at, permit).map_err(Trouble::from))
                .map(visited),
            Kind::Nvme { node } => NvmeDevice::open(node)
                .map_err(Trouble::from)
                .and_then(|mut disk| read_nvme(&mut disk).map_err(Trouble::from))
                .map(|reading| Looked::Said(Said::Disk(Box::new(reading)))),
            Kind::Bmc { node } => BmcDevice::open(node)
                .and_then(|mut bmc| ipmi::read(&mut bmc, &mut memory.records))
                .map(|reading| Looked::Said(Said::Bmc(Box::new(reading))))
                .map_err(Trouble::from),
            Kind::SmartArray { drives, generic, model } => open_array(drives, generic.as_deref())
                .map_err(Trouble::from)
                .and_then(|mut controller| array(&mut controller, model)),
            Kind::Mapper { node, volumes } => mapper(node, volumes),
        };
        looked.unwrap_or_else(Looked::Trouble)
    }
}

fn visited(visit: Visit) -> Looked {
    match visit {
        Visit::Read(reading) => Looked::Said(Said::Disk(reading)),
        Visit::LeftAlone(state) => Looked::LeftAlone(state),
    }
}

/// Reaches the controller through any of its drives, which can be open for reading alone, or else by its own node.
pub(crate) fn open_array(drives: &[PathBuf], generic: Option<&Path>) -> Result<SmartArray, TransportError> {
    let drive = drives.iter().find_map(|node| SmartArray::open(node).ok());
    drive.map_or_else(|| generic.map_or(Err(TransportError::Gone), SmartArray::open_generic), Ok)
}

pub(crate) fn array(controller: &mut impl Cciss, model: &str) -> Result<Looked, Trouble> {
    let reading = hpsa::read(controller, model)?;
    let mut disks = Vec::new();
    for drive in &reading.physical {
        let mut disk = CcissDisk::new(controller, LunAddress(drive.lun));
        // Members of an array follow its power, not their own: one that does not tell its state is awake.
        let mut visit = |permit| read_disk(&mut disk, adit_device::Attachment::Direct, permit);
        let visit = match visit(Permit::IdleToo) {
            Ok(Visit::LeftAlone(PowerState::Unknown)) => visit(Permit::ActiveOnly),
            other => other,
        };
        if let Ok(Visit::Read(reading)) = visit {
            disks.push(ArrayDisk { location: drive.location(), reading: *reading });
        }
    }
    Ok(Looked::Said(Said::Controller(Box::new(reading), disks)))
}

pub(crate) fn mapper(node: &Path, volumes: &[Volume]) -> Result<Looked, Trouble> {
    let mut mapper = DeviceMapper::open(node)?;
    let mut readings = Vec::new();
    for volume in volumes {
        match mapper.status(&volume.name) {
            Ok(targets) => {
                let reading = dm::read(&volume.name, &volume.uuid, volume.suspended, &targets);
                // Linear and striped volumes are as well as what they stand on.
                let healthless = |target: &TargetStatus| matches!(target, TargetStatus::Other(_));
                if reading.suspended || !reading.targets.iter().all(healthless) {
                    readings.push(reading);
                }
            }
            // Removed between the listing and the question.
            Err(TransportError::Gone) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Looked::Said(Said::Volumes(readings)))
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A sector of a disk cannot be read: the kernel counts an error, and the agent tells it for two days.

use adit_hil::Lab;
use adit_hil::disk::Kind;
use adit_hil::disk::fault::{Access, Errno, Failure};
use adit_wire::health::codes::{Check, Quantity, Reason, Verdict};
use anyhow::{Context as _, Result, ensure};
use std::time::Duration;

const DAYS: Duration = Duration::from_secs(3 * 86_400);

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let mut server = lab.start_machine("server", &[("worn", Kind::Scsi)], |parts| {
        parts.put_inside(|inside| inside.debian("busybox", &["bin/busybox"]));
    })?;
    server.run_agent("")?;
    server.well("worn", Check::DiskErrors)?;
    let (block, path) = (100 + lab.below(1000), server.device("worn")?);
    let (disk, qemu) = server.disk("worn")?;
    disk.fail(qemu, &[Failure { access: Access::Read, sectors: Some(block * 8..block * 8 + 8), errno: Errno::Io }])?;
    let read = format!("/bin/busybox dd if={path} of=/dev/null bs=4096 count=1 skip={block}");
    ensure!(server.run_lines(&[&read]).is_err(), "the fault did not bite");
    server.turns("worn", Check::DiskErrors, Verdict::Warning, Reason::IoErrors)?;
    let (disk, qemu) = server.disk("worn")?;
    disk.heal(qemu)?;
    server.run_lines(&[&read])?;
    // All of them are told before days pass: one that is seen later is an error of that day.
    let counted = server.run_lines(&["/bin/busybox cat /sys/block/sda/device/ioerr_cnt"])?.stdout;
    let counted = counted.trim().strip_prefix("0x").context("a count in hexadecimal")?;
    server.reads("worn", Quantity::Errors, i64::from_str_radix(counted, 16)?)?;
    server.clock_forward(DAYS)?;
    server.well("worn", Check::DiskErrors)
}

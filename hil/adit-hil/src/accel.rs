// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which accelerator works here. That /dev/kvm exists, even that a machine can be made with it, proves nothing: nested
//! hypervisors were seen to hang at the first instruction. So KVM is used only after a timed boot said so.

use crate::clock::MachineClock;
use crate::console::Console;
use crate::guest::{self, Guest, Spec};
use crate::machine::{self, Accel};
use crate::running;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// What chooses: `auto`, `tcg` or `kvm`.
pub const VARIABLE: &str = "ADIT_HIL_ACCEL";
/// How long the smallest machine may take to its first process under KVM: it needs well below 1 s where KVM works.
const SMOKE_DEADLINE: Duration = Duration::from_secs(5);

/// The accelerator for this machine; the verdict of the timed boot is kept beside the guest until the next boot of the host.
///
/// # Errors
/// When the variable holds another word.
pub fn choose(guest: &Guest) -> Result<Accel> {
    match std::env::var(VARIABLE).as_deref() {
        Ok("tcg") => Ok(Accel::Tcg),
        Ok("kvm") => Ok(Accel::Kvm),
        Ok("auto") | Err(_) => probed(guest),
        Ok(other) => bail!("{VARIABLE} is {other:?}; write auto, tcg or kvm"),
    }
}

fn probed(guest: &Guest) -> Result<Accel> {
    if !Path::new("/dev/kvm").exists() {
        return Ok(Accel::Tcg);
    }
    let kept = guest.folder().join("accel");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if let Ok(text) = fs::read_to_string(&kept)
        && let Some(verdict) = text.strip_prefix(boot.trim())
    {
        return Ok(if verdict.trim() == "kvm" { Accel::Kvm } else { Accel::Tcg });
    }
    let accel = if smoke(guest).is_ok() { Accel::Kvm } else { Accel::Tcg };
    fs::write(&kept, format!("{} {}", boot.trim(), accel.word())).context("keep the accelerator's verdict")?;
    Ok(accel)
}

/// Boots an empty machine under KVM and insists on its word in time.
fn smoke(guest: &Guest) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("adit-kvm-").tempdir().context("a directory for the smoke boot")?;
    let listener = UnixListener::bind(dir.path().join("console")).context("listen for the smoke boot")?;
    let initramfs = guest.initramfs(&Spec::default())?;
    let mut process = machine::qemu()
        .args(["-accel", "kvm", "-machine", guest::MACHINE, "-cpu", "host", "-m", "128M", "-nodefaults"])
        .args(["-no-user-config", "-display", "none", "-append"])
        .arg(format!("{} {}", guest::COMMAND_LINE, adit_guest::EMPTY_OPTION))
        .arg("-kernel")
        .arg(guest.vmlinux())
        .arg("-initrd")
        .arg(initramfs)
        .arg("-chardev")
        .arg(format!("socket,id=console,path={}", dir.path().join("console").display()))
        .args(["-serial", "chardev:console"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start QEMU")?;
    let result = running::accept(&listener, &mut process, SMOKE_DEADLINE).and_then(|stream| {
        let console = Console::read(stream, &dir.path().join("serial.log"))?;
        console.expect(adit_guest::EMPTY, &MachineClock::wall(), SMOKE_DEADLINE)
    });
    let _ended = process.kill().and_then(|()| process.wait()).is_ok();
    result.map(drop)
}

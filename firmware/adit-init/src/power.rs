// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The power button, and how the machine ends: programs asked to stop, file systems unmounted, then off or again.

use anyhow::Result;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

/// How long programs have to stop: the agent finishes a commit and closes its store.
const PROGRAMS_GRACE: Duration = Duration::from_secs(60);
/// How long they have once they were killed.
const KILLED_GRACE: Duration = Duration::from_secs(5);
/// Size of an event of the kernel's input layer: two words of time, type, code, value.
const EVENT_BYTES: usize = 24;
/// Type EV_KEY, code KEY_POWER, value 1 (pressed), as they stand in memory.
const POWER_PRESSED: [u8; 8] = [1, 0, 116, 0, 1, 0, 0, 0];

/// How a machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Off.
    Off,
    /// Through the firmware, never by loading a kernel: what boots must be shown to boot cold.
    Restart,
}

/// Tells of each press of a power button.
pub(crate) fn watch_button<T: Send + Clone + 'static>(pressed: &Sender<T>, event: &T) {
    let Ok(inputs) = fs::read_dir("/sys/class/input") else { return };
    for input in inputs.flatten() {
        let name = fs::read_to_string(input.path().join("device/name")).unwrap_or_default();
        let node = input.file_name();
        if name.trim() != "Power Button" || !node.to_string_lossy().starts_with("event") {
            continue;
        }
        let (pressed, event) = (pressed.clone(), event.clone());
        let watch = move || {
            let Ok(mut file) = File::open(Path::new("/dev/input").join(node)) else { return };
            let mut read = [0; EVENT_BYTES];
            while file.read_exact(&mut read).is_ok() {
                if read.ends_with(&POWER_PRESSED) && pressed.send(event.clone()).is_err() {
                    return;
                }
            }
        };
        drop(thread::Builder::new().name("button".to_owned()).spawn(watch));
    }
}

/// Ends every program but this one: asked first, killed when that takes too long.
pub(crate) fn stop_programs() {
    for (signal, grace) in [(Signal::SIGTERM, PROGRAMS_GRACE), (Signal::SIGKILL, KILLED_GRACE)] {
        // To everybody but this process; there may be nobody.
        let _nobody = kill(Pid::from_raw(-1), signal);
        let until = Instant::now() + grace;
        while Instant::now() < until {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::ECHILD) => return,
                Ok(WaitStatus::StillAlive) => thread::sleep(Duration::from_millis(20)),
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// Unmounts what lies on devices; what cannot be unmounted is made read-only.
pub(crate) fn unmount() -> Result<()> {
    nix::unistd::sync();
    let mounts = fs::read_to_string("/proc/mounts")?;
    for mounted in mounts.lines().rev().filter(|line| line.starts_with("/dev/")) {
        let target = mounted.split(' ').nth(1).unwrap_or_default();
        if umount2(target, MntFlags::empty()).is_err() {
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(None::<&str>, target, None::<&str>, flags, None::<&str>)?;
        }
    }
    nix::unistd::sync();
    Ok(())
}

/// Ends the machine now.
pub(crate) fn now(how: Ending) -> ! {
    let mode = match how {
        Ending::Off => RebootMode::RB_POWER_OFF,
        Ending::Restart => RebootMode::RB_AUTOBOOT,
    };
    loop {
        let Err(error) = reboot(mode);
        log::error!("end the machine: {error}");
        thread::sleep(Duration::from_secs(1));
    }
}

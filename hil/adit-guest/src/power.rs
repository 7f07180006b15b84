// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How a machine ends: in order, at once, or by a panic; and the power button that asks for the first. The button is an
//! input device whose name is "Power Button"; without the modules for it there is none.
#![expect(clippy::print_stdout, reason = "the console of the machine is its standard output")]

use crate::processes::{Processes, signal};
use crate::start::complain;
use adit_guest::words::Ending;
use nix::mount::{MntFlags, umount2};
use nix::sys::reboot::{RebootMode, reboot};
use std::fs::{self, File};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long programs have to end after they were asked to.
const PROGRAMS_GRACE: Duration = Duration::from_secs(5);
/// Size of an event of the kernel's input layer: two words of time, type, code, value.
const EVENT_BYTES: usize = 24;
/// Type EV_KEY, code KEY_POWER, value 1 (pressed), as they stand in memory.
const POWER_PRESSED: [u8; 8] = [1, 0, 116, 0, 1, 0, 0, 0];

/// What the power button does, and what it did.
#[derive(Debug)]
pub(crate) struct Power {
    processes: Arc<Processes>,
    powers_off: AtomicBool,
    presses: AtomicU32,
}

impl Power {
    pub(crate) fn new(processes: Arc<Processes>) -> Self {
        Self { processes, powers_off: AtomicBool::new(true), presses: AtomicU32::new(0) }
    }

    /// Chooses what the button does; how often it was pressed until now.
    pub(crate) fn button(&self, powers_off: bool) -> u32 {
        self.powers_off.store(powers_off, Ordering::SeqCst);
        self.presses.load(Ordering::SeqCst)
    }

    /// Ends the machine.
    pub(crate) fn end(&self, how: Ending) {
        match how {
            Ending::PowerOff => self.end_in_order(RebootMode::RB_POWER_OFF),
            Ending::Reboot => self.end_in_order(RebootMode::RB_AUTOBOOT),
            Ending::RebootNow => now(RebootMode::RB_AUTOBOOT),
            Ending::Crash => {
                complain("allow a crash", fs::write("/proc/sys/kernel/sysrq", "1"));
                complain("crash", fs::write("/proc/sysrq-trigger", "c"));
            }
        }
    }

    fn end_in_order(&self, mode: RebootMode) {
        println!("adit-guest: ending");
        // To everybody but this process; there may be nobody.
        drop(signal(-1, 15));
        self.processes.wait_for_all(Instant::now() + PROGRAMS_GRACE);
        drop(signal(-1, 9));
        self.processes.wait_for_all(Instant::now() + PROGRAMS_GRACE);
        nix::unistd::sync();
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        for mounted in mounts.lines().rev().filter(|line| line.starts_with("/dev/")) {
            let target = mounted.split(' ').nth(1).unwrap_or_default();
            let unmounted = umount2(target, MntFlags::empty()).map_err(io::Error::from);
            complain(&format!("unmount {target}"), unmounted);
        }
        nix::unistd::sync();
        now(mode);
    }
}

/// Ends the machine at once.
pub(crate) fn now(mode: RebootMode) {
    let Err(error) = reboot(mode);
    println!("adit-guest: end the machine: {error}");
}

/// Watches every power button there is, each on a thread of its own.
pub(crate) fn watch_button(power: &Arc<Power>) {
    let Ok(inputs) = fs::read_dir("/sys/class/input") else { return };
    for input in inputs.flatten() {
        let name = fs::read_to_string(input.path().join("device/name")).unwrap_or_default();
        let file = input.file_name();
        if name.trim() != "Power Button" || !file.to_string_lossy().starts_with("event") {
            continue;
        }
        let power = Arc::clone(power);
        thread::spawn(move || {
            let watched = File::open(std::path::Path::new("/dev/input").join(file)).and_then(|mut file| {
                let mut event = [0; EVENT_BYTES];
                loop {
                    file.read_exact(&mut event)?;
                    if event.ends_with(&POWER_PRESSED) {
                        power.presses.fetch_add(1, Ordering::SeqCst);
                        if power.powers_off.load(Ordering::SeqCst) {
                            power.end(Ending::PowerOff);
                        }
                    }
                }
            });
            complain("watch the power button", watched);
        });
    }
}

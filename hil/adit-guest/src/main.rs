// SPDX-License-Identifier: Apache-2.0 OR MIT
//! PID 1 of a harness machine: mounts, loads modules, brings the network up, then does what the harness asks. Never part
//! of an appliance. It has no runtime and no configuration; what it cannot do at the start it says on the console and goes
//! on, because a machine that answers can be asked what is wrong.
#![expect(clippy::print_stdout, reason = "the console of the machine is its standard output")]

mod disks;
mod files;
mod network;
mod power;
mod processes;
mod serve;
mod start;

use adit_guest::{EMPTY, EMPTY_OPTION, READY};
use std::sync::Arc;

fn main() {
    start::mounts();
    let options = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if options.split_ascii_whitespace().any(|word| word == EMPTY_OPTION) {
        println!("{EMPTY} {}", start::uptime());
        power::now(nix::sys::reboot::RebootMode::RB_POWER_OFF);
    }
    network::defaults();
    start::modules();
    network::up();
    let processes = Arc::new(processes::Processes::default());
    start::device_reader(&processes);
    let power = Arc::new(power::Power::new(Arc::clone(&processes)));
    power::watch_button(&power);
    // The line is for people and for machines without a hand; with one, the first answer says the same.
    println!("{READY} {}", start::uptime());
    serve::serve(&processes, &power);
}

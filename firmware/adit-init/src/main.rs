// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The first process of the appliance. It starts the machine so that it can be reached before it is complete, guards the
//! agent, decides whether a version is good, and goes back when it is not. It has no runtime; its threads are few and named.
//!
//! Whatever fails is told and the start goes on: a box in a cellar that answers can be helped, one that stands still cannot.

mod appliance;
mod block;
mod boot;
mod children;
mod clock;
mod data;
mod disks;
mod gate;
mod image;
mod lock;
mod logger;
mod member;
mod modules;
mod netlink;
mod network;
mod orders;
mod panel;
mod pcp;
mod power;
mod preseed;
mod reset;
mod services;
mod slots;
mod sntp;
mod start;
mod steady;
mod update;
mod watchdog;
mod words;

fn main() {
    if std::process::id() != 1 {
        // Mounting, loading and resetting is for nobody else.
        panel::say("adit-init is the first process of an appliance; it does nothing else");
        return;
    }
    let mut machine = boot::boot();
    steady::run(&mut machine);
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A program that feeds the hardware watchdog dies: the machine is reset, comes back and says why. Then somebody presses the power
//! button: the machine ends in order, and its disk needs no repair.

use adit_guest::words::Program;
use adit_hil::Lab;
use adit_hil::guest::BUTTON_MODULES;
use adit_hil::machine::Watchdog;
use adit_wire::health::codes::{Check, Reason, Verdict};
use anyhow::{Result, ensure};
use std::time::Duration;

/// How long the watchdog waits for food, seconds.
const HUNGER_S: u64 = 10;
const SIGKILL: i32 = 9;

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let mut cellar = lab
        .new_box("cellar", &home)
        .with(|parts| {
            parts.watchdog = Some(Watchdog::I6300esb);
            parts.inside = parts
                .inside
                .clone()
                .modules(&["i6300esb"])
                .modules(&BUTTON_MODULES)
                .debian("busybox", &["bin/busybox"]);
        })
        .start()?;
    let web = lab.source("web1")?;
    web.pair(&mut cellar)?;
    web.backup()?;

    let hunger = HUNGER_S.to_string();
    let feeder = Program::new(&["/bin/busybox", "watchdog", "-F", "-T", &hunger, "-t", "1", "/dev/watchdog0"]);
    let feeder = cellar.hand()?.spawn(feeder, "/run/feeder.log")?;
    cellar.let_pass(Duration::from_secs(2 * HUNGER_S))?;
    ensure!(!cellar.qmp()?.saw("WATCHDOG")?, "a fed watchdog bit");
    cellar.hand()?.signal(i32::try_from(feeder)?, SIGKILL)?;
    cellar.qmp()?.wait_event("WATCHDOG", Duration::from_secs(60), |_| true)?;
    cellar.comes_back()?;
    cellar.come_up()?;
    cellar.turns("host", Check::Boot, Verdict::Warning, Reason::WatchdogReset)?;
    web.restore_equals()?;

    cellar.press_power()?;
    cellar.boot()?;
    cellar.come_up()?;
    let log = cellar.hand()?.kernel_log()?;
    ensure!(!log.contains("recovery complete"), "the button did not end the machine in order");
    web.restore_equals()
}

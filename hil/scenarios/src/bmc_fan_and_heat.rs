// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A server's BMC reports a fan that stands still, a processor too hot and a power supply that failed; then all is repaired.

use adit_hil::Lab;
use adit_hil::bmc::Bmc;
use adit_wire::health::codes::{Check, Reason, Verdict};
use anyhow::Result;
use std::time::Duration;

/// A supply must have failed for five minutes: some waver when they are plugged in.
const SUPPLY_LASTS: Duration = Duration::from_secs(300);
const CHECKS: [(&str, Check); 3] = [("FAN1", Check::Fan), ("BMC", Check::Temperature), ("PSU1", Check::PowerSupply)];

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let bmc = Bmc::start(&lab.socket("bmc"))?;
    let mut server = lab.start_machine("server", &[], |parts| {
        parts.more = bmc.arguments();
        parts.put_inside(|inside| inside.modules(&["ipmi_si", "ipmi_devintf"]));
    })?;
    server.run_agent("")?;
    CHECKS.iter().try_for_each(|(of, check)| server.well(of, *check))?;
    bmc.set("FAN1", 0)?;
    bmc.set("CPU Temp", 93)?;
    bmc.set_states("PSU1", 0b11)?;
    server.turns("FAN1", Check::Fan, Verdict::Critical, Reason::FanStopped)?;
    server.turns("BMC", Check::Temperature, Verdict::Critical, Reason::TooHot)?;
    server.clock_forward(SUPPLY_LASTS)?;
    server.turns("PSU1", Check::PowerSupply, Verdict::Warning, Reason::SupplyFailed)?;
    bmc.set("FAN1", 3000)?;
    bmc.set("CPU Temp", 41)?;
    bmc.set_states("PSU1", 0b1)?;
    CHECKS.iter().try_for_each(|(of, check)| server.well(of, *check))
}

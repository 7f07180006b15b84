// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The mains fail and the battery ends; a second supply is not heard any more. Both are told, and both come back.

use adit_hil::Lab;
use adit_hil::ups::Ups;
use adit_wire::health::codes::{Check, Reason, Verdict};
use anyhow::Result;
use std::time::Duration;

/// Longer than what is forgiven: half a minute on battery, three quarters of one without a word.
const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let (desk, mut supply, mut other) = (home.host("desk")?, Ups::new(), Ups::new());
    desk.expose(3493, supply.serve()?)?;
    desk.expose(3494, other.serve()?)?;
    let at = desk.address()?;
    let mut server = lab.start_machine("server", &[], |parts| parts.lans.push(home.clone()))?;
    server.run_agent(&format!("[health]\nups = [\"ups@[{at}]:3493\", \"ups@[{at}]:3494\"]\n"))?;
    server.well(":3493", Check::PowerLine)?;
    server.well(":3494", Check::UpsAnswers)?;
    supply.change(|condition| (condition.on_line, condition.low) = (false, true));
    other.change(|condition| condition.stale = true);
    server.turns(":3493", Check::Battery, Verdict::Critical, Reason::BatteryLow)?;
    server.clock_forward(MINUTE)?;
    server.turns(":3493", Check::PowerLine, Verdict::Warning, Reason::OnBattery)?;
    server.turns(":3494", Check::UpsAnswers, Verdict::Warning, Reason::UpsSilent)?;
    supply.change(|condition| (condition.on_line, condition.low) = (true, false));
    other.change(|condition| condition.stale = false);
    for (of, check) in [(":3493", Check::PowerLine), (":3493", Check::Battery), (":3494", Check::UpsAnswers)] {
        server.well(of, check)?;
    }
    Ok(())
}

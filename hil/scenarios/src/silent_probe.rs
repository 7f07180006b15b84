// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The device helper hangs: the agent says so, what the disk said last stands with its age, and all is well when it goes on.

use adit_guest::words::End;
use adit_hil::disk::Kind;
use adit_hil::{Lab, Pace};
use adit_wire::health::codes::{Check, Quantity, Reason, Verdict};
use anyhow::{Context as _, Result, ensure};
use std::time::Duration;

const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;
const MINUTE: Duration = Duration::from_secs(60);
/// How long the helper hangs: two hours.
const SILENT_MS: u32 = 7_200_000;

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let mut server = lab.start_machine("server", &[("flash", Kind::Nvme)], |parts| {
        parts.pace = Pace::Warp;
        parts.put_inside(|inside| inside.debian("busybox", &["bin/busybox"]));
    })?;
    let agent = server.run_agent("")?;
    server.well("agent", Check::AgentSelf)?;
    server.reads("flash", Quantity::AgeMinutes, 0)?;
    let found = server.run(&["/bin/busybox", "pidof", "adit-probe"], MINUTE)?.succeeded()?;
    let helper = found.stdout.trim().parse().context("the helper's process number")?;

    server.hand()?.signal(helper, SIGSTOP)?;
    server.turns("agent", Check::AgentSelf, Verdict::Warning, Reason::ProbeSilent)?;
    ensure!(server.hand()?.wait(agent, SILENT_MS)? == End::Running, "the agent ended: {}", server.agent_log()?);
    let report = server.health()?;
    let disk = report.components.iter().find(|component| component.id.contains("nvme")).context("the disk")?;
    let told = |of: Quantity| disk.readings.iter().find(|(quantity, _)| *quantity == of).and_then(|(_, value)| *value);
    ensure!(disk.verdict() == Verdict::Ok && told(Quantity::SparePercent).is_some(), "it is forgotten: {disk:?}");
    // A report tells an age anew when it has grown by an hour.
    let age = told(Quantity::AgeMinutes);
    ensure!(age.is_some_and(|minutes| minutes >= 60), "after two hours what the disk said is {age:?} min old");

    server.hand()?.signal(helper, SIGCONT)?;
    server.well("agent", Check::AgentSelf)?;
    server.reads("flash", Quantity::AgeMinutes, 0)
}

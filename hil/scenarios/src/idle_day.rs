// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A day in which nothing happens, on one machine with skipped idle time: the agent's memory stays where it was.

use adit_guest::words::End;
use adit_hil::{Lab, Pace, Parts};
use anyhow::{Context as _, Result, ensure};

const DAY_MS: u32 = 86_400_000;
/// Looks at the agent's memory in a day.
const LOOKS: u32 = 6;
/// How much more memory the agent may use at the end of the day than in its middle, KiB.
const GROWTH_KIB_MAX: u64 = 256;

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let mut parts = Parts::new("server");
    parts.pace = Pace::Warp;
    parts.inside = parts.inside.ours(&["aditd"]);
    let mut server = lab.machine(parts)?;
    server.boot()?;
    let agent = server.run_agent("")?;
    let mut used = Vec::new();
    for _ in 0..LOOKS {
        ensure!(
            server.hand()?.wait(agent, DAY_MS / LOOKS)? == End::Running,
            "the agent ended: {}",
            server.agent_log()?
        );
        let status = server.read_text(&format!("/proc/{agent}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        used.push(line.trim().trim_end_matches("kB").trim().parse::<u64>()?);
    }
    let passed_ms = server.hand()?.vitals()?.uptime_ms;
    lab.tell(&format!("{} s passed; the agent used {used:?} KiB", passed_ms / 1000))?;
    ensure!(passed_ms >= u64::from(DAY_MS), "only {passed_ms} ms passed");
    let (middle, end) = (used[used.len() / 2], used[used.len() - 1]);
    ensure!(end <= middle + GROWTH_KIB_MAX, "the agent grew from {middle} to {end} KiB");
    Ok(())
}

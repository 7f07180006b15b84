// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A day in which nothing happens, on one machine with skipped idle time: the agent's memory stays where it was.

use adit_guest::words::End;
use adit_hil::agent::AGENT_PORT;
use adit_hil::{Lab, Pace, Parts};
use anyhow::{Context as _, Result, ensure};

const DAY_MS: u32 = 86_400_000;
/// How much more memory the agent may use at the end of the day than after its first hour, KiB.
const GROWTH_KIB_MAX: u64 = 1 << 10;

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let mut parts = Parts::new("server");
    parts.pace = Pace::Warp;
    parts.inside = parts.inside.ours(&["aditd"]);
    let mut server = lab.machine(parts)?;
    server.boot()?;
    let config = format!("state = \"/run/adit\"\nconsole = \"{}\"\n", server.virtio_port(AGENT_PORT)?);
    server.hand()?.write_file("/etc/aditd.toml", 0o644, config.as_bytes())?;
    let agent = server.start_agent("/etc/aditd.toml")?;
    let mut used = Vec::new();
    for wait_ms in [DAY_MS / 24, DAY_MS / 24 * 23] {
        ensure!(server.hand()?.wait(agent, wait_ms)? == End::Running, "the agent ended: {}", server.agent_log()?);
        let status = server.read_text(&format!("/proc/{agent}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        used.push(line.trim().trim_end_matches("kB").trim().parse::<u64>()?);
    }
    let passed_ms = server.hand()?.vitals()?.uptime_ms;
    lab.tell(&format!("{} s passed; the agent used {used:?} KiB", passed_ms / 1000))?;
    ensure!(passed_ms >= u64::from(DAY_MS), "only {passed_ms} ms passed");
    ensure!(used[1] <= used[0] + GROWTH_KIB_MAX, "the agent grew from {} to {} KiB", used[0], used[1]);
    Ok(())
}

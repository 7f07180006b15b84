// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The smallest virtual machines. Debian's kernel keeps 68 MiB for itself, so with 64 MiB no program of ours ever runs: the
//! kernel's own words must reach the console. With 112 MiB the agent answers and stays small.

use adit_hil::running::BOOT_DEADLINE;
use adit_hil::{Lab, Parts};
use anyhow::{Context as _, Result, ensure};

/// Too little for the kernel.
const TOO_SMALL_MIB: u32 = 64;
/// Enough for the kernel and an agent.
const SMALL_MIB: u32 = 112;
/// The most that the agent may use there, KiB.
const AGENT_KIB_MAX: u64 = 16 << 10;

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let mut parts = Parts::new("toosmall");
    parts.memory_mib = TOO_SMALL_MIB;
    parts.words.push("earlyprintk=serial,ttyS0".to_owned());
    let mut machine = lab.machine(parts)?;
    for text in ["Kernel panic", "Call Trace", "BUG:", "Oops"] {
        machine.expects(text);
    }
    machine.switch_on(&[])?;
    machine.expect("Kernel panic", BOOT_DEADLINE)?;
    drop(machine);

    let mut parts = Parts::new("small");
    parts.memory_mib = SMALL_MIB;
    parts.inside = parts.inside.ours(&["aditd"]);
    let mut machine = lab.machine(parts)?;
    machine.boot()?;
    let agent = machine.run_agent("")?;
    let status = machine.read_text(&format!("/proc/{agent}/status"))?;
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    let most: u64 = most.trim().trim_end_matches("kB").trim().parse()?;
    let vitals = machine.hand()?.vitals()?;
    lab.tell(&format!("the agent used {most} KiB; {vitals:?}"))?;
    ensure!(most <= AGENT_KIB_MAX, "the agent used {most} KiB");
    Ok(())
}

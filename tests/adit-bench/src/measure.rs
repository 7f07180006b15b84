// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a command costs. This program starts itself as a helper that has the command as its only child, so that the
//! kernel's own account of children gives exact processor time and exact peak memory of that command.

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// The argument that turns this program into the helper.
pub(crate) const HELPER: &str = "--measure";
/// Exit codes that mean done: 0, and borg's and adit's "some files were skipped".
const CLOCK_TICKS_PER_S: f64 = 100.0;

/// What it cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    /// Seconds on the clock.
    pub(crate) wall_s: f64,
    /// Seconds of processor time, user and system, of all processes that took part.
    pub(crate) cpu_s: f64,
    /// Peak resident memory, of all processes that took part together.
    pub(crate) memory_bytes: u64,
}

/// Runs a command and tells its cost.
pub(crate) fn cost(command: &Command) -> Result<Cost> {
    let exe = std::env::current_exe().context("find this program")?;
    let mut helper = Command::new(exe);
    helper.arg(HELPER).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => helper.env(name, value),
            None => helper.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        helper.current_dir(dir);
    }
    let output =
        helper.stdin(Stdio::null()).stderr(Stdio::piped()).output().with_context(|| format!("run {command:?}"))?;
    let report: Value = serde_json::from_slice(&output.stdout).context("read the helper's report")?;
    ensure!(
        report["code"].as_i64() == Some(0),
        "{command:?} ended with {}: {}",
        report["code"],
        String::from_utf8_lossy(&output.stderr)
    );
    let number = |name: &str| report[name].as_f64().with_context(|| format!("no {name} in the helper's report"));
    Ok(Cost {
        wall_s: number("wall_s")?,
        cpu_s: number("cpu_s")?,
        memory_bytes: report["memory_bytes"].as_u64().unwrap_or(0),
    })
}

/// The helper: runs the command, reports on standard output.
pub(crate) fn helper(arguments: &[OsString]) -> ExitCode {
    let Some((program, rest)) = arguments.split_first() else { return ExitCode::FAILURE };
    let start = Instant::now();
    let status = Command::new(program).args(rest).stdin(Stdio::null()).stdout(Stdio::null()).status();
    let wall_s = start.elapsed().as_secs_f64();
    let (Ok(status), Ok(usage)) = (status, getrusage(UsageWho::RUSAGE_CHILDREN)) else { return ExitCode::FAILURE };
    let cpu = [usage.user_time(), usage.system_time()].map(|time| {
        Value::from(time.tv_sec()).as_f64().unwrap_or(0.0) + Value::from(time.tv_usec()).as_f64().unwrap_or(0.0) / 1e6
    });
    // The kernel counts in KiB.
    let memory_bytes = usage.max_rss() * 1024;
    println!(
        "{}",
        json!({ "code": status.code(), "wall_s": wall_s, "cpu_s": cpu[0] + cpu[1], "memory_bytes": memory_bytes })
    );
    ExitCode::SUCCESS
}

/// Watches a process that runs beside, such as the box.
#[derive(Debug)]
pub(crate) struct Beside {
    process: u32,
    cpu_before_s: f64,
}

impl Beside {
    /// Starts to count; forgets the peak of before.
    pub(crate) fn watch(process: u32) -> Result<Self> {
        fs::write(format!("/proc/{process}/clear_refs"), "5").context("forget the peak of memory")?;
        Ok(Self { process, cpu_before_s: cpu_s(process)? })
    }

    /// Adds what it cost meanwhile.
    pub(crate) fn add_to(&self, cost: Cost) -> Result<Cost> {
        let cpu_s = cpu_s(self.process)? - self.cpu_before_s;
        let status = fs::read_to_string(format!("/proc/{}/status", self.process)).context("read the peak of memory")?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let peak_kib: u64 =
            peak.split_whitespace().next().and_then(|text| text.parse().ok()).context("no number in VmHWM")?;
        Ok(Cost { wall_s: cost.wall_s, cpu_s: cost.cpu_s + cpu_s, memory_bytes: cost.memory_bytes + peak_kib * 1024 })
    }
}

fn cpu_s(process: u32) -> Result<f64> {
    let stat =
        fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat")).context("read processor time")?;
    // Fields 14 and 15, counted behind the name, which may hold spaces.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = [11, 12].map(|index| fields.get(index).and_then(|text| text.parse::<f64>().ok()));
    let [Some(user), Some(system)] = ticks else { anyhow::bail!("/proc/{process}/stat has another form") };
    Ok((user + system) / CLOCK_TICKS_PER_S)
}

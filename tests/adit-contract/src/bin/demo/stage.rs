// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The stage of the demo: headings, commands as a person would type them, the programs behind them. Whatever was started
//! here is stopped when the demo ends, by its own id, also when a signal ends it.

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV6, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long the box may take to answer on its port.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Columns before the text of a heading.
const EXIT_BY_SIGNAL: i32 = 130;

/// Processes that run now.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Where the demo's files lie, and the number of the step it is at.
#[derive(Debug)]
pub(crate) struct Stage {
    dir: PathBuf,
    step: u32,
}

/// Whether what a program says on standard error is kept from the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hush {
    Yes,
    No,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Its exit code.
    pub(crate) code: i32,
    /// What it printed on standard output.
    pub(crate) stdout: String,
}

impl Outcome {
    /// The JSON object that it printed.
    pub(crate) fn json(&self) -> Result<Value> {
        let line = self.stdout.trim().lines().last().unwrap_or_default();
        serde_json::from_str(line).with_context(|| format!("no JSON in {line:?}"))
    }
}

impl Stage {
    /// A stage in an empty directory.
    pub(crate) fn new(dir: PathBuf) -> Result<Self> {
        if dir.exists() {
            std::fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
        }
        std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        Ok(Self { dir, step: 0 })
    }

    /// A path on the stage.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Opens the next step.
    pub(crate) fn step(&mut self, title: &str) {
        self.step += 1;
        say(&format!("\n{:>2}  {title}", self.step));
    }

    /// Runs a program in the stage's directory, its progress on the terminal, and insists that it ends well.
    pub(crate) fn run(&self, name: &str, arguments: &[&str]) -> Result<Outcome> {
        let outcome = self.run_any(name, arguments)?;
        if outcome.code != 0 {
            bail!("{name} ended with {}", outcome.code);
        }
        Ok(outcome)
    }

    /// Runs a program, whatever its exit code.
    pub(crate) fn run_any(&self, name: &str, arguments: &[&str]) -> Result<Outcome> {
        self.run_with(name, arguments, Hush::No)
    }

    /// Runs a program without what it says to people, and insists that it ends well.
    pub(crate) fn run_hushed(&self, name: &str, arguments: &[&str]) -> Result<Outcome> {
        let outcome = self.run_with(name, arguments, Hush::Yes)?;
        if outcome.code != 0 {
            bail!("{name} ended with {}", outcome.code);
        }
        Ok(outcome)
    }

    fn run_with(&self, name: &str, arguments: &[&str], hush: Hush) -> Result<Outcome> {
        say(&format!("    $ {name} {}", shown(arguments)));
        let mut command = Command::new(beside(name)?);
        command.args(arguments).current_dir(&self.dir).stdin(Stdio::null()).stdout(Stdio::piped());
        if hush == Hush::Yes {
            command.stderr(Stdio::null());
        }
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        let _running = Running::note(child.id());
        let mut stdout = String::new();
        if let Some(mut pipe) = child.stdout.take() {
            pipe.read_to_string(&mut stdout).with_context(|| format!("read from {name}"))?;
        }
        let status = child.wait().with_context(|| format!("wait for {name}"))?;
        Ok(Outcome { code: status.code().unwrap_or(-1), stdout })
    }

    /// Starts the box; its log goes to a file.
    pub(crate) fn start_box(&self, config: &str, address: SocketAddrV6) -> Result<BoxProcess> {
        say(&format!("    $ aditd --config {config} &"));
        let log = self.path("box/aditd.log");
        let file = File::create(&log).with_context(|| format!("make {}", log.display()))?;
        let mut command = Command::new(beside("aditd")?);
        command
            .args(["--config", config])
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file);
        let child = command.spawn().context("start aditd")?;
        let mut agent = BoxProcess { _running: Running::note(child.id()), child };
        let start = Instant::now();
        while TcpStream::connect_timeout(&address.into(), Duration::from_millis(200)).is_err() {
            if agent.child.try_wait().context("ask for aditd")?.is_some() || start.elapsed() > START_DEADLINE {
                bail!("the box did not start; its log is {}", log.display());
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(agent)
    }
}

/// The box's process; it is asked to stop when this goes.
#[derive(Debug)]
pub(crate) struct BoxProcess {
    child: Child,
    _running: Running,
}

impl BoxProcess {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks the box to stop and waits until it is gone.
    pub(crate) fn stop(mut self) -> Result<()> {
        signal(self.child.id(), Signal::SIGTERM);
        let status = self.child.wait().context("wait for aditd")?;
        if !status.success() {
            bail!("the box ended with {status}");
        }
        Ok(())
    }
}

impl Drop for BoxProcess {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            signal(self.child.id(), Signal::SIGKILL);
            let _reaped = self.child.wait().is_ok();
        }
    }
}

#[derive(Debug)]
struct Running(u32);

impl Running {
    fn note(process: u32) -> Self {
        if let Ok(mut running) = RUNNING.lock() {
            running.push(process);
        }
        Self(process)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(mut running) = RUNNING.lock() {
            running.retain(|process| *process != self.0);
        }
    }
}

/// The program of this name in the demo's own directory.
fn beside(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe().context("find this program")?.with_file_name(name);
    if !path.is_file() {
        bail!("{} is missing: `make demo` builds it", path.display());
    }
    Ok(path)
}

/// Lets SIGINT, SIGTERM and SIGHUP end the demo with everything that it started.
#[expect(clippy::exit, reason = "a signal ends the demo wherever it is")]
pub(crate) fn stop_on_signals() {
    std::thread::spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
            let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else { return };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        for process in RUNNING.lock().map(|running| running.clone()).unwrap_or_default() {
            signal(process, Signal::SIGKILL);
        }
        say("\nstopped; nothing runs any more");
        std::process::exit(EXIT_BY_SIGNAL);
    });
}

fn signal(process: u32, which: Signal) {
    let Ok(process) = i32::try_from(process) else { return };
    // Gone already is as good.
    let _gone = kill(Pid::from_raw(process), which).is_err();
}

/// Prints a line; nobody listening is no reason to stop.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _heard = writeln!(out, "{text}").and_then(|()| out.flush()).is_ok();
}

/// Prints a result under a command.
pub(crate) fn result(text: &str) {
    for line in text.lines() {
        say(&format!("      {line}"));
    }
}

fn shown(arguments: &[&str]) -> String {
    let quoted = arguments.iter().map(|argument| match argument {
        token if token.starts_with("adit1") => format!("{}…", token.chars().take(16).collect::<String>()),
        plain if plain.chars().all(|c| c.is_alphanumeric() || "-_./,:=[]%".contains(c)) => (*plain).to_owned(),
        other => format!("'{other}'"),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Bytes of the records in a store: of its segments, without the space that the box reserves ahead.
pub(crate) fn record_bytes(store: &Path) -> u64 {
    let segments = ["seg", "met"].map(|dir| std::fs::read_dir(store.join(dir)));
    let files = segments.into_iter().flatten().flatten().filter_map(Result::ok);
    files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// A size for a person.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1_000),
        10_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

/// A count for a person, in groups of three.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

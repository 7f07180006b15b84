// SPDX-License-Identifier: Apache-2.0 OR MIT
//! adit in the comparison: a box in its own process on [::1], a source beside it. What the box costs is counted with it.

use crate::Program;
use crate::measure::{Beside, Cost, cost};
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const START_DEADLINE: Duration = Duration::from_secs(20);

/// adit and its box.
#[derive(Debug)]
pub(crate) struct Adit {
    bin: PathBuf,
    dir: PathBuf,
    agent: Option<Child>,
}

impl Adit {
    /// With the binaries in `bin`.
    pub(crate) fn new(bin: &Path) -> Self {
        Self { bin: bin.to_owned(), dir: PathBuf::new(), agent: None }
    }

    fn adit(&self) -> Command {
        let mut command = Command::new(self.bin.join("adit"));
        command.arg("--state").arg(self.dir.join("source")).stdin(Stdio::null());
        command
    }

    fn measured(&self, command: &Command) -> Result<Cost> {
        let agent = self.agent.as_ref().context("the box does not run")?;
        let beside = Beside::watch(agent.id())?;
        beside.add_to(cost(command)?)
    }
}

/// Runs a command of the preparation; answers what it printed.
fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Program for Adit {
    fn name(&self) -> &str {
        "adit"
    }

    fn prepare(&mut self, dir: &Path) -> Result<()> {
        self.dir = dir.to_owned();
        let address = TcpListener::bind((Ipv6Addr::LOCALHOST, 0))
            .and_then(|socket| socket.local_addr())
            .context("find a port")?;
        let config = dir.join("aditd.toml");
        let text = format!(
            "listen = \"{address}\"\nstate = {:?}\n[box]\nstore = {:?}\n",
            dir.join("state"),
            self.repository()
        );
        fs::write(&config, text).context("write the configuration")?;
        let log = fs::File::create(dir.join("aditd.log")).context("make a log")?;
        let mut agent = Command::new(self.bin.join("aditd"));
        agent.arg("--config").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.agent = Some(agent.spawn().context("start aditd")?);
        wait_for(address)?;
        let (key, public) = (dir.join("recovery.key"), dir.join("recovery.pub"));
        let mut keygen = Command::new(self.bin.join("adit"));
        run(keygen.arg("keygen").arg("--recovery-file").arg(key).arg("--public").arg(&public))?;
        run(self.adit().args(["init", "--name", "bench", "--recipient"]).arg(&public))?;
        let mut token = Command::new(self.bin.join("aditd"));
        let token = run(token.args(["token", "--role", "source", "--name", "bench", "--config"]).arg(&config))?;
        run(self.adit().args(["pair", &token]))?;
        Ok(())
    }

    fn back_up(&mut self, data: &Path) -> Result<Cost> {
        self.measured(self.adit().args(["backup", "--json"]).arg(data))
    }

    fn restore(&mut self, _data: &Path, to: &Path) -> Result<Cost> {
        let mut command = self.adit();
        command.args(["restore", "latest", "--recovery-file"]).arg(self.dir.join("recovery.key")).arg("--to").arg(to);
        self.measured(&command)
    }

    fn repository(&self) -> PathBuf {
        self.dir.join("store")
    }

    fn finish(&mut self) -> Result<()> {
        let Some(mut agent) = self.agent.take() else { return Ok(()) };
        let process = i32::try_from(agent.id()).context("a process id")?;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(process), nix::sys::signal::Signal::SIGTERM)
            .context("stop the box")?;
        agent.wait().context("wait for the box")?;
        Ok(())
    }
}

impl Drop for Adit {
    fn drop(&mut self) {
        if let Some(agent) = self.agent.as_mut() {
            let _gone = agent.kill().is_err();
            let _reaped = agent.wait().is_ok();
        }
    }
}

fn wait_for(address: SocketAddr) -> Result<()> {
    let start = Instant::now();
    while TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err() {
        if start.elapsed() > START_DEADLINE {
            bail!("the box did not answer on {address}");
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Ok(())
}

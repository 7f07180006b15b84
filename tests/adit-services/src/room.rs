// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A room for services: namespaces of its own (mounts, processes, network, name) over the shared root, with a folder of the
//! test's bound to /lab. Everything in it dies with the test, however that ends.

use crate::packages;
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

/// Binds folders over places of the root, then becomes a process that only waits, for daemons' orphans too. "ready" says that all is in place, the
/// root too: whoever enters earlier would see this machine's own programs.
const ENTER: &str = r#"set -e
root=$1; name=$2; shift 2
for place; do mount --bind "${place%%=*}" "$root/${place#*=}"; done
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
hostname "$name"
ip link set lo up
exec chroot "$root" sh -c 'echo ready; sleep infinity & wait'"#;

/// The names of hosts of a room that has no neighbours.
pub const HOSTS: &str = "::1 localhost\n";

/// A room; all in it ends when this goes.
#[derive(Debug)]
pub struct Room {
    /// The test's folder, seen as /lab inside.
    pub folder: PathBuf,
    holder: Child,
    first: Pid,
    daemons: Vec<Child>,
}

impl Room {
    /// Makes a room called `name` over the packages' root, with these names of hosts. `places` are bound too: a folder
    /// below the test's, and the place in the root.
    ///
    /// # Errors
    /// No root rights, no packages, or a kernel without these namespaces.
    pub fn new(test: &str, name: &str, hosts: &str, places: &[(&str, &str)]) -> Result<Self> {
        let root = packages::root()?;
        let folder = packages::folder().canonicalize()?.join(format!("run/{test}-{}/{name}", std::process::id()));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("hosts"), hosts)?;
        let mut binds = vec![format!("{0}=lab", folder.display()), format!("{0}/hosts=etc/hosts", folder.display())];
        for (below, place) in places {
            let below = folder.join(below);
            fs::create_dir_all(&below)?;
            binds.push(format!("{}={place}", below.display()));
        }
        // When the test dies by a signal, setpriv's order kills unshare, and unshare's kills the room's first process.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork"]);
        command.args(["--kill-child", "--", "sh", "-c", ENTER, "room"]).arg(&root).arg(name).args(&binds);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut holder = command.spawn().context("make a room: util-linux and root are needed")?;
        let mut said = String::new();
        BufReader::new(holder.stdout.take().context("the room's voice")?).read_line(&mut said)?;
        ensure!(said == "ready\n", "the room could not be made; is this root?");
        let first = children(holder.id())?.first().copied().context("the room's first process")?;
        Ok(Self { folder, holder, first, daemons: Vec::new() })
    }

    /// The process that holds the room, as this machine counts.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.first.as_raw_nonzero().get()
    }

    /// A program inside, for the caller to run.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(self.way_in())
            .args(words)
            .env_clear()
            .env("LC_ALL", "C.UTF-8")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("PATH", env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
        command
    }

    fn way_in(&self) -> [String; 10] {
        let target = self.pid().to_string();
        ["--target", &target, "--mount", "--pid", "--net", "--uts", "--ipc", "--root", "--wd", "--"].map(str::to_owned)
    }

    /// Runs a program inside to its good end; what it printed.
    ///
    /// # Errors
    /// It ended badly: with what it said.
    pub fn run<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Result<String> {
        let mut command = self.command(words);
        let output = command.output()?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
        Ok(out.into_owned())
    }

    /// Starts a daemon inside, in the foreground of its own, with its words in `NAME.log` of the folder.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start<S: AsRef<OsStr>>(&mut self, name: &str, words: impl IntoIterator<Item = S>) -> Result<()> {
        let log = fs::File::create(self.folder.join(format!("{name}.log")))?;
        let mut command = self.command(words);
        command.stdout(log.try_clone()?).stderr(log);
        self.daemons.push(command.spawn().with_context(|| format!("start {name}"))?);
        Ok(())
    }

    /// A program of this machine that runs another one inside: what an admin would give as a command.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn door(&self, program: &str) -> Result<PathBuf> {
        let name = program.rsplit('/').next().unwrap_or(program);
        let path = self.folder.join(format!("enter-{name}"));
        let way = self.way_in().join(" ");
        fs::write(&path, format!("#!/bin/sh\nexec nsenter {way} {program} \"$@\"\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// Processes inside whose command line contains `words`.
    ///
    /// # Errors
    /// /proc cannot be read.
    pub fn processes(&self, words: &str) -> Result<Vec<Pid>> {
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let ours = namespace(&self.pid().to_string());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let Some(pid) = name.parse().ok().and_then(Pid::from_raw) else { continue };
            let line = fs::read(format!("/proc/{name}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if namespace(&name) == ours && line.contains(words) {
                found.push(pid);
            }
        }
        Ok(found)
    }

    /// Kills the processes inside whose command line contains `words`; there must be one.
    ///
    /// # Errors
    /// There is none.
    pub fn kill(&self, words: &str) -> Result<()> {
        let found = self.processes(words)?;
        ensure!(!found.is_empty(), "no process with {words:?} in the room");
        for pid in found {
            kill_process(pid, Signal::KILL)?;
        }
        Ok(())
    }

    /// Takes this thread into the room's network: from now on its `[::1]` is the room's.
    ///
    /// # Errors
    /// No root rights.
    pub fn enter_network(&self) -> Result<()> {
        let network = fs::File::open(format!("/proc/{}/ns/net", self.pid()))?;
        use rustix::fd::AsFd;
        use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
        Ok(move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// Writes a file of the test's folder.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text).with_context(|| format!("write {name}"))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _gone = self.holder.kill().is_err();
        let _reaped = self.holder.wait().is_ok();
        for daemon in &mut self.daemons {
            let _reaped = daemon.wait().is_ok();
        }
        // After a failure the logs are wanted.
        if !std::thread::panicking() {
            let folder: &Path = self.folder.parent().unwrap_or(&self.folder);
            let _removed = fs::remove_dir_all(folder).is_ok();
        }
    }
}

fn children(of: u32) -> Result<Vec<Pid>> {
    let text = fs::read_to_string(format!("/proc/{of}/task/{of}/children"))?;
    Ok(text.split_whitespace().filter_map(|word| Pid::from_raw(word.parse().ok()?)).collect())
}

/// Asks again and again until the answer is wanted; panics with the last answer when it does not come in time.
#[expect(clippy::print_stdout, reason = "a test's own words: how long its services took")]
pub fn until<T: std::fmt::Debug>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let started = Instant::now();
    loop {
        let answer = ask();
        if wanted(&answer) {
            println!("{what} after {:.1} s", started.elapsed().as_secs_f32());
            return answer;
        }
        assert!(started.elapsed() < limit, "{what}: not within {limit:?}; the last answer was {answer:#?}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A source inside a machine: for stories in which the way to the box is the story, since it finds its own way over the
//! networks of the lab as any server would.

use crate::box_machine::BoxMachine;
use crate::lab::Lab;
use crate::machine::Parts;
use crate::net::Lan;
use crate::program::{Ran, Running};
use crate::running::Machine;
use adit_guest::words::{End, Program};
use anyhow::{Context as _, Result, bail};
use std::net::Ipv6Addr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// Memory of such a machine, MiB: its data lies there too.
const MEMORY_MIB: u32 = 384;
/// Where its data lies.
const DATA: &str = "/root/data";
/// Its state directory.
const STATE: &str = "/root/state";
/// How long a program may take, the machine's own time.
const PROGRAM_DEADLINE: Duration = Duration::from_secs(120);
/// How long a backup may take, milliseconds of the machine.
const BACKUP_DEADLINE_MS: u32 = 300_000;
/// Bytes of a program's words that are read.
const WORDS_BYTES_MAX: u64 = 1 << 20;

/// A source inside a machine, with data in its memory.
#[derive(Debug)]
pub struct Server {
    machine: Machine,
    recovery: String,
}

/// A backup that runs inside.
#[derive(Clone, Copy, Debug)]
pub struct Backup(u32);

impl Server {
    pub(crate) fn start(lab: &mut Lab, name: &str, lan: &Lan, bytes: u64) -> Result<Self> {
        let mut parts = Parts::new(name);
        parts.memory_mib = MEMORY_MIB;
        parts.inside = parts.inside.ours(&["adit"]);
        parts.lans.push(lan.clone());
        let mut machine = lab.machine(parts)?;
        machine.boot()?;
        machine.hand()?.write_file(&format!("{DATA}/noise"), 0o644, &lab.noise(bytes))?;
        let (file, public) = (lab.path(&format!("{name}.key")), lab.path(&format!("{name}.pub")));
        let words =
            ["keygen".as_ref(), "--recovery-file".as_ref(), file.as_os_str(), "--public".as_ref(), public.as_os_str()];
        Running::start(&lab.guest().program("adit"), words)?.finish()?.succeeded()?;
        let recovery = std::fs::read_to_string(&public).context("read the public recovery file")?;
        Ok(Self { machine, recovery })
    }

    /// Asks this server for names.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn resolve_by(&mut self, server: Ipv6Addr) -> Result<()> {
        let text = format!("nameserver {server}\noptions timeout:1 attempts:2\n");
        Ok(self.machine.hand()?.write_file("/etc/resolv.conf", 0o644, text.as_bytes())?)
    }

    /// Sets the source up and pairs it with the box by a one-time token.
    ///
    /// # Errors
    /// What a program said.
    pub fn pair(&mut self, cellar: &mut BoxMachine) -> Result<()> {
        let (name, recovery) = (self.machine.name().to_owned(), self.recovery.clone());
        self.machine.hand()?.write_file("/root/recovery.pub", 0o644, recovery.as_bytes())?;
        self.adit(&["init", "--name", &name, "--recipient", "/root/recovery.pub"])?.succeeded()?;
        let token = cellar.token("source", &name)?;
        self.adit(&["pair", &token])?.succeeded()?;
        Ok(())
    }

    /// Runs `adit` with this source's state.
    ///
    /// # Errors
    /// When the machine does not answer or the program does not end.
    pub fn adit(&mut self, words: &[&str]) -> Result<Ran> {
        self.machine.run(&[&["/usr/bin/adit", "--state", STATE], words].concat(), PROGRAM_DEADLINE)
    }

    /// Starts a backup and leaves it running.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_backup(&mut self) -> Result<Backup> {
        let program = Program::new(&["/usr/bin/adit", "--state", STATE, "backup", "--json", DATA]);
        Ok(Backup(self.machine.hand()?.spawn(program, "/run/backup.log")?))
    }

    /// Waits until the backup ends.
    ///
    /// # Errors
    /// When it does not end well in time; its words are told.
    pub fn finish(&mut self, backup: Backup) -> Result<Ran> {
        let end = self.machine.hand()?.wait(backup.0, BACKUP_DEADLINE_MS)?;
        let words = self.machine.hand()?.read_file("/run/backup.log", WORDS_BYTES_MAX)?;
        let words = String::from_utf8_lossy(&words).into_owned();
        let line = format!("{}: adit backup", self.machine.name());
        match end {
            End::Exit(code) => Ok(Ran { line, code, stdout: words, stderr: String::new() }),
            other @ (End::Running | End::Signal(_) | End::Deadline) => bail!("{line} ended as {other:?}:\n{words}"),
        }
    }
}

impl Deref for Server {
    type Target = Machine;
    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }
}

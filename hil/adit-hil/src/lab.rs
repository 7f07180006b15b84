// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A lab: what one run of one scenario has. It makes networks, machines, boxes and sources, all from one seed, and looks
//! after them at the end: whatever the story was about, no kernel may have stumbled, no agent outgrown its board, no store
//! been damaged.

use crate::accel;
use crate::appliance::ApplianceParts;
use crate::artifacts::{Artifacts, Visitor};
use crate::box_machine::{BoxMachine, BoxParts};
use crate::data::Seeded;
use crate::disk::{Disk, Kind};
use crate::guest::Guest;
use crate::image::Edition;
use crate::machine::{Accel, Parts};
use crate::net::{Gateway, Lan};
use crate::running::Machine;
use crate::server::Server;
use crate::source::Source;
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;
use std::sync::Arc;

/// The prefix that the first network of a lab announces: unique local, so that nothing of it can leave the machine.
pub const PREFIX: &str = "fd00:ad17::/64";

/// Size of a disk of [`Lab::start_machine`], bytes; the smallest on which btrfs mirrors comfortably.
const DISK_BYTES: u64 = 256 << 20;

/// What one run has.
#[derive(Debug)]
pub struct Lab {
    seed: u64,
    random: Seeded,
    artifacts: Artifacts,
    guest: Arc<Guest>,
    accel: Accel,
    told: Vec<String>,
    /// A short path, as a socket's has 108 bytes at most.
    sockets: tempfile::TempDir,
}

impl Lab {
    /// A lab for one run of a scenario.
    ///
    /// # Errors
    /// When its directory cannot be made or no accelerator works.
    pub fn new(scenario: &str, seed: u64, guest: &Arc<Guest>, visitor: Visitor) -> Result<Self> {
        let artifacts = Artifacts::make(&guest.folder().join("runs"), scenario, seed, visitor)?;
        let accel = accel::choose(guest)?;
        let sockets = tempfile::Builder::new().prefix("adit-hil-").tempdir().context("a directory for sockets")?;
        let (random, guest) = (Seeded::new(seed), Arc::clone(guest));
        Ok(Self { seed, random, artifacts, guest, accel, told: Vec::new(), sockets })
    }

    /// The seed of this run.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The next random number of this run.
    pub const fn draw(&mut self) -> u64 {
        self.random.draw()
    }

    /// A random number below `end`.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.random.below(end)
    }

    /// At most `count` different numbers below `end`, in order.
    pub fn choose(&mut self, end: usize, count: usize) -> Vec<usize> {
        let mut chosen = std::collections::BTreeSet::new();
        let limit = u64::try_from(end).unwrap_or(u64::MAX);
        while chosen.len() < count.min(end) {
            chosen.extend(usize::try_from(self.random.below(limit)));
        }
        chosen.into_iter().collect()
    }

    /// So many bytes that do not compress.
    pub fn noise(&mut self, bytes: u64) -> Vec<u8> {
        crate::data::noise(&mut Seeded::new(self.draw()), bytes)
    }

    /// A path among the artifacts.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.artifacts.path(name)
    }

    /// A path for a socket.
    #[must_use]
    pub fn socket(&self, name: &str) -> PathBuf {
        self.sockets.path().join(name)
    }

    /// Notes a figure or an event of the story.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn tell(&mut self, what: &str) -> Result<()> {
        self.told.push(what.to_owned());
        self.artifacts.event("story", what)
    }

    /// What the story told so far.
    #[must_use]
    pub fn told(&self) -> &[String] {
        &self.told
    }

    /// The guest's kernel and programs.
    #[must_use]
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// A network whose router announces [`PREFIX`]; it is captured.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn lan(&mut self, name: &str) -> Result<Lan> {
        self.lan_with(name, PREFIX).map(|(lan, _)| lan)
    }

    /// A network without a router so far; it is captured.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn lan_without_router(&mut self, name: &str) -> Result<Lan> {
        let lan = Lan::new(name, self.draw())?;
        lan.capture(&self.path(&format!("{name}.pcap")))?;
        Ok(lan)
    }

    /// A network whose router announces this prefix and itself as name server; it is captured.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn lan_with(&mut self, name: &str, prefix: &str) -> Result<(Lan, Gateway)> {
        let lan = self.lan_without_router(name)?;
        let gateway = lan.router().prefix(prefix).rdnss().start()?;
        Ok((lan, gateway))
    }

    /// A source inside a machine on this network, with so many bytes of data.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn server(&mut self, name: &str, lan: &Lan, bytes: u64) -> Result<Server> {
        Server::start(self, name, lan, bytes)
    }

    /// A machine of these parts; it is off.
    ///
    /// # Errors
    /// When its files cannot be made.
    pub fn machine(&self, mut parts: Parts) -> Result<Machine> {
        if self.artifacts.visitor() == Visitor::Person {
            parts.inside = parts.inside.debian("busybox", &["bin/busybox"]);
        }
        Machine::assemble(parts, &self.guest, self.accel, self.artifacts.clone())
    }

    /// A machine with these disks, whose names are their serial numbers, and with an agent's programs; it is up, the agent is
    /// not started yet.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_machine(
        &self,
        name: &str,
        disks: &[(&str, Kind)],
        change: impl FnOnce(&mut Parts),
    ) -> Result<Machine> {
        let mut parts = Parts::new(name);
        parts.put_inside(|inside| inside.ours(&["aditd", "adit-probe"]));
        for (disk, kind) in disks {
            parts.put_inside(|inside| inside.modules(kind.modules()));
            parts.disks.push(Disk::new(disk, *kind, &self.path(name), DISK_BYTES));
        }
        change(&mut parts);
        parts.disks.iter().try_for_each(Disk::create)?;
        let mut machine = self.machine(parts)?;
        machine.boot()?;
        Ok(machine)
    }

    /// A box on this network, to be described further and started.
    #[must_use]
    pub fn new_box(&mut self, name: &str, lan: &Lan) -> BoxParts<'_> {
        BoxParts::new(self, name, lan.clone())
    }

    /// A box with one virtio disk on this network, up and answering.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_box(&mut self, name: &str, lan: &Lan) -> Result<BoxMachine> {
        self.new_box(name, lan).start()
    }

    /// An appliance on this network, to be described further and started.
    #[must_use]
    pub fn new_appliance(&mut self, name: &str, lan: &Lan, edition: Edition) -> ApplianceParts<'_> {
        ApplianceParts::new(self, name, lan, edition)
    }

    /// A source on the host with 8 MiB in 200 files.
    ///
    /// # Errors
    /// When its data cannot be written.
    pub fn source(&mut self, name: &str) -> Result<Source> {
        Source::new(self, name, 200, 8 << 20)
    }

    /// A source on the host with so much data.
    ///
    /// # Errors
    /// When its data cannot be written.
    pub fn source_with(&mut self, name: &str, files: usize, bytes: u64) -> Result<Source> {
        Source::new(self, name, files, bytes)
    }

    /// Ends the run: the scenario's own result, then what the machines' last look found. Artifacts of a good run are removed
    /// unless `keep`.
    ///
    /// # Errors
    /// What went wrong first, and where its artifacts are.
    pub fn end(self, result: Result<()>, keep: bool) -> Result<()> {
        let complaints = self.artifacts.complaints();
        let outcome = match result {
            Ok(()) if complaints.is_empty() => Ok(()),
            Ok(()) => Err(anyhow::anyhow!("{}", complaints.join("\n"))),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) if keep => Ok(()),
            Ok(()) => self.artifacts.discard(),
            Err(error) => {
                self.artifacts.event("story", &format!("failed: {error:#}"))?;
                let place = self.artifacts.dir().display();
                bail!("{error:#}\nseed {}; artifacts and repro.sh are in {place}", self.seed)
            }
        }
    }
}

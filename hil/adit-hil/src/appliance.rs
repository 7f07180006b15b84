// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An appliance: a machine that boots the product's own image through UEFI firmware. No hand of the harness is inside: what
//! a story knows comes from the console, from the agent's serial port and over the network, as it would for its admin.

use crate::box_machine::Cuts;
use crate::disk::log::{End, Log};
use crate::disk::replay::{Plan, Points, Replay, State, States};
use crate::disk::{Disk, Kind};
use crate::image::{self, Edition, Image};
use crate::lab::Lab;
use crate::machine::{Boots, Parts};
use crate::net::{Host, Lan};
use crate::program::Ran;
use crate::running::Machine;
use crate::source::Source;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The disk that boots.
pub const BOOT_DISK: &str = "boot";
/// Its size, bytes: a small stick.
pub const BOOT_DISK_BYTES: u64 = 1 << 30;
/// Memory of such a machine, MiB: what the flavour for virtual machines promises to run in.
pub const MEMORY_MIB: u32 = 192;
/// The port of the agent.
pub const PORT: u16 = 11_713;
/// The exit code of `adit` when the box cannot be reached, and how long it is asked again then, wall time.
const UNREACHABLE: i32 = 4;
const ASKED_AGAIN_FOR: Duration = Duration::from_secs(60);
/// How long firmware, kernel and start may take, the machine's own time.
pub const START_DEADLINE: Duration = Duration::from_secs(120);
/// How long a start has until it is judged, the machine's own time: see the words of the harness's images.
pub const JUDGED_WITHIN: Duration = Duration::from_secs(90);

/// An appliance to be described.
#[derive(Debug)]
pub struct ApplianceParts<'lab> {
    lab: &'lab mut Lab,
    lan: Lan,
    parts: Parts,
    edition: Edition,
    boot: Kind,
    bytes: u64,
    recorded: bool,
    foreign_bytes: usize,
    more: Vec<Disk>,
}

/// A running or stopped appliance.
#[derive(Debug)]
pub struct Appliance {
    machine: Machine,
    host: Host,
    admin: Admin,
    image: Image,
    /// Confirmations that were waited for since it was switched on.
    confirmed: usize,
}

/// The admin's machine: the real `adit` on the host.
#[derive(Debug)]
struct Admin {
    program: PathBuf,
    state: PathBuf,
    reached: Option<SocketAddrV6>,
}

impl<'lab> ApplianceParts<'lab> {
    pub(crate) fn new(lab: &'lab mut Lab, name: &str, lan: &Lan, edition: Edition) -> Self {
        let mut parts = Parts::new(name);
        parts.memory_mib = MEMORY_MIB;
        parts.lans.push(lan.clone());
        let (boot, bytes) = (Kind::Virtio, BOOT_DISK_BYTES);
        Self { lab, lan: lan.clone(), parts, edition, boot, bytes, recorded: false, foreign_bytes: 0, more: Vec::new() }
    }

    /// Changes the machine's parts.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Parts)) -> Self {
        change(&mut self.parts);
        self
    }

    /// Gives the boot disk another bus.
    #[must_use]
    pub const fn boot_on(mut self, kind: Kind) -> Self {
        self.boot = kind;
        self
    }

    /// Gives the boot disk another size.
    #[must_use]
    pub const fn boot_bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// Records every write to the boot disk.
    #[must_use]
    pub const fn recorded(mut self) -> Self {
        self.recorded = true;
        self
    }

    /// Puts a file of somebody's on the boot partition, of so many bytes, beside what the image has there.
    #[must_use]
    pub const fn foreign_file(mut self, bytes: usize) -> Self {
        self.foreign_bytes = bytes;
        self
    }

    /// A further, empty disk; its name is its serial number.
    #[must_use]
    pub fn disk(mut self, name: &str, kind: Kind, bytes: u64) -> Self {
        self.more.push(Disk::new(name, kind, &self.lab.path(&self.parts.name), bytes));
        self
    }

    /// Builds the image and puts the machine together; it is off.
    ///
    /// # Errors
    /// When something cannot be made.
    pub fn assemble(mut self) -> Result<Appliance> {
        let folder = self.lab.path(&self.parts.name);
        fs::create_dir_all(&folder)?;
        let image = image::image(self.lab.guest(), self.edition)?;
        let firmware = image::firmware(self.lab.guest())?;
        let variables = folder.join("variables.fd");
        fs::copy(&firmware.variables, &variables).context("copy the firmware's variables")?;
        self.parts.boots = Boots::Firmware { code: firmware.code, variables };
        let mut base = image.disk.clone();
        if self.foreign_bytes > 0 {
            base = folder.join("with-foreign-file.img");
            image.with_file(&base, "photos.zip", &vec![b'x'; self.foreign_bytes])?;
        }
        let mut boot = Disk::new(BOOT_DISK, self.boot, &folder, self.bytes).over(&base).boot(1);
        boot = boot.sectors(self.edition.sector_bytes, self.edition.sector_bytes);
        if self.recorded {
            boot = boot.recorded();
        }
        self.parts.disks.push(boot);
        self.parts.disks.append(&mut self.more);
        self.parts.disks.iter().try_for_each(Disk::create)?;
        let admin = Admin { program: self.lab.guest().program("adit"), state: folder.join("admin"), reached: None };
        let host = self.lan.host("admin")?;
        Ok(Appliance { machine: self.lab.machine(self.parts)?, host, admin, image, confirmed: 0 })
    }

    /// The same, switched on and serving.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(self) -> Result<Appliance> {
        let mut appliance = self.assemble()?;
        appliance.start()?;
        Ok(appliance)
    }
}

impl Appliance {
    /// Switches it on and waits until its agent serves.
    ///
    /// # Errors
    /// What the console says instead.
    pub fn start(&mut self) -> Result<()> {
        self.confirmed = 0;
        self.machine.switch_on(&[])?;
        self.serves()
    }

    /// Waits until its agent serves, after whatever restart.
    ///
    /// # Errors
    /// What the console says instead.
    pub fn serves(&mut self) -> Result<()> {
        self.machine.expect("the agent serves", START_DEADLINE).map(drop)
    }

    /// Waits until this start was confirmed, now or a while ago.
    ///
    /// # Errors
    /// What the console says instead.
    pub fn confirmed(&mut self) -> Result<()> {
        let (console, clock) = (self.machine.console()?, self.machine.clock()?);
        let until = clock.now() + JUDGED_WITHIN;
        while console.count("is confirmed") <= self.confirmed {
            ensure!(clock.now() < until, "the start is not confirmed:\n{}", console.tail());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.confirmed += 1;
        Ok(())
    }

    /// The image that it was made from.
    #[must_use]
    pub const fn image(&self) -> &Image {
        &self.image
    }

    /// Makes an admin token on the console, as its first owner does, and pairs the admin's machine.
    ///
    /// # Errors
    /// What a program said.
    pub fn pair_admin(&mut self) -> Result<()> {
        let address = self.address()?;
        self.machine.console()?.write(b"t\n")?;
        // The line before this one is whole then.
        self.machine.expect("The token above", Duration::from_secs(60))?;
        let line = self.machine.console()?.find_any(&["adit1"]).context("the console shows no token")?;
        // Escape sequences of the screen follow it.
        let from = line.find("adit1").unwrap_or_default();
        let token: String = line[from..].chars().take_while(char::is_ascii_alphanumeric).collect();
        let reached = self.host.forward(SocketAddrV6::new(address, PORT, 0, 0))?;
        self.admin.reached = Some(reached);
        let state = self.admin.state.clone();
        fs::create_dir_all(&state)?;
        let address = reached.to_string();
        self.admin(&["pair", "--role", "admin", "--name", "anna", "--address", &address, &token])?.succeeded()?;
        Ok(())
    }

    /// The address that the console shows.
    ///
    /// # Errors
    /// When it shows none in time.
    pub fn address(&mut self) -> Result<Ipv6Addr> {
        let line = self.line_on_screen("::ad17:")?;
        let mut words = line.split(|c: char| !(c.is_ascii_hexdigit() || c == ':'));
        words.find_map(|word| word.parse().ok().filter(|_| word.contains("::ad17:"))).context("an address of the box")
    }

    /// The first whole line with this text since the machine was switched on.
    fn line_on_screen(&mut self, text: &str) -> Result<String> {
        let (console, clock) = (self.machine.console()?, self.machine.clock()?);
        let until = clock.now() + Duration::from_secs(30);
        loop {
            if let Some(line) = console.find_any(&[text]) {
                return Ok(line);
            }
            ensure!(clock.now() < until, "the screen does not show {text:?}:\n{}", console.tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The name that the console shows.
    ///
    /// # Errors
    /// When it shows none in time.
    pub fn name_on_console(&mut self) -> Result<String> {
        let line = self.line_on_screen("| adit ")?;
        let name = line.split_whitespace().find(|word| word.starts_with("adit-"));
        name.map(str::to_owned).context("the screen has no name of the box")
    }

    /// Makes the boot disk larger while the machine runs, bytes.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn enlarge_boot_disk(&mut self, bytes: u64) -> Result<()> {
        let (faults, qmp) = self.machine.disk(BOOT_DISK)?;
        faults.grow(qmp, bytes)
    }

    /// Whether these bytes lie anywhere on the boot disk.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn holds(&mut self, bytes: &[u8]) -> Result<bool> {
        Ok(self.machine.disk(BOOT_DISK)?.0.find(bytes).is_ok())
    }

    /// Pairs a source with a token that the admin asked for.
    ///
    /// # Errors
    /// What a program said.
    pub fn pair_source(&self, source: &Source) -> Result<()> {
        let token = self.admin(&["box", "token", "--name", source.name()])?.succeeded()?;
        let address = self.admin.reached.context("the admin is not paired")?.to_string();
        source.pair_with(token.stdout.trim(), Some(&address))
    }

    /// Runs the admin's `adit`.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn admin(&self, arguments: &[&str]) -> Result<Ran> {
        self.admin.run_patiently(arguments)
    }

    /// A file of the admin's state directory.
    #[must_use]
    pub fn admin_file(&self, name: &str) -> PathBuf {
        self.admin.state.join(name)
    }

    /// Pairs another machine with a token, in this role; [`Self::run_as`] runs its `adit` then.
    ///
    /// # Errors
    /// What a program said.
    pub fn pair_as(&self, name: &str, role: &str, token: &str) -> Result<()> {
        fs::create_dir_all(self.machine.file(name))?;
        let address = self.admin.reached.context("the admin is not paired")?.to_string();
        self.run_as(name, &["pair", "--role", role, "--name", name, "--address", &address, token])?.succeeded()?;
        Ok(())
    }

    /// Runs the `adit` of another machine.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn run_as(&self, name: &str, arguments: &[&str]) -> Result<Ran> {
        let other = Admin { program: self.admin.program.clone(), state: self.machine.file(name), reached: None };
        other.run_patiently(arguments)
    }

    /// Starts an update from the admin's machine and leaves it running.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_update(&self, file: &Path, more: &[&str]) -> Result<crate::program::Running> {
        let mut arguments = vec!["--state", self.admin.state()?, "box", "update"];
        arguments.extend(more);
        arguments.push(file.to_str().context("a path of the harness is not UTF-8")?);
        crate::program::Running::start(&self.admin.program, arguments)
    }

    /// Sends an update and waits until it runs and has proved itself.
    ///
    /// # Errors
    /// What a program or the console said instead.
    pub fn update(&mut self, file: &Path) -> Result<Ran> {
        let update = self.start_update(file, &[])?;
        self.serves()?;
        self.confirmed()?;
        update.finish()?.succeeded()
    }

    /// What `adit box show --json` tells.
    ///
    /// # Errors
    /// What it said instead.
    pub fn show(&self) -> Result<Value> {
        self.admin(&["box", "show", "--json"])?.succeeded()?.json()
    }

    /// What `adit box disk list --json` tells.
    ///
    /// # Errors
    /// What it said instead.
    pub fn disks(&self) -> Result<Value> {
        self.admin(&["box", "disk", "list", "--json"])?.succeeded()?.json()
    }

    /// The slot of a version: its state.
    ///
    /// # Errors
    /// When there is no such slot.
    pub fn slot(&self, version: &str) -> Result<String> {
        let shown = self.show()?;
        let slots = shown["slots"].as_array().context("slots")?;
        let slot = slots.iter().find(|slot| slot["version"] == version);
        let state = slot.and_then(|slot| slot["state"].as_str());
        state.map(str::to_owned).with_context(|| format!("no slot holds {version}: {shown}"))
    }

    /// How many entries the record of the boot disk has by now: everything acknowledged so far is among them.
    ///
    /// # Errors
    /// When it is not recorded.
    pub fn recorded_entries(&self) -> Result<usize> {
        Ok(Log::open(&self.boot_disk()?.log(), End::Cut)?.entries().len())
    }

    /// Switches it off and finds the states in which power cuts after entry `from` of the record could have left its slots
    /// and what it remembers of them: at every write to the boot and the state partition, with `sets` sets of lost writes and as
    /// many of torn sectors each.
    ///
    /// # Errors
    /// When nothing was recorded.
    pub fn cuts(&mut self, lab: &mut Lab, from: usize, sets: usize) -> Result<Cuts> {
        // A request under way ends before the record does.
        self.machine.qmp()?.execute("stop", serde_json::json!({}))?;
        self.machine.cut()?;
        let disk = self.boot_disk()?;
        let log = disk.log().with_extension("cuts");
        fs::rename(disk.log(), &log).context("put the record aside")?;
        let replay = Replay::new(&disk.log_base(), disk.size_bytes(), Log::open(&log, End::Cut)?)?;
        let plan = Plan {
            points: Points::EveryWrite,
            from_entry: from,
            lost: sets,
            torn: sets,
            within: Some(crate::slots::BYTES),
            seed: lab.draw(),
        };
        let States { distinct, counts } = replay.states(&plan)?;
        Ok(Cuts { replay, states: distinct, counts })
    }

    /// Boots with the boot disk in one of these states and waits until its agent serves.
    ///
    /// # Errors
    /// What the console says instead.
    pub fn boot_from(&mut self, replay: &Replay, state: &State) -> Result<()> {
        if self.machine.is_on() {
            self.machine.cut()?;
        }
        let disk = self.boot_disk()?;
        fs::remove_file(disk.image()).context("remove the boot disk's image")?;
        disk.create()?;
        replay.write_overlay(state, &disk.image())?;
        self.start().with_context(|| state.to_string())
    }

    fn boot_disk(&self) -> Result<Disk> {
        let disk = self.machine.parts.disks.iter().find(|disk| disk.name() == BOOT_DISK);
        disk.cloned().context("it has no boot disk")
    }

    /// The version that runs.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn version(&self) -> Result<String> {
        Ok(self.show()?["version"].as_str().unwrap_or_default().to_owned())
    }
}

impl Admin {
    fn state(&self) -> Result<&str> {
        self.state.to_str().context("a path of the harness is not UTF-8")
    }

    fn run_patiently(&self, arguments: &[&str]) -> Result<Ran> {
        // The agent restarts once when the data came late, and a person would ask again, as the message says.
        let until = Instant::now() + ASKED_AGAIN_FOR;
        loop {
            let ran = self.run(arguments)?;
            if ran.code != UNREACHABLE || Instant::now() > until {
                return Ok(ran);
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    fn run(&self, arguments: &[&str]) -> Result<Ran> {
        let mut all = vec!["--state", self.state()?];
        all.extend(arguments);
        crate::program::Running::start(&self.program, all)?.finish()
    }
}

impl Deref for Appliance {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl DerefMut for Appliance {
    fn deref_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A box: a machine whose `aditd` keeps a store on a disk of its own and answers on a network and on its serial port. When
//! it goes out of scope it is looked at for the last time, whatever the story was about.

use crate::agent::{AGENT_PORT, ANSWER_DEADLINE};
use crate::disk::log::{End as LogEnd, Log};
use crate::disk::replay::{Counts, Plan, Points, Replay, State, States};
use crate::disk::{Disk, Kind};
use crate::guest::{Setting, Spec};
use crate::lab::Lab;
use crate::machine::Parts;
use crate::net::{Host, Lan};
use crate::program::Ran;
use crate::running::{CONFIG, Machine};
use adit_guest::words::{Address, Answer, Ask, End};
use anyhow::{Context as _, Result, bail};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The disk that holds the store.
pub const STORE_DISK: &str = "store";
/// Its serial number.
pub const STORE_SERIAL: &str = "ADIT-STORE";
/// Size of that disk, bytes; the two disks of a mirror share it.
pub const STORE_BYTES: u64 = 256 << 20;
/// Serial numbers of the two disks of a mirror.
const MIRROR_SERIALS: [&str; 2] = ["ADIT-MIRROR0", "ADIT-MIRROR1"];
/// The most memory an agent may have used at any time, KiB: the budget of the smallest board.
pub const AGENT_KIB_MAX: u64 = 64 << 10;
/// Bytes that tell a place in the store from every other: sealed records never repeat.
const MARKER_BYTES: usize = 512;
/// How many numbers of segments are tried.
const SEGMENTS_LOOKED_AT: u32 = 64;
/// Bytes of a sector.
const SECTOR_BYTES: u64 = 512;
/// How long the agent may take to stop, milliseconds of the machine.
const STOP_DEADLINE_MS: u32 = 30_000;
/// As in signal(7).
const SIGTERM: i32 = 15;
/// Where the store's disk is mounted.
const PLACE: &str = "/srv";
/// How long a program inside may take, the machine's own time.
const PROGRAM_DEADLINE: Duration = Duration::from_secs(120);

/// A box to be described.
#[derive(Debug)]
pub struct BoxParts<'lab> {
    lab: &'lab mut Lab,
    lan: Lan,
    parts: Parts,
    store: StoreOn,
    called: Option<String>,
}

/// What the store lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoreOn {
    /// One disk with a file system from the start.
    Disk,
    /// Two mirrored disks, made by mdadm inside.
    Mirror,
}

/// The states in which power cuts could have left a disk.
#[derive(Debug)]
pub struct Cuts {
    /// Builds the images.
    pub replay: Replay,
    /// Each different state once.
    pub states: Vec<State>,
    /// What was recorded and enumerated.
    pub counts: Counts,
}

/// A box that was started.
#[derive(Debug)]
pub struct BoxMachine {
    machine: Machine,
    /// Its address on its network.
    address: Ipv6Addr,
    /// The harness's own place on that network.
    host: Host,
    /// Where programs on the host reach it.
    reached: SocketAddrV6,
    agent: Option<u32>,
    store: StoreOn,
    mirror_made: bool,
    /// The mirror has one disk only.
    half_mirror: bool,
    called: Option<String>,
}

impl<'lab> BoxParts<'lab> {
    pub(crate) fn new(lab: &'lab mut Lab, name: &str, lan: Lan) -> Self {
        let mut parts = Parts::new(name);
        parts.inside = parts.inside.ours(&["aditd", "adit-probe"]);
        parts.lans.push(lan.clone());
        parts.disks.push(store_disk(&lab.path(name), STORE_BYTES));
        Self { lab, lan, parts, store: StoreOn::Disk, called: None }
    }

    /// Changes the machine's parts.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Parts)) -> Self {
        change(&mut self.parts);
        self
    }

    /// Tells sources this DNS name instead of addresses.
    #[must_use]
    pub fn called(mut self, name: &str) -> Self {
        self.called = Some(name.to_owned());
        self
    }

    /// Gives the store's disk another size.
    #[must_use]
    pub fn store_bytes(mut self, bytes: u64) -> Self {
        self.parts.disks = vec![store_disk(&self.lab.path(&self.parts.name), bytes)];
        self
    }

    /// Records every write to the store's disk, for [`BoxMachine::cuts`].
    #[must_use]
    pub fn recorded(mut self) -> Self {
        self.parts.disks = self.parts.disks.into_iter().map(Disk::recorded).collect();
        self
    }

    /// Puts the store on two mirrored disks, `mirror0` and `mirror1`, instead of one.
    #[must_use]
    pub fn mirror(mut self, kind: Kind) -> Self {
        let folder = self.lab.path(&self.parts.name);
        let member = |index: usize| {
            let disk = Disk::new(&format!("mirror{index}"), kind, &folder, STORE_BYTES / 2);
            disk.serial(MIRROR_SERIALS[index])
        };
        self.parts.disks = vec![member(0), member(1)];
        let tools = |inside: Spec| inside.debian("mdadm", &["sbin/mdadm"]).debian("e2fsprogs", &["sbin/mke2fs"]);
        self.parts.put_inside(|inside| tools(inside.modules(kind.modules()).modules(&["raid1"])));
        self.store = StoreOn::Mirror;
        self
    }

    /// Makes the file system, boots, mounts, starts the agent and waits until it answers.
    ///
    /// # Errors
    /// What did not work, with the console's last lines.
    pub fn start(self) -> Result<BoxMachine> {
        if let (StoreOn::Disk, Some(disk)) = (self.store, self.parts.disks.first()) {
            make_file_system(disk)?;
        }
        for disk in &self.parts.disks {
            disk.create()?;
        }
        let host = self.lan.host("harness")?;
        let half_mirror = self.lab.guest().setting() == Some(Setting::HalfMirror);
        let machine = self.lab.machine(self.parts)?;
        let mut started = BoxMachine {
            machine,
            address: Ipv6Addr::UNSPECIFIED,
            host,
            reached: SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0),
            agent: None,
            store: self.store,
            mirror_made: false,
            half_mirror,
            called: self.called,
        };
        started.machine.boot()?;
        started.come_up()?;
        Ok(started)
    }
}

fn store_disk(folder: &Path, bytes: u64) -> Disk {
    Disk::new(STORE_DISK, Kind::Virtio, folder, bytes).serial(STORE_SERIAL)
}

/// An ext4 without lazy work left over, so that the machine is quiet when the story begins.
fn make_file_system(disk: &Disk) -> Result<()> {
    let image = disk.image();
    disk.make_folder()?;
    let mut command = Command::new("mke2fs");
    command
        .args(["-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
        .arg(&image)
        .arg(format!("{}k", disk.size_bytes() >> 10));
    let output = command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").output();
    let output = output.context("run mke2fs; it is part of every Debian system (package e2fsprogs)")?;
    let words = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "mke2fs on {}: {words}", image.display());
    Ok(())
}

impl BoxMachine {
    /// Mounts the store's place, finds the machine's address, starts the agent and waits until it answers: after every boot.
    ///
    /// # Errors
    /// What did not work.
    pub fn come_up(&mut self) -> Result<()> {
        self.mount_store()?;
        let address = self.global_address()?;
        // A machine that comes back under its address is found where it was.
        if address != self.address {
            self.address = address;
            self.reached = self.host.forward(SocketAddrV6::new(address, adit_wire::DEFAULT_PORT, 0, 0))?;
        }
        let (port, reached, own) = (adit_wire::DEFAULT_PORT, self.reached, self.address);
        let (name, console) = (self.machine.name().to_owned(), self.machine.virtio_port(AGENT_PORT)?);
        let reached = match &self.called {
            Some(name) => format!("\"{name}:{port}\""),
            None => format!("\"{reached}\", \"[{own}]:{port}\""),
        };
        let config = format!(
            "listen = \"[::]:{port}\"\nstate = \"{PLACE}/state\"\nname = \"{name}\"\nconsole = \"{console}\"\n\
             address = [{reached}]\n\n[box]\nstore = \"{PLACE}/store\"\n"
        );
        self.machine.hand()?.write_file(CONFIG, 0o644, config.as_bytes())?;
        self.start_agent()
    }

    fn mount_store(&mut self) -> Result<()> {
        let device = match self.store {
            StoreOn::Disk => self.machine.device(STORE_SERIAL)?,
            StoreOn::Mirror => self.assemble_mirror()?,
        };
        self.machine.hand()?.mount(&device, PLACE, "ext4", &[], "")?;
        Ok(())
    }

    /// Puts the mirror together; the first time it is made.
    fn assemble_mirror(&mut self) -> Result<String> {
        const MIRROR: &str = "/dev/md0";
        let members = MIRROR_SERIALS.map(|serial| self.machine.device(serial));
        let mut words = vec!["/sbin/mdadm"];
        if self.mirror_made {
            words.extend(["--assemble", "--run", MIRROR]);
        } else {
            let make =
                ["--create", MIRROR, "--run", "--level=1", "--raid-devices=2", "--metadata=1.2", "--assume-clean"];
            words.extend(make);
        }
        let mut members = members.into_iter().collect::<Result<Vec<_>, _>>()?;
        if let Some(first) = members.first_mut().filter(|_| self.half_mirror && !self.mirror_made) {
            "missing".clone_into(first);
        }
        words.extend(members.iter().map(String::as_str));
        self.run_inside(&words)?.succeeded()?;
        if !self.mirror_made {
            self.run_inside(&["/sbin/mke2fs", "-q", "-t", "ext4", MIRROR])?.succeeded()?;
            self.mirror_made = true;
        }
        Ok(MIRROR.to_owned())
    }

    /// Its address on its network.
    #[must_use]
    pub const fn address(&self) -> Ipv6Addr {
        self.address
    }

    /// Waits until it has an address in another network than before, and answers it.
    ///
    /// # Errors
    /// When none comes.
    pub fn new_address(&mut self) -> Result<Ipv6Addr> {
        let old = self.address.segments();
        self.address = self.address_where(|address| address.segments()[..4] != old[..4])?;
        Ok(self.address)
    }

    /// The address that the network's router gave it; waits until it is usable.
    fn global_address(&mut self) -> Result<Ipv6Addr> {
        self.address_where(|_| true)
    }

    fn address_where(&mut self, wanted: impl Fn(Ipv6Addr) -> bool) -> Result<Ipv6Addr> {
        let clock = self.machine.clock()?;
        let deadline = clock.now() + ANSWER_DEADLINE;
        loop {
            let addresses = self.machine.hand()?.addresses()?;
            let global = |a: &Address| a.address.is_unique_local() || is_global(a.address);
            let usable = |a: &&Address| !a.tentative && global(a) && wanted(a.address);
            if let Some(found) = addresses.iter().find(usable) {
                return Ok(found.address);
            }
            if clock.now() > deadline {
                bail!("{} got no address from its network", self.machine.name());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts the agent and waits until it answers on its serial port.
    ///
    /// # Errors
    /// What its log says when it does not.
    pub fn start_agent(&mut self) -> Result<()> {
        self.agent = Some(self.machine.start_agent(CONFIG)?);
        Ok(())
    }

    /// Stops the agent as a service manager does.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn stop_agent(&mut self) -> Result<()> {
        let agent = self.agent.take().context("no agent runs")?;
        let hand = self.machine.hand()?;
        hand.signal(i32::try_from(agent).context("a process number")?, SIGTERM)?;
        let end = hand.wait(agent, STOP_DEADLINE_MS)?;
        anyhow::ensure!(end == End::Exit(0), "the agent ended with {end:?}; its log:\n{}", self.machine.agent_log()?);
        Ok(())
    }

    /// A one-time token, made by the agent inside.
    ///
    /// # Errors
    /// What aditd said.
    pub fn token(&mut self, role: &str, name: &str) -> Result<String> {
        let words = ["/usr/bin/aditd", "token", "--config", CONFIG, "--role", role, "--name", name];
        let ran = self.run_inside(&words)?.succeeded()?;
        Ok(ran.stdout.trim().to_owned())
    }

    /// Stops the agent, reads the whole store and checks every hash, starts the agent again.
    ///
    /// # Errors
    /// What is damaged.
    pub fn verify(&mut self) -> Result<Ran> {
        self.stop_agent()?;
        let ran = self.run_inside(&["/usr/bin/aditd", "verify", "--config", CONFIG])?;
        self.start_agent()?;
        Ok(ran)
    }

    /// Waits until the agent has written so many bytes more than it has now.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_written(&mut self, bytes: u64) -> Result<()> {
        let clock = self.machine.clock()?;
        let deadline = clock.now() + ANSWER_DEADLINE;
        let until = self.written()? + bytes;
        while self.written()? < until {
            anyhow::ensure!(clock.now() < deadline, "the agent did not write {bytes} bytes in {ANSWER_DEADLINE:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn written(&mut self) -> Result<u64> {
        let agent = self.agent.context("no agent runs")?;
        field(&self.machine.read_text(&format!("/proc/{agent}/io"))?, "wchar:")
    }

    /// The sector of the store's disk that holds byte `offset` of the first segment, by looking for its content.
    ///
    /// # Errors
    /// When it cannot be found.
    pub fn sector_of_segment(&mut self, offset: u64) -> Result<u64> {
        let hand = self.machine.hand()?;
        let names = (0..SEGMENTS_LOOKED_AT).map(|number| format!("{PLACE}/store/seg/{number:08x}.adt"));
        let mut read = |path: String| {
            let bytes_max = u32::try_from(MARKER_BYTES).ok()?;
            let asked =
                hand.ask(Ask::ReadFile { path, offset: offset / SECTOR_BYTES * SECTOR_BYTES, bytes_max }).ok()?;
            let Ok(Answer::Bytes(bytes)) = hand.wait_for(asked) else { return None };
            (bytes.len() == MARKER_BYTES && bytes.iter().any(|byte| *byte != 0)).then_some(bytes)
        };
        let found = names.into_iter().find_map(&mut read);
        let marker = found.with_context(|| format!("no segment of the store has {offset} bytes"))?;
        self.machine.hand()?.sync()?;
        let (disk, _) = self.machine.disk(STORE_DISK)?;
        Ok(disk.find(&marker)? / SECTOR_BYTES)
    }

    /// Runs a program inside to its end.
    ///
    /// # Errors
    /// When the machine does not answer or the program does not end.
    pub fn run_inside<S: AsRef<str>>(&mut self, words: &[S]) -> Result<Ran> {
        self.machine.run(words, PROGRAM_DEADLINE)
    }

    /// Cuts the power, boots again and waits until the agent answers.
    ///
    /// # Errors
    /// What did not work.
    pub fn power_cycle(&mut self) -> Result<()> {
        self.agent = None;
        self.machine.cycle()?;
        self.come_up()
    }

    /// How many entries the record of the store's disk has by now: everything acknowledged so far is among them.
    ///
    /// # Errors
    /// When it is not recorded.
    pub fn recorded_entries(&self) -> Result<usize> {
        Ok(Log::open(&self.store_disk()?.log(), LogEnd::Cut)?.entries().len())
    }

    /// Switches the machine off and finds the states in which power cuts after entry `from` of the record could have left
    /// the store's disk: at every write, with unflushed writes lost and with sectors torn.
    ///
    /// # Errors
    /// When nothing was recorded.
    pub fn cuts(&mut self, lab: &mut Lab, from: usize) -> Result<Cuts> {
        // A request under way ends before the record does.
        self.machine.qmp()?.execute("stop", serde_json::json!({}))?;
        self.agent = None;
        self.machine.cut()?;
        let disk = self.store_disk()?;
        let aside = |path: &Path| {
            let to = path.with_extension("cuts");
            std::fs::rename(path, &to).with_context(|| format!("move {}", path.display()))?;
            anyhow::Ok(to)
        };
        let (log, base) = (aside(&disk.log())?, disk.log_base());
        let kept = base.with_extension("first");
        std::fs::rename(&base, &kept).with_context(|| format!("move {}", base.display()))?;
        let replay = Replay::new(&kept, disk.size_bytes(), Log::open(&log, LogEnd::Cut)?)?;
        let plan =
            Plan { points: Points::EveryWrite, from_entry: from, lost: 4, torn: 2, within: None, seed: lab.draw() };
        let States { distinct, counts } = replay.states(&plan)?;
        Ok(Cuts { replay, states: distinct, counts })
    }

    /// Boots with the store's disk in one of these states and waits until the agent answers.
    ///
    /// # Errors
    /// What did not work.
    pub fn boot_from(&mut self, replay: &Replay, state: &State) -> Result<()> {
        self.agent = None;
        if self.machine.is_on() {
            self.machine.cut()?;
        }
        let disk = self.store_disk()?;
        replay.write_raw(state, &disk.image())?;
        disk.create()?;
        self.machine.boot().and_then(|()| self.come_up()).with_context(|| state.to_string())
    }

    fn store_disk(&self) -> Result<Disk> {
        let disk = self.machine.parts.disks.iter().find(|disk| disk.name() == STORE_DISK);
        disk.cloned().context("the store lies on no disk of its own")
    }

    /// What every story ends with: the agent stayed within its budget, its report is fresh, and the store is whole.
    fn last_look(&mut self) -> Result<()> {
        let Some(agent) = self.agent else { return Ok(()) };
        let most = field(&self.machine.read_text(&format!("/proc/{agent}/status"))?, "VmHWM:")?;
        anyhow::ensure!(most <= AGENT_KIB_MAX, "the agent used {most} KiB, its budget is {AGENT_KIB_MAX}");
        self.machine.report()?;
        self.stop_agent()?;
        self.run_inside(&["/usr/bin/aditd", "verify", "--config", CONFIG])?.succeeded().context("the last look")?;
        Ok(())
    }
}

fn is_global(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xe000 == 0x2000
}

/// A number of /proc/PID/status, KiB.
fn field(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    line.trim().trim_end_matches("kB").trim().parse().with_context(|| format!("{name} is {line:?}"))
}

impl Deref for BoxMachine {
    type Target = Machine;
    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl DerefMut for BoxMachine {
    fn deref_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }
}

impl Drop for BoxMachine {
    fn drop(&mut self) {
        if self.machine.is_on()
            && let Err(error) = self.last_look()
        {
            self.machine.complain(format!("{}: {error:#}", self.machine.name()));
        }
    }
}

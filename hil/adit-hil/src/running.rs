// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine that runs: its power, its console, QEMU's control channel, the hand inside it and the agent's own protocol on
//! its serial port. Cutting the power kills QEMU; what its disk then holds is what reached the image.

use crate::agent;
use crate::artifacts::{Artifacts, Visitor};
use crate::clock::MachineClock;
use crate::console::Console;
use crate::disk::fault::Faults;
use crate::guest::Guest;
use crate::machine::{self, Accel, Boots, Channels, Parts, QEMU};
use crate::program::Ran;
use crate::qmp::Qmp;
use adit_guest::client::Hand;
use adit_guest::words::{Answer, Ask, End, Program};
use adit_link::serial::Polled;
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How long QEMU may take to connect its channels, wall time.
const CONNECT_DEADLINE: Duration = Duration::from_secs(30);
/// How long the debugger's port may take for an answer, wall time.
const DEBUGGER_ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// Lines of QEMU's last words that an error shows.
const QEMU_LINES_SHOWN: usize = 5;
/// How long a machine may take to its first process, its own time. A translated one takes 2 to 4 s.
pub const BOOT_DEADLINE: Duration = Duration::from_secs(90);
/// How long the hand may be silent, wall time; longer than anything it is asked to wait for.
const HAND_DEADLINE: Duration = Duration::from_secs(400);
/// How long one command inside may take, the machine's own time.
const LINE_DEADLINE: Duration = Duration::from_secs(120);
/// How long a disk may take to appear, milliseconds of the machine.
const DISK_DEADLINE_MS: u32 = 20_000;
/// The agent's configuration inside.
pub(crate) const CONFIG: &str = "/etc/aditd.toml";
/// The agent's log inside.
const AGENT_LOG: &str = "/run/aditd.log";
/// Bytes of it that are read.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// Virtio devices that are looked through for a port.
const VIRTIO_DEVICES_MAX: u32 = 16;
/// Ports of one of them.
const VIRTIO_PORTS_MAX: u32 = 4;
/// Bytes of a port's name.
const PORT_NAME_BYTES_MAX: u64 = 64;
/// What a kernel says when it stumbles.
const OOPSES: [&str; 9] = [
    "Kernel panic",
    "BUG:",
    "Oops",
    "WARNING: CPU",
    "Call Trace",
    "soft lockup",
    "hung task",
    "blocked for more than",
    "Out of memory: Killed",
];
/// How long QEMU may take to end by itself, wall time.
const END_DEADLINE: Duration = Duration::from_secs(30);

/// A machine of a lab, on or off.
#[derive(Debug)]
pub struct Machine {
    /// What it is made of.
    pub parts: Parts,
    arguments: Vec<String>,
    channels: tempfile::TempDir,
    artifacts: Artifacts,
    live: Option<Live>,
    /// Texts of [`OOPSES`] that this story expects.
    expected: Vec<&'static str>,
}

/// A machine under power.
#[derive(Debug)]
struct Live {
    process: Child,
    qmp: Qmp,
    console: Console,
    clock: MachineClock,
    hand: Option<Hand<UnixStream>>,
    hand_stream: UnixStream,
    agent: UnixStream,
    disks: BTreeMap<String, Faults>,
}

/// A machine's memory and processor state in a file, to be continued many times.
#[derive(Clone, Debug)]
pub struct Saved {
    name: String,
    state: PathBuf,
}

impl Machine {
    /// Puts a machine together; it is off.
    ///
    /// # Errors
    /// When the guest's files or the channels cannot be made.
    pub(crate) fn assemble(parts: Parts, guest: &Guest, accel: Accel, artifacts: Artifacts) -> Result<Self> {
        let channels = tempfile::Builder::new().prefix("adit-hil-").tempdir().context("a directory for channels")?;
        let place = Channels { dir: channels.path() };
        let arguments = match parts.boots {
            Boots::Kernel => {
                let (kernel, initramfs) = (guest.vmlinux(), guest.initramfs(&parts.inside)?);
                parts.arguments(accel, &place, Some((&kernel, &initramfs)))?
            }
            Boots::Firmware { .. } => parts.arguments(accel, &place, None)?,
        };
        artifacts.note_machine(&parts.name, &arguments)?;
        Ok(Self { parts, arguments, channels, artifacts, live: None, expected: Vec::new() })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// Switches it on and waits until its first process is ready.
    ///
    /// # Errors
    /// When it does not come up; the console's last lines are told.
    pub fn boot(&mut self) -> Result<()> {
        self.switch_on(&[])?;
        self.expect(adit_guest::READY, BOOT_DEADLINE)?;
        self.take_hand()
    }

    /// Switches it on and waits for nothing.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub fn switch_on(&mut self, more: &[String]) -> Result<()> {
        anyhow::ensure!(self.live.is_none(), "{} is on already", self.parts.name);
        self.artifacts.event(&self.parts.name, "power on")?;
        let listeners = Channels::ALL.map(|name| listen(&self.channels.path().join(name)));
        let log = File::options().create(true).append(true).open(self.file("qemu.log")).context("open qemu.log")?;
        let mut process = machine::qemu()
            .args(&self.arguments)
            .args(more)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share qemu.log")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {QEMU} by setpriv; `make test` installs both"))?;
        let clock = MachineClock::of(process.id());
        let mut streams = Vec::new();
        for listener in listeners {
            match listener.and_then(|listener| accept(&listener, &mut process, CONNECT_DEADLINE)) {
                Ok(stream) => streams.push(stream),
                Err(error) => {
                    end(&mut process);
                    let words = fs::read_to_string(self.file("qemu.log")).unwrap_or_default();
                    let skip = words.lines().count().saturating_sub(QEMU_LINES_SHOWN);
                    let words: Vec<&str> = words.lines().skip(skip).collect();
                    return Err(error).with_context(|| format!("start {}: {}", self.parts.name, words.join("\n")));
                }
            }
        }
        let Ok([qmp, console, hand_stream, agent]) = <[UnixStream; 4]>::try_from(streams) else {
            bail!("QEMU has four channels");
        };
        let console = Console::read(console, &self.file("serial.log"))?;
        let qmp = Qmp::greet(qmp, &self.file("qmp.jsonl"))?;
        let disks = self.parts.disks.iter().map(|disk| (disk.name().to_owned(), Faults::new(disk))).collect();
        self.live = Some(Live { process, qmp, console, clock, hand: None, hand_stream, agent, disks });
        Ok(())
    }

    fn take_hand(&mut self) -> Result<()> {
        let live = self.live()?;
        let stream = live.hand_stream.try_clone().context("share the hand's channel")?;
        stream.set_read_timeout(Some(HAND_DEADLINE)).context("set the hand's deadline")?;
        live.hand = Some(match live.hand.take() {
            Some(hand) => hand.reconnected(stream),
            None => Hand::new(stream),
        });
        Ok(())
    }

    fn live(&mut self) -> Result<&mut Live> {
        self.live.as_mut().with_context(|| format!("{} is off", self.parts.name))
    }

    /// Whether it is under power.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.live.is_some()
    }

    /// The hand inside.
    ///
    /// # Errors
    /// When the machine is off or has no hand yet.
    pub fn hand(&mut self) -> Result<&mut Hand<UnixStream>> {
        let name = self.parts.name.clone();
        self.live()?.hand.as_mut().with_context(|| format!("{name} has not come up"))
    }

    /// QEMU's control channel.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn qmp(&mut self) -> Result<&mut Qmp> {
        Ok(&mut self.live()?.qmp)
    }

    /// The faults of one of its disks, and the channel over which they are commanded.
    ///
    /// # Errors
    /// When the machine is off or has no such disk.
    pub fn disk(&mut self, name: &str) -> Result<(&mut Faults, &mut Qmp)> {
        let live = self.live()?;
        let faults = live.disks.get_mut(name).with_context(|| format!("there is no disk {name}"))?;
        Ok((faults, &mut live.qmp))
    }

    /// The stream of the agent's serial port, for the product's own protocol.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn agent_port(&mut self) -> Result<UnixStream> {
        self.live()?.agent.try_clone().context("share the agent's port")
    }

    /// The machine's own time since it was switched on.
    ///
    /// # Errors
    /// When it is off.
    pub fn clock(&mut self) -> Result<MachineClock> {
        Ok(self.live()?.clock.clone())
    }

    /// Lets the machine's own time pass.
    ///
    /// # Errors
    /// When it is off.
    pub fn let_pass(&mut self, time: Duration) -> Result<()> {
        let clock = self.clock()?;
        let until = clock.now() + time;
        while clock.now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Waits for a line on the console.
    ///
    /// # Errors
    /// As [`Console::expect`].
    pub fn expect(&mut self, text: &str, within: Duration) -> Result<String> {
        let live = self.live()?;
        let found = live.console.expect(text, &live.clock, within);
        found.with_context(|| format!("waiting for {}", self.parts.name))
    }

    /// The console.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn console(&mut self) -> Result<Console> {
        Ok(self.live()?.console.clone())
    }

    /// Cuts the power: QEMU is killed, nothing is flushed.
    ///
    /// # Errors
    /// When the machine is off already.
    pub fn cut(&mut self) -> Result<()> {
        let mut live = self.live.take().with_context(|| format!("{} is off already", self.parts.name))?;
        end(&mut live.process);
        self.look_at_console(&live.console);
        self.artifacts.event(&self.parts.name, "power cut")
    }

    /// Cuts the power and boots again.
    ///
    /// # Errors
    /// As [`Self::cut`] and [`Self::boot`].
    pub fn cycle(&mut self) -> Result<()> {
        self.cut()?;
        self.boot()
    }

    /// Lets the processor hang with its interrupts off, as a broken driver can; only a hardware watchdog ends that.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn hang(&mut self) -> Result<()> {
        let path = self.channels.path().join("debugger");
        let _none_yet = fs::remove_file(&path);
        let name = path.to_str().context("a path of the harness is not UTF-8")?.to_owned();
        self.artifacts.event(&self.parts.name, "hangs")?;
        let qmp = self.qmp()?;
        qmp.human(&format!("gdbserver unix:{name},server=on,wait=off"))?;
        let mut port = UnixStream::connect(&path).context("connect to the debugger's port")?;
        port.set_read_timeout(Some(DEBUGGER_ANSWERS_WITHIN))?;
        crate::hang::hang(&mut port)?;
        drop(port);
        self.qmp()?.human("gdbserver none").map(drop)
    }

    /// Presses the reset button and waits until the first process is ready again.
    ///
    /// # Errors
    /// As [`Self::boot`].
    pub fn reset(&mut self) -> Result<()> {
        self.artifacts.event(&self.parts.name, "reset")?;
        self.qmp()?.execute("system_reset", json!({}))?;
        self.comes_back()
    }

    /// Waits until the machine, reset by something else, has its first process again.
    ///
    /// # Errors
    /// As [`Self::boot`].
    pub fn comes_back(&mut self) -> Result<()> {
        self.expect(adit_guest::READY, BOOT_DEADLINE)?;
        self.take_hand()
    }

    /// Presses the power button and waits until the machine has switched itself off.
    ///
    /// # Errors
    /// When it does not.
    pub fn press_power(&mut self) -> Result<()> {
        self.artifacts.event(&self.parts.name, "power button")?;
        self.qmp()?.execute("system_powerdown", json!({}))?;
        self.goes_off(END_DEADLINE)
    }

    /// Waits until the machine has switched itself off.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn goes_off(&mut self, within: Duration) -> Result<()> {
        let mut live = self.live.take().with_context(|| format!("{} is off already", self.parts.name))?;
        let deadline = live.clock.now() + within;
        while live.process.try_wait().context("ask for QEMU's state")?.is_none() {
            if live.clock.now() > deadline {
                let tail = live.console.tail();
                end(&mut live.process);
                bail!("{} did not switch itself off; its last lines:\n{tail}", self.parts.name);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.look_at_console(&live.console);
        self.artifacts.event(&self.parts.name, "off")
    }

    /// Stops the machine and keeps its memory in a file; it goes on where it was when restored. Disks are the caller's.
    ///
    /// # Errors
    /// When QEMU cannot write it.
    pub fn save(&mut self) -> Result<Saved> {
        let state = self.artifacts.path(&format!("{}.state", self.parts.name));
        let path = state.to_str().context("a path of the harness is not UTF-8")?.to_owned();
        let qmp = self.qmp()?;
        qmp.execute("stop", json!({}))?;
        // The default limit is for a network between two hosts.
        qmp.execute("migrate-set-parameters", json!({ "max-bandwidth": 1u64 << 40 }))?;
        qmp.execute(
            "migrate-set-capabilities",
            json!({ "capabilities": [{ "capability": "events", "state": true }] }),
        )?;
        qmp.execute("migrate", json!({ "uri": format!("exec:cat > '{path}'") }))?;
        qmp.wait_event("MIGRATION", CONNECT_DEADLINE, |event| event["data"]["status"] == "completed")?;
        let saved = Saved { name: self.parts.name.clone(), state };
        self.cut()?;
        Ok(saved)
    }

    /// Continues a saved machine in place of booting; it must be made of the same parts.
    ///
    /// # Errors
    /// When QEMU refuses the file.
    pub fn restore(&mut self, saved: &Saved) -> Result<()> {
        anyhow::ensure!(saved.name == self.parts.name, "the state belongs to {}", saved.name);
        let uri = format!("exec:cat '{}'", saved.state.display());
        self.switch_on(&["-incoming".to_owned(), uri])?;
        let deadline = Instant::now() + CONNECT_DEADLINE;
        let qmp = self.qmp()?;
        while qmp.execute("query-status", json!({}))?["status"] != "paused" {
            anyhow::ensure!(Instant::now() < deadline, "QEMU did not read the saved machine in {CONNECT_DEADLINE:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        qmp.execute("cont", json!({}))?;
        self.take_hand()
    }

    /// A picture of the screen, as PNG; the machine must have one.
    ///
    /// # Errors
    /// When there is no screen.
    pub fn picture(&mut self) -> Result<PathBuf> {
        let path = self.file("screen.png");
        let name = path.to_str().context("a path of the harness is not UTF-8")?.to_owned();
        self.qmp()?.execute("screendump", json!({ "filename": name, "format": "png" }))?;
        Ok(path)
    }

    /// Runs a program inside to its end.
    ///
    /// # Errors
    /// When the machine does not answer or the program does not end in time.
    pub fn run<S: AsRef<str>>(&mut self, words: &[S], within: Duration) -> Result<Ran> {
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        let line = format!("{}: {}", self.parts.name, words.join(" "));
        let within = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
        let ran = self.hand()?.run(Program::new(&words), &[], within).with_context(|| line.clone())?;
        let code = match ran.end {
            End::Exit(code) => code,
            End::Signal(_) => -1,
            End::Running | End::Deadline => bail!("{line} did not end in {within} ms"),
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Ran { line, code, stdout: text(&ran.stdout), stderr: text(&ran.stderr) })
    }

    /// Starts the agent with this configuration, a path inside, and waits until it answers; its process number.
    ///
    /// # Errors
    /// What its log says when it does not.
    pub fn start_agent(&mut self, config: &str) -> Result<u32> {
        let process = self.hand()?.spawn(Program::new(&["/usr/bin/aditd", "--config", config]), AGENT_LOG)?;
        self.report()?;
        Ok(process)
    }

    /// Starts an agent without a store, with these further lines in its configuration, and waits until it answers; its process
    /// number.
    ///
    /// # Errors
    /// What its log says when it does not.
    pub fn run_agent(&mut self, more: &str) -> Result<u32> {
        let console = self.virtio_port(agent::AGENT_PORT)?;
        let config = format!("state = \"/run/state\"\nconsole = \"{console}\"\n{more}");
        self.hand()?.write_file(CONFIG, 0o644, config.as_bytes())?;
        self.start_agent(CONFIG)
    }

    /// The agent's health report over the serial port: the product's own protocol.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn report(&mut self) -> Result<Polled> {
        let clock = self.clock()?;
        let report = agent::poll(self.agent_port()?, &clock, agent::ANSWER_DEADLINE);
        report.or_else(|error| bail!("{error:#}; the agent's log:\n{}", self.agent_log()?))
    }

    /// The agent's log so far.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn agent_log(&mut self) -> Result<String> {
        let bytes = self.hand()?.read_file(AGENT_LOG, LOG_BYTES_MAX)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The device file of the disk with this serial number.
    ///
    /// # Errors
    /// When it does not appear.
    pub fn device(&mut self, serial: &str) -> Result<String> {
        Ok(self.hand()?.disk(serial, DISK_DEADLINE_MS)?)
    }

    /// Sets the wall clock inside forward: what counts by the calendar does not have to be waited for.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn clock_forward(&mut self, by: Duration) -> Result<()> {
        let hand = self.hand()?;
        let now_s = hand.vitals()?.unix_ms / 1000;
        Ok(hand.set_time(now_s + i64::try_from(by.as_secs()).context("a time that a clock can show")?, 0)?)
    }

    /// The device file of a virtio port.
    ///
    /// # Errors
    /// When the machine has none of this name.
    pub fn virtio_port(&mut self, name: &str) -> Result<String> {
        let hand = self.hand()?;
        for device in 0..VIRTIO_DEVICES_MAX {
            for port in 0..VIRTIO_PORTS_MAX {
                let node = format!("vport{device}p{port}");
                let named = hand.read_file(&format!("/sys/class/virtio-ports/{node}/name"), PORT_NAME_BYTES_MAX);
                if named.is_ok_and(|bytes| bytes.trim_ascii() == name.as_bytes()) {
                    return Ok(format!("/dev/{node}"));
                }
            }
        }
        bail!("{} has no virtio port {name}", self.parts.name)
    }

    /// Runs these commands one after the other, words split at spaces, each by its path in /usr/bin, /bin or /sbin as PATH has
    /// it; answers the last.
    ///
    /// # Errors
    /// The first that does not end well.
    pub fn run_lines<S: AsRef<str>>(&mut self, lines: &[S]) -> Result<Ran> {
        let mut last = None;
        for line in lines {
            let words: Vec<&str> = line.as_ref().split_ascii_whitespace().collect();
            last = Some(self.run(&words, LINE_DEADLINE)?.succeeded()?);
        }
        last.context("there are lines")
    }

    /// A small file inside, as text.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_text(&mut self, path: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.hand()?.read_file(path, LOG_BYTES_MAX)?).into_owned())
    }

    /// Waits until a file inside holds something other than zeros at this offset.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_file(&mut self, path: &str, offset: u64) -> Result<()> {
        let clock = self.clock()?;
        let deadline = clock.now() + LINE_DEADLINE;
        loop {
            let hand = self.hand()?;
            let asked = hand.ask(Ask::ReadFile { path: path.to_owned(), offset, bytes_max: 512 })?;
            if let Ok(Answer::Bytes(bytes)) = hand.wait_for(asked)
                && bytes.iter().any(|byte| *byte != 0)
            {
                return Ok(());
            }
            anyhow::ensure!(clock.now() < deadline, "{path} did not grow to {offset} bytes in {LINE_DEADLINE:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Says that this story expects such a line on the console, which elsewhere is a kernel that stumbles.
    pub fn expects(&mut self, text: &'static str) {
        self.expected.push(text);
    }

    /// Pulls a disk out while the machine runs.
    ///
    /// # Errors
    /// When it cannot be pulled, or QEMU does not say in time that it is gone.
    pub fn pull(&mut self, disk: &str) -> Result<()> {
        let (faults, qmp) = self.disk(disk)?;
        faults.pull(qmp, |qmp, id| {
            qmp.wait_event("DEVICE_DELETED", agent::ANSWER_DEADLINE, |event| event["data"]["device"] == id).map(drop)
        })
    }

    /// Notes an event of this machine.
    pub(crate) fn note(&self, what: &str) -> Result<()> {
        self.artifacts.event(&self.parts.name, what)
    }

    /// Something is wrong that the story itself did not see; it fails the run.
    pub(crate) fn complain(&self, complaint: String) {
        self.artifacts.complain(complaint);
    }

    /// A shell on the console for the person at the terminal, until they end their input.
    #[expect(clippy::print_stdout, reason = "a person asked for it")]
    fn receive_visitor(&mut self) -> Result<()> {
        if !self.is_on() {
            return Ok(());
        }
        let shell = "/bin/busybox mkdir -p /opt; /bin/busybox --install -s /opt; PATH=$PATH:/opt; \
            exec /bin/busybox sh -i </dev/ttyS0 >/dev/ttyS0 2>&1";
        self.hand()?.spawn(Program::new(&["/bin/busybox", "sh", "-c", shell]), "/run/shell.log")?;
        println!("{}: a shell on its console; busybox has the usual commands, Ctrl-D ends it", self.parts.name);
        self.console()?.hand_over()
    }

    /// Complains of what the kernel said when it stumbled.
    fn look_at_console(&self, console: &Console) {
        let unexpected: Vec<&str> = OOPSES.into_iter().filter(|text| !self.expected.contains(text)).collect();
        if let Some(line) = console.find_any(&unexpected) {
            self.complain(format!("{}: the kernel stumbled: {line}", self.parts.name));
        }
    }

    /// The path of one of its artifacts.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.artifacts.path(&format!("{}.{name}", self.parts.name))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.artifacts.visitor() == Visitor::Person
            && let Err(error) = self.receive_visitor()
        {
            self.complain(format!("{}: {error:#}", self.parts.name));
        }
        if let Some(mut live) = self.live.take() {
            end(&mut live.process);
            self.look_at_console(&live.console);
        }
    }
}

/// Waits for QEMU to connect one of its channels, as long as it runs.
pub(crate) fn accept(listener: &UnixListener, process: &mut Child, within: Duration) -> Result<UnixStream> {
    listener.set_nonblocking(true).context("wait for QEMU")?;
    let deadline = Instant::now() + within;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).context("talk to QEMU")?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("wait for QEMU"),
        }
        anyhow::ensure!(process.try_wait().context("ask for QEMU's state")?.is_none(), "QEMU ended at once");
        anyhow::ensure!(Instant::now() < deadline, "QEMU did not connect in {within:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Ends a process and waits for it.
fn end(process: &mut Child) {
    // Gone already is as good.
    let _ended = process.kill().and_then(|()| process.wait()).is_ok();
}

fn listen(path: &Path) -> Result<UnixListener> {
    if path.exists() {
        fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?;
    }
    UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))
}

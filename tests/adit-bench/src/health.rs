// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Health beside node_exporter and smartctl, in one run. Two tables: this machine, asked once a minute, by the agent and by
//! node_exporter; five recorded disks, by adit's decoders and rules and by smartctl. Bytes are counted where they pass: on
//! the agent's socket with its frames, on the exporter's with HTTP. A program that is missing is skipped with a word.

use adit_device::pipe::{Answer, DeviceReport, Said, VERSION};
use adit_device::transcript::{Replay, Transcript};
use adit_device::{Attachment, DiskReading, Permit, PowerState, Visit, read_disk, read_nvme};
use adit_health::{Collector, Devices, Gathered, Limits, Memory, Reporter, Surroundings};
use adit_link::serial::{Polled, SerialClient};
use adit_wire::health::Poll;
use anyhow::{Context as _, Result, bail, ensure};
use embedded_io_adapters::std::FromStd;
use nix::sys::resource::{UsageWho, getrusage};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The argument that asks for this comparison.
pub(crate) const HEALTH: &str = "--health";
const WITHIN: Duration = Duration::from_secs(30);
/// Minutes in which both are asked once a minute.
const MINUTES: u32 = 3;
const MINUTE: Duration = Duration::from_secs(60);
/// Rounds over the recorded disks; smartctl is started once for each disk and round.
const ROUNDS: u32 = 10;
/// The recorded disks, and how smartctl is told to speak to them.
const DISKS: [(&str, &str); 5] =
    [("ata", "sat"), ("ata-old", "sat"), ("usb", "sat"), ("scsi", "scsi"), ("nvme", "nvme,0xffffffff")];

/// Compares. `target` is the build's directory, with the peers in `peers-health/root`.
pub(crate) fn compare(target: &Path) -> Result<()> {
    let place = target.join("bench-health");
    fs::create_dir_all(&place).context("make a directory")?;
    let peers = target.join("peers-health/root/usr");
    let bytes_same = machine(&target.join("release/aditd"), &peers.join("bin/prometheus-node-exporter"), &place)?;
    disks(bytes_same, &peers.join("sbin/smartctl"), &place)
}

/// A program that runs beside, ended when this goes.
struct Beside(Child);

impl Beside {
    fn start(command: &mut Command) -> Result<Self> {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(quiet.spawn().with_context(|| format!("start {command:?}"))?))
    }

    /// Processor time of its threads so far, as the scheduler counted it.
    fn cpu(&self) -> Result<Duration> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0.id())).context("read its threads")?;
        let times = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
        Ok(times.filter_map(|text| text.split_whitespace().next()?.parse().ok()).map(Duration::from_nanos).sum())
    }

    fn resident_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).context("read its memory")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        line.split_whitespace().next().and_then(|text| text.parse().ok()).context("no number in VmRSS")
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _gone = self.0.kill().is_err();
        let _reaped = self.0.wait().is_ok();
    }
}

/// Tries again and again what works once a program is up.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + WITHIN;
    loop {
        match attempt() {
            Ok(done) => return Ok(done),
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => std::thread::park_timeout(Duration::from_millis(20)),
        }
    }
}

/// Counts what passes, both ways.
struct Counted(UnixStream, Arc<AtomicU64>);

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1.fetch_add(count as u64, Relaxed);
        Ok(count)
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.0.write(bytes)?;
        self.1.fetch_add(count as u64, Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A monitor that keeps its connection, as monitors do.
struct Monitor {
    client: SerialClient<FromStd<Counted>>,
    bytes: Arc<AtomicU64>,
}

impl Monitor {
    fn reach(socket: &Path) -> Result<Self> {
        let bytes = Arc::default();
        let stream = UnixStream::connect(socket).context("reach aditd")?;
        stream.set_read_timeout(Some(WITHIN)).context("set a deadline")?;
        let mut client = SerialClient::new(FromStd::new(Counted(stream, Arc::clone(&bytes))), WITHIN);
        client.hello("bench")?;
        Ok(Self { client, bytes })
    }

    /// One poll, and the bytes of question and answer.
    fn poll(&mut self, poll: Poll) -> Result<(Polled, u64)> {
        let before = self.bytes.load(Relaxed);
        let answer = self.client.poll(poll)?;
        Ok((answer, self.bytes.load(Relaxed) - before))
    }
}

/// One scrape: bytes of question and answer.
fn scrape(port: u16, more: &str) -> Result<u64> {
    let mut stream = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).context("reach node_exporter")?;
    stream.set_read_timeout(Some(WITHIN)).context("set a deadline")?;
    let question = format!("GET /metrics HTTP/1.1\r\nHost: [::1]:{port}\r\n{more}Connection: close\r\n\r\n");
    stream.write_all(question.as_bytes()).context("ask node_exporter")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("hear node_exporter")?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "node_exporter refused");
    Ok((question.len() + answer.len()) as u64)
}

/// This machine: the agent with health alone, and node_exporter, each asked once a minute. Answers the bytes of a poll with
/// nothing new.
fn machine(aditd: &Path, exporter: &Path, place: &Path) -> Result<u64> {
    let (config, socket) = (place.join("aditd.toml"), place.join("health.sock"));
    let text = format!("state = {:?}\n\n[health]\nsocket = {socket:?}\n", place.join("state"));
    fs::write(&config, text).context("write the configuration")?;
    let agent = Beside::start(Command::new(aditd).arg("--config").arg(&config))?;
    let mut monitor = patiently(|| Monitor::reach(&socket))?;
    let nothing = Poll { inventory: 0, report: 0 };
    let (first, bytes_first) = monitor.poll(nothing)?;
    let Polled::Full { report, inventory, .. } = first else { bail!("a first poll gets a whole report") };
    // Without a number of a report it is sent whole, but for the inventory that is known.
    let (_, bytes_full) = monitor.poll(Poll { inventory, report: 0 })?;
    let (_, bytes_same) = monitor.poll(Poll { inventory, report })?;
    let port =
        TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr()).context("a port")?.port();
    let peer = exporter
        .is_file()
        .then(|| Beside::start(Command::new(exporter).arg(format!("--web.listen-address=[::1]:{port}"))));
    let peer = peer.transpose()?;
    if peer.is_none() {
        println!("node_exporter is not there and is skipped");
    }
    let scraped = peer.as_ref().map(|_| {
        let plain = patiently(|| scrape(port, ""))?;
        anyhow::Ok((plain, scrape(port, "Accept-Encoding: gzip\r\n")?))
    });
    let scraped = scraped.transpose()?;
    println!("both are asked once a minute for {MINUTES} minutes …");
    let before = (agent.cpu()?, peer.as_ref().map(Beside::cpu).transpose()?);
    for _ in 0..MINUTES {
        let end = Instant::now() + MINUTE;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
        monitor.poll(Poll { inventory, report })?;
        if peer.is_some() {
            scrape(port, "Accept-Encoding: gzip\r\n")?;
        }
    }
    let ours = [bytes_same, bytes_full, bytes_first];
    let cpu = (agent.cpu()? - before.0) / MINUTES;
    let theirs = peer
        .as_ref()
        .zip(before.1)
        .map(|(peer, before)| anyhow::Ok(((peer.cpu()? - before) / MINUTES, peer.resident_kib()?)));
    let theirs = theirs.transpose()?;
    println!("\n{:<44} {:>10} {:>14}   ours / theirs", "this machine", "adit", "node_exporter");
    for (name, bytes) in
        ["bytes: poll, nothing new", "bytes: poll, a new report", "bytes: first poll, with the inventory"]
            .iter()
            .zip(ours)
    {
        row(name, bytes, scraped.map(|(plain, _)| plain));
    }
    row("bytes: poll, nothing new; theirs in gzip", bytes_same, scraped.map(|(_, packed)| packed));
    row("processor time a minute, µs", micros(cpu), theirs.map(|(cpu, _)| micros(cpu)));
    row("resident memory, KiB", agent.resident_kib()?, theirs.map(|(_, kib)| kib));
    Ok(bytes_same)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn row(name: &str, ours: u64, theirs: Option<u64>) {
    let (theirs, ratio) = match theirs {
        Some(theirs) if ours > 0 => {
            let tenths = theirs.saturating_mul(10) / ours;
            (theirs.to_string(), format!("1/{}.{}", tenths / 10, tenths % 10))
        }
        Some(theirs) => (theirs.to_string(), String::new()),
        None => ("-".to_owned(), String::new()),
    };
    println!("{name:<44} {ours:>10} {theirs:>14}   {ratio}");
}

/// The recorded disks: read, judged and put into a report; and as smartctl tells them. Each of them is unwell in many ways,
/// which makes our report long.
fn disks(bytes_same: u64, smartctl: &Path, place: &Path) -> Result<()> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../agent/adit-device/tests/disks");
    let root = place.join("root");
    let mut transcripts = Vec::new();
    for (index, (name, _)) in DISKS.iter().enumerate() {
        let text = fs::read_to_string(golden.join(format!("golden/{name}.transcript"))).context("read a transcript")?;
        let node =
            if *name == "nvme" { "nvme0".to_owned() } else { format!("sd{}", char::from(b'a' + u8::try_from(index)?)) };
        let block = root.join("sys/block").join(if *name == "nvme" { "nvme0n1" } else { &node });
        fs::create_dir_all(block.join("device")).context("make a disk")?;
        fs::write(block.join("size"), "1953525168\n").context("make a disk")?;
        fs::write(block.join("device/wwid"), format!("naa.5000c5001234567{index}\n")).context("make a disk")?;
        transcripts.push((node, text.parse::<Transcript>()?));
    }
    let surroundings = Surroundings { root, ..Surroundings::default() };
    let mut collector = Collector::new(surroundings, Limits::default(), Memory::default());
    let mut reporter = Reporter::new(1);
    let mut bytes = (0, 0);
    let before = cpu(UsageWho::RUSAGE_SELF)?;
    for round in 0..ROUNDS {
        let devices = transcripts.iter().map(|(node, transcript)| anyhow::Ok(device(node, read(transcript)?)));
        let answer = Answer { version: VERSION, devices: devices.collect::<Result<_>>()?, ..Answer::default() };
        let gathered = Gathered { devices: Devices { answer: Some(answer), silence: None }, ..Gathered::default() };
        reporter.update(&collector.collect(1_790_000_000 + u64::from(round) * 60, &gathered))?;
        if let adit_health::Answer::Full { snapshot, inventory_bytes, .. } =
            reporter.answer(Poll { inventory: 0, report: 0 })
        {
            bytes = (snapshot.len() as u64, inventory_bytes.len() as u64);
        }
    }
    let spent = (cpu(UsageWho::RUSAGE_SELF)? - before) / ROUNDS;
    let theirs = if smartctl.is_file() {
        Some(smartctl_tells(smartctl, &golden, place)?)
    } else {
        println!("smartctl is not there and is skipped");
        None
    };
    println!("\n{:<44} {:>10} {:>14}   ours / theirs", "five recorded disks", "adit", "smartctl -x -j");
    row("bytes: poll, nothing new", bytes_same, theirs.map(|(bytes, _)| bytes));
    row("bytes: report of the machine and its disks", bytes.0, theirs.map(|(bytes, _)| bytes));
    row("bytes: the same with the inventory, sent once", bytes.0 + bytes.1, theirs.map(|(bytes, _)| bytes));
    row("processor time, µs", micros(spent), theirs.map(|(_, cpu)| micros(cpu)));
    Ok(())
}

fn device(node: &str, reading: DiskReading) -> DeviceReport {
    let said = Some(Said::Disk(Box::new(reading)));
    DeviceReport { name: node.to_owned(), power: PowerState::Active, said, age_s: 0, waiting_s: None, trouble: None }
}

fn read(transcript: &Transcript) -> Result<DiskReading> {
    let recorded = transcript.devices.first().context("a transcript has a device")?;
    let mut replay = Replay::new(recorded);
    let at = if recorded.kind == "usb" { Attachment::Usb } else { Attachment::Direct };
    if recorded.kind == "nvme" {
        return Ok(read_nvme(&mut replay)?);
    }
    match read_disk(&mut replay, at, Permit::Wake)? {
        Visit::Read(reading) => Ok(*reading),
        other => bail!("{other:?}"),
    }
}

/// Processor time so far.
fn cpu(who: UsageWho) -> Result<Duration> {
    let usage = getrusage(who).context("read processor time")?;
    let times = [usage.user_time(), usage.system_time()]
        .map(|time| Duration::from_micros(u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or(0)));
    Ok(times[0] + times[1])
}

/// Bytes of JSON that smartctl writes for all disks, and its processor time for them.
fn smartctl_tells(smartctl: &Path, golden: &Path, place: &Path) -> Result<(u64, Duration)> {
    let player: PathBuf = place.join("player.so");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&player).arg(golden.join("player.c")).status();
    ensure!(built.context("run cc")?.success(), "the player does not compile");
    let disk = place.join("disk");
    fs::write(&disk, "").context("make a file to open")?;
    let (mut bytes, mut spent) = (0, Duration::ZERO);
    for (name, kind) in DISKS {
        let mut command = Command::new(smartctl);
        command.args(["-x", "--json=c", "-d", kind]).arg(&disk);
        command.env("ADIT_TRANSCRIPT", golden.join(format!("golden/{name}.transcript"))).env("LD_PRELOAD", &player);
        let output = command.stdin(Stdio::null()).output().context("run smartctl")?;
        ensure!(output.stdout.starts_with(b"{"), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        bytes += output.stdout.len() as u64;
        let before = cpu(UsageWho::RUSAGE_CHILDREN)?;
        for _ in 0..ROUNDS {
            command.output().context("run smartctl")?;
        }
        spent += cpu(UsageWho::RUSAGE_CHILDREN)? - before;
    }
    Ok((bytes, spent / ROUNDS))
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The proof with QEMU itself. No guest runs: requests come over QEMU's own NBD server, which is a device like any other
//! to the chain of nodes. The client here speaks just enough NBD for that.

use super::fault::{Access, Errno, Failure, Faults, Monitor, nvme_warning};
use super::log::{End, Log};
use super::replay::{Plan, Points, Replay, State};
use super::*;
use anyhow::{anyhow, bail};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long QEMU may take to come up, on a busy machine.
const START: Duration = Duration::from_secs(60);
/// Silence that is taken for a stall. What is not stalled answers in well under a millisecond.
const STALL: Duration = Duration::from_millis(500);

struct Qemu {
    child: Child,
    monitor: BufReader<UnixStream>,
    events: Vec<Value>,
    folder: PathBuf,
}

impl Monitor for Qemu {
    fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        writeln!(self.monitor.get_mut(), "{}", json!({"execute": command, "arguments": arguments}))?;
        loop {
            let mut answer = self.line()?;
            match answer.get_mut("return").map(Value::take) {
                Some(value) => return Ok(value),
                None if answer.get("event").is_some() => self.events.push(answer),
                None => bail!("{command}: {}", answer["error"]["desc"]),
            }
        }
    }
}

impl Qemu {
    fn start(folder: &Path, disks: &[Disk]) -> Self {
        let listener = UnixListener::bind(folder.join("monitor")).unwrap();
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg", "-M", "q35", "-nodefaults", "-no-user-config", "-display", "none", "-S"]);
        command.arg("-chardev").arg(format!("socket,id=m,path={}", folder.join("monitor").display()));
        command.args(["-mon", "chardev=m,mode=control"]).args(arguments(disks).unwrap());
        let errors = File::create(folder.join("errors")).unwrap();
        let mut child = match command.stdin(Stdio::null()).stderr(errors).spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("qemu-system-x86_64 is missing: install the package qemu-system-x86")
            }
            Err(error) => panic!("start qemu-system-x86_64: {error}"),
        };
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(listener.accept()));
        let Ok(Ok((stream, _))) = receiver.recv_timeout(START) else {
            child.kill().unwrap();
            panic!("QEMU did not come up: {}", std::fs::read_to_string(folder.join("errors")).unwrap());
        };
        stream.set_read_timeout(Some(START)).unwrap();
        let mut qemu = Self { child, monitor: BufReader::new(stream), events: vec![], folder: folder.to_owned() };
        qemu.line().unwrap();
        qemu.execute("qmp_capabilities", json!({})).unwrap();
        qemu.execute(
            "nbd-server-start",
            json!({"addr": {"type": "unix", "data": {"path": folder.join("nbd").to_str()}}}),
        )
        .unwrap();
        qemu
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        let count = self.monitor.read_line(&mut line)?;
        if count == 0 {
            return Err(anyhow!("QEMU is gone: {}", std::fs::read_to_string(self.folder.join("errors"))?));
        }
        Ok(serde_json::from_str(&line)?)
    }

    fn wait_deleted(&mut self, device: &str) -> Result<()> {
        let is = |event: &Value| event["event"] == "DEVICE_DELETED" && event["data"]["device"] == device;
        while !self.events.iter().any(is) {
            let line = self.line()?;
            self.events.push(line);
        }
        self.events.retain(|event| !is(event));
        Ok(())
    }

    fn requests(&mut self, node: &str) -> Nbd {
        let export = json!({"type": "nbd", "id": format!("x-{node}"), "node-name": node, "writable": true});
        self.execute("block-export-add", export).unwrap();
        Nbd::connect(&self.folder.join("nbd"), node)
    }

    /// What a power cut looks like from outside; what was under way has ended, as the log asks for.
    fn cut(mut self) {
        self.execute("stop", json!({})).unwrap();
        self.child.kill().unwrap();
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Ends only the process that was started here; it may be gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const READ: u16 = 0;
const WRITE: u16 = 1;
const FLUSH: u16 = 3;
const TRIM: u16 = 4;

struct Nbd(UnixStream);

impl Nbd {
    fn connect(path: &Path, export: &str) -> Self {
        let mut stream = UnixStream::connect(path).unwrap();
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
        let mut hello = 3_u32.to_be_bytes().to_vec();
        hello.extend(b"IHAVEOPT");
        hello.extend(1_u32.to_be_bytes());
        hello.extend((export.len() as u32).to_be_bytes());
        hello.extend(export.as_bytes());
        stream.write_all(&hello).unwrap();
        stream.read_exact(&mut [0; 10]).unwrap();
        Self(stream)
    }

    fn send(&mut self, kind: u16, offset: u64, length: usize, data: &[u8]) {
        let mut request = 0x2560_9513_u32.to_be_bytes().to_vec();
        request.extend([0, 0]);
        request.extend(kind.to_be_bytes());
        request.extend(7_u64.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend((length as u32).to_be_bytes());
        request.extend(data);
        self.0.write_all(&request).unwrap();
    }

    /// The errno of the next answer and the data of a read, or `None` if there was no answer in time.
    fn answer(&mut self, read_bytes: usize, wait: Duration) -> Option<(u32, Vec<u8>)> {
        self.0.set_read_timeout(Some(wait)).unwrap();
        let mut head = [0; 16];
        match self.0.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => panic!("NBD: {error}"),
        }
        let errno = u32::from_be_bytes(head[4..8].try_into().unwrap());
        let mut data = vec![0; if errno == 0 { read_bytes } else { 0 }];
        self.0.read_exact(&mut data).unwrap();
        Some((errno, data))
    }

    fn ask(&mut self, kind: u16, offset: u64, length: usize, data: &[u8]) -> (u32, Vec<u8>) {
        self.send(kind, offset, length, data);
        self.answer(if kind == READ { length } else { 0 }, START).expect("an answer within a minute")
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> u32 {
        self.ask(WRITE, offset, data.len(), data).0
    }

    fn read(&mut self, offset: u64, length: usize) -> Result<Vec<u8>, u32> {
        let (errno, data) = self.ask(READ, offset, length, &[]);
        if errno == 0 { Ok(data) } else { Err(errno) }
    }

    fn flush(&mut self) -> u32 {
        self.ask(FLUSH, 0, 0, &[]).0
    }
}

const SIZE: u64 = 64 << 20;

/// An unplugged disk in each form of the chain, so that NBD may have it.
fn every_form(folder: &Path) -> Vec<Disk> {
    let base = folder.join("built");
    sparse(&base, SIZE).unwrap();
    let disk = |name| Disk::new(name, Kind::Scsi, folder, SIZE).unplugged();
    let disks =
        vec![disk("plain"), disk("over").over(&base), disk("taped").recorded(), disk("both").over(&base).recorded()];
    disks.iter().for_each(|disk| disk.create().unwrap());
    disks
}

#[test]
fn every_kind_of_disk_is_one_that_qemu_takes() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = [Kind::Virtio, Kind::Nvme, Kind::Ahci, Kind::Scsi, Kind::Usb];
    let mut disks = Vec::new();
    for (i, kind) in kinds.into_iter().enumerate() {
        let disk = |form| {
            Disk::new(&format!("d{i}{form}"), kind, folder.path(), SIZE).rotation(7200).boot(i as u32 * 2 + form)
        };
        disks.extend([disk(0), disk(1).recorded().sectors(if kind == Kind::Ahci { 512 } else { 4096 }, 4096)]);
    }
    disks.iter().for_each(|disk| disk.create().unwrap());
    let mut qemu = Qemu::start(folder.path(), &disks);
    let devices = qemu.execute("query-block", json!({})).unwrap();
    let mut seen: Vec<_> = devices.as_array().unwrap().iter().map(|d| d["inserted"]["node-name"].clone()).collect();
    seen.sort_by_key(Value::to_string);
    assert_eq!(seen, disks.iter().map(|disk| json!(disk.name())).collect::<Vec<_>>());
}

#[test]
fn errors_come_and_go_on_every_chain() {
    let folder = tempfile::tempdir().unwrap();
    let disks = every_form(folder.path());
    let mut qemu = Qemu::start(folder.path(), &disks);
    for disk in &disks {
        let (mut faults, mut nbd) = (Faults::new(disk), qemu.requests(disk.name()));
        assert_eq!(nbd.write(4 * 512, &[1; 4096]), 0);
        let bad = |access, sectors, errno| Failure { access, sectors, errno };
        faults.fail(&mut qemu, &[bad(Access::Read, Some(5..7), Errno::Io)]).unwrap();
        assert_eq!(nbd.read(5 * 512, 512), Err(5));
        assert_eq!(nbd.read(0, 8 * 512), Err(5), "a read across a bad sector fails");
        assert_eq!(nbd.read(7 * 512, 512).unwrap(), [1; 512]);
        assert_eq!(nbd.write(5 * 512, &[2; 512]), 0, "only reading fails");
        // A second fault takes the place of the first.
        faults.fail(&mut qemu, &[bad(Access::Write, None, Errno::Full)]).unwrap();
        assert_eq!(nbd.read(5 * 512, 512).unwrap(), [2; 512]);
        assert_eq!((nbd.write(0, &[3; 512]), nbd.flush()), (28, 0));
        faults.fail_all(&mut qemu).unwrap();
        assert_eq!((nbd.write(1 << 20, &[3; 512]), nbd.read(1 << 20, 512), nbd.flush()), (5, Err(5), 0));
        faults.heal(&mut qemu).unwrap();
        assert_eq!((nbd.write(0, &[4; 512]), nbd.read(0, 512).unwrap()), (0, vec![4; 512]));
        let nodes = qemu.execute("query-named-block-nodes", json!({})).unwrap();
        assert!(!nodes.to_string().contains("-error-"), "a node of a fault was left behind");
    }
}

#[test]
fn a_stalled_disk_answers_when_it_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let disks = every_form(folder.path());
    let mut qemu = Qemu::start(folder.path(), &disks);
    for disk in &disks {
        let (faults, mut nbd) = (Faults::new(disk), qemu.requests(disk.name()));
        faults.stall(&mut qemu).unwrap();
        (0..3).for_each(|_| nbd.send(READ, 0, 512, &[]));
        assert!(nbd.answer(512, START).is_some(), "the bucket lets one request through");
        assert!(nbd.answer(512, STALL).is_none());
        faults.resume(&mut qemu).unwrap();
        assert!((0..2).all(|_| nbd.answer(512, START).is_some_and(|(errno, _)| errno == 0)));
        faults.slow(&mut qemu, 50, 0).unwrap();
        let start = Instant::now();
        (0..30).for_each(|_| assert!(nbd.read(0, 512).is_ok()));
        assert!(start.elapsed() > Duration::from_millis(400), "30 requests at 50 a second: {:?}", start.elapsed());
        faults.resume(&mut qemu).unwrap();
    }
}

#[test]
fn disks_are_pulled_plugged_and_grown() {
    let folder = tempfile::tempdir().unwrap();
    let disk = |name, kind| Disk::new(name, kind, folder.path(), SIZE);
    let disks = [
        disk("scsi", Kind::Scsi).recorded(),
        disk("usb", Kind::Usb),
        disk("nvme", Kind::Nvme),
        disk("sata", Kind::Ahci),
    ];
    disks.iter().for_each(|disk| disk.create().unwrap());
    let mut qemu = Qemu::start(folder.path(), &disks);
    for disk in &disks[..2] {
        let mut faults = Faults::new(disk);
        for _ in 0..2 {
            faults.pull(&mut qemu, Qemu::wait_deleted).unwrap();
            assert!(faults.pull(&mut qemu, Qemu::wait_deleted).unwrap_err().to_string().contains("already out"));
            faults.plug(&mut qemu).unwrap();
            assert!(faults.plug(&mut qemu).unwrap_err().to_string().contains("already in"));
        }
    }
    for disk in [&disks[0], &disks[1], &disks[3]] {
        Faults::new(disk).grow(&mut qemu, 2 * SIZE).unwrap();
        assert_eq!(disk.image().metadata().unwrap().len(), 2 * SIZE);
    }
    let (mut nvme, mut sata) = (Faults::new(&disks[2]), Faults::new(&disks[3]));
    assert!(nvme.grow(&mut qemu, 2 * SIZE).unwrap_err().to_string().contains("pull nvme first"));
    assert!(sata.grow(&mut qemu, SIZE).is_err());
    assert!(sata.pull(&mut qemu, Qemu::wait_deleted).unwrap_err().to_string().contains("cannot be pulled"));
    assert!(sata.nvme_warn(&mut qemu, 1).is_err());
    nvme.nvme_warn(&mut qemu, nvme_warning::RELIABILITY | nvme_warning::TEMPERATURE).unwrap();
    let path = json!({"path": "/machine/peripheral/nvme-dev", "property": "smart_critical_warning"});
    assert_eq!(qemu.execute("qom-get", path).unwrap(), 6);
    nvme.nvme_warn(&mut qemu, 0).unwrap();
    // Without a guest nothing lets go of an NVMe disk: the caller's deadline ends the wait.
    assert!(nvme.pull(&mut qemu, |_, id| Err(anyhow!("{id} is still there"))).is_err());
}

#[test]
fn corruption_reaches_the_guest() {
    let folder = tempfile::tempdir().unwrap();
    let disks = every_form(folder.path());
    let mut qemu = Qemu::start(folder.path(), &disks);
    for disk in &disks {
        let (faults, mut nbd) = (Faults::new(disk), qemu.requests(disk.name()));
        let marker = format!("marker of {}", disk.name()).into_bytes();
        let mut sector = marker.clone();
        sector.resize(512, 7);
        assert_eq!((nbd.write(5 << 20, &sector), nbd.flush()), (0, 0));
        faults.corrupt_marker(&marker).unwrap();
        let seen = nbd.read(5 << 20, 512).unwrap();
        assert!(
            seen[..marker.len()].iter().zip(&marker).all(|(seen, was)| *seen == !was)
                && seen[marker.len()..] == sector[marker.len()..]
        );
        assert!(faults.corrupt_marker(&marker).unwrap_err().to_string().contains("no such marker"));
        if disk.base.is_none() {
            faults.corrupt(5 << 20..(5 << 20) + 3).unwrap();
            assert_eq!(nbd.read(5 << 20, 3).unwrap(), &marker[..3]);
        } else {
            assert!(faults.corrupt(0..1).unwrap_err().to_string().contains("overlay"));
        }
    }
}

/// Whole contents of a disk over NBD.
fn contents(nbd: &mut Nbd) -> Vec<u8> {
    (0..SIZE).step_by(1 << 20).flat_map(|offset| nbd.read(offset, 1 << 20).unwrap()).collect()
}

#[test]
fn a_recording_replays_to_what_the_disk_held() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("built");
    std::fs::write(&base, vec![0xee; 3 << 20]).unwrap();
    let disk = |name| Disk::new(name, Kind::Scsi, folder.path(), SIZE).unplugged().recorded();
    let disks = [disk("raw"), disk("over").over(&base), disk("large").sectors(4096, 4096)];
    disks.iter().for_each(|disk| disk.create().unwrap());
    let mut qemu = Qemu::start(folder.path(), &disks);
    let held: Vec<_> = disks
        .iter()
        .map(|disk| {
            let mut nbd = qemu.requests(disk.name());
            (work(&mut nbd), contents(&mut nbd))
        })
        .collect();
    qemu.cut();
    for (disk, ((writes, flushes), held)) in disks.iter().zip(&held) {
        let log = Log::open(&disk.log(), End::Cut).unwrap();
        let replay = Replay::new(&disk.log_base(), SIZE, log).unwrap();
        let plan = Plan { points: Points::EveryFlush, from_entry: 0, lost: 5, torn: 5, within: None, seed: 11 };
        let states = replay.states(&plan).unwrap();
        // NBD's TRIM is a discard, and a `stop` flushes once more.
        assert_eq!((states.counts.writes, states.counts.discards), (*writes, 1), "{disk:?}");
        assert!(states.counts.flushes >= *flushes && states.counts.distinct > *flushes, "{:?}", states.counts);
        let whole = states.distinct.iter().rfind(|s| s.lost.is_empty() && s.torn.is_none()).unwrap();
        let image = folder.path().join("whole");
        replay.write_raw(whole, &image).unwrap();
        assert!(std::fs::read(&image).unwrap() == *held, "the replay of {} differs from the disk", disk.name());
        if disk.base.is_none() {
            assert!(std::fs::read(disk.image()).unwrap() == *held);
        }
        overlays_read_the_same(folder.path(), &replay, &states.distinct);
    }
}

/// Writes, flushes and one discard; returns how many of the first two.
fn work(nbd: &mut Nbd) -> (usize, usize) {
    for i in 0..40_u64 {
        let offset = i * 7919 * 4096 % (SIZE - (1 << 20));
        assert_eq!(nbd.write(offset, &vec![i as u8 + 1; 4096 * (1 + i as usize % 5)]), 0);
        if i % 8 == 7 {
            assert_eq!(nbd.flush(), 0);
        }
    }
    // A whole cluster: an overlay keeps what it held when less is given up.
    assert_eq!(nbd.ask(TRIM, 0, 65536, &[]).0, 0);
    (40, 5)
}

/// QEMU reads from an overlay what the raw image of the same state holds.
fn overlays_read_the_same(folder: &Path, replay: &Replay, states: &[State]) {
    let folder = tempfile::tempdir_in(folder).unwrap();
    let mut disks = Vec::new();
    for (i, state) in [states.first(), states.get(states.len() / 2), states.last()].into_iter().flatten().enumerate() {
        let disk = Disk::new(&format!("s{i}"), Kind::Scsi, folder.path(), SIZE).unplugged();
        replay.write_raw(state, &disk.image()).unwrap();
        let over = disk.over(&folder.path().join(format!("s{i}.img")));
        replay.write_overlay(state, &over.image()).unwrap();
        disks.push(over);
    }
    let mut qemu = Qemu::start(folder.path(), &disks);
    for disk in &disks {
        let raw = std::fs::read(disk.log_base()).unwrap();
        let mut nbd = qemu.requests(disk.name());
        assert!(contents(&mut nbd) == raw, "overlay {} differs", disk.name());
        assert_eq!((nbd.write(SIZE - 512, &[9; 512]), nbd.flush()), (0, 0), "QEMU goes on writing it");
        assert_eq!(nbd.read(SIZE - 512, 512).unwrap(), [9; 512]);
    }
}

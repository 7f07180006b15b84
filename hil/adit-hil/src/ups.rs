// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An uninterruptible power supply: one condition that the test sets, told over a serial port (Megatec's Q1, APC's smart
//! protocol) and as Network UPS Tools' server. It cuts no power: it tells the test what it was asked to do.

mod apc;
mod megatec;
mod nut;

pub use nut::{CONNECTIONS_MAX, Session};

use crate::port::{Port, locked};
use anyhow::{Context, Result};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::SocketAddrV6;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest line of any of the protocols, in bytes; a longer one is dropped up to its end.
pub const LINE_BYTES_MAX: usize = 512;
/// Most events that wait to be taken; later ones are dropped.
pub const EVENTS_MAX: usize = 1024;
/// Serial ports of one supply.
pub const PORTS_MAX: usize = 4;
/// What the mains give, in volts and hertz.
const MAINS_V: f64 = 230.0;
const MAINS_HZ: f64 = 50.0;

/// How the supply is. Percentages above 100 are told as 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// The mains are there.
    pub on_line: bool,
    /// The battery will end soon.
    pub low: bool,
    /// The battery should be replaced.
    pub replace: bool,
    /// The driver of Network UPS Tools hears nothing of it; its serial ports go on.
    pub stale: bool,
    /// Charge of the battery, in percent.
    pub charge_percent: u8,
    /// Load, in percent.
    pub load_percent: u8,
    /// How long the battery will last, in seconds. Megatec cannot say it.
    pub runtime_s: u32,
}

impl Default for Condition {
    /// On line, heard, charged, for half an hour.
    fn default() -> Self {
        Self {
            on_line: true,
            low: false,
            replace: false,
            stale: false,
            charge_percent: 100,
            load_percent: 12,
            runtime_s: 1800,
        }
    }
}

impl Condition {
    fn charge(&self) -> u8 {
        self.charge_percent.min(100)
    }

    fn load(&self) -> u8 {
        self.load_percent.min(100)
    }

    /// Volts of a battery of 24 V, on the scale from which NUT's Megatec drivers guess a charge.
    fn battery_v(&self) -> f64 {
        20.8 + f64::from(self.charge()) * 0.052
    }

    fn input_v(&self) -> f64 {
        if self.on_line { MAINS_V } else { 0.0 }
    }
}

/// What the supply was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Cut the load after `delay`; with `restart`, power it again so long after that (at once if the mains return).
    Shutdown {
        /// Until the cut.
        delay: Duration,
        /// From the cut until power returns.
        restart: Option<Duration>,
    },
    /// Not to cut the load after all.
    ShutdownCancelled,
    /// Test the battery.
    Test,
    /// A client of the server logged in.
    Login,
    /// A client of the server told the others to shut down.
    ForcedShutdown,
}

/// What is spoken on a serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Megatec, also called Q1: NUT's `blazer_ser` and `nutdrv_qx`.
    Megatec,
    /// APC's smart protocol: NUT's `apcsmart`, and apcupsd.
    Apc,
}

/// The supply. Dropping it ends all its ports.
#[derive(Debug, Default)]
pub struct Ups {
    shared: Arc<Shared>,
    ports: Vec<(Protocol, Port)>,
    server: Option<nut::Server>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    condition: Condition,
    forced_shutdown: bool,
    logins: u32,
    events: VecDeque<Event>,
}

impl Shared {
    fn condition(&self) -> Condition {
        locked(&self.state).condition
    }

    fn tell(&self, event: Event) {
        let mut state = locked(&self.state);
        if state.events.len() < EVENTS_MAX {
            state.events.push_back(event);
        }
        self.changed.notify_all();
    }
}

impl Ups {
    /// A supply on line that nobody is connected to.
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens at `path` for a machine's serial port, and returns QEMU's arguments for it: a 16550 on PCI.
    pub fn plug(&mut self, protocol: Protocol, path: &Path) -> Result<Vec<String>> {
        anyhow::ensure!(self.ports.len() < PORTS_MAX, "a supply has {PORTS_MAX} ports");
        let shared = Arc::clone(&self.shared);
        let port = Port::start(path, "ups", move |link| match protocol {
            Protocol::Megatec => talk(link, |line| megatec::answer(&shared, line), b'\r'),
            Protocol::Apc => apc::talk(&shared, link),
        })?;
        let id = format!("ups{}", self.ports.len());
        let [option, chardev] = port.chardev(&id);
        self.ports.push((protocol, port));
        Ok(vec![option, chardev, "-device".to_owned(), format!("pci-serial,chardev={id}")])
    }

    /// Serves as Network UPS Tools do, on a free port of `[::1]`. The supply has the name `ups`.
    pub fn serve(&mut self) -> Result<SocketAddrV6> {
        let server = nut::Server::start(&self.shared).context("serve a supply on [::1]")?;
        let address = server.address();
        self.server = Some(server);
        Ok(address)
    }

    /// One client of that server, for a connection that is not a host's: bytes in, bytes out.
    pub fn session(&self) -> Session {
        Session::new(&self.shared)
    }

    /// Serves one client until it leaves.
    pub fn serve_one(&self, stream: impl Read + Write) -> Result<()> {
        Ok(nut::talk(self.session(), stream)?)
    }

    /// How the supply is.
    pub fn condition(&self) -> Condition {
        self.shared.condition()
    }

    /// Changes how the supply is. APC's supplies say some changes unasked.
    pub fn change(&self, change: impl FnOnce(&mut Condition)) {
        let (was, is) = {
            let mut state = locked(&self.shared.state);
            let was = state.condition;
            change(&mut state.condition);
            (was, state.condition)
        };
        for (_, port) in self.ports.iter().filter(|(protocol, _)| *protocol == Protocol::Apc) {
            port.say(&apc::alerts(was, is));
        }
    }

    /// What was asked since the last call, in order.
    pub fn events(&self) -> Vec<Event> {
        locked(&self.shared.state).events.drain(..).collect()
    }

    /// Waits for the first event that `wanted` takes; those before it are dropped. `None` after `deadline`.
    pub fn wait(&self, deadline: Duration, mut wanted: impl FnMut(&Event) -> bool) -> Option<Event> {
        let end = Instant::now() + deadline;
        let mut state = locked(&self.shared.state);
        loop {
            while let Some(event) = state.events.pop_front() {
                if wanted(&event) {
                    return Some(event);
                }
            }
            let left = end.checked_duration_since(Instant::now())?;
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Collects bytes to lines of at most [`LINE_BYTES_MAX`], without their end.
#[derive(Debug)]
struct Lines {
    line: Vec<u8>,
    too_long: bool,
    end: u8,
}

impl Lines {
    fn new(end: u8) -> Self {
        Self { line: Vec::new(), too_long: false, end }
    }

    fn push(&mut self, byte: u8) -> Option<Vec<u8>> {
        if byte == self.end {
            let line = std::mem::take(&mut self.line);
            return (!std::mem::take(&mut self.too_long)).then_some(line);
        }
        if self.line.len() < LINE_BYTES_MAX {
            self.line.push(byte);
        } else {
            self.too_long = true;
        }
        None
    }
}

/// Answers line by line until the other side leaves.
fn talk(mut stream: impl Read + Write, mut answer: impl FnMut(&[u8]) -> Vec<u8>, end: u8) -> std::io::Result<()> {
    let mut lines = Lines::new(end);
    let mut buffer = [0; 256];
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for byte in buffer.iter().take(count) {
            if let Some(line) = lines.push(*byte) {
                stream.write_all(&answer(&line))?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn connect(path: &Path) -> UnixStream {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    fn read(stream: &mut UnixStream, length: usize) -> String {
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn both_serial_protocols_tell_one_condition() {
        let folder = tempfile::tempdir().unwrap();
        let mut ups = Ups::new();
        let arguments = ups.plug(Protocol::Megatec, &folder.path().join("q1")).unwrap();
        assert!(arguments[1].starts_with("socket,id=ups0,path=") && arguments[3] == "pci-serial,chardev=ups0");
        ups.plug(Protocol::Apc, &folder.path().join("apc")).unwrap();
        let (mut q1, mut smart) = (connect(&folder.path().join("q1")), connect(&folder.path().join("apc")));
        q1.write_all(b"Q1\r").unwrap();
        assert_eq!(read(&mut q1, 47), "(230.0 230.0 230.0 012 50.0 26.0 25.0 00000000\r");
        smart.write_all(b"Y").unwrap();
        assert_eq!(read(&mut smart, 4), "SM\r\n");
        ups.change(|c| (c.on_line, c.low, c.charge_percent) = (false, true, 5));
        assert_eq!(read(&mut smart, 2), "!%");
        q1.write_all(b"Q1\r").unwrap();
        assert_eq!(read(&mut q1, 47), "(000.0 000.0 230.0 012 50.0 21.1 25.0 11000001\r");
        smart.write_all(b"Q").unwrap();
        assert_eq!(read(&mut smart, 4), "50\r\n");
        q1.write_all(b"S.3R0002\r").unwrap();
        let (delay, restart) = (Duration::from_secs(18), Some(Duration::from_secs(120)));
        assert_eq!(ups.wait(Duration::from_secs(60), |_| true), Some(Event::Shutdown { delay, restart }));
        assert_eq!(ups.wait(Duration::ZERO, |_| true), None);
    }

    #[test]
    fn lines_and_ports_have_limits() {
        let mut lines = Lines::new(b'\r');
        let feed = |lines: &mut Lines, bytes: &[u8]| bytes.iter().filter_map(|b| lines.push(*b)).collect::<Vec<_>>();
        let longest = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(feed(&mut lines, &[&longest[..], b"\r"].concat()), std::slice::from_ref(&longest));
        assert_eq!(feed(&mut lines, &[&longest[..], b"xx\rQ1\r"].concat()), [b"Q1".to_vec()]);
        let folder = tempfile::tempdir().unwrap();
        let mut ups = Ups::new();
        let mut plug = |i: usize| ups.plug(Protocol::Apc, &folder.path().join(i.to_string()));
        assert!((0..PORTS_MAX).all(|i| plug(i).is_ok()));
        assert!(plug(PORTS_MAX).is_err());
        (0..2 * EVENTS_MAX).for_each(|_| ups.shared.tell(Event::Test));
        assert_eq!(ups.events().len(), EVENTS_MAX);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A baseboard management controller behind QEMU's `ipmi-bmc-extern`, because QEMU's own has one sensor and no knob. It
//! answers on a thread of its own; the test sets sensors and hears what the guest asks of the chassis.
//!
//! On the socket stands the OpenIPMI "VM" serial codec: a message (sequence, network function and unit, command, data,
//! checksum) ends with 0xA0, a command to the virtual hardware with 0xA1, and 0xAA escapes these three bytes.

mod controller;

pub use controller::{
    ChassisAction, Controller, EVENTS_MAX, Event, SEL_ENTRIES_MAX, SENSOR_NAME_BYTES_MAX, SENSORS_MAX, Sensor,
    SensorKind, Thresholds,
};

use crate::port::{Port, locked};
use anyhow::Result;
use controller::Hardware;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest message, in bytes with its checksum; QEMU sends no more.
pub const MESSAGE_BYTES_MAX: usize = 300;
const END_OF_MESSAGE: u8 = 0xa0;
const END_OF_COMMAND: u8 = 0xa1;
const ESCAPE: u8 = 0xaa;
const ESCAPED: u8 = 0x10;
/// Commands to the virtual hardware.
const POWER_OFF: u8 = 0x03;
const RESET: u8 = 0x04;
const NMI: u8 = 0x07;
const SHUTDOWN: u8 = 0x09;
const VERSION: u8 = 0xff;

/// A running controller. Dropping it ends its thread; the guest then sees a controller that no longer answers.
#[derive(Debug)]
pub struct Bmc {
    shared: Arc<Shared>,
    port: Port,
}

#[derive(Debug)]
struct Shared {
    controller: Mutex<Controller>,
    changed: Condvar,
    start: Instant,
}

impl Shared {
    fn controller(&self) -> MutexGuard<'_, Controller> {
        locked(&self.controller)
    }
}

impl Bmc {
    /// Listens at `path` with the sensors of a small server (see [`Controller::default`]).
    pub fn start(path: &Path) -> Result<Self> {
        Self::start_with(path, Controller::default())
    }

    /// Listens at `path` with the sensors of `controller`.
    pub fn start_with(path: &Path, controller: Controller) -> Result<Self> {
        let controller = Mutex::new(controller);
        let shared = Arc::new(Shared { controller, changed: Condvar::new(), start: Instant::now() });
        let port = Port::start(path, "bmc", {
            let shared = Arc::clone(&shared);
            move |link| talk(&shared, link)
        })?;
        Ok(Self { shared, port })
    }

    /// QEMU's arguments: the controller, and the interface by which the guest reaches it.
    pub fn arguments(&self) -> Vec<String> {
        let devices = ["-device", "ipmi-bmc-extern,id=bmc,chardev=bmc-link", "-device", "isa-ipmi-kcs,bmc=bmc"];
        self.port.chardev("bmc-link").into_iter().chain(devices.map(str::to_owned)).collect()
    }

    /// Sets what an analog sensor reads, in its unit. A threshold that is crossed is logged, as real ones do.
    pub fn set(&self, sensor: &str, value: impl Into<f64>) -> Result<()> {
        let now = self.shared.start.elapsed();
        self.shared.controller().set(sensor, value.into(), now)
    }

    /// Sets the states of a discrete sensor, one bit each; for a power supply 0 is present, 1 failed, 3 without input.
    pub fn set_states(&self, sensor: &str, states: u16) -> Result<()> {
        let now = self.shared.start.elapsed();
        self.shared.controller().set_states(sensor, states, now)
    }

    /// Makes a sensor answer that it has no reading.
    pub fn lose(&self, sensor: &str) -> Result<()> {
        self.shared.controller().lose(sensor)
    }

    /// Appends a record of 16 bytes to the event log; its number and time are filled in.
    pub fn log(&self, record: [u8; 16]) -> Result<()> {
        let now = self.shared.start.elapsed();
        self.shared.controller().append(record, now).map(drop)
    }

    /// The records of the event log.
    pub fn logged(&self) -> Vec<[u8; 16]> {
        self.shared.controller().logged().to_vec()
    }

    /// What happened since the last call, in order.
    pub fn events(&self) -> Vec<Event> {
        self.shared.controller().take_events()
    }

    /// Waits for the first event that `wanted` takes; those before it are dropped. `None` after `deadline`.
    pub fn wait(&self, deadline: Duration, mut wanted: impl FnMut(&Event) -> bool) -> Option<Event> {
        let end = Instant::now() + deadline;
        let mut controller = self.shared.controller();
        loop {
            while let Some(event) = controller.next_event() {
                if wanted(&event) {
                    return Some(event);
                }
            }
            let left = end.checked_duration_since(Instant::now())?;
            controller = self.shared.changed.wait_timeout(controller, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn talk(shared: &Shared, mut link: UnixStream) -> std::io::Result<()> {
    send(&mut link, &[VERSION, 1], END_OF_COMMAND)?;
    let mut decoder = Decoder::default();
    let mut buffer = [0; 512];
    loop {
        let now = shared.start.elapsed();
        let (hardware, wait) = {
            let mut controller = shared.controller();
            (controller.tick(now), controller.next_tick(now))
        };
        shared.changed.notify_all();
        if let Some(hardware) = hardware {
            command(&mut link, hardware)?;
        }
        link.set_read_timeout(wait)?;
        let count = match link.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        for byte in buffer.iter().take(count) {
            let Some(frame) = decoder.push(*byte) else { continue };
            let (answer, hardware) = {
                let mut controller = shared.controller();
                let now = shared.start.elapsed();
                match frame {
                    Frame::Message(message) => controller.answer(&message, now),
                    Frame::Command(code) => {
                        controller.hardware_said(code == RESET);
                        (None, None)
                    }
                }
            };
            shared.changed.notify_all();
            if let Some(answer) = answer {
                send(&mut link, &answer, END_OF_MESSAGE)?;
            }
            if let Some(hardware) = hardware {
                command(&mut link, hardware)?;
            }
        }
    }
}

fn command(link: &mut UnixStream, hardware: Hardware) -> std::io::Result<()> {
    let code = match hardware {
        Hardware::PowerOff => POWER_OFF,
        Hardware::Reset => RESET,
        Hardware::Nmi => NMI,
        Hardware::Shutdown => SHUTDOWN,
    };
    send(link, &[code], END_OF_COMMAND)
}

/// Encodes `content`; a message gets its checksum.
fn encode(content: &[u8], end: u8) -> Vec<u8> {
    let sum = content.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
    let checksum = (end == END_OF_MESSAGE).then_some(sum);
    let mut frame = Vec::with_capacity(content.len() * 2 + 3);
    for byte in content.iter().copied().chain(checksum) {
        if matches!(byte, END_OF_MESSAGE | END_OF_COMMAND | ESCAPE) {
            frame.extend([ESCAPE, byte | ESCAPED]);
        } else {
            frame.push(byte);
        }
    }
    frame.push(end);
    frame
}

fn send(link: &mut UnixStream, content: &[u8], end: u8) -> std::io::Result<()> {
    link.write_all(&encode(content, end))
}

#[derive(Debug, PartialEq, Eq)]
enum Frame {
    /// Without its checksum, which was right.
    Message(Vec<u8>),
    /// Its first byte.
    Command(u8),
}

/// Takes the bytes apart. What is too long, too short or has a wrong checksum is dropped: the guest asks again.
#[derive(Debug, Default)]
struct Decoder {
    content: Vec<u8>,
    escaped: bool,
    too_long: bool,
}

impl Decoder {
    fn push(&mut self, byte: u8) -> Option<Frame> {
        match byte {
            ESCAPE => self.escaped = true,
            END_OF_MESSAGE | END_OF_COMMAND => {
                let content = std::mem::take(self);
                if content.too_long || content.escaped {
                    return None;
                }
                let mut content = content.content;
                if byte == END_OF_COMMAND {
                    return content.first().copied().map(Frame::Command);
                }
                let whole = content.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0 && content.len() >= 4;
                content.pop();
                return whole.then_some(Frame::Message(content));
            }
            byte if self.content.len() < MESSAGE_BYTES_MAX => {
                let plain = if std::mem::take(&mut self.escaped) { byte & !ESCAPED } else { byte };
                self.content.push(plain);
            }
            _ => self.too_long = true,
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_device::command::IpmiCommand;
    use adit_device::ipmi::{self, BmcReading, Condition, Records, SensorKind, SensorState};
    use adit_device::transport::{Ipmi, TransportError};

    fn decode(bytes: &[u8]) -> Vec<Frame> {
        let mut decoder = Decoder::default();
        bytes.iter().filter_map(|byte| decoder.push(*byte)).collect()
    }

    #[test]
    fn frames_by_hand() {
        // Sequence 1, network function 6, command 1 (device id), checksum: what QEMU sends for `ipmitool mc info`.
        assert_eq!(encode(&[0x01, 0x18, 0x01], END_OF_MESSAGE), [0x01, 0x18, 0x01, 0xe6, 0xa0]);
        assert_eq!(decode(&[0x01, 0x18, 0x01, 0xe6, 0xa0]), [Frame::Message(vec![1, 0x18, 1])]);
        assert_eq!(encode(&[0xaa, 0xa0, 0xa1], END_OF_COMMAND), [0xaa, 0xba, 0xaa, 0xb0, 0xaa, 0xb1, 0xa1]);
        assert_eq!(decode(&[0xff, 0x01, 0xa1, 0x04, 0xa1]), [Frame::Command(0xff), Frame::Command(4)]);
    }

    #[test]
    fn every_byte_survives_and_errors_are_dropped() {
        let content: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&content, END_OF_MESSAGE)), [Frame::Message(content.clone())]);
        let mut wrong = encode(&content, END_OF_MESSAGE);
        wrong[5] ^= 1;
        let right = encode(&[1, 2, 3], END_OF_MESSAGE);
        assert_eq!(decode(&[&wrong[..], &right[..]].concat()), [Frame::Message(vec![1, 2, 3])]);
        assert_eq!(decode(&[0xa0, 0xa1, 0, 0, 0xa0]), []);
        assert_eq!(decode(&[0xaa, 0xa0, 1, 0xff, 0, 0, 0xa0]), [Frame::Message(vec![1, 0xff, 0])]);
    }

    #[test]
    fn a_message_ends_at_its_limit() {
        let longest = vec![0; MESSAGE_BYTES_MAX];
        assert_eq!(decode(&[&longest[..], &[0xa0]].concat()).len(), 1);
        let too_long = vec![0; 100 * MESSAGE_BYTES_MAX];
        assert_eq!(decode(&[&too_long[..], &[0xa0], &encode(&[1, 2, 3], END_OF_MESSAGE)[..]].concat()).len(), 1);
    }

    struct Guest(UnixStream);

    impl Guest {
        fn connect(path: &Path) -> Self {
            let mut stream = UnixStream::connect(path).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let mut version = [0; 3];
            stream.read_exact(&mut version).unwrap();
            assert_eq!(version, [0xff, 1, 0xa1]);
            Self(stream)
        }

        fn frame(&mut self) -> Frame {
            let mut decoder = Decoder::default();
            loop {
                let mut byte = [0];
                self.0.read_exact(&mut byte).unwrap();
                if let Some(frame) = decoder.push(byte[0]) {
                    return frame;
                }
            }
        }

        fn ask(&mut self, function: u8, command: u8, data: &[u8]) -> Vec<u8> {
            let message = [&[9, function << 2, command][..], data].concat();
            self.0.write_all(&encode(&message, END_OF_MESSAGE)).unwrap();
            let Frame::Message(answer) = self.frame() else { panic!("a command instead of an answer") };
            assert_eq!(answer[..3], [9, (function | 1) << 2, command]);
            answer[3..].to_vec()
        }
    }

    /// The agent's own reader asks over the codec, in place of QEMU and the guest's driver.
    impl Ipmi for Guest {
        fn request(&mut self, command: &IpmiCommand, reply: &mut [u8]) -> Result<usize, TransportError> {
            let answer = self.ask(command.netfn(), command.command(), command.data());
            let length = answer.len().min(reply.len());
            reply[..length].copy_from_slice(&answer[..length]);
            Ok(length)
        }
    }

    #[test]
    fn the_agent_reads_what_the_test_sets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bmc");
        let bmc = Bmc::start(&path).unwrap();
        let (mut guest, mut records) = (Guest::connect(&path), Records::default());
        let of = |reading: &BmcReading, name: &str| {
            let sensor = reading.sensors.iter().find(|sensor| sensor.name == name).expect(name);
            (sensor.kind, sensor.state)
        };
        let well = ipmi::read(&mut guest, &mut records).unwrap();
        assert_eq!(well.sensors.len(), 9);
        assert!(well.chassis.is_some_and(|chassis| chassis.power_on));
        assert_eq!((well.log.unwrap().entries, well.power_w, well.sensors_left_out), (0, None, 0));
        bmc.set("CPU Temp", 93).unwrap();
        bmc.set("FAN1", 0).unwrap();
        bmc.set_states("PSU1", 0x0b).unwrap();
        let ill = ipmi::read(&mut guest, &mut records).unwrap();
        let (kind, state) = of(&ill, "CPU Temp");
        let SensorState::Read { milli: Some(93_000), condition: Condition::Thresholds(crossed) } = state else {
            panic!("{state:?}")
        };
        assert!(kind == SensorKind::Temperature && crossed.is_critical() && !crossed.is_low());
        let (kind, state) = of(&ill, "FAN1");
        let SensorState::Read { milli: Some(0), condition: Condition::Thresholds(crossed) } = state else {
            panic!("{state:?}")
        };
        assert!(kind == SensorKind::Fan && crossed.is_low());
        let supply = Condition::States { event_type: 0x6f, states: 0x0b };
        assert_eq!(of(&ill, "PSU1"), (SensorKind::PowerSupply, SensorState::Read { milli: None, condition: supply }));
        let log = ill.log.unwrap();
        assert_eq!(usize::from(log.entries), log.recent.len());
        assert!(
            log.recent.iter().any(|event| event.kind == SensorKind::PowerSupply && event.offset == 1 && !event.gone)
        );
        bmc.lose("CPU Temp").unwrap();
        let lost = ipmi::read(&mut guest, &mut records).unwrap();
        assert_eq!((of(&lost, "CPU Temp").1, lost.log), (SensorState::Unavailable, Some(log)));
    }

    #[test]
    fn a_guest_sees_what_the_test_sets_and_the_test_hears_the_guest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bmc");
        let bmc = Bmc::start(&path).unwrap();
        for _ in 0..2 {
            let mut guest = Guest::connect(&path);
            bmc.set("CPU Temp", 93).unwrap();
            assert_eq!(guest.ask(4, 0x2d, &[1])[..3], [0, 93, 0xc0]);
            bmc.lose("CPU Temp").unwrap();
            assert_eq!(guest.ask(4, 0x2d, &[1])[2], 0xe0);
            assert_eq!(guest.ask(0, 2, &[2]), [0]);
            assert_eq!(guest.frame(), Frame::Command(RESET), "QEMU is told to reset the machine");
            let heard = bmc.wait(Duration::from_secs(60), |event| matches!(event, Event::Chassis(_)));
            assert_eq!(heard, Some(Event::Chassis(ChassisAction::Cycle)));
            guest.0.write_all(&[RESET, END_OF_COMMAND]).unwrap();
            assert_eq!(bmc.wait(Duration::from_secs(60), |_| true), Some(Event::HostReset));
        }
        assert_eq!(bmc.wait(Duration::ZERO, |_| true), None);
        assert!(bmc.set("no such", 1).is_err());
    }

    #[test]
    fn a_watchdog_that_is_not_fed_resets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bmc");
        let bmc = Bmc::start(&path).unwrap();
        let mut guest = Guest::connect(&path);
        assert_eq!(guest.ask(6, 0x22, &[]), [0x80], "not set yet");
        assert_eq!(guest.ask(6, 0x24, &[4, 1, 0, 0, 2, 0]), [0]);
        assert_eq!(guest.ask(6, 0x22, &[]), [0]);
        assert_eq!(guest.frame(), Frame::Command(RESET));
        assert!(bmc.wait(Duration::from_secs(60), |event| *event == Event::Watchdog { action: 1 }).is_some());
        assert_eq!(bmc.logged().len(), 1);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What adit-probe says to the agent over its socket: a request of one byte, an answer of one frame with everything that
//! is known of the machine's devices, each with its age.
//!
//! Both ends belong to one release and one machine, so the version only tells an old helper from a new agent.

use crate::ask::ReadError;
use crate::dm::DmReading;
use crate::hpsa::ControllerReading;
use crate::ipmi::BmcReading;
use crate::reading::{DiskReading, PowerState};
use crate::transport::TransportError;
use serde::{Deserialize, Serialize};

/// The request: give what you know. Also the version of both forms.
pub const VERSION: u8 = 1;
/// Most bytes of an answer behind its length. 24 disks and a BMC with 150 sensors take about 15 KiB.
pub const ANSWER_BYTES_MAX: usize = 512 << 10;
/// Bytes of the length before an answer: u32, little-endian.
pub const LENGTH_BYTES: usize = 4;
/// Most devices of an answer.
pub const DEVICES_MAX: usize = 256;

/// What adit-probe knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// [`VERSION`] of the helper.
    pub version: u8,
    /// Capabilities that it would need for what it found, and does not have, e.g. `CAP_SYS_RAWIO`.
    pub lacks: Vec<String>,
    /// Devices that it found and left out, beyond [`DEVICES_MAX`].
    pub left_out: u16,
    /// The kernel's clock; `None` where a filter forbids to ask. It is no device, but the agent's own filter is tighter.
    pub clock: Option<Clock>,
    /// The devices, in the order of their names.
    pub devices: Vec<DeviceReport>,
}

/// The kernel's clock (adjtimex(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Whether a program keeps it.
    pub is_synchronised: bool,
    /// How far it still has to be moved, microseconds.
    pub offset_us: i64,
}

/// One device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// The kernel's name: `sda`, `nvme0`, `ipmi0`, `host0` for a controller, `mapper` for all device-mapper volumes.
    pub name: String,
    /// What it was doing when it was last looked at or left alone; `Unknown` for what is no disk.
    pub power: PowerState,
    /// What it said when it was last read; `None` when it never was.
    pub said: Option<Said>,
    /// How old `said` is, seconds; 0 without it.
    pub age_s: u64,
    /// How long an unanswered look at it lasts, seconds; `None` when nothing is under way.
    pub waiting_s: Option<u64>,
    /// Why the last look gave nothing; `None` after one that did.
    pub trouble: Option<Trouble>,
}

/// What a device said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// A disk.
    Disk(Box<DiskReading>),
    /// A BMC.
    Bmc(Box<BmcReading>),
    /// A Smart Array controller.
    Controller(Box<ControllerReading>, Vec<ArrayDisk>),
    /// The device-mapper volumes that have a health of their own.
    Volumes(Vec<DmReading>),
}

/// A disk behind a controller, by what it says itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrayDisk {
    /// Port, box and bay, e.g. `1I:1:3`.
    pub location: String,
    /// What it said.
    pub reading: DiskReading,
}

/// Why a look gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trouble {
    /// The kernel refused; which right is missing.
    NeedsCapability(String),
    /// The device or its driver has no such interface.
    NotSupported,
    /// No answer in time.
    TimedOut,
    /// It is not there any more.
    Gone,
    /// Its peripheral device type is no disk's.
    NotADisk(u8),
    /// There is no medium in it.
    NoMedium,
    /// It does not say who it is.
    NoIdentity,
    /// Another error of the kernel, by number.
    Io(i32),
}

impl From<TransportError> for Trouble {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::NotSupported => Self::NotSupported,
            TransportError::NeedsCapability(name) => Self::NeedsCapability(name.to_owned()),
            TransportError::TimedOut => Self::TimedOut,
            TransportError::Gone => Self::Gone,
            TransportError::Io(number) => Self::Io(number),
        }
    }
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Transport(error) => error.into(),
            ReadError::NotADisk(kind) => Self::NotADisk(kind),
            ReadError::NoMedium => Self::NoMedium,
            ReadError::NoIdentity => Self::NoIdentity,
        }
    }
}

/// Why bytes are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PipeError {
    /// Longer than [`ANSWER_BYTES_MAX`].
    #[error("an answer of {0} bytes is beyond {ANSWER_BYTES_MAX}")]
    TooLong(usize),
    /// Not an answer's bytes, or more devices than [`DEVICES_MAX`].
    #[error("the answer is malformed")]
    Malformed,
    /// From another release.
    #[error("the answer has version {0}, this program reads {VERSION}")]
    Version(u8),
}

impl Answer {
    /// The frame: length, then postcard.
    ///
    /// # Errors
    /// When it is longer than it may be.
    pub fn encode(&self) -> Result<Vec<u8>, PipeError> {
        let body = postcard::to_allocvec(self).map_err(|_| PipeError::Malformed)?;
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= ANSWER_BYTES_MAX);
        let length = length.ok_or(PipeError::TooLong(body.len()))?;
        Ok([&length.to_le_bytes()[..], &body].concat())
    }

    /// The same, so many seconds later.
    #[must_use]
    pub fn aged(mut self, seconds: u64) -> Self {
        for device in &mut self.devices {
            device.waiting_s = device.waiting_s.map(|waiting_s| waiting_s.saturating_add(seconds));
            if let Some(said) = &mut device.said {
                device.age_s = device.age_s.saturating_add(seconds);
                if let Said::Disk(reading) = said {
                    reading.age_s = device.age_s;
                }
            }
        }
        self
    }

    /// How many bytes follow the length.
    ///
    /// # Errors
    /// When it is more than an answer may have: the caller must not make room for it.
    pub fn length(bytes: [u8; LENGTH_BYTES]) -> Result<usize, PipeError> {
        let length = usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX);
        if length <= ANSWER_BYTES_MAX { Ok(length) } else { Err(PipeError::TooLong(length)) }
    }

    /// Reads what follows the length.
    ///
    /// # Errors
    /// When the bytes are no answer of this version.
    pub fn decode(body: &[u8]) -> Result<Self, PipeError> {
        match body.first() {
            Some(&VERSION) => {}
            Some(&version) => return Err(PipeError::Version(version)),
            None => return Err(PipeError::Malformed),
        }
        let answer: Self = postcard::from_bytes(body).map_err(|_| PipeError::Malformed)?;
        if answer.devices.len() <= DEVICES_MAX { Ok(answer) } else { Err(PipeError::Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dm::{self, Target};
    use proptest::prelude::*;

    fn report(name: &str, said: Option<Said>) -> DeviceReport {
        let trouble = Some(Trouble::NeedsCapability("CAP_SYS_RAWIO".to_owned()));
        DeviceReport { name: name.to_owned(), power: PowerState::Idle, said, age_s: 7, waiting_s: Some(90), trouble }
    }

    fn answer() -> Answer {
        let piece = |kind: &str, status: &str| Target { start: 0, length: 8, kind: kind.into(), status: status.into() };
        let volume = dm::read("vg-pool", "LVM-x", false, &[piece("raid", "raid1 2 AD 1/8 recover 0")]);
        let disk = DiskReading { temperature_c: Some(-3), reallocated: Some(9), ..DiskReading::default() };
        Answer {
            version: VERSION,
            lacks: vec!["CAP_SYS_ADMIN".to_owned()],
            left_out: 0,
            clock: Some(Clock { is_synchronised: true, offset_us: -7 }),
            devices: vec![
                report("mapper", Some(Said::Volumes(vec![volume]))),
                report("sda", Some(Said::Disk(Box::new(disk)))),
                report("sdb", None),
            ],
        }
    }

    #[test]
    fn an_answer_survives_the_pipe() {
        let frame = answer().encode().unwrap();
        let (length, body) = frame.split_at(LENGTH_BYTES);
        assert_eq!(Answer::length(length.try_into().unwrap()), Ok(body.len()));
        assert_eq!(Answer::decode(body), Ok(answer()));
    }

    #[test]
    fn limits_hold_on_both_ends() {
        let beyond = u32::try_from(ANSWER_BYTES_MAX + 1).unwrap();
        assert_eq!(Answer::length(beyond.to_le_bytes()), Err(PipeError::TooLong(ANSWER_BYTES_MAX + 1)));
        let text = "x".repeat(ANSWER_BYTES_MAX);
        let long = Answer { lacks: vec![text], version: VERSION, ..Answer::default() };
        assert!(matches!(long.encode(), Err(PipeError::TooLong(_))));
        let many = Answer { devices: vec![report("a", None); DEVICES_MAX + 1], ..answer() };
        assert_eq!(Answer::decode(&many.encode().unwrap()[LENGTH_BYTES..]), Err(PipeError::Malformed));
        assert_eq!(Answer::decode(&[9, 0, 0, 0]), Err(PipeError::Version(9)));
        assert_eq!(Answer::decode(&[]), Err(PipeError::Malformed));
    }

    #[test]
    fn ages_count_on() {
        let aged = answer().aged(10);
        let ages: Vec<_> = aged.devices.iter().map(|device| (device.age_s, device.waiting_s)).collect();
        assert_eq!(ages, [(17, Some(100)), (17, Some(100)), (7, Some(100))], "nothing was said, so nothing ages");
        let Some(Said::Disk(disk)) = &aged.devices[1].said else { panic!("a disk") };
        assert_eq!(disk.age_s, 17);
    }

    proptest! {
        #[test]
        fn noise_cuts_and_flips_are_taken(noise in prop::collection::vec(any::<u8>(), 0..300), at in 0_usize..4000) {
            drop(Answer::decode(&[&[VERSION][..], &noise].concat()));
            let mut body = answer().encode().unwrap()[LENGTH_BYTES..].to_vec();
            let bit = at % (body.len() * 8);
            body[bit / 8] ^= 1 << (bit % 8);
            drop(Answer::decode(&body));
            body.truncate(at % body.len());
            prop_assert!(Answer::decode(&body).is_err() || bit / 8 < body.len());
        }
    }
}

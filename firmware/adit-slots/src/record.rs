// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an appliance remembers of its slots across starts, and its bytes in the state partition.
//!
//! The record leads and the names on the ESP follow: every change is written here first. `decide` says what it means.
//! Fields that a later program adds behind are skipped, because an older image may start again at any time.

use crate::bytes::{Reader, Short, Writer};
use crate::copies::{Copies, CopiesError};
use crate::layout::{COPY_BYTES, STATE_KEYS_OFFSETS, STATE_RECORD_OFFSETS};
use crate::manifest::Digest;
use crate::version::Version;
use embedded_io::{Read, Seek, Write};

/// Where the record lies.
pub const COPIES: Copies = Copies { magic: *b"ADITREC1", offsets: STATE_RECORD_OFFSETS };
/// Where the key set lies; its payload is that of `keys::SignedKeySet`. The higher version of it and the image's counts.
pub const KEY_COPIES: Copies = Copies { magic: *b"ADITKYS1", offsets: STATE_KEYS_OFFSETS };
/// Digests that are remembered as failed; the oldest is forgotten first.
pub const DENIED_MAX: usize = 8;
/// Bytes of a record as this program writes it.
pub const RECORD_BYTES: usize = 2 * SLOT_BYTES + DENIED_MAX * 32 + 8 + 3 * 8 + 16 + 8;
const SLOT_BYTES: usize = 8 + 8 + 32 + 4;

/// Which start of the machine: sixteen random bytes, new each time.
pub type BootId = [u8; 16];

/// Why the machine started anew, or why a slot failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Reset {
    /// Nothing was written before it and nothing was left behind: a power cut, or a hang without a watchdog.
    #[default]
    Unknown = 0,
    /// A person asked for a restart.
    Asked = 1,
    /// A restart into a candidate.
    Update = 2,
    /// The health gate failed or its time ran out.
    Health = 3,
    /// The watchdog fired.
    Watchdog = 4,
    /// The kernel panicked.
    Panic = 5,
    /// The power button.
    PowerButton = 6,
    /// The UPS ran low.
    Ups = 7,
    /// A person asked to go back to the other slot.
    RollBack = 8,
    /// The slot started too often in a row without being confirmed.
    Starts = 9,
    /// A factory reset.
    FactoryReset = 10,
    /// The slot's file is gone.
    Missing = 11,
}

impl Reset {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::Unknown,
        Self::Asked,
        Self::Update,
        Self::Health,
        Self::Watchdog,
        Self::Panic,
        Self::PowerButton,
        Self::Ups,
        Self::RollBack,
        Self::Starts,
        Self::FactoryReset,
        Self::Missing,
    ];

    /// The one that a byte means; a later program's is unknown.
    #[must_use]
    pub fn from_byte(byte: u8) -> Self {
        Self::ALL.get(usize::from(byte)).copied().unwrap_or_default()
    }
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SlotState {
    /// Nothing.
    #[default]
    Empty,
    /// An image is being written; nothing in it counts.
    Writing,
    /// A whole image, read back and checked; nobody starts it yet.
    Staged,
    /// Activated: the boot loader counts its tries.
    Trying,
    /// Confirmed by the health of a start of it.
    Good,
    /// Not to be started while another can.
    Bad(Reset),
}

/// One of the two slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Slot {
    /// The image's version, which is its file's name too.
    pub version: Version,
    /// The floor that its manifest asks for.
    pub floor: Version,
    /// The image's hash; zero when the slot was found rather than written.
    pub digest: Digest,
    /// What the slot holds.
    pub state: SlotState,
}

/// How far a factory reset came. Each step is repeated until the next is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum FactoryReset {
    /// None is under way.
    #[default]
    None = 0,
    /// Asked for: keys and configuration are to be erased.
    Asked = 1,
    /// Keys and configuration are erased; the data is next.
    VarErased = 2,
    /// The data is erased too; shares and logs in the state partition are next.
    DataErased = 3,
}

/// What an appliance remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Record {
    /// The two slots.
    pub slots: [Slot; 2],
    /// Index of the slot that started last, < 2.
    pub running: u8,
    /// Images that failed here; zeros are empty places.
    pub denied: [Digest; DENIED_MAX],
    /// Which of them is overwritten next, < [`DENIED_MAX`].
    pub denied_next: u8,
    /// No image below this is taken any more. Only rises.
    pub floor: Version,
    /// Seconds of running time that the running slot has been Good.
    pub good_running_s: u64,
    /// The last known time, seconds since 1970.
    pub time_s: u64,
    /// When a peer was last in contact, seconds since 1970; 0 for never.
    pub contact_s: u64,
    /// The last start.
    pub boot_id: BootId,
    /// Why that start happened.
    pub reset: Reset,
    /// What the first process wrote just before it stopped; read and cleared by the next start.
    pub stop: Reset,
    /// Starts of the running slot since it was last confirmed.
    pub boots_unconfirmed: u8,
    /// How far a factory reset came.
    pub factory_reset: FactoryReset,
    /// Whether data was mounted when a slot was last confirmed; a candidate without it is not healthy.
    pub data_expected: bool,
}

impl Record {
    /// The slot that runs.
    #[must_use]
    pub const fn running_slot(&self) -> &Slot {
        let [first, second] = &self.slots;
        if self.running == 0 { first } else { second }
    }

    /// The other one.
    #[must_use]
    pub const fn other_slot(&self) -> &Slot {
        let [first, second] = &self.slots;
        if self.running == 0 { second } else { first }
    }

    pub(crate) const fn running_slot_mut(&mut self) -> &mut Slot {
        let [first, second] = &mut self.slots;
        if self.running == 0 { first } else { second }
    }

    pub(crate) const fn other_slot_mut(&mut self) -> &mut Slot {
        let [first, second] = &mut self.slots;
        if self.running == 0 { second } else { first }
    }

    /// Digests that are not taken, for `update::Machine`. Zeros are no image's digest.
    #[must_use]
    pub const fn denied(&self) -> &[Digest] {
        &self.denied
    }

    /// Whether an image failed here.
    #[must_use]
    pub fn is_denied(&self, digest: Digest) -> bool {
        digest != Digest::ZERO && self.denied.contains(&digest)
    }

    /// Remembers an image as failed. One that is remembered already, or unknown, changes nothing.
    pub(crate) fn deny(&mut self, digest: Digest) {
        if digest == Digest::ZERO || self.is_denied(digest) {
            return;
        }
        if let Some(place) = self.denied.get_mut(usize::from(self.denied_next)) {
            *place = digest;
        }
        let next = self.denied_next.wrapping_add(1);
        self.denied_next = if usize::from(next) < DENIED_MAX { next } else { 0 };
    }

    /// The bytes in the state partition.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut out = [0; RECORD_BYTES];
        let written = self.write(&mut Writer::new(&mut out));
        debug_assert!(written.is_ok(), "the fields have {RECORD_BYTES} bytes");
        out
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), Short> {
        for slot in &self.slots {
            writer.put(&slot.version.to_bytes())?;
            writer.put(&slot.floor.to_bytes())?;
            writer.put(&slot.digest.0)?;
            let (state, why) = match slot.state {
                SlotState::Empty => (0, Reset::Unknown),
                SlotState::Writing => (1, Reset::Unknown),
                SlotState::Staged => (2, Reset::Unknown),
                SlotState::Trying => (3, Reset::Unknown),
                SlotState::Good => (4, Reset::Unknown),
                SlotState::Bad(why) => (5, why),
            };
            writer.put(&[state, why as u8, 0, 0])?;
        }
        self.denied.iter().try_for_each(|digest| writer.put(&digest.0))?;
        writer.put(&self.floor.to_bytes())?;
        for seconds in [self.good_running_s, self.time_s, self.contact_s] {
            writer.put(&seconds.to_le_bytes())?;
        }
        writer.put(&self.boot_id)?;
        writer.put(&[self.running, self.denied_next, self.reset as u8, self.stop as u8])?;
        writer.put(&[self.boots_unconfirmed, self.factory_reset as u8, u8::from(self.data_expected), 0])
    }

    /// Reads a record. `None` when the bytes are too few or a field breaks its rule.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let mut record = Self::default();
        for slot in &mut record.slots {
            *slot = read_slot(&mut reader)?;
        }
        for digest in &mut record.denied {
            *digest = Digest(reader.array().ok()?);
        }
        record.floor = Version::read(&mut reader).ok()?;
        record.good_running_s = reader.u64().ok()?;
        record.time_s = reader.u64().ok()?;
        record.contact_s = reader.u64().ok()?;
        record.boot_id = reader.array().ok()?;
        let [running, denied_next, reset, stop] = reader.array().ok()?;
        let [boots_unconfirmed, factory_reset, data_expected, _] = reader.array().ok()?;
        (record.running, record.denied_next) = (running, denied_next);
        (record.reset, record.stop) = (Reset::from_byte(reset), Reset::from_byte(stop));
        record.boots_unconfirmed = boots_unconfirmed;
        record.data_expected = data_expected != 0;
        record.factory_reset = match factory_reset {
            0 => FactoryReset::None,
            1 => FactoryReset::Asked,
            2 => FactoryReset::VarErased,
            3 => FactoryReset::DataErased,
            _ => return None,
        };
        (running < 2 && usize::from(denied_next) < DENIED_MAX).then_some(record)
    }

    /// Reads the record that counts from the state partition. `None` when there is none: a new disk, or both copies gone.
    ///
    /// # Errors
    /// The disk's, when neither copy could be read.
    pub fn load<D: Read + Seek>(disk: &mut D) -> Result<Option<Self>, D::Error> {
        let mut buffer = [0; COPY_BYTES];
        Ok(COPIES.load(disk, &mut buffer)?.and_then(|copy| Self::parse(copy.payload)))
    }

    /// Writes the record to the state partition. When this returns, it counts.
    ///
    /// # Errors
    /// See [`CopiesError`].
    pub fn store<D: Read + Write + Seek>(&self, disk: &mut D) -> Result<(), CopiesError<D::Error>> {
        COPIES.store(disk, &self.encode()).map(|_| ())
    }
}

fn read_slot(reader: &mut Reader<'_>) -> Option<Slot> {
    let version = Version::read(reader).ok()?;
    let floor = Version::read(reader).ok()?;
    let digest = Digest(reader.array().ok()?);
    let [state, why, _, _] = reader.array().ok()?;
    let state = match state {
        0 => SlotState::Empty,
        1 => SlotState::Writing,
        2 => SlotState::Staged,
        3 => SlotState::Trying,
        4 => SlotState::Good,
        5 => SlotState::Bad(Reset::from_byte(why)),
        _ => return None,
    };
    Some(Slot { version, floor, digest, state })
}

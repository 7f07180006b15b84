// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Service 7: the machine below the agent, where the agent runs from an image of its own: versions, updates, disks, restarts.
//!
//! The agent checks the role and hands these frames to the first process of the machine, which alone may act. No verb takes
//! the life of data from afar: what empties a disk that holds something asks for a person at the box.

use crate::frame::message;
use crate::ids::PublicKey;
use crate::list::Parts;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Longest serial number of a disk, bytes.
pub const SERIAL_BYTES_MAX: usize = 63;
/// Longest text about a state, bytes.
pub const WORDS_BYTES_MAX: usize = 200;
/// Most bytes of an update in one part.
pub const UPDATE_PART_BYTES_MAX: usize = 256 << 10;
/// Parts of an update that may be under way without an answer.
pub const UPDATE_PARTS_AHEAD: u64 = 4;

/// A version, as three numbers that are compared in their order.
pub type Version = (u16, u16, u32);

/// One of the two places for a bootable version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot<'a> {
    /// What it holds; zeroes for nothing.
    pub version: Version,
    /// Its state in a word: empty, writing, staged, trying, good, bad.
    #[serde(borrow)]
    pub state: &'a str,
    /// Starts that it is still allowed before the machine goes back; 0 when it is not on trial.
    pub tries_left: u8,
    /// Whether it runs now.
    pub runs: bool,
    /// Why it is bad; empty otherwise.
    pub reason: &'a str,
}

/// Asks what runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {}
message!(Look, Appliance, 1, 1, Refused);

/// What runs, and how it came to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked<'a> {
    /// The version that runs.
    pub version: Version,
    /// No update below this version is taken.
    pub floor: Version,
    /// How it started: normal, trying, recovery.
    #[serde(borrow)]
    pub start: &'a str,
    /// Why the machine started at all, in words.
    pub reset: &'a str,
    /// The data file system in words; the last trouble of the start after it, if there was one.
    pub data: &'a str,
    /// The watchdog that would reset the machine.
    pub watchdog: &'a str,
    /// Seconds since the kernel started.
    pub uptime_s: u64,
    /// Both slots.
    pub slots: Parts<'a, Slot<'a>>,
}
message!(Looked<'a>, Appliance, 2, 1, Skipped);

/// Announces an update file. Parts that the machine has of the very same file need not be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of the whole file.
    pub hash: [u8; 32],
}
message!(Update, Appliance, 3, 1, Refused);

/// How far the machine has the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateAt {
    /// The next byte that it wants.
    pub offset: u64,
}
message!(UpdateAt, Appliance, 4, 1, Skipped);

/// A part of the file, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdatePart<'a> {
    /// Where it belongs.
    pub offset: u64,
    /// The bytes.
    #[serde(borrow)]
    pub bytes: &'a [u8],
}
message!(UpdatePart<'a>, Appliance, 5, 1, Refused, |m| m.bytes.len() <= UPDATE_PART_BYTES_MAX);

/// The file is whole, is signed, fits this machine, and lies in a slot; nothing boots it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// What would be booted.
    pub version: Version,
}
message!(Staged, Appliance, 6, 1, Skipped);

/// Lets the staged version boot, on trial, and restarts the machine. Answered before it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activate {
    /// The version that the person means.
    pub version: Version,
}
message!(Activate, Appliance, 7, 1, Refused);

/// Restarts the machine. With `back` the other good version is booted from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// Whether to go back to the other slot.
    pub back: bool,
}
message!(Restart, Appliance, 8, 1, Refused);

/// The machine does it; any number of [`Progress`] may have gone before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doing {}
message!(Doing, Appliance, 9, 1, Skipped);

/// What the machine is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress<'a> {
    /// A sentence for a person.
    #[serde(borrow)]
    pub doing: &'a str,
}
message!(Progress<'a>, Appliance, 10, 1, Skipped, |m| m.doing.len() <= WORDS_BYTES_MAX);

/// Asks for the disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disks {}
message!(Disks, Appliance, 11, 1, Refused);

/// All disks of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisksListed<'a> {
    /// The disks, by serial number.
    #[serde(borrow)]
    pub disks: Parts<'a, Disk<'a>>,
}
message!(DisksListed<'a>, Appliance, 12, 1, Skipped);

/// One disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk<'a> {
    /// Its serial number, which is its name in every command.
    #[serde(borrow)]
    pub serial: &'a str,
    /// Its maker's name for the model.
    pub model: &'a str,
    /// What the kernel calls it now.
    pub node: &'a str,
    /// Its size.
    pub bytes: u64,
    /// What it is to this machine in a word: system, data, member, rebuilding, failed, blank, foreign.
    pub part: &'a str,
    /// What lies on it, in words; empty for nothing.
    pub holds: &'a str,
}

/// Takes a disk for the data, or two as a mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UseDisk<'a> {
    /// The disk.
    #[serde(borrow)]
    pub serial: &'a str,
    /// The second disk of a mirror; empty for none.
    pub mirror: &'a str,
}
message!(UseDisk<'a>, Appliance, 13, 1, Refused, |m| m.serial.len() <= SERIAL_BYTES_MAX
    && m.mirror.len() <= SERIAL_BYTES_MAX);

/// Puts a blank disk into the mirror in place of one that failed or is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplaceDisk<'a> {
    /// The disk that leaves.
    #[serde(borrow)]
    pub old: &'a str,
    /// The blank one.
    pub new: &'a str,
}
message!(ReplaceDisk<'a>, Appliance, 14, 1, Refused, |m| m.old.len() <= SERIAL_BYTES_MAX
    && m.new.len() <= SERIAL_BYTES_MAX);

/// Makes a disk's light blink by reading from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocateDisk<'a> {
    /// The disk.
    #[serde(borrow)]
    pub serial: &'a str,
    /// How long, seconds.
    pub seconds: u16,
}
message!(LocateDisk<'a>, Appliance, 15, 1, Refused, |m| m.serial.len() <= SERIAL_BYTES_MAX
    && m.seconds <= LOCATE_S_MAX);

/// Longest blinking.
pub const LOCATE_S_MAX: u16 = 600;

/// Takes a healthy disk out of the mirror; the other one holds the data alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetireDisk<'a> {
    /// The disk.
    #[serde(borrow)]
    pub serial: &'a str,
}
message!(RetireDisk<'a>, Appliance, 16, 1, Refused, |m| m.serial.len() <= SERIAL_BYTES_MAX);

/// A peer's part of the secret that opens encrypted data; the box keeps the other part. Neither alone opens anything.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share(pub [u8; SHARE_BYTES]);

/// Bytes of a [`Share`].
pub const SHARE_BYTES: usize = 32;
/// Wrong shares in a row before the next one has to wait.
pub const WRONG_SHARES_MAX: u8 = 5;
/// How long it waits, seconds.
pub const WRONG_SHARES_S: u8 = 60;

/// A secret is in no log.
impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Share(..)")
    }
}

/// As [`UseDisk`], with the data encrypted (LUKS2, above a mirror if there is one). The sender has stored its share before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncryptDisk<'a> {
    /// The disk.
    #[serde(borrow)]
    pub serial: &'a str,
    /// The second disk of a mirror; empty for none.
    pub mirror: &'a str,
    /// The peer that keeps the share: the sender. When it is revoked, its share opens nothing any more.
    pub holder: PublicKey,
    /// Its share.
    pub share: Share,
}
message!(EncryptDisk<'a>, Appliance, 17, 1, Refused, |m| m.serial.len() <= SERIAL_BYTES_MAX
    && m.mirror.len() <= SERIAL_BYTES_MAX);

/// Asks whether the data are encrypted, and open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookAtLock {}
message!(LookAtLock, Appliance, 18, 1, Refused);

/// How the lock is. All of it is what the machine says of itself: whoever holds it can change that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockSeen {
    /// The data are encrypted.
    pub encrypted: bool,
    /// They are open and mounted, or were never locked.
    pub open: bool,
    /// Seconds since the kernel started.
    pub uptime_s: u64,
    /// Seconds between the last time that the machine wrote down before this start and the start; 0 when unknown.
    pub off_s: u64,
    /// Peers that hold a share.
    pub holders: u8,
}
message!(LockSeen, Appliance, 19, 1, Skipped);

/// Opens encrypted data. On open data it tells whether the share would open them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlock {
    /// A holder's share.
    pub share: Share,
}
message!(Unlock, Appliance, 20, 1, Refused);

/// Lets another peer hold a share too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddShare {
    /// The sender's own share.
    pub share: Share,
    /// The other one's.
    pub new_share: Share,
    /// The peer that keeps it.
    pub holder: PublicKey,
}
message!(AddShare, Appliance, 21, 1, Refused);

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Refusals: one append-only list of numbers, the same in every service. Who is to blame decides what the other side
//! does next: a peer's mistake ends the conversation, a full disk is told to a person, "busy" is tried again.

use crate::frame::{Kind, METHOD_REFUSED, Message, Service, Trailing};
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $blame:ident, $text:literal;)*) => {
        /// Why something was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        #[repr(u16)]
        pub enum Code { $($(#[$doc])* $name = $number,)* }

        impl Code {
            /// Every code, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Whose fault it is.
            #[must_use]
            pub const fn blame(self) -> Blame {
                match self { $(Self::$name => Blame::$blame,)* }
            }

            /// What to tell a person: a fragment that fits after "the other side refused: ".
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// The bytes break the protocol.
    Protocol = 1, Peer, "the request breaks the protocol";
    /// The method's number or major is not known here.
    UnknownMethod = 2, Peer, "the request is newer than this program; update it";
    /// The peer's role may not do this.
    NotAllowed = 3, Peer, "this machine's role does not allow that";
    /// Too many requests; later it may work.
    Busy = 4, Peer, "busy; try again later";
    /// The conversation or link took too long.
    Deadline = 5, Peer, "a deadline passed";
    /// Not served here (no store, no such service).
    NotServed = 6, Operator, "not served here";
    /// The program is stopping.
    Stopping = 7, Operator, "stopping; try again soon";
    /// Something broke on this side; its log says what.
    Internal = 8, Us, "an internal error; its log says more";

    /// The token is not known here, or its proof is wrong.
    TokenUnknown = 20, Peer, "the token is not valid here; make a new one";
    /// The token was used before.
    TokenBurnt = 21, Peer, "the token was used before; make a new one";
    /// The token's time is over, or the machine was restarted since.
    TokenExpired = 22, Peer, "the token has expired; make a new one";
    /// Ten proofs failed.
    TokenLocked = 23, Peer, "the token was tried too often; make a new one";
    /// The token was made for another role.
    TokenRole = 24, Peer, "the token was made for another role";
    /// A peer with this name exists.
    NameTaken = 25, Operator, "a peer with this name exists; rename it or choose another name";
    /// This source is known and the token does not say that it may come back.
    SourceKnown = 26, Operator, "this source is known here; use a token made with --rejoin";
    /// This key is a peer already.
    KeyKnown = 27, Operator, "this machine's key is paired here already";

    /// Another machine uses this identity, or the box went back in time.
    Stale = 40, Operator, "another machine uses this identity, or this box went back in time";
    /// The source was adopted by another machine.
    Adopted = 41, Operator, "another machine has taken this source over";
    /// The key id was used before.
    KeyIdUsed = 42, Peer, "the session key's name was used before";
    /// A counter did not rise.
    CounterWentBack = 43, Peer, "a record counter went back; a new session key is needed";
    /// A signature does not verify.
    Signature = 44, Peer, "a signature does not verify";
    /// Node sent before something it needs.
    ChildMissing = 45, Peer, "a node was sent before something it needs";
    /// A snapshot's prior history was not the newest.
    PriorHead = 46, Peer, "the snapshot does not follow the newest one";
    /// Quota of this source reached.
    Quota = 47, Operator, "this source's quota is used up";
    /// The disk is too full to take more.
    DiskFull = 48, Hardware, "the box's disk is full; nothing stored is lost";
    /// The store answers reads only.
    ReadOnly = 49, Hardware, "the box's store is read-only";
    /// Too many duplicate records.
    Repeats = 50, Peer, "too many repeated records";
    /// More MISSING rounds than allowed.
    TooManyRounds = 51, Peer, "the snapshot is still incomplete after the last round";

    /// Reading needs a proof by the recovery key.
    ProofNeeded = 60, Operator, "reading needs the recovery key; give --recovery-file";
    /// No such snapshot, record or source.
    NotFound = 61, Operator, "there is no such thing here";
    /// The stored bytes are damaged.
    Damaged = 62, Hardware, "the stored bytes are damaged";

    /// No source here belongs to this recovery key.
    RecoveryUnknown = 80, Operator, "no source here belongs to this recovery key";
    /// The certificate's epoch is not above the known one.
    EpochOld = 81, Operator, "the certificate is not newer than the one known here";

    /// The machine does not run from an image of ours.
    NoAppliance = 100, Operator, "this machine runs from no image of adit's; use its package manager";
    /// The file is no update file, or of a newer format.
    UpdateFormat = 101, Operator, "the file is no update that this version understands";
    /// No signature of the update verifies.
    UpdateSignature = 102, Operator, "the update's signature does not verify";
    /// The update is signed by a key that is not in the key set.
    UpdateKey = 103, Operator, "the update is signed by a key that this machine does not know";
    /// The update is for another product.
    UpdateProduct = 104, Operator, "the update is for another product";
    /// The update is for another processor.
    UpdateArch = 105, Operator, "the update is for another kind of processor";
    /// The update is of another flavour.
    UpdateFlavour = 106, Operator, "the update is for another kind of machine (vm, hardware)";
    /// The update's version is below the floor.
    UpdateFloor = 107, Operator, "the update is older than this machine may go back";
    /// The update is not newer than what runs.
    UpdateNotNewer = 108, Operator, "the update is not newer than what runs";
    /// What runs is too old to go to this update at once.
    UpdateStep = 109, Operator, "an update between this version and that one has to come first";
    /// The very same update failed on this machine before.
    UpdateDenied = 110, Operator, "this very update failed here before; make another one";
    /// The update is shorter than it says.
    UpdateTruncated = 111, Operator, "the update is incomplete; send it again";
    /// The update's content does not have the hash that was signed.
    UpdateDigest = 112, Operator, "the update was changed on its way; send it again";
    /// The update is larger than a slot.
    UpdateTooLarge = 113, Operator, "the update is larger than a slot";
    /// The new key set is not signed by a root key of the one in force.
    UpdateKeySet = 114, Operator, "the update's new keys are not signed by a root key";
    /// What runs is on trial itself.
    UpdateOnTrial = 115, Operator, "the version that runs is still on trial; wait until it is confirmed";
    /// The boot partition has no room.
    BootFull = 116, Hardware, "the boot partition has no room for another version";
    /// The boot partition cannot be read or written.
    BootUnusable = 117, Hardware, "the boot partition cannot be read or written; the running version is untouched";
    /// No version is staged, or another one.
    NotStaged = 118, Operator, "that version is not staged";
    /// There is no other good version.
    NothingBack = 119, Operator, "there is no other good version to go back to";

    /// No disk has this serial number, or more than one has.
    DiskUnknown = 130, Operator, "no disk, or more than one, has that serial number";
    /// The disk is in use.
    DiskInUse = 131, Operator, "the disk is in use by this machine";
    /// Something lies on the disk: a person at the box may empty it.
    DiskHolds = 132, Operator, "the disk holds something; only a person at the box may empty it";
    /// The disk is too small.
    DiskTooSmall = 133, Operator, "the disk is too small";
    /// The machine has no mirror, or the mirror has no place.
    DiskNoPlace = 134, Operator, "the mirror has no failed or missing member that a disk could replace";
    /// The only disk of the data cannot leave.
    DiskLast = 135, Operator, "this is the last whole copy of the data";
    /// Work on a disk failed.
    DiskFailed = 136, Hardware, "the disk could not be prepared";

    /// The image has no encryption.
    NoEncryption = 140, Operator, "this image has no encryption; the one for real machines has";
    /// The data are not encrypted.
    NotEncrypted = 141, Operator, "the data are not encrypted";
    /// The share opens nothing here.
    ShareWrong = 142, Operator, "this share does not open the data";
    /// No more peers can hold a share, or nobody here has that key.
    ShareRefused = 143, Operator, "no share can be given to that machine";
}

impl Code {
    /// The code of a number; `None` when it is newer than this program.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| *code as u16 == number)
    }
}

/// Whose fault a refusal is. It decides exit code, log level and alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Blame {
    /// The other side's program.
    Peer,
    /// Something a person decides.
    Operator,
    /// Disk or memory.
    Hardware,
    /// This program.
    Us,
}

/// Longest detail, bytes.
pub const DETAIL_BYTES_MAX: usize = 200;

/// The answer "no", in every service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused<'a> {
    /// A [`Code`], or the number of a newer one.
    pub code: u16,
    /// Seconds after which trying again makes sense; 0 when it does not.
    pub retry_after_s: u32,
    /// What a person should read beside the code's text; never a secret.
    #[serde(borrow)]
    pub detail: &'a str,
}

impl<'a> Message<'a> for Refused<'a> {
    // The service byte of the frame is the conversation's; the method alone tells a refusal.
    const KIND: Kind = Kind { service: Service::Link as u8, method: METHOD_REFUSED, major: 1 };
    const TRAILING: Trailing = Trailing::Skipped;

    fn check(&self) -> Result<(), crate::frame::MessageError> {
        if self.detail.len() <= DETAIL_BYTES_MAX { Ok(()) } else { Err(crate::frame::MessageError::Rule(Self::KIND)) }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why the store said no: one enum per family of operations, each with the code that goes over the wire.

use adit_wire::ids::{Id, KeyId, SourceId};
use adit_wire::record::{Class, RecordError};
use adit_wire::refusal::Code;
use adit_wire::signed::SignedError;

/// Why nothing could be written. Part of the other families.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// No space. Nothing acknowledged is lost; what was not acknowledged may be sent again later.
    #[error("the disk is full; free some space or raise the volume's size")]
    DiskFull,
    /// Opened read-only, or read-only since a failed write or flush.
    #[error("the store is read-only: {0}")]
    ReadOnly(String),
    /// The disk failed in this call; the store is read-only from now on.
    #[error("cannot write {what}")]
    Disk {
        /// What was being written.
        what: String,
        /// The disk's answer.
        #[source]
        source: std::io::Error,
    },
    /// Something derived is damaged; it is rebuilt when the store is opened next.
    #[error("the index is damaged and is rebuilt at the next start")]
    Index,
}

impl WriteError {
    /// The code that tells a peer.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::DiskFull => Code::DiskFull,
            Self::ReadOnly(_) | Self::Disk { .. } => Code::ReadOnly,
            Self::Index => Code::Internal,
        }
    }
}

/// Why a store could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The place holds something.
    #[error("a store is here already")]
    Exists,
    /// Sizes that make no store.
    #[error("segment sizes are out of range")]
    Geometry,
    /// The disk refused.
    #[error("cannot write {what}")]
    Disk {
        /// What was being written.
        what: String,
        /// The disk's answer.
        #[source]
        source: std::io::Error,
    },
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Neither superblock is there.
    #[error("no store is here")]
    NotAStore,
    /// Both superblocks are damaged.
    #[error("both superblocks are damaged; copy store.adt or store.bak from a backup of this disk")]
    Superblock,
    /// A later program wrote it.
    #[error("this store was written by a newer adit ({what}); install that version or a newer one to open it")]
    Newer {
        /// What is too new.
        what: String,
    },
    /// Another process holds it.
    #[error("another process has this store open; stop it first")]
    Locked,
    /// No ledger file holds a whole checkpoint.
    #[error("both copies of the ledger are damaged at their start; the segments are untouched")]
    Ledger,
    /// The disk refused.
    #[error("cannot read {what}")]
    Disk {
        /// What was being read or written.
        what: String,
        /// The disk's answer.
        #[source]
        source: std::io::Error,
    },
    /// Recovery needs space.
    #[error("the disk is full and the store cannot be repaired; free some space")]
    DiskFull,
}

/// Why a source could not be registered.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The known epoch is higher.
    #[error("epoch {given} is below the known epoch {known}")]
    EpochOld {
        /// The epoch given.
        given: u32,
        /// The epoch known here.
        known: u32,
    },
    /// Another key at the same epoch.
    #[error("the signing key differs although the epoch is the same")]
    KeyDiffers,
    /// Whoever could replace the recovery key could open the history.
    #[error("the source belongs to another recovery key")]
    RecoveryDiffers,
    /// The certificate does not say what the source says, or is not signed by the recovery key.
    #[error("the certificate does not fit this source")]
    Certificate,
    /// The name is too long.
    #[error("the name is longer than 63 bytes")]
    Name,
    /// Nothing can be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl SourceError {
    /// The code that tells a peer.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::EpochOld { .. } | Self::KeyDiffers => Code::EpochOld,
            Self::RecoveryDiffers => Code::NotAllowed,
            Self::Certificate => Code::Signature,
            Self::Name => Code::Protocol,
            Self::Write(error) => error.code(),
        }
    }
}

/// Why a session could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Not registered.
    #[error("source {0} is not known here")]
    UnknownSource(SourceId),
    /// The bytes are no record.
    #[error("the key record is no record")]
    Record(#[source] RecordError),
    /// A record, but no key record of this source.
    #[error("the key record's payload does not fit")]
    Payload(#[source] SignedError),
    /// Of another class, source or without key id.
    #[error("the key record does not belong to this source")]
    Foreign,
    /// Another epoch than the registered one.
    #[error("the key record is of epoch {given}, this source is at {known}")]
    Epoch {
        /// The epoch in the key record.
        given: u32,
        /// The epoch known here.
        known: u32,
    },
    /// The source's signing key did not sign it.
    #[error("the key record's signature does not verify")]
    Signature,
    /// Every OPEN needs a new key id.
    #[error("key id {0} was used before")]
    KeyIdUsed(KeyId),
    /// The run to resume is not pending.
    #[error("session {0} is not pending here")]
    NotPending(KeyId),
    /// Nothing can be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl SessionError {
    /// The code that tells a peer.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::UnknownSource(_) | Self::NotPending(_) => Code::NotFound,
            Self::Record(_) | Self::Payload(_) | Self::Foreign => Code::Protocol,
            Self::Epoch { given, known } => {
                if *given < *known {
                    Code::Adopted
                } else {
                    Code::Protocol
                }
            }
            Self::Signature => Code::Signature,
            Self::KeyIdUsed(_) => Code::KeyIdUsed,
            Self::Write(error) => error.code(),
        }
    }
}

/// Why a record was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The session ended, or another one took its place.
    #[error("the session has ended")]
    Ended,
    /// Not the number after the last.
    #[error("record {got} came where {expected} was due")]
    Order {
        /// The number due.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// The bytes are no record.
    #[error("the bytes are no record")]
    Record(#[source] RecordError),
    /// Key and snapshot records come with OPEN and COMMIT only.
    #[error("a record of class {0:?} may not be sent here")]
    Class(Class),
    /// Sealed under a key that this session did not open or adopt.
    #[error("key id {0} does not belong to this session")]
    KeyId(KeyId),
    /// Counters rise with every record of one key id.
    #[error("counter {counter} does not rise above {last}")]
    Counter {
        /// The last counter taken.
        last: u32,
        /// The counter that came.
        counter: u32,
    },
    /// A node came before something it references.
    #[error("{0} is referenced but was never sent")]
    ChildMissing(Id),
    /// A reference names another class or a height that is not below.
    #[error("{0} is referenced as what it is not")]
    ChildClass(Id),
    /// A healed record must reference the same as the lost one.
    #[error("{0} was here before with other references")]
    RefsDiffer(Id),
    /// Too many records that were here before.
    #[error("{0} repeated records")]
    Repeats(u64),
    /// The index is full (2^32 records).
    #[error("the store holds as many records as it can number")]
    Full,
    /// Nothing can be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl AppendError {
    /// The code that tells a peer.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Ended => Code::Busy,
            Self::Order { .. }
            | Self::Record(_)
            | Self::Class(_)
            | Self::KeyId(_)
            | Self::ChildClass(_)
            | Self::RefsDiffer(_) => Code::Protocol,
            Self::Counter { .. } => Code::CounterWentBack,
            Self::ChildMissing(_) => Code::ChildMissing,
            Self::Repeats(_) => Code::Repeats,
            Self::Full => Code::DiskFull,
            Self::Write(error) => error.code(),
        }
    }
}

/// Why a snapshot was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The session ended, or another one took its place.
    #[error("the session has ended")]
    Ended,
    /// The bytes are no record.
    #[error("the snapshot is no record")]
    Record(#[source] RecordError),
    /// A record, but no snapshot.
    #[error("the snapshot's body does not fit")]
    Body(#[source] SignedError),
    /// Of another class or source, or body and references differ.
    #[error("the snapshot does not belong to this source")]
    Foreign,
    /// The source's epoch changed meanwhile.
    #[error("the snapshot is of epoch {given}, this source is at {known}")]
    Epoch {
        /// The epoch in the snapshot.
        given: u32,
        /// The epoch known here.
        known: u32,
    },
    /// The source's signing key did not sign it.
    #[error("the snapshot's signature does not verify")]
    Signature,
    /// It does not follow the newest snapshot.
    #[error("the snapshot has number {got} and does not follow number {newest}")]
    Stale {
        /// Its number.
        got: u64,
        /// The newest number here.
        newest: u64,
    },
    /// Root or info is of another class, or not below the snapshot.
    #[error("{0} is referenced as what it is not")]
    ChildClass(Id),
    /// Damage left more to check than one commit may read; the next one goes on from there.
    #[error("more must be checked after damage than one commit may read; commit again")]
    WalkTooLong,
    /// Too many commits in a day or snapshots in all.
    #[error("too many snapshots")]
    TooMany,
    /// The store holds as many records as it can number.
    #[error("the store holds as many records as it can number")]
    Full,
    /// Stored bytes could not be read.
    #[error("cannot read what the snapshot needs")]
    Read(#[source] ReadError),
    /// Nothing can be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl CommitError {
    /// The code that tells a peer.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Ended | Self::TooMany | Self::WalkTooLong => Code::Busy,
            Self::Record(_) | Self::Body(_) | Self::Foreign | Self::ChildClass(_) => Code::Protocol,
            Self::Epoch { given, known } => {
                if *given < *known {
                    Code::Adopted
                } else {
                    Code::Protocol
                }
            }
            Self::Signature => Code::Signature,
            Self::Stale { .. } => Code::Stale,
            Self::Full => Code::DiskFull,
            Self::Read(error) => error.code(),
            Self::Write(error) => error.code(),
        }
    }
}

/// Why a wish about retention was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RetainError {
    /// Not registered.
    #[error("source {0} is not known here")]
    UnknownSource(SourceId),
    /// A policy that can't be meant.
    #[error("the zone is no zone: it lies more than 14 hours from UTC")]
    Zone,
    /// Not a live or expired snapshot of this source.
    #[error("there is no snapshot {0}, or it was released")]
    NoSnapshot(u64),
    /// Nothing can be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl RetainError {
    /// The code that tells a peer.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::UnknownSource(_) | Self::NoSnapshot(_) => Code::NotFound,
            Self::Zone => Code::Protocol,
            Self::Write(error) => error.code(),
        }
    }
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not registered.
    #[error("source {0} is not known here")]
    UnknownSource(SourceId),
    /// More records than one answer may have.
    #[error("the request names more than {0} records")]
    TooMany(usize),
    /// The session ended, or another one took its place.
    #[error("the session has ended")]
    Ended,
    /// More ids than a source that lost its state needs to ask for.
    #[error("too many questions in one session")]
    AskedTooOften,
    /// The stored bytes do not verify.
    #[error("the stored bytes of {0} are damaged")]
    Damaged(Id),
    /// Something derived is damaged; it is rebuilt when the store is opened next.
    #[error("the index is damaged and is rebuilt at the next start")]
    Index,
    /// What was found damaged could not be noted.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl ReadError {
    /// The code that tells a peer.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::UnknownSource(_) => Code::NotFound,
            Self::TooMany(_) => Code::Protocol,
            Self::Ended | Self::AskedTooOften => Code::Busy,
            Self::Damaged(_) => Code::Damaged,
            Self::Write(error) => error.code(),
            Self::Index => Code::Internal,
        }
    }
}

/// How a change to the disk failed: what follows depends on it.
#[derive(Debug)]
pub(crate) enum Fault {
    /// No space; the same call may succeed later.
    Full,
    /// A write or a directory operation failed.
    Write(String, std::io::Error),
    /// A flush failed: nothing since the last good one may be trusted.
    Sync(String, std::io::Error),
}

impl Fault {
    pub(crate) fn write(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| {
            use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
            // A quota and a limit of file size end like a disk does, and go away like that.
            let full = matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge);
            if full { Self::Full } else { Self::Write(what, error) }
        }
    }

    pub(crate) fn sync(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::Sync(what, error)
    }
}

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full => Self::DiskFull,
            Fault::Write(what, source) | Fault::Sync(what, source) => Self::Disk { what, source },
        }
    }
}

impl From<Fault> for CreateError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full => {
                Self::Disk { what: "the new store".to_owned(), source: std::io::ErrorKind::StorageFull.into() }
            }
            Fault::Write(what, source) | Fault::Sync(what, source) => Self::Disk { what, source },
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The box's store: segments and a two-copy ledger are the only truth, everything else is derived and can be rebuilt.
//!
//! Owns the bytes on a box's disk (`agent/FORMAT.md`, part "Store"), the promise of a commit, recovery after a power cut
//! and keyless verification. It stands apart from the daemon so that it runs against a simulated disk and on any machine
//! that holds the files. It reaches storage only through [`Disk`], takes time as an argument ([`Moment`]), and never
//! holds a key: nothing here can open a record.
#![forbid(unsafe_code)]

mod bytes;
mod collect;
mod commit;
mod cover;
pub mod disk;
mod error;
mod heal;
mod index;
mod ledger;
mod parity;
mod read;
mod recover;
mod retain;
pub mod retention;
mod scrub;
mod segment;
mod session;
mod store;
mod superblock;
mod types;
mod verify;

pub use collect::{CollectStep, Collected, Collection};
pub use commit::COMMIT_WALK_NODES_MAX;
pub use cover::PARITY_DELAY_MS;
pub use disk::{DirDisk, Disk, SimDisk};
pub use error::{
    AppendError, CommitError, CreateError, OpenError, ReadError, RetainError, SessionError, SourceError, WriteError,
};
pub use read::FetchPlan;
pub use retain::{Planned, Retained};
pub use scrub::SCRUB_CYCLE_S;
pub use session::HAVE_IDS_FLOOR;
pub use store::Store;
pub use types::{
    Access, Appended, Arrived, Commit, Event, Geometry, Heal, Holding, Moment, NewStore, Opening, Peer, Pending,
    ScrubStatus, ScrubStep, SessionId, SnapshotEntry, Source, Status, Step, Swept, VerifyReport,
};
pub use verify::Verification;

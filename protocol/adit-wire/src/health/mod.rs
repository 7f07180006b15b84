// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Service 5: health is polled. The inventory (names, once) is addressed by its hash; the snapshot is positional and holds
//! only numbers, verdicts and reason codes, so that a poll a minute costs next to nothing on a slow line.
//!
//! Codes and their texts live here, so that agent, tool and monitor print the same words.

pub mod codes;
pub mod snapshot;

use crate::frame::message;
use crate::list::Parts;
use serde::{Deserialize, Serialize};

/// Longest inventory, bytes.
pub const INVENTORY_BYTES_MAX: usize = 64 << 10;
/// Longest snapshot, bytes.
pub const SNAPSHOT_BYTES_MAX: usize = 16 << 10;
/// Components of one machine.
pub const COMPONENTS_MAX: usize = 512;
/// Longest stable id or label of a component, bytes.
pub const LABEL_BYTES_MAX: usize = 96;
/// Longest free text of a verdict, bytes.
pub const DETAIL_BYTES_MAX: usize = 64;
/// Checks or readings of one component.
pub const POSITIONS_MAX: usize = 32;

/// Asks how the machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Poll {
    /// Hash of the inventory that the asker holds; 0 for none.
    pub inventory: u64,
    /// Number of the newest report that the asker holds; 0 for none.
    pub report: u64,
}
message!(Poll, Health, 1, 1, Refused);

/// Nothing changed since the asker's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Same {
    /// The report's number.
    pub report: u64,
}
message!(Same, Health, 2, 1, Skipped);

/// The whole snapshot, and the inventory when the asker does not hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Full<'a> {
    /// The report's number. It is drawn anew at every start of the agent, so that numbers of two runs differ.
    pub report: u64,
    /// Hash of the inventory that the snapshot refers to.
    pub inventory: u64,
    /// The positional snapshot, see [`snapshot`].
    #[serde(borrow)]
    pub snapshot: &'a [u8],
    /// An [`Inventory`], or nothing.
    pub inventory_bytes: &'a [u8],
}
message!(Full<'a>, Health, 3, 1, Skipped, |m| m.snapshot.len() <= SNAPSHOT_BYTES_MAX
    && m.inventory_bytes.len() <= INVENTORY_BYTES_MAX);

/// What a machine consists of. Its hash is the first 8 bytes, little-endian, of BLAKE3 of its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory<'a> {
    /// Version of this layout and of the snapshot's.
    pub version: u8,
    /// The machine's host name.
    #[serde(borrow)]
    pub host: &'a str,
    /// The components in the order in which snapshots name them.
    pub components: Parts<'a, Entry<'a>>,
}

impl<'a> Inventory<'a> {
    /// The version that this program writes.
    pub const VERSION: u8 = 1;

    /// Reads an inventory.
    ///
    /// # Errors
    /// When the bytes are no inventory or its version is unknown.
    pub fn read(bytes: &'a [u8]) -> Result<Self, snapshot::SnapshotError> {
        let inventory: Self =
            postcard::from_bytes(bytes).map_err(|_| snapshot::SnapshotError::Inventory("malformed"))?;
        if inventory.version != Self::VERSION {
            return Err(snapshot::SnapshotError::Inventory("from a newer version"));
        }
        Ok(inventory)
    }

    /// The hash that names an encoded inventory; never 0, which means "none".
    #[must_use]
    pub fn hash(bytes: &[u8]) -> u64 {
        let hash = blake3::hash(bytes);
        let head = hash.as_bytes().first_chunk::<8>().copied().unwrap_or_default();
        u64::from_le_bytes(head).max(1)
    }
}

/// One component of an inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<'a> {
    /// A [`codes::ComponentKind`], or the number of a newer one.
    pub kind: u8,
    /// Stable over reboots: a serial number, a UUID, a mount point; never sdX.
    #[serde(borrow)]
    pub id: &'a str,
    /// What a person calls it.
    pub label: &'a str,
    /// The checks in their order, each a [`codes::Check`] or the number of a newer one.
    pub checks: &'a [u8],
    /// The readings in their order, each a [`codes::Quantity`] or the number of a newer one.
    pub readings: &'a [u8],
}

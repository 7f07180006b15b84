// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Service 5: health is polled. The inventory (names, once) is addressed by its hash; the snapshot is positional.

use crate::frame::message;
use serde::{Deserialize, Serialize};

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
    /// The report's number.
    pub report: u64,
    /// Hash of the inventory that the snapshot refers to.
    pub inventory: u64,
    /// The positional snapshot.
    #[serde(borrow)]
    pub snapshot: &'a [u8],
    /// The inventory, or nothing.
    pub inventory_bytes: &'a [u8],
}
message!(Full<'a>, Health, 3, 1, Skipped);

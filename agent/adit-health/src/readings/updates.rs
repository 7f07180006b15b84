// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How many updates wait to be installed, and how fresh that knowledge is. Names of packages stay on the machine.

use serde::{Deserialize, Serialize};

/// The packages of a machine at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdatesReading {
    /// Installed packages with a newer version.
    pub pending: u32,
    /// Those whose newer version is a security update.
    pub security: u32,
    /// Age of the newest package list, seconds; `None` where there is none.
    pub lists_age_s: Option<u64>,
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What systemd says of its services. Names are as systemd writes them, such as `nginx.service`.

use serde::{Deserialize, Serialize};

/// The services at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitsReading {
    /// Units that have failed, by systemd's own count.
    pub failed: u32,
    /// Their names, sorted, the first 64 of them.
    pub names: Vec<String>,
}

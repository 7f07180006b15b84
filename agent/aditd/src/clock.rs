// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The clocks, as the store wants them. They are read in adit-peers, whose tokens live by them.

pub use adit_peers::clock::{Now, monotonic_ms, wall_s};

/// What the store wants to know of the time.
#[must_use]
pub fn moment() -> adit_store::Moment {
    adit_store::Moment { wall_s: wall_s(), monotonic_ms: monotonic_ms() }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What every daemon keeps of itself and of others: its identity, its peers, the one-time tokens that are out, and the
//! durable order in which a token becomes a peer.
//!
//! It stands apart because the agent and the monitor pair alike. It decides no role (adit-proto
//! does), keeps no connection and knows nothing of stores or health.
#![forbid(unsafe_code)]

pub mod addresses;
pub mod clock;
pub mod files;
pub mod home;
pub mod joining;
pub mod pairing;
pub mod peers;
pub mod tokens;

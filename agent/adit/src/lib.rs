// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tool of a person: makes keys, pairs with a box, backs up, looks, verifies, restores, recovers.
//!
//! It owns the state directory of a source, the sentences that a person reads and the exit codes that a script reads.
//! The archive engine seals, the link carries, the protocol decides; this crate puts them together and blocks where
//! they can't. It never serves anything and never needs root for its own sake.
#![forbid(unsafe_code)]

pub mod bring;
pub mod cli;
pub mod exit;
pub mod failure;
pub mod health;
pub mod history;
pub mod job;
pub mod net;
pub mod pairing;
pub mod pin;
pub mod progress;
pub mod prompt;
pub mod reading;
pub mod receipts;
pub mod recovering;
pub mod recovery;
pub mod share;
pub mod source;
pub mod state;
pub mod text;
pub mod upload;

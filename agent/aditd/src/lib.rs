// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The agent of adit: reports health everywhere, and keeps the store where one is set.
//!
//! Owns the machine's identity, its peers, tokens and live connections, and turns requests into work of the engines. It
//! stands apart from the tools so that what runs all day has little code. It never contains code to decrypt, opens no
//! device node and shortens the life of no data.
#![forbid(unsafe_code)]

pub mod addresses;
pub mod agent;
pub mod cli;
pub mod clock;
mod commands;
pub mod config;
mod console;
pub mod event;
mod health;
mod housekeeping;
mod links;
pub mod open_store;
pub mod report;
mod serve;
mod shared;
pub mod state;
mod store_thread;
mod upkeep;
mod verify_budget;
mod watch;

pub use adit_peers::{files, pairing, peers, tokens};
pub use commands::run;

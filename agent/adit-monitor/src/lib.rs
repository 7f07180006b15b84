// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The central monitor of adit: polls every paired agent over the link, dialled or dialling in, remembers, alerts and
//! exports.
//!
//! What judges is pure ([`alerts`], [`fleet`], [`history::format`]); one thread owns the state ([`core`]); sockets and files
//! are at the edges. It holds no backup key, runs no command on an agent and never contains code to decrypt.
#![forbid(unsafe_code)]

pub mod alerts;
pub mod channels;
pub mod cli;
mod commands;
pub mod config;
pub mod core;
pub mod daemon;
pub mod db;
pub mod fleet;
pub mod history;
pub mod http;
mod poll;
mod roster;
pub mod timeline;

pub use commands::run;

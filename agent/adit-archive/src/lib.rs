// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The source's side of a backup: scan, cut, seal, describe, restore. The only room that holds keys.
//!
//! Works on bytes and local files. It never opens a connection: records leave through a sink and come back through a
//! fetcher that the caller gives, so that a daemon which links against neither can't decrypt.
#![forbid(unsafe_code)]

/// Where content is cut into chunks, and where nodes and bundles end.
pub mod cut;
/// The recovery key, a source's keys, and what they sign.
pub mod keys;
/// A run's key and how it is wrapped for the recovery key.
pub mod run_key;
/// Content ids; plaintext to sealed record and back.
pub mod seal;
/// Key bytes that leave memory when dropped.
pub mod secret;

/// Backup runs.
pub mod engine;
/// What a snapshot says of one path.
pub mod entry;
/// What a person wants to know of a snapshot.
pub mod info;
/// What an unfinished run has sent.
pub mod journal;
/// The plaintext of tree nodes.
pub mod node;
/// Restoring.
pub mod restore;
/// The local state: the newest tree and what only this machine needs.
pub mod state;
/// Builds the tree.
pub mod tree;

mod walk;

#[cfg(test)]
mod fixture;

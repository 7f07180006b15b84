// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where content is cut into chunks, and where tree nodes and bundles end. Keyed, so that lengths and boundaries, which
//! the box sees, do not tell which content they belong to.
//!
//! A cut depends only on the chunk's own bytes, never on how they arrive in buffers.

mod digest;
mod method;
mod paths;

pub use digest::Cutter;
pub use method::{DETECT_BYTES, Method, detect};
pub use paths::{PathCutter, PathLevel, list_ends};

/// Shortest chunk that is not the last of its file, bytes.
pub const CHUNK_BYTES_MIN: usize = 64 << 10;
/// Where the cutter turns from reluctant to eager, bytes; the mean length is some 15 % above.
pub const CHUNK_BYTES_AVG: usize = 256 << 10;
/// Longest chunk, bytes.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Length of fixed chunks, bytes: a multiple of every common page size.
pub const FIXED_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests;

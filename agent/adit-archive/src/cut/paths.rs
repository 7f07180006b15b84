// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Keyed boundaries by path, for leaves, inner nodes and bundles; and by chunk id, for list nodes.

use crate::keys::PathCutKey;
use adit_wire::ids::Id;

/// What a path boundary is for: each has boundaries of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathLevel {
    /// Bundles of small files.
    Bundle,
    /// Nodes of the tree at this height; leaves have height 1.
    Node(u8),
}

impl PathLevel {
    const fn byte(self) -> u8 {
        match self {
            Self::Bundle => 0,
            Self::Node(height) => height,
        }
    }
}

/// Tells at which paths nodes and bundles may end.
#[derive(Clone, Debug)]
pub struct PathCutter(PathCutKey);

impl PathCutter {
    /// The boundaries of one source.
    #[must_use]
    pub const fn new(key: PathCutKey) -> Self {
        Self(key)
    }

    /// A keyed hash of the path, even over all of 32 bits.
    #[must_use]
    pub fn hash(&self, level: PathLevel, path: &[u8]) -> u32 {
        let mut hasher = blake3::Hasher::new_keyed(self.0.0.expose());
        let hash = hasher.update(&[level.byte()]).update(path).finalize();
        let [a, b, c, d, ..] = *hash.as_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// Whether one path in `mean` is a boundary and this is such a path.
    ///
    /// # Panics
    /// When `mean` is 0.
    #[must_use]
    pub fn ends(&self, level: PathLevel, path: &[u8], mean: u32) -> bool {
        self.hash(level, path) < u32::MAX / mean
    }
}

/// Whether a list node ends behind this chunk: the first byte of its (keyed) id is zero, once in 256.
#[must_use]
pub const fn list_ends(chunk: &Id) -> bool {
    chunk.0[0] == 0
}

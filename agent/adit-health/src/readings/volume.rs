// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Encrypted volumes and bcaches as sysfs shows them.

/// An encrypted volume, open or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LuksReading {
    /// The name of its mapping.
    pub name: String,
    /// Whether the mapping is there.
    pub is_open: bool,
    /// Whether it is suspended: everything that writes to it waits.
    pub is_suspended: bool,
}

/// A bcache (Documentation/admin-guide/bcache.rst).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BcacheReading {
    /// The kernel's name, such as "bcache0".
    pub name: String,
    /// The UUID of its backing device, else its name.
    pub id: String,
    /// "no cache", "clean", "dirty", "inconsistent".
    pub state: String,
    /// Whether a set of caches is attached.
    pub has_cache: bool,
    /// Data that lies only in the cache, per mille of the cache.
    pub dirty_permille: Option<i64>,
    /// Errors of the cache's devices; the kernel lets them fade with time.
    pub io_errors: Option<i64>,
}

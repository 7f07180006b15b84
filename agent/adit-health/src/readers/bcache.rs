// SPDX-License-Identifier: Apache-2.0 OR MIT
//! bcaches from /sys/block/bcacheN/bcache and /sys/fs/bcache (Documentation/admin-guide/bcache.rst). `priority_stats` is not
//! read: it sorts all buckets of the cache for each reader.
//!
//! Can block: no.

use crate::readings::volume::BcacheReading;
use crate::text;
use std::path::Path;

/// bcaches of one machine.
const BCACHES_MAX: usize = 32;

/// All bcaches.
pub(crate) fn volumes(root: &Path) -> Vec<BcacheReading> {
    let blocks = root.join("sys/block");
    let names = text::names(&blocks).into_iter().filter(|name| name.starts_with("bcache"));
    names.filter_map(|name| volume(&blocks.join(&name).join("bcache"), name)).take(BCACHES_MAX).collect()
}

fn volume(dir: &Path, name: String) -> Option<BcacheReading> {
    let state = text::word(&dir.join("state"))?;
    let set = dir.join("cache"); // a link to the set of caches
    let caches: Vec<_> = text::names(&set)
        .into_iter()
        .filter(|entry| entry.strip_prefix("cache").is_some_and(|rest| rest.parse::<u8>().is_ok()))
        .map(|entry| set.join(entry))
        .collect();
    let sum = |file: &str| caches.iter().map(|cache| text::number(&cache.join(file))).sum::<Option<i64>>();
    let size = caches.iter().map(|cache| {
        let bucket = text::word(&cache.join("bucket_size")).as_deref().and_then(bytes)?;
        Some(bucket.saturating_mul(text::number(&cache.join("nbuckets"))?))
    });
    let size = size.sum::<Option<i64>>().filter(|size| *size > 0);
    let dirty = text::word(&dir.join("dirty_data")).as_deref().and_then(bytes);
    Some(BcacheReading {
        id: text::word(&dir.join("backing_dev_uuid")).unwrap_or_else(|| name.clone()),
        name,
        state,
        has_cache: !caches.is_empty(),
        dirty_permille: dirty.zip(size).map(|(dirty, size)| dirty.saturating_mul(1000) / size),
        io_errors: (!caches.is_empty()).then(|| sum("io_errors")).flatten(),
    })
}

/// "1.5G", "512.0k", "0" as bytes: bcache counts in powers of 1024 and shows one digit.
fn bytes(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..)?.chars().next() {
        None => 0,
        Some('k' | 'K') => 10,
        Some('M') => 20,
        Some('G') => 30,
        Some('T') => 40,
        Some('P') => 50,
        Some(_) => return None,
    };
    let (whole, tenths) = digits.split_once('.').unwrap_or((digits, "0"));
    let tenths = whole.parse::<i64>().ok()?.checked_mul(10)?.checked_add(tenths.get(..1)?.parse().ok()?)?;
    Some(tenths.checked_mul(1_i64 << shift)? / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_bcache_writes_them() {
        for (text, expected) in [
            ("0", Some(0)),
            ("512.0k", Some(524_288)),
            ("1.5G", Some(1_610_612_736)),
            ("12M", Some(12 << 20)),
            ("x", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn a_bcache_is_read_with_its_cache() {
        let tree = text::tree(&[
            ("sys/block/bcache0/bcache/state", "dirty\n"),
            ("sys/block/bcache0/bcache/dirty_data", "768.0M\n"),
            ("sys/block/bcache0/bcache/cache/cache0/bucket_size", "512.0k\n"),
            ("sys/block/bcache0/bcache/cache/cache0/nbuckets", "2048\n"),
            ("sys/block/bcache0/bcache/cache/cache0/io_errors", "3\n"),
            ("sys/block/bcache0/bcache/cache/cache_available_percent", "90\n"),
            ("sys/block/bcache1/bcache/state", "no cache\n"),
        ]);
        let all = volumes(tree.path());
        assert_eq!((all[0].dirty_permille, all[0].io_errors, all[0].has_cache), (Some(750), Some(3), true));
        assert_eq!((all[1].dirty_permille, all[1].io_errors, all[1].has_cache), (None, None, false));
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a source has to lose: files from a seed, some small, some large, some that compress and some that do not.

use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// A source of numbers with a seed: SplitMix64 (Steele, Lea, Flood 2014). Small, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// Starts with the seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next number below `end`; 0 when there is none.
    pub const fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.draw() % end }
    }
}

/// Fills a directory with `files` files of together about `bytes` bytes: half of them hold lines of text, half noise; one
/// holds a third of all bytes, so that there are large files too.
pub(crate) fn fill(dir: &Path, seed: u64, files: usize, bytes: u64) -> Result<()> {
    let mut random = Seeded::new(seed);
    let large = bytes / 3;
    let small = (bytes - large) / u64::try_from(files.max(1)).unwrap_or(u64::MAX);
    for index in 0..files.max(1) {
        let size = if index == 0 { large } else { small / 2 + random.below(small + 1) };
        let below = dir.join(format!("d{}", index % 17));
        fs::create_dir_all(&below).with_context(|| format!("make {}", below.display()))?;
        let content = if index % 2 == 0 { noise(&mut random, size) } else { lines(&mut random, size) };
        let path = below.join(format!("f{index}"));
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

pub(crate) fn noise(random: &mut Seeded, size: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while u64::try_from(bytes.len()).is_ok_and(|length| length < size) {
        bytes.extend(random.draw().to_le_bytes());
    }
    bytes
}

fn lines(random: &mut Seeded, size: u64) -> Vec<u8> {
    const WORDS: [&str; 8] = ["disk", "host", "order", "paid", "member", "café", "0", "backup"];
    let mut text = String::new();
    while u64::try_from(text.len()).is_ok_and(|length| length < size) {
        let number = random.draw();
        let word = WORDS.get(usize::try_from(number % 8).unwrap_or_default()).copied().unwrap_or_default();
        text.push_str(word);
        text.push(if number & 0x700 == 0 { '\n' } else { ' ' });
    }
    text.into_bytes()
}

/// The ids in what `adit snapshots --json` printed.
pub(crate) fn snapshot_ids(value: &Value) -> Result<Vec<String>> {
    let list = value.as_array().or_else(|| value["snapshots"].as_array()).context("a list of snapshots")?;
    list.iter().map(|one| Ok(one["snapshot"].as_str().context("a snapshot has an id")?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_files() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["a", "b"] {
            fill(&dir.path().join(name), 42, 40, 300_000).expect("files");
        }
        let read = |name: &str, file: &str| fs::read(dir.path().join(name).join(file)).expect("a file");
        assert_eq!(read("a", "d3/f3"), read("b", "d3/f3"));
        assert_eq!(read("a", "d0/f0").len(), 100_000);
        assert_ne!(read("a", "d0/f0"), noise(&mut Seeded::new(43), 100_000));
    }
}

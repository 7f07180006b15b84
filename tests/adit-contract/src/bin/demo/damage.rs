// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One flipped bit on the box's disk, as a dying disk makes them: silently, in the middle of stored data.

use anyhow::{Context as _, Result};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Where a bit was flipped.
#[derive(Debug)]
pub(crate) struct Flip {
    /// The file.
    pub(crate) file: PathBuf,
    /// The byte's place in it.
    pub(crate) offset: u64,
}

impl Flip {
    /// Flips one bit within the largest segment below `store`.
    pub(crate) fn in_largest(store: &Path) -> Result<Self> {
        let mut files = Vec::new();
        collect(store, &mut files).with_context(|| format!("read {}", store.display()))?;
        let (length, file) = files.into_iter().max().context("the store holds no file")?;
        let flip = Self { file, offset: length / 3 };
        flip.apply()?;
        Ok(flip)
    }

    fn apply(&self) -> Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(&self.file);
        let file = file.with_context(|| format!("open {}", self.file.display()))?;
        let mut byte = [0u8; 1];
        file.read_exact_at(&mut byte, self.offset).context("read the byte")?;
        file.write_all_at(&[byte[0] ^ 0x10], self.offset).context("write the byte")
    }
}

fn collect(dir: &Path, files: &mut Vec<(u64, PathBuf)>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            collect(&entry.path(), files)?;
        } else if metadata.is_file() {
            files.push((metadata.len(), entry.path()));
        }
    }
    Ok(())
}

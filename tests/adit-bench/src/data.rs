// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The data: a copy of a real directory, so that it can be changed and changed back the same way for every program.

use anyhow::{Context as _, Result};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every so many files one is changed.
const CHANGED_EVERY: usize = 100;
/// New files, and the size of each.
const NEW_FILES: u64 = 50;
const NEW_FILE_BYTES: usize = 20_000;
const LINE: &[u8] = b"\nadit-bench was here\n";

/// A copy of a directory.
#[derive(Debug)]
pub(crate) struct Data {
    dir: PathBuf,
    files: Vec<PathBuf>,
    bytes: u64,
}

impl Data {
    /// Copies `source`; a copy that is there already is kept when it is as large.
    pub(crate) fn copy(source: &Path, dir: &Path) -> Result<Self> {
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
        }
        fs::create_dir_all(dir.parent().unwrap_or(dir)).context("make a place for the data")?;
        let status = Command::new("cp").args(["-a", "--"]).arg(source).arg(dir).status().context("run cp")?;
        anyhow::ensure!(status.success(), "cp ended with {status}");
        let mut files = Vec::new();
        let mut bytes = 0;
        walk(dir, &mut |path, size| {
            bytes += size;
            files.push(path.to_owned());
        })?;
        files.sort();
        Ok(Self { dir: dir.to_owned(), files, bytes })
    }

    /// Where it lies.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// How many regular files it has.
    pub(crate) fn files(&self) -> usize {
        self.files.len()
    }

    /// How many bytes they have.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn changed(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.iter().step_by(CHANGED_EVERY)
    }

    /// Appends a line to every hundredth file and adds a directory of new ones.
    pub(crate) fn change(&self) -> Result<()> {
        for path in self.changed() {
            let file = OpenOptions::new().append(true).open(path);
            file.and_then(|mut file| file.write_all(LINE)).with_context(|| format!("change {}", path.display()))?;
        }
        let new = self.dir.join("new");
        fs::create_dir(&new).context("make a directory")?;
        for number in 0..NEW_FILES {
            fs::write(new.join(number.to_string()), noise(number, NEW_FILE_BYTES)).context("write a new file")?;
        }
        Ok(())
    }

    /// Takes the change back.
    pub(crate) fn revert(&self) -> Result<()> {
        for path in self.changed() {
            let file = OpenOptions::new().write(true).open(path).with_context(|| format!("open {}", path.display()))?;
            let length = file.metadata().context("ask for a length")?.len().saturating_sub(LINE.len() as u64);
            file.set_len(length).with_context(|| format!("change back {}", path.display()))?;
        }
        fs::remove_dir_all(self.dir.join("new")).context("remove the new files")
    }
}

/// Bytes that no compressor makes smaller, the same for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn walk(dir: &Path, visit: &mut dyn FnMut(&Path, u64)) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let entry = entry.with_context(|| format!("read {}", dir.display()))?;
        let metadata = entry.metadata().with_context(|| format!("look at {}", entry.path().display()))?;
        if metadata.is_dir() {
            walk(&entry.path(), visit)?;
        } else if metadata.is_file() {
            visit(&entry.path(), metadata.len());
        }
    }
    Ok(())
}

/// Regular files below a directory, and their bytes.
pub(crate) fn extent(dir: &Path) -> Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    walk(dir, &mut |_, size| {
        files += 1;
        bytes += size;
    })?;
    Ok((files, bytes))
}

/// Bytes of all files below a directory: what is stored. Space reserved ahead, zeros to a file's end, counts for nobody.
pub(crate) fn size(dir: &Path) -> Result<u64> {
    let mut total = 0;
    walk(dir, &mut |path, size| total += written(path, size).unwrap_or(size))?;
    Ok(total)
}

fn written(path: &Path, size: u64) -> std::io::Result<u64> {
    use std::os::unix::fs::FileExt as _;
    let file = fs::File::open(path)?;
    let mut block = [0u8; 4096];
    let mut end = size;
    while end > 0 {
        let start = (end - 1) / 4096 * 4096;
        let length = usize::try_from(end - start).unwrap_or(4096);
        file.read_exact_at(&mut block[..length], start)?;
        if block[..length].iter().any(|byte| *byte != 0) {
            break;
        }
        end = start;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_can_be_taken_back() {
        let place = tempfile::tempdir().expect("a directory");
        let source = place.path().join("source");
        fs::create_dir(&source).expect("source");
        for number in 0..250 {
            fs::write(source.join(number.to_string()), noise(number, 100)).expect("file");
        }
        let data = Data::copy(&source, &place.path().join("data")).expect("copy");
        let before = extent(data.dir()).expect("extent");
        assert_eq!(before, (250, 25_000));
        data.change().expect("change");
        assert_eq!(
            extent(data.dir()).expect("extent"),
            (300, 25_000 + 3 * LINE.len() as u64 + NEW_FILES * NEW_FILE_BYTES as u64)
        );
        data.revert().expect("revert");
        assert_eq!(extent(data.dir()).expect("extent"), before);
    }
}

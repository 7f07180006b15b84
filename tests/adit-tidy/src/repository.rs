// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The files that the rules look at: everything below the root but build output. Paths are relative, with `/`.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// Directories that hold no source, by name, at any depth.
const SKIPPED: [&str; 5] = [".git", "target", "corpus", "artifacts", "node_modules"];

/// One file of the repository.
#[derive(Debug, Clone)]
pub struct File {
    /// Path relative to the root.
    pub path: String,
    /// Size on disk.
    pub size_bytes: u64,
    /// The content, when it is UTF-8.
    pub text: Option<String>,
}

impl File {
    /// A file made up for a test of a rule.
    pub fn of(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), size_bytes: text.len() as u64, text: Some(text.to_owned()) }
    }

    /// The text, empty for binary files.
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// Whether this is a Rust source.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// The root of the repository that this room lies in.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").components().collect()
}

/// Reads all files below `root`, sorted by path.
pub fn read(root: &Path) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if !SKIPPED.iter().any(|skipped| name == *skipped) {
                    directories.push(entry.path());
                }
            } else if kind.is_file() && name != ".git" {
                files.push(read_one(root, &entry.path())?);
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn read_one(root: &Path, path: &Path) -> io::Result<File> {
    let bytes = fs::read(path)?;
    let relative = path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
    Ok(File { path: relative, size_bytes: bytes.len() as u64, text: String::from_utf8(bytes).ok() })
}

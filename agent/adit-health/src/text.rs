// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Small readers of the kernel's text files, all below a root that a test may set.

use std::fs;
use std::io::Read as _;
use std::path::Path;

/// Longest file that is read whole, bytes. A kernel file beyond it is treated as unreadable.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The file's text without white space at its ends; `None` when it is missing, unreadable or no UTF-8.
pub(crate) fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.truncate(text.trim_end().len());
    Some(text)
}

/// The file's bytes; `None` when it is missing or unreadable.
pub(crate) fn bytes(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The file's text without white space around it; `None` also when it is empty.
pub(crate) fn word(path: &Path) -> Option<String> {
    read(path).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The file's text as a number; hexadecimal after "0x".
pub(crate) fn number(path: &Path) -> Option<i64> {
    let text = read(path)?;
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The number behind a key in lines such as "oom_kill 3" or "MemTotal:  16 kB".
pub(crate) fn keyed(text: &str, key: &str) -> Option<i64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(key)?;
        let rest = rest.strip_prefix(':').unwrap_or(rest);
        if !rest.starts_with([' ', '\t']) {
            return None;
        }
        rest.split_whitespace().next()?.parse().ok()
    })
}

/// Names in a directory, sorted; empty when it cannot be read.
pub(crate) fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// A tree of the kernel's files as a test wants it. A text "-> x" makes a symbolic link to x.
#[cfg(test)]
pub(crate) fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match text.strip_prefix("-> ") {
            Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
            None => fs::write(path, text).unwrap(),
        }
    }
    dir
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyed_needs_the_whole_key() {
        let text = "oom_kill_extra 9\noom_kill 3\nMemTotal:       16 kB\n";
        assert_eq!(keyed(text, "oom_kill"), Some(3));
        assert_eq!(keyed(text, "MemTotal"), Some(16));
        assert_eq!(keyed(text, "oom"), None);
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("n");
        for (text, expected) in [("12\n", Some(12)), ("0x1f", Some(31)), ("-4", Some(-4)), ("x", None)] {
            fs::write(&file, text).unwrap();
            assert_eq!(number(&file), expected, "{text}");
        }
        assert_eq!(number(&dir.path().join("absent")), None);
    }
}

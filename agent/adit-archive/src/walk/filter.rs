// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Patterns of paths: what to leave out, which files are page stores.
//!
//! Matches bytes, not text: a name that is not UTF-8 matches like any other.

use crate::engine::RunError;
use crate::entry::display_path;
use globset::{Candidate, Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

/// A set of patterns.
#[derive(Debug)]
pub(crate) struct Filter {
    set: Option<GlobSet>,
}

impl Filter {
    /// A pattern that begins with a slash matches a whole path, any other the end of one at a component's border.
    /// `*` and `?` stay within a component, `**` doesn't.
    pub(crate) fn new(patterns: &[String]) -> Result<Self, RunError> {
        if patterns.is_empty() {
            return Ok(Self { set: None });
        }
        let mut builder = GlobSetBuilder::new();
        for pattern in patterns {
            builder.add(
                glob(pattern).map_err(|error| RunError::Pattern {
                    pattern: pattern.clone(),
                    reason: error.kind().to_string(),
                })?,
            );
        }
        let set = builder
            .build()
            .map_err(|error| RunError::Pattern { pattern: patterns.join(", "), reason: error.kind().to_string() })?;
        Ok(Self { set: Some(set) })
    }

    /// Whether a pattern matches the path (components with 0x00 between them).
    pub(crate) fn excludes(&self, path: &[u8]) -> bool {
        self.set.as_ref().is_some_and(|set| {
            let shown = display_path(path);
            set.is_match_candidate(&Candidate::new(OsStr::from_bytes(&shown)))
        })
    }

    /// Whether a pattern matches a name in a directory.
    pub(crate) fn excludes_below(&self, above: &[u8], name: &[u8]) -> bool {
        let separator = [crate::entry::SEPARATOR];
        self.set.is_some()
            && if above.is_empty() { self.excludes(name) } else { self.excludes(&[above, &separator, name].concat()) }
    }
}

fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    let trimmed = pattern.strip_suffix('/').unwrap_or(pattern);
    let whole = if trimmed.starts_with('/') { trimmed.to_owned() } else { format!("/**/{trimmed}") };
    GlobBuilder::new(&whole).literal_separator(true).backslash_escape(true).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, path: &str, expected: bool) {
        let filter = Filter::new(&[pattern.to_owned()]).unwrap();
        let path = crate::entry::parse_path(path.as_bytes()).unwrap();
        assert_eq!(filter.excludes(&path), expected, "{pattern} on {path:?}");
    }

    #[test]
    fn patterns() {
        check("*.o", "/a/b.o", true);
        check("*.o", "/b.o", true);
        check("*.o", "/a.o/b", false);
        check("cache", "/home/u/cache", true);
        check("cache/", "/home/u/cache", true);
        check("cache", "/home/u/cache2", false);
        check("/home/*/cache", "/home/u/cache", true);
        check("/home/*/cache", "/x/home/u/cache", false);
        check("/home/*", "/home/u/cache", false);
        check("/home/**", "/home/u/cache", true);
        check("u/cache", "/home/u/cache", true);
    }

    #[test]
    fn bytes_that_are_no_text_match_too() {
        let filter = Filter::new(&["*.tmp".to_owned()]).unwrap();
        assert!(filter.excludes(b"a\0\xff\n.tmp"));
        assert!(!filter.excludes(b"a\0\xff\n.tm"));
        assert!(matches!(Filter::new(&["[".to_owned()]), Err(RunError::Pattern { .. })));
    }
}

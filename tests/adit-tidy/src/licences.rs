// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every file says under which licence it stands: by a header line, or by a path in REUSE.toml. Every licence that is
//! named has its text in LICENSES/, and no other text lies there.

use crate::Complaints;
use crate::repository::File;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::collections::BTreeSet;

const MARK: &str = concat!("SPDX-License-", "Identifier:");
/// Where a header must stand: within the first lines.
const HEADER_LINES: usize = 5;

/// Checks all files against the headers and against REUSE.toml.
pub fn licences(files: &[File]) -> Complaints {
    let reuse = files.iter().find(|file| file.path == "REUSE.toml").map(File::text).unwrap_or_default();
    let (covered, mut named) = match annotations(reuse) {
        Ok(annotations) => annotations,
        Err(complaint) => return vec![complaint],
    };
    let mut complaints = Complaints::new();
    for file in files.iter().filter(|file| !file.path.starts_with("LICENSES/")) {
        match header(file.text()) {
            Some(expression) => named.extend(identifiers(expression)),
            None if covered.is_match(&file.path) => {}
            None => {
                complaints.push(format!("{} names no licence: add a `{MARK}` line or a path in REUSE.toml", file.path))
            }
        }
    }
    let texts: BTreeSet<String> = files
        .iter()
        .filter_map(|file| Some(file.path.strip_prefix("LICENSES/")?.strip_suffix(".txt")?.to_owned()))
        .collect();
    complaints.extend(named.difference(&texts).map(|id| format!("LICENSES/{id}.txt is missing")));
    complaints.extend(texts.difference(&named).map(|id| format!("LICENSES/{id}.txt is named by no file")));
    complaints
}

fn header(text: &str) -> Option<&str> {
    let line = text.lines().take(HEADER_LINES).find(|line| line.contains(MARK))?;
    line.split(MARK).nth(1).map(|rest| rest.trim().trim_end_matches("-->").trim())
}

fn identifiers(expression: &str) -> impl Iterator<Item = String> {
    expression
        .split_whitespace()
        .filter(|word| !["OR", "AND", "WITH"].contains(word))
        .map(|word| word.trim_matches(['(', ')']).to_owned())
}

fn annotations(reuse: &str) -> Result<(GlobSet, BTreeSet<String>), String> {
    let table: toml::Table = reuse.parse().map_err(|e| format!("REUSE.toml: {e}"))?;
    let mut set = GlobSetBuilder::new();
    let mut named = BTreeSet::new();
    for annotation in table.get("annotations").and_then(toml::Value::as_array).into_iter().flatten() {
        let paths = annotation.get("path").and_then(toml::Value::as_array).into_iter().flatten();
        for path in paths.filter_map(toml::Value::as_str) {
            let glob =
                GlobBuilder::new(path).literal_separator(true).build().map_err(|e| format!("REUSE.toml: {e}"))?;
            set.add(glob);
        }
        named.extend(
            annotation.get(MARK.trim_end_matches(':')).and_then(toml::Value::as_str).into_iter().flat_map(identifiers),
        );
    }
    Ok((set.build().map_err(|e| format!("REUSE.toml: {e}"))?, named))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(extra: &[File]) -> Vec<File> {
        let reuse = concat!(
            "[[annotations]]\npath = [\"**/*.md\"]\nSPDX-License-",
            "Identifier = \"MIT\"\n# ",
            "SPDX-License-",
            "Identifier: MIT\n"
        );
        let mut files = vec![
            File::of("REUSE.toml", &format!("{reuse}\n")),
            File::of("LICENSES/MIT.txt", "text"),
            File::of("docs/a.md", "words"),
        ];
        files.extend_from_slice(extra);
        files
    }

    #[test]
    fn a_covered_repository_is_quiet() {
        assert_eq!(licences(&repository(&[])), Complaints::new());
    }

    #[test]
    fn a_file_without_a_licence_is_found() {
        assert_eq!(licences(&repository(&[File::of("a.toml", "x = 1")])).len(), 1);
    }

    #[test]
    fn a_missing_and_an_unused_text_are_found() {
        let header = format!("# {MARK} ISC\n");
        assert_eq!(licences(&repository(&[File::of("a.toml", &header)])), ["LICENSES/ISC.txt is missing"]);
        assert_eq!(
            licences(&repository(&[File::of("LICENSES/BSD-2-Clause.txt", "")])),
            ["LICENSES/BSD-2-Clause.txt is named by no file"]
        );
    }
}

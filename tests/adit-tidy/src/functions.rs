// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sizes of files and functions, as ratchets: a file or function over its limit must stand in `exceptions.toml` with its
//! size, may only shrink from there, and must leave the list once it fits.

use crate::Complaints;
use crate::lexer::{Keep, keep};
use crate::repository::File;
use std::collections::BTreeMap;

/// Lines of a source file before its tests.
pub const FILE_LINES_MAX: usize = 1000;
/// Lines of a function, from its `fn` to its closing brace.
pub const FUNCTION_LINES_MAX: usize = 70;

/// Sizes by name: `path` for a file, `path:function` for a function.
pub type Sizes = BTreeMap<String, usize>;

/// What is over its limit.
pub fn oversized(files: &[File]) -> Sizes {
    let mut sizes = Sizes::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let lines = production_lines(file.text());
        if lines > FILE_LINES_MAX {
            sizes.insert(file.path.clone(), lines);
        }
        for (name, lines) in functions(file.text()).into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX) {
            sizes.insert(format!("{}:{name}", file.path), lines);
        }
    }
    sizes
}

/// Compares what is over its limit with the list of exceptions.
pub fn ratchet(oversized: &Sizes, exceptions: &Sizes) -> Complaints {
    let grown = oversized.iter().filter_map(|(name, lines)| match exceptions.get(name) {
        None => Some(format!(
            "{name} has {lines} lines; the limit is {FILE_LINES_MAX} a file, {FUNCTION_LINES_MAX} a function"
        )),
        Some(listed) if lines > listed => {
            Some(format!("{name} grew from {listed} to {lines} lines; exceptions only shrink"))
        }
        Some(listed) if lines < listed => {
            Some(format!("{name} shrank from {listed} to {lines} lines; write that into exceptions.toml"))
        }
        Some(_) => None,
    });
    let stale = exceptions.keys().filter(|name| !oversized.contains_key(*name));
    grown.chain(stale.map(|name| format!("{name} fits now; take it off exceptions.toml"))).collect()
}

/// Lines up to the tests of the file itself.
fn production_lines(source: &str) -> usize {
    source.lines().take_while(|line| *line != "#[cfg(test)]").count()
}

/// Name and length of every function with a body.
fn functions(source: &str) -> Vec<(String, usize)> {
    let code = keep(source, Keep::Code);
    let mut found = Vec::new();
    let mut offset = 0;
    while let Some(at) = code[offset..].find("fn ").map(|at| at + offset) {
        offset = at + 3;
        let starts_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let name: String = code[offset..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if starts_word
            && !name.is_empty()
            && let Some(body) = body(&code[offset..])
        {
            found.push((name, code[at..offset + body].lines().count()));
        }
    }
    found
}

/// Where the body of a function ends that is declared at the start of `code`; none for a declaration without one.
fn body(code: &str) -> Option<usize> {
    let mut braces = 0usize;
    let mut brackets = 0usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => braces += 1,
            '}' if braces == 1 && brackets == 0 => return Some(at + 1),
            '}' => braces = braces.checked_sub(1)?,
            '[' | '(' => brackets += 1,
            ']' | ')' => brackets = brackets.checked_sub(1)?,
            ';' if braces == 0 && brackets == 0 => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long_function() -> File {
        File::of(
            "a.rs",
            &format!(
                "impl A {{\n    fn long(x: [u8; 3]) -> u8 {{\n{}    }}\n    fn short() {{}}\n}}\n",
                "        x();\n".repeat(70)
            ),
        )
    }

    #[test]
    fn a_long_function_is_found_with_its_length() {
        assert_eq!(oversized(&[long_function()]), Sizes::from([("a.rs:long".to_owned(), 72)]));
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        let long = File::of("b.rs", &"x\n".repeat(1001));
        let tested = File::of("c.rs", &format!("{}#[cfg(test)]\n{}", "x\n".repeat(1000), "x\n".repeat(500)));
        assert_eq!(oversized(&[long, tested]), Sizes::from([("b.rs".to_owned(), 1001)]));
    }

    #[test]
    fn the_ratchet_turns_one_way() {
        let now = Sizes::from([
            ("same".to_owned(), 80),
            ("grown".to_owned(), 90),
            ("shrunk".to_owned(), 75),
            ("new".to_owned(), 71),
        ]);
        let listed = Sizes::from([
            ("same".to_owned(), 80),
            ("grown".to_owned(), 80),
            ("shrunk".to_owned(), 80),
            ("gone".to_owned(), 80),
        ]);
        let complaints = ratchet(&now, &listed);
        assert_eq!(complaints.len(), 4, "{complaints:#?}");
        assert!(!complaints.iter().any(|c| c.starts_with("same")));
    }
}

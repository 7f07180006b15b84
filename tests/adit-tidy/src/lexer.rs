// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Just enough of Rust's lexical rules to tell code from comments and literals, so that a rule about code is not fooled
//! by a string. Line structure is kept: what is blanked becomes spaces.

/// Which part of a source to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Code; comments and the inside of literals are blanked.
    Code,
    /// Comments; everything else is blanked.
    Comments,
}

/// The source with everything blanked that is not to be kept.
pub fn keep(source: &str, keep: Keep) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    let mut previous = ' ';
    while let Some(first) = rest.chars().next() {
        let (length, class) = token(rest, previous);
        let text = &rest[..length];
        let shown = matches!((class, keep), (Class::Code, Keep::Code) | (Class::Comment, Keep::Comments));
        out.extend(text.chars().map(|c| if shown || c == '\n' { c } else { ' ' }));
        previous = text.chars().next_back().unwrap_or(first);
        rest = &rest[length..];
    }
    out
}

#[derive(Debug, Clone, Copy)]
enum Class {
    Code,
    Comment,
    Literal,
}

/// Length in bytes and class of what stands at the start of `rest`, which is not empty.
fn token(rest: &str, previous: char) -> (usize, Class) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), Class::Comment);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), Class::Comment);
    }
    let in_word = previous.is_alphanumeric() || previous == '_';
    if !in_word && let Some(length) = raw_string(rest) {
        return (length, Class::Literal);
    }
    if rest.starts_with('"') {
        return (quoted(rest, '"'), Class::Literal);
    }
    if rest.starts_with('\'') && is_char_literal(rest) {
        return (quoted(rest, '\''), Class::Literal);
    }
    (rest.chars().next().map_or(1, char::len_utf8), Class::Code)
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix("cr")).or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.bytes().take_while(|b| *b == b'#').count();
    let body = after[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&close).map_or(body.len(), |at| at + close.len());
    Some(rest.len() - body.len() + end)
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    rest.len()
}

/// A quote opens a character when an escape follows or the next but one character closes it; else it is a lifetime.
fn is_char_literal(rest: &str) -> bool {
    let mut following = rest.chars().skip(1);
    matches!((following.next(), following.next()), (Some('\\'), _) | (Some(_), Some('\'')))
}

/// The identifiers of a text, in order, each with its line number from 1.
pub fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().flat_map(|(index, line)| {
        line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty()).map(move |w| (index + 1, w))
    })
}

#[cfg(test)]
mod tests {
    use super::{Keep, keep};

    #[test]
    fn literals_and_comments_are_not_code() {
        let source =
            "let a = \"x // {\"; // {\nlet b = r#\"\"{\"#; /* { /* { */ */ let c = '{'; fn f<'a>(x: &'a u8) {}";
        let code = keep(source, Keep::Code);
        assert_eq!(code.matches('{').count(), 1, "{code}");
        assert_eq!(code.lines().count(), 2);
        assert!(code.contains("'a"));
        assert_eq!(keep(source, Keep::Comments).matches('{').count(), 3);
    }

    #[test]
    fn an_escaped_quote_does_not_end_a_literal() {
        assert_eq!(keep(r#"let q = '\''; let s = "\"{"; {"#, Keep::Code).matches('{').count(), 1);
    }
}

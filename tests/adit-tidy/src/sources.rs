// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rules about single source files: the head, words that must not appear, where `unsafe` and sockets may stand.

use crate::Complaints;
use crate::lexer::{Keep, keep, words};
use crate::repository::File;

/// The first line of every Rust file.
pub const HEAD: &str = "// SPDX-License-Identifier: Apache-2.0 OR MIT";
/// The largest file that may be kept.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Names of modules that say nothing about what they own.
const NAMELESS: [&str; 5] = ["utils", "util", "helpers", "misc", "tools"];
/// Socket types, and the rooms that may name them: the data path's, the one that asks daemons near this machine, and the
/// monitor's page.
const SOCKETS: [&str; 5] = ["TcpStream", "TcpListener", "TcpSocket", "UdpSocket", "socket2"];
const SOCKET_OWNERS: [&str; 5] = [
    "protocol/adit-link/",
    "agent/adit-ask/",
    "agent/adit-monitor/src/http/",
    "firmware/adit-init/src/pcp.rs",
    "firmware/adit-init/src/sntp.rs",
];

/// Every Rust file opens with its licence and a `//!` head of two lines or more.
pub fn heads(files: &[File]) -> Complaints {
    let rust = files.iter().filter(|file| file.is_rust());
    rust.filter_map(|file| {
        let mut lines = file.text().lines();
        if lines.next() != Some(HEAD) {
            return Some(format!("{}: the first line must be `{HEAD}`", file.path));
        }
        let head = lines.take_while(|line| line.starts_with("//!")).filter(|line| line.len() > 4).count();
        (head == 0).then(|| {
            format!("{}: the second line must begin the `//!` head: what it owns, what it must never do", file.path)
        })
    })
    .collect()
}

/// `unsafe` stands in adit-sys alone, and sockets in adit-link and adit-ask alone.
pub fn owners(files: &[File]) -> Complaints {
    let mut complaints = Complaints::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let code = keep(file.text(), Keep::Code);
        let in_test_room =
            file.path.starts_with("tests/") || file.path.starts_with("hil/") || file.path.contains("/tests/");
        for (line, word) in words(&code) {
            if word == "unsafe" && !file.path.starts_with("agent/adit-sys/") {
                complaints.push(format!("{}:{line}: `unsafe` outside adit-sys", file.path));
            }
            if SOCKETS.contains(&word)
                && !SOCKET_OWNERS.iter().any(|owner| file.path.starts_with(owner))
                && !in_test_room
            {
                complaints.push(format!(
                    "{}:{line}: `{word}` outside adit-link and adit-ask, the rooms that open sockets",
                    file.path
                ));
            }
        }
    }
    complaints
}

/// Words of unfinished work, tests that do not run, and headings that say nothing.
pub fn banned_words(files: &[File]) -> Complaints {
    let in_comments = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("# Argu", "ments"), concat!("# Re", "turns")];
    let in_code = [
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("#[ign", "ore"),
        concat!("#[should_", "panic"),
        concat!("db", "g!("),
    ];
    let mut complaints = Complaints::new();
    for file in files {
        let text = file.text();
        let (code, comments) = if file.is_rust() {
            (keep(text, Keep::Code), keep(text, Keep::Comments))
        } else if file.path.ends_with(".md") {
            continue;
        } else {
            (String::new(), text.to_owned())
        };
        let found = find_all(&comments, &in_comments).into_iter().chain(find_all(&code, &in_code));
        complaints.extend(found.map(|(line, word)| format!("{}:{line}: `{word}`", file.path)));
    }
    complaints
}

/// Paths that only one machine has.
pub fn machine_paths(files: &[File]) -> Complaints {
    let banned = [
        concat!("/wo", "rk/"),
        concat!("/tmp", "/wt"),
        concat!("/root/", ".cargo"),
        concat!(".cargo/", "registry"),
        concat!("/root/", ".pyenv"),
    ];
    let found =
        files.iter().flat_map(|file| find_all(file.text(), &banned).into_iter().map(|hit| (file.path.as_str(), hit)));
    found.map(|(path, (line, word))| format!("{path}:{line}: `{word}` is a path of one machine")).collect()
}

/// No module is named after nothing, and no file is a blob.
pub fn names_and_sizes(files: &[File]) -> Complaints {
    let mut complaints = Complaints::new();
    for file in files {
        if file.size_bytes > FILE_BYTES_MAX {
            complaints.push(format!("{} has {} bytes; the limit is {FILE_BYTES_MAX}", file.path, file.size_bytes));
        }
        let stem = file.path.trim_end_matches(".rs");
        if file.is_rust() && stem.split('/').any(|part| NAMELESS.contains(&part)) {
            complaints.push(format!("{}: name the module after what it owns", file.path));
        }
    }
    complaints
}

fn find_all<'w>(text: &str, banned: &[&'w str]) -> Vec<(usize, &'w str)> {
    let numbered = text.lines().enumerate();
    numbered
        .flat_map(|(index, line)| {
            banned.iter().filter(move |word| line.contains(**word)).map(move |word| (index + 1, *word))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rust(text: &str) -> [File; 1] {
        [File::of("agent/adit/src/a.rs", text)]
    }

    #[test]
    fn a_head_is_missed() {
        assert_eq!(heads(&rust("//! No licence.\n")).len(), 1);
        assert_eq!(heads(&rust(&format!("{HEAD}\nuse a;\n"))).len(), 1);
        assert_eq!(heads(&rust(&format!("{HEAD}\n//! Owns a.\n"))), Complaints::new());
    }

    #[test]
    fn unsafe_and_sockets_are_found_in_code_only() {
        assert_eq!(owners(&rust("unsafe { x() }")).len(), 1);
        assert_eq!(owners(&rust("use tokio::net::TcpStream;")).len(), 1);
        assert_eq!(owners(&rust("// unsafe TcpStream\nlet a = \"unsafe\";")), Complaints::new());
        assert_eq!(owners(&[File::of("protocol/adit-link/src/dial.rs", "TcpStream")]), Complaints::new());
    }

    #[test]
    fn unfinished_work_is_found() {
        assert_eq!(banned_words(&rust(concat!("// TO", "DO: later"))).len(), 1);
        assert_eq!(banned_words(&rust(concat!("fn a() { to", "do!() }"))).len(), 1);
        assert_eq!(banned_words(&rust(concat!("#[ign", "ore]\nfn a() {}"))).len(), 1);
        assert_eq!(banned_words(&rust(concat!("let a = \"TO", "DO\";"))), Complaints::new());
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        assert_eq!(machine_paths(&[File::of("README.md", concat!("see /wo", "rk/main"))]).len(), 1);
        assert_eq!(machine_paths(&[File::of("README.md", "see frameworks/main")]), Complaints::new());
    }

    #[test]
    fn blobs_and_nameless_modules_are_found() {
        let blob = File { path: "a.bin".to_owned(), size_bytes: FILE_BYTES_MAX + 1, text: None };
        assert_eq!(names_and_sizes(&[blob, File::of("agent/adit/src/utils.rs", "")]).len(), 2);
        assert_eq!(names_and_sizes(&[File::of("agent/adit/src/pair.rs", "")]), Complaints::new());
    }
}

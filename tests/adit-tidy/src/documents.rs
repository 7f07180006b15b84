// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rules that keep the documents true: facts in the README equal the manifest and the code, promises in SPECIFICATION.md
//! name tests that exist, the changelog has its form, links lead somewhere.

use crate::Complaints;
use crate::repository::File;
use std::collections::BTreeSet;

/// Lines of README.md that a person sees first; the whole file fits twice.
pub const README_LINES_MAX: usize = 90;
/// The fuzz targets: a workspace of their own, told with the protocol.
const FUZZ: &str = "protocol/fuzz";
/// The list of the stories.
const STORIES: &str = "hil/scenarios/src/lib.rs";
/// Kinds of change that the changelog knows.
const CHANGES: [&str; 6] = ["Added", "Changed", "Fixed", "Removed", "Security", "Format"];

/// What the README must agree with.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Version of the workspace.
    pub version: String,
    /// Lowest Rust version, from the manifest.
    pub rust_version: String,
    /// The default port, from adit-wire.
    pub port: u16,
    /// Directories that hold a package, as paths.
    pub rooms: Vec<String>,
    /// Targets of the Makefile.
    pub targets: BTreeSet<String>,
}

impl Facts {
    /// Collects the facts from manifests, Makefile and code.
    pub fn collect(files: &[File], port: u16) -> Result<Self, String> {
        let manifest: toml::Table = text_of(files, "Cargo.toml").parse().map_err(|e| format!("Cargo.toml: {e}"))?;
        let package =
            manifest.get("workspace").and_then(|w| w.get("package")).ok_or("Cargo.toml has no [workspace.package]")?;
        let value = |key: &str| {
            package.get(key).and_then(toml::Value::as_str).map(str::to_owned).ok_or_else(|| format!("no {key}"))
        };
        let rooms = files.iter().filter_map(|file| file.path.strip_suffix("/Cargo.toml")).filter(|path| *path != FUZZ);
        let makefile = text_of(files, "Makefile").lines();
        let targets = makefile.filter_map(|line| {
            line.split_once(": ## ").or_else(|| line.split_once(':')).map(|(name, _)| name.to_owned())
        });
        Ok(Self {
            version: value("version")?,
            rust_version: value("rust-version")?,
            port,
            rooms: rooms.map(str::to_owned).collect(),
            targets: targets.filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-')).collect(),
        })
    }
}

/// The text of one file, empty when it is missing.
pub fn text_of<'f>(files: &'f [File], path: &str) -> &'f str {
    files.iter().find(|file| file.path == path).map(File::text).unwrap_or_default()
}

/// README.md tells the facts as they are, and tells each room.
pub fn readme(readme: &str, facts: &Facts) -> Complaints {
    let mut complaints = Complaints::new();
    let lines = readme.lines().count();
    if lines == 0 || lines > README_LINES_MAX {
        complaints.push(format!("README.md has {lines} lines; 1 to {README_LINES_MAX} are allowed"));
    }
    for (before, fact) in [("Version ", &facts.version), ("Rust ", &facts.rust_version)] {
        complaints.extend(
            quoted_after(readme, before)
                .filter(|quoted| quoted != fact)
                .map(|q| format!("README.md says `{before}{q}`; it is {fact}")),
        );
    }
    if !readme.contains(&facts.version) {
        complaints.push(format!("README.md does not tell the version {}", facts.version));
    }
    if !readme.contains(&facts.port.to_string()) {
        complaints.push(format!("README.md does not tell the default port {}", facts.port));
    }
    for room in facts.rooms.iter().filter_map(|path| path.rsplit('/').next()) {
        if !readme.contains(&format!("`{room}`")) {
            complaints.push(format!("README.md does not tell what `{room}` is"));
        }
    }
    for (number, line) in readme.lines().enumerate() {
        if line.split_whitespace().zip(line.split_whitespace().skip(1)).any(|(a, b)| is_duration(a, b)) {
            complaints.push(format!("README.md:{}: an absolute time; tell ratios only", number + 1));
        }
    }
    complaints
}

fn quoted_after<'t>(text: &'t str, before: &'t str) -> impl Iterator<Item = String> + 't {
    text.match_indices(before).filter_map(move |(at, _)| {
        let rest = &text[at + before.len()..];
        let quoted: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let quoted = quoted.trim_end_matches('.');
        (quoted.contains('.')).then(|| quoted.to_owned())
    })
}

fn is_duration(number: &str, unit: &str) -> bool {
    let unit = unit.trim_matches(|c: char| !c.is_alphanumeric());
    number.parse::<f64>().is_ok() && ["s", "ms", "µs", "seconds", "minutes"].contains(&unit)
}

/// Every `make NAME` in a document is a target of the Makefile.
pub fn targets(files: &[File], facts: &Facts) -> Complaints {
    let documents = files.iter().filter(|file| file.path.ends_with(".md"));
    documents
        .flat_map(|file| {
            let named = file.text().match_indices("`make ").map(|(at, _)| &file.text()[at + 6..]);
            let named =
                named.map(|rest| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect::<String>());
            let unknown = named.filter(|name| !name.is_empty() && !facts.targets.contains(name));
            unknown.map(|name| format!("{}: `make {name}` does not exist", file.path)).collect::<Vec<_>>()
        })
        .collect()
}

/// Every command of `adit` that a document of the root shows has its file: a subcommand is one file below `cli`.
pub fn commands(files: &[File]) -> Complaints {
    let known: BTreeSet<&str> = files
        .iter()
        .filter_map(|file| file.path.strip_prefix("agent/adit/src/cli/")?.strip_suffix(".rs"))
        .chain(["box"])
        .collect();
    let mut complaints = Complaints::new();
    let root = files.iter().filter(|file| file.path.ends_with(".md") && !file.path.contains('/'));
    for file in root {
        for line in file.text().lines().filter(|line| line.starts_with("    ")) {
            let verbs = line.split("adit ").skip(1).filter_map(verb);
            let unknown = verbs.filter(|verb| !known.contains(verb));
            complaints.extend(
                unknown.map(|verb| format!("{}: `adit {verb}` has no file below agent/adit/src/cli", file.path)),
            );
        }
    }
    complaints
}

/// The verb of a command line behind `adit `, past its options.
fn verb(rest: &str) -> Option<&str> {
    let mut words = rest.split_whitespace();
    let verb = loop {
        let word = words.next()?;
        if !word.starts_with("--") {
            break word;
        }
        words.next()?;
    };
    verb.chars().all(|c| c.is_ascii_lowercase()).then_some(verb)
}

/// ARCHITECTURE.md has a heading or a row for each room.
pub fn architecture(text: &str, facts: &Facts) -> Complaints {
    let rooms = facts.rooms.iter().filter_map(|path| path.rsplit('/').next());
    rooms
        .filter(|room| !text.contains(&format!("`{room}`")))
        .map(|room| format!("ARCHITECTURE.md does not tell `{room}`"))
        .collect()
}

/// Rows of SPECIFICATION.md are numbered in order; the last column names tests that exist, or says what is missing.
pub fn specification(text: &str, tests: &BTreeSet<String>) -> Complaints {
    let mut complaints = Complaints::new();
    let mut expected = 1;
    for (index, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let Some(number) = cells.first().and_then(|cell| cell.parse::<u32>().ok()).filter(|_| line.starts_with('|'))
        else {
            continue;
        };
        let at = format!("SPECIFICATION.md:{}", index + 1);
        if number != expected {
            complaints.push(format!("{at}: promise {number} stands where {expected} is expected"));
        }
        expected = number + 1;
        let [_, promise, figure, shown] = cells[..] else {
            complaints.push(format!("{at}: a row has a number, a promise, a figure and what shows it"));
            continue;
        };
        if promise.is_empty() || figure.is_empty() {
            complaints.push(format!("{at}: a promise needs its text and its figure"));
        }
        complaints.extend(proof(shown, tests).into_iter().map(|complaint| format!("{at}: {complaint}")));
    }
    if expected == 1 {
        complaints.push("SPECIFICATION.md promises nothing".to_owned());
    }
    complaints
}

fn proof(shown: &str, tests: &BTreeSet<String>) -> Complaints {
    let unproven = shown.split_once("unproven:").map(|(_, missing)| missing.trim());
    let named: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
    match unproven {
        Some(missing) if missing.len() < 10 => vec!["unproven promises say what is missing".to_owned()],
        None if named.is_empty() => {
            vec!["a promise names its test, or says `unproven:` and what is missing".to_owned()]
        }
        _ => named
            .iter()
            .filter(|name| !tests.contains(**name))
            .map(|name| format!("there is no test `{name}`"))
            .collect(),
    }
}

/// Names of all test functions: the `fn` below a line that ends in `test]` or inside `proptest!`; and of the fast stories on
/// QEMU machines, which are tests by another runner.
pub fn test_names(files: &[File]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let mut expects = false;
        for line in file.text().lines().map(str::trim) {
            if line.starts_with("#[") {
                expects |= line.contains("test]") || line.contains("test(");
                continue;
            }
            let signature = line.trim_start_matches("pub ").trim_start_matches("async ");
            if expects && let Some(rest) = signature.strip_prefix("fn ") {
                names.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            }
            expects &= line.starts_with("//") || line.is_empty();
            if file.path == STORIES
                && let Some((name, _)) = line.strip_prefix("Fast ").and_then(|rest| rest.split_once(" = "))
            {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

/// CHANGELOG.md: versions as second-level headings, the newest first; kinds as third-level headings; full sentences.
pub fn changelog(text: &str, version: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if !text.starts_with("# Changelog\n") {
        complaints.push("CHANGELOG.md must begin with `# Changelog`".to_owned());
    }
    let mut headings = text.lines().filter_map(|line| line.strip_prefix("## "));
    if !headings.next().is_some_and(|first| first == "Unreleased" || first.starts_with(version)) {
        complaints.push(format!("CHANGELOG.md must open with `## Unreleased` or `## {version} (date)`"));
    }
    for kind in text.lines().filter_map(|line| line.strip_prefix("### ")).filter(|kind| !CHANGES.contains(kind)) {
        complaints.push(format!("CHANGELOG.md: `{kind}` is none of {CHANGES:?}"));
    }
    let paragraphs = text.split("\n- ").skip(1).map(|entry| entry.split("\n#").next().unwrap_or(entry).trim());
    complaints.extend(paragraphs.filter(|entry| !entry.ends_with('.')).map(|entry| {
        let start: String = entry.chars().take(40).collect();
        format!("CHANGELOG.md: `{start}…` is not a full sentence")
    }));
    complaints
}

/// Relative links in documents lead to files of the repository.
pub fn links(files: &[File]) -> Complaints {
    let known: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let mut complaints = Complaints::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        let directory = file.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        for target in file.text().split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            let joined = if directory.is_empty() { path.to_owned() } else { format!("{directory}/{path}") };
            let exists = path.is_empty() || path.contains("://") || path.contains("..");
            let exists = exists
                || known
                    .iter()
                    .any(|name| *name == joined || name.starts_with(&format!("{}/", joined.trim_end_matches('/'))));
            if !exists {
                complaints.push(format!("{}: the link to {target} leads nowhere", file.path));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            version: "0.1.0".to_owned(),
            rust_version: "1.95".to_owned(),
            port: 11713,
            rooms: vec!["agent/adit".to_owned()],
            targets: BTreeSet::from(["demo".to_owned()]),
        }
    }

    #[test]
    fn facts_come_from_manifest_and_makefile() {
        let manifest = File::of("Cargo.toml", "[workspace.package]\nversion = \"0.1.0\"\nrust-version = \"1.95\"\n");
        let files = [manifest, File::of("agent/adit/Cargo.toml", ""), File::of("Makefile", "demo: ## show\n\techo\n")];
        let found = Facts::collect(&files, 1).expect("complete");
        assert_eq!((found.rooms, found.targets), (vec!["agent/adit".to_owned()], BTreeSet::from(["demo".to_owned()])));
    }

    #[test]
    fn a_readme_that_lies_is_found() {
        let good = "Version 0.1.0, Rust 1.95, port 11713, `adit`\n";
        assert_eq!(readme(good, &facts()), Complaints::new());
        assert_eq!(readme(&good.replace("1.95", "1.94"), &facts()).len(), 1);
        assert_eq!(readme(&good.replace("11713", "11714"), &facts()).len(), 1);
        assert_eq!(readme(&good.replace("`adit`", ""), &facts()).len(), 1);
        assert_eq!(readme(&good.replace("0.1.0", "0.2.0"), &facts()).len(), 2);
        assert_eq!(readme(&format!("{good}takes 12 s.\n"), &facts()).len(), 1);
        assert_eq!(readme(&good.repeat(100), &facts()).len(), 1);
    }

    #[test]
    fn an_unknown_target_a_missing_room_and_a_dead_link_are_found() {
        let document = File::of("docs/A.md", "`make demo` and `make dinner`, see [b](B.md) and [c](C.md)");
        assert_eq!(targets(std::slice::from_ref(&document), &facts()).len(), 1);
        assert_eq!(links(&[document, File::of("docs/B.md", "")]).len(), 1);
        assert_eq!(architecture("nothing", &facts()).len(), 1);
    }

    #[test]
    fn an_unknown_command_is_found() {
        let document = File::of("README.md", "text\n    server$ adit --state DIR init --x && adit burn /etc\n");
        let files = [document, File::of("agent/adit/src/cli/init.rs", "")];
        assert_eq!(commands(&files), ["README.md: `adit burn` has no file below agent/adit/src/cli"]);
    }

    #[test]
    fn a_promise_without_proof_is_found() {
        let tests = BTreeSet::from(["survives".to_owned()]);
        let good =
            "| 1 | it survives | 8 of 8 | `survives` |\n| 2 | it is fast | half | unproven: no bench was run |\n";
        assert_eq!(specification(good, &tests), Complaints::new());
        assert_eq!(specification(&good.replace("`survives`", "`dies`"), &tests).len(), 1);
        assert_eq!(specification(&good.replace("`survives`", "believe me"), &tests).len(), 1);
        assert_eq!(specification(&good.replace("no bench was run", "later"), &tests).len(), 1);
        assert_eq!(specification(&good.replace("| 2 |", "| 3 |"), &tests).len(), 1);
        assert_eq!(specification(&good.replace("| 8 of 8 ", ""), &tests).len(), 1);
        assert_eq!(specification("", &tests).len(), 1);
    }

    #[test]
    fn tests_are_told_from_other_functions() {
        let source = "#[test]\nfn one() {}\n#[tokio::test]\n#[expect(x)]\nasync fn two() {}\nfn three() {}\n#[test]\n/// Why.\nfn four() {}\n";
        assert_eq!(test_names(&[File::of("a.rs", source)]), BTreeSet::from(["one", "two", "four"].map(str::to_owned)));
        let stories = "    Fast power_cut = power_cut::few \"…\"\n    Slow power_cuts = power_cut::many \"…\"\n";
        assert_eq!(test_names(&[File::of(STORIES, stories)]), BTreeSet::from(["power_cut".to_owned()]));
    }

    #[test]
    fn a_changelog_out_of_form_is_found() {
        let good = "# Changelog\n\n## Unreleased\n\n### Added\n\n- A sentence\n  over two lines.\n";
        assert_eq!(changelog(good, "0.1.0"), Complaints::new());
        assert_eq!(changelog(&good.replace("lines.", "lines"), "0.1.0").len(), 1);
        assert_eq!(changelog(&good.replace("Added", "Stuff"), "0.1.0").len(), 1);
        assert_eq!(changelog(&good.replace("Unreleased", "9.9.9"), "0.1.0").len(), 1);
        assert_eq!(changelog("Changes", "0.1.0").len(), 2);
    }
}

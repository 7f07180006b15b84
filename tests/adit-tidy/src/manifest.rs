// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rules about the root manifest: every shared dependency says why it is here, and every room takes what it shares from
//! there.

use crate::Complaints;
use crate::repository::File;

/// Words that a reason has at least.
const REASON_WORDS_MIN: usize = 2;
/// Workspaces of their own, because they need another compiler.
const APART: [&str; 2] = ["protocol/fuzz/", "firmware/bare-metal/"];

/// Every line of `[workspace.dependencies]` ends with a reason, or follows a comment line; our own rooms need none.
pub fn reasons(manifest: &str) -> Complaints {
    let mut complaints = Complaints::new();
    let mut inside = false;
    let mut previous = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == "[workspace.dependencies]";
        } else if inside && line.contains('=') && !line.starts_with('#') && !line.contains("path = ") {
            let inline = line
                .rsplit_once(" # ")
                .is_some_and(|(_, reason)| reason.split_whitespace().count() >= REASON_WORDS_MIN);
            if !inline && !previous.starts_with('#') {
                complaints.push(format!("Cargo.toml: `{line}` does not say why it is here"));
            }
        }
        previous = line;
    }
    complaints
}

/// Rooms name no version of their own and obey the shared lints.
pub fn rooms(files: &[File]) -> Complaints {
    let manifests = files
        .iter()
        .filter(|file| file.path.ends_with("/Cargo.toml") && !APART.iter().any(|apart| file.path.starts_with(apart)));
    let mut complaints = Complaints::new();
    for file in manifests {
        let table: toml::Table = match file.text().parse() {
            Ok(table) => table,
            Err(error) => {
                complaints.push(format!("{}: {error}", file.path));
                continue;
            }
        };
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let dependencies = table.get(kind).and_then(toml::Value::as_table).into_iter().flatten();
            let unshared =
                dependencies.filter(|(_, value)| value.get("workspace").and_then(toml::Value::as_bool) != Some(true));
            complaints.extend(
                unshared.map(|(name, _)| format!("{}: {name} must take its version from the workspace", file.path)),
            );
        }
        if table.get("lints").and_then(|lints| lints.get("workspace")).is_none() {
            complaints.push(format!("{} must obey the lints of the workspace", file.path));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        let manifest = "[workspace.dependencies]\nadit-wire = { path = \"x\" }\na = \"1\" # one two three\n# why b is here\nb = \"1\"\nc = \"1\"\nd = \"1\" # short\n";
        assert_eq!(reasons(manifest).len(), 2);
    }

    #[test]
    fn an_own_version_and_missing_lints_are_found() {
        let file = File::of("agent/adit/Cargo.toml", "[dependencies]\nserde = \"1\"\nlog.workspace = true\n");
        assert_eq!(rooms(&[file]).len(), 2);
    }
}

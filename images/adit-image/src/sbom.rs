// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bill of materials: which Debian packages and which crates are in an image, with versions and licences, as CycloneDX
//! 1.5 in JSON (cyclonedx.org). Packages come from the lock, crates from Cargo's own account of the workspace. Carries no
//! time and no random number, so that it is reproducible too.

use crate::arch::Arch;
use crate::initrd::{Identity, PROGRAMS};
use crate::inputs::Package;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The largest copyright file that is looked into, in bytes.
pub const COPYRIGHT_BYTES_MAX: u64 = 4 << 20;

/// Why there is no bill of materials.
#[derive(Debug, thiserror::Error)]
pub enum SbomError {
    /// Cargo.
    #[error("ask cargo about {}", path.display())]
    Cargo {
        /// The workspace's manifest.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Cargo's answer.
    #[error("cargo says of {}: {said}", path.display())]
    Refused {
        /// The workspace's manifest.
        path: PathBuf,
        /// Its last words.
        said: String,
    },
}

/// The text of the bill.
pub fn of(identity: &Identity, packages: &[(Package, PathBuf)], workspace: &Path) -> Result<String, SbomError> {
    let mut components: Vec<Value> = packages.iter().map(|(package, root)| debian(package, root)).collect();
    components.extend(crates(&metadata(workspace, identity.arch)?));
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": {
            "type": "firmware",
            "name": "adit-box",
            "version": identity.version.to_string(),
            "description": format!("{} {}", identity.flavour, identity.arch),
        } },
        "components": components,
    });
    Ok(format!("{bill:#}\n"))
}

fn debian(package: &Package, root: &Path) -> Value {
    let Package { name, version, sha256, arch, .. } = package;
    let licences: Vec<Value> =
        licences(name, root).into_iter().map(|name| json!({ "license": { "name": name } })).collect();
    json!({
        "type": "library",
        "name": name,
        "version": version,
        "purl": format!("pkg:deb/debian/{name}@{version}?arch={}", arch.debian()),
        "hashes": [{ "alg": "SHA-256", "content": sha256.to_string() }],
        "licenses": licences,
    })
}

/// Names of licences in a machine-readable copyright file; none if it is written for people only.
fn licences(name: &str, root: &Path) -> BTreeSet<String> {
    let path = root.join("usr/share/doc").join(name).join("copyright");
    let small = path.metadata().is_ok_and(|file| file.len() <= COPYRIGHT_BYTES_MAX);
    let text = if small { std::fs::read(&path).unwrap_or_default() } else { Vec::new() };
    let text = String::from_utf8_lossy(&text);
    let names = text.lines().filter_map(|line| line.strip_prefix("License:"));
    names.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

fn metadata(workspace: &Path, arch: Arch) -> Result<Value, SbomError> {
    let path = || workspace.to_owned();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--locked", "--offline", "--manifest-path"]).arg(workspace);
    command.arg("--filter-platform").arg(format!("{arch}-unknown-linux-gnu"));
    let output = command.output().map_err(|source| SbomError::Cargo { path: path(), source })?;
    let said = String::from_utf8_lossy(&output.stderr);
    let refused =
        |said: &str| SbomError::Refused { path: path(), said: said.lines().last().unwrap_or_default().to_owned() };
    if !output.status.success() {
        return Err(refused(&said));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| refused(&error.to_string()))
}

/// The crates that our programs are linked from: what only builds or tests them is left out.
fn crates(metadata: &Value) -> Vec<Value> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (text(&package["id"]), package)).collect();
    let nodes: BTreeMap<String, Vec<Value>> =
        list(&metadata["resolve"]["nodes"]).iter().map(|node| (text(&node["id"]), list(&node["deps"]))).collect();
    let is_ours = |package: &Value| PROGRAMS.iter().any(|(name, _)| package["name"] == **name);
    let mut waiting: Vec<String> =
        packages.iter().filter(|(_, package)| is_ours(package)).map(|(id, _)| id.clone()).collect();
    let mut linked = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if !linked.insert(id.clone()) {
            continue;
        }
        for dependency in nodes.get(&id).into_iter().flatten() {
            if list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()) {
                waiting.push(text(&dependency["pkg"]));
            }
        }
    }
    let components = linked.iter().filter_map(|id| packages.get(id)).map(|package| {
        let (name, version) = (text(&package["name"]), text(&package["version"]));
        let licences =
            package["license"].as_str().map(|expression| json!([{ "expression": expression.replace('/', " OR ") }]));
        json!({
            "type": "library",
            "name": name,
            "version": version,
            "purl": format!("pkg:cargo/{name}@{version}"),
            "licenses": licences.unwrap_or_else(|| json!([])),
        })
    });
    let mut components: Vec<Value> = components.collect();
    components.sort_by_key(|component| (text(&component["name"]), text(&component["version"])));
    components
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_linked_counts() {
        let package = |name: &str| json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0" });
        let needs = |id: &str, deps: &[(&str, Value)]| {
            let deps: Vec<Value> =
                deps.iter().map(|(pkg, kind)| json!({ "pkg": pkg, "dep_kinds": [{ "kind": kind }] })).collect();
            json!({ "id": id, "deps": deps })
        };
        let packages = ["aditd", "serde", "cc", "proptest", "adit-bench"].map(package);
        let metadata = json!({
            "packages": packages,
            "resolve": { "nodes": [
                needs("aditd", &[("serde", Value::Null), ("cc", json!("build")), ("proptest", json!("dev"))]),
                needs("serde", &[("aditd", Value::Null)]),
                needs("adit-bench", &[("proptest", Value::Null)]),
            ] },
        });
        let crates = crates(&metadata);
        let names: Vec<&str> = crates.iter().filter_map(|component| component["name"].as_str()).collect();
        assert_eq!(names, ["aditd", "serde"]);
        assert_eq!(crates[1]["licenses"][0]["expression"], "MIT OR Apache-2.0");
    }

    #[test]
    fn licences_come_from_the_package() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("usr/share/doc/mdadm");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("copyright"), "Files: *\nLicense: GPL-2+\n text\nLicense:  MIT\nLicense:\n")
            .unwrap();
        assert_eq!(licences("mdadm", root.path()).into_iter().collect::<Vec<_>>(), ["GPL-2+", "MIT"]);
        assert!(licences("gone", root.path()).is_empty());
        std::fs::write(folder.join("copyright"), vec![b'x'; usize::try_from(COPYRIGHT_BYTES_MAX).unwrap() + 1])
            .unwrap();
        assert!(licences("mdadm", root.path()).is_empty());
    }
}

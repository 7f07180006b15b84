// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which room may depend on which: the arrows and the invariants of absence, over what Cargo itself says. Dependencies
//! for tests are left out except where a rule names them.

use crate::Complaints;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Packages and what each is built from.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// Names of normal and build dependencies, by package name; registry packages too.
    pub normal: BTreeMap<String, BTreeSet<String>>,
    /// Names of dependencies for tests, for packages of this workspace.
    pub development: BTreeMap<String, BTreeSet<String>>,
    /// Packages of this workspace.
    pub rooms: BTreeSet<String>,
}

/// The rooms of our own that each room may be built from. A room that is missing here is a complaint.
const ARROWS: [(&str, &[&str]); 26] = [
    ("adit-wire", &[]),
    ("adit-proto", &["adit-wire"]),
    ("adit-link", &["adit-wire", "adit-proto"]),
    ("adit-slots", &["adit-wire"]),
    ("adit-init", &["adit-wire", "adit-slots", "adit-sys"]),
    ("adit-store", &["adit-wire"]),
    ("adit-archive", &["adit-wire"]),
    ("adit-device", &[]),
    ("adit-sys", &["adit-device"]),
    ("adit-probe", &["adit-device", "adit-sys"]),
    ("adit-health", &["adit-wire", "adit-device"]),
    ("adit-ask", &["adit-health"]),
    ("adit-peers", &["adit-wire", "adit-proto", "adit-link"]),
    (
        "aditd",
        &["adit-wire", "adit-proto", "adit-link", "adit-peers", "adit-store", "adit-device", "adit-health", "adit-ask"],
    ),
    ("adit-monitor", &["adit-wire", "adit-proto", "adit-link", "adit-peers", "adit-health"]),
    ("adit", &["adit-wire", "adit-proto", "adit-link", "adit-archive", "adit-health"]),
    ("adit-image", &["adit-wire", "adit-proto", "adit-slots"]),
    ("adit-guest", &[]),
    ("adit-hil", &["adit-wire", "adit-proto", "adit-link", "adit-health", "adit-guest", "adit-image", "adit-slots"]),
    ("scenarios", &["adit-wire", "adit-guest", "adit-hil"]),
    ("adit-nostd", &["adit-wire", "adit-proto", "adit-slots"]),
    ("adit-tidy", &["adit-wire"]),
    ("adit-bench", &["adit-device", "adit-health", "adit-link", "adit-wire"]),
    (
        "adit-contract",
        &[
            "adit-device",
            "adit-ask",
            "adit-wire",
            "adit-proto",
            "adit-link",
            "adit-store",
            "adit-archive",
            "adit-health",
        ],
    ),
    ("adit-services", &["adit-image"]),
    ("adit-sim", &["adit-wire", "adit-proto", "adit-store", "adit-archive", "adit-health"]),
];
/// Everything from outside that the pure rooms may use: no file, socket, thread, clock or random source among them.
const PURE: [(&str, &[&str]); 4] = [
    ("adit-wire", &["serde", "postcard", "blake3", "thiserror", "log", "defmt"]),
    ("adit-proto", &["serde", "blake3", "thiserror", "bech32", "zeroize", "log", "defmt"]),
    ("adit-device", &["serde", "postcard", "thiserror"]),
    ("adit-slots", &["blake3", "crc", "embedded-io", "thiserror", "log", "defmt"]),
];
/// Rooms that only test: nothing may depend on them.
const TEST_ROOMS: [&str; 7] =
    ["scenarios", "adit-nostd", "adit-tidy", "adit-bench", "adit-contract", "adit-services", "adit-sim"];
/// What only adit-link may name directly.
const NETWORK: [&str; 3] = ["rustls", "tokio-rustls", "socket2"];

impl Graph {
    /// Asks `cargo metadata` in `root`.
    pub fn ask(root: &Path) -> Result<Self, String> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let mut command = Command::new(cargo);
        command.args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &platform]);
        let output = command.current_dir(root).output();
        let output = output.map_err(|e| format!("run cargo metadata: {e}"))?;
        if !output.status.success() {
            return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let value: Value = serde_json::from_slice(&output.stdout).map_err(|e| format!("parse cargo metadata: {e}"))?;
        Self::parse(&value).ok_or_else(|| "cargo metadata has another form than expected".to_owned())
    }

    fn parse(value: &Value) -> Option<Self> {
        let packages = value.get("packages")?.as_array()?;
        let names: BTreeMap<&str, &str> =
            packages.iter().filter_map(|p| Some((p.get("id")?.as_str()?, p.get("name")?.as_str()?))).collect();
        let members = value.get("workspace_members")?.as_array()?.iter().filter_map(Value::as_str);
        let mut graph =
            Self { rooms: members.filter_map(|id| Some((*names.get(id)?).to_owned())).collect(), ..Self::default() };
        for node in value.get("resolve")?.get("nodes")?.as_array()? {
            let name = *names.get(node.get("id")?.as_str()?)?;
            for dependency in node.get("deps")?.as_array()? {
                let on = (*names.get(dependency.get("pkg")?.as_str()?)?).to_owned();
                let kinds = dependency.get("dep_kinds")?.as_array()?;
                if kinds.iter().any(|kind| kind.get("kind").and_then(Value::as_str) != Some("dev")) {
                    graph.normal.entry(name.to_owned()).or_default().insert(on);
                } else {
                    graph.development.entry(name.to_owned()).or_default().insert(on);
                }
            }
        }
        Some(graph)
    }

    fn normal_of(&self, name: &str) -> impl Iterator<Item = &str> {
        self.normal.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Everything that a package is built from, at any depth.
    pub fn reachable(&self, from: &str) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut waiting: Vec<&str> = self.normal_of(from).collect();
        while let Some(name) = waiting.pop() {
            if seen.insert(name) {
                waiting.extend(self.normal_of(name));
            }
        }
        seen
    }
}

/// Rooms depend only where an arrow points.
pub fn arrows(graph: &Graph) -> Complaints {
    let mut complaints = Complaints::new();
    for room in &graph.rooms {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| name == room) else {
            complaints.push(format!("{room} has no arrows: list it in adit-tidy and in ARCHITECTURE.md"));
            continue;
        };
        for on in graph.normal_of(room).filter(|on| graph.rooms.contains(*on) && !allowed.contains(on)) {
            complaints.push(format!("{room} must not depend on {on}"));
        }
    }
    complaints
}

/// The pure rooms use what is listed and nothing else.
pub fn purity(graph: &Graph) -> Complaints {
    let outside = PURE.iter().flat_map(|(room, allowed)| {
        let foreign = graph.normal_of(room).filter(|on| !graph.rooms.contains(*on) && !allowed.contains(on));
        foreign.map(move |on| format!("{room} must stay pure: {on} is not on its list"))
    });
    outside.collect()
}

/// What must be absent: decryption code in the agent, sockets outside adit-link, test rooms below anything.
pub fn absences(graph: &Graph) -> Complaints {
    let mut complaints = Complaints::new();
    for daemon in ["aditd", "adit-monitor"] {
        if graph.reachable(daemon).contains("adit-archive") {
            complaints.push(format!("{daemon} can reach adit-archive, so it holds code to decrypt"));
        }
    }
    for room in &graph.rooms {
        for on in graph.normal_of(room).filter(|on| NETWORK.contains(on) && room != "adit-link") {
            complaints.push(format!("{room} names {on}; only adit-link does"));
        }
        let development = graph.development.get(room).into_iter().flatten().map(String::as_str);
        for on in graph.normal_of(room).chain(development).filter(|on| TEST_ROOMS.contains(on)) {
            complaints.push(format!("{room} depends on the test room {on}"));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::default();
        for (from, on) in edges {
            for name in [from, on].into_iter().filter(|name| name.starts_with("adit")) {
                graph.rooms.insert((*name).to_owned());
            }
            graph.normal.entry((*from).to_owned()).or_default().insert((*on).to_owned());
        }
        graph
    }

    #[test]
    fn an_arrow_against_the_direction_is_found() {
        assert_eq!(arrows(&graph(&[("adit-wire", "adit-proto")])).len(), 1);
        assert_eq!(arrows(&graph(&[("adit-store", "adit-archive")])).len(), 1);
        assert_eq!(arrows(&graph(&[("adit-unheard", "adit-wire")])).len(), 1);
        assert_eq!(arrows(&graph(&[("adit-link", "adit-proto")])), Complaints::new());
    }

    #[test]
    fn a_file_library_in_a_pure_room_is_found() {
        assert_eq!(purity(&graph(&[("adit-wire", "rustix")])).len(), 1);
        assert_eq!(purity(&graph(&[("adit-wire", "serde")])), Complaints::new());
    }

    #[test]
    fn decryption_below_the_agent_is_found_at_any_depth() {
        let hidden = graph(&[("aditd", "adit-health"), ("adit-health", "innocent"), ("innocent", "adit-archive")]);
        assert_eq!(absences(&hidden).len(), 1);
    }

    #[test]
    fn a_second_owner_of_sockets_and_a_used_test_room_are_found() {
        assert_eq!(absences(&graph(&[("adit-store", "rustls")])).len(), 1);
        assert_eq!(absences(&graph(&[("adit-store", "adit-tidy")])).len(), 1);
        let mut tested = graph(&[]);
        tested.rooms.insert("adit-store".to_owned());
        tested.development.insert("adit-store".to_owned(), BTreeSet::from(["adit-contract".to_owned()]));
        assert_eq!(absences(&tested).len(), 1);
    }
}

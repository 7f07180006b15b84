// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Versions beside dpkg, and counts of updates beside apt, over the real lists of this machine's release.

use adit_ask::updates::{self, debian};
use adit_ask::version::compare;
use adit_services::packages;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cmp::Ordering;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

fn dpkg(left: &str, word: &str, right: &str) -> bool {
    Command::new("dpkg").args(["--compare-versions", left, word, right]).status().unwrap().success()
}

#[test]
fn services_updates_order_versions_as_dpkg_does() {
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let part = "[0-9]{1,2}[0-9ab~.+]{0,4}";
    let version = (proptest::option::of(0..3_u8), part, proptest::option::of("[0-9ab~.+]{1,4}"));
    let version = version.prop_map(|(epoch, upstream, revision)| {
        let epoch = epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default();
        let revision = revision.map(|revision| format!("-{revision}")).unwrap_or_default();
        format!("{epoch}{upstream}{revision}")
    });
    let compared = runner.run(&(version.clone(), version), |(left, right)| {
        let expected = if dpkg(&left, "lt", &right) {
            Ordering::Less
        } else if dpkg(&left, "gt", &right) {
            Ordering::Greater
        } else {
            Ordering::Equal
        };
        prop_assert_eq!(compare(&left, &right), expected, "{} {}", left, right);
        Ok(())
    });
    compared.unwrap();
}

/// The real lists, unpacked into a root of their own, and a machine on which every tenth package is one version behind.
fn machine() -> PathBuf {
    packages::root().unwrap();
    let root = packages::folder().canonicalize().unwrap().join(format!("run/updates-{}", std::process::id()));
    let lists = root.join(updates::LISTS);
    fs::create_dir_all(lists.join("partial")).unwrap();
    fs::create_dir_all(root.join("var/lib/dpkg")).unwrap();
    let mut status = String::new();
    for entry in fs::read_dir(packages::folder().join("apt/lists")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with("_InRelease") {
            fs::copy(&path, lists.join(&name)).unwrap();
        }
        let Some(end) = name.find("_Packages") else { continue };
        let plain = Command::new("/usr/lib/apt/apt-helper").arg("cat-file").arg(&path).output().unwrap();
        assert!(plain.status.success(), "{name}");
        fs::write(lists.join(&name[..end + "_Packages".len()]), &plain.stdout).unwrap();
        let text = String::from_utf8(plain.stdout).unwrap();
        for (number, stanza) in text.split("\n\n").enumerate().filter(|(number, _)| number % 10 == 0) {
            let field = |key: &str| stanza.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            let behind = if number % 20 == 0 { "~" } else { "" };
            let (name, version) = (field("Package: "), field("Version: "));
            if !name.is_empty() && !status.contains(&format!("Package: {name}\n")) {
                let architecture = field("Architecture: ");
                writeln!(status, "Package: {name}\nStatus: install ok installed\nMaintainer: x <x@example.org>\nArchitecture: {architecture}\nVersion: {version}{behind}\nDescription: x\n").unwrap();
            }
        }
    }
    fs::write(root.join(updates::STATUS), status).unwrap();
    root
}

#[test]
fn services_updates_are_counted_as_apt_counts_them() {
    let root = machine();
    let started = std::time::Instant::now();
    let reading = debian(&root, SystemTime::now()).unwrap().unwrap();
    println!("{reading:?} in {:.2} s", started.elapsed().as_secs_f32());
    let mut apt = Command::new("apt");
    apt.args(["list", "--upgradable", "-o", "APT::Sandbox::User=root"]).env("LC_ALL", "C.UTF-8");
    for (key, below) in
        [("Dir::State::status", updates::STATUS), ("Dir::State::lists", updates::LISTS), ("Dir::Cache", "cache")]
    {
        apt.arg("-o").arg(format!("{key}={}", root.join(below).display()));
    }
    let listed = apt.output().unwrap();
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    // The packages of this made-up machine name no dependencies, so apt takes one of the same version for another build.
    let is_newer = |line: &&str| {
        let from = line.split("[upgradable from: ").nth(1).and_then(|rest| rest.strip_suffix(']'));
        from.is_some_and(|from| line.split(' ').nth(1) != Some(from))
    };
    let lines: Vec<&str> = text.lines().filter(is_newer).collect();
    assert!(lines.len() > 1000, "{text}{}", String::from_utf8_lossy(&listed.stderr));
    assert_eq!(usize::try_from(reading.pending).unwrap(), lines.len());
    let security = lines.iter().filter(|line| line.contains("-security")).count();
    assert!(usize::try_from(reading.security).unwrap() >= security && security > 0, "{} {security}", reading.security);
    fs::remove_dir_all(root).unwrap();
}

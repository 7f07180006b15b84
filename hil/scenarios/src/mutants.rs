// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The proof that the stories bite: each mutant is the product without one protection, and its story must fail, with the
//! words that this very fault gives. A mutant is a patch in `hil/mutants/`, or a setting of the harness where the
//! protection is not ours.

use crate::{ALL, Scenario};
use adit_hil::guest::Setting;
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the static programs are built for: what runs on the host and in a machine of the harness.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A protection removed.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// Its name, and of its patch.
    pub name: &'static str,
    /// The story that must fail.
    pub scenario: &'static str,
    /// What the story says then, one of these at least: any other failure proves nothing.
    pub says: &'static [&'static str],
    /// What is changed.
    pub change: Change,
}

/// How a protection is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// By `hil/mutants/NAME.patch`, whose second line says what it removes.
    Patch,
    /// By a setting of the harness.
    Setting(Setting),
}

macro_rules! mutants {
    ($($change:expr, $name:ident breaks $scenario:ident with $($says:literal)|+;)*) => {
        /// All mutants, those of one story together.
        pub const MUTANTS: &[Mutant] = &[$(Mutant {
            name: stringify!($name),
            scenario: stringify!($scenario),
            says: &[$($says),+],
            change: $change,
        }),*];
    };
}

mutants! {
    Change::Patch, pieces_in_place breaks first_backup with "the restore differs";
    Change::Patch, full_disk_named breaks disk_full with "a full disk was not told";
    Change::Patch, cold_reads breaks bad_sector with "the bad sector was not found";
    Change::Patch, record_hash breaks rotten_bit with "the rotten bit was not found";
    Change::Patch, healing breaks rotten_bit with "sending them again";
    Change::Setting(Setting::HalfMirror), mirror breaks raid_disk_pulled with "store is read-only";
    Change::Patch, array_members breaks member_fails with "md.state of md0 did not turn critical";
    Change::Patch, news_grow_old breaks read_errors with "disk.io of worn did not turn ok";
    Change::Patch, silent_probe_ages breaks silent_probe with "what the disk said is Some(0) min old";
    Change::Patch, health_apart breaks stalled_disk with "the agent did not answer";
    Change::Patch, clock_free_tokens breaks wrong_clock with "the token was used before or has expired";
    Change::Patch, segment_flush breaks power_cut with "aditd verify" | "\"damaged\":true" | "instead of";
    Change::Patch, ledger_flush breaks power_cut with "instead of";
    Change::Patch, flush_before_commit breaks power_cut with "aditd verify" | "\"damaged\":true";
}

impl Mutant {
    /// The story that must fail.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn story(&self) -> Result<&'static Scenario> {
        let found = ALL.iter().find(|scenario| scenario.name == self.scenario);
        found.with_context(|| format!("{} names the story {}, which does not exist", self.name, self.scenario))
    }

    /// What it removes, in words.
    ///
    /// # Errors
    /// When its patch cannot be read or does not say it.
    pub fn removes(&self) -> Result<String> {
        match self.change {
            Change::Setting(setting) => Ok(setting.removes().to_owned()),
            Change::Patch => {
                let path = self.patch();
                let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
                let removes = text.lines().find_map(|line| line.strip_prefix("# Removes: "));
                Ok(removes.with_context(|| format!("{} says nothing of what it removes", path.display()))?.to_owned())
            }
        }
    }

    /// The words by which this failure is the one that the missing protection leads to.
    #[must_use]
    pub fn reason(&self, failure: &str) -> Option<&'static str> {
        self.says.iter().find(|words| failure.contains(**words)).copied()
    }

    fn patch(&self) -> PathBuf {
        root().join("hil/mutants").join(format!("{}.patch", self.name))
    }
}

/// A copy of the tree in which mutants are built one after the other. What is not changed is not built again.
#[derive(Debug)]
pub struct Nursery {
    folder: PathBuf,
    /// One process at a time.
    _lock: File,
}

impl Nursery {
    /// The nursery in this folder; waits until no other process uses it.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let lock = File::create(folder.join("lock")).context("make the lock of the mutants")?;
        lock.lock().context("lock the mutants")?;
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }

    /// Builds our programs from the tree as it is, with this mutant's patch; the folder they lie in.
    ///
    /// # Errors
    /// When the patch does not apply or what it leaves does not compile: then it proves nothing.
    pub fn programs(&self, mutant: Option<&Mutant>) -> Result<PathBuf> {
        let tree = self.folder.join("tree");
        copy_tree(&root(), &tree)?;
        if let Some(mutant) = mutant.filter(|mutant| mutant.change == Change::Patch) {
            apply(&tree, &mutant.patch(), &[])?;
        }
        let mut cargo = Command::new("cargo");
        cargo.args([
            "build",
            "--quiet",
            "--locked",
            "--target",
            TARGET,
            "--package=aditd",
            "--package=adit",
            "--package=adit-probe",
        ]);
        cargo.args(["--config", "profile.dev.strip=true", "--config", "profile.dev.debug=false"]);
        cargo.arg("--config").arg(format!("target.{TARGET}.rustflags=[\"-Ctarget-feature=+crt-static\"]"));
        let target = self.folder.join("target");
        let output = cargo.current_dir(&tree).env("CARGO_TARGET_DIR", &target).output().context("run cargo")?;
        ensure!(output.status.success(), "it does not compile:\n{}", String::from_utf8_lossy(&output.stderr));
        Ok(target.join(TARGET).join("debug"))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Makes `tree` hold what the repository holds, committed or not. Files that are the same stay untouched, so that their
/// times tell the compiler what changed.
fn copy_tree(root: &Path, tree: &Path) -> Result<()> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let output = git.output().context("run git")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).context("a name in the tree is not UTF-8")?;
    let wanted: BTreeSet<PathBuf> =
        names.split_terminator('\0').filter(|name| root.join(name).is_file()).map(|name| tree.join(name)).collect();
    fs::create_dir_all(tree).with_context(|| format!("make {}", tree.display()))?;
    remove_others(tree, &wanted)?;
    for to in &wanted {
        let from = root.join(to.strip_prefix(tree)?);
        let content = fs::read(&from).with_context(|| format!("read {}", from.display()))?;
        if fs::read(to).is_ok_and(|held| held == content) {
            continue;
        }
        fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
        fs::write(to, content).with_context(|| format!("write {}", to.display()))?;
    }
    Ok(())
}

fn remove_others(folder: &Path, wanted: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, wanted)?;
        } else if !wanted.contains(&path) {
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Applies a patch to a tree, which is no repository of its own.
fn apply(tree: &Path, patch: &Path, options: &[&str]) -> Result<()> {
    let patch = patch.canonicalize().with_context(|| format!("find {}", patch.display()))?;
    let tree = tree.canonicalize().with_context(|| format!("find {}", tree.display()))?;
    let mut git = Command::new("git");
    git.arg("apply").args(options).arg(&patch).current_dir(&tree);
    // Inside another repository git leaves out silently what lies elsewhere in it.
    git.env("GIT_CEILING_DIRECTORIES", tree.parent().unwrap_or(&tree));
    let output = git.output().context("run git")?;
    if !output.status.success() {
        bail!("{} does not apply: {}", patch.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_has_a_story_and_a_patch_that_applies() {
        for mutant in MUTANTS {
            mutant.story().expect("a story");
            assert!(!mutant.removes().expect("a description").is_empty());
            if mutant.change == Change::Patch {
                apply(&root(), &mutant.patch(), &["--check"]).expect("a patch of this tree");
            }
        }
    }

    #[test]
    fn every_patch_has_a_mutant() {
        let named: BTreeSet<PathBuf> = MUTANTS.iter().map(Mutant::patch).collect();
        for entry in fs::read_dir(root().join("hil/mutants")).expect("the folder of patches") {
            let path = entry.expect("an entry").path();
            assert!(named.contains(&path), "no mutant is called like {}", path.display());
        }
    }

    #[test]
    fn a_copy_follows_its_tree_and_forgets_a_patch() {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("a")).expect("a folder");
        fs::write(from.join("a/kept"), "one\n").expect("a file");
        fs::write(from.join("gone"), "two\n").expect("a file");
        let git = Command::new("git").args(["init", "--quiet"]).current_dir(&from).status().expect("git");
        assert!(git.success());
        copy_tree(&from, &to).expect("a copy");
        let patch = dir.path().join("x.patch");
        fs::write(&patch, "# why\n--- a/a/kept\n+++ b/a/kept\n@@ -1 +1 @@\n-one\n+three\n").expect("a patch");
        apply(&to, &patch, &[]).expect("an applied patch");
        assert_eq!(fs::read_to_string(to.join("a/kept")).expect("a file"), "three\n");
        fs::remove_file(from.join("gone")).expect("removed");
        copy_tree(&from, &to).expect("a copy");
        assert_eq!(fs::read_to_string(to.join("a/kept")).expect("a file"), "one\n");
        assert!(!to.join("gone").exists());
        assert!(apply(&from, &patch, &["--check"]).is_ok(), "a file outside the copy changed");
    }
}

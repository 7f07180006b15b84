// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a scenario leaves behind: one directory per run with the consoles, the control channels, the networks' captures,
//! the events in order, and `repro.sh`, which shows the failure again. Kept when the scenario failed or when asked for.

use anyhow::{Context as _, Result};
use serde_json::json;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The directory of one run.
#[derive(Clone, Debug)]
pub struct Artifacts {
    dir: Arc<Path>,
    started: Instant,
    complaints: Arc<Mutex<Vec<String>>>,
    visitor: Visitor,
}

/// Whether a person is handed each machine before it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visitor {
    /// Nobody looks.
    Nobody,
    /// A person gets a shell on the machine's console.
    Person,
}

impl Artifacts {
    /// Makes the directory anew; what an earlier run of this scenario and seed left is removed.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(root: &Path, scenario: &str, seed: u64, visitor: Visitor) -> Result<Self> {
        let dir = root.join(format!("{scenario}-{seed}"));
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("empty {}", dir.display()))?;
        }
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        let artifacts = Self { dir: dir.into(), started: Instant::now(), complaints: Arc::default(), visitor };
        let again = format!(
            "#!/bin/sh\n# Runs this scenario again with the same seed; machines' command lines stand below.\n\
             cd \"$(git rev-parse --show-toplevel)\" && exec cargo hil run {scenario} --seed {seed} --keep\n"
        );
        fs::write(artifacts.path("repro.sh"), again).context("write repro.sh")?;
        Ok(artifacts)
    }

    /// A file in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Notes what happened, with the time since the start.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn event(&self, who: &str, what: &str) -> Result<()> {
        let line = json!({ "s": self.started.elapsed().as_secs_f64(), "who": who, "what": what });
        self.append("events.jsonl", &format!("{line}\n"))
    }

    /// Whether a person is handed each machine before it goes.
    pub(crate) const fn visitor(&self) -> Visitor {
        self.visitor
    }

    /// Something is wrong that the story itself did not see; it fails the run.
    pub(crate) fn complain(&self, complaint: String) {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).push(complaint);
    }

    /// All complaints so far.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes a machine's command line.
    pub(crate) fn note_machine(&self, name: &str, arguments: &[String]) -> Result<()> {
        let words: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
        self.append("repro.sh", &format!("# {name}: {} {}\n", crate::machine::QEMU, words.join(" ")))
    }

    fn append(&self, name: &str, text: &str) -> Result<()> {
        let file = File::options().create(true).append(true).open(self.path(name));
        file.and_then(|mut file| file.write_all(text.as_bytes())).with_context(|| format!("write {name}"))
    }

    /// Removes everything: the scenario went well and nobody asked to keep it.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn discard(self) -> Result<()> {
        fs::remove_dir_all(&*self.dir).with_context(|| format!("remove {}", self.dir.display()))
    }
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,:/+%@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_leaves_a_way_to_see_it_again() {
        let root = tempfile::tempdir().expect("a directory");
        let artifacts = Artifacts::make(root.path(), "pair", 7, Visitor::Nobody).expect("artifacts");
        artifacts.event("box", "power cut").expect("an event");
        artifacts.note_machine("box", &["-m".to_owned(), "a b'c".to_owned()]).expect("a note");
        let again = fs::read_to_string(artifacts.path("repro.sh")).expect("repro.sh");
        assert!(again.contains("cargo hil run pair --seed 7"), "{again}");
        assert!(again.contains(r"-m 'a b'\''c'"), "{again}");
        assert!(fs::read_to_string(artifacts.path("events.jsonl")).expect("events").contains("power cut"));
        let dir = artifacts.dir().to_owned();
        artifacts.discard().expect("discard");
        assert!(!dir.exists());
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A source: the real `adit` with a state directory of its own, on the host or inside a machine. From the host it reaches
//! a box through a forward into the box's network; inside a machine it dials as any server would.

use crate::box_machine::BoxMachine;
use crate::lab::Lab;
use crate::program::{Ran, Running};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A source on the host.
#[derive(Debug)]
pub struct Source {
    name: String,
    program: PathBuf,
    dir: PathBuf,
    data: PathBuf,
}

impl Source {
    /// A source with fresh data: `files` files of together about `bytes` bytes.
    pub(crate) fn new(lab: &mut Lab, name: &str, files: usize, bytes: u64) -> Result<Self> {
        let dir = lab.path(name);
        let data = dir.join("data");
        std::fs::create_dir_all(&data).with_context(|| format!("make {}", data.display()))?;
        let source = Self { name: name.to_owned(), program: lab.guest().program("adit"), dir, data };
        let seed = lab.draw();
        crate::data::fill(&source.data, seed, files, bytes)?;
        Ok(source)
    }

    /// The directory that it backs up.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Makes a recovery key, sets the source up and pairs it with the box by a one-time token.
    ///
    /// # Errors
    /// What a program said.
    pub fn pair(&self, cellar: &mut BoxMachine) -> Result<()> {
        let token = cellar.token("source", &self.name)?;
        self.pair_with(&token, None)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes a recovery key, sets the source up and redeems a token, at this address instead of those in the token.
    ///
    /// # Errors
    /// What a program said.
    pub fn pair_with(&self, token: &str, address: Option<&str>) -> Result<()> {
        let (file, public) = (self.dir.join("recovery.key"), self.dir.join("recovery.pub"));
        let (file, public) = (utf8(&file)?, utf8(&public)?);
        self.plain(&["keygen", "--recovery-file", file, "--public", public])?.succeeded()?;
        self.adit(&["init", "--name", &self.name, "--recipient", public])?.succeeded()?;
        let mut arguments = vec!["pair", token];
        arguments.extend(address.iter().flat_map(|address| ["--address", address]));
        self.adit(&arguments)?.succeeded()?;
        Ok(())
    }

    /// One backup to its end; the JSON object it printed.
    ///
    /// # Errors
    /// What it said when it failed.
    pub fn backup(&self) -> Result<Value> {
        self.start_backup()?.finish()?.succeeded()?.json()
    }

    /// Starts a backup and leaves it running.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_backup(&self) -> Result<Running> {
        let state = self.dir.join("state");
        Running::start(&self.program, ["--state", utf8(&state)?, "backup", "--json", utf8(&self.data)?])
    }

    /// Restores the newest snapshot with the recovery key and compares it with the data, byte for byte, by a program that
    /// is not ours.
    ///
    /// # Errors
    /// What differs.
    pub fn restore_equals(&self) -> Result<()> {
        let to = self.dir.join("restored");
        if to.exists() {
            std::fs::remove_dir_all(&to).context("empty the place of a restore")?;
        }
        let key = self.dir.join("recovery.key");
        self.adit(&["restore", "latest", "--recovery-file", utf8(&key)?, "--to", utf8(&to)?])?.succeeded()?;
        let restored = to.join(self.data.strip_prefix("/").context("data lies at a full path")?);
        let mut compare = Command::new("diff");
        compare.args(["--recursive", "--no-dereference", "--brief"]).arg(&self.data).arg(&restored);
        let output = compare.output().context("run diff")?;
        let words = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "the restore differs:\n{words}");
        Ok(())
    }

    /// The ids of the snapshots that the box holds, newest last.
    ///
    /// # Errors
    /// What `adit` said.
    pub fn snapshots(&self) -> Result<Vec<String>> {
        let ran = self.adit(&["snapshots", "--json"])?.succeeded()?;
        crate::data::snapshot_ids(&ran.json()?)
    }

    /// Adds files to the data; the directory that holds them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn add(&self, lab: &mut Lab, files: usize, bytes: u64) -> Result<PathBuf> {
        let more = self.data.join(format!("more-{}", lab.draw()));
        crate::data::fill(&more, lab.draw(), files, bytes)?;
        Ok(more)
    }

    /// Runs `adit` with this source's state.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn adit(&self, arguments: &[&str]) -> Result<Ran> {
        let state = self.dir.join("state");
        let mut all = vec!["--state", utf8(&state)?];
        all.extend(arguments);
        self.plain(&all)
    }

    fn plain(&self, arguments: &[&str]) -> Result<Ran> {
        Running::start(&self.program, arguments)?.finish()
    }
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().context("a path of the harness is not UTF-8")
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The other programs, each as its manual says, with encryption and zstd at its middle level. Caches lie beside the
//! repository, so that nothing of a person's own is touched.

use crate::Program;
use crate::measure::{Cost, cost};
use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PASSWORD: &str = "bench";

/// The peers that are there, in a fixed order; a missing one is named.
pub(crate) fn all(bin: &Path, place: &Path) -> Vec<Box<dyn Program>> {
    let kinds = [("restic", Kind::Restic), ("rustic", Kind::Rustic), ("borg", Kind::Borg)];
    let mut found: Vec<Box<dyn Program>> = Vec::new();
    for (name, kind) in kinds {
        let path = bin.join(name);
        match version(&path) {
            Some(version) => found.push(Box::new(Peer { name: version, path, kind, dir: place.join("repository") })),
            None => println!(
                "{name} is not there and is skipped: `make bench-{}`",
                if kind == Kind::Rustic { "rustic" } else { "peers" }
            ),
        }
    }
    found
}

/// "name 1.2.3", from what the program says itself.
fn version(path: &Path) -> Option<String> {
    let output = ["version", "--version"].iter().find_map(|word| {
        let output = Command::new(path).arg(word).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        output.status.success().then_some(output.stdout)
    })?;
    let text = String::from_utf8_lossy(&output).into_owned();
    let mut words = text.split_whitespace();
    Some(format!("{} {}", words.next()?, words.next()?))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Restic,
    Rustic,
    Borg,
}

#[derive(Debug)]
struct Peer {
    name: String,
    path: PathBuf,
    kind: Kind,
    dir: PathBuf,
}

impl Peer {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env("RESTIC_PASSWORD", PASSWORD).env("RUSTIC_PASSWORD", PASSWORD).env("BORG_PASSPHRASE", PASSWORD);
        command.env("RESTIC_REPOSITORY", self.repository()).env("RUSTIC_REPOSITORY", self.repository());
        command.env("RESTIC_CACHE_DIR", self.dir.join("cache")).env("RUSTIC_CACHE_DIR", self.dir.join("cache"));
        command.env("RUSTIC_NO_PROGRESS", "true").env("BORG_REPO", self.repository());
        command.env("BORG_BASE_DIR", self.dir.join("cache")).env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
        command
    }
}

impl Program for Peer {
    fn name(&self) -> &str {
        &self.name
    }

    fn prepare(&mut self, dir: &Path) -> Result<()> {
        self.dir = dir.to_owned();
        let mut command = self.command();
        command.arg("init").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        if self.kind == Kind::Borg {
            command.arg("--encryption=repokey-blake2");
        }
        let output = command.output().with_context(|| format!("run {}", self.name))?;
        ensure!(output.status.success(), "{} init: {}", self.name, String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn back_up(&mut self, data: &Path) -> Result<Cost> {
        let mut command = self.command();
        match self.kind {
            Kind::Restic => command.args(["backup", "--quiet"]).arg(data),
            Kind::Rustic => command.arg("backup").arg(data),
            Kind::Borg => command.args(["create", "--compression=zstd,3", "::{now:%Y-%m-%dT%H:%M:%S.%f}"]).arg(data),
        };
        cost(&command)
    }

    fn restore(&mut self, data: &Path, to: &Path) -> Result<Cost> {
        let mut command = self.command();
        match self.kind {
            Kind::Restic => command.args(["restore", "latest", "--quiet", "--target"]).arg(to),
            Kind::Rustic => command.args(["restore", "latest"]).arg(to),
            Kind::Borg => {
                let mut list = self.command();
                list.args(["list", "--last=1", "--format={archive}"]).stdin(Stdio::null());
                let name = list.output().context("list borg's archives")?.stdout;
                command.arg("extract").arg(format!("::{}", String::from_utf8_lossy(&name).trim())).current_dir(to)
            }
        };
        let _same_for_all = data;
        cost(&command)
    }

    fn repository(&self) -> PathBuf {
        self.dir.join("repo")
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The subcommands. Facts go to stdout, one a line; what fails goes to stderr as a chain of causes.

mod build;
mod lock;

use adit_slots::version::Version;
use anyhow::{Context as _, Result};
use std::io::Write as _;
use std::path::Path;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Build an image from a board, pinned packages and our programs.
    Build(build::Build),
    /// Pin the packages that Debian has now.
    Lock(lock::Lock),
}

impl Command {
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Build(build) => build.run(),
            Self::Lock(lock) => lock.run(),
        }
    }
}

/// One line of facts.
fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("write to stdout")
}

fn version(text: &str) -> Result<Version, String> {
    Version::parse(text).map_err(|error| error.to_string())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The subcommands. Facts go to stdout, one a line; what fails goes to stderr as a chain of causes.

mod build;
mod inspect;
mod keygen;
mod keyset;
mod lock;
mod member_page;
mod preseed;
mod sign;
mod write;

use adit_slots::version::Version;
use anyhow::{Context as _, Result};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Build an image from a board, pinned packages and our programs.
    Build(Box<build::Build>),
    /// Say what a disk image, a unified kernel image or an update file holds.
    Inspect(inspect::Inspect),
    /// Make a root key or a signing key.
    Keygen(keygen::Keygen),
    /// Make a signed key set, which images carry and check updates by.
    Keyset(keyset::Keyset),
    /// Pin the packages that Debian has now.
    Lock(lock::Lock),
    /// Print one page for the person who houses a box.
    MemberPage(member_page::MemberPage),
    /// Put settings for the first start onto an image or a stick.
    Preseed(Box<preseed::Preseed>),
    /// Sign an update file.
    Sign(sign::Sign),
    /// Write an image to a disk or a stick, after asking twice.
    Write(write::Write),
}

impl Command {
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Build(build) => build.run(),
            Self::Inspect(inspect) => inspect.run(),
            Self::Keygen(keygen) => keygen.run(),
            Self::Keyset(keyset) => keyset.run(),
            Self::Lock(lock) => lock.run(),
            Self::MemberPage(page) => page.run(),
            Self::Preseed(preseed) => preseed.run(),
            Self::Sign(sign) => sign.run(),
            Self::Write(write) => write.run(),
        }
    }
}

/// One line of facts. A reader that has read enough is no error.
fn say(line: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        said => said.context("write to stdout"),
    }
}

fn version(text: &str) -> Result<Version, String> {
    Version::parse(text).map_err(|error| error.to_string())
}

/// `NAME=VALUE` of an option.
fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("write NAME=VALUE, not {text:?}"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    adit_image::image::write_file(path, bytes).with_context(|| format!("write {}", path.display()))
}

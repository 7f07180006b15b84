// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit-image lock`: asks Debian's archive what it has now, and pins it.

use super::{say, write_file};
use adit_image::arch::{Arch, Flavour};
use adit_image::board::Board;
use adit_image::inputs::{self, Store};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

#[derive(Debug, clap::Args)]
pub(crate) struct Lock {
    /// The folder with boards, `vm.toml` and `hardware.toml`.
    #[arg(long, default_value = "images/boards")]
    boards: PathBuf,
    /// The lock file to write.
    #[arg(long, default_value = "images/inputs.lock")]
    lock: PathBuf,
    /// Where packages and lists are kept.
    #[arg(long, default_value = "target/image/cache")]
    cache: PathBuf,
}

impl Lock {
    pub(crate) fn run(self) -> Result<()> {
        let boards = [board(&self.boards, Flavour::Vm)?, board(&self.boards, Flavour::Hardware)?];
        let lock = inputs::Lock::now(&Store::new(&self.cache)?, &boards, &[Arch::X86_64, Arch::Aarch64], now_s()?)?;
        write_file(&self.lock, lock.to_text().as_bytes())?;
        say(&format!("{} packages pinned in {}", lock.packages.len(), self.lock.display()))
    }
}

/// A board out of its folder.
pub(super) fn board(folder: &Path, flavour: Flavour) -> Result<Board> {
    let path = folder.join(format!("{flavour}.toml"));
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Board::parse(&text, flavour).with_context(|| path.display().to_string())
}

/// Seconds since 1970.
pub(super) fn now_s() -> Result<u64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the clock stands before 1970")?;
    Ok(now.as_secs())
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit-image build`: from boards, pinned packages and programs to the files that are handed out.

use super::lock::{board, now_s};
use super::{read, say, version};
use adit_image::arch::{Arch, Flavour};
use adit_image::builder::Order;
use adit_image::initrd::Identity;
use adit_image::inputs::{self, Store};
use adit_image::outputs::{Format, Outputs};
use adit_image::table::SectorSize;
use adit_slots::version::Version;
use anyhow::{Context as _, Result};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Build {
    /// What the image is for.
    #[arg(long, default_value = "vm")]
    flavour: Flavour,
    /// The machine it is for.
    #[arg(long, default_value = "x86_64")]
    arch: Arch,
    /// The image's version, three numbers of at most three digits.
    #[arg(long, value_parser = version)]
    version: Version,
    /// The oldest version that this one may follow.
    #[arg(long, value_parser = version, default_value = "0.0.0")]
    min_from: Version,
    /// The version that nothing may go back below once this one has proven itself.
    #[arg(long, value_parser = version, default_value = "0.0.0")]
    floor: Version,
    /// Sectors of the disk in bytes, 512 or 4096.
    #[arg(long, default_value = "512")]
    sector_bytes: SectorSize,
    /// The folder with static `adit-init`, `aditd` and `adit-probe`.
    #[arg(long)]
    programs: PathBuf,
    /// The key set that the image checks updates by; without one it takes none.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// The time that the image carries, in seconds since 1970; otherwise the lock file's.
    #[arg(long)]
    time_s: Option<u64>,
    /// The folder for what is built.
    #[arg(long, default_value = "target/image")]
    out: PathBuf,
    /// Which files to make besides the unified kernel image and the update file.
    #[arg(long, value_delimiter = ',', default_value = "img,zst,qcow2")]
    formats: Vec<Format>,
    /// The folder with boards.
    #[arg(long, default_value = "images/boards")]
    boards: PathBuf,
    /// The lock file.
    #[arg(long, default_value = "images/inputs.lock")]
    lock: PathBuf,
    /// Take what Debian has now instead of what the lock file says; two such builds may differ.
    #[arg(long)]
    unlocked: bool,
    /// Where packages are kept.
    #[arg(long, default_value = "target/image/cache")]
    cache: PathBuf,
    /// The manifest of the workspace that the programs come from, for the bill of materials.
    #[arg(long, default_value = "Cargo.toml")]
    crates: PathBuf,
}

impl Build {
    pub(crate) fn run(self: Box<Self>) -> Result<()> {
        let board = board(&self.boards, self.flavour)?;
        let store = Store::new(&self.cache)?;
        let lock = if self.unlocked {
            inputs::Lock::now(&store, std::slice::from_ref(&board), &[self.arch], now_s()?)?
        } else {
            let text = std::fs::read_to_string(&self.lock);
            inputs::Lock::parse(&text.with_context(|| format!("read {}", self.lock.display()))?)?
        };
        let keys = self.keys.as_deref().map(read).transpose()?;
        let time_s = self.time_s.unwrap_or(lock.time_s);
        let Self { version, floor, arch, flavour, .. } = *self;
        let identity = Identity { version, floor, arch, flavour, time_s };
        let order = Order {
            identity,
            sector_size: self.sector_bytes,
            board: &board,
            lock: &lock,
            store: &store,
            programs: &self.programs,
            keys: keys.as_deref(),
        };
        let built = order.carry_out()?;
        let outputs = Outputs {
            identity,
            min_from: self.min_from,
            memory_floor_mib: board.memory_floor_mib,
            formats: &self.formats,
            workspace: &self.crates,
        };
        for (name, bytes) in outputs.write(&built, &self.out)? {
            say(&format!("{bytes:>11} {name}"))?;
        }
        if keys.is_none() {
            say("no key set: this image takes no updates")?;
        }
        Ok(())
    }
}

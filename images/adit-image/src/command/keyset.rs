// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit-image keyset`: which keys count from now on, signed by a root key.

use super::{read, say, write_file};
use adit_image::keys::{Role, SecretKey, key_set, read_public};
use anyhow::{Context as _, Result};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Keyset {
    /// The set's number; boxes take the higher one.
    #[arg(long)]
    number: u32,
    /// The public half of a root key; give two.
    #[arg(long, required = true)]
    root: Vec<PathBuf>,
    /// The public half of a signing key; up to four.
    #[arg(long, required = true)]
    signing: Vec<PathBuf>,
    /// The secret half of a root key to sign with: one of the set that boxes have now.
    #[arg(long, required = true)]
    with: Vec<PathBuf>,
    /// The key set that boxes have now, to make sure that they follow.
    #[arg(long)]
    after: Option<PathBuf>,
    /// The file for the new set.
    #[arg(long)]
    out: PathBuf,
}

impl Keyset {
    pub(crate) fn run(self) -> Result<()> {
        let roots = self.root.iter().map(|path| read_public(Role::Root, path)).collect::<Result<Vec<_>, _>>()?;
        let roots = roots.try_into().ok().context("a key set has two root keys: give --root twice")?;
        let signing =
            self.signing.iter().map(|path| read_public(Role::Signing, path)).collect::<Result<Vec<_>, _>>()?;
        let with = self.with.iter().map(|path| SecretKey::read(Role::Root, path)).collect::<Result<Vec<_>, _>>()?;
        let after = self.after.as_deref().map(read).transpose()?;
        let set = key_set(self.number, roots, &signing, &with, after.as_deref()).context("make the key set")?;
        write_file(&self.out, &set)?;
        say(&format!("key set {} in {}", self.number, self.out.display()))
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit-image keygen`: makes one key. Root keys belong on two sticks in two places, the signing key where images are built.

use super::say;
use adit_image::keys::{Role, SecretKey, public_path};
use anyhow::{Context as _, Result};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Keygen {
    /// What the key is for.
    role: Role,
    /// The file for its secret half; the public half goes beside it, with .pub behind the name.
    file: PathBuf,
}

impl Keygen {
    pub(crate) fn run(self) -> Result<()> {
        let public = SecretKey::create(self.role, &self.file).context("make a key")?;
        say(&format!("{} key {public}, public half in {}", self.role, public_path(&self.file).display()))
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit-image inspect`: says what something holds, by taking it apart.

use super::{read, say};
use adit_image::inspect::describe;
use anyhow::{Context as _, Result};
use std::fs::File;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// A disk image, packed or not, a device, a unified kernel image, or an update file.
    file: PathBuf,
    /// List the files of the first file system too.
    #[arg(long)]
    all: bool,
    /// The key set to check an update's signature by; otherwise the one in the image itself.
    #[arg(long)]
    keys: Option<PathBuf>,
}

impl Inspect {
    pub(crate) fn run(self) -> Result<()> {
        let path = self.file.display();
        let file = File::open(&self.file).with_context(|| format!("open {path}"))?;
        let keys = self.keys.as_deref().map(read).transpose()?;
        let text = describe(file, self.all, keys.as_deref()).with_context(|| format!("inspect {path}"))?;
        say(text.trim_end())
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit-image sign`: turns the update file that `build` wrote into one that boxes take.

use super::{read, say, write_file};
use adit_image::digest::Sha256;
use adit_image::inspect::own_keys;
use adit_image::keys::{Role, SecretKey, sign};
use adit_image::uki::Uki;
use adit_slots::keys::SignedKeySet;
use adit_slots::update::{HEADER_BYTES, Update};
use anyhow::{Context as _, Result, anyhow, ensure};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Sign {
    /// The update file; signatures it had are replaced.
    file: PathBuf,
    /// The secret half of a signing key; up to four.
    #[arg(long, required = true)]
    key: Vec<PathBuf>,
    /// A key set to send along, for boxes that have an older one.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// The file to write; otherwise the same.
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Sign {
    pub(crate) fn run(self) -> Result<()> {
        let bytes = read(&self.file)?;
        let refused = |refusal| anyhow!("{} is no update file: {refusal}", self.file.display());
        let manifest = Update::parse(&bytes).map_err(refused)?.claim().context("read the manifest")?;
        let image = bytes.get(HEADER_BYTES..).unwrap_or_default();
        ensure!(
            manifest.uki_size == image.len() as u64 && manifest.uki_sha256.0 == Sha256::of(image).0,
            "the image in {} is not the one its manifest names",
            self.file.display()
        );
        let keys = self.keys.as_deref().map(read).transpose()?;
        let parts = Uki::read(image).context("read the image")?;
        ensure!(
            parts.version == manifest.version,
            "the image is {}, the manifest says {}",
            parts.version,
            manifest.version
        );
        let own = own_keys(parts.initrd);
        let known = keys.as_deref().or(own.as_deref());
        let known = known.context("the image was built without a key set: give one by --keys")?;
        let known = SignedKeySet::parse(known).context("read the key set")?.set;
        let with = self.key.iter().map(|path| SecretKey::read(Role::Signing, path)).collect::<Result<Vec<_>, _>>()?;
        let header = sign(&manifest, &with, keys.as_deref().unwrap_or_default(), &known).context("sign")?;
        let out = self.out.as_ref().unwrap_or(&self.file);
        write_file(out, &[&header, image].concat())?;
        say(&format!(
            "update to {} signed by {} key(s) of key set {} in {}",
            manifest.version,
            with.len(),
            known.version,
            out.display()
        ))
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What this image is, as it was built and signed.

use adit_slots::keys::{KeySet, SignedKeySet};
use adit_slots::manifest::{Arch, Flavour};
use adit_slots::version::Version;
use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::fs;

const FACTS: &str = "/etc/adit/image.toml";
const KEYS: &str = "/etc/adit/keys";

/// This image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image {
    pub(crate) version: Version,
    pub(crate) arch: Arch,
    pub(crate) flavour: Flavour,
    /// When it was built, seconds since 1970: the clock is never earlier.
    pub(crate) built_s: u64,
    /// Versions below this one are not taken.
    pub(crate) floor: Version,
    /// Who may sign updates; none in an image that was built without keys.
    pub(crate) keys: Option<KeySet>,
}

#[derive(Deserialize)]
struct Facts {
    version: String,
    arch: String,
    flavour: String,
    time_s: u64,
    #[serde(default)]
    floor: String,
}

impl Image {
    /// Reads what the image says of itself.
    pub(crate) fn read() -> Result<Self> {
        let keys = fs::read(KEYS).ok().and_then(|bytes| SignedKeySet::parse(&bytes).ok().map(|signed| signed.set));
        Self::parse(&fs::read_to_string(FACTS).context("read what the image is")?, keys)
    }

    fn parse(text: &str, keys: Option<KeySet>) -> Result<Self> {
        let facts: Facts = toml::from_str(text).context("understand what the image is")?;
        let arch = match facts.arch.as_str() {
            "x86_64" => Arch::X86_64,
            "aarch64" => Arch::Aarch64,
            other => anyhow::bail!("the image is for the processor {other}"),
        };
        let flavour = match facts.flavour.as_str() {
            "vm" => Flavour::Vm,
            "hardware" => Flavour::Hardware,
            other => anyhow::bail!("the image is of the flavour {other}"),
        };
        let version = Version::parse(&facts.version).context("the image's version")?;
        let floor = if facts.floor.is_empty() { Version::new(0, 0, 0) } else { Version::parse(&facts.floor)? };
        Ok(Self { version, arch, flavour, built_s: facts.time_s, floor, keys })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_says_what_it_is() {
        let text =
            "version = \"1.2.3\"\narch = \"x86_64\"\nflavour = \"vm\"\nproduct = \"adit-box\"\ntime_s = 1790000000\n";
        let image = Image::parse(text, None).unwrap();
        assert_eq!((image.version, image.built_s), (Version::new(1, 2, 3), 1_790_000_000));
        assert_eq!(image.floor, Version::new(0, 0, 0));
        assert!(Image::parse(&text.replace("vm", "phone"), None).is_err());
        assert!(Image::parse(&text.replace("x86_64", "vax"), None).is_err());
        assert!(Image::parse("", None).is_err());
    }
}

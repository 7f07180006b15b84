// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The manifest of an update: which image this is, for which machines, and its hash. Its signature covers these bytes.
//!
//! ```text
//!  0  "ADITMAN1"      8        28  version        8     52  uki_size   u64
//!  8  product        16        36  min_from       8     60  uki_sha256  32
//! 24  arch u8, flavour u8, 0 u16    44  floor     8     92  time_s     u64     100 bytes
//! ```
//! A later format may add fields behind; they are skipped, and the whole is at most [`MANIFEST_BYTES_MAX`].

use crate::bytes::{Reader, Short, Writer};
use crate::version::Version;
use core::fmt;

/// First bytes of a manifest; the last one counts formats.
pub const MAGIC: [u8; 8] = *b"ADITMAN1";
/// Prefix of a manifest's signature.
pub const PREFIX: &[u8] = b"adit update v1\0";
/// Bytes of a manifest as this program writes it.
pub const MANIFEST_BYTES: usize = 100;
/// Longest manifest that this program reads, bytes.
pub const MANIFEST_BYTES_MAX: usize = 4096;
/// Bytes of a product's name.
pub const PRODUCT_BYTES: usize = 16;
/// The product that this project builds images for.
pub const PRODUCT: [u8; PRODUCT_BYTES] = *b"adit-box\0\0\0\0\0\0\0\0";

/// The processor that an image runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Arch {
    /// x86-64.
    X86_64 = 1,
    /// 64-bit Arm.
    Aarch64 = 2,
}

/// The kind of machine that an image is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Flavour {
    /// A virtual machine: few modules.
    Vm = 1,
    /// A physical machine: modules for what is sold, and cryptsetup.
    Hardware = 2,
}

impl Arch {
    /// The one that a byte means.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::X86_64),
            2 => Some(Self::Aarch64),
            _ => None,
        }
    }
}

impl Flavour {
    /// The one that a byte means.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Vm),
            2 => Some(Self::Hardware),
            _ => None,
        }
    }
}

/// SHA-256 of a whole image.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// All zeros: "none" in a record.
    pub const ZERO: Self = Self([0; 32]);
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Eight hex digits tell images apart in a log; the whole digest is what Display is for.
        write!(f, "Digest(")?;
        self.0.iter().take(4).try_for_each(|b| write!(f, "{b:02x}"))?;
        write!(f, "…)")
    }
}

/// What a manifest says. Architecture and flavour stay bytes: an unknown one is another machine's, not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Manifest {
    /// The product's name, padded with zeros.
    pub product: [u8; PRODUCT_BYTES],
    /// An [`Arch`] as a byte.
    pub arch: u8,
    /// A [`Flavour`] as a byte.
    pub flavour: u8,
    /// The image's version.
    pub version: Version,
    /// The oldest version that can go to this one in one step.
    pub min_from: Version,
    /// Once this image has proved itself, nothing older than this is installed any more. ≤ `version`.
    pub floor: Version,
    /// Length of the image, bytes.
    pub uki_size: u64,
    /// Hash of the image.
    pub uki_sha256: Digest,
    /// When it was built, seconds since 1970; one of the inputs of the time floor.
    pub time_s: u64,
}

/// Why bytes are no manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ManifestError {
    /// The first bytes are others.
    #[error("not a manifest")]
    Magic,
    /// A format of a later program.
    #[error("a manifest of format {0}, this program reads format 1")]
    TooNew(u8),
    /// Fewer bytes than the fields need, or more than [`MANIFEST_BYTES_MAX`].
    #[error("a manifest of {0} bytes")]
    Length(usize),
    /// A field breaks its rule: reserved bytes set, or a floor above the version.
    #[error("a field of the manifest breaks its rule")]
    Field,
}

impl Manifest {
    /// Reads a manifest. Check its signature first: nothing here does.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        magic(bytes, MAGIC).map_err(|wrong| wrong.map_or(ManifestError::Magic, ManifestError::TooNew))?;
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::Length(bytes.len()));
        }
        let (manifest, reserved) = Self::read(bytes).map_err(|Short| ManifestError::Length(bytes.len()))?;
        if reserved != 0 || manifest.floor > manifest.version {
            return Err(ManifestError::Field);
        }
        Ok(manifest)
    }

    fn read(bytes: &[u8]) -> Result<(Self, u16), Short> {
        let mut reader = Reader::new(bytes);
        let _: [u8; 8] = reader.array()?;
        let (product, arch, flavour, reserved) = (reader.array()?, reader.u8()?, reader.u8()?, reader.u16()?);
        let mut version = || Version::read(&mut reader);
        let (version, min_from, floor) = (version()?, version()?, version()?);
        let (uki_size, uki_sha256, time_s) = (reader.u64()?, Digest(reader.array()?), reader.u64()?);
        Ok((Self { product, arch, flavour, version, min_from, floor, uki_size, uki_sha256, time_s }, reserved))
    }

    /// The bytes to sign.
    #[must_use]
    pub fn encode(&self) -> [u8; MANIFEST_BYTES] {
        let mut out = [0; MANIFEST_BYTES];
        let mut writer = Writer::new(&mut out);
        let fields: [&[u8]; 9] = [
            &MAGIC,
            &self.product,
            &[self.arch, self.flavour, 0, 0],
            &self.version.to_bytes(),
            &self.min_from.to_bytes(),
            &self.floor.to_bytes(),
            &self.uki_size.to_le_bytes(),
            &self.uki_sha256.0,
            &self.time_s.to_le_bytes(),
        ];
        let written = fields.iter().try_for_each(|field| writer.put(field));
        debug_assert!(written.is_ok(), "the fields have {MANIFEST_BYTES} bytes");
        out
    }
}

/// Compares first bytes whose last one counts formats. `Err(Some(byte))` when only that one differs and is higher.
pub(crate) fn magic(bytes: &[u8], expected: [u8; 8]) -> Result<(), Option<u8>> {
    let found = bytes.first_chunk::<8>().ok_or(None)?;
    let ([kind @ .., format], [expected_kind @ .., expected_format]) = (found, &expected);
    match (kind == expected_kind, format) {
        (false, _) => Err(None),
        (true, format) if format == expected_format => Ok(()),
        (true, format) if format > expected_format && format.is_ascii_digit() => Err(Some(format.wrapping_sub(b'0'))),
        (true, _) => Err(None),
    }
}

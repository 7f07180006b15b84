// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The update file: its header, and every reason to refuse it. The image follows the header at a fixed offset.
//!
//! ```text
//! "ADITUPD1" · manifest length u32 · manifest · signatures (as in keys) · key set length u32 (0: none) · key set
//! · zeros to 8192 · image (uki_size bytes) · end
//! ```
//! Signatures are checked before a field of the manifest is trusted. A machine refuses by [`Update::check`] before it
//! takes a byte of the image, and by [`Checked::image`] before it activates what it wrote and read back.

use crate::Verify;
use crate::bytes::{Reader, Short, Writer};
use crate::keys::{
    KEY_SET_BYTES_MAX, KeySet, KeysError, PREFIX as KEYS_PREFIX, SIGNATURE_BYTES, SIGNATURES_MAX, SignatureItem,
    Signatures, Signed, SignedKeySet,
};
use crate::manifest::{Arch, Flavour};
use crate::manifest::{Digest, MANIFEST_BYTES_MAX, Manifest, ManifestError, PREFIX, PRODUCT_BYTES, magic};
use crate::version::Version;

/// First bytes of an update file; the last one counts formats.
pub const MAGIC: [u8; 8] = *b"ADITUPD1";
/// Where the image begins, bytes from the start of the file.
pub const HEADER_BYTES: usize = 8192;
const _: () =
    assert!(8 + 4 + MANIFEST_BYTES_MAX + 1 + SIGNATURES_MAX * SIGNATURE_BYTES + 4 + KEY_SET_BYTES_MAX <= HEADER_BYTES);
const _: () = assert!(!PREFIX.is_empty() && PREFIX.len() != KEYS_PREFIX.len(), "one key never signs two meanings");

/// Why an update is not taken. Each has its own number, which never changes; nothing was written when one is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Refusal {
    /// The bytes are something else, or break the format.
    #[error("this is not an update file")]
    NotAnUpdate,
    /// A later program wrote it.
    #[error("the update file has format {0}, this version reads format 1: install an older update first")]
    TooNew(u8),
    /// A known key is named, and its signature does not hold: the file was changed.
    #[error("the signature does not hold: the file was changed")]
    Signature,
    /// No key that this machine knows signed it.
    #[error("no key that this machine trusts signed it")]
    UnknownKey,
    /// It is for another product.
    #[error("it is for another product")]
    Product,
    /// It is for another processor.
    #[error("it is for another processor (number {0})")]
    Arch(u8),
    /// It is for another kind of machine.
    #[error("it is for another kind of machine (number {0})")]
    Flavour(u8),
    /// Older than what this machine may ever go back to.
    #[error("it is older than {0}, the oldest version that this machine takes")]
    TooOld(Version),
    /// The running version cannot go to it in one step.
    #[error("it needs version {0} first")]
    MinFrom(Version),
    /// It was tried here and failed.
    #[error("this image failed here before and is not taken again")]
    Denied(Digest),
    /// Not above the running version.
    #[error("version {0} runs already, or a newer one")]
    NotNewer(Version),
    /// The file ends too early.
    #[error("the file ends too early")]
    Truncated,
    /// The image is not the one that was signed.
    #[error("the image is damaged: its hash is another")]
    Digest,
    /// The image does not fit.
    #[error("the image has {0} bytes, which do not fit")]
    TooLarge(u64),
    /// The key set in the file is broken or not signed by a root key.
    #[error("its key set is not to be trusted")]
    KeySet(KeysError),
}

impl Refusal {
    /// Its number: on the wire, in logs and in tests. Numbers are never used again.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::NotAnUpdate => 1,
            Self::TooNew(_) => 2,
            Self::Signature => 3,
            Self::UnknownKey => 4,
            Self::Product => 5,
            Self::Arch(_) => 6,
            Self::Flavour(_) => 7,
            Self::TooOld(_) => 8,
            Self::MinFrom(_) => 9,
            Self::Denied(_) => 10,
            Self::NotNewer(_) => 11,
            Self::Truncated => 12,
            Self::Digest => 13,
            Self::TooLarge(_) => 14,
            Self::KeySet(_) => 15,
        }
    }
}

impl From<Short> for Refusal {
    fn from(_: Short) -> Self {
        Self::NotAnUpdate
    }
}

/// The machine that an update is offered to.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// The product it is.
    pub product: [u8; PRODUCT_BYTES],
    /// Its processor.
    pub arch: Arch,
    /// Its kind.
    pub flavour: Flavour,
    /// The version that runs.
    pub running: Version,
    /// The oldest version that it takes: the higher one of the running image's and the state record's.
    pub floor: Version,
    /// Digests of images that failed here.
    pub denied: &'a [Digest],
    /// The key set that counts.
    pub keys: KeySet,
    /// Room for an image, bytes.
    pub room_bytes: u64,
}

/// The parts of an update file's header. Nothing in it is trusted yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update<'a> {
    manifest: &'a [u8],
    signatures: Signatures<'a>,
    keys: Option<SignedKeySet<'a>>,
}

/// An update that a machine takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked<'a> {
    /// What it is.
    pub manifest: Manifest,
    /// The key set that counts once this update is activated.
    pub keys: KeySet,
    /// That key set's bytes when it is newer than the machine's: store them in the state partition.
    pub new_keys: Option<&'a [u8]>,
}

impl<'a> Update<'a> {
    /// Takes the header apart: the first [`HEADER_BYTES`] bytes of a file.
    ///
    /// # Errors
    /// [`Refusal::NotAnUpdate`], [`Refusal::TooNew`], [`Refusal::Truncated`], [`Refusal::KeySet`].
    pub fn parse(header: &'a [u8]) -> Result<Self, Refusal> {
        magic(header, MAGIC).map_err(|wrong| wrong.map_or(Refusal::NotAnUpdate, Refusal::TooNew))?;
        let header = header.get(..HEADER_BYTES).ok_or(Refusal::Truncated)?;
        let mut reader = Reader::new(header);
        let _: [u8; 8] = reader.array()?;
        let manifest_bytes = length(&mut reader, MANIFEST_BYTES_MAX)?;
        let manifest = reader.bytes(manifest_bytes)?;
        let signatures = Signatures::read(&mut reader)?;
        let keys_bytes = length(&mut reader, KEY_SET_BYTES_MAX)?;
        let keys = reader.bytes(keys_bytes)?;
        if reader.rest().iter().any(|byte| *byte != 0) {
            return Err(Refusal::NotAnUpdate);
        }
        let keys = (!keys.is_empty()).then(|| SignedKeySet::parse(keys)).transpose().map_err(Refusal::KeySet)?;
        Ok(Self { manifest, signatures, keys })
    }

    /// Whether a machine takes it. The key set first (a newer one must be signed by a root key of the machine's), then
    /// the signature of the manifest by a signing key of the set that counts then, and only then what the manifest says.
    ///
    /// # Errors
    /// See [`Refusal`]; [`Refusal::Digest`] comes from [`Checked::image`].
    pub fn check(&self, machine: &Machine<'_>, verify: &Verify<'_>) -> Result<Checked<'a>, Refusal> {
        let keys = self.keys.map_or(Ok(machine.keys), |offered| offered.follow(&machine.keys, verify));
        let keys = keys.map_err(Refusal::KeySet)?;
        match self.signatures.cover(PREFIX, self.manifest, keys.signing_keys(), verify) {
            Signed::Yes => {}
            Signed::Broken => return Err(Refusal::Signature),
            Signed::Unknown => return Err(Refusal::UnknownKey),
        }
        let manifest = Manifest::parse(self.manifest).map_err(|error| match error {
            ManifestError::TooNew(format) => Refusal::TooNew(format),
            ManifestError::Magic | ManifestError::Length(_) | ManifestError::Field => Refusal::NotAnUpdate,
        })?;
        fits(&manifest, machine)?;
        let newer = self.keys.filter(|offered| offered.set.version > machine.keys.version);
        Ok(Checked { manifest, keys, new_keys: newer.map(|offered| offered.as_bytes()) })
    }

    /// What the manifest claims, unchecked: for a person who inspects a file. Never decide by it.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn claim(&self) -> Result<Manifest, ManifestError> {
        Manifest::parse(self.manifest)
    }
}

impl Checked<'_> {
    /// Length of the whole update file, bytes.
    #[must_use]
    pub const fn file_bytes(&self) -> u64 {
        self.manifest.uki_size.saturating_add(HEADER_BYTES as u64)
    }

    /// Whether an image of this length and hash is the one that was signed. Ask with what was read back from the disk.
    ///
    /// # Errors
    /// [`Refusal::Truncated`], [`Refusal::TooLarge`], [`Refusal::Digest`].
    pub fn image(&self, image_bytes: u64, sha256: Digest) -> Result<(), Refusal> {
        match image_bytes.cmp(&self.manifest.uki_size) {
            core::cmp::Ordering::Less => Err(Refusal::Truncated),
            core::cmp::Ordering::Greater => Err(Refusal::TooLarge(image_bytes)),
            core::cmp::Ordering::Equal if sha256 != self.manifest.uki_sha256 => Err(Refusal::Digest),
            core::cmp::Ordering::Equal => Ok(()),
        }
    }
}

fn fits(manifest: &Manifest, machine: &Machine<'_>) -> Result<(), Refusal> {
    let refusals = [
        (manifest.product != machine.product, Refusal::Product),
        (Arch::from_byte(manifest.arch) != Some(machine.arch), Refusal::Arch(manifest.arch)),
        (Flavour::from_byte(manifest.flavour) != Some(machine.flavour), Refusal::Flavour(manifest.flavour)),
        (machine.denied.contains(&manifest.uki_sha256), Refusal::Denied(manifest.uki_sha256)),
        (manifest.version < machine.floor, Refusal::TooOld(machine.floor)),
        (manifest.version <= machine.running, Refusal::NotNewer(machine.running)),
        (machine.running < manifest.min_from, Refusal::MinFrom(manifest.min_from)),
        (manifest.uki_size > machine.room_bytes, Refusal::TooLarge(manifest.uki_size)),
        // A file name must be able to carry the version, and an image is never empty.
        (manifest.version.file_text().is_err() || manifest.uki_size == 0, Refusal::NotAnUpdate),
    ];
    refusals.into_iter().find_map(|(refused, why)| refused.then_some(Err(why))).unwrap_or(Ok(()))
}

fn length(reader: &mut Reader<'_>, max: usize) -> Result<usize, Refusal> {
    let length = usize::try_from(reader.u32()?).map_err(|_| Refusal::NotAnUpdate)?;
    if length > max { Err(Refusal::NotAnUpdate) } else { Ok(length) }
}

/// Writes the header of an update file around a signed manifest, for whoever builds updates. `keys` are the bytes of a
/// signed key set, or empty. `None` when a part is longer than the format allows.
#[must_use]
pub fn encode_header(manifest: &[u8], signatures: &[SignatureItem], keys: &[u8]) -> Option<[u8; HEADER_BYTES]> {
    if manifest.len() > MANIFEST_BYTES_MAX || keys.len() > KEY_SET_BYTES_MAX {
        return None;
    }
    let mut out = [0; HEADER_BYTES];
    let mut writer = Writer::new(&mut out);
    writer.put(&MAGIC).ok()?;
    writer.put(&u32::try_from(manifest.len()).ok()?.to_le_bytes()).ok()?;
    writer.put(manifest).ok()?;
    Signatures::write(signatures, &mut writer).ok()?;
    writer.put(&u32::try_from(keys.len()).ok()?.to_le_bytes()).ok()?;
    writer.put(keys).ok()?;
    Some(out)
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Takes a disk, a unified kernel image or an update file apart again, down to the files in the first file system, by the
//! same readers that a box uses where there are any. What it says is what the bytes say; a damaged part is named. Never
//! changes what it looks at.

use crate::cpio::{Archive, Entry};
use crate::digest::Sha256;
use crate::esp::{Esp, EspError, Window};
use crate::initrd::{self, InitrdError};
use crate::keys;
use crate::pe::Pe;
use crate::table::{ESP, Table, TableError};
use crate::uki::{Uki, UkiError};
use adit_slots::keys::{KeysError, SignedKeySet};
use adit_slots::layout;
use adit_slots::manifest::{Arch, Flavour, ManifestError};
use adit_slots::update::{HEADER_BYTES, MAGIC, Machine, Refusal, Update};
use std::fmt::{Debug, Write as _};
use std::io::{self, Read, Seek, SeekFrom, Write};

/// The largest file or unpacked image that is looked into at once, in bytes.
pub const BYTES_MAX: u64 = 1 << 30;
const ZSTD_MAGIC: &[u8] = b"\x28\xb5\x2f\xfd";
const QCOW2_MAGIC: &[u8] = b"QFI\xfb";

/// Why something could not be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The file or device.
    #[error("read what is to be inspected")]
    Read(#[source] io::Error),
    /// Larger than [`BYTES_MAX`].
    #[error("more than {BYTES_MAX} bytes are not looked into")]
    TooLarge,
    /// A form of the disk that is not read here.
    #[error("this is a qcow2 file; `qemu-img convert -O raw` makes it a raw image")]
    Qcow2,
    /// The partition table.
    #[error("neither a disk image, nor a unified kernel image, nor an update file")]
    Unknown(#[source] TableError),
    /// A disk without an ESP.
    #[error("disk has no EFI system partition")]
    NoEsp,
    /// The ESP.
    #[error("look into the ESP")]
    Esp(#[from] EspError),
    /// The unified kernel image.
    #[error("look into the unified kernel image")]
    Uki(#[from] UkiError),
    /// The first file system.
    #[error("look into the first file system")]
    Initrd(#[from] InitrdError),
    /// The key set.
    #[error("read the key set of the image")]
    Keys(#[source] KeysError),
    /// The update file's header.
    #[error("read the header of the update file: refused as {0:?}")]
    Update(Refusal),
    /// The update file's manifest.
    #[error("read the manifest of the update file")]
    Manifest(#[source] ManifestError),
}

/// Says in lines of text what something is. With `all`, the files of the first file system too. `key_set` is what updates
/// are checked by; otherwise the one in the image itself.
pub fn describe(
    mut device: impl Read + Write + Seek + Debug,
    all: bool,
    key_set: Option<&[u8]>,
) -> Result<String, InspectError> {
    let mut first = [0; 8];
    device.seek(SeekFrom::Start(0)).and_then(|_| device.read_exact(&mut first)).map_err(InspectError::Read)?;
    device.seek(SeekFrom::Start(0)).map_err(InspectError::Read)?;
    let mut text = String::new();
    if first == MAGIC {
        update(&mut text, &whole(device)?, all, key_set)?;
    } else if first.starts_with(b"MZ") {
        uki(&mut text, &whole(device)?, all)?;
    } else if first.starts_with(ZSTD_MAGIC) {
        let decoder = zstd::stream::read::Decoder::new(device).map_err(InspectError::Read)?;
        disk(&mut text, io::Cursor::new(whole(decoder)?), all)?;
    } else if first.starts_with(QCOW2_MAGIC) {
        return Err(InspectError::Qcow2);
    } else {
        disk(&mut text, device, all)?;
    }
    Ok(text)
}

/// All bytes of something small enough.
pub fn whole(reader: impl Read) -> Result<Vec<u8>, InspectError> {
    let mut bytes = Vec::new();
    reader.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(InspectError::Read)?;
    if bytes.len() as u64 > BYTES_MAX { Err(InspectError::TooLarge) } else { Ok(bytes) }
}

fn disk(text: &mut String, mut device: impl Read + Write + Seek + Debug, all: bool) -> Result<(), InspectError> {
    let table = Table::read(&mut device).map_err(InspectError::Unknown)?;
    line(text, format_args!("disk {} with sectors of {} bytes", table.guid, table.sector_size.bytes()));
    for part in &table.partitions {
        let (start, size) = (part.start_bytes, part.size_bytes);
        line(
            text,
            format_args!("partition {} {} from {start}, {size} bytes, type {}", part.name, part.guid, part.kind),
        );
    }
    let part = table.partition(ESP).ok_or(InspectError::NoEsp)?;
    let esp = Esp::open(Window::new(device, part.start_bytes, part.size_bytes))?;
    let slots = layout::SLOT_FOLDER.join("/");
    for (path, bytes) in esp.list()? {
        line(text, format_args!("esp {bytes:>10} {path}"));
        if path.starts_with(&slots) {
            uki(text, &esp.read(&path)?, all)?;
        }
    }
    Ok(())
}

fn uki(text: &mut String, bytes: &[u8], all: bool) -> Result<(), InspectError> {
    let parts = Uki::read(bytes)?;
    line(text, format_args!("image {} for {}, SHA-256 {}", parts.version, parts.arch, Sha256::of(bytes)));
    line(text, format_args!("kernel {}, words: {}", parts.kernel_version, parts.command_line));
    for section in Pe::new(bytes).and_then(|pe| pe.sections()).map_err(UkiError::Pe)? {
        line(text, format_args!("section {:>10} {} at {:#x}", section.content.len(), section.name, section.address));
    }
    let archive = initrd::unpack(parts.initrd)?;
    line(text, format_args!("first file system of {} entries", archive.entries().count()));
    for (path, entry) in archive.entries() {
        match entry {
            Entry::File { bytes, .. } if path == initrd::IMAGE => {
                String::from_utf8_lossy(bytes).lines().for_each(|fact| line(text, format_args!("says {fact}")));
            }
            Entry::File { bytes, .. } if path == initrd::KEYS => {
                let set = SignedKeySet::parse(bytes).map_err(InspectError::Keys)?.set;
                line(text, format_args!("key set {}", set.version));
                set.roots.iter().for_each(|key| line(text, format_args!("root key {key}")));
                set.signing_keys().iter().for_each(|key| line(text, format_args!("signing key {key}")));
            }
            Entry::File { bytes, permissions } if all => {
                line(text, format_args!("file {:>10} {permissions:04o} {path}", bytes.len()));
            }
            Entry::File { .. } | Entry::Directory { .. } | Entry::Symlink { .. } | Entry::Character { .. } => {}
        }
    }
    Ok(())
}

fn update(text: &mut String, bytes: &[u8], all: bool, key_set: Option<&[u8]>) -> Result<(), InspectError> {
    let parsed = Update::parse(bytes).map_err(InspectError::Update)?;
    let claim = parsed.claim().map_err(InspectError::Manifest)?;
    let image = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let product = String::from_utf8_lossy(&claim.product);
    line(text, format_args!("update of {} to {}", product.trim_end_matches('\0'), claim.version));
    line(text, format_args!("from {} on, never back below {}", claim.min_from, claim.floor));
    line(text, format_args!("arch {}, flavour {}, made at {} s", claim.arch, claim.flavour, claim.time_s));
    let whole = claim.uki_size == image.len() as u64 && claim.uki_sha256.0 == Sha256::of(image).0;
    line(
        text,
        format_args!(
            "image of {} bytes: {}",
            image.len(),
            if whole { "as the manifest says" } else { "NOT what the manifest says" }
        ),
    );
    let own = Uki::read(image).ok().and_then(|parts| own_keys(parts.initrd));
    let verdict = match key_set.or(own.as_deref()) {
        None => "not checked: the image has no key set".to_owned(),
        Some(keys) => {
            let machine = Machine {
                product: claim.product,
                arch: Arch::from_byte(claim.arch).unwrap_or(Arch::X86_64),
                flavour: Flavour::from_byte(claim.flavour).unwrap_or(Flavour::Vm),
                running: claim.min_from,
                floor: claim.floor,
                denied: &[],
                keys: SignedKeySet::parse(keys).map_err(InspectError::Keys)?.set,
                room_bytes: layout::UKI_BYTES_MAX,
            };
            match parsed.check(&machine, &keys::verify) {
                Ok(checked) => format!("good by key set {}", checked.keys.version),
                Err(refusal) => format!("refused: {refusal}"),
            }
        }
    };
    line(text, format_args!("signature {verdict}"));
    uki(text, image, all)
}

/// The key set within a first file system.
#[must_use]
pub fn own_keys(packed: &[u8]) -> Option<Vec<u8>> {
    let archive: Archive = initrd::unpack(packed).ok()?;
    let (_, entry) = archive.entries().find(|(path, _)| *path == initrd::KEYS)?;
    if let Entry::File { bytes, .. } = entry { Some(bytes.clone()) } else { None }
}

fn line(text: &mut String, facts: std::fmt::Arguments<'_>) {
    // A string takes every write.
    let _written = writeln!(text, "{facts}").is_ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uki::Parts;
    use adit_slots::manifest::{Digest, Manifest, PRODUCT};
    use adit_slots::version::Version;
    use proptest::prelude::*;
    use std::io::Cursor;
    use std::sync::LazyLock;

    static UPDATE: LazyLock<Vec<u8>> = LazyLock::new(small_update);

    /// An update to an image with all its parts, each as small as can be.
    fn small_update() -> Vec<u8> {
        let mut archive = Archive::default();
        archive.file("init", 0o755, vec![1; 300]).unwrap();
        archive.file(initrd::IMAGE, 0o644, b"product = \"adit-box\"\n".to_vec()).unwrap();
        let kernel = crate::pe::tests::stub();
        let parts = Parts {
            arch: crate::arch::Arch::X86_64,
            version: Version::new(1, 2, 3),
            kernel_version: "6.1",
            command_line: "quiet",
            kernel: &kernel,
            initrd: &initrd::pack(&archive).unwrap(),
        };
        let image = parts.join(&kernel).unwrap();
        let manifest = Manifest {
            product: PRODUCT,
            arch: 1,
            flavour: 1,
            version: Version::new(1, 2, 3),
            min_from: Version::new(0, 0, 0),
            floor: Version::new(0, 0, 0),
            uki_size: image.len() as u64,
            uki_sha256: Digest(Sha256::of(&image).0),
            time_s: 1_800_000_000,
        };
        let header = adit_slots::update::encode_header(&manifest.encode(), &[], &[]).unwrap();
        [&header[..], &image].concat()
    }

    #[test]
    fn an_update_is_taken_apart_down_to_its_files() {
        let text = describe(Cursor::new(UPDATE.clone()), true, None).unwrap();
        for words in [
            "update of adit-box to 1.2.3",
            "as the manifest says",
            "image 1.2.3 for x86_64",
            "0755 init",
            "says product",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let last = UPDATE.len() - 1;
        let mut changed = UPDATE.clone();
        changed[last] ^= 1;
        assert!(describe(Cursor::new(changed), false, None).unwrap().contains("NOT what the manifest says"));
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in any::<prop::sample::Index>(), value: u8, length in any::<prop::sample::Index>(), skip: bool) {
            // An update file, or the image within it.
            let whole = if skip { &UPDATE[HEADER_BYTES..] } else { &UPDATE[..] };
            let mut damaged = whole.to_vec();
            damaged[at.index(whole.len())] = value;
            drop(describe(Cursor::new(damaged), true, None));
            let cut = whole[..length.index(whole.len())].to_vec();
            prop_assert!(describe(Cursor::new(cut), true, None).is_err() || !skip);
        }

        #[test]
        fn noise_never_panics(kind in 0..5_usize, mut noise in prop::collection::vec(any::<u8>(), 8..4096)) {
            let magics: [&[u8]; 5] = [b"", &MAGIC, b"MZ", ZSTD_MAGIC, QCOW2_MAGIC];
            noise[..magics[kind].len()].copy_from_slice(magics[kind]);
            drop(describe(Cursor::new(noise), true, None));
        }
    }

    #[test]
    fn what_is_nothing_of_ours_is_named() {
        let say = |bytes: &[u8]| describe(Cursor::new(bytes.to_vec()), false, None).unwrap_err();
        assert!(matches!(say(b"short"), InspectError::Read(_)));
        assert!(matches!(say(b"QFI\xfb\0\0\0\x03"), InspectError::Qcow2));
        assert!(matches!(say(&[0; 4096]), InspectError::Unknown(_)));
        assert!(matches!(say(b"MZ......"), InspectError::Uki(_)));
        assert!(matches!(say(b"ADITUPD1"), InspectError::Update(Refusal::Truncated)));
        assert!(matches!(say(b"ADITUPD2"), InspectError::Unknown(_)));
        let bomb = zstd::stream::encode_all(Read::take(io::repeat(0), BYTES_MAX + 1), 1).unwrap();
        assert!(matches!(say(&bomb), InspectError::TooLarge));
    }
}

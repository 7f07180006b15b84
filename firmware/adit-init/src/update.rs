// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An update file on its way: collected beside the box's own state, so that a cut line or a restart loses nothing, then
//! checked whole before a slot is touched.

use crate::disks::Refused;
use crate::image::Image;
use adit_slots::keys::KeySet;
use adit_slots::layout::UKI_BYTES_MAX;
use adit_slots::manifest::{Digest, Manifest, PRODUCT};
use adit_slots::record::Record;
use adit_slots::update::{Checked, HEADER_BYTES, Machine, Refusal, Update};
use adit_wire::ids::{PublicKey, Signature};
use adit_wire::refusal::Code;
use anyhow::{Context as _, Result};
use aws_lc_rs::{digest, signature};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

/// Longest update file, bytes.
pub(crate) const FILE_BYTES_MAX: u64 = UKI_BYTES_MAX + HEADER_BYTES as u64;
/// What is collected reaches the disk every so often, bytes.
const SYNC_EVERY: u64 = 4 << 20;
/// How much is read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// A file that is being collected.
#[derive(Debug)]
pub(crate) struct Incoming {
    path: PathBuf,
    file: File,
    at: u64,
    bytes: u64,
    hash: [u8; 32],
    synced: u64,
    head_checked: bool,
}

/// An update that may be written to a slot.
#[derive(Debug)]
pub(crate) struct Sound {
    pub(crate) manifest: Manifest,
    /// The key set to store with it, as bytes, where it is newer.
    pub(crate) new_keys: Option<Vec<u8>>,
    /// The file, at the first byte of the image.
    pub(crate) image: File,
    path: PathBuf,
}

impl Incoming {
    /// Begins a file or goes on with the same one. The name says which file it is: another one replaces it.
    pub(crate) fn begin(folder: &std::path::Path, bytes: u64, hash: [u8; 32]) -> Result<Self, Refused> {
        if bytes > FILE_BYTES_MAX {
            return Err(refused(Refusal::TooLarge(bytes)));
        }
        if bytes < HEADER_BYTES as u64 {
            return Err(refused(Refusal::Truncated));
        }
        Ok(Self::open(folder, bytes, hash).context("keep the update")?)
    }

    fn open(folder: &std::path::Path, bytes: u64, hash: [u8; 32]) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let name = blake3::Hash::from_bytes(hash).to_hex();
        let path = folder.join(format!("{}.part", name.get(..32).unwrap_or_default()));
        for old in fs::read_dir(folder)?.flatten().filter(|old| old.path() != path) {
            fs::remove_file(old.path())?;
        }
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let mut at = file.seek(SeekFrom::End(0))?;
        if at > bytes {
            file.set_len(0)?;
            at = file.seek(SeekFrom::Start(0))?;
        }
        Ok(Self { path, file, at, bytes, hash, synced: at, head_checked: false })
    }

    /// The next byte that is wanted.
    pub(crate) fn wanted(&self) -> u64 {
        self.at
    }

    /// Whether all of it is here.
    pub(crate) fn is_whole(&self) -> bool {
        self.at == self.bytes
    }

    /// Takes a part. One that does not follow is passed over: the answer says what is wanted.
    pub(crate) fn part(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Refused> {
        let end = self.at + bytes.len() as u64;
        if offset != self.at || end > self.bytes {
            return Ok(());
        }
        let mut write = || -> io::Result<()> {
            self.file.write_all(bytes)?;
            if end - self.synced >= SYNC_EVERY || end == self.bytes {
                self.file.sync_data()?;
                self.synced = end;
            }
            Ok(())
        };
        write().map_err(|error| Refused::new(Code::BootFull, format!("keep the update: {error}")))?;
        self.at = end;
        Ok(())
    }

    /// Checks all of it for this machine. What is refused is removed.
    pub(crate) fn check(mut self, image: &Image, record: &Record, keys: Option<KeySet>) -> Result<Sound, Refused> {
        match self.judge(image, record, keys) {
            Ok((manifest, new_keys)) => Ok(Sound { manifest, new_keys, image: self.file, path: self.path }),
            Err(error) => {
                // It is refused again if it stays.
                let _stays = fs::remove_file(&self.path);
                Err(error)
            }
        }
    }

    /// Refuses by the header alone, as soon as it is here: over a slow line the rest need not come.
    pub(crate) fn check_head(&mut self, image: &Image, record: &Record, keys: Option<KeySet>) -> Result<(), Refused> {
        if self.at < HEADER_BYTES as u64 || self.head_checked {
            return Ok(());
        }
        self.head_checked = true;
        let header = self.header()?;
        let refusal = judge_header(&header, image, record, keys).err();
        self.file.seek(SeekFrom::Start(self.at)).context("keep the update")?;
        match refusal {
            None => Ok(()),
            Some(refused) => {
                // It is refused again if it stays.
                let _stays = fs::remove_file(&self.path);
                Err(refused)
            }
        }
    }

    fn header(&mut self) -> Result<Vec<u8>, Refused> {
        let mut header = vec![0; HEADER_BYTES];
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.read_exact(&mut header))
            .context("read the update back")?;
        Ok(header)
    }

    fn judge(
        &mut self,
        image: &Image,
        record: &Record,
        keys: Option<KeySet>,
    ) -> Result<(Manifest, Option<Vec<u8>>), Refused> {
        if self.hash().context("read the update back")? != self.hash {
            return Err(refused(Refusal::Truncated));
        }
        let header = self.header()?;
        let checked = judge_header(&header, image, record, keys)?;
        let rest = self.bytes - HEADER_BYTES as u64;
        let hash = sha256(&mut self.file, rest).context("read the update back")?;
        checked.image(rest, Digest(hash)).map_err(refused)?;
        self.file.seek(SeekFrom::Start(HEADER_BYTES as u64)).context("read the update back")?;
        Ok((checked.manifest, checked.new_keys.map(<[u8]>::to_vec)))
    }

    fn hash(&mut self) -> Result<[u8; 32]> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&mut self.file)?;
        Ok(*hasher.finalize().as_bytes())
    }
}

impl Sound {
    /// It lies in a slot: the collected file goes.
    pub(crate) fn done(self) {
        // A file that stays is removed by the next update.
        let _stays = fs::remove_file(self.path);
    }
}

/// Whether this machine takes what a header says.
fn judge_header<'h>(
    header: &'h [u8],
    image: &Image,
    record: &Record,
    keys: Option<KeySet>,
) -> Result<Checked<'h>, Refused> {
    let keys = keys.ok_or_else(|| Refused::new(Code::UpdateKey, "this image was built without keys for updates"))?;
    let machine = Machine {
        product: PRODUCT,
        arch: image.arch,
        flavour: image.flavour,
        running: image.version,
        floor: record.floor.max(image.floor),
        denied: record.denied(),
        keys,
        room_bytes: UKI_BYTES_MAX,
    };
    Update::parse(header).and_then(|update| update.check(&machine, &verify)).map_err(refused)
}

/// SHA-256 of the next bytes of a file.
pub(crate) fn sha256(file: &mut impl io::Read, bytes: u64) -> io::Result<[u8; 32]> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = bytes;
    while left > 0 {
        let length = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let piece = piece.get_mut(..length).unwrap_or_default();
        file.read_exact(piece)?;
        context.update(piece);
        left -= length as u64;
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    Ok(hash)
}

/// Ed25519 over a prefix and a body.
pub(crate) fn verify(key: &PublicKey, prefix: &'static [u8], body: &[u8], signed: &Signature) -> bool {
    let message = [prefix, body].concat();
    signature::UnparsedPublicKey::new(&signature::ED25519, key.0).verify(&message, &signed.0).is_ok()
}

/// What a refusal is called on the wire.
fn refused(refusal: Refusal) -> Refused {
    let code = match refusal {
        Refusal::NotAnUpdate | Refusal::TooNew(_) => Code::UpdateFormat,
        Refusal::Signature => Code::UpdateSignature,
        Refusal::UnknownKey => Code::UpdateKey,
        Refusal::Product => Code::UpdateProduct,
        Refusal::Arch(_) => Code::UpdateArch,
        Refusal::Flavour(_) => Code::UpdateFlavour,
        Refusal::TooOld(_) => Code::UpdateFloor,
        Refusal::MinFrom(_) => Code::UpdateStep,
        Refusal::Denied(_) => Code::UpdateDenied,
        Refusal::NotNewer(_) => Code::UpdateNotNewer,
        Refusal::Truncated => Code::UpdateTruncated,
        Refusal::Digest => Code::UpdateDigest,
        Refusal::TooLarge(_) => Code::UpdateTooLarge,
        Refusal::KeySet(_) => Code::UpdateKeySet,
    };
    Refused::new(code, refusal.to_string())
}

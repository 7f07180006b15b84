// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The private recovery file: text, versioned, sealed by a passphrase or marked as unprotected.

use super::recovery::RecoveryKey;
use crate::secret::Secret;
use adit_wire::ids::PublicKey;
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use data_encoding::HEXLOWER;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const TITLE: &str = "adit recovery key, version ";
const VERSION: u32 = 1;
const AAD_PREFIX: &[u8] = b"adit recovery file v1\0";
/// Largest file that is read; a written one has some 700 bytes.
const FILE_BYTES_MAX: u64 = 16 << 10;
const MIB_KIB: u32 = 1_024;
/// Memory beyond which a file is refused: it would only serve to exhaust the reader.
const MEMORY_KIB_MAX: u32 = 1_024 * MIB_KIB;
/// Passes beyond which a file is refused.
const PASSES_MAX: u32 = 16;
/// Lanes beyond which a file is refused.
const LANES_MAX: u32 = 16;

/// A passphrase as bytes of UTF-8, without the line end that was typed after it.
pub type Passphrase = Zeroizing<String>;

/// What turning a passphrase into a key costs: Argon2id's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kdf {
    /// Memory in KiB, ≤ 1 GiB.
    pub memory_kib: u32,
    /// Passes over it, ≤ 16.
    pub passes: u32,
    /// Lanes, ≤ 16.
    pub lanes: u32,
}

impl Kdf {
    /// 256 MiB, three passes: what a file gets by default.
    pub const DEFAULT: Self = Self { memory_kib: 256 * MIB_KIB, passes: 3, lanes: 1 };
    /// 64 MiB, for machines with less than 1 GiB of memory.
    pub const SMALL: Self = Self { memory_kib: 64 * MIB_KIB, passes: 3, lanes: 1 };

    /// What fits a machine with this much memory.
    #[must_use]
    pub const fn for_memory(bytes: u64) -> Self {
        if bytes < 1 << 30 { Self::SMALL } else { Self::DEFAULT }
    }

    fn check(self) -> Result<Self, FileError> {
        let fits = self.memory_kib <= MEMORY_KIB_MAX && self.passes <= PASSES_MAX && self.lanes <= LANES_MAX;
        if fits { Ok(self) } else { Err(FileError::Cost(self)) }
    }

    fn key(self, passphrase: &str, salt: &[u8; 16]) -> Result<Secret<32>, FileError> {
        let params =
            Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).map_err(|_| FileError::Cost(self))?;
        let mut key = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), salt, &mut key)
            .map_err(|_| FileError::Cost(self))?;
        Ok(Secret::new(key))
    }
}

/// How a recovery file is guarded.
#[derive(Clone, Copy, Debug)]
pub enum Protection<'a> {
    /// Whoever reads the file has the key.
    None,
    /// Whoever reads the file also needs the passphrase.
    Passphrase(&'a str, Kdf),
}

/// What a recovery file tells without its passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peek {
    /// The recovery signing key, which names the whole key.
    pub signing_key: PublicKey,
    /// Whether a passphrase is needed.
    pub sealed: bool,
}

impl RecoveryKey {
    /// The private recovery file's text.
    ///
    /// # Errors
    /// When the cost is beyond what is read back, or the passphrase is empty.
    pub fn to_file_text(
        &self,
        protection: Protection<'_>,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Zeroizing<String>, FileError> {
        let mut text = Zeroizing::new(String::with_capacity(1_024));
        let _ = writeln!(text, "{TITLE}{VERSION}");
        text.push_str(
            "# Whoever has this reads all backups made for it. Keep it away from the machine that it recovers.\n",
        );
        let _ = writeln!(text, "signing_key = \"{}\"", self.signing().public());
        match protection {
            Protection::None => {
                let key = Zeroizing::new(HEXLOWER.encode(self.entropy().expose()));
                let _ = writeln!(text, "protection = \"none\"\nkey = \"{}\"", &*key);
            }
            Protection::Passphrase(passphrase, kdf) => {
                let sealed = self.seal(passphrase, kdf.check()?, fill)?;
                text.push_str(&sealed);
            }
        }
        let check = check_of(&text);
        let _ = writeln!(text, "check = \"{check}\"");
        Ok(text)
    }

    fn seal(&self, passphrase: &str, kdf: Kdf, fill: &mut dyn FnMut(&mut [u8])) -> Result<String, FileError> {
        if passphrase.is_empty() {
            return Err(FileError::EmptyPassphrase);
        }
        let mut salt = [0; 16];
        fill(&mut salt);
        let key = kdf.key(passphrase, &salt)?;
        let mut sealed = self.entropy().expose().to_vec();
        let aad = Aad::from(associated(kdf, &salt, &self.signing().public()));
        aead(&key)
            .seal_in_place_append_tag(zero_nonce(), aad, &mut sealed)
            .expect("32 bytes are within what the cipher seals");
        Ok(format!(
            "protection = \"argon2id\"\nmemory_kib = {}\npasses = {}\nlanes = {}\nsalt = \"{}\"\nsealed = \"{}\"\n",
            kdf.memory_kib,
            kdf.passes,
            kdf.lanes,
            HEXLOWER.encode(&salt),
            HEXLOWER.encode(&sealed)
        ))
    }

    /// Reads a private recovery file's text.
    ///
    /// # Errors
    /// What is missing or damaged, or that the passphrase is missing or wrong.
    pub fn from_file_text(text: &str, passphrase: Option<&str>) -> Result<Self, FileError> {
        let fields = Fields::parse(text)?;
        let signing_key = fields.signing_key()?;
        let entropy = if fields.text("protection")? == "none" {
            fields.hex::<32>("key")?
        } else {
            let kdf = fields.kdf()?;
            let salt = fields.hex::<16>("salt")?;
            let sealed = fields.hex::<48>("sealed")?;
            let passphrase = passphrase.ok_or(FileError::PassphraseNeeded)?;
            let key = kdf.key(passphrase, salt.expose())?;
            let aad = Aad::from(associated(kdf, salt.expose(), &signing_key));
            let mut opened = Zeroizing::new(*sealed.expose());
            let plain =
                aead(&key).open_in_place(zero_nonce(), aad, &mut opened[..]).map_err(|_| FileError::WrongPassphrase)?;
            let mut entropy = [0; 32];
            entropy.copy_from_slice(plain);
            Secret::new(entropy)
        };
        let key = Self::from_entropy(entropy);
        if key.signing().public() == signing_key { Ok(key) } else { Err(FileError::OtherKey) }
    }
}

/// Writes a new private recovery file, mode 0600. A file that exists is left alone.
///
/// # Errors
/// When the file exists or can't be written, or the cost is out of bounds.
pub fn write_file(
    path: &Path,
    key: &RecoveryKey,
    protection: Protection<'_>,
    fill: &mut dyn FnMut(&mut [u8]),
) -> Result<(), FileError> {
    let text = key.to_file_text(protection, fill)?;
    let failed = |source| FileError::Write { path: path.to_owned(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let written =
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| File::open(folder)?.sync_all());
    written.map_err(|source| {
        // Half a key helps nobody and would stand in the way of the next try.
        let _removed = std::fs::remove_file(path);
        failed(source)
    })
}

/// Reads a private recovery file.
///
/// # Errors
/// When the file can't be read, what is damaged in it, or that the passphrase is missing or wrong.
pub fn read_file(path: &Path, passphrase: Option<&str>) -> Result<RecoveryKey, FileError> {
    RecoveryKey::from_file_text(&load(path)?, passphrase)
}

/// What a private recovery file tells without its passphrase.
///
/// # Errors
/// When the file can't be read, or what is damaged in it.
pub fn peek_file(path: &Path) -> Result<Peek, FileError> {
    let text = load(path)?;
    let fields = Fields::parse(&text)?;
    Ok(Peek { signing_key: fields.signing_key()?, sealed: fields.text("protection")? != "none" })
}

fn load(path: &Path) -> Result<Zeroizing<String>, FileError> {
    let read = || -> io::Result<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::new());
        File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
        Ok(text)
    };
    read().map_err(|source| FileError::Read { path: path.to_owned(), source })
}

fn aead(key: &Secret<32>) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.expose()).expect("AES-256 takes 32 bytes"))
}

/// The key comes from a salt that is drawn for each file, so one nonce is enough.
fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn associated(kdf: Kdf, salt: &[u8; 16], signing_key: &PublicKey) -> Vec<u8> {
    let mut bytes = AAD_PREFIX.to_vec();
    for number in [kdf.memory_kib, kdf.passes, kdf.lanes] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(salt);
    bytes.extend_from_slice(&signing_key.0);
    bytes
}

/// First 8 bytes of BLAKE3 over the lines before the check, without comments and without white space at either end.
fn check_of(text: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("check"));
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        hasher.update(line.as_bytes());
        hasher.update(b"\n");
    }
    HEXLOWER.encode(&hasher.finalize().as_bytes()[..8])
}

/// The lines of a file whose checksum holds.
struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Fields<'a> {
    fn parse(text: &'a str) -> Result<Self, FileError> {
        let title = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let version = title.strip_prefix(TITLE).ok_or(FileError::NotOurs)?;
        match version.parse::<u32>() {
            Ok(VERSION) => {}
            Ok(newer) => return Err(FileError::Version(newer)),
            Err(_) => return Err(FileError::NotOurs),
        }
        let mut fields = Self(Vec::new());
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            if let Some((name, value)) = line.split_once('=') {
                fields.0.push((name.trim(), value.trim().trim_matches('"')));
            }
        }
        if fields.text("check")? == check_of(text) { Ok(fields) } else { Err(FileError::Damaged) }
    }

    fn text(&self, name: &'static str) -> Result<&'a str, FileError> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value).ok_or(FileError::Missing(name))
    }

    fn number(&self, name: &'static str) -> Result<u32, FileError> {
        self.text(name)?.parse().map_err(|_| FileError::Field(name))
    }

    fn hex<const N: usize>(&self, name: &'static str) -> Result<Secret<N>, FileError> {
        let bytes = HEXLOWER.decode(self.text(name)?.as_bytes()).map_err(|_| FileError::Field(name))?;
        let bytes = Zeroizing::new(bytes);
        let array: [u8; N] = bytes.as_slice().try_into().map_err(|_| FileError::Field(name))?;
        Ok(Secret::new(array))
    }

    fn signing_key(&self) -> Result<PublicKey, FileError> {
        Ok(PublicKey(*self.hex::<32>("signing_key")?.expose()))
    }

    fn kdf(&self) -> Result<Kdf, FileError> {
        if self.text("protection")? != "argon2id" {
            return Err(FileError::Field("protection"));
        }
        Kdf { memory_kib: self.number("memory_kib")?, passes: self.number("passes")?, lanes: self.number("lanes")? }
            .check()
    }
}

/// Why a recovery file can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The disk refused.
    #[error("write the recovery file {}", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The disk refused.
    #[error("read the recovery file {}", path.display())]
    Read {
        /// Where from.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Some other file.
    #[error("this is no recovery file: its first line is not \"{TITLE}{VERSION}\"")]
    NotOurs,
    /// Written by a newer program.
    #[error("the recovery file has version {0}, this program reads {VERSION}")]
    Version(u32),
    /// A line is missing.
    #[error("the recovery file is damaged: its line \"{0}\" is missing")]
    Missing(&'static str),
    /// A line does not hold what it should.
    #[error("the recovery file is damaged: its line \"{0}\" does not hold what it should")]
    Field(&'static str),
    /// Characters were changed.
    #[error("the recovery file is damaged: its checksum does not match")]
    Damaged,
    /// The file wants more memory or time than any honest one.
    #[error(
        "the recovery file asks for {} KiB, {} passes and {} lanes; the limits are {MEMORY_KIB_MAX}, {PASSES_MAX} and {LANES_MAX}",
        .0.memory_kib, .0.passes, .0.lanes
    )]
    Cost(Kdf),
    /// Sealed, and no passphrase given.
    #[error("the recovery file needs its passphrase")]
    PassphraseNeeded,
    /// An empty passphrase protects nothing.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// The file is whole, so the passphrase is not.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// The file's parts do not belong together.
    #[error("the recovery file holds another key than it says")]
    OtherKey,
}

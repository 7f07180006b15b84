// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The keys that updates are signed with, as text files; key sets and signatures made with them. A root key signs key sets, a
//! signing key signs updates; each knows which it is. Secret files are made for their owner only and never overwritten.

use adit_slots::keys::{KEY_SET_BYTES_MAX, KeySet, KeysError, PREFIX as KEYS_PREFIX, SignatureItem, SignedKeySet};
use adit_slots::manifest::{Manifest, PREFIX as UPDATE_PREFIX};
use adit_slots::update::{self, HEADER_BYTES};
use adit_wire::ids::{PublicKey, Signature};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use data_encoding::HEXLOWER_PERMISSIVE;
use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The longest key file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 4096;

/// Why keys could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file.
    #[error("{what} {}", path.display())]
    File {
        /// Read or make.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Text that is no key of the expected kind.
    #[error("{} holds no {expected} key", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// What was expected, such as `secret root`.
        expected: String,
    },
    /// The system gives no randomness.
    #[error("draw random bytes")]
    Random,
    /// Two root keys are needed, so that losing one is no disaster.
    #[error("a key set has two different root keys")]
    Roots,
    /// More keys than a set or signatures than an update holds.
    #[error("too many keys for a key set, or signatures for an update")]
    TooMany,
    /// Bytes that are no key set.
    #[error("read the key set")]
    Set(#[source] KeysError),
    /// A new set that boxes with the present one would not follow.
    #[error("boxes would not follow the new key set")]
    Follow(#[source] KeysError),
    /// A version that is not above the present one.
    #[error("key set {offered} does not come after {present}")]
    Order {
        /// The version that counts now.
        present: u32,
        /// The version of the new set.
        offered: u32,
    },
    /// A key that boxes do not know.
    #[error("signing key {0} is not in the key set; boxes would refuse the update")]
    Unknown(PublicKey),
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Signs key sets; kept offline.
    Root,
    /// Signs updates.
    Signing,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Signing => "signing",
        })
    }
}

/// A key that can sign.
pub struct SecretKey(Ed25519KeyPair);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({:?})", self.public())
    }
}

impl SecretKey {
    /// Makes a new key: `path` gets the secret half, readable by its owner only, and `path` with `.pub` the public one.
    pub fn create(role: Role, path: &Path) -> Result<PublicKey, KeyError> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| KeyError::Random)?;
        let key = Self::from_seed(&seed);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| KeyError::File { what: "make", path, source }
        };
        let mut file = std::fs::File::options();
        let made = file.write(true).create_new(true).mode(0o600).open(path);
        let text = text("SECRET", role, &seed);
        made.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .map_err(failed(path))?;
        let public = public_path(path);
        let text = self::text("PUBLIC", role, &key.public().0);
        std::fs::write(&public, text).map_err(failed(&public))?;
        Ok(key.public())
    }

    /// Reads the secret half.
    pub fn read(role: Role, path: &Path) -> Result<Self, KeyError> {
        Ok(Self::from_seed(&read_key("SECRET", role, path)?))
    }

    fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are an Ed25519 seed"))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::from_slice(self.0.public_key().as_ref()).unwrap_or_default()
    }

    fn sign(&self, prefix: &[u8], body: &[u8]) -> SignatureItem {
        let signature = self.0.sign(&[prefix, body].concat());
        SignatureItem::ed25519(&self.public(), Signature::from_slice(signature.as_ref()).unwrap_or_default())
    }
}

/// Reads the public half of a key.
pub fn read_public(role: Role, path: &Path) -> Result<PublicKey, KeyError> {
    read_key("PUBLIC", role, path).map(PublicKey)
}

/// Whether a signature holds: what `adit-slots` asks for.
#[must_use]
pub fn verify(key: &PublicKey, prefix: &'static [u8], body: &[u8], signature: &Signature) -> bool {
    let message = [prefix, body].concat();
    UnparsedPublicKey::new(&ED25519, &key.0).verify(&message, &signature.0).is_ok()
}

/// A key set signed by root keys, as bytes for images and updates. With a set that boxes have now it is checked that they
/// would follow.
pub fn key_set(
    version: u32,
    roots: [PublicKey; 2],
    signing: &[PublicKey],
    with: &[SecretKey],
    present: Option<&[u8]>,
) -> Result<Vec<u8>, KeyError> {
    let [one, other] = &roots;
    if one == other {
        return Err(KeyError::Roots);
    }
    let set = KeySet::new(version, roots, signing).ok_or(KeyError::TooMany)?;
    let mut body = [0; KEY_SET_BYTES_MAX];
    let length = set.encode(&mut body).ok_or(KeyError::TooMany)?;
    let signatures: Vec<SignatureItem> =
        with.iter().map(|key| key.sign(KEYS_PREFIX, body.get(..length).unwrap_or_default())).collect();
    let mut signed = vec![0; KEY_SET_BYTES_MAX];
    let length = set.encode_signed(&signatures, &mut signed).ok_or(KeyError::TooMany)?;
    signed.truncate(length);
    if let Some(present) = present {
        let present = SignedKeySet::parse(present).map_err(KeyError::Set)?.set;
        if present.version >= version {
            return Err(KeyError::Order { present: present.version, offered: version });
        }
        let offered = SignedKeySet::parse(&signed).map_err(KeyError::Set)?;
        offered.follow(&present, &verify).map_err(KeyError::Follow)?;
    }
    Ok(signed)
}

/// The header of an update signed by some keys, with a key set for boxes that have an older one. `known` are the keys that
/// boxes will check with.
pub fn sign(
    manifest: &Manifest,
    with: &[SecretKey],
    keys: &[u8],
    known: &KeySet,
) -> Result<[u8; HEADER_BYTES], KeyError> {
    if let Some(stranger) = with.iter().find(|key| !known.signing_keys().contains(&key.public())) {
        return Err(KeyError::Unknown(stranger.public()));
    }
    let bytes = manifest.encode();
    let signatures: Vec<SignatureItem> = with.iter().map(|key| key.sign(UPDATE_PREFIX, &bytes)).collect();
    update::encode_header(&bytes, &signatures, keys).ok_or(KeyError::TooMany)
}

/// Where the public half of a key lies.
#[must_use]
pub fn public_path(secret: &Path) -> PathBuf {
    let mut path = secret.as_os_str().to_owned();
    path.push(".pub");
    path.into()
}

fn text(half: &str, role: Role, bytes: &[u8; 32]) -> String {
    let hex = HEXLOWER_PERMISSIVE.encode(bytes);
    format!("-----BEGIN ADIT {half} KEY-----\n{role}\n{hex}\n-----END ADIT {half} KEY-----\n")
}

fn read_key(half: &str, role: Role, path: &Path) -> Result<[u8; 32], KeyError> {
    let bytes = std::fs::read(path).map_err(|source| KeyError::File { what: "read", path: path.to_owned(), source })?;
    let parse = || {
        let text = std::str::from_utf8(&bytes).ok().filter(|text| text.len() <= FILE_BYTES_MAX)?;
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let [begin, kind, hex, end] = lines.as_slice() else { return None };
        let framed =
            *begin == format!("-----BEGIN ADIT {half} KEY-----") && *end == format!("-----END ADIT {half} KEY-----");
        let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?;
        bytes.try_into().ok().filter(|_| framed && *kind == role.to_string())
    };
    let expected = format!("{} {role}", half.to_lowercase());
    parse().ok_or_else(|| KeyError::Kind { path: path.to_owned(), expected })
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_slots::manifest;
    use adit_slots::update::{Machine, Refusal, Update};
    use adit_slots::version::Version;
    use std::os::unix::fs::PermissionsExt as _;

    fn key(number: u8) -> SecretKey {
        SecretKey::from_seed(&[number; 32])
    }

    fn roots(first: u8) -> [PublicKey; 2] {
        [key(first).public(), key(first + 1).public()]
    }

    #[test]
    fn a_key_is_read_back_as_what_it_is_and_stays_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root");
        let public = SecretKey::create(Role::Root, &path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(SecretKey::read(Role::Root, &path).unwrap().public(), public);
        assert_eq!(read_public(Role::Root, &public_path(&path)).unwrap(), public);
        let wrong = SecretKey::read(Role::Signing, &path).unwrap_err().to_string();
        assert!(wrong.ends_with("holds no secret signing key"), "{wrong}");
        assert!(
            matches!(read_public(Role::Root, &path), Err(KeyError::Kind { .. })),
            "a secret is not taken for public"
        );
        assert!(matches!(SecretKey::create(Role::Root, &path), Err(KeyError::File { what: "make", .. })), "kept");
        let long = std::fs::read_to_string(&path).unwrap() + &" ".repeat(FILE_BYTES_MAX);
        std::fs::write(&path, long).unwrap();
        assert!(SecretKey::read(Role::Root, &path).is_err());
    }

    #[test]
    fn key_sets_follow_each_other_by_a_root_key_only() {
        let signing = [key(3).public()];
        let first = key_set(1, roots(1), &signing, &[key(1)], None).unwrap();
        assert!(key_set(2, roots(5), &signing, &[key(2)], Some(&first)).is_ok());
        let refused =
            |version, with: &[SecretKey]| key_set(version, roots(5), &signing, with, Some(&first)).unwrap_err();
        assert!(matches!(refused(2, &[key(5)]), KeyError::Follow(_)));
        assert!(matches!(refused(1, &[key(1)]), KeyError::Order { present: 1, offered: 1 }));
        assert!(matches!(key_set(1, [key(1).public(); 2], &signing, &[], None), Err(KeyError::Roots)));
        assert!(matches!(key_set(1, roots(1), &[key(9).public(); 5], &[], None), Err(KeyError::TooMany)));
    }

    #[test]
    fn a_signed_update_is_taken_and_a_strangers_is_not_made() {
        let manifest = Manifest {
            product: manifest::PRODUCT,
            arch: 1,
            flavour: 1,
            version: Version::new(1, 2, 3),
            min_from: Version::new(0, 0, 0),
            floor: Version::new(1, 0, 0),
            uki_size: 3,
            uki_sha256: manifest::Digest([7; 32]),
            time_s: 1_800_000_000,
        };
        let keys = key_set(1, roots(1), &[key(3).public()], &[key(1)], None).unwrap();
        let known = SignedKeySet::parse(&keys).unwrap().set;
        let header = sign(&manifest, &[key(3)], &keys, &known).unwrap();
        let machine = Machine {
            product: manifest::PRODUCT,
            arch: manifest::Arch::X86_64,
            flavour: manifest::Flavour::Vm,
            running: Version::new(1, 2, 2),
            floor: Version::new(0, 0, 0),
            denied: &[],
            keys: known,
            room_bytes: 1 << 20,
        };
        assert_eq!(Update::parse(&header).unwrap().check(&machine, &verify).unwrap().manifest, manifest);
        let mut changed = header;
        changed[30] ^= 1;
        let refused = Update::parse(&changed).unwrap().check(&machine, &verify).unwrap_err();
        assert!(matches!(refused, Refusal::Signature), "{refused:?}");
        assert!(matches!(sign(&manifest, &[key(4)], &keys, &known), Err(KeyError::Unknown(_))));
        let five = [key(3), key(3), key(3), key(3), key(3)];
        assert!(matches!(sign(&manifest, &five, &keys, &known), Err(KeyError::TooMany)));
    }
}

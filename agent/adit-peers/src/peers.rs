// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Peers are files: `peers/NAME.toml` says which key may do what. A fleet can be paired by copying files.
//!
//! The files are the truth; the running agent reads them again when they change. A file that can't be used is reported and
//! passed over, so that one typing error doesn't lock out the other peers. One key is one peer.

use crate::files::{self, FileError, Step};
use adit_wire::ids::{PublicKey, SourceId};
use adit_wire::pair::{NAME_BYTES_MAX, Role};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Most peers of one agent.
pub const PEERS_MAX: usize = 1_024;
/// Former keys that a peer's file remembers, so that a machine whose source was taken over is told so.
pub const FORMER_KEYS_MAX: usize = 4;
/// Longest peer file, bytes.
const FILE_BYTES_MAX: u64 = 16 << 10;
/// What the name of every peer file ends with.
const SUFFIX: &str = ".toml";
/// What a peer file is called while its pairing is not finished.
const UNFINISHED: &str = ".unfinished";

/// A peer's name: also the name of its file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName(String);

/// Why a word can't be a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 63 letters, digits, dots, dashes or underscores and begins with a letter or digit")]
pub struct NameError;

impl PeerName {
    /// Checks a name.
    ///
    /// # Errors
    /// When it can't be the name of a file everywhere.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let begins_well = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if begins_well && name.len() <= NAME_BYTES_MAX && name.chars().all(Self::allows) {
            Ok(Self(name.to_owned()))
        } else {
            Err(NameError)
        }
    }

    /// Whether a name may hold this character.
    #[must_use]
    pub fn allows(c: char) -> bool {
        c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for PeerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What belongs to a peer that sends backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceKeys {
    /// The source.
    pub source: SourceId,
    /// The key that signs its snapshots.
    pub signing_key: PublicKey,
    /// The recovery signing key that certifies it; zero when none is known.
    pub recovery_key: PublicKey,
    /// Its certificate, or nothing.
    pub certificate: Vec<u8>,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name here.
    pub name: PeerName,
    /// What it may do.
    pub role: Role,
    /// Its TLS key.
    pub key: PublicKey,
    /// Where it is reached; a monitor with addresses is dialled.
    pub addresses: Vec<String>,
    /// What belongs to a source.
    pub source: Option<SourceKeys>,
    /// Keys that were this peer's before its source was taken over.
    pub former_keys: Vec<PublicKey>,
    /// When it was paired, seconds since 1970; 0 when a person wrote the file.
    pub paired_s: u64,
}

/// Why a peer file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PeerFileError {
    /// It can't be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its own name is no peer name.
    #[error("use the peer file {0:?}: {1}")]
    Name(String, NameError),
    /// Its content is refused.
    #[error("use the peer file {name}: {why}")]
    Content {
        /// Whose file.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// Another file has the same key.
    #[error("use the peer file {name}: {other} has the same key")]
    SameKey {
        /// Whose file.
        name: String,
        /// The peer that has the key.
        other: String,
    },
    /// Too many files.
    #[error("use more than {0} peer files")]
    TooMany(usize),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    role: String,
    key: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signing_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recovery_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    former_keys: Vec<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    paired_s: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Hex digits of bytes.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// The bytes of hex digits; `None` when they are none.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).ok()
}

fn key_field(field: &str, text: &str) -> Result<PublicKey, String> {
    unhex(text)
        .and_then(|bytes| PublicKey::from_slice(&bytes))
        .ok_or_else(|| format!("`{field}` is no key; a key has 64 hexadecimal digits, as `adit id` prints it"))
}

impl Peer {
    /// Reads the text of a peer file.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn from_text(name: PeerName, text: &str) -> Result<Self, String> {
        let raw: Raw = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let role = Role::from_word(&raw.role)
            .ok_or_else(|| format!("`role` is {:?}; write source, monitor, admin or replica", raw.role))?;
        let source = match (role, raw.source) {
            (Role::Source, None) => return Err("a source's file needs `source` and `signing_key`".to_owned()),
            (Role::Source, Some(source)) => {
                let source = unhex(&source)
                    .and_then(|bytes| SourceId::from_slice(&bytes))
                    .ok_or_else(|| "`source` is no source id of 32 hexadecimal digits".to_owned())?;
                let signing_key = raw.signing_key.ok_or_else(|| "a source's file needs `signing_key`".to_owned())?;
                let recovery_key =
                    raw.recovery_key.map_or(Ok(PublicKey::ZERO), |text| key_field("recovery_key", &text))?;
                let certificate = raw
                    .certificate
                    .map_or(Some(Vec::new()), |text| unhex(&text))
                    .ok_or_else(|| "`certificate` is not hexadecimal".to_owned())?;
                let signing_key = key_field("signing_key", &signing_key)?;
                Some(SourceKeys { source, signing_key, recovery_key, certificate })
            }
            (Role::Monitor | Role::Admin | Role::Replica | Role::Agent, _) => None,
        };
        let former_keys =
            raw.former_keys.iter().map(|text| key_field("former_keys", text)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            name,
            role,
            key: key_field("key", &raw.key)?,
            addresses: raw.addresses,
            source,
            former_keys,
            paired_s: raw.paired_s,
        })
    }

    /// The text of the peer's file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let known = |key: &PublicKey| (!key.is_zero()).then(|| hex(&key.0));
        let source = self.source.as_ref();
        let raw = Raw {
            role: self.role.word().to_owned(),
            key: hex(&self.key.0),
            addresses: self.addresses.clone(),
            source: source.map(|keys| hex(&keys.source.0)),
            signing_key: source.and_then(|keys| known(&keys.signing_key)),
            recovery_key: source.and_then(|keys| known(&keys.recovery_key)),
            certificate: source.filter(|keys| !keys.certificate.is_empty()).map(|keys| hex(&keys.certificate)),
            former_keys: self.former_keys.iter().map(|key| hex(&key.0)).collect(),
            paired_s: self.paired_s,
        };
        // Strings, lists of strings and a number below 2^63: there is nothing that TOML can't say.
        toml::to_string(&raw).unwrap_or_default()
    }
}

/// The directory of peer files.
#[derive(Clone, Debug)]
pub struct PeerDir {
    dir: PathBuf,
    peers_max: usize,
}

/// A pairing that may have stopped half-way: its file, the token and the key it would pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The temporary file's name.
    pub file: String,
    /// The peer's name.
    pub name: PeerName,
    /// The token's id, in hexadecimal digits.
    pub token: String,
    /// The key in the file; none when the file is torn.
    pub key: Option<PublicKey>,
}

/// What changes when a file changes.
pub type Fingerprint = Vec<(String, u64, i64, i64, u64)>;

impl PeerDir {
    /// The directory at `dir`.
    #[must_use]
    pub const fn new(dir: PathBuf) -> Self {
        Self { dir, peers_max: PEERS_MAX }
    }

    /// The same for a daemon that has so many peers at most.
    #[must_use]
    pub fn holding(self, peers_max: usize) -> Self {
        Self { peers_max, ..self }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Where a peer's file lies.
    #[must_use]
    pub fn file_of(&self, name: &PeerName) -> PathBuf {
        self.dir.join(format!("{name}{SUFFIX}"))
    }

    /// Where a peer's file lies while its pairing by `token` is not finished.
    #[must_use]
    pub fn unfinished_file_of(&self, name: &PeerName, token: &str) -> PathBuf {
        self.dir.join(format!(".{name}.{token}{UNFINISHED}"))
    }

    /// Reads all files; those that can't be used are reported beside the table.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn load(&self) -> Result<(PeerTable, Vec<PeerFileError>), FileError> {
        let mut table = PeerTable::default();
        let mut errors = Vec::new();
        for file in files::names(&self.dir)? {
            let Some(stem) = file.strip_suffix(SUFFIX).filter(|_| !file.starts_with('.')) else { continue };
            match self.read_one(stem, &file) {
                Ok(peer) => {
                    if let Err(error) = table.insert(peer, self.peers_max) {
                        errors.push(error);
                    }
                }
                Err(error) => errors.push(error),
            }
        }
        Ok((table, errors))
    }

    fn read_one(&self, stem: &str, file: &str) -> Result<Peer, PeerFileError> {
        let name = PeerName::new(stem).map_err(|error| PeerFileError::Name(stem.to_owned(), error))?;
        let bytes = files::read(&self.dir.join(file), FILE_BYTES_MAX)?;
        let content = |why: String| PeerFileError::Content { name: stem.to_owned(), why };
        let text = core::str::from_utf8(&bytes).map_err(|_| content("it is not UTF-8 text".to_owned()))?;
        Peer::from_text(name, text).map_err(content)
    }

    /// Something that differs whenever a file was added, removed or written.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn fingerprint(&self) -> Result<Fingerprint, FileError> {
        let mut prints = Vec::new();
        for file in files::names(&self.dir)? {
            if file.starts_with('.') {
                continue;
            }
            if let Ok(metadata) = std::fs::metadata(self.dir.join(&file)) {
                prints.push((file, metadata.len(), metadata.mtime(), metadata.mtime_nsec(), metadata.ino()));
            }
        }
        Ok(prints)
    }

    /// The temporary files of pairings.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>, FileError> {
        let mut found = Vec::new();
        for file in files::names(&self.dir)? {
            let stem = file.strip_prefix('.').and_then(|file| file.strip_suffix(UNFINISHED));
            let Some((name, token)) = stem.and_then(|stem| stem.rsplit_once('.')) else { continue };
            let Ok(name) = PeerName::new(name) else { continue };
            let token = token.to_owned();
            let text = files::read(&self.dir.join(&file), FILE_BYTES_MAX).ok().and_then(|b| String::from_utf8(b).ok());
            let key = text.and_then(|text| Peer::from_text(name.clone(), &text).ok()).map(|peer| peer.key);
            found.push(Unfinished { file, name, token, key });
        }
        Ok(found)
    }

    /// The steps after which the peer is registered, whatever its file held before.
    #[must_use]
    pub fn putting(&self, peer: &Peer) -> Vec<Step> {
        files::replacing(&self.dir, &format!("{}{SUFFIX}", peer.name), peer.to_text().into_bytes())
    }

    /// The steps after which the peer is gone.
    #[must_use]
    pub fn removing(&self, name: &PeerName) -> Vec<Step> {
        vec![Step::Remove { path: self.file_of(name) }, Step::SyncDir { path: self.dir.clone() }]
    }

    /// The steps after which the peer has another name.
    #[must_use]
    pub fn renaming(&self, from: &PeerName, to: &PeerName) -> Vec<Step> {
        vec![Step::Rename { from: self.file_of(from), to: self.file_of(to) }, Step::SyncDir { path: self.dir.clone() }]
    }
}

/// All peers, by name and by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerTable {
    by_name: BTreeMap<PeerName, Peer>,
    by_key: BTreeMap<PublicKey, PeerName>,
    former: BTreeMap<PublicKey, PeerName>,
}

impl PeerTable {
    fn insert(&mut self, peer: Peer, peers_max: usize) -> Result<(), PeerFileError> {
        if self.by_name.len() >= peers_max {
            return Err(PeerFileError::TooMany(peers_max));
        }
        if let Some(other) = self.by_key.get(&peer.key) {
            return Err(PeerFileError::SameKey { name: peer.name.to_string(), other: other.to_string() });
        }
        self.by_key.insert(peer.key, peer.name.clone());
        for key in peer.former_keys.iter().take(FORMER_KEYS_MAX) {
            self.former.insert(*key, peer.name.clone());
        }
        self.by_name.insert(peer.name.clone(), peer);
        Ok(())
    }

    /// The peer of a key.
    #[must_use]
    pub fn by_key(&self, key: &PublicKey) -> Option<&Peer> {
        self.by_key.get(key).and_then(|name| self.by_name.get(name))
    }

    /// The peer that once had this key, before its source was taken over.
    #[must_use]
    pub fn by_former_key(&self, key: &PublicKey) -> Option<&Peer> {
        if self.by_key.contains_key(key) {
            return None;
        }
        self.former.get(key).and_then(|name| self.by_name.get(name))
    }

    /// The peer of a name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Peer> {
        PeerName::new(name).ok().and_then(|name| self.by_name.get(&name))
    }

    /// The peer that sends a source.
    #[must_use]
    pub fn by_source(&self, source: &SourceId) -> Option<&Peer> {
        self.iter().find(|peer| peer.source.as_ref().is_some_and(|keys| keys.source == *source))
    }

    /// The peers by name.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.by_name.values()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_name.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, key: u8) -> Peer {
        Peer {
            name: PeerName::new(name).expect("name"),
            role: Role::Source,
            key: PublicKey([key; 32]),
            addresses: vec!["[2001:db8::1]:11713".to_owned()],
            source: Some(SourceKeys {
                source: SourceId([7; 16]),
                signing_key: PublicKey([8; 32]),
                recovery_key: PublicKey([9; 32]),
                certificate: vec![1, 2, 3],
            }),
            former_keys: vec![PublicKey([99; 32])],
            paired_s: 1_700_000_000,
        }
    }

    #[test]
    fn a_file_holds_the_whole_peer() {
        let web = peer("web1", 1);
        assert_eq!(Peer::from_text(web.name.clone(), &web.to_text()), Ok(web));
    }

    #[test]
    fn a_hand_written_file_is_short() {
        let text = format!("role = \"monitor\"\nkey = \"{}\"\n", "ab".repeat(32));
        let monitor = Peer::from_text(PeerName::new("mon").expect("name"), &text).expect("valid");
        assert_eq!((monitor.role, monitor.key), (Role::Monitor, PublicKey([0xab; 32])));
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let check = |text: &str, expected: &str| {
            let error = Peer::from_text(PeerName::new("x").expect("name"), text).expect_err(text);
            assert_eq!(error, expected);
        };
        let key = "ab".repeat(32);
        check("role = \"king\"\nkey = \"00\"", "`role` is \"king\"; write source, monitor, admin or replica");
        check(
            "role = \"admin\"\nkey = \"00\"",
            "`key` is no key; a key has 64 hexadecimal digits, as `adit id` prints it",
        );
        check(&format!("role = \"source\"\nkey = \"{key}\""), "a source's file needs `source` and `signing_key`");
        check(
            &format!("role = \"source\"\nkey = \"{key}\"\nsource = \"12\""),
            "`source` is no source id of 32 hexadecimal digits",
        );
    }

    #[test]
    fn one_bad_file_does_not_lock_out_the_others() {
        let dir = tempfile::tempdir().expect("directory");
        let peers = PeerDir::new(dir.path().to_owned());
        files::apply(&peers.putting(&peer("web1", 1))).expect("written");
        files::apply(&peers.putting(&peer("web2", 1))).expect("written");
        std::fs::write(dir.path().join("web3.toml"), "role = ").expect("written");
        std::fs::write(dir.path().join("..toml"), "").expect("written");
        let (table, errors) = peers.load().expect("listed");
        assert_eq!(table.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>(), ["web1"]);
        assert_eq!(errors.len(), 2);
        assert_eq!(errors[0].to_string(), "use the peer file web2: web1 has the same key");
    }

    #[test]
    fn names_are_names_of_files() {
        for good in ["web1", "a", "0.b_c-d", &"x".repeat(63)] {
            assert!(PeerName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".x", "-x", "a/b", "a b", "ä", "a\n", &"x".repeat(64)] {
            assert_eq!(PeerName::new(bad), Err(NameError), "{bad}");
        }
    }

    #[test]
    fn the_fingerprint_sees_every_change() {
        let dir = tempfile::tempdir().expect("directory");
        let peers = PeerDir::new(dir.path().to_owned());
        let empty = peers.fingerprint().expect("listed");
        files::apply(&peers.putting(&peer("web1", 1))).expect("written");
        let one = peers.fingerprint().expect("listed");
        let (from, to) = (PeerName::new("web1").expect("name"), PeerName::new("web2").expect("name"));
        files::apply(&peers.renaming(&from, &to)).expect("renamed");
        let renamed = peers.fingerprint().expect("listed");
        files::apply(&peers.removing(&to)).expect("removed");
        assert!(empty != one && one != renamed);
        assert_eq!(peers.fingerprint().expect("listed"), empty);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One-time tokens on disk: one file each, which names neither secret nor address.
//!
//! `tokens/ID.toml` is a token that can be redeemed; renaming it to `ID.burnt-KEY` spends it, and that rename is the commit
//! point of a pairing. `ID.tries` has one byte per attempt. Deadlines count boot time of one boot: a reboot ends tokens.
//! Because tokens are files, `aditd token` makes them while the agent runs.

use crate::clock::Now;
use crate::files::{self, FileError, Step};
use crate::peers::{PeerName, hex, unhex};
use adit_proto::token::{ADDRESSES_MAX, Address, Kind, Secret, Token};
use adit_wire::admin::TOKEN_LIFETIME_S_MAX;
use adit_wire::ids::{PublicKey, TokenId};
use adit_wire::pair::Role;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Attempts after which a token is locked.
pub const TRIES_MAX: u32 = 10;
/// Life of a token when none is stated.
pub const LIFETIME_DEFAULT: Duration = Duration::from_secs(15 * 60);
/// Longest life of a token.
pub const LIFETIME_MAX: Duration = Duration::from_secs(TOKEN_LIFETIME_S_MAX as u64);
/// Tokens that one command may make.
pub const COUNT_MAX: u32 = 256;
/// Longest token file, bytes.
const FILE_BYTES_MAX: u64 = 4 << 10;
const SUFFIX: &str = ".toml";
const BURNT: &str = ".burnt-";
const TRIES: &str = ".tries";

/// What the maker keeps of a token: never the secret, only what is derived from it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenFile {
    /// Names the token.
    pub id: TokenId,
    /// Derived from the secret and the maker's key; checks the redeemer's proof.
    pub mac_key: [u8; 32],
    /// What the redeemer becomes.
    pub role: Role,
    /// The name it is registered under.
    pub name: PeerName,
    /// The source of this name comes back with another key.
    pub rejoin: bool,
    /// The redeemer is registered under the name that it gives itself; `name` only tells tokens apart.
    pub own_name: bool,
    /// The boot in which the token lives.
    pub boot: String,
    /// When it ends, milliseconds of boot time.
    pub deadline_boot_ms: u64,
}

impl std::fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenFile")
            .field("id", &self.id)
            .field("role", &self.role)
            .field("name", &self.name)
            .field("rejoin", &self.rejoin)
            .finish_non_exhaustive()
    }
}

impl TokenFile {
    /// Whether the token's time is over.
    #[must_use]
    pub fn is_expired(&self, now: &Now) -> bool {
        self.boot != now.boot || now.boot_ms >= self.deadline_boot_ms
    }
}

/// Reads a lifetime: "90s", "15m", "2h" or "7d"; `None` for anything else, nothing, and more than [`LIFETIME_MAX`].
#[must_use]
pub fn parse_lifetime(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 24 * 3_600,
        _ => return None,
    };
    let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let lifetime = Duration::from_secs(count.checked_mul(seconds)?);
    (!lifetime.is_zero() && lifetime <= LIFETIME_MAX).then_some(lifetime)
}

/// A token that somebody wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Who makes it.
    pub kind: Kind,
    /// What the redeemer becomes.
    pub role: Role,
    /// The name it is registered under.
    pub name: PeerName,
    /// The source of this name comes back with another key.
    pub rejoin: bool,
    /// The redeemer is registered under the name that it gives itself.
    pub own_name: bool,
    /// How long it can be used.
    pub lifetime: Duration,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The file system refuses.
    #[error(transparent)]
    File(#[from] FileError),
    /// No secret.
    #[error("draw random bytes")]
    Random,
    /// No text for these addresses.
    #[error("write the token's text")]
    Text(#[source] adit_proto::token::TokenError),
}

/// What is known of a token's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It may be redeemed, if its time isn't over.
    Unburnt(TokenFile),
    /// It was redeemed by this key.
    Burnt {
        /// What the file said.
        token: TokenFile,
        /// Who redeemed it.
        by: PublicKey,
    },
    /// It was never made here, or is long gone.
    Unknown,
}

/// Why a token's file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file system refuses.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is torn or was edited.
    #[error("use the token file {0}: {1}")]
    Content(PathBuf, String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    role: String,
    name: String,
    #[serde(default)]
    rejoin: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    own_name: bool,
    mac_key: String,
    boot: String,
    deadline_boot_ms: u64,
}

/// The directory of tokens.
#[derive(Clone, Debug)]
pub struct TokenDir {
    dir: PathBuf,
}

impl TokenDir {
    /// The directory at `dir`.
    #[must_use]
    pub const fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    fn file_of(&self, id: &TokenId) -> PathBuf {
        self.dir.join(format!("{id}{SUFFIX}"))
    }

    /// Makes one token and answers its text, with the secret in it: its file is durable before the text is known to anybody.
    ///
    /// # Errors
    /// When there is no randomness, no text for these addresses, or the file can't be written.
    pub fn make(&self, maker: PublicKey, wanted: &Wanted, own: &[Address], now: &Now) -> Result<String, MakeError> {
        let mut secret = [0u8; Secret::BYTES];
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| MakeError::Random)?;
        let addresses = own.iter().take(ADDRESSES_MAX).cloned().collect();
        let token = Token { kind: wanted.kind, maker, secret: Secret::new(secret), addresses };
        let text = token.to_text().map_err(MakeError::Text)?;
        let lifetime_ms = u64::try_from(wanted.lifetime.as_millis()).unwrap_or(u64::MAX);
        let file = TokenFile {
            id: token.id(),
            mac_key: token.mac_key(),
            role: wanted.role,
            name: wanted.name.clone(),
            rejoin: wanted.rejoin,
            own_name: wanted.own_name,
            boot: now.boot.clone(),
            deadline_boot_ms: now.boot_ms.saturating_add(lifetime_ms),
        };
        files::apply(&self.making(&file))?;
        Ok(text)
    }

    /// The steps after which the token can be redeemed.
    #[must_use]
    pub fn making(&self, token: &TokenFile) -> Vec<Step> {
        let raw = Raw {
            role: token.role.word().to_owned(),
            name: token.name.to_string(),
            rejoin: token.rejoin,
            own_name: token.own_name,
            mac_key: hex(&token.mac_key),
            boot: token.boot.clone(),
            deadline_boot_ms: token.deadline_boot_ms,
        };
        let text = toml::to_string(&raw).unwrap_or_default();
        files::replacing(&self.dir, &format!("{}{SUFFIX}", token.id), text.into_bytes())
    }

    /// The steps after which the token is spent by `key`: the commit point of a pairing.
    #[must_use]
    pub fn burning(&self, id: &TokenId, key: &PublicKey) -> Vec<Step> {
        vec![
            Step::Rename { from: self.file_of(id), to: self.dir.join(format!("{id}{BURNT}{key}")) },
            Step::SyncDir { path: self.dir.clone() },
        ]
    }

    /// Whether `key` has spent the token of these hexadecimal digits.
    #[must_use]
    pub fn was_burnt_by(&self, token: &str, key: &PublicKey) -> bool {
        self.dir.join(format!("{token}{BURNT}{key}")).exists()
    }

    /// Looks a token up.
    ///
    /// # Errors
    /// When the directory or file can't be read.
    pub fn find(&self, id: &TokenId) -> Result<Known, TokenError> {
        match read_file(&self.file_of(id), *id) {
            Ok(token) => return Ok(Known::Unburnt(token)),
            Err(TokenError::File(error)) if error.is_absent() => {}
            Err(error) => return Err(error),
        }
        let prefix = format!("{id}{BURNT}");
        for file in files::names(&self.dir)? {
            let by = file.strip_prefix(&prefix).and_then(unhex).and_then(|bytes| PublicKey::from_slice(&bytes));
            if let Some(by) = by {
                return Ok(Known::Burnt { token: read_file(&self.dir.join(&file), *id)?, by });
            }
        }
        Ok(Known::Unknown)
    }

    /// Counts an attempt, on stable storage before the proof is looked at; answers how many there were before.
    ///
    /// # Errors
    /// When it can't be counted; then the attempt is refused.
    pub fn count_try(&self, id: &TokenId) -> Result<u32, FileError> {
        let path = self.dir.join(format!("{id}{TRIES}"));
        let before = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let mut options = std::fs::OpenOptions::new();
        options.append(true).create(true).mode(files::FILE_MODE);
        let mut file = options.open(&path).map_err(FileError::at("open", &path))?;
        file.write_all(b".").map_err(FileError::at("write", &path))?;
        file.sync_all().map_err(FileError::at("sync", &path))?;
        Ok(u32::try_from(before).unwrap_or(u32::MAX))
    }

    /// Whether any token can be redeemed: while there is none, the door for strangers is shut.
    #[must_use]
    pub fn any_live(&self, now: &Now) -> bool {
        self.live(now).is_ok_and(|live| !live.is_empty())
    }

    /// The tokens that can be redeemed now.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn live(&self, now: &Now) -> Result<Vec<TokenFile>, FileError> {
        let mut live = Vec::new();
        for file in files::names(&self.dir)? {
            let Some(id) = file.strip_suffix(SUFFIX).and_then(token_id) else { continue };
            if let Ok(token) = read_file(&self.dir.join(&file), id)
                && !token.is_expired(now)
            {
                live.push(token);
            }
        }
        Ok(live)
    }

    /// Removes tokens whose time is over and what was counted for them; spent ones stay for 30 days, so that a late second
    /// use is told apart from a wrong token.
    ///
    /// # Errors
    /// When the directory can't be read or a file not removed.
    pub fn tidy(&self, now: &Now) -> Result<(), FileError> {
        const BURNT_KEPT_S: u64 = 30 * 24 * 3_600;
        let mut gone = Vec::new();
        for file in files::names(&self.dir)? {
            let path = self.dir.join(&file);
            if let Some(id) = file.strip_suffix(SUFFIX).and_then(token_id) {
                // Only a day after its end: until then the redeemer is told "expired", not "unknown".
                let over =
                    read_file(&path, id).is_ok_and(|token| token.is_expired(now)) && age_s(&path, now) > 24 * 3_600;
                if over {
                    gone.push(self.dir.join(format!("{id}{TRIES}")));
                    gone.push(path);
                }
            } else if let Some((id, _)) = file.split_once(BURNT)
                && age_s(&path, now) > BURNT_KEPT_S
            {
                gone.push(self.dir.join(format!("{id}{TRIES}")));
                gone.push(path);
            }
        }
        gone.into_iter().try_for_each(|path| Step::Remove { path }.apply())
    }
}

fn age_s(path: &Path, now: &Now) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let changed_s = std::fs::metadata(path).map_or(0, |metadata| metadata.ctime());
    now.wall_s.saturating_sub(u64::try_from(changed_s).unwrap_or(0))
}

fn token_id(text: &str) -> Option<TokenId> {
    unhex(text).and_then(|bytes| TokenId::from_slice(&bytes))
}

fn read_file(path: &Path, id: TokenId) -> Result<TokenFile, TokenError> {
    let bytes = files::read(path, FILE_BYTES_MAX)?;
    let wrong = |why: &str| TokenError::Content(path.to_owned(), why.to_owned());
    let text = core::str::from_utf8(&bytes).map_err(|_| wrong("it is not UTF-8 text"))?;
    let raw: Raw = toml::from_str(text).map_err(|error| wrong(error.message()))?;
    Ok(TokenFile {
        id,
        mac_key: unhex(&raw.mac_key).and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| wrong("its key is torn"))?,
        role: Role::from_word(&raw.role).ok_or_else(|| wrong("its role is unknown"))?,
        name: PeerName::new(&raw.name).map_err(|error| wrong(&error.to_string()))?,
        rejoin: raw.rejoin,
        own_name: raw.own_name,
        boot: raw.boot,
        deadline_boot_ms: raw.deadline_boot_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(boot_ms: u64) -> Now {
        Now { boot: "boot-1".to_owned(), boot_ms, wall_s: 1_700_000_000 }
    }

    fn token(id: u8) -> TokenFile {
        TokenFile {
            id: TokenId([id; 8]),
            mac_key: [id; 32],
            role: Role::Source,
            name: PeerName::new("web1").expect("name"),
            rejoin: false,
            own_name: false,
            boot: "boot-1".to_owned(),
            deadline_boot_ms: 1_000,
        }
    }

    fn dir_with(id: u8) -> (tempfile::TempDir, TokenDir) {
        let dir = tempfile::tempdir().expect("directory");
        let tokens = TokenDir::new(dir.path().to_owned());
        files::apply(&tokens.making(&token(id))).expect("made");
        (dir, tokens)
    }

    #[test]
    fn a_token_lives_until_its_deadline_or_the_next_boot() {
        let (_dir, tokens) = dir_with(1);
        assert!(tokens.any_live(&now(999)));
        assert!(!tokens.any_live(&now(1_000)));
        let rebooted = Now { boot: "boot-2".to_owned(), ..now(1) };
        assert!(!tokens.any_live(&rebooted));
    }

    #[test]
    fn the_file_fits_the_text_and_holds_no_secret() {
        let dir = tempfile::tempdir().expect("directory");
        let tokens = TokenDir::new(dir.path().to_owned());
        let own = [Address::Name("box.example.org".to_owned(), 7)];
        let name = PeerName::new("web1").expect("name");
        let wanted = Wanted {
            kind: Kind::Agent,
            role: Role::Source,
            name,
            rejoin: false,
            own_name: false,
            lifetime: Duration::from_secs(60),
        };
        let text = tokens.make(PublicKey([5; 32]), &wanted, &own, &now(5)).expect("made");
        let token = Token::parse(&text).expect("a token");
        assert_eq!((token.maker, token.addresses.as_slice()), (PublicKey([5; 32]), &own[..]));
        let Known::Unburnt(file) = tokens.find(&token.id()).expect("read") else { panic!("not found") };
        assert_eq!((file.mac_key, file.deadline_boot_ms, file.role), (token.mac_key(), 60_005, Role::Source));
        let on_disk = std::fs::read_to_string(tokens.file_of(&token.id())).expect("read");
        assert!(!on_disk.contains(&text) && !on_disk.contains("adit1"));
    }

    #[test]
    fn a_spent_token_is_known_but_not_live() {
        let (_dir, tokens) = dir_with(1);
        let key = PublicKey([5; 32]);
        files::apply(&tokens.burning(&TokenId([1; 8]), &key)).expect("burnt");
        assert_eq!(tokens.find(&TokenId([1; 8])).expect("read"), Known::Burnt { token: token(1), by: key });
        assert!(!tokens.any_live(&now(1)));
        assert!(tokens.was_burnt_by(&TokenId([1; 8]).to_string(), &key));
        assert!(!tokens.was_burnt_by(&TokenId([1; 8]).to_string(), &PublicKey([6; 32])));
    }

    #[test]
    fn a_second_rename_of_a_spent_token_fails() {
        let (_dir, tokens) = dir_with(1);
        files::apply(&tokens.burning(&TokenId([1; 8]), &PublicKey([5; 32]))).expect("burnt");
        let error = files::apply(&tokens.burning(&TokenId([1; 8]), &PublicKey([6; 32]))).expect_err("burnt twice");
        assert!(error.is_absent());
    }

    #[test]
    fn attempts_are_counted_across_restarts() {
        let (_dir, tokens) = dir_with(1);
        for before in 0..12 {
            assert_eq!(tokens.clone().count_try(&TokenId([1; 8])).expect("counted"), before);
        }
    }

    #[test]
    fn an_unknown_token_is_unknown() {
        let (_dir, tokens) = dir_with(1);
        assert_eq!(tokens.find(&TokenId([2; 8])).expect("read"), Known::Unknown);
    }

    #[test]
    fn the_file_does_not_tell_the_secret() {
        let (_dir, tokens) = dir_with(1);
        let shown = format!("{:?}", tokens.find(&TokenId([1; 8])).expect("read"));
        assert!(!shown.contains("mac_key"), "{shown}");
    }

    #[test]
    fn tidying_keeps_what_is_young() {
        let (dir, tokens) = dir_with(1);
        let wall_s = Now::read().wall_s;
        tokens.tidy(&Now { wall_s, ..now(5_000) }).expect("tidied");
        assert_eq!(files::names(dir.path()).expect("listed").len(), 1);
        tokens.tidy(&Now { wall_s: wall_s + 2 * 24 * 3_600, ..now(5_000) }).expect("tidied");
        assert_eq!(files::names(dir.path()).expect("listed").len(), 0);
    }
}

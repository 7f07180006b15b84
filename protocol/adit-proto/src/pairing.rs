// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Pairing: one message each way over `adit-pair/1`, both under a MAC that binds the token, both TLS keys and this one
//! connection.
//!
//! Owns the transcript and the order of the maker's checks. The order of what becomes durable when is the caller's, and
//! fixed: the redeemer syncs its keys and a *pending* file before it dials; the maker syncs a temporary peer file, renames
//! the token file to burnt (the commit point), renames the peer file, and only then replies. It never counts tries or
//! burns a token itself.

use crate::encode;
use crate::token::{Address, Kind, Token};
use crate::{Hmac, Verify};
use adit_wire::frame::{Message, MessageError};
use adit_wire::ids::{ChannelBinding, Id, Mac, PublicKey, SourceId, StoreId, TokenId};
use adit_wire::list::Parts;
use adit_wire::pair::{NAME_BYTES_MAX, PAIR_BODY_BYTES_MAX, PAIRED_ADDRESSES_MAX, Pair, Paired, Role};
use adit_wire::refusal::Code;
use adit_wire::signed::{Certificate, PREFIX_CERTIFICATE};
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

/// Proofs that may fail before a token is locked. Only holders of a token know its id, so a stranger can't lock it.
pub const TRIES_MAX: u8 = 10;

const LABEL_REDEEM: &[u8] = b"adit pair v1 redeem\0";
const LABEL_MADE: &[u8] = b"adit pair v1 made\0";

/// The connection that both MACs are bound to. The exporter stops at the server's Finished, so both keys stand beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// 32 bytes of TLS exporter.
    pub binding: ChannelBinding,
    /// The maker's TLS key.
    pub maker: PublicKey,
    /// The redeemer's TLS key.
    pub redeemer: PublicKey,
}

/// What a redeemer keeps of a token while a pairing is pending.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Spend {
    /// The token's name.
    pub token: TokenId,
    /// Who made it.
    pub kind: Kind,
    /// The key of its MACs.
    pub mac_key: [u8; 32],
}

impl Spend {
    /// What is needed of a token.
    #[must_use]
    pub fn of(token: &Token) -> Self {
        Self { token: token.id(), kind: token.kind, mac_key: token.mac_key() }
    }
}

impl core::fmt::Debug for Spend {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Spend").field("token", &self.token).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What a redeemer says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Agent-made token: the role it wants. Monitor-made token: the role it grants, `monitor` unless a person typed more.
    pub role: Role,
    /// Its own name.
    pub name: &'a str,
    /// A source's id; zero for others.
    pub source: SourceId,
    /// A source's signing key; zero for others.
    pub signing_key: PublicKey,
    /// The recovery signing key that certifies the source; zero when none is known.
    pub recovery_key: PublicKey,
    /// The source's certificate with its signature, or nothing.
    pub certificate: &'a [u8],
}

/// What the redeemer expects of the answer.
#[derive(Clone, PartialEq, Eq)]
pub struct Expect {
    spend: Spend,
    channel: Channel,
    role: Role,
    mac: Mac,
}

impl core::fmt::Debug for Expect {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Expect").field("spend", &self.spend).field("role", &self.role).finish_non_exhaustive()
    }
}

/// The PAIR body, and what its answer is checked against.
///
/// # Errors
/// When the request breaks a rule of the message.
pub fn redeem(
    spend: &Spend,
    channel: &Channel,
    request: &Request<'_>,
    hmac: &Hmac<'_>,
) -> Result<(Vec<u8>, Expect), PairingError> {
    let pair = Pair {
        token: spend.token,
        role: request.role,
        name: request.name,
        source: request.source,
        signing_key: request.signing_key,
        recovery_key: request.recovery_key,
        certificate: request.certificate,
        mac: Mac::ZERO,
    };
    if !request_fits(spend.kind, &pair) {
        return Err(PairingError::Request);
    }
    let mut body = encode::body(&pair)?;
    if body.len() > PAIR_BODY_BYTES_MAX {
        return Err(PairingError::Request);
    }
    let mac = write_mac(&mut body, |before| redeem_mac(&spend.mac_key, channel, before, hmac));
    Ok((body, Expect { spend: *spend, channel: *channel, role: request.role, mac }))
}

/// What the maker's answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The role of the request, granted.
    pub role: Role,
    /// The maker's own name.
    pub name: String,
    /// Where the maker is reached; addresses that nobody could dial are left out.
    pub addresses: Vec<Address>,
    /// The store; zero when there is none.
    pub store: StoreId,
    /// Sequence number of the source's newest snapshot; 0 when there is none.
    pub newest_seq: u64,
    /// Its head.
    pub newest_head: Id,
}

impl Expect {
    /// Checks a PAIRED body.
    ///
    /// # Errors
    /// When it is malformed, its MAC is wrong or it grants another role.
    pub fn check(&self, body: &[u8], hmac: &Hmac<'_>) -> Result<Made, PairingError> {
        if body.len() > PAIR_BODY_BYTES_MAX {
            return Err(PairingError::TooLong(body.len()));
        }
        let (before, _) = body.split_last_chunk::<{ Mac::BYTES }>().ok_or(PairingError::TooLong(body.len()))?;
        let paired = Paired::decode(body)?;
        if !same(&made_mac(&self.spend.mac_key, &self.channel, &self.mac, before, hmac), &paired.mac) {
            return Err(PairingError::Mac);
        }
        if paired.role != self.role {
            return Err(PairingError::OtherRole(paired.role));
        }
        let mut addresses = Vec::new();
        for address in paired.addresses.iter().take(PAIRED_ADDRESSES_MAX) {
            let address = address.map_err(|_| PairingError::Message(MessageError::Malformed(Paired::KIND)))?;
            addresses.extend(Address::from_wire(address));
        }
        Ok(Made {
            role: paired.role,
            name: paired.name.to_owned(),
            addresses,
            store: paired.store,
            newest_seq: paired.newest_seq,
            newest_head: paired.newest_head,
        })
    }
}

/// A PAIR that was read, not yet believed.
#[derive(Clone, Copy, Debug)]
pub struct PairInput<'a> {
    /// The message.
    pub pair: Pair<'a>,
    before_mac: &'a [u8],
}

impl<'a> PairInput<'a> {
    /// Reads a PAIR body: the first check, its size, included.
    ///
    /// # Errors
    /// [`Code::Protocol`] when it is too long or malformed.
    pub fn read(body: &'a [u8]) -> Result<Self, Code> {
        if body.len() > PAIR_BODY_BYTES_MAX {
            return Err(Code::Protocol);
        }
        let pair = Pair::decode(body).map_err(|_| Code::Protocol)?;
        let (before_mac, _) = body.split_last_chunk::<{ Mac::BYTES }>().ok_or(Code::Protocol)?;
        Ok(Self { pair, before_mac })
    }

    /// Which token it wants to spend. When the maker knows none of that name, it answers [`Code::TokenUnknown`].
    #[must_use]
    pub const fn token(&self) -> TokenId {
        self.pair.token
    }
}

/// A token as its maker's file says. The caller raises the stored count of tries, durably, *before* it asks
/// [`Maker::judge`]; `tries` is the count before that.
#[derive(Clone)]
pub struct TokenState<'a> {
    /// Who made it: this machine, as agent or as monitor.
    pub kind: Kind,
    /// The key of its MACs.
    pub mac_key: [u8; 32],
    /// Agent-made: the role it gives. Monitor-made: not looked at.
    pub role: Role,
    /// Proofs that were tried before this one.
    pub tries: u8,
    /// Whether it was spent.
    pub burnt: bool,
    /// Whether this boot made it and its deadline has not passed.
    pub live: bool,
    /// The name of the source that may come back with it.
    pub rejoin: Option<&'a str>,
}

impl core::fmt::Debug for TokenState<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TokenState").field("kind", &self.kind).field("role", &self.role).finish_non_exhaustive()
    }
}

/// What the maker knows of peers and sources.
pub trait Registry {
    /// Whether a peer has this name.
    fn has_name(&self, name: &str) -> bool;
    /// The name under which a source is registered.
    fn source_name(&self, source: &SourceId) -> Option<String>;
    /// The name of the peer whose key this is.
    fn key_name(&self, key: &PublicKey) -> Option<String>;
}

/// The maker's side of one pairing.
#[derive(Clone, Copy)]
pub struct Maker<'f> {
    /// The connection.
    pub channel: Channel,
    /// HMAC-SHA-256.
    pub hmac: &'f Hmac<'f>,
    /// Ed25519.
    pub verify: &'f Verify<'f>,
}

impl core::fmt::Debug for Maker<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Maker").field("channel", &self.channel).finish_non_exhaustive()
    }
}

/// What the maker makes durable before it replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    /// The token to burn.
    pub token: TokenId,
    /// The redeemer's key, to be pinned.
    pub key: PublicKey,
    /// The redeemer's name.
    pub name: String,
    /// The role under which the maker registers the redeemer.
    pub role: Role,
    /// What the redeemer grants the maker: set for monitor-made tokens.
    pub granted: Option<Role>,
    /// Whether a known source comes back: its peer file is replaced, its history stays.
    pub rejoins: bool,
    /// A source's id; zero for others.
    pub source: SourceId,
    /// A source's signing key; zero for others.
    pub signing_key: PublicKey,
    /// The recovery signing key; zero when none is known.
    pub recovery_key: PublicKey,
    /// The verified certificate with its signature, or nothing.
    pub certificate: Vec<u8>,
    asked: Role,
    mac: Mac,
}

/// What the maker answers beside the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The maker's own name.
    pub name: &'a str,
    /// Where it is reached; the first four are sent.
    pub addresses: &'a [Address],
    /// The store; zero when there is none.
    pub store: StoreId,
    /// Sequence number of the source's newest snapshot; 0 when there is none.
    pub newest_seq: u64,
    /// Its head.
    pub newest_head: Id,
}

impl Maker<'_> {
    /// Judges a PAIR, in this order: tries, MAC, burnt, boot and deadline, role, name, source, key, certificate. A code
    /// behind the MAC is told only to a holder of the token.
    ///
    /// # Errors
    /// The code of the first check that fails.
    pub fn judge(
        &self,
        input: &PairInput<'_>,
        token: &TokenState<'_>,
        registry: &dyn Registry,
    ) -> Result<Accept, Code> {
        let pair = &input.pair;
        if token.tries >= TRIES_MAX {
            return Err(Code::TokenLocked);
        }
        if !same(&redeem_mac(&token.mac_key, &self.channel, input.before_mac, self.hmac), &pair.mac) {
            return Err(Code::TokenUnknown);
        }
        if token.burnt {
            return Err(Code::TokenBurnt);
        }
        if !token.live {
            return Err(Code::TokenExpired);
        }
        let (role, granted) = match token.kind {
            Kind::Agent if pair.role == token.role => (pair.role, None),
            Kind::Monitor if matches!(pair.role, Role::Monitor | Role::Admin) => (Role::Agent, Some(pair.role)),
            Kind::Agent | Kind::Monitor => return Err(Code::TokenRole),
        };
        if !request_fits(token.kind, pair) {
            return Err(Code::Protocol);
        }
        self.judge_identity(pair, token.rejoin, registry)?;
        self.judge_certificate(pair)?;
        Ok(Accept {
            token: pair.token,
            key: self.channel.redeemer,
            name: pair.name.to_owned(),
            role,
            granted,
            rejoins: token.rejoin.is_some(),
            source: pair.source,
            signing_key: pair.signing_key,
            recovery_key: pair.recovery_key,
            certificate: pair.certificate.to_owned(),
            asked: pair.role,
            mac: pair.mac,
        })
    }

    /// Name free, source unknown, key not pinned: or all three belong to the source that may come back.
    fn judge_identity(&self, pair: &Pair<'_>, rejoin: Option<&str>, registry: &dyn Registry) -> Result<(), Code> {
        let comes_back = |name: &str| rejoin == Some(name);
        if registry.has_name(pair.name) && !comes_back(pair.name) {
            return Err(Code::NameTaken);
        }
        if !pair.source.is_zero() {
            let known = registry.source_name(&pair.source);
            let fits = match (&known, rejoin) {
                (Some(name), _) => comes_back(name) && pair.name == name.as_str(),
                // A token for one source's return makes no other source.
                (None, Some(_)) => false,
                (None, None) => true,
            };
            if !fits {
                return Err(Code::SourceKnown);
            }
        }
        match registry.key_name(&self.channel.redeemer) {
            Some(name) if !comes_back(&name) => Err(Code::KeyKnown),
            Some(_) | None => Ok(()),
        }
    }

    fn judge_certificate(&self, pair: &Pair<'_>) -> Result<(), Code> {
        if pair.certificate.is_empty() {
            return Ok(());
        }
        let (certificate, body, signature) = Certificate::read(pair.certificate).map_err(|_| Code::Protocol)?;
        let fits = certificate.source == pair.source && certificate.signing_key == pair.signing_key;
        if fits && (self.verify)(&pair.recovery_key, PREFIX_CERTIFICATE, body, &signature) {
            Ok(())
        } else {
            Err(Code::Signature)
        }
    }

    /// The PAIRED body: sent after the peer is registered and the token burnt, both durably.
    ///
    /// # Errors
    /// When the answer breaks a rule of the message.
    pub fn reply(&self, accept: &Accept, mac_key: &[u8; 32], answer: &Answer<'_>) -> Result<Vec<u8>, PairingError> {
        let mut addresses = Vec::new();
        for address in answer.addresses.iter().take(PAIRED_ADDRESSES_MAX) {
            let _fits = encode::push_part(&mut addresses, &address.as_wire(), 512);
        }
        let paired = Paired {
            role: accept.asked,
            name: answer.name,
            addresses: Parts::new(&addresses),
            store: answer.store,
            newest_seq: answer.newest_seq,
            newest_head: answer.newest_head,
            mac: Mac::ZERO,
        };
        let mut body = encode::body(&paired)?;
        write_mac(&mut body, |before| made_mac(mac_key, &self.channel, &accept.mac, before, self.hmac));
        Ok(body)
    }
}

/// Whether a text can be a peer's name: 1 to 63 bytes that also make a file name and a word in a log line.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let sound = |c: char| !c.is_control() && !c.is_whitespace() && c != '/';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.') && name.chars().all(sound)
}

/// Whether the fields of a PAIR fit each other: a source has an id and a signing key, nobody else has.
fn request_fits(kind: Kind, pair: &Pair<'_>) -> bool {
    let is_source = kind == Kind::Agent && pair.role == Role::Source;
    let sourced = if is_source {
        !pair.source.is_zero() && !pair.signing_key.is_zero()
    } else {
        pair.source.is_zero() && pair.signing_key.is_zero() && pair.recovery_key.is_zero()
    };
    let certified = pair.certificate.is_empty() || (is_source && !pair.recovery_key.is_zero());
    let named = is_name(pair.name);
    let granted = kind == Kind::Agent || matches!(pair.role, Role::Monitor | Role::Admin);
    sourced && certified && named && granted && pair.role != Role::Agent
}

fn redeem_mac(key: &[u8; 32], channel: &Channel, before: &[u8], hmac: &Hmac<'_>) -> Mac {
    let hash = blake3::hash(before);
    hmac(key, &[LABEL_REDEEM, &channel.binding.0, &channel.maker.0, &channel.redeemer.0, hash.as_bytes()])
}

fn made_mac(key: &[u8; 32], channel: &Channel, asked: &Mac, before: &[u8], hmac: &Hmac<'_>) -> Mac {
    let hash = blake3::hash(before);
    hmac(key, &[LABEL_MADE, &channel.binding.0, &asked.0, hash.as_bytes()])
}

/// Both messages end with their MAC, which covers all bytes before it.
fn write_mac(body: &mut [u8], mac: impl FnOnce(&[u8]) -> Mac) -> Mac {
    let Some((before, end)) = body.split_last_chunk_mut::<{ Mac::BYTES }>() else {
        return Mac::ZERO;
    };
    let mac = mac(before);
    *end = mac.0;
    mac
}

/// Compares in constant time, as BLAKE3's hash type does.
fn same(left: &Mac, right: &Mac) -> bool {
    blake3::Hash::from_bytes(left.0) == blake3::Hash::from_bytes(right.0)
}

/// Why a pairing did not come about, as the redeemer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairingError {
    /// What the caller asks for contradicts itself (a source without an id, a nameless peer, a role nobody grants).
    #[error("pairing request contradicts itself")]
    Request,
    /// The body is no such message.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// Longer than any answer, or shorter than its MAC.
    #[error("pairing answer has {0} bytes")]
    TooLong(usize),
    /// The other side does not know the token's secret.
    #[error("pairing answer has a wrong proof: somebody else answered")]
    Mac,
    /// Another role than asked for.
    #[error("pairing answer grants {0:?}, which nobody asked for")]
    OtherRole(Role),
}

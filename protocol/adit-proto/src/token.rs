// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A token: one line of text that lets one machine pair with another, once. It names the maker's key, where the maker is
//! reached, and a one-time secret.
//!
//! Owns the token's bytes and text (Bech32m, which finds typing errors) and what is derived from the secret. It never
//! decides whether a token is valid: the maker's own file says that ([`crate::pairing`]).

use adit_wire::ids::{PublicKey, TokenId};
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use core::fmt;
use core::net::Ipv6Addr;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The text before the separator.
pub const HRP: &str = "adit";
/// Version in the upper half of the first byte.
pub const VERSION: u8 = 1;
/// Addresses of one token.
pub const ADDRESSES_MAX: usize = 3;
/// Longest DNS name of an address, bytes.
pub const NAME_BYTES_MAX: usize = 63;

const LABEL_ID: &str = "adit 2026 token id v1";
const LABEL_MAC: &str = "adit 2026 token mac v1";
const TAG_IP: u8 = 1;
const TAG_NAME: u8 = 2;

/// Who made a token. It decides which side gets which role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Kind {
    /// Made by an agent: the redeemer gets the role stored with the token.
    Agent = 1,
    /// Made by a monitor: the redeemer grants the maker `monitor` and is registered as an agent.
    Monitor = 2,
}

impl Kind {
    const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            1 => Some(Self::Agent),
            2 => Some(Self::Monitor),
            _ => None,
        }
    }
}

/// The 16 random bytes that only the holders of a token know. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 16]);

impl Secret {
    /// Bytes of a secret.
    pub const BYTES: usize = 16;

    /// A secret of random bytes.
    #[must_use]
    pub const fn new(random: [u8; 16]) -> Self {
        Self(random)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// One way to reach a peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IPv6 address and a TCP port.
    Ip(Ipv6Addr, u16),
    /// A DNS name and a TCP port.
    Name(String, u16),
}

impl Address {
    /// The address of a message part; `None` when it can't be one.
    #[must_use]
    pub fn from_wire(address: adit_wire::pair::Address<'_>) -> Option<Self> {
        let owned = match address {
            adit_wire::pair::Address::Ip(octets, port) => Self::Ip(Ipv6Addr::from(octets), port),
            adit_wire::pair::Address::Name(name, port) => Self::Name(name.to_owned(), port),
        };
        owned.is_usable().then_some(owned)
    }

    /// The address as a message part.
    #[must_use]
    pub fn as_wire(&self) -> adit_wire::pair::Address<'_> {
        match self {
            Self::Ip(ip, port) => adit_wire::pair::Address::Ip(ip.octets(), *port),
            Self::Name(name, port) => adit_wire::pair::Address::Name(name, *port),
        }
    }

    /// Whether one could dial it: a port, and an IPv6 unicast address or a name that DNS can hold.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        match self {
            Self::Ip(ip, port) => {
                let refused = ip.is_unspecified() || ip.is_multicast() || ip.to_ipv4_mapped().is_some();
                *port != 0 && !refused
            }
            Self::Name(name, port) => *port != 0 && is_dns_name(name),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip, port) => write!(f, "[{ip}]:{port}"),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// Letters, digits, hyphens and underscores in labels of 1 to 63; not all digits and dots, which would be IPv4.
fn is_dns_name(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let labels = name.strip_suffix('.').unwrap_or(name).split('.').all(|label| !label.is_empty());
    let numeric = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    plain && labels && !numeric && name.len() <= NAME_BYTES_MAX
}

/// A pairing token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Who made it.
    pub kind: Kind,
    /// The maker's TLS key: the redeemer talks to nobody else.
    pub maker: PublicKey,
    /// The one-time secret.
    pub secret: Secret,
    /// Where the maker is reached; one to three.
    pub addresses: Vec<Address>,
}

impl Token {
    /// Reads a token from text. White space anywhere is skipped, since terminals and mails break long lines; upper case is
    /// fine, since QR codes prefer it.
    ///
    /// # Errors
    /// Why the text is no token.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let mut compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let prefix = compact.get(..HRP.len().saturating_add(1)).unwrap_or_default();
        if !prefix.eq_ignore_ascii_case("adit1") {
            compact.zeroize();
            return Err(TokenError::Prefix);
        }
        let checked = CheckedHrpstring::new::<Bech32m>(&compact);
        let parsed = match checked {
            Ok(checked) => {
                let mut bytes: Vec<u8> = checked.byte_iter().collect();
                let parsed = Self::from_bytes(&bytes);
                bytes.zeroize();
                parsed
            }
            Err(_) => Err(TokenError::Checksum),
        };
        compact.zeroize();
        parsed
    }

    /// The token's text, lower case.
    ///
    /// # Errors
    /// When the addresses are none, too many or unusable.
    pub fn to_text(&self) -> Result<String, TokenError> {
        let mut bytes = self.to_bytes()?;
        let text = bech32::encode::<Bech32m>(Hrp::parse_unchecked(HRP), &bytes).map_err(|_| TokenError::Length);
        bytes.zeroize();
        text
    }

    /// Names the token without telling its secret.
    #[must_use]
    pub fn id(&self) -> TokenId {
        let derived = blake3::derive_key(LABEL_ID, &self.secret.0);
        let mut id = TokenId::ZERO;
        for (to, from) in id.0.iter_mut().zip(derived) {
            *to = from;
        }
        id
    }

    /// The key of the pairing's MACs. Makers store this, not the secret.
    #[must_use]
    pub fn mac_key(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(LABEL_MAC);
        hasher.update(&self.secret.0);
        hasher.update(&self.maker.0);
        *hasher.finalize().as_bytes()
    }

    fn to_bytes(&self) -> Result<Vec<u8>, TokenError> {
        let count = u8::try_from(self.addresses.len()).map_err(|_| TokenError::Addresses)?;
        if count == 0 || usize::from(count) > ADDRESSES_MAX {
            return Err(TokenError::Addresses);
        }
        let mut bytes = Vec::with_capacity(256);
        bytes.push(VERSION << 4 | self.kind as u8);
        bytes.extend_from_slice(&self.maker.0);
        bytes.extend_from_slice(&self.secret.0);
        bytes.push(count);
        for address in &self.addresses {
            if !address.is_usable() {
                return Err(TokenError::Address);
            }
            match address {
                Address::Ip(ip, port) => {
                    bytes.push(TAG_IP);
                    bytes.extend_from_slice(&ip.octets());
                    bytes.extend_from_slice(&port.to_le_bytes());
                }
                Address::Name(name, port) => {
                    bytes.push(TAG_NAME);
                    bytes.push(u8::try_from(name.len()).map_err(|_| TokenError::Address)?);
                    bytes.extend_from_slice(name.as_bytes());
                    bytes.extend_from_slice(&port.to_le_bytes());
                }
            }
        }
        Ok(bytes)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, TokenError> {
        let mut rest = bytes;
        let [head] = take::<1>(&mut rest)?;
        if head >> 4 != VERSION {
            return Err(TokenError::Version(head >> 4));
        }
        let kind = Kind::from_bits(head & 0x0f).ok_or(TokenError::Version(VERSION))?;
        let maker = PublicKey(take(&mut rest)?);
        let secret = Secret(take(&mut rest)?);
        let [count] = take::<1>(&mut rest)?;
        if count == 0 || usize::from(count) > ADDRESSES_MAX {
            return Err(TokenError::Addresses);
        }
        let mut addresses = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            addresses.push(take_address(&mut rest)?);
        }
        if rest.is_empty() { Ok(Self { kind, maker, secret, addresses }) } else { Err(TokenError::Length) }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], TokenError> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(TokenError::Length)?;
    *rest = tail;
    Ok(*head)
}

fn take_address(rest: &mut &[u8]) -> Result<Address, TokenError> {
    let [tag] = take::<1>(rest)?;
    let address = match tag {
        TAG_IP => {
            let octets: [u8; 16] = take(rest)?;
            Address::Ip(Ipv6Addr::from(octets), u16::from_le_bytes(take(rest)?))
        }
        TAG_NAME => {
            let [length] = take::<1>(rest)?;
            let (name, tail) = rest.split_at_checked(usize::from(length)).ok_or(TokenError::Length)?;
            *rest = tail;
            let name = core::str::from_utf8(name).map_err(|_| TokenError::Address)?;
            Address::Name(name.to_owned(), u16::from_le_bytes(take(rest)?))
        }
        _ => return Err(TokenError::Address),
    };
    if address.is_usable() { Ok(address) } else { Err(TokenError::Address) }
}

/// Why a text is no token, or a token has no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not begin like a token.
    #[error("text is no token: it does not begin with adit1")]
    Prefix,
    /// A letter is wrong or missing.
    #[error("token has a typing error or is cut off")]
    Checksum,
    /// Made by a program that this one does not know.
    #[error("token has version {0}, this program reads {VERSION}; update it")]
    Version(u8),
    /// Too few or too many bytes.
    #[error("token has the wrong length")]
    Length,
    /// None or too many.
    #[error("token needs one to {ADDRESSES_MAX} addresses")]
    Addresses,
    /// An address nobody could dial.
    #[error("an address of the token is no IPv6 address or name with a port")]
    Address,
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names made of bytes: ids, keys, signatures. Each is its own type, so that one can't stand where another is meant.
//!
//! On the wire and on disk each is its bare bytes, without a length.

use core::fmt;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! bytes_type {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const BYTES: usize = $len;
            /// All zeros: "none" where the format says so.
            pub const ZERO: Self = Self([0; $len]);

            /// The bytes of a slice of exactly [`Self::BYTES`] bytes.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Whether all bytes are zero.
            #[must_use]
            pub fn is_zero(&self) -> bool {
                self.0.iter().all(|b| *b == 0)
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::ZERO
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Eight hex digits tell ids apart in a log; the whole id is what Display is for.
                write!(f, concat!(stringify!($name), "("))?;
                self.0.iter().take(4).try_for_each(|b| write!(f, "{b:02x}"))?;
                write!(f, "…)")
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut tuple = serializer.serialize_tuple($len)?;
                for byte in &self.0 {
                    tuple.serialize_element(byte)?;
                }
                tuple.end()
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct BytesVisitor;
                impl<'de> Visitor<'de> for BytesVisitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "{} bytes", $len)
                    }
                    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<$name, A::Error> {
                        let mut bytes = [0u8; $len];
                        for (index, byte) in bytes.iter_mut().enumerate() {
                            *byte = seq
                                .next_element()?
                                .ok_or_else(|| A::Error::invalid_length(index, &self))?;
                        }
                        Ok($name(bytes))
                    }
                }
                deserializer.deserialize_tuple($len, BytesVisitor)
            }
        }

        #[cfg(feature = "defmt")]
        impl defmt::Format for $name {
            fn format(&self, f: defmt::Formatter<'_>) {
                defmt::write!(f, "{=[u8]:x}", self.0);
            }
        }
    };
}

bytes_type!(
    /// A record's id: keyed BLAKE3 of its content for sealed records, BLAKE3 of its body for key and snapshot records.
    Id, 32
);
bytes_type!(
    /// BLAKE3 of a record's client header, references and body.
    RecordHash, 32
);
bytes_type!(
    /// Names the session key of one OPEN; 16 random bytes chosen by the source.
    KeyId, 16
);
bytes_type!(
    /// A source: a backup history with its recovery key. 16 random bytes, the same on every box.
    SourceId, 16
);
bytes_type!(
    /// A store: 16 random bytes made at its creation.
    StoreId, 16
);
bytes_type!(
    /// An Ed25519 public key: a machine's (TLS), a source's signing key or a recovery signing key.
    PublicKey, 32
);
bytes_type!(
    /// An Ed25519 signature.
    Signature, 64
);
bytes_type!(
    /// Names a pairing token without telling its secret.
    TokenId, 8
);
bytes_type!(
    /// Names a recovery recipient: the first bytes of BLAKE3 of its KEM public key.
    RecipientId, 8
);
bytes_type!(
    /// An HMAC-SHA-256 value of the pairing.
    Mac, 32
);
bytes_type!(
    /// 32 bytes of TLS exporter: what binds a proof to one connection.
    ChannelBinding, 32
);
bytes_type!(
    /// Commits to a secret without telling it (seed check, key check).
    Check, 32
);
bytes_type!(
    /// The hash of a ledger block.
    LedgerHash, 32
);

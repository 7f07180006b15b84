// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A frame: length, header, body. Whether a frame may be read at all is decided from its first twelve bytes, before
//! anything is allocated. A conversation is a number chosen by whoever opens it; every frame names its conversation.

use serde::{Deserialize, Serialize};

/// Bytes of the length prefix.
pub const LENGTH_BYTES: usize = 4;
/// Bytes of the header after the length prefix.
pub const HEADER_BYTES: usize = 8;
/// Bytes before the body.
pub const PREFIX_BYTES: usize = LENGTH_BYTES + HEADER_BYTES;
/// Largest body of an ordinary frame, bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Largest body of a frame that carries a record: the record and room for what stands before it, bytes.
pub const RECORD_BODY_BYTES_MAX: usize = crate::record::RECORD_BYTES_MAX + (64 << 10);
/// Largest body before the peer is known (pairing and the first frame of recovery), bytes.
pub const STRANGER_BODY_BYTES_MAX: usize = 8 << 10;
/// The method that refuses, in every service.
pub const METHOD_REFUSED: u8 = 255;

/// What a frame belongs to. Numbers are never used again for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Service {
    /// Greeting, liveness, leave-taking.
    Link = 0,
    /// Pairing by a one-time token.
    Pair = 1,
    /// A source sends records and commits snapshots.
    Backup = 2,
    /// Snapshots are listed and records fetched.
    Read = 3,
    /// A machine that knows nothing but the recovery key.
    Recover = 4,
    /// Health is polled.
    Health = 5,
    /// Peers and the store are administered.
    Admin = 6,
    /// The machine below the agent is updated, restarted, given disks.
    Appliance = 7,
}

impl Service {
    /// Every service, in the order of their numbers.
    pub const ALL: [Self; 8] =
        [Self::Link, Self::Pair, Self::Backup, Self::Read, Self::Recover, Self::Health, Self::Admin, Self::Appliance];

    /// The service of a number.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|service| *service as u8 == byte)
    }
}

/// Which message: service, method and the major version of that method's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Kind {
    /// The service's number, known or not.
    pub service: u8,
    /// The method within the service.
    pub method: u8,
    /// A body that changes in any other way than by optional trailing fields gets the next major.
    pub major: u8,
}

/// The last frame its sender sends in this conversation.
pub const FLAG_END: u8 = 1;

/// The bytes after the length prefix and before the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Header {
    /// Which message the body holds.
    pub kind: Kind,
    /// [`FLAG_END`] or nothing; other bits are zero and refused.
    pub flags: u8,
    /// Odd when the dialling side opened it, even when the listening side did; 0 is the link itself.
    pub conversation: u32,
}

impl Header {
    /// Whether the sender ends its half of the conversation with this frame.
    #[must_use]
    pub const fn ends(&self) -> bool {
        self.flags & FLAG_END != 0
    }

    /// Length prefix and header of a frame with a body of `body_bytes`.
    ///
    /// # Errors
    /// When the body is longer than this kind may carry.
    pub fn prefix(&self, body_bytes: usize) -> Result<[u8; PREFIX_BYTES], FrameError> {
        let max = body_bytes_max(self.kind);
        let length = u32::try_from(body_bytes.saturating_add(HEADER_BYTES))
            .ok()
            .filter(|_| body_bytes <= max)
            .ok_or(FrameError::TooLong { body_bytes, max })?;
        let [l0, l1, l2, l3] = length.to_le_bytes();
        let [c0, c1, c2, c3] = self.conversation.to_le_bytes();
        let Kind { service, method, major } = self.kind;
        Ok([l0, l1, l2, l3, service, method, major, self.flags, c0, c1, c2, c3])
    }

    /// Reads length prefix and header; answers the header and how many bytes of body follow.
    ///
    /// # Errors
    /// When the length is impossible, beyond `stranger_max` or beyond what this kind may carry, or a flag is unknown.
    pub fn from_prefix(prefix: &[u8; PREFIX_BYTES], body_max: usize) -> Result<(Self, usize), FrameError> {
        let [l0, l1, l2, l3, service, method, major, flags, c0, c1, c2, c3] = *prefix;
        let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        let body_bytes = length.checked_sub(HEADER_BYTES).ok_or(FrameError::TooShort(length))?;
        let kind = Kind { service, method, major };
        let max = body_bytes_max(kind).min(body_max);
        if body_bytes > max {
            return Err(FrameError::TooLong { body_bytes, max });
        }
        if flags & !FLAG_END != 0 {
            return Err(FrameError::Flags(flags));
        }
        Ok((Self { kind, flags, conversation: u32::from_le_bytes([c0, c1, c2, c3]) }, body_bytes))
    }
}

/// The longest body that frames of this kind may carry, bytes.
#[must_use]
pub fn body_bytes_max(kind: Kind) -> usize {
    let carries_record = (kind.service == Service::Backup as u8 && kind.method == crate::backup::METHOD_REC)
        || (kind.service == Service::Read as u8 && kind.method == crate::read::METHOD_RECORD);
    if carries_record { RECORD_BODY_BYTES_MAX } else { BODY_BYTES_MAX }
}

/// Whether a decoder lets bytes follow the last field it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trailing {
    /// Requests: an unknown field could change what is asked.
    Refused,
    /// Reports: an older reader may skip what it does not know.
    Skipped,
}

/// A message: a postcard body with its numbers.
pub trait Message<'a>: Serialize + Deserialize<'a> {
    /// Which frames carry it.
    const KIND: Kind;
    /// What follows the known fields.
    const TRAILING: Trailing;

    /// Encodes the body into `buffer`; answers the part that was filled.
    ///
    /// # Errors
    /// When a rule is broken, which the other side would refuse, or the buffer is too small.
    fn encode<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b mut [u8], MessageError> {
        self.check()?;
        postcard::to_slice(self, buffer).map_err(|_| MessageError::NoRoom(Self::KIND))
    }

    /// Decodes a body.
    ///
    /// # Errors
    /// When the bytes are no such message.
    fn decode(body: &'a [u8]) -> Result<Self, MessageError> {
        let (message, rest) =
            postcard::take_from_bytes::<Self>(body).map_err(|_| MessageError::Malformed(Self::KIND))?;
        if !rest.is_empty() && Self::TRAILING == Trailing::Refused {
            return Err(MessageError::Trailing(Self::KIND, rest.len()));
        }
        if !is_shortest(&message, body.len().saturating_sub(rest.len()), body) {
            return Err(MessageError::Malformed(Self::KIND));
        }
        message.check()?;
        Ok(message)
    }

    /// Rules beyond what the types say.
    ///
    /// # Errors
    /// When a rule is broken.
    fn check(&self) -> Result<(), MessageError> {
        Ok(())
    }
}

/// Whether the first `used` bytes of `body` are what encoding `message` gives. postcard reads numbers that are padded with
/// empty groups; one meaning with two encodings would let hashes and comparisons of bytes go wrong.
fn is_shortest<T: Serialize>(message: &T, used: usize, body: &[u8]) -> bool {
    let Some(expected) = body.get(..used) else {
        return false;
    };
    postcard::serialize_with_flavor(message, Compare { expected }).unwrap_or(false)
}

/// Takes encoded bytes and compares them with what is expected.
struct Compare<'a> {
    expected: &'a [u8],
}

impl postcard::ser_flavors::Flavor for Compare<'_> {
    type Output = bool;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        match self.expected.split_first() {
            Some((first, rest)) if *first == byte => {
                self.expected = rest;
                Ok(())
            }
            _ => Err(postcard::Error::DeserializeBadEncoding),
        }
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.expected = self.expected.strip_prefix(bytes).ok_or(postcard::Error::DeserializeBadEncoding)?;
        Ok(())
    }

    fn finalize(self) -> postcard::Result<bool> {
        Ok(self.expected.is_empty())
    }
}

/// Declares the numbers of a message type.
macro_rules! message {
    ($type:ident $(<$life:lifetime>)?, $service:ident, $method:expr, $major:expr, $trailing:ident $(, $check:expr)?) => {
        impl<'de $(: $life, $life)?> $crate::frame::Message<'de> for $type $(<$life>)? where Self: serde::Deserialize<'de> {
            const KIND: $crate::frame::Kind = $crate::frame::Kind {
                service: $crate::frame::Service::$service as u8,
                method: $method,
                major: $major,
            };
            const TRAILING: $crate::frame::Trailing = $crate::frame::Trailing::$trailing;
            $(fn check(&self) -> Result<(), $crate::frame::MessageError> {
                let check: fn(&Self) -> bool = $check;
                if check(self) { Ok(()) } else { Err($crate::frame::MessageError::Rule(Self::KIND)) }
            })?
        }
    };
}
pub(crate) use message;

/// Why a frame is refused before its body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length does not even cover the header.
    #[error("frame states {0} bytes, a header alone has {HEADER_BYTES}")]
    TooShort(usize),
    /// Longer than allowed here.
    #[error("frame states a body of {body_bytes} bytes, the limit here is {max}")]
    TooLong {
        /// What the frame states.
        body_bytes: usize,
        /// What is allowed.
        max: usize,
    },
    /// A flag this program does not know.
    #[error("frame has unknown flags {0:#04x}")]
    Flags(u8),
}

/// Why a body is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The bytes do not decode.
    #[error("body of {0:?} is malformed")]
    Malformed(Kind),
    /// Bytes follow a request's last field.
    #[error("body of {0:?} has {1} bytes too many")]
    Trailing(Kind, usize),
    /// A field breaks a rule.
    #[error("a field of {0:?} breaks its rule")]
    Rule(Kind),
    /// The buffer is too small.
    #[error("{0:?} does not fit its buffer")]
    NoRoom(Kind),
}

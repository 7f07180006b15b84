// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A link: one authenticated connection that carries conversations both ways.

use crate::conversation::{Conversation, Frame};
use adit_wire::frame::{FrameError, Kind, MessageError};
use adit_wire::ids::{ChannelBinding, PublicKey};
use adit_wire::refusal::Code;
use std::net::SocketAddrV6;
use std::sync::Arc;

/// What this side says of itself in its Greeting.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Program and version, at most 48 bytes.
    pub software: String,
    /// The signed address record, or nothing.
    pub address_record: Vec<u8>,
}

/// What the peer said of itself. The address record's signature and key were checked.
#[derive(Clone, Debug)]
pub struct PeerGreeting {
    /// Program and version.
    pub software: String,
    /// Optional abilities.
    pub features: u32,
    /// The signed address record, or nothing.
    pub address_record: Vec<u8>,
}

/// Bytes on the TCP socket, TLS included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Written.
    pub bytes_sent: u64,
    /// Read.
    pub bytes_received: u64,
}

/// A "no" of the other side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other side refused: {}", self.text())]
pub struct Refusal {
    /// The code's number.
    pub number: u16,
    /// The code, unless it is newer than this program.
    pub code: Option<Code>,
    /// Seconds after which trying again makes sense; 0 when it does not.
    pub retry_after_s: u32,
    /// What a person should read beside the code's text.
    pub detail: String,
}

impl Refusal {
    fn text(&self) -> String {
        let text = self.code.map_or_else(|| format!("code {}, newer than this program", self.number), |code| code.text().to_owned());
        if self.detail.is_empty() { text } else { format!("{text} ({})", self.detail) }
    }
}

/// Why a link or a conversation on it came to its end, or a frame is not what was expected.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The socket failed.
    #[error("the connection broke")]
    Broken(#[source] Arc<std::io::Error>),
    /// The other side closed without Goodbye.
    #[error("the other side closed the connection")]
    Cut,
    /// The other side does not know our key.
    #[error("this machine is not paired there")]
    NotPaired,
    /// The other side took leave.
    #[error("the other side took leave{}", .0.map_or_else(String::new, |code| format!(": {}", code.text())))]
    Goodbye(Option<Code>),
    /// This side closed the link.
    #[error("the link was closed here")]
    Closed,
    /// Nothing was heard for adit-wire's `DEAD_AFTER_S`.
    #[error("nothing was heard for {} s", adit_wire::link::DEAD_AFTER_S)]
    Dead,
    /// A deadline passed.
    #[error("{0} took too long")]
    Deadline(&'static str),
    /// A frame is impossible.
    #[error("a frame was refused")]
    Frame(#[from] FrameError),
    /// A body is no such message.
    #[error("a message was refused")]
    Message(#[from] MessageError),
    /// The peer broke a rule of the link.
    #[error("the other side broke the protocol: {0}")]
    Protocol(&'static str),
    /// No protocol major in common.
    #[error("the other side speaks protocol {min} to {max}, this program {}", adit_wire::link::PROTOCOL_MAJOR)]
    Version {
        /// Its lowest.
        min: u8,
        /// Its highest.
        max: u8,
    },
    /// Too many conversations are open.
    #[error("{0} conversations are open already")]
    Conversations(u16),
    /// Another message came than the one expected.
    #[error("{got:?} came where {expected:?} was expected")]
    Unexpected {
        /// What was to come.
        expected: Kind,
        /// What came.
        got: Kind,
    },
    /// The other side said no.
    #[error(transparent)]
    Refused(Refusal),
}

/// An authenticated connection. Dropping it cuts the connection; its conversations then end with [`LinkError::Closed`].
#[derive(Debug)]
pub struct Link {}

/// Cuts a link from elsewhere: for whoever removes a pin.
#[derive(Clone, Debug)]
pub struct Closer {}

impl Closer {
    /// Ends the link now; Goodbye goes out if it can without waiting.
    pub fn close(&self, code: Code) {
        unimplemented!("{code:?}")
    }

    /// Whether the link has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        unimplemented!()
    }
}

impl Link {
    /// The peer's key.
    #[must_use]
    pub fn peer(&self) -> PublicKey {
        unimplemented!()
    }

    /// What binds a proof to this connection.
    #[must_use]
    pub fn channel_binding(&self) -> ChannelBinding {
        unimplemented!()
    }

    /// The other end's address.
    #[must_use]
    pub fn remote(&self) -> SocketAddrV6 {
        unimplemented!()
    }

    /// Bytes on the socket up to now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        unimplemented!()
    }

    /// Waits for the peer's Greeting.
    ///
    /// # Errors
    /// When the link ends before; [`LinkError::NotPaired`] above all.
    pub async fn greeted(&self) -> Result<PeerGreeting, LinkError> {
        unimplemented!()
    }

    /// Opens a conversation; its first frame tells the peer.
    ///
    /// # Errors
    /// When the link has ended or too many are open.
    pub fn open(&self) -> Result<Conversation, LinkError> {
        unimplemented!()
    }

    /// The next conversation that the peer opens, with its first frame. `None` when the link has ended.
    pub async fn incoming(&self) -> Option<(Frame, Conversation)> {
        unimplemented!()
    }

    /// A stranger proved who it is: the limits of the stranger doors end.
    pub fn trust(&self) {
        unimplemented!()
    }

    /// Waits until the link has ended and says why.
    pub async fn closed(&self) -> LinkError {
        unimplemented!()
    }

    /// A handle that cuts this link from elsewhere.
    #[must_use]
    pub fn closer(&self) -> Closer {
        unimplemented!()
    }

    /// Sends what waits, takes leave and closes. `None`: everything is done.
    pub async fn close(self, code: Option<Code>) {
        unimplemented!("{code:?}")
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A conversation: a numbered pair of frame streams on a link, opened by either side.

use crate::link::LinkError;
use adit_wire::frame::{FLAG_END, Kind, Message};
use adit_wire::refusal::Code;
use std::time::Duration;

/// One received frame.
#[derive(Debug)]
pub struct Frame {
    /// Which message.
    pub kind: Kind,
    /// [`FLAG_END`] or nothing.
    pub flags: u8,
    /// The body.
    pub body: Vec<u8>,
}

impl Frame {
    /// The message in the body.
    ///
    /// # Errors
    /// When the frame is of another kind or the body is malformed.
    pub fn message<'a, M: Message<'a>>(&'a self) -> Result<M, LinkError> {
        if self.kind != M::KIND {
            return Err(LinkError::Unexpected { expected: M::KIND, got: self.kind });
        }
        Ok(M::decode(&self.body)?)
    }

    /// Whether its sender sends nothing after it in this conversation.
    #[must_use]
    pub const fn ends(&self) -> bool {
        self.flags & FLAG_END != 0
    }
}

/// One side of a conversation. Sending and receiving take `&self`, so that both may wait at once. A call that is dropped
/// while it waits has sent, or taken, either a whole frame or nothing.
#[derive(Debug)]
pub struct Conversation {}

impl Conversation {
    /// Sends a message; `end` when it is this side's last.
    ///
    /// # Errors
    /// When the link has ended or the message does not fit a frame.
    pub async fn send<'a, M: Message<'a>>(&self, message: &M, end: bool) -> Result<(), LinkError> {
        let _ = message;
        unimplemented!("{end}")
    }

    /// Sends a frame whose body lies in parts.
    ///
    /// # Errors
    /// When the link has ended or the body is longer than its kind allows.
    pub async fn send_parts(&self, kind: Kind, flags: u8, body: &[&[u8]]) -> Result<(), LinkError> {
        unimplemented!("{kind:?} {flags} {body:?}")
    }

    /// The next frame; `None` after the peer's last. A refusal comes as [`LinkError::Refused`].
    ///
    /// # Errors
    /// When the link has ended, the peer refused, or nothing came in time.
    pub async fn recv(&self) -> Result<Option<Frame>, LinkError> {
        unimplemented!()
    }

    /// As [`Conversation::recv`], waiting at most so long.
    ///
    /// # Errors
    /// As [`Conversation::recv`].
    pub async fn recv_within(&self, wait: Duration) -> Result<Option<Frame>, LinkError> {
        unimplemented!("{wait:?}")
    }

    /// Says no and ends this side of the conversation.
    ///
    /// # Errors
    /// When the link has ended.
    pub async fn refuse(&self, code: Code, detail: &str) -> Result<(), LinkError> {
        unimplemented!("{code:?} {detail}")
    }

    /// Says no and when to come again.
    ///
    /// # Errors
    /// When the link has ended.
    pub async fn refuse_for(&self, code: Code, retry_after_s: u32, detail: &str) -> Result<(), LinkError> {
        unimplemented!("{code:?} {retry_after_s} {detail}")
    }
}

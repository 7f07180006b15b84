// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A conversation: a numbered pair of frame streams on a link, opened by either side, whoever dialled. It queues and
//! hands out whole frames; what they mean is the engines' business.

use crate::limits::{ANSWER_WITHIN, STALLED_AFTER};
use crate::link::{LinkError, Refusal, Shared};
use crate::lock;
use adit_wire::frame::{BODY_BYTES_MAX, FLAG_END, Header, Kind, METHOD_REFUSED, Message, MessageError};
use adit_wire::refusal::{Code, DETAIL_BYTES_MAX, Refused};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit};
use tokio::time::timeout;

/// First guess at a message's encoded size, bytes; grows eightfold until it fits.
const MESSAGE_BYTES_GUESS: usize = 1 << 10;

/// One received frame.
#[derive(Clone, Debug, PartialEq, Eq)]
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

    fn refusal(&self) -> Option<Result<Refusal, MessageError>> {
        (self.kind.method == METHOD_REFUSED).then(|| {
            let refused = Refused::decode(&self.body)?;
            Ok(Refusal {
                number: refused.code,
                code: Code::from_number(refused.code),
                retry_after_s: refused.retry_after_s,
                detail: refused.detail.to_owned(),
            })
        })
    }
}

/// A frame on its way to a conversation's owner. The permit is its share of what the link may hold unread.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) frame: Frame,
    pub(crate) permit: OwnedSemaphorePermit,
}

impl Queued {
    /// The owner takes it: its share is free again.
    pub(crate) fn take(self) -> Frame {
        drop(self.permit);
        self.frame
    }
}

/// One side of a conversation. Sending and receiving take `&self`, so that both may wait at once. A call that is dropped
/// while it waits has sent, or taken, either a whole frame or nothing.
///
/// Dropping a conversation before its last frame was sent tells the peer that it came to nothing.
pub struct Conversation {
    shared: Arc<Shared>,
    /// 0 until the first frame of a conversation that this side opens.
    number: AtomicU32,
    /// For the table, when the number is given.
    sender: Mutex<Option<UnboundedSender<Queued>>>,
    queue: AsyncMutex<UnboundedReceiver<Queued>>,
    /// The service of the first frame: refusals carry it.
    service: AtomicU8,
    we_ended: AtomicBool,
    they_ended: AtomicBool,
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conversation({} of {:?})", self.number.load(Relaxed), self.shared)
    }
}

impl Conversation {
    /// A conversation that this side will open.
    pub(crate) fn unopened(shared: Arc<Shared>) -> Self {
        let (sender, queue) = unbounded_channel();
        Self {
            shared,
            number: AtomicU32::new(0),
            sender: Mutex::new(Some(sender)),
            queue: AsyncMutex::new(queue),
            service: AtomicU8::new(0),
            we_ended: AtomicBool::new(false),
            they_ended: AtomicBool::new(false),
        }
    }

    /// A conversation that the peer opened by `header`, and where its further frames go.
    pub(crate) fn opened(shared: Arc<Shared>, header: &Header) -> (Self, UnboundedSender<Queued>) {
        let conversation = Self::unopened(shared);
        conversation.number.store(header.conversation, Relaxed);
        conversation.service.store(header.kind.service, Relaxed);
        conversation.they_ended.store(header.ends(), Relaxed);
        let sender = lock(&conversation.sender).take().expect("made just now");
        (conversation, sender)
    }

    /// Sends a message; `end` when it is this side's last.
    ///
    /// # Errors
    /// When the link has ended or the message does not fit a frame.
    pub async fn send<'a, M: Message<'a>>(&self, message: &M, end: bool) -> Result<(), LinkError> {
        let mut buffer = vec![0; MESSAGE_BYTES_GUESS];
        let length = loop {
            match message.encode(&mut buffer).map(|body| body.len()) {
                Ok(length) => break length,
                Err(error) if buffer.len() >= BODY_BYTES_MAX => return Err(error.into()),
                Err(_) => buffer.resize((buffer.len() * 8).min(BODY_BYTES_MAX), 0),
            }
        };
        buffer.truncate(length);
        self.send_parts(M::KIND, if end { FLAG_END } else { 0 }, &[&buffer]).await
    }

    /// Sends a frame whose body lies in parts.
    ///
    /// # Errors
    /// When the link has ended or the body is longer than its kind allows.
    pub async fn send_parts(&self, kind: Kind, flags: u8, body: &[&[u8]]) -> Result<(), LinkError> {
        let body_bytes = body.iter().map(|part| part.len()).sum();
        let mut header = Header { kind, flags, conversation: self.number.load(Relaxed) };
        header.prefix(body_bytes)?;
        let outbox = &self.shared.outbox;
        match timeout(STALLED_AFTER, outbox.acquire(body_bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(self.shared.why()),
            Err(_) => {
                self.shared.fail(LinkError::Deadline("sending"));
                return Err(self.shared.why());
            }
        }
        // No await from here to the end: the frame is queued whole or not at all.
        let mut waiting = outbox.waiting();
        if self.we_ended.load(Relaxed) {
            outbox.release(body_bytes);
            return Err(LinkError::Over);
        }
        header.conversation = self.numbered(kind)?;
        waiting.append_charged(&header, body)?;
        drop(waiting);
        if header.ends() {
            self.we_ended.store(true, Relaxed);
            lock(&self.shared.table).we_end(header.conversation);
        }
        outbox.wake();
        Ok(())
    }

    /// The conversation's number, given now if this is its first frame. The outbox is locked, so numbers rise.
    fn numbered(&self, kind: Kind) -> Result<u32, LinkError> {
        if let Some(sender) = lock(&self.sender).take() {
            let number = lock(&self.shared.table).open(sender)?;
            self.number.store(number, Relaxed);
            self.service.store(kind.service, Relaxed);
            if self.shared.ended.is_cancelled() {
                lock(&self.shared.table).clear();
            }
        }
        Ok(self.number.load(Relaxed))
    }

    /// The next frame; `None` after the peer's last. A refusal comes as [`LinkError::Refused`].
    ///
    /// # Errors
    /// When the link has ended, the peer refused, or nothing came within [`ANSWER_WITHIN`].
    pub async fn recv(&self) -> Result<Option<Frame>, LinkError> {
        self.recv_within(ANSWER_WITHIN).await
    }

    /// As [`Conversation::recv`], waiting at most so long. After a deadline the conversation is as it was.
    ///
    /// # Errors
    /// As [`Conversation::recv`].
    pub async fn recv_within(&self, wait: Duration) -> Result<Option<Frame>, LinkError> {
        let mut queue = self.queue.lock().await;
        if self.they_ended.load(Relaxed) {
            return Ok(None);
        }
        let Ok(queued) = timeout(wait, queue.recv()).await else {
            return Err(LinkError::Deadline("the answer"));
        };
        if self.shared.stop.is_cancelled() {
            return Err(self.shared.why());
        }
        let frame = queued.ok_or_else(|| self.shared.why())?.take();
        if frame.ends() || frame.kind.method == METHOD_REFUSED {
            self.they_ended.store(true, Relaxed);
        }
        match frame.refusal() {
            Some(refusal) => Err(LinkError::Refused(refusal?)),
            None => Ok(Some(frame)),
        }
    }

    /// Says no and ends this side of the conversation.
    ///
    /// # Errors
    /// When the link has ended.
    pub async fn refuse(&self, code: Code, detail: &str) -> Result<(), LinkError> {
        self.refuse_for(code, 0, detail).await
    }

    /// Says no and when to come again.
    ///
    /// # Errors
    /// When the link has ended.
    pub async fn refuse_for(&self, code: Code, retry_after_s: u32, detail: &str) -> Result<(), LinkError> {
        let detail = &detail[..detail.floor_char_boundary(DETAIL_BYTES_MAX)];
        let mut buffer = [0; REFUSED_BYTES_MAX];
        let body = refused(code, retry_after_s, detail, &mut buffer);
        self.send_parts(refused_kind(self.service.load(Relaxed)), FLAG_END, &[body]).await
    }
}

/// A code, seconds and a detail, each with its length.
const REFUSED_BYTES_MAX: usize = 16 + DETAIL_BYTES_MAX;

fn refused<'b>(code: Code, retry_after_s: u32, detail: &str, buffer: &'b mut [u8; REFUSED_BYTES_MAX]) -> &'b [u8] {
    let refused = Refused { code: code as u16, retry_after_s, detail };
    refused.encode(buffer).expect("the buffer holds the longest refusal")
}

const fn refused_kind(service: u8) -> Kind {
    Kind { service, method: METHOD_REFUSED, major: 1 }
}

/// A refusal outside any queue.
pub(crate) fn refuse_urgently(shared: &Shared, conversation: u32, service: u8, code: Code) {
    let mut buffer = [0; REFUSED_BYTES_MAX];
    let body = refused(code, 0, "", &mut buffer);
    let header = Header { kind: refused_kind(service), flags: FLAG_END, conversation };
    if shared.outbox.append_urgent(&header, &[body]).is_err() {
        shared.fail(LinkError::Deadline("reading our refusals"));
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        let number = self.number.load(Relaxed);
        if number == 0 {
            lock(&self.shared.table).release();
            return;
        }
        let untold = lock(&self.shared.table).abandon(number);
        if untold && !self.shared.ended.is_cancelled() {
            // The opener lost interest; whoever answers has failed to.
            let odd = number % 2 == 1;
            let ours = odd == (self.shared.side == crate::link::Side::Dialler);
            let code = if ours { Code::Deadline } else { Code::Internal };
            refuse_urgently(&self.shared, number, self.service.load(Relaxed), code);
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The task behind a link: one reader, one writer, one keeper of time. It ends when any of them does, tells the peer why
//! if it can, and tells everybody who holds a part of the link.

use crate::conversation::{Conversation, Frame, Queued, refuse_urgently};
use crate::door::Door;
use crate::identity::verify;
use crate::limits::{
    CLOSE_WITHIN, FRAME_COST_BYTES, FRAME_WITHIN, IN_BYTES_MAX, LINK_BODY_BYTES_MAX, STALLED_AFTER, UNREAD_FOR,
};
use crate::link::{About, LinkError, PeerGreeting, Shared, Side, share};
use crate::lock;
use crate::meter::Meter;
use crate::table::Place;
use crate::tls;
use adit_proto::liveness::{Due, Liveness};
use adit_wire::frame::{Header, METHOD_REFUSED, Message as _, PREFIX_BYTES, STRANGER_BODY_BYTES_MAX, Service};
use adit_wire::ids::{ChannelBinding, PublicKey};
use adit_wire::link::{CONVERSATIONS_MAX, Goodbye, Greeting, PROTOCOL_MAJOR, Ping, Pong};
use adit_wire::refusal::Code;
use adit_wire::signed::{ADDRESS_RECORD_BYTES_MAX, AddressRecord, PREFIX_ADDRESS};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddrV6;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Duration, sleep_until, timeout};

/// A link that is cut gets this long for its Goodbye.
const CUT_WITHIN: Duration = Duration::from_secs(1);
/// When writing fails, the reader gets this long to find out why: the peer's last words may lie unread.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// What the handshake hands over.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) side: Side,
    pub(crate) door: Door,
    pub(crate) peer: PublicKey,
    pub(crate) binding: ChannelBinding,
    pub(crate) remote: SocketAddrV6,
    pub(crate) meter: Arc<Meter>,
    pub(crate) about: About,
    pub(crate) greeting_within: Duration,
}

/// A conversation that the peer opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) first: Queued,
    pub(crate) conversation: Conversation,
}

/// Starts the task.
pub(crate) fn spawn<IO>(io: IO, start: Start) -> (Arc<Shared>, mpsc::UnboundedReceiver<Opened>)
where
    IO: AsyncRead + AsyncWrite + Send + Sync + 'static,
{
    let shared = Arc::new(share(&start, Arc::clone(&start.meter)));
    // Unbounded by itself; the table admits so many conversations and the budget so many bytes.
    let (opened, incoming) = mpsc::unbounded_channel();
    if start.door.greets() {
        greet(&shared, &start.about);
    }
    tokio::spawn(run(io, Arc::clone(&shared), opened, start.greeting_within));
    (shared, incoming)
}

/// Our Greeting is the first frame in the outbox.
fn greet(shared: &Shared, about: &About) {
    let software = &about.software[..about.software.floor_char_boundary(SOFTWARE_BYTES_MAX)];
    let fits = about.address_record.len() <= ADDRESS_RECORD_BYTES_MAX;
    let greeting = Greeting {
        protocol_min: PROTOCOL_MAJOR,
        protocol_max: PROTOCOL_MAJOR,
        features: 0,
        conversations_max: CONVERSATIONS_MAX,
        address_record: if fits { &about.address_record } else { &[] },
        software,
    };
    let mut buffer = [0; ADDRESS_RECORD_BYTES_MAX + SOFTWARE_BYTES_MAX + 32];
    let body = greeting.encode(&mut buffer).expect("the buffer holds the longest Greeting");
    let header = Header { kind: Greeting::KIND, flags: 0, conversation: 0 };
    shared.outbox.waiting().append(&header, &[body]).expect("a Greeting is a short frame");
    shared.outbox.wake();
}

/// Longest name of a program in a Greeting, bytes.
const SOFTWARE_BYTES_MAX: usize = 48;

async fn run<IO>(io: IO, shared: Arc<Shared>, opened: mpsc::UnboundedSender<Opened>, greeting_within: Duration)
where
    IO: AsyncRead + AsyncWrite + Send + Sync + 'static,
{
    let (read, write) = tokio::io::split(io);
    let mut writer = Writer { io: write, buffer: Vec::new(), at: 0, charged: 0, last: false };
    let mut reader =
        Reader { io: read, shared: &shared, opened, budget: Arc::new(Semaphore::new(IN_BYTES_MAX)), strange: 0 };
    {
        let mut reading = Box::pin(reader.run(greeting_within));
        let (why, by_writer) = tokio::select! {
            why = &mut reading => (why, false),
            why = writer.run(&shared) => (why, true),
            why = keep_time(&shared) => (why, false),
            () = shared.stop.cancelled() => (LinkError::Closed, false),
        };
        let why = if by_writer && matches!(why, LinkError::Broken(_)) {
            timeout(LAST_WORDS_WITHIN, &mut reading).await.unwrap_or(why)
        } else {
            why
        };
        let leaving = by_writer && matches!(why, LinkError::Closed);
        shared.outbox.goodbye(why.code());
        shared.end(why);
        if leaving {
            // The peer has our Goodbye and closes; until then its bytes are read, so that no reset overtakes ours.
            drop(timeout(CLOSE_WITHIN, writer.io.shutdown()).await);
            drop(timeout(CLOSE_WITHIN, reading).await);
        }
    }
    drop(timeout(CUT_WITHIN, writer.leave(&shared)).await);
}

/// Writes what waits.
struct Writer<IO> {
    io: WriteHalf<IO>,
    /// Taken from the outbox; `buffer[..at]` is written.
    buffer: Vec<u8>,
    at: usize,
    charged: usize,
    /// Goodbye is the last frame of `buffer`.
    last: bool,
}

impl<IO: AsyncRead + AsyncWrite> Writer<IO> {
    /// Until Goodbye is out or the socket fails. Dropped at any await it can be called again.
    async fn run(&mut self, shared: &Shared) -> LinkError {
        loop {
            if let Err(error) = self.drain(shared).await {
                return error;
            }
            if self.last {
                return LinkError::Closed;
            }
            shared.outbox.work().await;
        }
    }

    /// Writes until nothing waits.
    async fn drain(&mut self, shared: &Shared) -> Result<(), LinkError> {
        loop {
            while self.at < self.buffer.len() {
                let written = timeout(STALLED_AFTER, self.io.write(&self.buffer[self.at..])).await;
                match written.map_err(|_| LinkError::Deadline("writing"))? {
                    Ok(0) => return Err(LinkError::Cut),
                    Ok(bytes) => self.at += bytes,
                    Err(error) => return Err(LinkError::Broken(Arc::new(error))),
                }
            }
            shared.outbox.written(std::mem::take(&mut self.charged));
            self.buffer.clear();
            self.at = 0;
            if self.last {
                return self.flush().await;
            }
            let taken = shared.outbox.take(&mut self.buffer);
            (self.charged, self.last) = (taken.charged, taken.last);
            if self.buffer.is_empty() {
                return self.flush().await;
            }
        }
    }

    async fn flush(&mut self) -> Result<(), LinkError> {
        let flushed = timeout(STALLED_AFTER, self.io.flush()).await.map_err(|_| LinkError::Deadline("writing"))?;
        flushed.map_err(|error| LinkError::Broken(Arc::new(error)))
    }

    /// The last words, if the socket takes them.
    async fn leave(&mut self, shared: &Shared) -> io::Result<()> {
        if self.drain(shared).await.is_ok() {
            self.io.shutdown().await?;
        }
        Ok(())
    }
}

/// PING in time, and the end of a link that has fallen silent. What counts is bytes on the socket, not frames: a long
/// record on a slow line is a sign of life before it is whole.
async fn keep_time(shared: &Shared) -> LinkError {
    let meter = &shared.meter;
    let (mut liveness, mut sent_ms) = (Liveness::new(meter.now_ms()), 0);
    loop {
        let now_ms = meter.now_ms();
        if meter.sent_ms() > sent_ms {
            sent_ms = meter.sent_ms();
            liveness.sent(sent_ms);
        }
        // While this side does not read, the other's silence says nothing.
        liveness.heard(if shared.paused.load(Relaxed) { now_ms } else { meter.heard_ms() });
        match liveness.poll(now_ms) {
            Due::Nothing => {}
            Due::Ping(nonce) => {
                shared.outbox.rest();
                shared.outbox.ping(nonce);
            }
            Due::Dead => return LinkError::Dead,
        }
        sleep_until(meter.at(liveness.next_deadline_ms())).await;
    }
}

/// Reads frames and hands them out.
struct Reader<'s, IO> {
    io: ReadHalf<IO>,
    shared: &'s Arc<Shared>,
    opened: mpsc::UnboundedSender<Opened>,
    /// Bytes that may be held unread.
    budget: Arc<Semaphore>,
    /// Body bytes read from a stranger.
    strange: usize,
}

impl<IO: AsyncRead + AsyncWrite> Reader<'_, IO> {
    async fn run(&mut self, greeting_within: Duration) -> LinkError {
        let Err(why) = self.read_all(greeting_within).await;
        why
    }

    async fn read_all(&mut self, greeting_within: Duration) -> Result<Infallible, LinkError> {
        if self.shared.door.greets() {
            let late = |_| LinkError::Deadline("the other side's greeting");
            timeout(greeting_within, self.read_greeting()).await.map_err(late)??;
        }
        loop {
            let first = self.first_byte().await?;
            let late = |_| LinkError::Deadline("the rest of a frame");
            let (header, body_bytes) = timeout(FRAME_WITHIN, self.header(first)).await.map_err(late)??;
            if header.conversation == 0 {
                let body = self.body(body_bytes).await?;
                self.link_frame(&header, &body)?;
            } else {
                self.conversation_frame(&header, body_bytes).await?;
            }
            self.shared.frames_received.fetch_add(1, Relaxed);
        }
    }

    /// Waits as long as the link lives.
    async fn first_byte(&mut self) -> Result<u8, LinkError> {
        let mut byte = [0];
        match self.io.read(&mut byte).await {
            Ok(0) => Err(LinkError::Cut),
            Ok(_) => Ok(byte[0]),
            Err(error) => Err(self.broken(error)),
        }
    }

    async fn header(&mut self, first: u8) -> Result<(Header, usize), LinkError> {
        let mut prefix = [0; PREFIX_BYTES];
        prefix[0] = first;
        if let Err(error) = self.io.read_exact(&mut prefix[1..]).await {
            return Err(self.broken(error));
        }
        let stranger = !self.shared.trusted.load(Relaxed);
        let max = if stranger { STRANGER_BODY_BYTES_MAX.saturating_sub(self.strange) } else { usize::MAX };
        let (header, body_bytes) = Header::from_prefix(&prefix, max)?;
        if header.conversation == 0 {
            Header::from_prefix(&prefix, LINK_BODY_BYTES_MAX)?;
        }
        if stranger {
            self.strange += body_bytes;
        }
        Ok((header, body_bytes))
    }

    async fn body(&mut self, body_bytes: usize) -> Result<Vec<u8>, LinkError> {
        let mut body = Vec::with_capacity(body_bytes);
        let reading = async {
            let mut rest = (&mut self.io).take(body_bytes as u64);
            while body.len() < body_bytes && rest.read_buf(&mut body).await? > 0 {}
            if body.len() < body_bytes { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
        };
        match timeout(FRAME_WITHIN, reading).await {
            Ok(Ok(())) => Ok(body),
            Ok(Err(error)) => Err(self.broken(error)),
            Err(_) => Err(LinkError::Deadline("the rest of a frame")),
        }
    }

    fn broken(&self, error: io::Error) -> LinkError {
        let greeted = !self.shared.door.greets() || self.shared.greeting.borrow().is_some();
        if self.shared.side == Side::Dialler && !greeted && tls::says_not_paired(&error) {
            return LinkError::NotPaired;
        }
        if tls::is_garbage(&error) {
            return LinkError::Protocol("its bytes do not decrypt");
        }
        if error.kind() == io::ErrorKind::UnexpectedEof { LinkError::Cut } else { LinkError::Broken(Arc::new(error)) }
    }

    async fn read_greeting(&mut self) -> Result<(), LinkError> {
        let first = self.first_byte().await?;
        let (header, body_bytes) = self.header(first).await?;
        if header.conversation != 0 || header.kind != Greeting::KIND {
            return Err(LinkError::Unexpected { expected: Greeting::KIND, got: header.kind });
        }
        let body = self.body(body_bytes).await?;
        let greeting = Greeting::decode(&body)?;
        if !(greeting.protocol_min..=greeting.protocol_max).contains(&PROTOCOL_MAJOR) {
            return Err(LinkError::Version { min: greeting.protocol_min, max: greeting.protocol_max });
        }
        lock(&self.shared.table).peer_accepts(greeting.conversations_max);
        let peer_greeting = PeerGreeting {
            software: greeting.software.to_owned(),
            features: greeting.features,
            address_record: checked_address_record(&self.shared.peer, greeting.address_record),
        };
        self.shared.greeting.send_replace(Some(peer_greeting));
        self.shared.frames_received.fetch_add(1, Relaxed);
        Ok(())
    }

    fn link_frame(&self, header: &Header, body: &[u8]) -> Result<(), LinkError> {
        if header.kind.service != Service::Link as u8 {
            return Err(LinkError::Protocol("conversation 0 belongs to the link"));
        }
        if header.kind == Ping::KIND {
            self.shared.outbox.pong(Ping::decode(body)?.nonce);
        } else if header.kind == Goodbye::KIND {
            return Err(LinkError::Goodbye(Code::from_number(Goodbye::decode(body)?.code)));
        } else if header.kind == Greeting::KIND {
            return Err(LinkError::Protocol("a second greeting"));
        } else if header.kind == Pong::KIND {
            Pong::decode(body)?;
        }
        // Anything else is newer than this program and asks for no answer.
        Ok(())
    }

    async fn conversation_frame(&mut self, header: &Header, body_bytes: usize) -> Result<(), LinkError> {
        if header.kind.service == Service::Link as u8 && header.kind.method != METHOD_REFUSED {
            return Err(LinkError::Protocol("a link frame in a conversation"));
        }
        let ends = header.ends() || header.kind.method == METHOD_REFUSED;
        let place = lock(&self.shared.table).place(header.conversation)?;
        let known = match place {
            Place::Known(queue) => Some(queue),
            Place::Opens => None,
            Place::Late | Place::OneTooMany => {
                if matches!(place, Place::OneTooMany) {
                    refuse_urgently(self.shared, header.conversation, header.kind.service, Code::Busy);
                }
                return self.skip(header.conversation, body_bytes, ends).await;
            }
        };
        let permit = self.share_of_budget(body_bytes).await?;
        let body = self.body(body_bytes).await?;
        let queued = Queued { frame: Frame { kind: header.kind, flags: header.flags, body }, permit };
        let shared = self.shared;
        if let Some(queue) = known {
            // Its owner may have dropped it meanwhile; then the frame came to nothing.
            drop(queue.send(queued));
        } else {
            let (conversation, queue) = Conversation::opened(Arc::clone(shared), header);
            lock(&shared.table).opened(header.conversation, queue);
            drop(self.opened.send(Opened { first: queued, conversation }));
        }
        if ends {
            lock(&shared.table).they_ended(header.conversation);
        }
        Ok(())
    }

    /// Reads past a frame that nobody takes.
    async fn skip(&mut self, conversation: u32, body_bytes: usize, ends: bool) -> Result<(), LinkError> {
        drop(self.body(body_bytes).await?);
        let mut table = lock(&self.shared.table);
        table.late(ends)?;
        if ends {
            table.they_ended(conversation);
        }
        Ok(())
    }

    /// Waits until the owners have taken enough. Nothing is read meanwhile, so TCP slows the peer down.
    async fn share_of_budget(&self, body_bytes: usize) -> Result<tokio::sync::OwnedSemaphorePermit, LinkError> {
        let cost =
            u32::try_from(body_bytes + FRAME_COST_BYTES).map_err(|_| LinkError::Protocol("a frame is too long"))?;
        if let Ok(permit) = Arc::clone(&self.budget).try_acquire_many_owned(cost) {
            return Ok(permit);
        }
        self.shared.paused.store(true, Relaxed);
        let acquired = timeout(UNREAD_FOR, Arc::clone(&self.budget).acquire_many_owned(cost)).await;
        self.shared.meter.touch();
        self.shared.paused.store(false, Relaxed);
        match acquired {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(LinkError::Closed),
            Err(_) => Err(LinkError::Deadline("taking a received frame")),
        }
    }
}

/// The record if the peer's own key signed it; else nothing. A record of a newer version is no reason to part.
fn checked_address_record(peer: &PublicKey, record: &[u8]) -> Vec<u8> {
    if record.is_empty() {
        return Vec::new();
    }
    match AddressRecord::read(record) {
        Ok((fields, body, signature)) if fields.key == *peer && verify(peer, PREFIX_ADDRESS, body, &signature) => {
            record.to_vec()
        }
        Ok(_) => {
            log::warn!("the address record of {peer} is not signed by it; it is left aside");
            Vec::new()
        }
        Err(error) => {
            log::warn!("the address record of {peer} is left aside: {error}");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests;

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A link: one authenticated connection that carries conversations both ways, as its owner sees it. What runs behind it
//! is in `run`, the table of conversations in `table`.

use crate::conversation::{Conversation, Frame};
use crate::door::Door;
use crate::limits::CLOSE_WITHIN;
use crate::lock;
use crate::meter::Meter;
use crate::outbox::Outbox;
use crate::run::{self, Start};
use crate::table::Table;
use adit_wire::frame::{FrameError, Kind, MessageError};
use adit_wire::ids::{ChannelBinding, PublicKey};
use adit_wire::refusal::Code;
use std::fmt;
use std::net::SocketAddrV6;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

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

/// What went over a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes written to the TCP socket, TLS included.
    pub bytes_sent: u64,
    /// Bytes read from it.
    pub bytes_received: u64,
    /// Frames queued for sending.
    pub frames_sent: u64,
    /// Frames received.
    pub frames_received: u64,
    /// Of these, frames for conversations that had ended here.
    pub frames_late: u64,
    /// Conversations of the peer that were refused because too many were open.
    pub conversations_refused: u64,
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
        let newer = || format!("code {}, newer than this program", self.number);
        let text = self.code.map_or_else(newer, |code| code.text().to_owned());
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
    /// This side ended the conversation before.
    #[error("this side has ended the conversation")]
    Over,
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

impl LinkError {
    /// What the other side is told when the link ends like this.
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Frame(_) | Self::Message(_) | Self::Protocol(_) | Self::Unexpected { .. } => Code::Protocol as u16,
            Self::Version { .. } => Code::UnknownMethod as u16,
            Self::Deadline(_) | Self::Dead => Code::Deadline as u16,
            Self::Conversations(_) => Code::Busy as u16,
            Self::Broken(_)
            | Self::Cut
            | Self::NotPaired
            | Self::Goodbye(_)
            | Self::Closed
            | Self::Over
            | Self::Refused(_) => 0,
        }
    }
}

/// Which side of the connection this is. It decides whose conversation numbers are odd, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Dialler,
    Listener,
}

/// What handles, conversations and the link's task share.
pub(crate) struct Shared {
    pub(crate) side: Side,
    pub(crate) door: Door,
    pub(crate) peer: PublicKey,
    pub(crate) binding: ChannelBinding,
    pub(crate) remote: SocketAddrV6,
    pub(crate) meter: Arc<Meter>,
    pub(crate) outbox: Outbox,
    pub(crate) table: Mutex<Table>,
    pub(crate) greeting: watch::Sender<Option<PeerGreeting>>,
    /// The peer may use a link's full limits.
    pub(crate) trusted: AtomicBool,
    /// The reader waits for a conversation's owner.
    pub(crate) paused: AtomicBool,
    pub(crate) frames_received: AtomicU64,
    /// The link is cut: its task ends and nothing that came is handed out any more.
    pub(crate) stop: CancellationToken,
    /// The link's task has ended the link; `why` is set.
    pub(crate) ended: CancellationToken,
    why: OnceLock<LinkError>,
}

impl Shared {
    /// Why the link ended.
    pub(crate) fn why(&self) -> LinkError {
        self.why.get().cloned().unwrap_or(LinkError::Closed)
    }

    /// Ends the link for everybody who holds a part of it. The first reason stays.
    pub(crate) fn end(&self, why: LinkError) {
        let _first = self.why.set(why);
        // Before the table is cleared: whoever opens a conversation just now looks at it afterwards.
        self.ended.cancel();
        self.outbox.close();
        lock(&self.table).clear();
    }

    /// Ends the link and stops its task.
    pub(crate) fn fail(&self, why: LinkError) {
        self.end(why);
        self.stop.cancel();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { side, door, peer, remote, why, .. } = self;
        write!(f, "Link({side:?}, {door:?}, {peer:?}, {remote}, {why:?})")
    }
}

/// An authenticated connection. Dropping it cuts the connection; its conversations then end with [`LinkError::Closed`].
///
/// Everything takes `&self`: one task may wait in [`Link::incoming`] while others open conversations.
#[derive(Debug)]
pub struct Link {
    shared: Arc<Shared>,
    incoming: tokio::sync::Mutex<mpsc::UnboundedReceiver<run::Opened>>,
}

/// Cuts a link from elsewhere: for whoever removes a pin.
#[derive(Clone, Debug)]
pub struct Closer(Arc<Shared>);

impl Closer {
    /// Ends the link now: nothing received is handed out any more, Goodbye goes out if it can within a second.
    pub fn close(&self, code: Code) {
        self.0.outbox.goodbye(code as u16);
        self.0.fail(LinkError::Closed);
    }

    /// Whether the link has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.ended.is_cancelled()
    }

    /// Waits until the link has ended and says why.
    pub async fn closed(&self) -> LinkError {
        self.0.ended.cancelled().await;
        self.0.why()
    }
}

impl Link {
    /// Starts the link's task on an authenticated stream.
    pub(crate) fn start<IO>(io: IO, start: Start) -> Self
    where
        IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Sync + 'static,
    {
        let (shared, incoming) = run::spawn(io, start);
        Self { shared, incoming: tokio::sync::Mutex::new(incoming) }
    }

    /// The peer's key.
    #[must_use]
    pub fn peer(&self) -> PublicKey {
        self.shared.peer
    }

    /// What binds a proof to this connection.
    #[must_use]
    pub fn channel_binding(&self) -> ChannelBinding {
        self.shared.binding
    }

    /// The other end's address.
    #[must_use]
    pub fn remote(&self) -> SocketAddrV6 {
        self.shared.remote
    }

    /// The door this link came through.
    #[must_use]
    pub fn door(&self) -> Door {
        self.shared.door
    }

    /// What went over the link up to now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let Shared { meter, outbox, table, frames_received, .. } = &*self.shared;
        let (frames_late, conversations_refused) = lock(table).counts();
        Counters {
            bytes_sent: meter.sent_bytes(),
            bytes_received: meter.received_bytes(),
            frames_sent: outbox.frames(),
            frames_received: frames_received.load(Relaxed),
            frames_late,
            conversations_refused,
        }
    }

    /// Waits for the peer's Greeting; at the pairing door nobody greets. Sending need not wait for it: the first frames may leave with our own.
    ///
    /// # Errors
    /// When the link ends before; [`LinkError::NotPaired`] above all.
    pub async fn greeted(&self) -> Result<PeerGreeting, LinkError> {
        let mut greeting = self.shared.greeting.subscribe();
        let arrived = tokio::select! {
            biased;
            arrived = greeting.wait_for(Option::is_some) => arrived.ok().and_then(|greeting| greeting.clone()),
            () = self.shared.ended.cancelled() => None,
        };
        arrived.ok_or_else(|| self.shared.why())
    }

    /// Opens a conversation; its first frame tells the peer.
    ///
    /// # Errors
    /// When the link has ended or too many are open.
    pub fn open(&self) -> Result<Conversation, LinkError> {
        if self.shared.ended.is_cancelled() {
            return Err(self.shared.why());
        }
        lock(&self.shared.table).reserve()?;
        Ok(Conversation::unopened(Arc::clone(&self.shared)))
    }

    /// The next conversation that the peer opens, with its first frame. `None` when the link has ended and all that came
    /// before its end was taken. An owner that serves nothing still takes and drops them, so that the peer is told.
    pub async fn incoming(&self) -> Option<(Frame, Conversation)> {
        let mut incoming = self.incoming.lock().await;
        let opened = tokio::select! {
            biased;
            () = self.shared.stop.cancelled() => None,
            opened = incoming.recv() => opened,
            () = self.shared.ended.cancelled() => None,
        };
        opened.map(|opened| (opened.first.take(), opened.conversation))
    }

    /// A stranger proved who it is: the limits of the strangers' doors end.
    pub fn trust(&self) {
        self.shared.trusted.store(true, Relaxed);
    }

    /// Waits until the link has ended and says why.
    pub async fn closed(&self) -> LinkError {
        self.shared.ended.cancelled().await;
        self.shared.why()
    }

    /// A handle that cuts this link from elsewhere.
    #[must_use]
    pub fn closer(&self) -> Closer {
        Closer(Arc::clone(&self.shared))
    }

    /// Sends what waits, takes leave and closes. It gives up when the peer takes nothing for [`CLOSE_WITHIN`]. `None`:
    /// everything is done.
    pub async fn close(self, code: Option<Code>) {
        let Shared { outbox, meter, ended, .. } = &*self.shared;
        outbox.goodbye(code.map_or(0, |code| code as u16));
        let mut sent_bytes = u64::MAX;
        while sent_bytes != meter.sent_bytes() {
            sent_bytes = meter.sent_bytes();
            if timeout(CLOSE_WITHIN, ended.cancelled()).await.is_ok() {
                return;
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.fail(LinkError::Closed);
    }
}

/// The parts of [`Shared`] that the handshake knows.
pub(crate) fn share(start: &Start, meter: Arc<Meter>) -> Shared {
    Shared {
        side: start.side,
        door: start.door,
        peer: start.peer,
        binding: start.binding,
        remote: start.remote,
        meter,
        outbox: Outbox::new(),
        table: Mutex::new(Table::new(start.side)),
        greeting: watch::Sender::new(None),
        trusted: AtomicBool::new(start.side == Side::Dialler || start.door == Door::Main),
        paused: AtomicBool::new(false),
        frames_received: AtomicU64::new(0),
        stop: CancellationToken::new(),
        ended: CancellationToken::new(),
        why: OnceLock::new(),
    }
}

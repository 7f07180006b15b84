// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Asks an agent over its serial console: who it is and how its machine is. Blocking, for programs without a runtime; the
//! line is any `embedded_io` reader and writer.
//!
//! Each question stands for itself. A line may lose a frame, so a question may be asked again after any failure but a
//! refusal; a late answer to an earlier question is passed over.

use super::{SerialError, SerialFrame, SerialLine};
use crate::link::Refusal;
use adit_proto::encode;
use adit_wire::frame::{FLAG_END, METHOD_REFUSED, Message, MessageError};
use adit_wire::health::{Full, Poll, Same};
use adit_wire::link::{Greeting, PROTOCOL_MAJOR};
use adit_wire::refusal::{Code, Refused};
use embedded_io_async::ErrorKind;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// Why a question came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SerialClientError {
    /// The line failed, ended, or nothing came in time.
    #[error(transparent)]
    Line(#[from] SerialError),
    /// The agent said no.
    #[error(transparent)]
    Refused(Refusal),
    /// No protocol major in common.
    #[error("the agent speaks protocol {min} to {max}, this program {PROTOCOL_MAJOR}")]
    Version {
        /// Its lowest.
        min: u8,
        /// Its highest.
        max: u8,
    },
    /// A body is no such message.
    #[error("a message was refused")]
    Message(#[from] MessageError),
}

/// What an agent says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Program and version.
    pub software: String,
}

/// How the machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// Nothing changed since the report that was named.
    Same {
        /// Its number.
        report: u64,
    },
    /// A newer report.
    Full {
        /// Its number, for the next poll.
        report: u64,
        /// Hash of its inventory, for the next poll.
        inventory: u64,
        /// The positional snapshot.
        snapshot: Vec<u8>,
        /// The inventory, or nothing when the poll named its hash.
        inventory_bytes: Vec<u8>,
    },
}

/// The asking side of a console.
#[derive(Debug)]
pub struct SerialClient<L> {
    line: SerialLine<Blocking<L>>,
    within: Duration,
    conversation: u32,
}

impl<L: embedded_io::Read + embedded_io::Write> SerialClient<L> {
    /// Takes a line over. An answer must come `within` that time; it is looked at between two reads, so the line itself
    /// needs a read timeout (`UnixStream::set_read_timeout`), or a read of nothing waits for ever.
    pub fn new(line: L, within: Duration) -> Self {
        Self { line: SerialLine::new(Blocking { line, until: None }), within, conversation: 0 }
    }

    /// Gives the line back; what was read and not yet understood is lost.
    pub fn into_line(self) -> L {
        self.line.line.line
    }

    /// Says who is asking (`software`: program and version, at most 48 bytes) and hears who answers.
    ///
    /// # Errors
    /// When nothing comes in time, or the agent speaks another protocol.
    pub fn hello(&mut self, software: &str) -> Result<Hello, SerialClientError> {
        let greeting = Greeting {
            protocol_min: PROTOCOL_MAJOR,
            protocol_max: PROTOCOL_MAJOR,
            features: 0,
            conversations_max: 1,
            address_record: &[],
            software,
        };
        let ours = encode::body(&greeting)?;
        self.ask(Greeting::KIND, 0, &ours, |frame| {
            // What the line echoes is no answer.
            if frame.header.kind != Greeting::KIND || frame.body == ours {
                return None;
            }
            Some(Greeting::decode(frame.body).map_err(Into::into).and_then(|greeting| {
                let Greeting { protocol_min: min, protocol_max: max, software, .. } = greeting;
                let common = (min..=max).contains(&PROTOCOL_MAJOR);
                let hello = Hello { software: software.to_owned() };
                if common { Ok(hello) } else { Err(SerialClientError::Version { min, max }) }
            }))
        })
    }

    /// Asks how the machine is.
    ///
    /// # Errors
    /// When nothing comes in time or the agent refuses.
    pub fn poll(&mut self, poll: Poll) -> Result<Polled, SerialClientError> {
        self.conversation = self.conversation.wrapping_add(1).max(1);
        let question = encode::body(&poll)?;
        self.ask(Poll::KIND, self.conversation, &question, |frame| match frame.header.kind {
            kind if kind == Same::KIND => {
                Some(Same::decode(frame.body).map(|same| Polled::Same { report: same.report }).map_err(Into::into))
            }
            kind if kind == Full::KIND => Some(Full::decode(frame.body).map_err(Into::into).map(|full| Polled::Full {
                report: full.report,
                inventory: full.inventory,
                snapshot: full.snapshot.to_vec(),
                inventory_bytes: full.inventory_bytes.to_vec(),
            })),
            kind if kind.method == METHOD_REFUSED => Some(Err(refusal(frame.body))),
            _ => None,
        })
    }

    /// Sends a question and reads until `answer` takes a frame of the same conversation for the answer.
    fn ask<T>(
        &mut self,
        kind: adit_wire::frame::Kind,
        conversation: u32,
        body: &[u8],
        answer: impl Fn(SerialFrame<'_>) -> Option<Result<T, SerialClientError>>,
    ) -> Result<T, SerialClientError> {
        self.line.line.until = Some(Instant::now() + self.within);
        at_once(self.line.send(kind, if conversation == 0 { 0 } else { FLAG_END }, conversation, &[body]))?;
        loop {
            let frame = at_once(self.line.recv())?;
            if frame.header.conversation == conversation
                && let Some(answer) = answer(frame)
            {
                return answer;
            }
        }
    }
}

fn refusal(body: &[u8]) -> SerialClientError {
    Refused::decode(body).map_or_else(Into::into, |refused| {
        SerialClientError::Refused(Refusal {
            number: refused.code,
            code: Code::from_number(refused.code),
            retry_after_s: refused.retry_after_s,
            detail: refused.detail.to_owned(),
        })
    })
}

/// A blocking line as an asynchronous one that never waits: each call is done when it returns.
#[derive(Debug)]
struct Blocking<L> {
    line: L,
    /// When reading is given up.
    until: Option<Instant>,
}

impl<L: embedded_io::ErrorType> embedded_io::ErrorType for Blocking<L> {
    type Error = ErrorKind;
}

impl<L: embedded_io::Read> embedded_io_async::Read for Blocking<L> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return Err(ErrorKind::TimedOut);
        }
        self.line.read(buffer).map_err(|error| embedded_io::Error::kind(&error))
    }
}

impl<L: embedded_io::Write> embedded_io_async::Write for Blocking<L> {
    async fn write(&mut self, buffer: &[u8]) -> Result<usize, ErrorKind> {
        self.line.write(buffer).map_err(|error| embedded_io::Error::kind(&error))
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        self.line.flush().map_err(|error| embedded_io::Error::kind(&error))
    }
}

/// What a future gives that only does blocking calls.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => unreachable!("a blocking line never waits"),
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The console: adit's frames on a character device (a serial port, a port of virtio) and on a socket of this machine.
//! Whoever holds the line is the member, who sees health, and what runs and which disks there are where the machine is
//! adit's own, and has no power over the data; whoever may open the socket is told no more.
//!
//! A line loses frames, is pulled and floods; so nothing is remembered between two frames, one is served at a time, and a
//! device that is absent or fails is opened again, for ever. This never sends anything unasked.

use crate::event::Event;
use crate::serve::{self, ServeError};
use crate::shared::Shared;
use adit_link::serial::local::{LocalLine, LocalListener};
use adit_link::serial::{SerialFrame, SerialLine};
use adit_proto::encode;
use adit_proto::roles::{self, Who};
use adit_wire::frame::{FLAG_END, Kind, METHOD_REFUSED, Message, Service};
use adit_wire::link::{Greeting, PROTOCOL_MAJOR, Ping, Pong};
use adit_wire::refusal::{Code, Refused};
use embedded_io_async::{ErrorType, Read, Write};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long an absent, hung-up or broken device is left alone. A port of virtio whose other side is not connected reads as
/// ended each time.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The other side takes none of an answer for this long: the device is opened anew, which forgets the answer.
const WRITE_WITHIN: Duration = Duration::from_secs(30);
/// At most one refusal in this time is logged: a console has no key to blame and can't be cut off.
const REFUSAL_TOLD_EVERY: Duration = Duration::from_secs(60);

/// Callers of the socket at once; one more waits.
const CALLERS_MAX: usize = 8;
/// A caller of the socket that asks nothing for this long is let go.
const CALLER_IDLE: Duration = Duration::from_secs(120);

/// The name of the console in events.
const NAME: &str = "the console";

/// Serves the device of this path until the task is dropped.
pub(crate) async fn keep(shared: Arc<Shared>, path: PathBuf) {
    let mut console = Console { shared, path, told: false, refusal_told: None };
    loop {
        let why = match Device::open(&console.path) {
            Ok(device) => console.serve(device).await,
            Err(error) => error.to_string(),
        };
        if !std::mem::replace(&mut console.told, true) {
            let path = console.path.display().to_string();
            console.shared.events.record(&Event::ConsoleWaits { path, why });
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Takes the socket for programs of this machine, where its directory is there.
pub(crate) fn bind(shared: &Shared) -> Option<LocalListener> {
    let path = &shared.config.health.socket;
    if !path.parent().is_some_and(Path::is_dir) {
        return None;
    }
    LocalListener::bind(path)
        .inspect_err(|error| {
            let path = path.display().to_string();
            shared.events.record(&Event::ConsoleWaits { path, why: error.to_string() });
        })
        .ok()
}

/// Serves the socket until the task is dropped.
pub(crate) async fn listen(shared: Arc<Shared>, listener: LocalListener) {
    let path = shared.config.health.socket.clone();
    let callers = Arc::new(Semaphore::new(CALLERS_MAX));
    loop {
        let Ok(place) = Arc::clone(&callers).acquire_owned().await else { return };
        match listener.accept().await {
            Ok(line) => {
                let console =
                    Console { shared: Arc::clone(&shared), path: path.clone(), told: false, refusal_told: None };
                drop(
                    shared
                        .tasks
                        .spawn(shared.stop.child_token().run_until_cancelled_owned(caller(console, line, place))),
                );
            }
            // No descriptor is left for a moment: the callers that are here will give some back.
            Err(_full) => tokio::time::sleep(AGAIN_AFTER).await,
        }
    }
}

async fn caller(mut console: Console, mut line: LocalLine, _place: OwnedSemaphorePermit) {
    while let Ok(Ok(frame)) = timeout(CALLER_IDLE, line.recv()).await {
        let Some(reply) = console.answer(frame).await else { continue };
        if reply.send(&mut line).await.is_err() {
            return;
        }
    }
}

struct Console {
    shared: Arc<Shared>,
    path: PathBuf,
    /// That it waits was told, and no frame came since.
    told: bool,
    refusal_told: Option<Instant>,
}

/// A frame on its way out.
struct Reply {
    kind: Kind,
    conversation: u32,
    body: Vec<u8>,
}

impl Reply {
    async fn send<L: Write>(self, line: &mut SerialLine<L>) -> Result<(), String> {
        let Self { kind, conversation, body } = self;
        let flags = if conversation == 0 { 0 } else { FLAG_END };
        match timeout(WRITE_WITHIN, line.send(kind, flags, conversation, &[&body])).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(crate::report::chain(&error)),
            Err(_) => Err("the other side takes no answer".to_owned()),
        }
    }
}

impl Console {
    /// Answers frames until the device is of no use; answers why.
    async fn serve(&mut self, device: Device) -> String {
        let mut line = SerialLine::new(device);
        let mut heard = false;
        loop {
            let reply = match line.recv().await {
                Ok(frame) => {
                    if !std::mem::replace(&mut heard, true) {
                        self.told = false;
                        let path = self.path.display().to_string();
                        self.shared.events.record(&Event::ConsoleSpeaks { path });
                    }
                    self.answer(frame).await
                }
                Err(error) => return crate::report::chain(&error),
            };
            let Some(reply) = reply else { continue };
            if let Err(why) = reply.send(&mut line).await {
                return why;
            }
        }
    }

    async fn answer(&mut self, frame: SerialFrame<'_>) -> Option<Reply> {
        let (kind, conversation) = (frame.header.kind, frame.header.conversation);
        if conversation == 0 {
            let (kind, body) = greet(kind, frame.body)?;
            return Some(Reply { kind, conversation, body });
        }
        if kind.method == METHOD_REFUSED {
            return None;
        }
        let (kind, body) = match self.request(kind, frame.body).await {
            Ok(answer) => answer,
            Err(ServeError::Refused { code, retry_after_s, detail }) => {
                if self.refusal_told.is_none_or(|told| told.elapsed() >= REFUSAL_TOLD_EVERY) {
                    self.refusal_told = Some(Instant::now());
                    serve::tell_refusal(&self.shared.events, NAME, kind, code, &detail);
                }
                let detail = serve::shorten(&detail);
                let refused = encode::body(&Refused { code: code as u16, retry_after_s, detail }).ok()?;
                (Kind { method: METHOD_REFUSED, major: 1, ..kind }, refused)
            }
            Err(ServeError::Link(_)) => return None,
        };
        Some(Reply { kind, conversation, body })
    }

    /// The same table as on the network; of its services those that answer one frame by one.
    async fn request(&self, kind: Kind, body: &[u8]) -> Result<(Kind, Vec<u8>), ServeError> {
        match serve::admit(Who::Console, kind)?.service {
            Service::Health => serve::health::answer(&self.shared, Message::decode(body)?).await,
            Service::Appliance => serve::appliance::answer(kind, body).await,
            Service::Link | Service::Pair | Service::Backup | Service::Read | Service::Recover | Service::Admin => {
                Err(ServeError::refused(Code::NotAllowed))
            }
        }
    }
}

/// The answer to a frame of the link, if there is one.
fn greet(kind: Kind, body: &[u8]) -> Option<(Kind, Vec<u8>)> {
    if !roles::allowed(Who::Console, kind) {
        return None;
    }
    if kind == Ping::KIND {
        let nonce = Ping::decode(body).ok()?.nonce;
        return Some((Pong::KIND, encode::body(&Pong { nonce }).ok()?));
    }
    Greeting::decode(body).ok()?;
    let ours = Greeting {
        protocol_min: PROTOCOL_MAJOR,
        protocol_max: PROTOCOL_MAJOR,
        features: 0,
        conversations_max: 1,
        address_record: &[],
        software: concat!("aditd ", env!("CARGO_PKG_VERSION")),
    };
    let ours = encode::body(&ours).ok()?;
    // A line that echoes would be greeted for ever.
    (body != ours).then_some((Greeting::KIND, ours))
}

/// An open device that passes bytes as they are. Tokio's pipes are its safe way to wait for any other file.
#[derive(Debug)]
struct Device {
    reads: Receiver,
    writes: Sender,
}

impl Device {
    fn open(path: &Path) -> io::Result<Self> {
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        let file = File::options().read(true).write(true).custom_flags(flags).open(path)?;
        if !file.metadata()?.file_type().is_char_device() {
            return Err(io::Error::other("it is no character device"));
        }
        // A terminal would echo, and turn some bytes into others. Anything else has no such settings.
        if let Ok(mut settings) = tcgetattr(&file) {
            cfmakeraw(&mut settings);
            tcsetattr(&file, SetArg::TCSANOW, &settings)?;
        }
        Ok(Self {
            reads: Receiver::from_file_unchecked(file.try_clone()?)?,
            writes: Sender::from_file_unchecked(file)?,
        })
    }
}

impl ErrorType for Device {
    type Error = io::Error;
}

impl Read for Device {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A flood leaves the thread to others between two reads.
        tokio::task::consume_budget().await;
        self.reads.read(buffer).await
    }
}

impl Write for Device {
    async fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.writes.write(buffer).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

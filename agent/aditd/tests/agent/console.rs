// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The serial console: a real agent on a pseudo-terminal, asked by the client that the harness uses.

use crate::lab::{As, Lab, aditd, until};
use adit_link::serial::local;
use adit_link::serial::{Polled, SerialClient, SerialClientError, SerialLine};
use adit_proto::roles::{TABLE, Who};
use adit_wire::frame::{FLAG_END, Kind, METHOD_REFUSED, Message, Service};
use adit_wire::health::Poll;
use adit_wire::link::{Goodbye, Greeting, PROTOCOL_MAJOR, Ping, Pong};
use adit_wire::refusal::{Code, Refused};
use embedded_io_async::{ErrorKind, ErrorType};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a read of nothing waits.
const QUIET: Duration = Duration::from_millis(200);
/// How long the agent may take to look at a device again, and to collect its first report.
const WITHIN: Duration = Duration::from_secs(20);

/// The near end of a pseudo-terminal; the far end is kept open, as a port stays when its user goes.
struct Line {
    near: File,
    _far: OwnedFd,
}

impl Line {
    /// A new line whose far end is found at `port`.
    fn at(port: &Path) -> Self {
        let pty = openpty(None, None).expect("a pseudo-terminal");
        let far: PathBuf = nix::unistd::ttyname(&pty.slave).expect("its name");
        let new = port.with_extension("new");
        symlink(far, &new).expect("linked");
        std::fs::rename(new, port).expect("in place");
        Self { near: File::from(pty.master), _far: pty.slave }
    }

    fn wait(&self, events: PollFlags) -> Result<(), ErrorKind> {
        let quiet = PollTimeout::try_from(QUIET).expect("short");
        let ready = poll(&mut [PollFd::new(self.near.as_fd(), events)], quiet).expect("polled");
        if ready == 0 { Err(ErrorKind::TimedOut) } else { Ok(()) }
    }
}

impl ErrorType for Line {
    type Error = ErrorKind;
}

impl embedded_io::Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        self.wait(PollFlags::POLLIN)?;
        self.near.read(buffer).map_err(|_| ErrorKind::Other)
    }
}

impl embedded_io::Write for Line {
    fn write(&mut self, buffer: &[u8]) -> Result<usize, ErrorKind> {
        self.wait(PollFlags::POLLOUT)?;
        self.near.write(buffer).map_err(|_| ErrorKind::Other)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// Frames by hand, over the same line.
struct ByHand(Line);

impl ErrorType for ByHand {
    type Error = ErrorKind;
}

impl embedded_io_async::Read for ByHand {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        embedded_io::Read::read(&mut self.0, buffer)
    }
}

impl embedded_io_async::Write for ByHand {
    async fn write(&mut self, buffer: &[u8]) -> Result<usize, ErrorKind> {
        embedded_io::Write::write(&mut self.0, buffer)
    }
    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// An agent whose console is at `port` in its directory, which doesn't exist yet.
async fn lab(what: As) -> (Lab, PathBuf) {
    let mut lab = Lab::start(what).await;
    let port = lab.dir.path().join("port");
    let text = std::fs::read_to_string(lab.config_path()).expect("read");
    std::fs::write(lab.config_path(), format!("console = {port:?}\n{text}")).expect("written");
    lab.restart().await;
    (lab, port)
}

/// Asks until the agent has found the line; answers the program that answered.
fn hello(client: &mut SerialClient<Line>) -> String {
    let deadline = std::time::Instant::now() + WITHIN;
    loop {
        match client.hello("test 1") {
            Ok(hello) => return hello.software,
            Err(SerialClientError::Line(_)) if std::time::Instant::now() < deadline => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn polled(client: &mut SerialClient<Line>, question: Poll) -> Polled {
    let deadline = std::time::Instant::now() + WITHIN;
    loop {
        match client.poll(question) {
            Ok(polled) => return polled,
            Err(SerialClientError::Line(_)) if std::time::Instant::now() < deadline => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Blocking calls beside the agent that runs in this process.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("done")
}

#[tokio::test]
async fn health_is_served_on_a_serial_console() {
    let mut lab = Lab::start(As::Box).await;
    lab.stop().await;
    let port = lab.dir.path().join("port");
    let text = std::fs::read_to_string(lab.config_path()).expect("read");
    std::fs::write(lab.config_path(), format!("console = {port:?}\n{text}")).expect("written");
    let run = aditd(&["--check", "--config", lab.config_path().to_str().expect("UTF-8")]);
    assert!(run.stdout.contains(&format!("console {}\n", port.display())), "{}", run.stdout);
    lab.start_again_as_program(None).await;
    beside(move || {
        let mut client = SerialClient::new(Line::at(&port), QUIET);
        assert_eq!(hello(&mut client), concat!("aditd ", env!("CARGO_PKG_VERSION")));
        let Polled::Full { report, inventory, snapshot, inventory_bytes } =
            polled(&mut client, Poll { inventory: 0, report: 0 })
        else {
            panic!("the first report is a whole one")
        };
        let read = adit_health::decode(&inventory_bytes, &snapshot).expect("readable");
        assert!(read.components.iter().any(|component| component.id.contains("store")), "{read:?}");
        assert_eq!(polled(&mut client, Poll { inventory, report }), Polled::Same { report });
    })
    .await;
    assert!(lab.terminate().success());
}

#[tokio::test]
async fn programs_of_this_machine_ask_at_a_socket() {
    /// More callers than have places at once.
    const CALLERS: usize = 12;
    let mut lab = Lab::start(As::PlainAgent).await;
    lab.stop().await;
    let socket = lab.dir.path().join("health.sock");
    let text = std::fs::read_to_string(lab.config_path()).expect("read");
    std::fs::write(lab.config_path(), format!("{text}[health]\nsocket = {socket:?}\n")).expect("written");
    lab.start_again_as_program(None).await;
    let mode = std::fs::metadata(&socket).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let asked = socket.clone();
    beside(move || {
        for _ in 0..CALLERS {
            let mut client = local::reach(&asked, Duration::from_secs(30)).expect("reached");
            assert!(client.hello("test").expect("greeted").software.starts_with("aditd "));
            assert!(matches!(client.poll(Poll { inventory: 0, report: 0 }), Ok(Polled::Full { .. })));
        }
    })
    .await;
    // A socket that a killed agent left is taken over by the next one.
    lab.kill();
    assert!(socket.exists());
    lab.start_again_as_program(None).await;
    beside(move || local::reach(&socket, Duration::from_secs(30)).expect("reached").hello("test").expect("greeted"))
        .await;
    assert!(lab.terminate().success());
}

#[tokio::test]
async fn the_console_comes_back_after_absence_and_hang_up() {
    let (lab, port) = lab(As::PlainAgent).await;
    until("the absence is told", || lab.events.count("console_waits_total") == 1).await;
    for round in 1..=3u64 {
        let port = port.clone();
        let software = beside(move || hello(&mut SerialClient::new(Line::at(&port), QUIET))).await;
        assert!(software.starts_with("aditd "));
        // The line went with its client.
        until("the hang-up is told", || lab.events.count("console_waits_total") == 1 + round).await;
        assert_eq!(lab.events.count("consoles_total"), round);
    }
    // A file that is no device is waited for like an absent one, and the network is served all the while.
    std::fs::remove_file(&port).expect("removed");
    std::fs::write(&port, b"").expect("written");
    let monitor = lab.paired(adit_wire::pair::Role::Monitor, "mon").await;
    monitor.connect(&lab).await;
    std::fs::remove_file(&port).expect("removed");
    beside(move || hello(&mut SerialClient::new(Line::at(&port), QUIET))).await;
}

/// What the console says to a frame of this kind; nothing is said when PONG, asked for behind it, comes first.
async fn said(line: &mut SerialLine<ByHand>, kind: Kind, conversation: u32, body: &[u8]) -> Option<(Kind, Vec<u8>)> {
    let end = if conversation == 0 { 0 } else { FLAG_END };
    line.send(kind, end, conversation, &[body]).await.expect("sent");
    let nonce = u64::from(conversation);
    let ping = adit_proto::encode::body(&Ping { nonce }).expect("short");
    if kind != Ping::KIND {
        line.send(Ping::KIND, 0, 0, &[&ping]).await.expect("sent");
    }
    let first = {
        let frame = line.recv().await.expect("PONG at the latest");
        assert_eq!(frame.header.flags, if frame.header.conversation == 0 { 0 } else { FLAG_END });
        (frame.header.kind, frame.body.to_vec())
    };
    if kind == Ping::KIND {
        return Some(first);
    }
    if first.0 == Pong::KIND {
        return None;
    }
    assert_eq!(line.recv().await.expect("PONG").header.kind, Pong::KIND);
    Some(first)
}

#[tokio::test]
async fn every_cell_of_the_console() {
    let (lab, port) = lab(As::Box).await;
    let cells = beside(move || {
        let mut client = SerialClient::new(Line::at(&port), QUIET);
        hello(&mut client);
        polled(&mut client, Poll { inventory: 0, report: 0 });
        drop(client);
        let mut client = SerialClient::new(Line::at(&port), QUIET);
        hello(&mut client);
        let mut line = SerialLine::new(ByHand(client.into_line()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(walk(&mut line))
    })
    .await;
    assert_eq!(cells, TABLE.len());
    assert_eq!(lab.events.count("not_allowed_total") + lab.events.count("protocol_errors_total"), 1, "one a minute");
}

async fn walk(line: &mut SerialLine<ByHand>) -> usize {
    let mut cells = 0;
    for (number, row) in (1..).zip(TABLE) {
        let kind = Kind { service: row.service as u8, method: row.method, major: 1 };
        let allowed = row.allows(Who::Console);
        if row.service == Service::Link {
            let body = link_body(kind);
            let answer = said(line, kind, 0, &body).await;
            assert_eq!(answer.is_some(), allowed, "{} answered {answer:?}", row.name);
        } else {
            let (answer, body) = said(line, kind, number, &[]).await.expect("an answer");
            assert_eq!((answer.service, answer.method), (kind.service, METHOD_REFUSED), "an empty body is refused");
            let code = Code::from_number(Refused::decode(&body).expect("a refusal").code);
            assert_eq!(code == Some(Code::NotAllowed), !allowed, "{} answered {code:?}", row.name);
            for unknown in [Kind { method: 200, ..kind }, Kind { major: 9, ..kind }] {
                let (_, body) = said(line, unknown, number, &[]).await.expect("an answer");
                assert_eq!(Refused::decode(&body).expect("a refusal").code, Code::UnknownMethod as u16);
            }
            // A refusal is never answered, nor is a request outside a conversation.
            assert_eq!(said(line, Kind { method: METHOD_REFUSED, ..kind }, number, &[]).await, None);
            assert_eq!(said(line, kind, 0, &[]).await, None);
        }
        cells += 1;
    }
    cells
}

/// A well-formed body of a frame of the link.
fn link_body(kind: Kind) -> Vec<u8> {
    let greeting = Greeting {
        protocol_min: PROTOCOL_MAJOR,
        protocol_max: PROTOCOL_MAJOR,
        features: 0,
        conversations_max: 1,
        address_record: &[],
        software: "test 1",
    };
    let encoded = if kind == Greeting::KIND {
        adit_proto::encode::body(&greeting)
    } else if kind == Goodbye::KIND {
        adit_proto::encode::body(&Goodbye { code: 0 })
    } else {
        adit_proto::encode::body(&Ping { nonce: 7 })
    };
    encoded.expect("short")
}

/// A flood of noise, frames cut short and requests that nobody reads the answers of: the next question is answered, and the
/// agent has grown by less than a few frames.
#[tokio::test]
async fn a_flood_on_the_console_costs_nothing() {
    let (mut lab, port) = lab(As::PlainAgent).await;
    lab.stop().await;
    lab.start_again_as_program(None).await;
    let process = lab.process_id();
    beside(move || {
        let mut client = SerialClient::new(Line::at(&port), QUIET);
        hello(&mut client);
        polled(&mut client, Poll { inventory: 0, report: 0 });
        let before = crate::program::own_memory_mib(process);
        let mut line = client.into_line();
        let seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut state = seed;
        for _ in 0..4_096 {
            let noise: Vec<u8> = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[0]
            })
            .take(1_024)
            .collect();
            // What doesn't fit is left out: a line has no patience either.
            let _lost = embedded_io::Write::write(&mut line, &noise);
        }
        // Questions whose answers nobody reads, until the line takes no more.
        let mut line = ByHand(line);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let mut line = SerialLine::new(&mut line);
            let peers = Kind { service: Service::Admin as u8, method: 1, major: 1 };
            while line.send(peers, FLAG_END, 1, &[&[0]]).await.is_ok() {}
        });
        let ByHand(mut line) = line;
        while embedded_io::Read::read(&mut line, &mut [0; 4_096]).is_ok() {}
        let mut client = SerialClient::new(line, QUIET);
        assert!(hello(&mut client).starts_with("aditd "), "seed {seed:#x}");
        let grown = crate::program::own_memory_mib(process).saturating_sub(before);
        assert!(grown <= 2, "grown by {grown} MiB, seed {seed:#x}");
    })
    .await;
}

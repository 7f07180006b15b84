// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One conversation with a service: a stream, one deadline over all of it, a bound on what it may say. It stands apart so
//! that no module can forget a timeout. It never names a service and never writes more than it was told.

use crate::error::AskError;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, SocketAddrV6, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// A stream whose reads and writes can be given a limit.
#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A conversation that ends at its deadline and takes at most so many bytes.
#[derive(Debug)]
pub(crate) struct Talk {
    stream: Stream,
    whom: String,
    limit: Duration,
    until: Instant,
    left_bytes: usize,
    max_bytes: usize,
    buffer: Vec<u8>,
}

impl Talk {
    /// Connects to a port over IPv6.
    pub(crate) fn tcp(to: SocketAddrV6, limit: Duration, max_bytes: usize) -> Result<Self, AskError> {
        let whom = to.to_string();
        let until = Instant::now() + limit;
        let stream = TcpStream::connect_timeout(&SocketAddr::V6(to), limit).map_err(|source| {
            if source.kind() == io::ErrorKind::TimedOut {
                deadline(&whom, limit)
            } else {
                AskError::Connect { whom: whom.clone(), source }
            }
        })?;
        Ok(Self {
            stream: Stream::Tcp(stream),
            whom,
            limit,
            until,
            left_bytes: max_bytes,
            max_bytes,
            buffer: Vec::new(),
        })
    }

    /// Connects to a socket in the file system. A service whose queue is full counts as one that does not listen: the
    /// plain call would wait for it without end.
    pub(crate) fn unix(path: &Path, limit: Duration, max_bytes: usize) -> Result<Self, AskError> {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
        let whom = path.display().to_string();
        let refused = |source: io::Error| AskError::Connect { whom: whom.clone(), source };
        let address = SocketAddrUnix::new(path).map_err(|error| refused(error.into()))?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket: OwnedFd =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(|error| refused(error.into()))?;
        connect(&socket, &address).map_err(|error| refused(error.into()))?;
        let stream = UnixStream::from(socket);
        stream.set_nonblocking(false).map_err(refused)?;
        let until = Instant::now() + limit;
        Ok(Self {
            stream: Stream::Unix(stream),
            whom,
            limit,
            until,
            left_bytes: max_bytes,
            max_bytes,
            buffer: Vec::new(),
        })
    }

    /// Who is on the other side.
    pub(crate) fn whom(&self) -> &str {
        &self.whom
    }

    /// Says all of it.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> Result<(), AskError> {
        self.arm()?;
        let said = match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
        };
        said.map_err(|source| self.broken(source))
    }

    /// One line without its end; `None` where the other side has said its last.
    pub(crate) fn line(&mut self) -> Result<Option<String>, AskError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                return Ok(Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()));
            }
            if !self.more()? {
                return if self.buffer.is_empty() { Ok(None) } else { Err(self.cut_off()) };
            }
        }
    }

    /// Exactly so many bytes. The caller has bounded the count.
    pub(crate) fn exactly(&mut self, count: usize) -> Result<Vec<u8>, AskError> {
        while self.buffer.len() < count {
            if !self.more()? {
                return Err(self.cut_off());
            }
        }
        let rest = self.buffer.split_off(count);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// Everything up to the end of the stream.
    pub(crate) fn all(&mut self) -> Result<Vec<u8>, AskError> {
        while self.more()? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Reads once; false at the end of the stream.
    fn more(&mut self) -> Result<bool, AskError> {
        self.arm()?;
        let mut piece = [0; 4096];
        let read = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(&mut piece),
            Stream::Unix(stream) => stream.read(&mut piece),
        };
        let count = match read {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(self.broken(error)),
        };
        if count > self.left_bytes {
            return Err(AskError::TooLong { whom: self.whom.clone(), limit: self.max_bytes, unit: "bytes" });
        }
        self.left_bytes -= count;
        self.buffer.extend_from_slice(piece.get(..count).unwrap_or_default());
        Ok(count > 0)
    }

    /// Gives the next read or write the time that is left.
    fn arm(&self) -> Result<(), AskError> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(deadline(&self.whom, self.limit));
        }
        let armed = match &self.stream {
            Stream::Tcp(stream) => {
                stream.set_read_timeout(Some(left)).and_then(|()| stream.set_write_timeout(Some(left)))
            }
            Stream::Unix(stream) => {
                stream.set_read_timeout(Some(left)).and_then(|()| stream.set_write_timeout(Some(left)))
            }
        };
        armed.map_err(|source| AskError::Talk { whom: self.whom.clone(), source })
    }

    fn broken(&self, source: io::Error) -> AskError {
        if matches!(source.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            deadline(&self.whom, self.limit)
        } else {
            AskError::Talk { whom: self.whom.clone(), source }
        }
    }

    fn cut_off(&self) -> AskError {
        AskError::Talk { whom: self.whom.clone(), source: io::ErrorKind::UnexpectedEof.into() }
    }
}

fn deadline(whom: &str, limit: Duration) -> AskError {
    AskError::Deadline { whom: whom.to_owned(), limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    const LONG: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(50);

    fn listener() -> (TcpListener, SocketAddrV6) {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let SocketAddr::V6(address) = listener.local_addr().unwrap() else { panic!("bound over IPv6") };
        (listener, address)
    }

    #[test]
    fn lines_come_one_by_one() {
        let (listener, address) = listener();
        let mut talk = Talk::tcp(address, LONG, 100).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        far.write_all(b"one\r\ntwo\n").unwrap();
        drop(far);
        assert_eq!(talk.line().unwrap().as_deref(), Some("one"));
        assert_eq!(talk.line().unwrap().as_deref(), Some("two"));
        assert_eq!(talk.line().unwrap(), None);
    }

    #[test]
    fn half_a_line_is_a_broken_conversation() {
        let (listener, address) = listener();
        let mut talk = Talk::tcp(address, LONG, 100).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        far.write_all(b"hal").unwrap();
        drop(far);
        assert!(matches!(talk.line(), Err(AskError::Talk { .. })));
    }

    #[test]
    fn a_talker_without_end_is_cut() {
        let (listener, address) = listener();
        let mut talk = Talk::tcp(address, LONG, 100).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        far.write_all(&[b'x'; 101]).unwrap();
        assert!(matches!(talk.line(), Err(AskError::TooLong { limit: 100, .. })));
    }

    #[test]
    fn silence_ends_at_the_deadline() {
        let (listener, address) = listener();
        let mut talk = Talk::tcp(address, SHORT, 100).unwrap();
        let far = listener.accept().unwrap();
        assert!(matches!(talk.line(), Err(AskError::Deadline { limit_ms: 50, .. })));
        assert!(matches!(talk.say(b"x"), Err(AskError::Deadline { .. })));
        drop(far);
    }

    #[test]
    fn nobody_is_told_from_a_full_queue() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        assert!(matches!(Talk::unix(&path, LONG, 1), Err(AskError::Connect { .. })));
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let first = Talk::unix(&path, LONG, 1).unwrap();
        assert!(first.whom().ends_with("/s"));
        // Nobody accepts and the queue holds one: a plain connect would wait without end.
        let second = Talk::unix(&path, LONG, 1);
        assert!(matches!(&second, Err(AskError::Connect { .. })), "{second:?}");
    }
}

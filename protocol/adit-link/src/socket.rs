// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Socket options, for dialler and listener alike: IPv6 only, no Nagle, keepalive, a limit on unacknowledged bytes, and
//! segments that fit IPv6's least MTU.

use crate::limits::{MSS_BYTES, STALLED_AFTER};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddrV6;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::Duration;

/// The kernel asks an idle peer after this time; PING comes long before it, this is for a stopped program.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// Between two such questions.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
/// Connections that wait in the kernel for the listener.
const BACKLOG: i32 = 128;

fn socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_only_v6(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY))?;
    socket.set_tcp_user_timeout(Some(STALLED_AFTER))?;
    socket.set_tcp_mss(MSS_BYTES)?;
    Ok(socket)
}

/// A socket to dial with.
pub(crate) fn dialling() -> io::Result<TcpSocket> {
    Ok(TcpSocket::from_std_stream(socket()?.into()))
}

/// A listening socket; accepted connections inherit its options.
pub(crate) fn listening(address: SocketAddrV6) -> io::Result<TcpListener> {
    let socket = socket()?;
    // A restarted daemon takes its port back while old connections linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_what_the_head_says() {
        let socket = socket().unwrap();
        assert!(socket.only_v6().unwrap());
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(STALLED_AFTER));
    }
}

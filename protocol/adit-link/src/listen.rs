// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A listener: takes connections, lets strangers cost only what the limits say, and hands over finished links.

use crate::door::{Door, Gate};
use crate::identity::Identity;
use crate::limits::Limits;
use crate::link::{About, Link};
use adit_wire::ids::PublicKey;
use std::net::SocketAddrV6;
use std::sync::Arc;

/// A finished handshake.
#[derive(Debug)]
pub struct Incoming {
    /// The link.
    pub link: Link,
    /// The door it came through.
    pub door: Door,
    /// The dialler's key; pinned when the door is [`Door::Main`].
    pub peer: PublicKey,
    /// Where it came from.
    pub remote: SocketAddrV6,
}

/// What happened at the door.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A key that is no peer's asked for the main door.
    UnknownKey {
        /// From where.
        remote: SocketAddrV6,
        /// Which.
        key: PublicKey,
    },
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address can't be listened on.
    #[error("listen on {address}")]
    Bind {
        /// Which.
        address: SocketAddrV6,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// IPv4 in IPv6's clothes.
    #[error("{0} is an IPv4 address; adit speaks IPv6 only")]
    Ipv4(SocketAddrV6),
    /// The listener has stopped.
    #[error("the listener has stopped")]
    Stopped,
}

/// Accepts links.
#[derive(Debug)]
pub struct Listener {}

impl Listener {
    /// Listens.
    ///
    /// # Errors
    /// When the address is taken, not this machine's, or an IPv4 address.
    pub async fn bind(
        address: SocketAddrV6,
        identity: Identity,
        gate: Arc<dyn Gate>,
        about: About,
        limits: Limits,
    ) -> Result<Self, ListenError> {
        let _ = (identity, gate, about);
        unimplemented!("{address} {limits:?}")
    }

    /// The address that is listened on.
    #[must_use]
    pub fn local_address(&self) -> SocketAddrV6 {
        unimplemented!()
    }

    /// What links say of this machine from now on.
    pub fn announce(&self, about: About) {
        unimplemented!("{about:?}")
    }

    /// The next finished handshake.
    ///
    /// # Errors
    /// When the listener has stopped.
    pub async fn accept(&mut self) -> Result<Incoming, ListenError> {
        unimplemented!()
    }

    /// What happened since the last call.
    #[must_use]
    pub fn take_events(&self) -> Vec<Event> {
        unimplemented!()
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where to dial: an IPv6 address or a name, and a port. The one parser that knows IPv4, to refuse it with the reason.

use std::fmt;
use std::net::SocketAddrV6;

/// Where to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An address.
    Address(SocketAddrV6),
    /// A name, resolved at each dial.
    Name(String, u16),
}

/// Why a text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// IPv4.
    #[error("'{0}' is an IPv4 address; adit speaks IPv6 only: give the machine's IPv6 address or a name that has one")]
    Ipv4(String),
    /// Not an address and not a name.
    #[error("'{0}' is neither an IPv6 address nor a name")]
    Malformed(String),
    /// The port.
    #[error("'{0}' has no port between 1 and 65535")]
    Port(String),
    /// The zone.
    #[error("'{0}' names a network interface that this machine does not have")]
    Zone(String),
}

impl Target {
    /// Reads `[v6%zone]:port`, `v6`, `v6%zone`, `name:port` or `name`; without a port it is adit's own.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        unimplemented!("{text}")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

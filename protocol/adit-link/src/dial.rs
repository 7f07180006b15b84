// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Dialling: names to addresses, addresses to a link, and for a person which hop failed.

use crate::door::Door;
use crate::identity::Identity;
use crate::limits::Deadlines;
use crate::link::{About, Link};
use crate::target::Target;
use adit_wire::ids::PublicKey;
use std::net::SocketAddrV6;
use std::time::Duration;

/// The hop that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Nothing to dial.
    #[error("no address is known")]
    NoTarget,
    /// This machine is not on the IPv6 Internet.
    #[error("this machine has no global IPv6 address")]
    NoGlobalIpv6,
    /// The name has no address.
    #[error("the name does not resolve: {0}")]
    Resolve(String),
    /// The name has IPv4 addresses only.
    #[error("the name has only IPv4 addresses; adit speaks IPv6 only")]
    OnlyIpv4,
    /// No route.
    #[error("no route to the address")]
    NoRoute,
    /// Nobody listens.
    #[error("the machine answers, but nothing listens on this port")]
    Refused,
    /// Nothing comes back.
    #[error("no answer: a firewall drops the packets, or the machine is off")]
    TimedOut,
    /// Connects, then nothing.
    #[error("connects, then stalls: a hop on the way drops large packets without a word (path MTU)")]
    Stalled,
    /// Another machine answers.
    #[error("another machine answers there; its key is {found}")]
    WrongKey {
        /// Its key.
        found: PublicKey,
    },
    /// Our key is not known there.
    #[error("this machine is not paired there")]
    NotPaired,
    /// No token is open there.
    #[error("pairing is closed there; make a new token")]
    PairingClosed,
    /// Recovery is not served.
    #[error("recovery is not served there")]
    RecoveryClosed,
    /// Something else listens.
    #[error("what listens there is not adit: {0}")]
    NotAdit(String),
    /// The other side closed without a word.
    #[error("the other side closed the connection at once; it may be busy")]
    Closed,
    /// Something else on this machine.
    #[error("{0}")]
    Local(String),
    /// Several addresses, none worked; the most telling failure and all of them.
    #[error("{}", .0.last().map_or_else(String::new, |tried| tried.error.to_string()))]
    All(Vec<Tried>),
}

/// One address that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// As it was given.
    pub target: String,
    /// The address, unless the name did not resolve.
    pub address: Option<SocketAddrV6>,
    /// What failed.
    pub error: DialError,
}

/// Connects to the first target that answers with the expected key.
///
/// # Errors
/// When none does.
pub async fn dial(
    targets: &[Target],
    door: Door,
    identity: &Identity,
    expected: PublicKey,
    about: &About,
    deadlines: Deadlines,
) -> Result<Link, DialError> {
    unimplemented!("{targets:?} {door:?} {identity:?} {expected} {about:?} {deadlines:?}")
}

/// What one address answered, for `adit doctor`.
#[derive(Clone, Debug)]
pub struct HopReport {
    /// As it was given.
    pub target: String,
    /// The address, unless the name did not resolve.
    pub address: Option<SocketAddrV6>,
    /// TCP's round trip.
    pub connected_after: Option<Duration>,
    /// TLS's handshake.
    pub secured_after: Option<Duration>,
    /// The peer's Greeting.
    pub greeted_after: Option<Duration>,
    /// The peer's program.
    pub software: Option<String>,
    /// The hop that failed.
    pub error: Option<DialError>,
}

/// Tries every address of every target, one after the other, and reports each hop.
pub async fn probe(
    targets: &[Target],
    door: Door,
    identity: &Identity,
    expected: PublicKey,
    deadlines: Deadlines,
) -> Vec<HopReport> {
    unimplemented!("{targets:?} {door:?} {identity:?} {expected} {deadlines:?}")
}

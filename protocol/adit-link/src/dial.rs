// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Dialling: names to addresses, addresses to a link, and for a person which hop failed.
//!
//! Addresses are tried side by side, 250 ms apart; the first that connects shows its key, and another machine's key only
//! means that the next address is tried. Nothing is remembered between dials.

use crate::door::Door;
use crate::identity::Identity;
use crate::limits::{ADDRESSES_MAX, Deadlines, HANDSHAKE_BYTES_MAX, NEXT_ADDRESS_AFTER};
use crate::link::{About, Link, LinkError, Side};
use crate::meter::{Meter, Metered};
use crate::run::Start;
use crate::target::{Target, is_ipv4_inside, only_ipv6};
use crate::tls::{self, Credentials, TlsError};
use adit_wire::ids::PublicKey;
use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// The hop that failed, and what to do about it.
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
    /// A firewall says no.
    #[error("a firewall on the way, or on this machine, refuses the connection")]
    Filtered,
    /// Connects, then nothing.
    #[error(
        "connects, then stalls: a hop on the way drops large packets without a word (path MTU), or the program hangs"
    )]
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
    /// After the handshake.
    #[error("the link ended at once: {0}")]
    Ended(String),
    /// Something else on this machine.
    #[error("this machine can't connect: {0}")]
    Local(String),
    /// Several addresses, none worked: the failure that came furthest first.
    #[error("{}", .0.first().map_or_else(String::new, |tried| tried.error.to_string()))]
    All(Vec<Tried>),
}

impl DialError {
    /// How many hops worked: the failure that came furthest tells a person most.
    const fn hops(&self) -> u8 {
        match self {
            Self::NoTarget => 0,
            Self::Resolve(_) | Self::OnlyIpv4 => 1,
            Self::NoGlobalIpv6 | Self::Local(_) => 2,
            Self::NoRoute => 3,
            Self::TimedOut => 4,
            Self::Filtered | Self::Refused => 5,
            Self::Stalled | Self::Closed => 6,
            Self::NotAdit(_) => 7,
            Self::WrongKey { .. } => 8,
            Self::PairingClosed | Self::RecoveryClosed | Self::NotPaired | Self::Ended(_) => 9,
            Self::All(_) => 10,
        }
    }

    /// The failure that came furthest.
    #[must_use]
    pub fn furthest(&self) -> &Self {
        if let Self::All(tried) = self { tried.first().map_or(self, |tried| &tried.error) } else { self }
    }
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

/// An address to try.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) target: String,
    pub(crate) address: SocketAddrV6,
}

impl Candidate {
    fn failed(self, error: DialError) -> Tried {
        Tried { target: self.target, address: Some(self.address), error }
    }
}

/// Connects to the first target that answers with the expected key.
///
/// It answers as soon as the peer's key is known and does not wait for the peer's Greeting: a peer that does not know
/// *our* key shows it a round trip later, as [`LinkError::NotPaired`] of the first thing received (or of
/// [`Link::greeted`]).
///
/// # Errors
/// When none answers so: one target's failure, or [`DialError::All`].
pub async fn dial(
    targets: &[Target],
    door: Door,
    identity: &Identity,
    expected: PublicKey,
    about: &About,
    deadlines: Deadlines,
) -> Result<Link, DialError> {
    let (candidates, mut failed) = resolve(targets, deadlines.resolve).await;
    let dialler = Dialler { credentials: Credentials::new(identity), door, expected, about: about.clone(), deadlines };
    match dialler.race(candidates, &mut failed).await {
        Some(link) => Ok(link),
        None => Err(all(failed)),
    }
}

/// One failure stands for itself; of several the one that came furthest leads.
fn all(mut tried: Vec<Tried>) -> DialError {
    tried.sort_by_key(|tried| std::cmp::Reverse(tried.error.hops()));
    match tried.pop() {
        None => DialError::NoTarget,
        Some(only) if tried.is_empty() => only.error,
        Some(last) => {
            tried.push(last);
            DialError::All(tried)
        }
    }
}

/// The addresses of all targets in their order, each once.
async fn resolve(targets: &[Target], within: Duration) -> (Vec<Candidate>, Vec<Tried>) {
    let (mut candidates, mut failed) = (Vec::<Candidate>::new(), Vec::new());
    for target in targets {
        match addresses(target, within).await {
            Ok(addresses) => {
                for address in addresses {
                    if candidates.len() < ADDRESSES_MAX && candidates.iter().all(|known| known.address != address) {
                        candidates.push(Candidate { target: target.to_string(), address });
                    }
                }
            }
            Err(error) => failed.push(Tried { target: target.to_string(), address: None, error }),
        }
    }
    (candidates, failed)
}

pub(crate) async fn addresses(target: &Target, within: Duration) -> Result<Vec<SocketAddrV6>, DialError> {
    let (name, port) = match target {
        Target::Address(address) if is_ipv4_inside(address.ip()) => return Err(DialError::OnlyIpv4),
        Target::Address(address) => return Ok(vec![*address]),
        Target::Name(name, port) => (name.as_str(), *port),
    };
    let found = timeout(within, lookup_host((name, port))).await;
    let found = found.map_err(|_| DialError::Resolve("the name server does not answer".to_owned()))?;
    let found = found.map_err(|error| DialError::Resolve(error.to_string()))?;
    let (kept, others) = only_ipv6(found);
    match (kept.is_empty(), others) {
        (false, _) => Ok(kept),
        (true, true) => Err(DialError::OnlyIpv4),
        (true, false) => Err(DialError::Resolve("it has no address".to_owned())),
    }
}

/// What every attempt of one dial shares.
struct Dialler {
    credentials: Credentials,
    door: Door,
    expected: PublicKey,
    about: About,
    deadlines: Deadlines,
}

pub(crate) type Connected = (Candidate, Result<TcpStream, DialError>);

impl Dialler {
    /// Connects side by side; hands the first connection that proves its key over.
    async fn race(&self, candidates: Vec<Candidate>, failed: &mut Vec<Tried>) -> Option<Link> {
        let mut waiting = candidates.into_iter();
        let mut connecting = JoinSet::<Connected>::new();
        let mut next_at = Instant::now();
        loop {
            if connecting.is_empty() || Instant::now() >= next_at {
                if let Some(candidate) = waiting.next() {
                    connecting.spawn(connect(candidate, self.deadlines.connect));
                    next_at = Instant::now() + NEXT_ADDRESS_AFTER;
                } else if connecting.is_empty() {
                    return None;
                }
            }
            let joined = tokio::select! {
                joined = connecting.join_next() => joined,
                () = sleep_until(next_at), if waiting.len() > 0 => continue,
            };
            let Some(Ok((candidate, connected))) = joined else { continue };
            let secured = match connected {
                Ok(stream) => self.secure(stream, candidate.address).await,
                Err(error) => Err(error),
            };
            match secured {
                Ok(link) => return Some(link),
                Err(error) => failed.push(candidate.failed(error)),
            }
            next_at = Instant::now();
        }
    }

    async fn secure(&self, stream: TcpStream, remote: SocketAddrV6) -> Result<Link, DialError> {
        let meter = Arc::new(Meter::new());
        let io = Metered::new(stream, Arc::clone(&meter), HANDSHAKE_BYTES_MAX);
        let handshake = tls::connect(&self.credentials, self.door, self.expected, io);
        let secured = match timeout(self.deadlines.handshake, handshake).await {
            Ok(secured) => secured.map_err(|error| self.explain(error))?,
            Err(_) => return Err(DialError::Stalled),
        };
        let start = Start {
            side: Side::Dialler,
            door: self.door,
            peer: secured.peer,
            binding: secured.binding,
            remote,
            meter,
            about: self.about.clone(),
            greeting_within: self.deadlines.greeting,
        };
        Ok(Link::start(secured.stream, start))
    }

    fn explain(&self, error: TlsError) -> DialError {
        match error {
            TlsError::UnexpectedKey(found) => DialError::WrongKey { found },
            TlsError::NotPaired => DialError::NotPaired,
            TlsError::NoSuchDoor => match self.door {
                Door::Main => DialError::NotAdit("it speaks no adit/1".to_owned()),
                Door::Pair => DialError::PairingClosed,
                Door::Recover => DialError::RecoveryClosed,
            },
            TlsError::Closed => DialError::Closed,
            TlsError::TooManyBytes => DialError::NotAdit(crate::meter::TooManyBytes.to_string()),
            TlsError::NotAdit(text) => DialError::NotAdit(text),
            TlsError::Broken(error) => explain_connect(&error, false),
        }
    }
}

pub(crate) async fn connect(candidate: Candidate, within: Duration) -> Connected {
    let stream = match timeout(within, open(candidate.address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(explain_connect(&error, is_global(candidate.address.ip()) && !has_global_address())),
        Err(_) => Err(DialError::TimedOut),
    };
    (candidate, stream)
}

async fn open(address: SocketAddrV6) -> io::Result<TcpStream> {
    crate::socket::dialling()?.connect(SocketAddr::V6(address)).await
}

/// What the kernel's refusal means. `no_global`: the address is on the Internet and this machine is not.
fn explain_connect(error: &io::Error, no_global: bool) -> DialError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the kinds of std grow; what is not named here is shown as it is"
    )]
    match error.kind() {
        ErrorKind::ConnectionRefused => DialError::Refused,
        // ICMPv6 "administratively prohibited" arrives as EACCES, a local rule as EPERM.
        ErrorKind::PermissionDenied => DialError::Filtered,
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::AddrNotAvailable if no_global => {
            DialError::NoGlobalIpv6
        }
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::AddrNotAvailable => DialError::NoRoute,
        ErrorKind::TimedOut => DialError::TimedOut,
        _ => DialError::Local(error.to_string()),
    }
}

/// Why a link ended before it was of use.
fn explain_end(error: &LinkError) -> DialError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is shown as it is")]
    match error {
        LinkError::NotPaired => DialError::NotPaired,
        LinkError::Deadline(_) => DialError::Stalled,
        LinkError::Cut => DialError::Closed,
        other => DialError::Ended(other.to_string()),
    }
}

/// Global unicast, RFC 4291: the one eighth of the space that is routed on the Internet.
const fn is_global(ip: &Ipv6Addr) -> bool {
    ip.segments()[0] & 0xe000 == 0x2000
}

/// Whether an interface has a global address.
fn has_global_address() -> bool {
    // Unreadable: then at least nothing is claimed.
    std::fs::read_to_string("/proc/net/if_inet6").map_or(true, |table| lists_global(&table))
}

/// `address number prefix scope flags name` a line, all but the name in hexadecimal.
fn lists_global(table: &str) -> bool {
    let lead = |line: &str| u16::from_str_radix(line.get(..4)?, 16).ok();
    table.lines().filter_map(lead).any(|lead| lead & 0xe000 == 0x2000)
}

/// What one address answered, for `adit doctor`.
#[derive(Clone, Debug)]
pub struct HopReport {
    /// As it was given.
    pub target: String,
    /// The address, unless the name did not resolve.
    pub address: Option<SocketAddrV6>,
    /// TCP's handshake: one round trip.
    pub connected_after: Option<Duration>,
    /// TLS's handshake: one more.
    pub secured_after: Option<Duration>,
    /// The peer's Greeting: half of one more; `None` at the pairing door, where nobody greets.
    pub greeted_after: Option<Duration>,
    /// The peer's program.
    pub software: Option<String>,
    /// The hop that failed.
    pub error: Option<DialError>,
}

impl HopReport {
    fn new(target: String, address: Option<SocketAddrV6>) -> Self {
        Self {
            target,
            address,
            connected_after: None,
            secured_after: None,
            greeted_after: None,
            software: None,
            error: None,
        }
    }
}

/// Tries every address of every target, one after the other, and reports each hop. Nothing is left open.
pub async fn probe(
    targets: &[Target],
    door: Door,
    identity: &Identity,
    expected: PublicKey,
    deadlines: Deadlines,
) -> Vec<HopReport> {
    let about = About { software: "adit doctor".to_owned(), address_record: Vec::new() };
    let dialler = Dialler { credentials: Credentials::new(identity), door, expected, about, deadlines };
    let (candidates, failed) = resolve(targets, deadlines.resolve).await;
    let mut reports = Vec::with_capacity(candidates.len() + failed.len());
    for tried in failed {
        reports.push(HopReport { error: Some(tried.error), ..HopReport::new(tried.target, tried.address) });
    }
    for candidate in candidates {
        let mut report = HopReport::new(candidate.target.clone(), Some(candidate.address));
        report.error = dialler.walk(candidate, &mut report).await.err();
        reports.push(report);
    }
    reports
}

impl Dialler {
    async fn walk(&self, candidate: Candidate, report: &mut HopReport) -> Result<(), DialError> {
        let begun = Instant::now();
        let (candidate, stream) = connect(candidate, self.deadlines.connect).await;
        let stream = stream?;
        report.connected_after = Some(begun.elapsed());
        let begun = Instant::now();
        let link = self.secure(stream, candidate.address).await?;
        report.secured_after = Some(begun.elapsed());
        if self.door.greets() {
            let begun = Instant::now();
            let greeting = link.greeted().await.map_err(|error| explain_end(&error))?;
            report.greeted_after = Some(begun.elapsed());
            report.software = Some(greeting.software);
        }
        link.close(None).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn global_addresses_are_told_from_the_rest() {
        let loopback = "00000000000000000000000000000001 01 80 10 80       lo\n";
        let link_local = "fe800000000000005054fffe123456ff 02 40 20 80     eth0\n";
        let ula = "fd000000000000000000000000000001 02 40 00 80     eth0\n";
        let global = "20010db8000000000000000000000001 02 40 00 80     eth0\n";
        assert!(!lists_global(&[loopback, link_local, ula].concat()));
        assert!(lists_global(&[loopback, link_local, ula, global].concat()));
        assert!(!lists_global(""));
        assert!(is_global(&"2001:db8::1".parse().unwrap()) && !is_global(&"fd00::1".parse().unwrap()));
    }

    #[test]
    fn the_kernels_refusals_are_hops() {
        let of = |kind: ErrorKind, no_global| explain_connect(&kind.into(), no_global);
        assert_eq!(of(ErrorKind::ConnectionRefused, true), DialError::Refused);
        assert_eq!(of(ErrorKind::NetworkUnreachable, true), DialError::NoGlobalIpv6);
        assert_eq!(of(ErrorKind::NetworkUnreachable, false), DialError::NoRoute);
        assert_eq!(of(ErrorKind::HostUnreachable, false), DialError::NoRoute);
        assert_eq!(of(ErrorKind::TimedOut, false), DialError::TimedOut);
        assert_eq!(of(ErrorKind::PermissionDenied, false), DialError::Filtered);
    }

    #[test]
    fn of_several_failures_the_furthest_leads() {
        let tried = |error| Tried { target: String::new(), address: None, error };
        let error = all(vec![tried(DialError::OnlyIpv4), tried(DialError::NotPaired), tried(DialError::TimedOut)]);
        assert_eq!(error.furthest(), &DialError::NotPaired);
        assert_eq!(error.to_string(), DialError::NotPaired.to_string());
        assert_eq!(all(vec![tried(DialError::Refused)]), DialError::Refused);
        assert_eq!(all(Vec::new()), DialError::NoTarget);
    }

    #[test]
    fn names_keep_their_ipv6_addresses_only() {
        let of = |addresses: &[&str]| only_ipv6(addresses.iter().map(|address| address.parse().unwrap()));
        assert_eq!(of(&["192.0.2.1:9", "[2001:db8::1]:9"]).0.len(), 1);
        assert_eq!(of(&["192.0.2.1:9", "[::ffff:192.0.2.1]:9"]), (Vec::new(), true));
        assert_eq!(of(&[]), (Vec::new(), false));
    }
}

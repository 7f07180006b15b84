// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How this machine is reached: for tokens, for the answer to a pairing and for a signed address record.
//!
//! What the configuration says wins; else a concrete listening address; else the machine's own global addresses. A hint for
//! dialling, never a trust decision.

use adit_proto::token::Address;
use std::net::{Ipv6Addr, SocketAddrV6};

/// Why no token can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreachableError {
    /// It doesn't listen.
    #[error("name an address of this machine: it does not listen; write listen = \"[::]:{port}\" into the configuration", port = adit_wire::DEFAULT_PORT)]
    NoListener,
    /// The port isn't known before the agent runs.
    #[error("name this machine's port: the configuration says port 0; start the agent first, or write a port")]
    NoPort,
    /// It has no global address.
    #[error(
        "name an address of this machine: it has no global IPv6 address; write address = \"NAME-OR-ADDRESS:PORT\" into the configuration, as others reach it"
    )]
    NoAddress,
}

/// The addresses at which others reach this machine, best first: what is configured, else where it listens. `listening` is
/// the address of a running listener, for a port that the configuration leaves open.
///
/// # Errors
/// When there is none.
pub fn own(
    configured: &[Address],
    listen: Option<SocketAddrV6>,
    listening: Option<SocketAddrV6>,
    interfaces: &str,
) -> Result<Vec<Address>, UnreachableError> {
    if !configured.is_empty() {
        return Ok(configured.to_owned());
    }
    let listen = listen.ok_or(UnreachableError::NoListener)?;
    let port = match listen.port() {
        0 => listening.map(|address| address.port()).filter(|port| *port != 0).ok_or(UnreachableError::NoPort)?,
        port => port,
    };
    if !listen.ip().is_unspecified() {
        return Ok(vec![Address::Ip(*listen.ip(), port)]);
    }
    let own: Vec<Address> = global(interfaces).into_iter().map(|ip| Address::Ip(ip, port)).collect();
    if own.is_empty() { Err(UnreachableError::NoAddress) } else { Ok(own) }
}

/// The text in which Linux lists its IPv6 addresses; nothing when there is none.
#[must_use]
pub fn interfaces() -> String {
    std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default()
}

/// The addresses of /proc/net/if_inet6 that others may reach, the lasting and public ones first.
fn global(interfaces: &str) -> Vec<Ipv6Addr> {
    // include/uapi/linux/if_addr.h
    const TEMPORARY: u8 = 0x01;
    const DAD_FAILED: u8 = 0x08;
    const DEPRECATED: u8 = 0x20;
    const TENTATIVE: u8 = 0x40;
    // Still being checked, but used meanwhile (RFC 4429).
    const OPTIMISTIC: u8 = 0x04;
    let mut found: Vec<(bool, bool, Ipv6Addr)> = interfaces
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let octets = crate::peers::unhex(words.next()?)?;
            let ip = Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?);
            let (_index, _prefix, scope) = (words.next()?, words.next()?, words.next()?);
            let flags = u8::from_str_radix(words.next()?, 16).ok()?;
            let unsure = flags & TENTATIVE != 0 && flags & OPTIMISTIC == 0;
            let usable = scope == "00" && flags & (DAD_FAILED | DEPRECATED) == 0 && !unsure && !ip.is_loopback();
            usable.then_some((ip.is_unique_local(), flags & TEMPORARY != 0, ip))
        })
        .collect();
    found.sort_unstable();
    // A temporary address is gone tomorrow; it is named only where there is nothing better.
    let lasting = found.iter().any(|(_, temporary, _)| !temporary);
    found.into_iter().filter(|(_, temporary, _)| !lasting || !temporary).map(|(.., ip)| ip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERFACES: &str = "\
fe80000000000000505400fffe123456 02 40 20 80     eth0
20010db8000000010000000000000001 02 40 00 80     eth0
20010db8000000010abc0def01230456 02 40 00 01     eth0
20010db8000000020000000000000001 02 40 00 a0     eth0
fd00000000000001505400fffe123456 02 40 00 80     eth0
00000000000000000000000000000001 01 80 10 80       lo
";

    fn shown(configured: &[Address], listen: &str, interfaces: &str) -> Result<Vec<String>, UnreachableError> {
        let own = own(configured, listen.parse().ok(), None, interfaces);
        own.map(|list| list.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_configuration_wins_then_the_listener_then_the_interfaces() {
        let names = shown(&[Address::Name("box.example.org".to_owned(), 7)], "[::]:7", INTERFACES);
        assert_eq!(names, Ok(vec!["box.example.org:7".to_owned()]));
        assert_eq!(shown(&[], "[::1]:7", INTERFACES), Ok(vec!["[::1]:7".to_owned()]));
        assert_eq!(
            shown(&[], "[::]:7", INTERFACES),
            Ok(vec!["[2001:db8:0:1::1]:7".to_owned(), "[fd00::1:5054:ff:fe12:3456]:7".to_owned()])
        );
    }

    #[test]
    fn without_an_address_the_advice_says_what_to_write() {
        assert_eq!(shown(&[], "", INTERFACES), Err(UnreachableError::NoListener));
        assert_eq!(shown(&[], "[::1]:0", INTERFACES), Err(UnreachableError::NoPort));
        let error = shown(&[], "[::]:7", "").expect_err("no address");
        assert_eq!(
            error.to_string(),
            "name an address of this machine: it has no global IPv6 address; write address = \"NAME-OR-ADDRESS:PORT\" into the configuration, as others reach it"
        );
    }
}

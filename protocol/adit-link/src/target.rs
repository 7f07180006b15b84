// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where to dial: an IPv6 address or a name, and a port. The one parser that knows IPv4, to refuse it with the reason.
//! It resolves nothing: a name stays a name until it is dialled.

use adit_wire::DEFAULT_PORT;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Longest name, bytes (RFC 1035).
const NAME_BYTES_MAX: usize = 253;

/// Where to dial.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    /// A link-local address is on many links.
    #[error("'{0}' is on every link; say which interface leads to it, as in fe80::1%eth0")]
    NoZone(String),
    /// The zone.
    #[error("'{0}' names a network interface that this machine does not have")]
    Zone(String),
}

impl Target {
    /// Reads `[v6%zone]:port`, `[v6]`, `v6`, `v6%zone`, `name:port` or `name`; without a port it is adit's own. A zone is
    /// an interface's name or number, and is looked up now.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        Self::parse_with(text, &interface_number)
    }

    /// The target of an address, IPv6 in more than its clothes.
    ///
    /// # Errors
    /// When it is an IPv4 address in IPv6's form, or its port is 0.
    pub fn from_address(address: SocketAddrV6) -> Result<Self, TargetError> {
        check_address(address, &address.to_string())
    }

    fn parse_with(text: &str, interface: &dyn Fn(&str) -> Option<u32>) -> Result<Self, TargetError> {
        let malformed = || TargetError::Malformed(text.to_owned());
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or_else(malformed)?;
                let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or_else(malformed)?) };
                if matches!(host.parse(), Ok(IpAddr::V4(_))) {
                    return Err(TargetError::Ipv4(text.to_owned()));
                }
                return address(host, parse_port(port, text)?, text, interface);
            }
            // More than one colon is a bare address; its port, if it had one, could not be told from its last group.
            None => match text.split_once(':') {
                Some((_, rest)) if rest.contains(':') => return address(text, DEFAULT_PORT, text, interface),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if matches!(host.parse(), Ok(IpAddr::V4(_))) {
            return Err(TargetError::Ipv4(text.to_owned()));
        }
        let port = parse_port(port, text)?;
        if is_name(host) { Ok(Self::Name(host.to_ascii_lowercase(), port)) } else { Err(malformed()) }
    }
}

fn parse_port(port: Option<&str>, text: &str) -> Result<u16, TargetError> {
    let Some(port) = port else { return Ok(DEFAULT_PORT) };
    port.parse().ok().filter(|port| *port != 0).ok_or_else(|| TargetError::Port(text.to_owned()))
}

fn address(host: &str, port: u16, text: &str, interface: &dyn Fn(&str) -> Option<u32>) -> Result<Target, TargetError> {
    let (ip, zone) = host.split_once('%').map_or((host, None), |(ip, zone)| (ip, Some(zone)));
    let ip: Ipv6Addr = ip.parse().map_err(|_| TargetError::Malformed(text.to_owned()))?;
    let scope = match zone {
        Some(zone) => interface(zone).ok_or_else(|| TargetError::Zone(text.to_owned()))?,
        None if ip.is_unicast_link_local() => return Err(TargetError::NoZone(text.to_owned())),
        None => 0,
    };
    check_address(SocketAddrV6::new(ip, port, 0, scope), text)
}

fn check_address(address: SocketAddrV6, text: &str) -> Result<Target, TargetError> {
    if is_ipv4_inside(address.ip()) {
        return Err(TargetError::Ipv4(text.to_owned()));
    }
    if address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err(TargetError::Malformed(text.to_owned()));
    }
    if address.port() == 0 {
        return Err(TargetError::Port(text.to_owned()));
    }
    Ok(Target::Address(address))
}

/// `::ffff:a.b.c.d`, which the kernel would dial over IPv4, and the older `::a.b.c.d`.
pub(crate) fn is_ipv4_inside(ip: &Ipv6Addr) -> bool {
    ip.to_ipv4_mapped().is_some() || (ip.segments()[..6] == [0; 6] && ip.segments()[6] != 0)
}

/// Letters, digits, hyphens and underscores between dots; a last label of digits alone would be half an IPv4 address.
fn is_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let last_is_word = host.rsplit('.').next().is_some_and(|last| !last.bytes().all(|byte| byte.is_ascii_digit()));
    host.len() <= NAME_BYTES_MAX && last_is_word && host.split('.').all(label)
}

/// The number of an interface given by name or number.
fn interface_number(zone: &str) -> Option<u32> {
    if let Ok(number) = zone.parse::<u32>() {
        return Some(number).filter(|number| *number != 0);
    }
    // A name is a directory entry, never a path.
    if zone.is_empty() || zone.contains('/') || zone.starts_with('.') {
        return None;
    }
    std::fs::read_to_string(format!("/sys/class/net/{zone}/ifindex")).ok()?.trim().parse().ok()
}

/// The IPv6 ones among the addresses of a name, and whether there were others.
pub(crate) fn only_ipv6(addresses: impl Iterator<Item = SocketAddr>) -> (Vec<SocketAddrV6>, bool) {
    let (mut kept, mut others) = (Vec::new(), false);
    for address in addresses {
        match address {
            SocketAddr::V6(address) if !is_ipv4_inside(address.ip()) => kept.push(address),
            SocketAddr::V4(_) | SocketAddr::V6(_) => others = true,
        }
    }
    kept.dedup();
    (kept, others)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let interfaces = |zone: &str| match zone {
            "eth0" | "2" => Some(2),
            _ => None,
        };
        let parsed = Target::parse_with(text, &interfaces);
        match (&parsed, expected) {
            (Ok(target), Ok(shown)) => assert_eq!(target.to_string(), shown, "{text}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text}: {error}"),
            _ => panic!("{text}: {parsed:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn addresses() {
        check("2001:db8::1", Ok("[2001:db8::1]:11713"));
        check("[2001:db8::1]", Ok("[2001:db8::1]:11713"));
        check("[2001:db8::1]:443", Ok("[2001:db8::1]:443"));
        check("fd00::1", Ok("[fd00::1]:11713"));
        check("fe80::1%eth0", Ok("[fe80::1%2]:11713"));
        check("[fe80::1%2]:9", Ok("[fe80::1%2]:9"));
        check("[::1]:1", Ok("[::1]:1"));
    }

    #[test]
    fn names() {
        check("Box.Example.org", Ok("box.example.org:11713"));
        check("box:65535", Ok("box:65535"));
        check("a_b.c-d.", Ok("a_b.c-d.:11713"));
    }

    #[test]
    fn refused_with_the_reason() {
        check("192.0.2.1", Err("IPv6 only"));
        check("192.0.2.1:80", Err("IPv6 only"));
        check("[192.0.2.1]:80", Err("IPv6 only"));
        check("::ffff:192.0.2.1", Err("IPv6 only"));
        check("[::ffff:c000:201]:80", Err("IPv6 only"));
        check("::192.0.2.1", Err("IPv6 only"));
        check("fe80::1", Err("which interface"));
        check("fe80::1%eth9", Err("does not have"));
        check("box:0", Err("no port"));
        check("box:70000", Err("no port"));
        check("box:", Err("no port"));
        check("[2001:db8::1]80", Err("neither"));
        check("[2001:db8::1", Err("neither"));
        check("", Err("neither"));
        check("::", Err("neither"));
        check("ff02::1", Err("neither"));
        check("a b", Err("neither"));
        check("-box", Err("neither"));
        check("1.2.3", Err("neither"));
        check("2001:db8::g", Err("neither"));
    }

    #[test]
    fn zones_come_from_the_machine() {
        let target = Target::parse("[fe80::1%lo]:7").unwrap();
        assert!(matches!(target, Target::Address(address) if address.scope_id() != 0));
        assert!(matches!(Target::parse("fe80::1%../lo"), Err(TargetError::Zone(_))));
    }
}

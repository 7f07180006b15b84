// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a person may say before the first start, `adit.toml` in the ESP's root: limits, and which values can be meant.
//!
//! Whoever writes that file and the box that reads it ask here, so that nothing is written that a box refuses. The file is
//! TOML, which this crate does not read: both sides give the values as they stand there.

use adit_wire::pair::NAME_BYTES_MAX;
use adit_wire::signed::ADDRESSES_MAX;
use core::net::Ipv6Addr;

/// Longest file, bytes.
pub const BYTES_MAX: usize = 32 << 10;
/// Longest host name, bytes (RFC 1035).
pub const HOSTNAME_BYTES_MAX: usize = 63;
/// Name servers of a fixed address: a resolver asks no more.
pub const NAME_SERVERS_MAX: usize = 3;
/// Time servers: more are not asked.
pub const TIME_SERVERS_MAX: usize = 4;
/// The time server of a box that was not told another: Debian's name at the NTP pool, which has IPv6 addresses.
pub const TIME_SERVER_DEFAULT: &str = "2.debian.pool.ntp.org";
/// Longest name of a server, bytes (RFC 1035).
const SERVER_BYTES_MAX: usize = 253;
/// Longest word on whom to call, bytes: a line of the screen, and of a QR code.
pub const CONTACT_BYTES_MAX: usize = 64;
/// Hexadecimal digits of a public key.
const KEY_DIGITS: usize = 64;

/// Values of a file.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a, S> {
    /// The box's name.
    pub hostname: Option<&'a str>,
    /// A fixed address with the length of its prefix.
    pub address: Option<&'a str>,
    /// The router of the fixed address.
    pub gateway: Option<&'a str>,
    /// Name servers of the fixed address.
    pub dns: &'a [S],
    /// Names or addresses under which others reach the box.
    pub reached_at: &'a [S],
    /// Names or addresses of time servers.
    pub ntp: &'a [S],
    /// Whom the member calls.
    pub contact: Option<&'a str>,
    /// The admin's name and public key.
    pub admin: Option<(&'a str, &'a str)>,
    /// The monitor's name.
    pub monitor: Option<&'a str>,
}

/// A value that cannot be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[error("{key} = {value:?}: {expected}")]
pub struct Wrong<'a> {
    /// The key.
    pub key: &'static str,
    /// What it was set to.
    pub value: &'a str,
    /// What it should be.
    pub expected: &'static str,
}

impl<'a, S: AsRef<str>> Given<'a, S> {
    /// Looks at every value, and at what one needs of another.
    ///
    /// # Errors
    /// The first value that cannot be meant.
    pub fn check(&self) -> Result<(), Wrong<'a>> {
        let dns = || self.dns.iter().map(AsRef::as_ref);
        let unaddressed = |value: Option<&'a str>| value.filter(|_| self.address.is_none());
        let (admin, key) = self.admin.unzip();
        each("hostname", self.hostname, "use 1 to 63 letters, digits and dashes", is_hostname)?;
        let expected = "write an IPv6 address and the length of its prefix, such as 2001:db8::5/64";
        each("address", self.address, expected, |text| address(text).is_some())?;
        each("gateway", self.gateway, "write an IPv6 address", is_address)?;
        each("gateway", unaddressed(self.gateway), "set address too", |_| false)?;
        each("dns", dns(), "write an IPv6 address", is_address)?;
        each("dns", unaddressed(dns().next()), "set address too; otherwise the router names them", |_| false)?;
        each("dns", dns().nth(NAME_SERVERS_MAX), "write three name servers at most", |_| false)?;
        let reached_at = self.reached_at.iter().map(AsRef::as_ref);
        let ntp = || self.ntp.iter().map(AsRef::as_ref);
        each("contact", self.contact, "write a name and a number on one line of 64 bytes", is_contact)?;
        each("ntp", ntp(), "write a server's name or IPv6 address", is_server)?;
        each("ntp", ntp().nth(TIME_SERVERS_MAX), "write four time servers at most", |_| false)?;
        each("reached_at", reached_at.skip(ADDRESSES_MAX), "fewer: this one is too many for a peer", |_| false)?;
        let expected = "use 1 to 63 letters, digits, dashes and underscores, a letter or digit first";
        each("admin.name", admin, expected, is_name)?;
        each("admin.key", key, "write the 64 digits that `adit id` prints", is_key)?;
        each("monitor.name", self.monitor, expected, is_name)
    }
}

/// An address and the length of its prefix in bits, 1 to 128: `2001:db8::5/64`.
#[must_use]
pub fn address(text: &str) -> Option<(Ipv6Addr, u8)> {
    let (address, bits) = text.split_once('/')?;
    Some((address.parse().ok()?, bits.parse().ok().filter(|bits| (1..=128).contains(bits))?))
}

fn each<'a>(
    key: &'static str,
    values: impl IntoIterator<Item = &'a str>,
    expected: &'static str,
    fits: impl Fn(&str) -> bool,
) -> Result<(), Wrong<'a>> {
    values.into_iter().find(|value| !fits(value)).map_or(Ok(()), |value| Err(Wrong { key, value, expected }))
}

fn is_address(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
}

fn is_server(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let is_name = (1..=SERVER_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits);
    is_address(name) || is_name && name.bytes().any(|byte| byte.is_ascii_alphabetic())
}

fn is_contact(text: &str) -> bool {
    (1..=CONTACT_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn is_hostname(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=HOSTNAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with('-')
}

/// The name of a peer, as the agent takes it for the name of a file.
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    begins_well && name.len() <= NAME_BYTES_MAX && name.bytes().all(fits)
}

fn is_key(key: &str) -> bool {
    key.len() == KEY_DIGITS && key.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Given<'_, String> = Given {
        hostname: None,
        address: Some("2001:db8::5/64"),
        gateway: None,
        dns: &[],
        reached_at: &[],
        ntp: &[],
        contact: None,
        admin: None,
        monitor: None,
    };

    fn wrong<'a>(given: &Given<'a, String>) -> Option<&'static str> {
        given.check().err().map(|wrong: Wrong<'a>| wrong.key)
    }

    #[test]
    fn limits_hold() {
        let names: Vec<String> = (0..=ADDRESSES_MAX).map(|number| format!("box{number}.example.org")).collect();
        let servers = vec!["2001:db8::53".to_owned(); NAME_SERVERS_MAX + 1];
        let long = "a".repeat(64);
        assert_eq!(wrong(&Given { hostname: Some(&long[1..]), ..NOTHING }), None);
        assert_eq!(wrong(&Given { hostname: Some(&long), ..NOTHING }), Some("hostname"));
        assert_eq!(wrong(&Given { monitor: Some(&long[1..]), ..NOTHING }), None);
        assert_eq!(wrong(&Given { monitor: Some(&long), ..NOTHING }), Some("monitor.name"));
        assert_eq!(wrong(&Given { admin: Some(("a", &long)), ..NOTHING }), None);
        assert_eq!(wrong(&Given { admin: Some(("a", &long[1..])), ..NOTHING }), Some("admin.key"));
        assert_eq!(wrong(&Given { dns: &servers[1..], ..NOTHING }), None);
        assert_eq!(wrong(&Given { dns: &servers, ..NOTHING }), Some("dns"));
        assert_eq!(wrong(&Given { reached_at: &names[1..], ..NOTHING }), None);
        assert_eq!(wrong(&Given { reached_at: &names, ..NOTHING }), Some("reached_at"));
        let times = vec!["ntp.example.org".to_owned(); TIME_SERVERS_MAX + 1];
        assert_eq!(wrong(&Given { ntp: &times[1..], ..NOTHING }), None);
        assert_eq!(wrong(&Given { ntp: &times, ..NOTHING }), Some("ntp"));
        let name = ["a".repeat(SERVER_BYTES_MAX + 1)];
        assert_eq!(wrong(&Given { ntp: &[name[0][1..].to_owned()], ..NOTHING }), None);
        assert_eq!(wrong(&Given { ntp: &name, ..NOTHING }), Some("ntp"));
        let contact = "a".repeat(CONTACT_BYTES_MAX + 1);
        assert_eq!(wrong(&Given { contact: Some(&contact[1..]), ..NOTHING }), None);
        assert_eq!(wrong(&Given { contact: Some(&contact), ..NOTHING }), Some("contact"));
        assert_eq!(address("2001:db8::5/128").map(|(_, bits)| bits), Some(128));
        assert_eq!((address("2001:db8::5/129"), address("2001:db8::5/0")), (None, None));
    }

    #[test]
    fn what_needs_an_address_says_so() {
        let dns = ["2001:db8::53".to_owned()];
        for given in [Given { gateway: Some("fe80::1"), ..NOTHING }, Given { dns: &dns, ..NOTHING }] {
            assert_eq!(wrong(&given), None);
            let refused = Given { address: None, ..given };
            let refused = refused.check().expect_err("an address is missing").to_string();
            assert!(refused.contains("set address too"), "{refused}");
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a router tells its network: prefixes, lifetimes, name servers, search domains, an MTU; and the flood of such
//! messages that a hostile one sends. Only bytes; `gateway` sends them.

use super::dns;
use super::fault::Random;
use super::frame::{ALL_NODES, Envelope, Mac, address_in, icmp, interface_id, link_local, multicast_mac};
use anyhow::{Context, Result, bail, ensure};
use std::net::Ipv6Addr;
use std::time::Duration;

/// Prefixes of one advertisement, those on their way out included.
pub const PREFIXES_MAX: usize = 8;
/// Search domains of one advertisement.
pub const DOMAINS_MAX: usize = 8;
/// How often a router advertises unasked. Real ones wait minutes; a scenario cannot.
pub const INTERVAL: Duration = Duration::from_secs(2);
/// How often a prefix on its way out is still told, with lifetimes of 0.
pub const FAREWELLS: u8 = 5;

/// One announced network of 64 bits.
#[derive(Clone, Debug)]
pub(crate) struct Prefix {
    pub(crate) network: Ipv6Addr,
    pub(crate) valid: u32,
    pub(crate) preferred: u32,
    /// How often it is still told; `None` while it stays.
    pub(crate) farewells: Option<u8>,
}

/// What a router announces; lifetimes in seconds.
#[derive(Clone, Debug)]
pub(crate) struct Announcement {
    pub(crate) prefixes: Vec<Prefix>,
    pub(crate) router_lifetime: u16,
    pub(crate) rdnss: bool,
    pub(crate) domains: Vec<String>,
    pub(crate) mtu: Option<u32>,
    pub(crate) interval: Duration,
    pub(crate) lifetimes: (u32, u32),
}

impl Default for Announcement {
    fn default() -> Self {
        Self {
            prefixes: Vec::new(),
            router_lifetime: 1800,
            rdnss: false,
            domains: Vec::new(),
            mtu: None,
            interval: INTERVAL,
            lifetimes: (86_400, 14_400),
        }
    }
}

impl Announcement {
    /// Announces a network from now on.
    pub(crate) fn add(&mut self, network: Ipv6Addr) -> Result<()> {
        let (valid, preferred) = self.lifetimes;
        self.prefixes.retain(|prefix| prefix.network != network);
        if self.prefixes.len() >= PREFIXES_MAX {
            self.prefixes.retain(|prefix| prefix.farewells.is_none());
        }
        ensure!(self.prefixes.len() < PREFIXES_MAX, "an advertisement holds {PREFIXES_MAX} prefixes at most");
        self.prefixes.push(Prefix { network, valid, preferred, farewells: None });
        Ok(())
    }

    /// Takes a network back: it is told a few times more, with lifetimes of 0.
    pub(crate) fn retire(&mut self, network: Ipv6Addr) -> Result<()> {
        let prefix = self.prefixes.iter_mut().find(|prefix| prefix.network == network && prefix.farewells.is_none());
        let prefix = prefix.with_context(|| format!("retire {network}/64, which is not announced"))?;
        (prefix.valid, prefix.preferred, prefix.farewells) = (0, 0, Some(FAREWELLS));
        Ok(())
    }

    /// The networks that stay.
    pub(crate) fn networks(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        self.prefixes.iter().filter(|prefix| prefix.farewells.is_none()).map(|prefix| prefix.network)
    }

    /// The body of an advertisement (what follows the checksum), from a router with this hardware address.
    pub(crate) fn body(&self, mac: Mac, name_server: Ipv6Addr) -> Vec<u8> {
        let mut body = vec![64, 0];
        body.extend(self.router_lifetime.to_be_bytes());
        body.extend([0; 8]); // reachable time and retransmission timer: not said
        body.extend([1, 1]);
        body.extend(mac);
        if let Some(mtu) = self.mtu {
            body.extend([5, 1, 0, 0]);
            body.extend(mtu.to_be_bytes());
        }
        for prefix in &self.prefixes {
            body.extend(prefix_option(prefix.network, prefix.valid, prefix.preferred));
        }
        let seconds = u32::from(self.router_lifetime);
        if self.rdnss {
            body.extend([25, 3, 0, 0]);
            body.extend(seconds.to_be_bytes());
            body.extend(name_server.octets());
        }
        let mut domains: Vec<u8> = self.domains.iter().filter_map(|domain| dns::labels(domain)).flatten().collect();
        if !domains.is_empty() {
            domains.resize(domains.len().next_multiple_of(8), 0);
            let eighths = u8::try_from(1 + domains.len() / 8).unwrap_or(u8::MAX);
            body.extend([31, eighths, 0, 0]);
            body.extend(seconds.to_be_bytes());
            body.extend(&domains);
        }
        body
    }

    /// Counts one telling of what is on its way out.
    pub(crate) fn told(&mut self) {
        self.prefixes.retain_mut(|prefix| match &mut prefix.farewells {
            None => true,
            Some(left) => {
                *left = left.saturating_sub(1);
                *left > 0
            }
        });
    }
}

fn prefix_option(network: Ipv6Addr, valid: u32, preferred: u32) -> Vec<u8> {
    let mut option = vec![3, 4, 64, 0xc0]; // 64 bits, on-link, autonomous
    option.extend(valid.to_be_bytes());
    option.extend(preferred.to_be_bytes());
    option.extend([0; 4]);
    option.extend(network.octets());
    option
}

/// One message of a flood: another router, another prefix each time.
pub(crate) fn flood_frame(random: &mut Random) -> Vec<u8> {
    let [_, _, _, a, b, c, d, e] = random.next().to_be_bytes();
    let mac = [0x02, a, b, c, d, e];
    let network = address_in(Ipv6Addr::from(0xfd_u128 << 120 | u128::from(random.next()) << 56), 0);
    let mut body = vec![64, 0];
    body.extend(1800_u16.to_be_bytes());
    body.extend([0; 8]);
    body.extend(prefix_option(network, 86_400, 14_400));
    to_all_nodes(mac).icmp(icmp::ROUTER_ADVERT, 0, &body)
}

pub(crate) fn to_all_nodes(mac: Mac) -> Envelope {
    Envelope {
        to_mac: multicast_mac(ALL_NODES),
        from_mac: mac,
        source: link_local(mac),
        destination: ALL_NODES,
        hop_limit: 255,
    }
}

/// The address of a router in a network that it announces.
pub(crate) fn router_address(network: Ipv6Addr, mac: Mac) -> Ipv6Addr {
    address_in(network, interface_id(mac))
}

/// A network in text, such as `fd00:ad17::/64`. Other lengths than 64 do not work with SLAAC.
pub(crate) fn parse_network(text: &str) -> Result<Ipv6Addr> {
    let Some((address, "64")) = text.split_once('/') else { bail!("{text:?} is not a network of 64 bits") };
    let address: Ipv6Addr = address.parse().with_context(|| format!("read the network {text:?}"))?;
    ensure!(address_in(address, 0) == address, "{text:?} has bits set behind its 64");
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::frame::Packet;

    const MAC: Mac = [2, 0, 0, 0, 0, 9];

    fn net(last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0xad17, 0, last, 0, 0, 0, 0)
    }

    #[test]
    fn the_bytes_of_an_advertisement() {
        let mut announcement = Announcement { rdnss: true, mtu: Some(1400), ..Announcement::default() };
        announcement.domains.push("home.test".to_owned());
        announcement.add(net(1)).expect("room");
        let body = announcement.body(MAC, net(5));
        let mut expected = vec![64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 9];
        expected.extend([5, 1, 0, 0, 0, 0, 5, 0x78]);
        expected.extend([3, 4, 64, 0xc0, 0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40, 0, 0, 0, 0]);
        expected.extend(net(1).octets());
        expected.extend([25, 3, 0, 0, 0, 0, 7, 8]);
        expected.extend(net(5).octets());
        expected.extend([31, 3, 0, 0, 0, 0, 7, 8]);
        expected.extend(b"\x04home\x04test\0\0\0\0\0\0");
        assert_eq!(body, expected);
    }

    #[test]
    fn a_retired_prefix_says_farewell_and_goes() {
        let mut announcement = Announcement::default();
        announcement.add(net(1)).expect("room");
        announcement.retire(net(1)).expect("announced");
        announcement.retire(net(1)).expect_err("retired already");
        announcement.add(net(2)).expect("room");
        for _ in 0..FAREWELLS {
            assert_eq!((announcement.prefixes.len(), announcement.prefixes[0].valid), (2, 0));
            announcement.told();
        }
        assert_eq!(announcement.networks().collect::<Vec<_>>(), [net(2)]);
        assert_eq!(announcement.prefixes.len(), 1);
    }

    #[test]
    fn prefixes_have_a_limit_and_a_form() {
        let mut announcement = Announcement::default();
        let fits = (0..20).filter(|number| announcement.add(net(*number)).is_ok()).count();
        assert_eq!(fits, PREFIXES_MAX);
        assert_eq!(parse_network("fd00:ad17:0:3::/64").expect("network"), net(3));
        for text in ["fd00::", "fd00::/48", "fd00::1/64", "10.0.0.0/64", ""] {
            parse_network(text).expect_err(text);
        }
    }

    #[test]
    fn a_flood_never_repeats_itself() {
        let mut random = Random::new(3);
        let frames: std::collections::BTreeSet<_> = (0..500).map(|_| flood_frame(&mut random)).collect();
        assert_eq!(frames.len(), 500);
        for frame in &frames {
            let packet = Packet::parse(frame).expect("packet");
            assert_eq!(packet.icmp().expect("ICMPv6").0, icmp::ROUTER_ADVERT);
        }
    }
}

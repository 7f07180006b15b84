// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The few words of rtnetlink that the appliance needs (RFC 3549; linux/rtnetlink.h, linux/if_link.h): an interface goes up
//! and gets its token, an address and a route are added, and what routers announce about name servers is heard.

#![expect(clippy::host_endian_bytes, reason = "netlink speaks in the machine's own order")]

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};
use std::net::Ipv6Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};

const HEAD_BYTES: usize = 16;
const LINK_BYTES: usize = 16;
const ADDRESS_BYTES: usize = 8;
const ROUTE_BYTES: usize = 12;

const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWNDUSEROPT: u16 = 68;

const REQUEST_ACK: u16 = 1 | 4;
const CREATE: u16 = 0x400;
const REPLACE: u16 = 0x100;

const IFLA_AF_SPEC: u16 = 26;
const IFLA_INET6_TOKEN: u16 = 7;
const IFA_ADDRESS: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const IPV6: u16 = 10;
const UP: u32 = 1;
/// A table that every lookup reads; a protocol that says "by the admin"; a scope of the world; a plain route.
const ROUTE_KIND: [u8; 4] = [254, 4, 0, 1];

/// Groups RTNLGRP_LINK, RTNLGRP_IPV6_IFADDR and RTNLGRP_ND_USEROPT, as bits.
const GROUPS: u32 = 1 | 1 << 8 | 1 << 19;

/// Option RDNSS of a router's announcement (RFC 8106).
const OPTION_RDNSS: u8 = 25;

/// A socket to the kernel.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// What the kernel tells by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A link or an address changed.
    Changed,
    /// A router announced name servers, for so many seconds.
    NameServers(Vec<Ipv6Addr>, u32),
}

impl Netlink {
    /// For orders.
    pub(crate) fn open() -> Result<Self> {
        Self::with_groups(0)
    }

    /// For listening.
    pub(crate) fn listen() -> Result<Self> {
        Self::with_groups(GROUPS)
    }

    fn with_groups(groups: u32) -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Brings an interface up.
    pub(crate) fn up(&mut self, index: u32) -> Result<()> {
        let body = link(index, UP, UP);
        self.order(RTM_NEWLINK, 0, &body).with_context(|| format!("bring interface {index} up"))
    }

    /// Sets the last 64 bits of the addresses that an interface makes of announced prefixes.
    pub(crate) fn token(&mut self, index: u32, token: Ipv6Addr) -> Result<()> {
        let mut body = link(index, 0, 0);
        let inner = attribute(IFLA_INET6_TOKEN, &token.octets());
        body.extend(attribute(IFLA_AF_SPEC, &attribute(IPV6, &inner)));
        self.order(RTM_SETLINK, 0, &body).with_context(|| format!("give interface {index} the token {token}"))
    }

    /// Adds an address.
    pub(crate) fn address(&mut self, index: u32, address: Ipv6Addr, prefix_bits: u8) -> Result<()> {
        let body = interface_address(index, address, prefix_bits);
        self.order(RTM_NEWADDR, CREATE | REPLACE, &body).with_context(|| format!("add the address {address}"))
    }

    /// Adds the way to everywhere.
    pub(crate) fn default_route(&mut self, index: u32, gateway: Ipv6Addr) -> Result<()> {
        let mut body = vec![0; ROUTE_BYTES];
        body[0] = IPV6.to_le_bytes()[0];
        body[4..8].copy_from_slice(&ROUTE_KIND);
        body.extend(attribute(RTA_GATEWAY, &gateway.octets()));
        body.extend(attribute(RTA_OIF, &index.to_ne_bytes()));
        self.order(RTM_NEWROUTE, CREATE | REPLACE, &body).with_context(|| format!("route by {gateway}"))
    }

    /// Sends an order and waits for the kernel's word.
    fn order(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<()> {
        self.sequence += 1;
        let length = u32::try_from(HEAD_BYTES + body.len())?;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend((REQUEST_ACK | flags).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(body);
        send(self.socket.as_raw_fd(), &message, MsgFlags::empty())?;
        let mut buffer = [0; 4_096];
        loop {
            let read = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for (kind, body) in messages(buffer.get(..read).unwrap_or_default()) {
                if kind == NLMSG_ERROR {
                    let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    return if code == 0 { Ok(()) } else { Err(Errno::from_raw(code.saturating_neg()).into()) };
                }
            }
        }
    }

    /// Waits for news.
    pub(crate) fn news(&self) -> Result<Vec<News>> {
        let mut buffer = vec![0; 32 << 10];
        let read = match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(read) => read,
            // More was said than the socket holds: something changed for sure.
            Err(Errno::ENOBUFS) => return Ok(vec![News::Changed]),
            Err(error) => return Err(error.into()),
        };
        Ok(messages(buffer.get(..read).unwrap_or_default()).map(|(kind, body)| told(kind, body)).collect())
    }
}

fn told(kind: u16, body: &[u8]) -> News {
    let options = if kind == RTM_NEWNDUSEROPT { body.get(16..) } else { None };
    options.and_then(name_servers).unwrap_or(News::Changed)
}

/// Reads the option RDNSS: kind, length in units of 8, two bytes reserved, lifetime, addresses.
fn name_servers(option: &[u8]) -> Option<News> {
    let [OPTION_RDNSS, length, _, _, l0, l1, l2, l3, ..] = option else { return None };
    let option = option.get(8..usize::from(*length) * 8)?;
    let addresses = option.chunks_exact(16).filter_map(|bytes| bytes.first_chunk::<16>().map(|b| Ipv6Addr::from(*b)));
    Some(News::NameServers(addresses.collect(), u32::from_be_bytes([*l0, *l1, *l2, *l3])))
}

fn link(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend(change.to_ne_bytes());
    debug_assert_eq!(body.len(), LINK_BYTES);
    body
}

fn interface_address(index: u32, address: Ipv6Addr, prefix_bits: u8) -> Vec<u8> {
    let mut body = vec![IPV6.to_le_bytes()[0], prefix_bits, 0, 0];
    body.extend(index.to_ne_bytes());
    debug_assert_eq!(body.len(), ADDRESS_BYTES);
    body.extend(attribute(IFA_ADDRESS, &address.octets()));
    body
}

/// Length, kind, value, and what fills it up to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The messages in a datagram; what is cut off ends it.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
        let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
        let body = bytes.get(HEAD_BYTES..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_routers_name_servers_are_read() {
        let one: Ipv6Addr = "fd00:ad17::53".parse().unwrap();
        let two: Ipv6Addr = "fe80::1".parse().unwrap();
        let mut option = vec![25, 5, 0, 0, 0, 0, 7, 8];
        option.extend(one.octets());
        option.extend(two.octets());
        assert_eq!(name_servers(&option), Some(News::NameServers(vec![one, two], 1_800)));
        for cut in 0..option.len() {
            assert_eq!(name_servers(&option[..cut]), None, "{cut}");
        }
        assert_eq!(name_servers(&[31, 1, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(name_servers(&[25, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn datagrams_are_taken_apart_whatever_they_hold() {
        let mut bytes = 20_u32.to_ne_bytes().to_vec();
        bytes.extend(RTM_NEWLINK.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend([1, 2, 3, 4]);
        let twice = [&bytes[..], &bytes[..]].concat();
        let found: Vec<_> = messages(&twice).collect();
        assert_eq!(found, [(RTM_NEWLINK, &[1, 2, 3, 4][..]), (RTM_NEWLINK, &[1, 2, 3, 4][..])]);
        for cut in 0..bytes.len() {
            assert_eq!(messages(&bytes[..cut]).count(), 0, "{cut}");
        }
        assert_eq!(messages(&[0; 64]).count(), 0);
    }

    #[test]
    fn the_kernel_takes_an_order_and_says_no() {
        let mut netlink = Netlink::open().unwrap();
        let error = netlink.up(0x7fff_fff0).unwrap_err();
        assert!(format!("{error:#}").contains("ENODEV") || format!("{error:#}").contains("EPERM"), "{error:#}");
    }
}

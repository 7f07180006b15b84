// SPDX-License-Identifier: Apache-2.0 OR MIT
//! IPv6 by the kernel: every wired interface up, addresses from router announcements with the last half of the box's own
//! choice, so that a firewall rule of the router stays right when the provider changes the prefix. Name servers come from
//! the announcements too. There is no IPv4.

use crate::netlink::{Netlink, News};
use crate::start::set;
use anyhow::{Context as _, Result};
use std::fs;
use std::net::Ipv6Addr;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::thread;

/// Interfaces take these over when they appear, so they are set before drivers are loaded. Optimistic duplicate detection
/// (RFC 4429) lets an address work at once; no temporary addresses, for the box has to be found.
const SETTINGS: [(&str, &str); 6] = [
    ("accept_ra", "2"),
    ("optimistic_dad", "1"),
    ("use_optimistic", "1"),
    ("use_tempaddr", "0"),
    ("router_solicitation_delay", "0"),
    ("accept_ra_rt_info_max_plen", "64"),
];
/// Name servers that are written down: a resolver asks no more than three.
const NAME_SERVERS_MAX: usize = 3;
/// Bit IFA_F_TENTATIVE without IFA_F_OPTIMISTIC, and IFA_F_DADFAILED: not usable.
const DAD_FAILED: u32 = 0x08;
const TENTATIVE: u32 = 0x40;
const OPTIMISTIC: u32 = 0x04;

/// A fixed address, as a person preseeds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fixed {
    pub(crate) address: Ipv6Addr,
    pub(crate) prefix_bits: u8,
    pub(crate) gateway: Option<Ipv6Addr>,
    pub(crate) name_servers: Vec<Ipv6Addr>,
}

/// One address of the machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) interface: String,
    pub(crate) address: Ipv6Addr,
    pub(crate) usable: bool,
}

/// Settings for interfaces that are yet to come. Answers what could not be set.
pub(crate) fn defaults() -> Vec<String> {
    let set_one = |group: &str, (name, value): &(&str, &str)| {
        set(&format!("/proc/sys/net/ipv6/conf/{group}/{name}"), value).err().map(|error| format!("{error:#}"))
    };
    ["all", "default"].iter().flat_map(|group| SETTINGS.iter().filter_map(|one| set_one(group, one))).collect()
}

/// The last half of the box's addresses: `::ad17:…` and 48 bits of its key, so that it stays when the card is changed and
/// two boxes on one network do not meet.
pub(crate) fn token(key: &[u8]) -> Ipv6Addr {
    let hash = blake3::derive_key("adit interface id v1", key);
    let word = |at: usize| u16::from_be_bytes([hash[at], hash[at + 1]]);
    Ipv6Addr::new(0, 0, 0, 0, 0xad17, word(0), word(2), word(4))
}

/// Brings every interface up, with its token and a fixed address where there is one. Answers what failed.
pub(crate) fn up(token: Ipv6Addr, fixed: Option<&Fixed>) -> Result<Vec<String>> {
    let mut netlink = Netlink::open()?;
    let mut failed = Vec::new();
    for (name, index) in interfaces() {
        let mut note = |outcome: Result<()>| failed.extend(outcome.err().map(|error| format!("{name}: {error:#}")));
        note(netlink.up(index));
        if name == "lo" {
            continue;
        }
        note(netlink.token(index, token));
        if let Some(fixed) = fixed {
            note(netlink.address(index, fixed.address, fixed.prefix_bits));
            note(fixed.gateway.map_or(Ok(()), |gateway| netlink.default_route(index, gateway)));
        }
    }
    if let Some(fixed) = fixed.filter(|fixed| !fixed.name_servers.is_empty()) {
        write_name_servers(&fixed.name_servers)?;
    }
    Ok(failed)
}

/// Interfaces with their numbers, `lo` first.
fn interfaces() -> Vec<(String, u32)> {
    let Ok(entries) = fs::read_dir("/sys/class/net") else { return Vec::new() };
    let number = |path: &Path| fs::read_to_string(path.join("ifindex")).ok()?.trim().parse().ok();
    let named = |entry: fs::DirEntry| Some((entry.file_name().into_string().ok()?, number(&entry.path())?));
    let mut found: Vec<(String, u32)> = entries.flatten().filter_map(named).collect();
    found.sort_by_key(|(_, index)| *index);
    found
}

/// Whether any wired interface feels a cable; none when there is no interface at all.
pub(crate) fn carrier() -> Option<bool> {
    let felt =
        |name: &str| fs::read_to_string(format!("/sys/class/net/{name}/carrier")).is_ok_and(|text| text.trim() == "1");
    let cards: Vec<String> = interfaces().into_iter().map(|(name, _)| name).filter(|name| name != "lo").collect();
    if cards.is_empty() { None } else { Some(cards.iter().any(|name| felt(name))) }
}

/// Addresses with which others reach this machine, those of the world first.
pub(crate) fn addresses() -> Vec<Address> {
    let text = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let mut addresses: Vec<Address> = text.lines().filter_map(parse).filter(|found| found.interface != "lo").collect();
    addresses.sort_by_key(|found| (rank(found.address), found.address));
    addresses
}

/// Worldwide addresses before local ones before those of one link.
fn rank(address: Ipv6Addr) -> u8 {
    match address.segments()[0] {
        first if first & 0xffc0 == 0xfe80 => 2,
        first if first & 0xfe00 == 0xfc00 => 1,
        _ => 0,
    }
}

/// Whether an address is more than link-local.
pub(crate) fn is_routed(address: &Address) -> bool {
    address.usable && rank(address.address) < 2
}

/// Whether an address is one of the world's.
pub(crate) fn is_worldwide(address: &Address) -> bool {
    address.usable && rank(address.address) == 0
}

/// The kernel's number of an interface.
pub(crate) fn index_of(interface: &str) -> Option<u32> {
    interfaces().into_iter().find(|(name, _)| name == interface).map(|(_, index)| index)
}

fn parse(line: &str) -> Option<Address> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [address, _, _, _, flags, interface] = fields.as_slice() else { return None };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    Some(Address {
        interface: (*interface).to_owned(),
        address: Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?),
        usable: flags & DAD_FAILED == 0 && (flags & TENTATIVE == 0 || flags & OPTIMISTIC != 0),
    })
}

/// Tells of every change, and writes name servers down as they are announced. New interfaces are brought up.
pub(crate) fn watch<T: Send + Clone + 'static>(
    token: Ipv6Addr,
    fixed: Option<Fixed>,
    changed: Sender<T>,
    event: T,
) -> Result<()> {
    let netlink = Netlink::listen().context("listen to the kernel about the network")?;
    let mut known = interfaces();
    let watch = move || {
        while let Ok(news) = netlink.news() {
            for told in news {
                if let News::NameServers(servers, lifetime_s) = told
                    && lifetime_s > 0
                    && fixed.as_ref().is_none_or(|fixed| fixed.name_servers.is_empty())
                    && let Err(error) = write_name_servers(&servers)
                {
                    log::warn!("{error:#}");
                }
            }
            let now = interfaces();
            if now != known {
                known = now;
                for failed in up(token, fixed.as_ref()).unwrap_or_default() {
                    log::warn!("{failed}");
                }
            }
            if changed.send(event.clone()).is_err() {
                return;
            }
        }
    };
    drop(thread::Builder::new().name("network".to_owned()).spawn(watch)?);
    Ok(())
}

/// The port of the agent, and the states of /proc/net/tcp6 that mean a connection.
pub(crate) const AGENT_PORT: u16 = 11_713;
const ESTABLISHED: &str = "01";

/// Peers' ends of the agent's connections.
fn connected() -> Vec<Ipv6Addr> {
    let text = fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    text.lines().skip(1).filter_map(peer_of).collect()
}

/// The far end of an established connection to the agent: addresses are four words of 32 bits in the machine's order.
fn peer_of(line: &str) -> Option<Ipv6Addr> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, local, remote, ESTABLISHED, ..] = fields.as_slice() else { return None };
    let (_, port) = local.split_once(':')?;
    if u16::from_str_radix(port, 16) != Ok(AGENT_PORT) {
        return None;
    }
    let (address, _) = remote.split_once(':')?;
    let mut octets = [0; 16];
    for (index, word) in octets.chunks_exact_mut(4).enumerate() {
        let text = address.get(index * 8..index * 8 + 8)?;
        word.copy_from_slice(&kernel_word(u32::from_str_radix(text, 16).ok()?));
    }
    Some(Ipv6Addr::from(octets))
}

/// A number of 32 bits as it stands in memory, which is how the kernel prints addresses.
#[expect(clippy::host_endian_bytes, reason = "the table is printed in the machine's own order")]
const fn kernel_word(number: u32) -> [u8; 4] {
    number.to_ne_bytes()
}

/// Whether any peer is connected.
pub(crate) fn peers_connected() -> bool {
    !connected().is_empty()
}

/// Whether somebody is connected who is not on the same network.
pub(crate) fn heard_from_outside() -> bool {
    let own: Vec<[u16; 4]> =
        addresses().iter().filter_map(|own| own.address.segments().first_chunk().copied()).collect();
    connected().into_iter().any(|peer| rank(peer) == 0 && !own.iter().any(|prefix| peer.segments().starts_with(prefix)))
}

fn write_name_servers(servers: &[Ipv6Addr]) -> Result<()> {
    let text: String = servers.iter().take(NAME_SERVERS_MAX).map(|server| format!("nameserver {server}\n")).collect();
    // In one step: a resolver may read at any time.
    fs::write("/run/resolv.conf.new", text)?;
    fs::rename("/run/resolv.conf.new", "/run/resolv.conf").context("write down the name servers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_the_boxs_own() {
        let one = token(&[1; 32]);
        assert_eq!(one, token(&[1; 32]));
        assert_ne!(one, token(&[2; 32]));
        assert_eq!(one.segments()[..5], [0, 0, 0, 0, 0xad17]);
    }

    #[test]
    fn a_peers_end_is_read_from_the_kernels_table() {
        let line =
            "   3: 000017ADFD000000000012505678345A:2DC1 B80D0120000000000000000001000000:D431 01 00000000:00000000";
        assert_eq!(peer_of(line), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(peer_of(&line.replace("2DC1", "0016")), None);
        assert_eq!(peer_of(&line.replace(" 01 ", " 0A ")), None);
        assert_eq!(peer_of("sl local_address remote_address st"), None);
    }

    #[test]
    fn lines_of_the_table_are_understood() {
        let usable = parse("fd00ad170000000050540012fe345678 02 40 00 80     eth0").unwrap();
        assert!(is_routed(&usable));
        let optimistic = parse("fd00ad170000000050540012fe345678 02 40 00 44     eth0").unwrap();
        assert!(optimistic.usable);
        assert!(!parse("fd00ad170000000050540012fe345678 02 40 00 40     eth0").unwrap().usable);
        assert!(!parse("fd00ad170000000050540012fe345678 02 40 00 c8     eth0").unwrap().usable);
        assert!(!is_routed(&parse("fe80000000000000505400fffe123456 02 40 20 80     eth0").unwrap()));
        assert_eq!(parse("fe80 02 40"), None);
    }
}

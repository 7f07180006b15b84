// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Network interfaces with hardware behind them (or a hypervisor's), from /sys/class/net and /proc/net/if_inet6.
//!
//! Can block: `speed` of some drivers waits for the card; only an interface with a carrier is asked.

use crate::readings::link::LinkReading;
use crate::text;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Interfaces of one machine.
const LINKS_MAX: usize = 64;
/// IFF_UP of linux/if.h.
const FLAG_UP: i64 = 1;
/// IPV6_ADDR_SCOPE_TYPE of a global address (net/ipv6.h), unique local ones included.
const SCOPE_GLOBAL: &str = "00";
/// IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TENTATIVE of linux/if_addr.h.
const FLAGS_USELESS: u32 = 0x08 | 0x20 | 0x40;

/// All interfaces with a device.
pub(crate) fn links(root: &Path) -> Vec<LinkReading> {
    let dir = root.join("sys/class/net");
    let has_device = |name: &String| dir.join(name).join("device").exists();
    let names: Vec<String> = text::names(&dir).into_iter().filter(has_device).take(LINKS_MAX).collect();
    let addresses = addresses(&text::read(&root.join("proc/net/if_inet6")).unwrap_or_default());
    let machine_has_address = with_uppers(&dir, &names).iter().any(|name| addresses.contains_key(name));
    let mut links: Vec<LinkReading> = names.into_iter().filter_map(|name| link(&dir.join(&name), name)).collect();
    for link in &mut links {
        link.addresses = addresses.get(&link.name).copied().unwrap_or(0);
        link.machine_has_address = machine_has_address;
    }
    links
}

/// These interfaces and the bonds, bridges and VLANs above them.
fn with_uppers(dir: &Path, names: &[String]) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = names.iter().cloned().collect();
    let mut next: Vec<String> = names.to_vec();
    while let Some(name) = next.pop() {
        for entry in text::names(&dir.join(&name)) {
            if let Some(upper) = entry.strip_prefix("upper_").filter(|upper| !found.contains(*upper)) {
                found.insert(upper.to_owned());
                next.push(upper.to_owned());
            }
        }
    }
    found
}

fn link(dir: &Path, name: String) -> Option<LinkReading> {
    let number = |file: &str| text::number(&dir.join(file));
    let count = |file: &str| number(&format!("statistics/{file}")).unwrap_or(0);
    let is_up = number("carrier") == Some(1); // reading it from one that is down is an error
    Some(LinkReading {
        name,
        is_wanted: number("flags")? & FLAG_UP != 0,
        is_up,
        master: fs::read_link(dir.join("master")).ok().and_then(|to| Some(to.file_name()?.to_str()?.to_owned())),
        speed_mbit: if is_up { number("speed").filter(|speed| *speed > 0) } else { None },
        mtu_bytes: number("mtu")?,
        carrier_changes: number("carrier_changes").unwrap_or(0),
        errors: count("rx_errors").saturating_add(count("tx_errors")),
        packets: count("rx_packets").saturating_add(count("tx_packets")),
        ..LinkReading::default()
    })
}

/// Usable addresses by interface. A line: address, index, prefix length, scope, flags, name, all but the name in hex.
fn addresses(if_inet6: &str) -> BTreeMap<String, i64> {
    let mut found = BTreeMap::new();
    for line in if_inet6.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_address, _index, _prefix, scope, flags, name] = &fields[..] else { continue };
        let useless = u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & FLAGS_USELESS != 0);
        if *scope == SCOPE_GLOBAL && !useless {
            *found.entry((*name).to_owned()).or_insert(0) += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const INET6: &str = "\
fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n\
fd000000000000000000000000000002 04 40 00 82     eth0\n\
20010db8000000000000000000000001 04 40 00 88     eth0\n\
20010db8000000000000000000000002 05 40 00 c0     eth1\n\
fd000000000000000000000000000003 07 40 00 80      br0\n\
00000000000000000000000000000001 01 80 10 80       lo\n";

    #[test]
    fn only_interfaces_with_a_device_are_told() {
        let tree = text::tree(&[
            ("proc/net/if_inet6", INET6),
            ("sys/class/net/lo/flags", "0x9\n"),
            ("sys/class/net/eth1/device/vendor", "0x8086\n"),
            ("sys/class/net/eth1/flags", "0x1003\n"),
            ("sys/class/net/eth1/carrier", "1\n"),
            ("sys/class/net/eth1/speed", "1000\n"),
            ("sys/class/net/eth1/mtu", "1500\n"),
            ("sys/class/net/eth1/carrier_changes", "3\n"),
            ("sys/class/net/eth1/statistics/rx_errors", "2\n"),
            ("sys/class/net/eth1/statistics/tx_errors", "1\n"),
            ("sys/class/net/eth1/statistics/rx_packets", "100\n"),
            ("sys/class/net/eth1/master", "-> ../br0"),
            ("sys/class/net/eth1/upper_br0", "-> ../br0"),
            ("sys/class/net/br0/flags", "0x1003\n"),
        ]);
        let links = links(tree.path());
        let expected = LinkReading {
            name: "eth1".into(),
            is_wanted: true,
            is_up: true,
            master: Some("br0".into()),
            speed_mbit: Some(1_000),
            mtu_bytes: 1_500,
            carrier_changes: 3,
            errors: 3,
            packets: 100,
            addresses: 0,
            machine_has_address: true,
        };
        assert_eq!(links, [expected]);
    }

    #[test]
    fn only_addresses_that_others_can_use_count() {
        let found = addresses(INET6);
        assert_eq!(found.get("eth0"), Some(&1), "one is link-local, one a duplicate");
        assert_eq!((found.get("eth1"), found.get("lo")), (None, None), "tentative, and the loopback");
    }
}

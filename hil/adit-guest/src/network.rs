// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The network of a machine, IPv6 by the kernel alone: every interface up, addresses from router advertisements and from
//! the hardware address, so that the harness knows them beforehand. Duplicate detection and the wait before the first
//! solicitation are off: on a wire in one process both only cost seconds.

use crate::start::complain;
use adit_guest::words::Address;
use std::fs;
use std::io;
use std::net::Ipv6Addr;
use std::path::Path;

const SETTINGS: [(&str, &str); 5] = [
    ("accept_ra", "2"),
    ("accept_dad", "0"),
    ("router_solicitation_delay", "0"),
    ("use_tempaddr", "0"),
    ("addr_gen_mode", "0"),
];
/// Bit IFF_UP of an interface's flags.
const UP: u32 = 1;
/// Bits IFA_F_TENTATIVE and IFA_F_DADFAILED of an address's flags.
const NOT_USABLE: u32 = 0x40 | 0x08;

/// Settings that interfaces take over when they appear, so before modules are loaded.
pub(crate) fn defaults() {
    for group in ["all", "default"] {
        for (name, value) in SETTINGS {
            let path = format!("/proc/sys/net/ipv6/conf/{group}/{name}");
            complain(&format!("set {group}/{name}"), fs::write(path, value));
        }
    }
}

/// Brings every interface up.
pub(crate) fn up() {
    let Ok(interfaces) = fs::read_dir("/sys/class/net") else { return };
    for interface in interfaces.flatten() {
        complain(&format!("bring {:?} up", interface.file_name()), raise(&interface.path()));
    }
}

fn raise(interface: &Path) -> io::Result<()> {
    let path = interface.join("flags");
    let text = fs::read_to_string(&path)?;
    let flags = u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).map_err(io::Error::other)?;
    fs::write(path, format!("{:#x}", flags | UP))
}

/// All IPv6 addresses, from the kernel's table: address, interface number, prefix, scope, flags, interface.
pub(crate) fn addresses() -> io::Result<Vec<Address>> {
    Ok(fs::read_to_string("/proc/net/if_inet6")?.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Address> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [address, _, prefix, _, flags, interface] = fields.as_slice() else { return None };
    Some(Address {
        interface: (*interface).to_owned(),
        address: Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?),
        prefix_bits: u8::from_str_radix(prefix, 16).ok()?,
        tentative: u32::from_str_radix(flags, 16).ok()? & NOT_USABLE != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_is_understood() {
        let usable = parse("fd00ad170000000050540012fe345678 02 40 00 80     eth0").unwrap();
        assert_eq!((usable.address.to_string().as_str(), usable.prefix_bits), ("fd00:ad17::5054:12:fe34:5678", 64));
        assert_eq!((usable.interface.as_str(), usable.tentative), ("eth0", false));
        assert!(parse("fe80000000000000505400fffe123456 02 40 20 c0     eth0").unwrap().tentative);
        assert_eq!(parse("fe80 02 40"), None);
    }
}

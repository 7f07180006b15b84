// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A network interface with hardware behind it (Documentation/ABI/testing/sysfs-class-net).

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkReading {
    /// Its name, such as "enp3s0".
    pub name: String,
    /// Whether the admin wants it up.
    pub is_wanted: bool,
    /// Whether there is a carrier.
    pub is_up: bool,
    /// The bond or bridge that it belongs to: that has the addresses then.
    pub master: Option<String>,
    /// Mbit/s; `None` where it has none (virtual, or down).
    pub speed_mbit: Option<i64>,
    /// Largest packet, bytes.
    pub mtu_bytes: i64,
    /// How often the carrier came or went since boot.
    pub carrier_changes: i64,
    /// Packets with errors since boot, both ways.
    pub errors: i64,
    /// Packets since boot, both ways.
    pub packets: i64,
    /// IPv6 addresses that others can use: global or unique local, not duplicate, not tentative.
    pub addresses: i64,
    /// Whether any interface of this machine has such an address.
    pub machine_has_address: bool,
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The firewall of a home router: what goes out opens the way back for a while; what comes in unasked needs a pinhole,
//! which names an interface id and a port, so that it outlives a change of the prefix. Packets and times in, verdicts out.

use super::frame::{ICMP, Packet, TCP, UDP, icmp, quoted, u16_at};
use std::collections::{BTreeSet, HashMap};
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

/// Flows that are remembered; a new one beyond them is refused.
pub const FLOWS_MAX: usize = 4096;
/// Pinholes of one firewall.
pub const PINHOLES_MAX: usize = 64;
/// How long the way back stays open without a packet: what RFC 6092 asks of a home router.
pub const FLOW_TIMEOUT_TCP: Duration = Duration::from_secs(2 * 60 * 60 + 4 * 60);
/// The same for UDP and echo.
pub const FLOW_TIMEOUT_UDP: Duration = Duration::from_secs(5 * 60);

/// What becomes of a packet that nothing admits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refusal {
    /// It vanishes.
    #[default]
    Drop,
    /// Its sender is told "administratively prohibited".
    Reject,
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Out,
    In,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Flow {
    protocol: u8,
    inside: (Ipv6Addr, u16),
    outside: (Ipv6Addr, u16),
}

#[derive(Debug)]
pub(crate) struct Firewall {
    flows: HashMap<Flow, Instant>,
    pinholes: BTreeSet<(u64, u16)>,
    pub(crate) refusal: Refusal,
    pub(crate) timeouts: (Duration, Duration),
}

impl Firewall {
    pub(crate) fn new() -> Self {
        Self {
            flows: HashMap::new(),
            pinholes: BTreeSet::new(),
            refusal: Refusal::Drop,
            timeouts: (FLOW_TIMEOUT_TCP, FLOW_TIMEOUT_UDP),
        }
    }

    /// Lets new TCP and UDP flows in to a port of the interface id, in whatever prefix; false if there are too many.
    #[must_use]
    pub(crate) fn open(&mut self, interface_id: u64, port: u16) -> bool {
        let fits = self.pinholes.len() < PINHOLES_MAX;
        if fits {
            self.pinholes.insert((interface_id, port));
        }
        fits
    }

    /// Closes a pinhole; flows that came through it go on.
    pub(crate) fn close(&mut self, interface_id: u64, port: u16) {
        self.pinholes.remove(&(interface_id, port));
    }

    /// Forgets every flow, as a router that was switched off and on.
    pub(crate) fn forget(&mut self) {
        self.flows.clear();
    }

    /// Whether a packet may pass.
    pub(crate) fn admits(&mut self, way: Way, packet: &Packet<'_>, now: Instant) -> bool {
        if let Some(about) = self.error_about(way, packet) {
            return self.flows.get(&about).is_some_and(|until| *until > now);
        }
        let Some(flow) = flow_of(way, packet) else { return false };
        let (tcp, other) = self.timeouts;
        let until = now + if flow.protocol == TCP { tcp } else { other };
        if let Some(open) = self.flows.get_mut(&flow).filter(|open| **open > now) {
            *open = until;
            return true;
        }
        let pinhole = (interface_id_of(flow.inside.0), flow.inside.1);
        if way == Way::In && (flow.protocol == ICMP || !self.pinholes.contains(&pinhole)) {
            return false;
        }
        if self.flows.len() >= FLOWS_MAX {
            self.flows.retain(|_, until| *until > now);
        }
        let fits = self.flows.len() < FLOWS_MAX;
        if fits {
            self.flows.insert(flow, until);
        }
        fits
    }

    /// The flow that an ICMPv6 error speaks of: what it quotes went the other way.
    fn error_about(&self, way: Way, packet: &Packet<'_>) -> Option<Flow> {
        let (kind, _, body) = packet.icmp()?;
        if !(icmp::UNREACHABLE..=icmp::PARAMETER_PROBLEM).contains(&kind) {
            return None;
        }
        let (source, destination, protocol, start) = quoted(body)?;
        let (from, to) = ports(protocol, start)?;
        Some(flow_between(opposite(way), protocol, (source, from), (destination, to)))
    }
}

fn opposite(way: Way) -> Way {
    match way {
        Way::Out => Way::In,
        Way::In => Way::Out,
    }
}

fn flow_of(way: Way, packet: &Packet<'_>) -> Option<Flow> {
    let (from, to) = ports(packet.next_header, packet.payload)?;
    Some(flow_between(way, packet.next_header, (packet.source, from), (packet.destination, to)))
}

fn flow_between(way: Way, protocol: u8, from: (Ipv6Addr, u16), to: (Ipv6Addr, u16)) -> Flow {
    match way {
        Way::Out => Flow { protocol, inside: from, outside: to },
        Way::In => Flow { protocol, inside: to, outside: from },
    }
}

/// Ports, or the identifier of an echo for both. Other protocols have no flow and do not pass.
fn ports(protocol: u8, start: &[u8]) -> Option<(u16, u16)> {
    match protocol {
        TCP | UDP => Some((u16_at(start, 0)?, u16_at(start, 2)?)),
        ICMP if matches!(start.first()?, &icmp::ECHO_REQUEST | &icmp::ECHO_REPLY) => {
            let identifier = u16_at(start, 4)?;
            Some((identifier, identifier))
        }
        _ => None,
    }
}

pub(crate) fn interface_id_of(address: Ipv6Addr) -> u64 {
    let [_, _, _, _, _, _, _, _, id @ ..] = address.octets();
    u64::from_be_bytes(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::frame::{Envelope, error};

    const BOX: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 5);
    const BOX_MOVED: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 5);
    const PEER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);

    fn frame(source: Ipv6Addr, destination: Ipv6Addr, from: u16, to: u16) -> Vec<u8> {
        let envelope = Envelope { to_mac: [2; 6], from_mac: [4; 6], source, destination, hop_limit: 64 };
        envelope.udp(from, to, b"")
    }

    fn admits(firewall: &mut Firewall, way: Way, frame: &[u8], now: Instant) -> bool {
        firewall.admits(way, &Packet::parse(frame).expect("packet"), now)
    }

    #[test]
    fn what_goes_out_opens_the_way_back_for_a_while() {
        let (mut firewall, now) = (Firewall::new(), Instant::now());
        let (asked, answer) = (frame(BOX, PEER, 1000, 53), frame(PEER, BOX, 53, 1000));
        assert!(!admits(&mut firewall, Way::In, &answer, now));
        assert!(admits(&mut firewall, Way::Out, &asked, now));
        assert!(admits(&mut firewall, Way::In, &answer, now));
        assert!(!admits(&mut firewall, Way::In, &frame(PEER, BOX, 54, 1000), now));
        assert!(!admits(&mut firewall, Way::In, &answer, now + FLOW_TIMEOUT_UDP));
    }

    #[test]
    fn a_pinhole_outlives_its_prefix_and_its_flows_outlive_it() {
        let (mut firewall, now) = (Firewall::new(), Instant::now());
        assert!(firewall.open(5, 4433));
        let (first, moved) = (frame(PEER, BOX, 9, 4433), frame(PEER, BOX_MOVED, 9, 4433));
        assert!(admits(&mut firewall, Way::In, &first, now) && admits(&mut firewall, Way::In, &moved, now));
        assert!(!admits(&mut firewall, Way::In, &frame(PEER, BOX, 9, 4434), now));
        firewall.close(5, 4433);
        assert!(admits(&mut firewall, Way::In, &first, now));
        assert!(!admits(&mut firewall, Way::In, &frame(PEER, BOX, 10, 4433), now));
        firewall.forget();
        assert!(!admits(&mut firewall, Way::In, &first, now));
    }

    #[test]
    fn errors_pass_with_their_flow_only() {
        let (mut firewall, now) = (Firewall::new(), Instant::now());
        let asked = frame(BOX, PEER, 1000, 53);
        let told = error(([6; 6], PEER), &Packet::parse(&asked).expect("packet"), icmp::TOO_BIG, 0, 1280);
        let told = told.expect("an error");
        assert!(!admits(&mut firewall, Way::In, &told, now));
        assert!(admits(&mut firewall, Way::Out, &asked, now));
        assert!(admits(&mut firewall, Way::In, &told, now));
    }

    #[test]
    fn tables_end_at_their_limits_and_old_flows_make_room() {
        let (mut firewall, now) = (Firewall::new(), Instant::now());
        let out = |port| frame(BOX, PEER, port, 53);
        let taken = (1..=5000).filter(|port| admits(&mut firewall, Way::Out, &out(*port), now)).count();
        assert_eq!(taken, FLOWS_MAX);
        assert!(admits(&mut firewall, Way::Out, &out(5000), now + FLOW_TIMEOUT_UDP));
        let opened = (0..200).filter(|port| firewall.open(5, *port)).count();
        assert_eq!(opened, PINHOLES_MAX);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bytes of a frame: Ethernet, IPv6 and ICMPv6 headers, read with checks and written with checksums. It keeps no
//! state and knows no socket. A frame is an Ethernet frame without its check sequence.

use std::net::Ipv6Addr;

/// A hardware address.
pub(crate) type Mac = [u8; 6];

/// Bytes of an Ethernet header without a VLAN tag.
pub(crate) const ETHERNET_BYTES: usize = 14;
/// Bytes of an IPv6 header.
pub(crate) const IPV6_BYTES: usize = 40;
/// The least MTU that IPv6 allows (RFC 8200, section 5).
pub(crate) const MTU_MIN: usize = 1280;
/// The largest frame that a port takes: no guest is given jumbo frames beyond 9000 bytes.
pub(crate) const FRAME_BYTES_MAX: usize = 9216;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMP: u8 = 58;

/// Types of ICMPv6 that the harness reads or writes (RFC 4443, RFC 4861).
pub(crate) mod icmp {
    pub(crate) const UNREACHABLE: u8 = 1;
    pub(crate) const TOO_BIG: u8 = 2;
    pub(crate) const TIME_EXCEEDED: u8 = 3;
    pub(crate) const PARAMETER_PROBLEM: u8 = 4;
    pub(crate) const ECHO_REQUEST: u8 = 128;
    pub(crate) const ECHO_REPLY: u8 = 129;
    pub(crate) const ROUTER_SOLICIT: u8 = 133;
    pub(crate) const ROUTER_ADVERT: u8 = 134;
    pub(crate) const NEIGHBOUR_SOLICIT: u8 = 135;
    pub(crate) const NEIGHBOUR_ADVERT: u8 = 136;

    /// Codes of `UNREACHABLE`.
    pub(crate) const NO_ROUTE: u8 = 0;
    pub(crate) const PROHIBITED: u8 = 1;
    pub(crate) const NO_ADDRESS: u8 = 3;
}

pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// One IPv6 packet in its frame. Extension headers are not followed: `next_header` is the first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'f> {
    pub(crate) to_mac: Mac,
    pub(crate) from_mac: Mac,
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    pub(crate) next_header: u8,
    pub(crate) hop_limit: u8,
    /// What follows the IPv6 header, without Ethernet padding.
    pub(crate) payload: &'f [u8],
    /// The IPv6 header and the payload.
    pub(crate) bytes: &'f [u8],
}

impl<'f> Packet<'f> {
    /// Reads a frame; `None` if it holds no whole IPv6 packet.
    pub(crate) fn parse(frame: &'f [u8]) -> Option<Self> {
        if !is_ipv6(frame) {
            return None;
        }
        let (to_mac, rest) = frame.split_first_chunk::<6>()?;
        let (from_mac, _) = rest.split_first_chunk::<6>()?;
        let ip = frame.get(ETHERNET_BYTES..)?;
        let payload_bytes = usize::from(u16_at(ip, 4)?);
        let bytes = ip.get(..IPV6_BYTES + payload_bytes)?;
        if bytes.first()? >> 4 != 6 {
            return None;
        }
        Some(Self {
            to_mac: *to_mac,
            from_mac: *from_mac,
            source: address_at(bytes, 8)?,
            destination: address_at(bytes, 24)?,
            next_header: *bytes.get(6)?,
            hop_limit: *bytes.get(7)?,
            payload: bytes.get(IPV6_BYTES..)?,
            bytes,
        })
    }

    /// Type, code and body (what follows the checksum) of an ICMPv6 message with a good checksum.
    pub(crate) fn icmp(&self) -> Option<(u8, u8, &'f [u8])> {
        if self.next_header != ICMP || self.payload.len() < 8 {
            return None;
        }
        let sum = checksum(self.source, self.destination, ICMP, self.payload);
        (sum == 0).then(|| (self.payload[0], self.payload[1], &self.payload[4..]))
    }
}

/// The IPv6 packet quoted in the body of an ICMPv6 error: source, destination, next header and its first bytes.
pub(crate) fn quoted(body: &[u8]) -> Option<(Ipv6Addr, Ipv6Addr, u8, &[u8])> {
    let packet = body.get(4..)?;
    Some((address_at(packet, 8)?, address_at(packet, 24)?, *packet.get(6)?, packet.get(IPV6_BYTES..)?))
}

pub(crate) fn is_ipv6(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x86, 0xdd])
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk::<2>().map(|two| u16::from_be_bytes(*two))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|four| u32::from_be_bytes(*four))
}

pub(crate) fn address_at(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    bytes.get(at..)?.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets))
}

/// Where a packet goes: both ends, at both layers, and how far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope {
    pub(crate) to_mac: Mac,
    pub(crate) from_mac: Mac,
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    pub(crate) hop_limit: u8,
}

impl Envelope {
    /// A frame around a payload that is already complete.
    pub(crate) fn seal(&self, next_header: u8, payload: &[u8]) -> Vec<u8> {
        let mut ip = Vec::with_capacity(IPV6_BYTES + payload.len());
        ip.extend([0x60, 0, 0, 0]);
        ip.extend(length16(payload.len()).to_be_bytes());
        ip.extend([next_header, self.hop_limit]);
        ip.extend(self.source.octets());
        ip.extend(self.destination.octets());
        ip.extend(payload);
        ethernet(self.to_mac, self.from_mac, &ip)
    }

    /// A frame with an ICMPv6 message; `body` follows the checksum.
    pub(crate) fn icmp(&self, kind: u8, code: u8, body: &[u8]) -> Vec<u8> {
        let mut message = vec![kind, code, 0, 0];
        message.extend(body);
        let sum = checksum(self.source, self.destination, ICMP, &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        self.seal(ICMP, &message)
    }

    /// A frame with a UDP datagram.
    pub(crate) fn udp(&self, from_port: u16, to_port: u16, data: &[u8]) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(8 + data.len());
        datagram.extend(from_port.to_be_bytes());
        datagram.extend(to_port.to_be_bytes());
        datagram.extend(length16(8 + data.len()).to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(data);
        // A sum of 0 would mean "none", which IPv6 forbids (RFC 8200, section 8.1).
        let sum = match checksum(self.source, self.destination, UDP, &datagram) {
            0 => 0xffff,
            sum => sum,
        };
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        self.seal(UDP, &datagram)
    }
}

/// An ICMPv6 error about `packet`, quoting as much of it as fits into the least MTU; `word` is the field before the quote.
/// `None` where an error must not be sent (RFC 4443, section 2.4 e).
pub(crate) fn error(from: (Mac, Ipv6Addr), packet: &Packet<'_>, kind: u8, code: u8, word: u32) -> Option<Vec<u8>> {
    let about_error = packet.next_header == ICMP && packet.payload.first().is_some_and(|kind| *kind < 128);
    let to_many = packet.destination.is_multicast() && kind != icmp::TOO_BIG;
    if about_error || to_many || packet.source.is_unspecified() || packet.source.is_multicast() {
        return None;
    }
    let quote = packet.bytes.len().min(MTU_MIN - IPV6_BYTES - 8);
    let mut body = word.to_be_bytes().to_vec();
    body.extend(&packet.bytes[..quote]);
    let envelope = Envelope {
        to_mac: packet.from_mac,
        from_mac: from.0,
        source: from.1,
        destination: packet.source,
        hop_limit: 255,
    };
    Some(envelope.icmp(kind, code, &body))
}

/// A frame around a whole IPv6 packet.
pub(crate) fn ethernet(to: Mac, from: Mac, packet: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETHERNET_BYTES + packet.len());
    frame.extend(to);
    frame.extend(from);
    frame.extend([0x86, 0xdd]);
    frame.extend(packet);
    frame
}

/// The Internet checksum with IPv6's pseudo header; 0 over a message that carries a good one.
pub(crate) fn checksum(source: Ipv6Addr, destination: Ipv6Addr, next_header: u8, payload: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u64 {
        let pairs = bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)));
        pairs.sum()
    };
    let length = u64::from(length16(payload.len()));
    let mut sum = words(&source.octets()) + words(&destination.octets()) + length + u64::from(next_header);
    sum += words(payload);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

fn length16(length: usize) -> u16 {
    u16::try_from(length).expect("no frame of the harness is longer than 64 KiB")
}

/// The hardware address to which a multicast address is sent (RFC 2464, section 7).
pub(crate) fn multicast_mac(group: Ipv6Addr) -> Mac {
    let octets = group.octets();
    [0x33, 0x33, octets[12], octets[13], octets[14], octets[15]]
}

/// The group at which an address is asked for (RFC 4291, section 2.7.1).
pub(crate) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let octets = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, octets[13], octets[14], octets[15]])
}

/// The interface id made of a hardware address (RFC 4291, appendix A).
pub(crate) fn interface_id(mac: Mac) -> u64 {
    u64::from_be_bytes([mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]])
}

/// The address with this interface id in the network of 64 bits that `network` lies in.
pub(crate) fn address_in(network: Ipv6Addr, interface_id: u64) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(network) >> 64 << 64 | u128::from(interface_id))
}

pub(crate) fn link_local(mac: Mac) -> Ipv6Addr {
    address_in(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), interface_id(mac))
}

/// The hardware address that a name has in a network: the same in every run, local, unicast.
pub(crate) fn mac_of(name: &str) -> Mac {
    let hash = super::fault::hash(name).to_be_bytes();
    [0x02, 0xad, hash[0], hash[1], hash[2], hash[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

    fn envelope() -> Envelope {
        Envelope { to_mac: [2; 6], from_mac: [4; 6], source: SOURCE, destination: ALL_NODES, hop_limit: 255 }
    }

    #[test]
    fn a_frame_reads_back_and_no_cut_of_it_does() {
        let frame = envelope().icmp(icmp::ECHO_REQUEST, 0, &[1, 2, 3, 4, 5]);
        let packet = Packet::parse(&frame).expect("whole");
        assert_eq!((packet.source, packet.destination, packet.hop_limit), (SOURCE, ALL_NODES, 255));
        assert_eq!(packet.icmp(), Some((icmp::ECHO_REQUEST, 0, &[1, 2, 3, 4, 5][..])));
        for length in 0..frame.len() {
            assert!(Packet::parse(&frame[..length]).is_none(), "{length} of {} bytes", frame.len());
        }
        let mut damaged = frame.clone();
        damaged[ETHERNET_BYTES + IPV6_BYTES + 5] ^= 1;
        assert_eq!(Packet::parse(&damaged).expect("whole").icmp(), None);
    }

    #[test]
    fn an_independent_parser_agrees() {
        use smoltcp::wire::{EthernetFrame, Ipv6Packet, UdpPacket};
        let frame = envelope().udp(53, 1053, b"odd");
        let ethernet = EthernetFrame::new_checked(&frame[..]).expect("frame");
        let ip = Ipv6Packet::new_checked(ethernet.payload()).expect("packet");
        let udp = UdpPacket::new_checked(ip.payload()).expect("datagram");
        assert!(udp.verify_checksum(&SOURCE.into(), &ALL_NODES.into()));
        assert_eq!((udp.src_port(), udp.dst_port(), udp.payload()), (53, 1053, &b"odd"[..]));
    }

    #[test]
    fn no_error_answers_an_error() {
        let frame = envelope().icmp(icmp::UNREACHABLE, 0, &[0; 44]);
        let packet = Packet::parse(&frame).expect("whole");
        assert!(error(([4; 6], SOURCE), &packet, icmp::TIME_EXCEEDED, 0, 0).is_none());
    }
}

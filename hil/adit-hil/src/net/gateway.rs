// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A router's foot in one network: it advertises, answers for its own addresses (neighbours, echo, DNS) and sends packets
//! for elsewhere through the joins to other networks, past the firewall. Frames and times in, frames out; no socket.

use super::advertise::{Announcement, flood_frame, router_address, to_all_nodes};
use super::dns::{self, Zone};
use super::fault::Random;
use super::frame::{self, ALL_NODES, ETHERNET_BYTES, Envelope, Mac, Packet, UDP, address_at, icmp, u16_at};
use super::router::{Core, Passage, Side};
use super::services;
use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Neighbours that a router remembers.
pub const NEIGHBOURS_MAX: usize = 512;
/// Packets that wait for one neighbour to answer.
pub const WAITING_MAX: usize = 16;
/// How often a neighbour is asked for before it is unreachable, a second apart (RFC 4861, section 10).
pub const SOLICITS_MAX: u8 = 3;
/// Advertisements of a flood that leave at once, every `FLOOD_PAUSE`.
pub const FLOOD_BURST: u64 = 200;

const SOLICIT_PAUSE: Duration = Duration::from_secs(1);
const FLOOD_PAUSE: Duration = Duration::from_millis(10);
const REACHABLE: Duration = Duration::from_secs(30);

/// A packet for another network: the join that leads there, and the frame.
type Through = (usize, Vec<u8>);

/// A packet, in a frame whose hardware addresses may be stale, and the join that it came through.
#[derive(Debug)]
struct Transit {
    frame: Vec<u8>,
    came: Option<usize>,
}

#[derive(Debug)]
struct Neighbour {
    mac: Option<Mac>,
    /// When it must be asked again.
    until: Instant,
    asked: u8,
    waiting: Vec<Transit>,
}

#[derive(Debug)]
struct Join {
    core: Arc<Mutex<Core>>,
    side: Side,
}

#[derive(Debug)]
pub(crate) struct Gateway {
    mac: Mac,
    pub(crate) announcement: Announcement,
    pub(crate) zone: Zone,
    /// Whether it opens ports when it is asked to; none where it does not even answer.
    pub(crate) opens_ports: Option<bool>,
    advertise_at: Option<Instant>,
    neighbours: HashMap<Ipv6Addr, Neighbour>,
    flood: (u64, Random, Instant),
    joins: Vec<Join>,
    out: Vec<Vec<u8>>,
    /// Packets for other networks, by join.
    through: Vec<Through>,
}

impl Gateway {
    pub(crate) fn new(name: &str, seed: u64, announcement: Announcement, zone: Zone, now: Instant) -> Self {
        Self {
            mac: frame::mac_of(name),
            announcement,
            zone,
            opens_ports: None,
            advertise_at: Some(now),
            neighbours: HashMap::new(),
            flood: (0, Random::new(seed), now),
            joins: Vec::new(),
            out: Vec::new(),
            through: Vec::new(),
        }
    }

    pub(crate) fn link_local(&self) -> Ipv6Addr {
        frame::link_local(self.mac)
    }

    /// The address at which it serves names: in the newest network, else its link-local one.
    pub(crate) fn address(&self) -> Ipv6Addr {
        let newest = self.announcement.networks().last();
        newest.map_or_else(|| self.link_local(), |network| router_address(network, self.mac))
    }

    /// Tells the network, and the joins, what has changed.
    pub(crate) fn announce(&mut self, now: Instant) {
        self.advertise_at = Some(now);
        for join in &self.joins {
            let mut core = join.core.lock().unwrap_or_else(PoisonError::into_inner);
            core.networks[join.side as usize] = self.announcement.networks().collect();
            core.mtu[join.side as usize] = self.announcement.mtu.unwrap_or(1500);
        }
    }

    pub(crate) fn join(&mut self, core: Arc<Mutex<Core>>, side: Side, now: Instant) -> usize {
        self.joins.push(Join { core, side });
        self.announce(now);
        self.joins.len() - 1
    }

    pub(crate) fn flood(&mut self, count: u64, now: Instant) {
        self.flood.0 += count;
        self.flood.2 = now;
    }

    pub(crate) fn flood_left(&self) -> u64 {
        self.flood.0
    }

    /// What it has to send: frames, and packets for other networks by join.
    pub(crate) fn take(&mut self) -> (Vec<Vec<u8>>, Vec<Through>) {
        (std::mem::take(&mut self.out), std::mem::take(&mut self.through))
    }

    /// Takes a frame from its own network.
    pub(crate) fn frame(&mut self, bytes: &[u8], now: Instant) {
        let Some(packet) = Packet::parse(bytes) else { return };
        let multicast = packet.to_mac[0] & 1 != 0;
        if packet.to_mac != self.mac && !multicast {
            return;
        }
        if let Some((kind, _, body)) = packet.icmp() {
            self.icmp(&packet, kind, body, now);
        }
        if self.is_mine(packet.destination) {
            self.datagram(&packet);
        } else if !multicast && !packet.destination.is_multicast() {
            self.route(Transit { frame: bytes.to_vec(), came: None }, now);
        }
    }

    /// Takes a packet that came through a join.
    pub(crate) fn pass(&mut self, join: usize, frame: Vec<u8>, now: Instant) {
        self.route(Transit { frame, came: Some(join) }, now);
    }

    /// Does what the time asks for, and says when it wants to be asked again.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Instant> {
        if self.advertise_at.is_some_and(|at| at <= now) {
            let body = self.announcement.body(self.mac, self.address());
            self.out.push(to_all_nodes(self.mac).icmp(icmp::ROUTER_ADVERT, 0, &body));
            self.announcement.told();
            self.advertise_at = Some(now + self.announcement.interval);
        }
        if self.flood.0 > 0 && self.flood.2 <= now {
            let burst = self.flood.0.min(FLOOD_BURST);
            self.out.extend((0..burst).map(|_| flood_frame(&mut self.flood.1)));
            (self.flood.0, self.flood.2) = (self.flood.0 - burst, now + FLOOD_PAUSE);
        }
        self.ask_again(now);
        let asking = self.neighbours.values().filter(|neighbour| neighbour.mac.is_none());
        let asking = asking.map(|neighbour| neighbour.until).min();
        let flood = (self.flood.0 > 0).then_some(self.flood.2);
        [self.advertise_at, flood, asking].into_iter().flatten().min()
    }

    fn is_mine(&self, address: Ipv6Addr) -> bool {
        let networks = self.announcement.prefixes.iter().map(|prefix| prefix.network);
        address == self.link_local() || networks.into_iter().any(|network| address == router_address(network, self.mac))
    }

    fn icmp(&mut self, packet: &Packet<'_>, kind: u8, body: &[u8], now: Instant) {
        let near = packet.hop_limit == 255;
        let reply = Envelope {
            to_mac: packet.from_mac,
            from_mac: self.mac,
            source: packet.destination,
            destination: packet.source,
            hop_limit: 255,
        };
        match kind {
            icmp::ECHO_REQUEST if self.is_mine(packet.destination) => {
                self.out.push(reply.icmp(icmp::ECHO_REPLY, 0, body));
            }
            icmp::ROUTER_SOLICIT if near => self.advertise_at = Some(now),
            icmp::NEIGHBOUR_SOLICIT if near => {
                let Some(target) = address_at(body, 4).filter(|target| self.is_mine(*target)) else { return };
                let detecting = packet.source.is_unspecified();
                let destination = if detecting { ALL_NODES } else { packet.source };
                let to_mac = if detecting { frame::multicast_mac(ALL_NODES) } else { packet.from_mac };
                // Router, override, and solicited unless the asker has no address yet (RFC 4861, section 7.2.4).
                let mut answer = vec![if detecting { 0xa0 } else { 0xe0 }, 0, 0, 0];
                answer.extend(target.octets());
                answer.extend([2, 1]);
                answer.extend(self.mac);
                let envelope = Envelope { to_mac, source: target, destination, ..reply };
                self.out.push(envelope.icmp(icmp::NEIGHBOUR_ADVERT, 0, &answer));
                if !detecting {
                    self.learn(packet.source, packet.from_mac, now);
                }
            }
            icmp::NEIGHBOUR_ADVERT if near => {
                let Some(target) = address_at(body, 4) else { return };
                self.learn(target, packet.from_mac, now);
            }
            _ => {}
        }
    }

    fn datagram(&mut self, packet: &Packet<'_>) {
        let data = packet.payload.get(8..);
        let (Some(from), Some(to), Some(data)) = (u16_at(packet.payload, 0), u16_at(packet.payload, 2), data) else {
            return;
        };
        if packet.next_header != UDP {
            return;
        }
        let answer = match to {
            dns::PORT => self.zone.answer(data),
            services::TIME => services::time(data, SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()),
            services::PORT_CONTROL => self.port_control(data, packet.source),
            _ => None,
        };
        let Some(answer) = answer else { return };
        let reply = Envelope {
            to_mac: packet.from_mac,
            from_mac: self.mac,
            source: packet.destination,
            destination: packet.source,
            hop_limit: 64,
        };
        self.out.push(reply.udp(to, from, &answer));
    }

    /// Opens what a machine asks for, in every join that leads outside.
    fn port_control(&self, request: &[u8], from: Ipv6Addr) -> Option<Vec<u8>> {
        let (open, answer) = services::port_control(request, from, self.opens_ports?)?;
        for join in self.joins.iter().filter(|join| join.side == Side::Inside) {
            if let Some(port) = open {
                join.core.lock().unwrap_or_else(PoisonError::into_inner).pinhole(from, port).ok()?;
            }
        }
        Some(answer)
    }

    /// Sends a packet on: into its own network, or through the join that leads to its destination.
    fn route(&mut self, transit: Transit, now: Instant) {
        let Some(packet) = Packet::parse(&transit.frame) else { return };
        let near = |address: Ipv6Addr| address.is_unicast_link_local() || address.is_unspecified();
        if near(packet.source) || near(packet.destination) || packet.source.is_multicast() {
            return;
        }
        if self.announcement.networks().any(|network| same_network(network, packet.destination)) {
            return self.deliver(transit, now);
        }
        let passage = self.passage(&packet, transit.came, now);
        match passage {
            Some((join, Passage::Open)) => {
                let mut frame = transit.frame;
                frame[ETHERNET_BYTES + 7] -= 1;
                self.through.push((join, frame));
            }
            Some((_, Passage::Dropped)) => {}
            Some((_, Passage::Refused { kind, code, word })) => self.complain(&transit, (kind, code, word)),
            None => self.complain(&transit, (icmp::UNREACHABLE, icmp::NO_ROUTE, 0)),
        }
    }

    /// The join towards a destination, and whether it may be used. The way out is for everything that no other join
    /// claims.
    fn passage(&self, packet: &Packet<'_>, came: Option<usize>, now: Instant) -> Option<(usize, Passage)> {
        let mut others = self.joins.iter().enumerate().filter(|(number, _)| Some(*number) != came);
        let claims = |join: &Join| {
            let core = join.core.lock().unwrap_or_else(PoisonError::into_inner);
            core.networks[join.side.other() as usize].iter().any(|network| same_network(*network, packet.destination))
        };
        let found = others.clone().find(|(_, join)| claims(join));
        let (number, join) = found.or_else(|| others.find(|(_, join)| join.side == Side::Inside))?;
        let mut core = join.core.lock().unwrap_or_else(PoisonError::into_inner);
        Some((number, core.passage(join.side, packet, now)))
    }

    /// Tells a packet's sender what became of it, back the way the packet came.
    fn complain(&mut self, transit: &Transit, (kind, code, word): (u8, u8, u32)) {
        let Some(packet) = Packet::parse(&transit.frame) else { return };
        let Some(told) = frame::error((self.mac, self.address()), &packet, kind, code, word) else { return };
        match transit.came {
            None => self.out.push(told),
            Some(join) => self.through.push((join, told)),
        }
    }

    fn deliver(&mut self, transit: Transit, now: Instant) {
        let Some(destination) = Packet::parse(&transit.frame).map(|packet| packet.destination) else { return };
        if let Some(Neighbour { mac: Some(mac), until, .. }) = self.neighbours.get(&destination)
            && *until > now
        {
            let frame = frame::ethernet(*mac, self.mac, &transit.frame[ETHERNET_BYTES..]);
            return self.out.push(frame);
        }
        if self.neighbours.len() >= NEIGHBOURS_MAX {
            self.neighbours.retain(|_, neighbour| neighbour.until > now);
            if self.neighbours.len() >= NEIGHBOURS_MAX {
                return;
            }
        }
        let unknown = || Neighbour { mac: None, until: now, asked: 0, waiting: Vec::new() };
        let neighbour = self.neighbours.entry(destination).or_insert_with(unknown);
        if neighbour.mac.take().is_some() {
            (neighbour.asked, neighbour.until) = (0, now);
        }
        if neighbour.waiting.len() < WAITING_MAX {
            neighbour.waiting.push(transit);
        }
    }

    fn learn(&mut self, address: Ipv6Addr, mac: Mac, now: Instant) {
        let Some(neighbour) = self.neighbours.get_mut(&address) else {
            if self.neighbours.len() < NEIGHBOURS_MAX {
                let known = Neighbour { mac: Some(mac), until: now + REACHABLE, asked: 0, waiting: Vec::new() };
                self.neighbours.insert(address, known);
            }
            return;
        };
        (neighbour.mac, neighbour.until) = (Some(mac), now + REACHABLE);
        for transit in std::mem::take(&mut neighbour.waiting) {
            self.out.push(frame::ethernet(mac, self.mac, &transit.frame[ETHERNET_BYTES..]));
        }
    }

    /// Asks for neighbours whose answer is overdue; gives up on those that were asked often enough.
    fn ask_again(&mut self, now: Instant) {
        let mut lost = Vec::new();
        for (address, neighbour) in &mut self.neighbours {
            if neighbour.mac.is_some() || neighbour.until > now {
                continue;
            }
            if neighbour.asked == SOLICITS_MAX {
                lost.push(*address);
                continue;
            }
            (neighbour.asked, neighbour.until) = (neighbour.asked + 1, now + SOLICIT_PAUSE);
            let group = frame::solicited_node(*address);
            let envelope = Envelope {
                to_mac: frame::multicast_mac(group),
                from_mac: self.mac,
                source: frame::link_local(self.mac),
                destination: group,
                hop_limit: 255,
            };
            let mut question = vec![0; 4];
            question.extend(address.octets());
            question.extend([1, 1]);
            question.extend(self.mac);
            self.out.push(envelope.icmp(icmp::NEIGHBOUR_SOLICIT, 0, &question));
        }
        for address in lost {
            let waiting = self.neighbours.remove(&address).map(|neighbour| neighbour.waiting).unwrap_or_default();
            for transit in waiting {
                self.complain(&transit, (icmp::UNREACHABLE, icmp::NO_ADDRESS, 0));
            }
        }
    }
}

fn same_network(network: Ipv6Addr, address: Ipv6Addr) -> bool {
    u128::from(network) >> 64 == u128::from(address) >> 64
}

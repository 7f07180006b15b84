// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Ethernet switch: it learns where hardware addresses are, floods what it does not know, and sends every frame
//! through the links of its sender and its receivers. No socket and no clock: frames and times go in, due frames come out.
//! It forwards IPv6 and nothing else, so no test can lean on another protocol.

use super::capture::Capture;
use super::fault::{Counters, Crossing, Drop, Faults, Link, REORDER_HOLD, TooBig};
use super::frame::{self, ETHERNET_BYTES, FRAME_BYTES_MAX, MTU_MIN, Mac, Packet};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Instant;

/// Hardware addresses that are remembered; frames to others are flooded, as in a real switch under attack.
pub const MACS_MAX: usize = 1024;
/// Bytes under way to one port; what comes on top is dropped.
pub const UNDER_WAY_BYTES_MAX: usize = 16 << 20;

/// The link itself as the sender of "Packet Too Big": no port has this address.
const LINK_MAC: Mac = [0x02, 0xad, 0x17, 0xff, 0xff, 0xff];
const LINK_ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0xad, 0x17ff, 0xfeff, 0xffff);

/// The number of a port within its network.
pub(crate) type PortId = usize;

/// A place to plug in.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) faults: Faults,
    pub(crate) up: bool,
    pub(crate) counters: Counters,
    inward: Link,
    outward: Link,
    /// The network's own faults, for frames to this port.
    shared: Link,
    under_way_bytes: usize,
}

/// A frame on its way; the order of fields is the order of delivery.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Delivery {
    at: Instant,
    number: u64,
    to: PortId,
    frame: Arc<Vec<u8>>,
}

#[derive(Debug)]
pub(crate) struct Switch {
    seed: u64,
    /// Faults between every two ports, on top of their own.
    pub(crate) faults: Faults,
    pub(crate) ports: Vec<Port>,
    pub(crate) counters: Counters,
    pub(crate) capture: Option<Capture>,
    parted: BTreeSet<(PortId, PortId)>,
    macs: HashMap<Mac, PortId>,
    due: BinaryHeap<Reverse<Delivery>>,
    /// The newest arrival between two ports: jitter and a falling latency must not reorder.
    newest: HashMap<(PortId, PortId), Instant>,
    number: u64,
}

impl Switch {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            faults: Faults::default(),
            ports: Vec::new(),
            counters: Counters::default(),
            capture: None,
            parted: BTreeSet::new(),
            macs: HashMap::new(),
            due: BinaryHeap::new(),
            newest: HashMap::new(),
            number: 0,
        }
    }

    pub(crate) fn add(&mut self, name: &str) -> PortId {
        let link = |direction: &str| Link::new(self.seed, &format!("{name} {direction}"));
        self.ports.push(Port {
            name: name.to_owned(),
            faults: Faults::default(),
            up: true,
            counters: Counters::default(),
            inward: link("in"),
            outward: link("out"),
            shared: link("shared"),
            under_way_bytes: 0,
        });
        self.ports.len() - 1
    }

    pub(crate) fn find(&self, name: &str) -> Option<PortId> {
        self.ports.iter().position(|port| port.name == name)
    }

    /// Parts two ports, or joins them again. They still reach every other port.
    pub(crate) fn part(&mut self, one: PortId, other: PortId, apart: bool) {
        let pair = (one.min(other), one.max(other));
        if apart {
            self.parted.insert(pair);
        } else {
            self.parted.remove(&pair);
        }
    }

    /// Takes a frame that a port sent.
    pub(crate) fn ingress(&mut self, from: PortId, frame: Vec<u8>, now: Instant) {
        if frame.len() > FRAME_BYTES_MAX || frame.len() < ETHERNET_BYTES {
            return self.count(from, |counters| counters.too_big += 1);
        }
        if let Some(capture) = &mut self.capture {
            capture.frame(&frame);
        }
        if !frame::is_ipv6(&frame) {
            return self.count(from, |counters| counters.not_ipv6 += 1);
        }
        if !self.ports[from].up {
            return self.count(from, |counters| counters.down += 1);
        }
        let (to_mac, from_mac) = macs(&frame);
        if self.macs.len() < MACS_MAX || self.macs.contains_key(&from_mac) {
            self.macs.insert(from_mac, from);
        }
        let port = &mut self.ports[from];
        let crossing = port.inward.cross(&port.faults, now, frame.len() - ETHERNET_BYTES);
        let crossing = match crossing {
            Ok(crossing) => crossing,
            Err(drop) => return self.dropped(from, from, drop, &frame, now),
        };
        let known = self.macs.get(&to_mac).copied().filter(|_| to_mac[0] & 1 == 0);
        let frame = Arc::new(frame);
        match known {
            Some(to) if to == from => {}
            Some(to) => self.forward(from, to, crossing, &frame, now),
            None => {
                for to in (0..self.ports.len()).filter(|to| *to != from) {
                    self.forward(from, to, crossing, &frame, now);
                }
            }
        }
    }

    /// Sends a frame that has crossed its sender's link through the network and its receiver's link.
    fn forward(&mut self, from: PortId, to: PortId, crossing: Crossing, frame: &Arc<Vec<u8>>, now: Instant) {
        if !self.ports[to].up {
            return self.count(to, |counters| counters.down += 1);
        }
        if self.parted.contains(&(from.min(to), from.max(to))) {
            return self.count(to, |counters| counters.parted += 1);
        }
        let port = &mut self.ports[to];
        let packet_bytes = frame.len() - ETHERNET_BYTES;
        let shared = port.shared.cross(&self.faults, crossing.at, packet_bytes);
        let outward = shared.and_then(|shared| {
            let outward = port.outward.cross(&port.faults, shared.at, packet_bytes)?;
            Ok(crossing.with(shared).with(outward))
        });
        let whole = match outward {
            Ok(whole) => whole,
            Err(drop) => return self.dropped(from, to, drop, frame, now),
        };
        let newest = self.newest.entry((from, to)).or_insert(whole.at);
        let mut at = whole.at.max(*newest);
        if whole.reordered {
            at += REORDER_HOLD;
            self.count(to, |counters| counters.reordered += 1);
        } else {
            *newest = at;
        }
        self.schedule(to, frame, at);
        if whole.duplicated {
            self.count(to, |counters| counters.duplicated += 1);
            self.schedule(to, frame, at);
        }
    }

    fn schedule(&mut self, to: PortId, frame: &Arc<Vec<u8>>, at: Instant) {
        let port = &mut self.ports[to];
        if port.under_way_bytes + frame.len() > UNDER_WAY_BYTES_MAX {
            return self.count(to, |counters| counters.queue_full += 1);
        }
        port.under_way_bytes += frame.len();
        self.number += 1;
        self.due.push(Reverse(Delivery { at, number: self.number, to, frame: Arc::clone(frame) }));
    }

    /// Counts a drop at the port whose link it was, and tells the sender where it must be told.
    fn dropped(&mut self, from: PortId, at: PortId, drop: Drop, frame: &[u8], now: Instant) {
        match drop {
            Drop::Lost => self.count(at, |counters| counters.lost += 1),
            Drop::QueueFull => self.count(at, |counters| counters.queue_full += 1),
            Drop::TooBig(mtu, told) => {
                self.count(at, |counters| counters.too_big += 1);
                if told == TooBig::Silent {
                    return;
                }
                let Some(packet) = Packet::parse(frame) else { return };
                let mtu = u32::try_from(mtu.max(MTU_MIN)).unwrap_or(u32::MAX);
                let reply = frame::error((LINK_MAC, LINK_ADDRESS), &packet, frame::icmp::TOO_BIG, 0, mtu);
                if let Some(reply) = reply {
                    self.schedule(from, &Arc::new(reply), now);
                }
            }
        }
    }

    /// Counts at a port and for the whole network.
    pub(crate) fn count(&mut self, port: PortId, add: impl Fn(&mut Counters)) {
        add(&mut self.ports[port].counters);
        add(&mut self.counters);
    }

    /// When the next frame is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse(delivery)| delivery.at)
    }

    /// The next frame that is due by `now`. A port that went down loses what was under way to it.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(PortId, Arc<Vec<u8>>)> {
        while self.next_due().is_some_and(|at| at <= now) {
            let Reverse(Delivery { to, frame, .. }) = self.due.pop()?;
            self.ports[to].under_way_bytes -= frame.len();
            if self.ports[to].up {
                return Some((to, frame));
            }
            self.count(to, |counters| counters.down += 1);
        }
        None
    }
}

fn macs(frame: &[u8]) -> (Mac, Mac) {
    let (mut to, mut from) = (Mac::default(), Mac::default());
    to.copy_from_slice(&frame[..6]);
    from.copy_from_slice(&frame[6..12]);
    (to, from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::frame::{ALL_NODES, Envelope, icmp, link_local};
    use std::time::Duration;

    const A: Mac = [2, 0, 0, 0, 0, 1];
    const B: Mac = [2, 0, 0, 0, 0, 2];

    fn frame(from: Mac, to: Mac, body_bytes: usize) -> Vec<u8> {
        let envelope =
            Envelope { to_mac: to, from_mac: from, source: link_local(from), destination: ALL_NODES, hop_limit: 64 };
        envelope.icmp(icmp::ECHO_REQUEST, 0, &vec![0; body_bytes])
    }

    struct Bench {
        switch: Switch,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let mut switch = Switch::new(5);
            for name in ["a", "b", "c"] {
                switch.add(name);
            }
            Self { switch, now: Instant::now() }
        }

        fn send(&mut self, from: PortId, frame: Vec<u8>) {
            self.switch.ingress(from, frame, self.now);
        }

        fn arrivals(&mut self, later: Duration) -> Vec<PortId> {
            std::iter::from_fn(|| self.switch.pop_due(self.now + later)).map(|(to, _)| to).collect()
        }
    }

    #[test]
    fn it_floods_the_unknown_and_learns() {
        let mut bench = Bench::new();
        bench.send(0, frame(A, B, 8));
        assert_eq!(bench.arrivals(Duration::ZERO), [1, 2]);
        bench.send(1, frame(B, A, 8));
        assert_eq!(bench.arrivals(Duration::ZERO), [0]);
        bench.send(0, frame(A, B, 8));
        assert_eq!(bench.arrivals(Duration::ZERO), [1]);
        bench.send(0, frame(A, frame::multicast_mac(ALL_NODES), 8));
        assert_eq!(bench.arrivals(Duration::ZERO), [1, 2]);
    }

    #[test]
    fn nothing_but_ipv6_passes() {
        let mut bench = Bench::new();
        for ethertype in [[8_u8, 0], [8, 6], [0x81, 0], [0x88, 0xcc]] {
            let mut other = frame(A, B, 8);
            other[12..14].copy_from_slice(&ethertype);
            bench.send(0, other);
        }
        assert_eq!(bench.arrivals(Duration::ZERO), Vec::<PortId>::new());
        assert_eq!(bench.switch.counters, Counters { not_ipv6: 4, ..Counters::default() });
        assert_eq!(bench.switch.ports[0].counters.not_ipv6, 4);
    }

    #[test]
    fn latencies_add_up_and_jitter_keeps_the_order() {
        let mut bench = Bench::new();
        bench.switch.faults =
            Faults { latency: Duration::from_millis(20), jitter: Duration::from_millis(50), ..Faults::default() };
        bench.switch.ports[0].faults.latency = Duration::from_millis(30);
        bench.send(1, frame(B, A, 8));
        for body_bytes in 8..40 {
            bench.send(0, frame(A, B, body_bytes));
        }
        assert_eq!(bench.arrivals(Duration::from_millis(49)).iter().filter(|to| **to == 1).count(), 0);
        let lengths: Vec<_> = std::iter::from_fn(|| bench.switch.pop_due(bench.now + Duration::from_millis(100)))
            .filter(|(to, _)| *to == 1)
            .map(|(_, frame)| frame.len())
            .collect();
        assert!(lengths.len() == 32 && lengths.is_sorted(), "{lengths:?}");
    }

    #[test]
    fn reordered_frames_are_overtaken_and_doubles_come_twice() {
        let mut bench = Bench::new();
        bench.send(1, frame(B, A, 8));
        bench.arrivals(Duration::ZERO);
        bench.switch.ports[1].faults = Faults { reorder: 0.2, duplicate: 0.2, ..Faults::default() };
        for body_bytes in 8..108 {
            bench.send(0, frame(A, B, body_bytes));
        }
        let arrived = std::iter::from_fn(|| bench.switch.pop_due(bench.now + REORDER_HOLD));
        let lengths: Vec<_> = arrived.map(|(_, frame)| frame.len()).collect();
        let counters = bench.switch.counters;
        assert!(counters.reordered > 5 && counters.duplicated > 5, "{counters:?}");
        assert_eq!(lengths.len() as u64, 100 + counters.duplicated);
        assert!(!lengths.is_sorted());
        assert_eq!(lengths.iter().collect::<BTreeSet<_>>().len(), 100);
    }

    #[test]
    fn what_is_too_big_is_told_or_vanishes() {
        let mut bench = Bench::new();
        bench.send(1, frame(B, A, 8));
        bench.arrivals(Duration::ZERO);
        bench.switch.ports[1].faults.mtu = 1280;
        bench.send(0, frame(A, B, 1232));
        assert_eq!(bench.arrivals(Duration::ZERO), [1], "1280 bytes fit");
        bench.send(0, frame(A, B, 1300));
        let (to, told) = bench.switch.pop_due(bench.now).expect("an answer");
        let packet = Packet::parse(&told).expect("packet");
        let (kind, code, body) = packet.icmp().expect("ICMPv6");
        assert_eq!((to, kind, code, frame::u32_at(body, 0)), (0, icmp::TOO_BIG, 0, Some(1280)));
        bench.switch.ports[1].faults.too_big = TooBig::Silent;
        bench.send(0, frame(A, B, 1300));
        assert_eq!(bench.arrivals(Duration::ZERO), Vec::<PortId>::new());
        assert_eq!(bench.switch.counters.too_big, 2);
    }

    #[test]
    fn ports_go_down_and_part() {
        let mut bench = Bench::new();
        bench.switch.part(0, 1, true);
        bench.send(0, frame(A, B, 8));
        assert_eq!(bench.arrivals(Duration::ZERO), [2]);
        bench.switch.part(1, 0, false);
        bench.switch.ports[2].up = false;
        bench.send(0, frame(A, B, 8));
        assert_eq!(bench.arrivals(Duration::ZERO), [1]);
        bench.send(2, frame(B, A, 8));
        assert_eq!((bench.switch.counters.parted, bench.switch.counters.down), (1, 2));
    }

    #[test]
    fn queues_and_tables_end_at_their_limits() {
        let mut bench = Bench::new();
        bench.switch.ports[1].faults.latency = Duration::from_secs(1);
        bench.send(1, frame(B, A, 8));
        let sent = UNDER_WAY_BYTES_MAX / 9000 + 10;
        for _ in 0..sent {
            bench.send(0, frame(A, B, 8900));
        }
        let full = bench.switch.counters.queue_full;
        assert!(full > 0 && bench.switch.ports[1].under_way_bytes <= UNDER_WAY_BYTES_MAX);
        for number in 0..2 * MACS_MAX {
            let [.., high, low] = number.to_be_bytes();
            bench.send(2, frame([2, 1, 1, 1, high, low], B, 8));
        }
        assert_eq!(bench.switch.macs.len(), MACS_MAX);
        bench.send(0, vec![0; FRAME_BYTES_MAX + 1]);
        assert_eq!(bench.switch.counters.too_big, 1);
    }
}

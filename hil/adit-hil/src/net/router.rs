// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A home router: it joins the gateway of a home network to the gateway of the Internet, with a firewall between them.
//! Several homes may be joined to one Internet. What a home's line does to packets (latency, loss, rate) are the faults of
//! its gateway's port in the home network.

use super::firewall::{Firewall, Refusal, Way, interface_id_of};
use super::frame::{Packet, icmp};
use super::lan::Gateway;
use anyhow::{Result, ensure};
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Which foot of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Inside = 0,
    Outside = 1,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Inside => Self::Outside,
            Self::Outside => Self::Inside,
        }
    }
}

/// Packets at a router by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// From home to the Internet.
    pub outward: u64,
    /// From the Internet to the home.
    pub inward: u64,
    /// Refused by the firewall.
    pub denied: u64,
    /// Larger than the MTU ahead; the sender was told.
    pub too_big: u64,
    /// At the end of its hop limit; the sender was told.
    pub expired: u64,
}

/// Whether a packet may go through a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    Open,
    Dropped,
    /// Answer with this ICMPv6 error.
    Refused {
        kind: u8,
        code: u8,
        word: u32,
    },
}

/// What both feet of a router share. The arrays are by `Side`.
#[derive(Debug)]
pub(crate) struct Core {
    firewall: Firewall,
    pub(crate) networks: [Vec<Ipv6Addr>; 2],
    pub(crate) mtu: [u32; 2],
    forwarded: Forwarded,
}

impl Core {
    fn new() -> Self {
        Self {
            firewall: Firewall::new(),
            networks: [Vec::new(), Vec::new()],
            mtu: [1500; 2],
            forwarded: Forwarded::default(),
        }
    }

    /// Admits new flows to a port of the machine whose addresses end as this one does.
    pub(crate) fn pinhole(&mut self, address: Ipv6Addr, port: u16) -> Result<()> {
        ensure!(self.firewall.open(interface_id_of(address), port), "the router has too many pinholes");
        Ok(())
    }

    /// Judges a packet that enters at `side` and wants to the other.
    pub(crate) fn passage(&mut self, side: Side, packet: &Packet<'_>, now: Instant) -> Passage {
        if packet.hop_limit <= 1 {
            self.forwarded.expired += 1;
            return Passage::Refused { kind: icmp::TIME_EXCEEDED, code: 0, word: 0 };
        }
        let way = if side == Side::Inside { Way::Out } else { Way::In };
        if !self.firewall.admits(way, packet, now) {
            self.forwarded.denied += 1;
            return match self.firewall.refusal {
                Refusal::Drop => Passage::Dropped,
                Refusal::Reject => Passage::Refused { kind: icmp::UNREACHABLE, code: icmp::PROHIBITED, word: 0 },
            };
        }
        let mtu = self.mtu[side.other() as usize];
        if packet.bytes.len() > usize::try_from(mtu).unwrap_or(usize::MAX) {
            self.forwarded.too_big += 1;
            return Passage::Refused { kind: icmp::TOO_BIG, code: 0, word: mtu };
        }
        match way {
            Way::Out => self.forwarded.outward += 1,
            Way::In => self.forwarded.inward += 1,
        }
        Passage::Open
    }
}

/// A router between a home and the Internet. Dropping the handle changes nothing; the join lasts as long as the networks.
#[derive(Clone, Debug)]
pub struct Router {
    core: Arc<Mutex<Core>>,
}

impl Router {
    /// Joins two gateways: from home everything may leave, back in comes what was asked for and what a pinhole admits.
    ///
    /// # Errors
    /// The two are in one network, or a network is gone.
    pub fn join(home: &Gateway, internet: &Gateway) -> Result<Self> {
        ensure!(!home.same_lan(internet), "a router joins two networks");
        let core = Arc::new(Mutex::new(Core::new()));
        Gateway::join(home, internet, &core)?;
        Ok(Self { core })
    }

    /// Admits new flows to a port of the machine whose addresses end as this one does, in whatever prefix.
    ///
    /// # Errors
    /// There are `firewall::PINHOLES_MAX` already.
    pub fn pinhole(&self, address: Ipv6Addr, port: u16) -> Result<()> {
        self.core().pinhole(address, port)
    }

    /// Closes a pinhole; flows that came through it go on.
    pub fn close(&self, address: Ipv6Addr, port: u16) {
        self.core().firewall.close(interface_id_of(address), port);
    }

    /// What becomes of what the firewall refuses.
    pub fn refuse_by(&self, refusal: Refusal) {
        self.core().firewall.refusal = refusal;
    }

    /// How long a silent flow stays open, for TCP and for everything else.
    pub fn timeouts(&self, tcp: Duration, other: Duration) {
        self.core().firewall.timeouts = (tcp, other);
    }

    /// Forgets every flow, as after a power cut.
    pub fn forget_flows(&self) {
        self.core().firewall.forget();
    }

    /// What it did so far. What the links lost is in `Counters` of the networks.
    pub fn forwarded(&self) -> Forwarded {
        self.core().forwarded
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

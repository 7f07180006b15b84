// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Addresses that a host forms from router advertisements (RFC 4862), which routers it knows, and which MTU was announced.
//! Bytes and times in; no socket. smoltcp's own version takes one prefix an advertisement, so it is not used.

use super::frame::{address_at, address_in, u16_at, u32_at};
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

/// Addresses that a host holds beside its link-local one.
pub const ADDRESSES_MAX: usize = 6;
/// Routers that a host remembers.
pub const ROUTERS_MAX: usize = 4;
/// An advertisement cannot shorten a longer validity below this (RFC 4862, section 5.5.3 e).
pub const VALID_MIN: Duration = Duration::from_secs(2 * 60 * 60);

/// The hour that never comes: a lifetime of all ones (RFC 4861, section 4.6.2) needs no end within a test.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// One address of a host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) address: Ipv6Addr,
    preferred_until: Instant,
    valid_until: Instant,
}

#[derive(Debug)]
pub(crate) struct Slaac {
    interface_id: u64,
    held: Vec<Held>,
    routers: Vec<(Ipv6Addr, Instant)>,
    mtu: Option<u32>,
}

impl Slaac {
    pub(crate) fn new(interface_id: u64) -> Self {
        Self { interface_id, held: Vec::new(), routers: Vec::new(), mtu: None }
    }

    /// Holds an address for ever.
    pub(crate) fn fix(&mut self, address: Ipv6Addr, now: Instant) {
        self.hold(Held { address, preferred_until: now + FOREVER, valid_until: now + FOREVER });
    }

    /// Takes the body of an advertisement (what follows the checksum); what is damaged is left out.
    pub(crate) fn advertisement(&mut self, router: Ipv6Addr, body: &[u8], now: Instant) {
        let Some(lifetime) = u16_at(body, 2) else { return };
        let until = now + Duration::from_secs(lifetime.into());
        match self.routers.iter().position(|(known, _)| *known == router) {
            Some(known) => self.routers[known].1 = until,
            None if lifetime > 0 && self.routers.len() < ROUTERS_MAX => self.routers.push((router, until)),
            None => {}
        }
        self.routers.retain(|(_, until)| *until > now);
        let mut rest = body.get(12..).unwrap_or_default();
        while let [kind, length, ..] = *rest {
            let Some((option, next)) = rest.split_at_checked(usize::from(length) * 8).filter(|_| length > 0) else {
                return;
            };
            match (kind, length) {
                (3, 4) => self.prefix(option, now),
                (5, 1) => self.mtu = u32_at(option, 4),
                _ => {}
            }
            rest = next;
        }
    }

    fn prefix(&mut self, option: &[u8], now: Instant) {
        let (Some(valid), Some(preferred), Some(prefix)) =
            (u32_at(option, 4), u32_at(option, 8), address_at(option, 16))
        else {
            return;
        };
        let autonomous = option[3] & 0x40 != 0;
        if option[2] != 64 || !autonomous || preferred > valid || prefix.is_unicast_link_local() {
            return;
        }
        let address = address_in(prefix, self.interface_id);
        let until = |seconds: u32| now + Duration::from_secs(seconds.into()).min(FOREVER);
        let known = self.held.iter().find(|held| held.address == address).map(|held| held.valid_until);
        let valid_until = match known {
            // A forged advertisement must not cut connections at once.
            Some(known) => until(valid).max(known.min(now + VALID_MIN)),
            None if valid == 0 => return,
            None => until(valid),
        };
        self.hold(Held { address, preferred_until: until(preferred), valid_until });
    }

    fn hold(&mut self, new: Held) {
        match self.held.iter().position(|held| held.address == new.address) {
            Some(held) => self.held[held] = new,
            None if self.held.len() < ADDRESSES_MAX => self.held.push(new),
            None => {}
        }
    }

    /// Forgets what has run out.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.held.retain(|held| held.valid_until > now);
        self.routers.retain(|(_, until)| *until > now);
    }

    /// When something runs out next.
    pub(crate) fn next_change(&self) -> Option<Instant> {
        let ends = self.held.iter().map(|held| held.valid_until);
        ends.chain(self.routers.iter().map(|(_, until)| *until)).min()
    }

    pub(crate) fn held(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        self.held.iter().map(|held| held.address)
    }

    /// The addresses that new connections may use: not deprecated, newest first.
    pub(crate) fn preferred(&self, now: Instant) -> Vec<Ipv6Addr> {
        self.held.iter().rev().filter(|held| held.preferred_until > now).map(|held| held.address).collect()
    }

    /// The address to speak from to `destination`: in its network if one is, else preferred, else any.
    pub(crate) fn source_for(&self, destination: Ipv6Addr, now: Instant) -> Option<Ipv6Addr> {
        let same_network = |address: &&Ipv6Addr| u128::from(**address) >> 64 == u128::from(destination) >> 64;
        let preferred = self.preferred(now);
        let near = preferred.iter().find(same_network).or_else(|| preferred.first());
        near.copied().or_else(|| self.held().next())
    }

    /// The router to send through: the first that is still there.
    pub(crate) fn router(&self) -> Option<Ipv6Addr> {
        self.routers.first().map(|(router, _)| *router)
    }

    pub(crate) fn mtu(&self) -> Option<u32> {
        self.mtu
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

    fn net(last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0xad17, 0, last, 0, 0, 0, 0)
    }

    fn advertisement(lifetime: u16, prefixes: &[(Ipv6Addr, u32, u32)]) -> Vec<u8> {
        let mut body = vec![64, 0];
        body.extend(lifetime.to_be_bytes());
        body.extend([0; 8]);
        body.extend([5, 1, 0, 0]);
        body.extend(1400_u32.to_be_bytes());
        for (prefix, valid, preferred) in prefixes {
            body.extend([3, 4, 64, 0xc0]);
            body.extend(valid.to_be_bytes());
            body.extend(preferred.to_be_bytes());
            body.extend([0; 4]);
            body.extend(prefix.octets());
        }
        body
    }

    #[test]
    fn addresses_follow_prefixes() {
        let now = Instant::now();
        let mut slaac = Slaac::new(7);
        slaac.advertisement(ROUTER, &advertisement(60, &[(net(1), 100, 50), (net(2), 100, 50)]), now);
        assert_eq!(slaac.held().collect::<Vec<_>>(), [address_in(net(1), 7), address_in(net(2), 7)]);
        assert_eq!((slaac.router(), slaac.mtu()), (Some(ROUTER), Some(1400)));
        assert_eq!(slaac.source_for(net(1), now), Some(address_in(net(1), 7)));
        slaac.expire(now + Duration::from_secs(61));
        assert_eq!((slaac.router(), slaac.held().count()), (None, 2));
        slaac.expire(now + Duration::from_secs(101));
        assert_eq!(slaac.held().count(), 0);
    }

    #[test]
    fn a_withdrawn_prefix_is_deprecated_but_valid_for_a_while() {
        let now = Instant::now();
        let mut slaac = Slaac::new(7);
        slaac.advertisement(ROUTER, &advertisement(60, &[(net(1), 86400, 86400)]), now);
        slaac.advertisement(ROUTER, &advertisement(60, &[(net(1), 0, 0), (net(2), 86400, 86400)]), now);
        assert_eq!(slaac.preferred(now), [address_in(net(2), 7)]);
        assert_eq!(slaac.source_for(net(9), now), Some(address_in(net(2), 7)));
        slaac.expire(now + VALID_MIN - Duration::from_secs(1));
        assert_eq!(slaac.held().count(), 2);
        slaac.expire(now + VALID_MIN);
        assert_eq!(slaac.held().count(), 1);
    }

    #[test]
    fn a_flood_fills_no_memory_and_no_cut_breaks_it() {
        let now = Instant::now();
        let mut slaac = Slaac::new(7);
        for number in 0..100 {
            let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, number);
            slaac.advertisement(router, &advertisement(60, &[(net(number), 100, 50)]), now);
        }
        assert_eq!((slaac.held.len(), slaac.routers.len()), (ADDRESSES_MAX, ROUTERS_MAX));
        let body = advertisement(60, &[(net(1), 100, 50)]);
        for length in 0..body.len() {
            Slaac::new(7).advertisement(ROUTER, &body[..length], now);
        }
        let mut endless = body;
        endless[13] = 0;
        Slaac::new(7).advertisement(ROUTER, &endless, now);
    }
}

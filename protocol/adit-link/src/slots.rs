// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How many handshakes strangers may have under way, in all and per network, so that one network can't fill the door
//! for the others. Pure counting; a place is given back when its [`Place`] is dropped.

use crate::limits::Limits;
use crate::lock;
use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex};

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// As many handshakes as there may be.
    Full,
    /// As many as one /64 may have.
    Network64,
    /// As many as one /48 may have.
    Network48,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    /// By the first 64 bits; no entry is 0.
    by_64: HashMap<u64, usize>,
    /// By the first 48 bits; no entry is 0.
    by_48: HashMap<u64, usize>,
}

/// The places of one listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots(Arc<Mutex<Counts>>);

/// One handshake's place.
#[derive(Debug)]
pub(crate) struct Place {
    slots: Slots,
    network_64: u64,
}

impl Slots {
    /// A place for a handshake from this address.
    pub(crate) fn take(&self, from: &Ipv6Addr, limits: &Limits) -> Result<Place, NoPlace> {
        let [a, b, c, d, ..] = from.segments();
        let network_64 = [a, b, c, d].iter().fold(0, |bits, segment| bits << 16 | u64::from(*segment));
        let network_48 = network_64 >> 16;
        let mut counts = lock(&self.0);
        let of = |map: &HashMap<u64, usize>, network| map.get(&network).copied().unwrap_or(0);
        if counts.all >= limits.handshakes {
            return Err(NoPlace::Full);
        }
        if of(&counts.by_64, network_64) >= limits.handshakes_per_64 {
            return Err(NoPlace::Network64);
        }
        if of(&counts.by_48, network_48) >= limits.handshakes_per_48 {
            return Err(NoPlace::Network48);
        }
        counts.all += 1;
        *counts.by_64.entry(network_64).or_default() += 1;
        *counts.by_48.entry(network_48).or_default() += 1;
        Ok(Place { slots: self.clone(), network_64 })
    }

    /// Handshakes under way.
    pub(crate) fn count(&self) -> usize {
        lock(&self.0).all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.slots.0);
        counts.all -= 1;
        let less = |map: &mut HashMap<u64, usize>, network| {
            if let Some(count) = map.get_mut(&network) {
                *count -= 1;
                if *count == 0 {
                    map.remove(&network);
                }
            }
        };
        less(&mut counts.by_64, self.network_64);
        less(&mut counts.by_48, self.network_64 >> 16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(network_48: u16, network_64: u16, host: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, network_48, network_64, 0, 0, 0, host)
    }

    #[test]
    fn each_network_has_its_share_and_gives_it_back() {
        let (slots, limits) = (Slots::default(), Limits::default());
        let four: Vec<Place> = (0..4).map(|host| slots.take(&from(1, 1, host), &limits).unwrap()).collect();
        assert_eq!(slots.take(&from(1, 1, 9), &limits).unwrap_err(), NoPlace::Network64);
        let rest: Vec<Place> = (0..12).map(|host| slots.take(&from(1, 2 + host / 4, host), &limits).unwrap()).collect();
        assert_eq!(slots.take(&from(1, 9, 0), &limits).unwrap_err(), NoPlace::Network48);
        let others: Vec<Place> =
            (0..48).map(|host| slots.take(&from(2 + host / 16, host / 4, host), &limits).unwrap()).collect();
        assert_eq!(slots.take(&from(99, 0, 0), &limits).unwrap_err(), NoPlace::Full);
        assert_eq!(slots.count(), 64);
        drop(four);
        slots.take(&from(1, 1, 9), &limits).unwrap();
        drop((rest, others));
        let counts = lock(&slots.0);
        assert_eq!((counts.all, counts.by_64.len(), counts.by_48.len()), (0, 0, 0));
    }
}

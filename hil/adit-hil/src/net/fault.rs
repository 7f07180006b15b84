// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a link does to frames: latency, loss, duplicates, reordering, a rate, an MTU. A `Link` decides when a frame comes
//! out at its far end, from its own seeded random source; time is an argument.

use std::time::{Duration, Instant};

/// How much longer than its neighbours a reordered frame is held.
pub const REORDER_HOLD: Duration = Duration::from_millis(4);
/// What a rate limit lets pass at once after idleness, in bytes: about ten full frames.
pub const RATE_BURST_BYTES: u64 = 16 << 10;
/// How much a rate limit holds back by default before it drops, in bytes.
pub const RATE_QUEUE_BYTES: u64 = 256 << 10;

/// What happens to a packet that is larger than the MTU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TooBig {
    /// Its sender is told by ICMPv6 "Packet Too Big".
    #[default]
    Told,
    /// It vanishes: a black hole.
    Silent,
}

/// What a link does to frames. The default does nothing to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    /// One way.
    pub latency: Duration,
    /// Up to this much is added to the latency, evenly spread. Frames stay in order.
    pub jitter: Duration,
    /// Share of frames that vanish, 0 to 1.
    pub loss: f64,
    /// Share of frames that arrive twice, 0 to 1.
    pub duplicate: f64,
    /// Share of frames that are held for `REORDER_HOLD` and so overtaken, 0 to 1.
    pub reorder: f64,
    /// Bytes a second; `None` for no limit.
    pub rate: Option<u64>,
    /// Bytes that wait for the rate; what comes on top is dropped.
    pub queue_bytes: u64,
    /// Largest IPv6 packet in bytes.
    pub mtu: usize,
    /// What becomes of larger ones.
    pub too_big: TooBig,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            rate: None,
            queue_bytes: RATE_QUEUE_BYTES,
            mtu: usize::MAX,
            too_big: TooBig::Told,
        }
    }
}

/// Frames by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Arrived at a port, duplicates included.
    pub delivered: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Arrived once more than sent.
    pub duplicated: u64,
    /// Held and overtaken.
    pub reordered: u64,
    /// Larger than the MTU.
    pub too_big: u64,
    /// Not IPv6 (ARP, IPv4, …), never forwarded.
    pub not_ipv6: u64,
    /// Found a queue full: a rate limit, too much under way, or a receiver that does not read.
    pub queue_full: u64,
    /// Sent by or to a port that was down.
    pub down: u64,
    /// Between two ports that were parted.
    pub parted: u64,
}

/// Why a link did not pass a frame on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drop {
    Lost,
    TooBig(usize, TooBig),
    QueueFull,
}

/// A frame at the far end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crossing {
    pub(crate) at: Instant,
    pub(crate) duplicated: bool,
    pub(crate) reordered: bool,
}

impl Crossing {
    /// This crossing followed by another.
    pub(crate) fn with(self, next: Self) -> Self {
        Self {
            at: next.at,
            duplicated: self.duplicated || next.duplicated,
            reordered: self.reordered || next.reordered,
        }
    }
}

/// One direction of a link.
#[derive(Debug)]
pub(crate) struct Link {
    random: Random,
    /// When the rate limit has sent everything that it took.
    free_at: Option<Instant>,
}

impl Link {
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        Self { random: Random::new(seed ^ hash(name)), free_at: None }
    }

    /// Sends a frame of `packet_bytes` (without its Ethernet header) into the link at `at`.
    pub(crate) fn cross(&mut self, faults: &Faults, at: Instant, packet_bytes: usize) -> Result<Crossing, Drop> {
        // Every frame draws four numbers, so that one fault's chance does not move the dice of another.
        let [lost, doubled, reordered, jitter] = std::array::from_fn(|_| self.random.unit());
        if packet_bytes > faults.mtu {
            return Err(Drop::TooBig(faults.mtu, faults.too_big));
        }
        if lost < faults.loss {
            return Err(Drop::Lost);
        }
        let at = self.shape(faults, at, packet_bytes)? + faults.latency + faults.jitter.mul_f64(jitter);
        Ok(Crossing { at, duplicated: doubled < faults.duplicate, reordered: reordered < faults.reorder })
    }

    /// A token bucket told by the time at which it would be full again.
    fn shape(&mut self, faults: &Faults, at: Instant, packet_bytes: usize) -> Result<Instant, Drop> {
        let Some(rate) = faults.rate.filter(|rate| *rate > 0) else {
            self.free_at = None;
            return Ok(at);
        };
        let time_for = |bytes: u64| Duration::from_secs_f64(bytes as f64 / rate as f64);
        let burst = time_for(RATE_BURST_BYTES);
        let free_at = self.free_at.unwrap_or(at).max(at);
        let backlog = free_at - at;
        if backlog > burst + time_for(faults.queue_bytes) {
            return Err(Drop::QueueFull);
        }
        let free_at = free_at + time_for(packet_bytes as u64);
        self.free_at = Some(free_at);
        Ok(free_at.checked_sub(burst).map_or(at, |leaves| leaves.max(at)))
    }
}

/// SplitMix64: the same numbers for the same seed on every machine. Not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// Evenly spread over 0 ≤ x < 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// FNV-1a, mixed once more: names to seeds and hardware addresses.
pub(crate) fn hash(name: &str) -> u64 {
    let folded = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    Random::new(folded).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(seed: u64, faults: &Faults) -> Vec<Result<Duration, Drop>> {
        let start = Instant::now();
        let mut link = Link::new(seed, "box");
        (0..2000).map(|_| link.cross(faults, start, 1000).map(|crossing| crossing.at - start)).collect()
    }

    #[test]
    fn the_same_seed_loses_the_same_frames() {
        let faults = Faults { loss: 0.05, jitter: Duration::from_millis(3), ..Faults::default() };
        assert_eq!(fates(7, &faults), fates(7, &faults));
        assert_ne!(fates(7, &faults), fates(8, &faults));
        let lost = fates(7, &faults).iter().filter(|fate| **fate == Err(Drop::Lost)).count();
        assert!((60..140).contains(&lost), "5 % of 2000 is 100, lost {lost}");
    }

    #[test]
    fn another_fault_does_not_move_the_losses() {
        let losing = Faults { loss: 0.05, ..Faults::default() };
        let more = Faults { loss: 0.05, duplicate: 0.5, jitter: Duration::from_millis(3), ..Faults::default() };
        let lost = |faults| fates(7, faults).iter().map(|fate| fate.is_err()).collect::<Vec<_>>();
        assert_eq!(lost(&losing), lost(&more));
    }

    #[test]
    fn a_rate_spaces_frames_and_its_queue_ends() {
        let faults = Faults { rate: Some(1_000_000), queue_bytes: 100_000, ..Faults::default() };
        let fates = fates(1, &faults);
        let passed: Vec<_> = fates.iter().filter_map(|fate| fate.ok()).collect();
        assert_eq!(fates.iter().filter(|fate| **fate == Err(Drop::QueueFull)).count() + passed.len(), 2000);
        let queued = 1000 * passed.len() as u64;
        assert!((100_000 + RATE_BURST_BYTES..=102_000 + RATE_BURST_BYTES).contains(&queued), "{queued} bytes taken");
        let last = passed.last().expect("some pass");
        assert!(
            (Duration::from_millis(99)..Duration::from_millis(103)).contains(last),
            "{last:?} for 100 kB at 1 MB/s"
        );
    }
}

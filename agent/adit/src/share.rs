// SPDX-License-Identifier: Apache-2.0 OR MIT
//! This machine's share of the key of a box's encrypted data: kept in the state directory, and given without a person only
//! where that was asked for and the box was seen a moment ago in the same network. Whoever stole a box has its key and can
//! pose as it, but neither from its old address nor, after a drive home, in time.

use crate::exit::Exit;
use crate::failure::Failure;
use crate::state::{StateDir, names};
use crate::text;
use adit_wire::appliance::{SHARE_BYTES, Share};
use serde::{Deserialize, Serialize};
use std::net::Ipv6Addr;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long ago a box may have been seen open, for its data to be opened without a person, seconds.
pub const AUTO_WITHIN_S: u64 = 15 * 60;
/// Bytes of an address that say in which network it is: what a provider gives to one household, a /56.
const NETWORK_BYTES: usize = 7;

/// A share that leaves memory when it is dropped.
pub type Secret = Zeroizing<[u8; SHARE_BYTES]>;

/// The share's form in a message.
#[must_use]
pub fn message(secret: &Secret) -> Share {
    Share(**secret)
}

/// A new share.
#[must_use]
pub fn new() -> Secret {
    let mut secret = Secret::default();
    text::fill_random(&mut secret[..]);
    secret
}

/// The shares to be tried: one that was sent and perhaps taken, then the one that was.
///
/// # Errors
/// When a file cannot be read, or there is none.
pub fn kept(state: &StateDir) -> Result<Vec<Secret>, Failure> {
    let mut shares = Vec::new();
    for name in [names::SHARE_NEW, names::SHARE] {
        if let Some(bytes) = state.read(name)?.map(Zeroizing::new) {
            let wrong = |_| Failure::state(&state.file(name), "it does not hold 32 bytes");
            shares.push(Secret::new(bytes.as_slice().try_into().map_err(wrong)?));
        }
    }
    if shares.is_empty() {
        let what = format!("{} holds no share of the key of the box's data", state.path().display());
        let next = "use the state directory that encrypted them, or let its owner make one: `adit box share NAME`";
        return Err(Failure::new(Exit::Refused, what, next));
    }
    Ok(shares)
}

/// This share opens the data: it is the one from now on.
///
/// # Errors
/// When a file cannot be written.
pub fn keep(state: &StateDir, share: &Secret) -> Result<(), Failure> {
    if state.read(names::SHARE)?.map(Zeroizing::new).is_none_or(|bytes| bytes.as_slice() != &share[..]) {
        state.write(names::SHARE, &share[..])?;
    }
    state.remove(names::SHARE_NEW)
}

/// When and where the box was last seen with open data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// When, seconds since 1970 by this machine's clock.
    pub seen_s: u64,
    /// At which address.
    pub address: Ipv6Addr,
}

impl Seen {
    /// What was written down; none when the box was never seen open.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(state: &StateDir) -> Result<Option<Self>, Failure> {
        state.read_toml(names::SEEN)
    }

    /// Writes it down.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, state: &StateDir) -> Result<(), Failure> {
        state.write_toml(names::SEEN, self)
    }

    /// How it was seen, for a person who has to decide.
    #[must_use]
    pub fn words(&self, now_s: u64, here: Ipv6Addr) -> String {
        let ago = match now_s.checked_sub(self.seen_s) {
            Some(ago_s) => format!("{} ago", text::duration(Duration::from_secs(ago_s))),
            None => "in the future by this machine's clock".to_owned(),
        };
        let place = if network(self.address) == network(here) { "in the same network" } else { "in ANOTHER network" };
        format!(
            "its data were last seen open {ago} ({}), {place}: [{}], {}",
            text::time(self.seen_s),
            self.address,
            network(self.address)
        )
    }
}

/// The network of an address.
#[must_use]
pub fn network(address: Ipv6Addr) -> String {
    let mut octets = address.octets();
    octets[NETWORK_BYTES..].fill(0);
    format!("{}/56", Ipv6Addr::from(octets))
}

/// Why a person has to decide; none when the data may be opened without one.
#[must_use]
pub fn needs_person(seen: Option<&Seen>, now_s: u64, here: Ipv6Addr) -> Option<&'static str> {
    let Some(seen) = seen else { return Some("this machine never saw its data open") };
    if here.is_unicast_link_local() {
        return Some("a link-local address is the same in every network");
    }
    if network(seen.address) != network(here) {
        return Some("it is in another network than when it was last seen");
    }
    match now_s.checked_sub(seen.seen_s) {
        None => Some("this machine's clock went back since it was last seen"),
        Some(ago_s) if ago_s > AUTO_WITHIN_S => Some("it was last seen more than 15 minutes ago"),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW_S: u64 = 1_790_000_000;
    const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0x1a3, 0, 0, 0, 1);

    fn seen(seen_s: u64, address: Ipv6Addr) -> Seen {
        Seen { seen_s, address }
    }

    fn check(seen: Option<&Seen>, here: Ipv6Addr, expected: Option<&str>) {
        let why = needs_person(seen, NOW_S, here);
        match expected {
            None => assert_eq!(why, None),
            Some(part) => assert!(why.is_some_and(|why| why.contains(part)), "{why:?}"),
        }
    }

    #[test]
    fn a_box_that_was_seen_just_now_at_home_needs_nobody() {
        check(Some(&seen(NOW_S, HOME)), HOME, None);
        check(Some(&seen(NOW_S - AUTO_WITHIN_S, HOME)), HOME, None);
        // The /56 is what counts: the last 8 bits of the /64's number belong to the household.
        check(Some(&seen(NOW_S, HOME)), Ipv6Addr::new(0x2001, 0xdb8, 0, 0x1ff, 9, 9, 9, 9), None);
    }

    #[test]
    fn everything_else_needs_a_person() {
        check(None, HOME, Some("never saw"));
        check(Some(&seen(NOW_S - AUTO_WITHIN_S - 1, HOME)), HOME, Some("15 minutes"));
        check(Some(&seen(NOW_S + 1, HOME)), HOME, Some("clock"));
        check(Some(&seen(NOW_S, HOME)), Ipv6Addr::new(0x2001, 0xdb8, 0, 0x2a3, 0, 0, 0, 1), Some("another network"));
        let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        check(Some(&seen(NOW_S, link_local)), link_local, Some("link-local"));
    }

    #[test]
    fn a_person_is_told_when_and_where() {
        let words = seen(NOW_S - 60, HOME).words(NOW_S, Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1));
        assert!(words.contains("ANOTHER network: [2001:db8:0:1a3::1], 2001:db8:0:100::/56"), "{words}");
        let words = seen(NOW_S - 60, HOME).words(NOW_S, HOME);
        assert!(words.contains("1 min 0 s ago") && words.contains("in the same network"), "{words}");
    }

    proptest! {
        #[test]
        fn nothing_is_opened_late_or_elsewhere(seen_s: u64, now_s: u64, there: u128, here: u128) {
            let (there, here) = (Ipv6Addr::from(there), Ipv6Addr::from(here));
            let seen = seen(seen_s, there);
            let alone = needs_person(Some(&seen), now_s, here).is_none();
            let in_time = now_s >= seen_s && now_s - seen_s <= 900;
            let same = u128::from(there) >> 72 == u128::from(here) >> 72;
            prop_assert_eq!(alone, in_time && same && !here.is_unicast_link_local());
            // The same place and an hour around now, so that both answers come up.
            let near = needs_person(Some(&Seen { seen_s: now_s.saturating_sub(seen_s % 3_600), address: here }), now_s, here);
            prop_assert_eq!(near.is_none(), now_s.min(seen_s % 3_600) <= 900 && !here.is_unicast_link_local());
        }
    }

    #[test]
    fn a_share_that_was_sent_is_tried_first_and_kept_once_it_opens() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path().join("state"));
        state.create().unwrap();
        assert_eq!(kept(&state).unwrap_err().exit, Exit::Refused);
        let (old, sent) = (new(), new());
        assert_ne!(old, sent);
        keep(&state, &old).unwrap();
        state.write(names::SHARE_NEW, &sent[..]).unwrap();
        assert_eq!(kept(&state).unwrap(), [sent.clone(), old]);
        keep(&state, &sent).unwrap();
        assert_eq!(kept(&state).unwrap(), [sent]);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The connections that are alive, by key: what revoking cuts, and where a cloned machine shows itself.
//!
//! The newer connection of a key always wins: an old one may be half-dead, and refusing the new one would lock a machine
//! out. A key that wanders between addresses more than [`TAKEOVERS_MAX`] times an hour is probably a cloned machine.

use adit_link::Closer;
use adit_wire::ids::{PublicKey, SourceId};
use adit_wire::pair::Role;
use adit_wire::refusal::Code;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv6Addr, SocketAddrV6};

/// Takeovers within an hour that are still taken for a machine that moves.
pub(crate) const TAKEOVERS_MAX: usize = 3;
const HOUR_MS: u64 = 3_600_000;

/// Names a live connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(u64);

/// Live connections that one key may have at once.
#[must_use]
pub(crate) const fn links_max(role: Role) -> usize {
    match role {
        Role::Source | Role::Replica => 2,
        Role::Monitor | Role::Admin | Role::Agent => 4,
    }
}

/// Ends a connection.
pub(crate) trait Cut: Send {
    /// Ends it, telling the peer why.
    fn cut(&self, code: Code);
}

impl Cut for Closer {
    fn cut(&self, code: Code) {
        self.close(code);
    }
}

struct Live {
    id: LinkId,
    key: PublicKey,
    remote: SocketAddrV6,
    cut: Box<dyn Cut>,
}

/// A newer connection took over from another address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Takeover {
    /// Where the older connection came from.
    pub(crate) from: SocketAddrV6,
    /// Takeovers of this key within the last hour, this one included.
    pub(crate) within_hour: usize,
}

/// All live connections.
#[derive(Default)]
pub(crate) struct Links {
    next: u64,
    /// Oldest first.
    live: Vec<Live>,
    takeovers: BTreeMap<PublicKey, VecDeque<u64>>,
    /// Who sends each source's backup now.
    sessions: BTreeMap<SourceId, (LinkId, u64)>,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("live", &self.live.len()).finish_non_exhaustive()
    }
}

impl Links {
    /// Registers a connection. Beyond the limit of its role the key's oldest one is cut, those that send last.
    pub(crate) fn add(
        &mut self,
        key: PublicKey,
        role: Role,
        remote: SocketAddrV6,
        cut: Box<dyn Cut>,
        now_ms: u64,
    ) -> (LinkId, Option<Takeover>) {
        let id = LinkId(self.next);
        self.next += 1;
        let mut takeover = None;
        let mine: Vec<(bool, usize)> = self
            .live
            .iter()
            .enumerate()
            .filter(|(_, live)| live.key == key)
            .map(|(index, live)| (self.sends(live.id), index))
            .collect();
        if mine.len() >= links_max(role)
            && let Some((_, oldest)) = mine.iter().min()
        {
            let old = self.live.remove(*oldest);
            old.cut.cut(Code::Busy);
            takeover = self.note_takeover(key, old.remote, *remote.ip(), now_ms);
        }
        self.live.push(Live { id, key, remote, cut });
        (id, takeover)
    }

    /// Whether a backup runs over this connection: a look at the snapshots shouldn't cut it.
    fn sends(&self, id: LinkId) -> bool {
        self.sessions.values().any(|(link, _)| *link == id)
    }

    /// A connection has ended.
    pub(crate) fn remove(&mut self, id: LinkId) {
        self.live.retain(|live| live.id != id);
    }

    /// Cuts the connections whose key `keep` doesn't want any more; answers how many.
    pub(crate) fn cut_unless(&mut self, keep: impl Fn(&PublicKey) -> bool, code: Code) -> usize {
        let before = self.live.len();
        self.live.retain(|live| {
            let stays = keep(&live.key);
            if !stays {
                live.cut.cut(code);
            }
            stays
        });
        before - self.live.len()
    }

    /// Whether the key is connected.
    #[must_use]
    pub(crate) fn is_connected(&self, key: &PublicKey) -> bool {
        self.live.iter().any(|live| live.key == *key)
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.live.len()
    }

    /// A source's session begins on this connection; an older session of the source ends, with its connection when that
    /// is another one. Answers the session's number, to compare with [`Links::session_is`].
    pub(crate) fn begin_session(&mut self, source: SourceId, id: LinkId, now_ms: u64) -> (u64, Option<Takeover>) {
        let session = self.next;
        self.next += 1;
        let older = self.sessions.insert(source, (id, session));
        let older = older.and_then(|(older, _)| self.live.iter().position(|live| live.id == older && older != id));
        let Some(older) = older else { return (session, None) };
        let older = self.live.remove(older);
        older.cut.cut(Code::Stale);
        let remote = self.live.iter().find(|live| live.id == id).map(|live| *live.remote.ip());
        (session, remote.and_then(|remote| self.note_takeover(older.key, older.remote, remote, now_ms)))
    }

    /// Whether this session of the source is still the newest.
    #[must_use]
    pub(crate) fn session_is(&self, source: &SourceId, session: u64) -> bool {
        self.sessions.get(source).is_some_and(|(_, newest)| *newest == session)
    }

    /// A session has ended.
    pub(crate) fn end_session(&mut self, source: &SourceId, session: u64) {
        if self.session_is(source, session) {
            self.sessions.remove(source);
        }
    }

    fn note_takeover(&mut self, key: PublicKey, from: SocketAddrV6, to: Ipv6Addr, now_ms: u64) -> Option<Takeover> {
        if *from.ip() == to {
            return None;
        }
        let times = self.takeovers.entry(key).or_default();
        times.retain(|time| now_ms.saturating_sub(*time) < HOUR_MS);
        times.push_back(now_ms);
        Some(Takeover { from, within_hour: times.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    struct Flag(Arc<AtomicBool>);
    impl Cut for Flag {
        fn cut(&self, _: Code) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn flag() -> (Box<dyn Cut>, Arc<AtomicBool>) {
        let cut = Arc::new(AtomicBool::new(false));
        (Box::new(Flag(Arc::clone(&cut))), cut)
    }

    fn remote(last: u16) -> SocketAddrV6 {
        SocketAddrV6::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last), 4_000, 0, 0)
    }

    const KEY: PublicKey = PublicKey([1; 32]);
    const SOURCE: SourceId = SourceId([2; 16]);

    #[test]
    fn beyond_the_limit_the_oldest_goes() {
        let mut links = Links::default();
        let flags: Vec<_> = (0..3).map(|_| flag()).collect();
        let mut cuts = Vec::new();
        for (cut, seen) in flags {
            let (_, takeover) = links.add(KEY, Role::Source, remote(1), cut, 0);
            assert_eq!(takeover, None, "the same address is no takeover");
            cuts.push(seen);
        }
        let cut: Vec<bool> = cuts.iter().map(|cut| cut.load(Ordering::Relaxed)).collect();
        assert_eq!(cut, [true, false, false]);
        assert_eq!(links.count(), 2);
    }

    #[test]
    fn a_running_backup_is_cut_last() {
        let mut links = Links::default();
        let (cuts, seen): (Vec<_>, Vec<_>) = (0..3).map(|_| flag()).unzip();
        for (index, cut) in cuts.into_iter().enumerate() {
            let (id, _) = links.add(KEY, Role::Source, remote(1), cut, 0);
            if index == 0 {
                links.begin_session(SOURCE, id, 0);
            }
        }
        let cut: Vec<bool> = seen.iter().map(|cut| cut.load(Ordering::Relaxed)).collect();
        assert_eq!(cut, [false, true, false]);
    }

    #[test]
    fn a_second_session_takes_the_source_over() {
        let mut links = Links::default();
        let (old_cut, old) = flag();
        let (a, _) = links.add(KEY, Role::Source, remote(1), old_cut, 0);
        let (first, _) = links.begin_session(SOURCE, a, 0);
        let (new_cut, new) = flag();
        let (b, _) = links.add(KEY, Role::Source, remote(2), new_cut, 0);
        let (second, takeover) = links.begin_session(SOURCE, b, 0);
        assert_eq!(takeover, Some(Takeover { from: remote(1), within_hour: 1 }));
        assert!(old.load(Ordering::Relaxed) && !new.load(Ordering::Relaxed));
        assert!(!links.session_is(&SOURCE, first) && links.session_is(&SOURCE, second));
        links.end_session(&SOURCE, first);
        assert!(links.session_is(&SOURCE, second), "the older session's end does not end the newer");
    }

    #[test]
    fn takeovers_are_counted_by_the_hour() {
        let mut links = Links::default();
        let mut most = 0;
        for step in 0..5u16 {
            let (id, _) = links.add(KEY, Role::Source, remote(step), flag().0, u64::from(step));
            let (_, takeover) = links.begin_session(SOURCE, id, u64::from(step));
            most = takeover.map_or(most, |takeover| takeover.within_hour);
        }
        assert_eq!(most, 4);
        let (id, _) = links.add(KEY, Role::Source, remote(9), flag().0, HOUR_MS + 10);
        let (_, takeover) = links.begin_session(SOURCE, id, HOUR_MS + 10);
        assert_eq!(takeover.map(|takeover| takeover.within_hour), Some(1));
    }

    #[test]
    fn revoking_cuts_every_connection_of_the_key() {
        let mut links = Links::default();
        let (cut_a, a) = flag();
        let (cut_b, b) = flag();
        links.add(KEY, Role::Monitor, remote(1), cut_a, 0);
        links.add(PublicKey([9; 32]), Role::Monitor, remote(1), cut_b, 0);
        assert_eq!(links.cut_unless(|key| *key != KEY, Code::NotAllowed), 1);
        assert!(a.load(Ordering::Relaxed) && !b.load(Ordering::Relaxed));
        assert!(!links.is_connected(&KEY) && links.is_connected(&PublicKey([9; 32])));
    }
}

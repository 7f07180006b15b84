// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What happens in an agent, as one enum: log lines and counters are made from it, so they can't contradict each other.
//!
//! An event never holds a secret. Levels: error = data at risk, warn = a person may act, info = once per connection or run.

use adit_wire::ids::{PublicKey, SourceId};
use adit_wire::pair::Role;
use adit_wire::refusal::Code;
use std::net::SocketAddrV6;
use std::sync::Mutex;

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident $({ $($(#[$fdoc:meta])* $field:ident: $type:ty),* $(,)? })? = $level:ident, $counter:literal, $text:literal $(, $arg:expr)*;)*) => {
        /// Something that happened.
        #[derive(Clone, Debug)]
        pub enum Event {
            $($(#[$doc])* $name $({ $($(#[$fdoc])* $field: $type),* })?,)*
        }

        impl Event {
            /// The names of all counters, in the order of the variants.
            pub const COUNTERS: &'static [&'static str] = &[$($counter),*];

            /// How much a person should care.
            #[must_use]
            pub const fn level(&self) -> log::Level {
                match self { $(Self::$name $({ $($field: _),* })? => log::Level::$level,)* }
            }

            /// The name of the counter that counts events like this.
            #[must_use]
            pub const fn counter(&self) -> &'static str {
                match self { $(Self::$name $({ $($field: _),* })? => $counter,)* }
            }
        }

        impl std::fmt::Display for Event {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Self::$name $({ $($field),* })? => write!(f, $text $(, $arg)*),)*
                }
            }
        }
    };
}

events! {
    /// The agent listens.
    Listening { /// Where.
        address: SocketAddrV6, /// This machine's key.
        key: PublicKey } = Info, "listening_total", "listening on {address} with key {key}";
    /// The store is open.
    StoreOpened { /// What the opening found.
        what: String } = Info, "store_opened_total", "store open: {what}";
    /// Something the store noticed.
    StoreNoted { /// In its words.
        what: String } = Warn, "store_notes_total", "store: {what}";
    /// The store failed; nothing acknowledged is lost.
    StoreFailed { /// How.
        why: String } = Error, "store_failures_total", "store failed: {why}";
    /// A token was made into a peer.
    Paired { /// The peer.
        name: String, /// Its role.
        role: Role, /// From where.
        remote: SocketAddrV6 } = Info, "pairings_total", "paired {name} as {} from {remote}", role.word();
    /// A pairing was refused.
    PairRefused { /// Why.
        code: Code, /// From where.
        remote: SocketAddrV6 } = Warn, "pairings_refused_total", "pairing refused to {remote}: {}", code.text();
    /// A pairing that a crash had cut was finished.
    PairFinished { /// The peer.
        name: String } = Warn, "pairings_finished_total", "finished the pairing of {name}, which a crash had cut";
    /// A pairing that a crash had cut before its token was burnt was undone.
    PairUndone { /// The peer.
        name: String } = Warn, "pairings_undone_total", "undid the pairing of {name}, which a crash had cut";
    /// A peer connected.
    LinkUp { /// The peer.
        name: String, /// From or to where.
        remote: SocketAddrV6 } = Debug, "links_total", "{name} connected from {remote}";
    /// A peer's connection ended.
    LinkDown { /// The peer.
        name: String, /// How.
        why: String } = Debug, "links_ended_total", "{name} disconnected: {why}";
    /// A key that is nobody's knocked.
    UnknownKey { /// The key.
        key: PublicKey, /// From where.
        remote: SocketAddrV6 } = Info, "unknown_keys_total", "unknown key {key} refused from {remote}";
    /// A key whose source another machine has taken over knocked.
    FormerKey { /// The peer that goes on with the source.
        name: String, /// From where.
        remote: SocketAddrV6 } = Warn, "former_keys_total", "a former machine of {name} refused from {remote}: another one has taken the source over";
    /// A newer connection of the same key took over from another address.
    TakenOver { /// The peer.
        name: String, /// The older connection.
        from: SocketAddrV6, /// The newer connection.
        to: SocketAddrV6 } = Info, "takeovers_total", "{name} came back from {to}; its connection from {from} is closed";
    /// One key is used from several places: probably a cloned machine.
    CloneSuspected { /// The peer.
        name: String, /// Takeovers within an hour.
        takeovers: usize } = Error, "clones_suspected_total", "{name} changed its address {takeovers} times within an hour: is it a cloned machine? revoke it and pair each machine by itself";
    /// A peer asked for what its role may not do.
    NotAllowed { /// The peer.
        name: String, /// The service's number.
        service: u8, /// The method's number.
        method: u8 } = Warn, "not_allowed_total", "{name} may not use method {method} of service {service}";
    /// A request was refused.
    Refused { /// The peer.
        name: String, /// Why.
        code: Code, /// What exactly.
        detail: String } = Info, "refusals_total", "refused {name}: {} {detail}", code.text();
    /// A peer broke the protocol.
    ProtocolBroken { /// The peer.
        name: String, /// How.
        why: String } = Warn, "protocol_errors_total", "{name} broke the protocol: {why}";
    /// A source began to send.
    SessionOpened { /// The peer.
        name: String } = Info, "sessions_total", "{name} sends a backup";
    /// A source's session ended without a commit.
    SessionCut { /// The peer.
        name: String, /// How.
        why: String } = Info, "sessions_cut_total", "the backup of {name} stopped before its commit: {why}";
    /// A snapshot was committed.
    Committed { /// The peer.
        name: String, /// The snapshot's number.
        seq: u64 } = Info, "commits_total", "{name} committed snapshot {seq}";
    /// The recovery door was opened by a proof.
    Recovering { /// Sources opened.
        sources: usize, /// From where.
        remote: SocketAddrV6 } = Warn, "recoveries_total", "a recovery key opens {sources} sources to {remote}";
    /// The recovery door was not opened.
    RecoveryRefused { /// From where.
        remote: SocketAddrV6 } = Warn, "recoveries_refused_total", "recovery refused to {remote}";
    /// A source was taken over with its recovery key.
    Adopted { /// Its name.
        name: String, /// The source.
        source: SourceId, /// The machine's key.
        key: PublicKey } = Warn, "adoptions_total", "{name} ({source}) is taken over by key {key}";
    /// The peer files changed.
    PeersChanged { /// How many there are.
        count: usize } = Info, "peers_changed_total", "peers: {count}";
    /// A peer file can't be used.
    PeerFile { /// Why.
        why: String } = Warn, "peer_files_refused_total", "cannot {why}";
    /// A peer was renamed.
    PeerRenamed { /// Before.
        from: String, /// After.
        to: String, /// Who asked.
        by: String } = Warn, "peers_renamed_total", "{by} renamed peer {from} to {to}";
    /// A peer was revoked.
    PeerRevoked { /// Which.
        name: String, /// Who asked.
        by: String } = Warn, "peers_revoked_total", "{by} revoked peer {name}; its history stays";
    /// A token was made from afar.
    Invited { /// For whom.
        name: String, /// What that becomes.
        role: &'static str, /// Who asked.
        by: String } = Info, "tokens_made_total", "{by} made a token with which {name} becomes a {role}";
    /// Everything was read and checked.
    Verified { /// What was found.
        what: String, /// Records damaged.
        damaged: u64 } = Info, "verifications_total", "verified: {what}, {damaged} records damaged";
    /// A verification found damage.
    DamageFound { /// What was found.
        what: String } = Error, "damage_found_total", "verification found damage: {what}";
    /// A peer can't be dialled.
    DialFailed { /// Which.
        name: String, /// Why.
        why: String } = Info, "dials_failed_total", "cannot reach {name}: {why}";
    /// Somebody speaks on the serial console.
    ConsoleSpeaks { /// The device.
        path: String } = Info, "consoles_total", "somebody speaks on the console {path}";
    /// The serial console can't be used now; it is tried again, which is not told again.
    ConsoleWaits { /// The device.
        path: String, /// Why.
        why: String } = Info, "console_waits_total", "waiting for the console {path}: {why}";
    /// Something of the machine went wrong that doesn't stop the agent.
    Trouble { /// What.
        what: String } = Warn, "troubles_total", "{what}";
    /// The agent stops.
    Stopping { /// Why.
        why: &'static str } = Info, "stops_total", "stopping: {why}";
}

/// Where events go: to the log, and counted.
#[derive(Debug, Default)]
pub struct Events {
    counts: Mutex<std::collections::BTreeMap<&'static str, u64>>,
}

impl Events {
    /// Records an event.
    pub fn record(&self, event: &Event) {
        log::log!(event.level(), "{event}");
        if let Ok(mut counts) = self.counts.lock() {
            *counts.entry(event.counter()).or_default() += 1;
        }
    }

    /// How many events had this counter.
    #[must_use]
    pub fn count(&self, counter: &str) -> u64 {
        self.counts.lock().map_or(0, |counts| counts.get(counter).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_one_name_each() {
        let mut names: Vec<_> = Event::COUNTERS.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Event::COUNTERS.len());
        assert!(names.iter().all(|name| name.ends_with("_total")));
    }

    #[test]
    fn an_event_is_counted_and_reads_as_a_sentence() {
        let events = Events::default();
        let event = Event::PairRefused { code: Code::TokenBurnt, remote: "[::1]:7".parse().expect("address") };
        events.record(&event);
        events.record(&event);
        assert_eq!(events.count("pairings_refused_total"), 2);
        assert_eq!(event.to_string(), "pairing refused to [::1]:7: the token was used before; make a new one");
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The one table of what each role may ask for. `protocol/SPEC.md` draws the same table; a test compares them.
//!
//! Roles belong to pinned keys, never to who dialled. A method that is not listed here is allowed to nobody, so a new
//! method is shut until a row says otherwise. Some cells carry a further condition (own source only, proof needed) that
//! the service checks; nothing that this table refuses may ever reach a service.

use adit_wire::frame::{Kind, Service};
use adit_wire::pair::Role;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Who {
    /// A peer whose key is pinned with this role, on `adit/1`.
    Peer(Role),
    /// Anybody, on `adit-pair/1`.
    Pairing,
    /// Whoever holds the agent's serial console: the member, who has no power over the data.
    Console,
    /// Anybody, on `adit-recover/1`.
    Recovering,
}

impl Who {
    /// Everybody, in the order of the table's columns.
    pub const ALL: [Self; 8] = [
        Self::Peer(Role::Source),
        Self::Peer(Role::Monitor),
        Self::Peer(Role::Admin),
        Self::Peer(Role::Replica),
        Self::Peer(Role::Agent),
        Self::Recovering,
        Self::Pairing,
        Self::Console,
    ];

    /// The column's head.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Peer(role) => role.word(),
            Self::Recovering => "recover door",
            Self::Pairing => "pair door",
            Self::Console => "console",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Peer(Role::Source) => SOURCE,
            Self::Peer(Role::Monitor) => MONITOR,
            Self::Peer(Role::Admin) => ADMIN,
            Self::Peer(Role::Replica) => REPLICA,
            Self::Peer(Role::Agent) => AGENT,
            Self::Recovering => RECOVER,
            Self::Pairing => PAIR,
            Self::Console => CONSOLE,
        }
    }
}

const SOURCE: u8 = 1;
const MONITOR: u8 = 2;
const ADMIN: u8 = 4;
const REPLICA: u8 = 8;
const AGENT: u8 = 16;
const RECOVER: u8 = 32;
const PAIR: u8 = 64;
const CONSOLE: u8 = 128;
const PEERS: u8 = SOURCE | MONITOR | ADMIN | REPLICA | AGENT;

/// One row: a request and who may send it. Answers need no row: they go to whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The service.
    pub service: Service,
    /// The method's number.
    pub method: u8,
    /// The method's name in SPEC.md.
    pub name: &'static str,
    /// Whether it may be the first frame of a conversation.
    pub opens: bool,
    allowed: u8,
}

impl Row {
    const fn new(service: Service, method: u8, name: &'static str, opens: bool, allowed: u8) -> Self {
        Self { service, method, name, opens, allowed }
    }

    /// Whether `who` may send it.
    #[must_use]
    pub const fn allows(&self, who: Who) -> bool {
        self.allowed & who.bit() != 0
    }
}

/// Every request of major 1. Frames of service `link` stand on conversation 0 and open nothing.
pub const TABLE: &[Row] = &[
    Row::new(Service::Link, 1, "GREETING", false, PEERS | RECOVER | CONSOLE),
    Row::new(Service::Link, 2, "PING", false, PEERS | RECOVER | CONSOLE),
    Row::new(Service::Link, 3, "PONG", false, PEERS | RECOVER),
    Row::new(Service::Link, 4, "GOODBYE", false, PEERS | RECOVER),
    Row::new(Service::Pair, 1, "PAIR", true, PAIR),
    Row::new(Service::Backup, 1, "HELLO", true, SOURCE),
    Row::new(Service::Backup, 3, "OPEN", false, SOURCE),
    Row::new(Service::Backup, 5, "REC", false, SOURCE),
    Row::new(Service::Backup, 7, "HAVE", false, SOURCE),
    Row::new(Service::Backup, 9, "COMMIT", false, SOURCE),
    Row::new(Service::Backup, 12, "CERTIFY", true, SOURCE),
    Row::new(Service::Backup, 14, "PERIOD", false, SOURCE),
    Row::new(Service::Read, 1, "PROVE", true, SOURCE | RECOVER),
    Row::new(Service::Read, 3, "LIST", true, SOURCE | RECOVER),
    Row::new(Service::Read, 5, "FETCH", true, SOURCE | RECOVER),
    Row::new(Service::Recover, 1, "RECOVER", true, RECOVER),
    Row::new(Service::Recover, 3, "ADOPT", true, RECOVER),
    Row::new(Service::Health, 1, "POLL", true, SOURCE | MONITOR | ADMIN | CONSOLE),
    Row::new(Service::Admin, 1, "PEERS", true, ADMIN),
    Row::new(Service::Admin, 3, "RENAME", true, ADMIN),
    Row::new(Service::Admin, 4, "REVOKE", true, ADMIN),
    Row::new(Service::Admin, 6, "VERIFY", true, SOURCE | ADMIN),
    Row::new(Service::Admin, 9, "UNPAIR", true, PEERS),
    Row::new(Service::Admin, 10, "INVITE", true, ADMIN),
    Row::new(Service::Admin, 12, "KEEP", true, ADMIN),
    Row::new(Service::Admin, 14, "STORED", true, ADMIN),
    Row::new(Service::Admin, 16, "COLLECT", true, ADMIN),
    Row::new(Service::Appliance, 1, "LOOK", true, ADMIN | MONITOR | CONSOLE),
    Row::new(Service::Appliance, 3, "UPDATE", true, ADMIN),
    Row::new(Service::Appliance, 5, "UPDATEPART", false, ADMIN),
    Row::new(Service::Appliance, 7, "ACTIVATE", true, ADMIN),
    Row::new(Service::Appliance, 8, "RESTART", true, ADMIN),
    Row::new(Service::Appliance, 11, "DISKS", true, ADMIN | MONITOR | CONSOLE),
    Row::new(Service::Appliance, 13, "USEDISK", true, ADMIN),
    Row::new(Service::Appliance, 14, "REPLACEDISK", true, ADMIN),
    Row::new(Service::Appliance, 15, "LOCATEDISK", true, ADMIN),
    Row::new(Service::Appliance, 16, "RETIREDISK", true, ADMIN),
    Row::new(Service::Appliance, 17, "ENCRYPTDISK", true, ADMIN),
    Row::new(Service::Appliance, 18, "LOOKATLOCK", true, ADMIN | MONITOR),
    Row::new(Service::Appliance, 20, "UNLOCK", true, ADMIN | MONITOR),
    Row::new(Service::Appliance, 21, "ADDSHARE", true, ADMIN),
];

/// The row of a request; `None` for answers and for methods that are not known here.
#[must_use]
pub fn row(kind: Kind) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.service as u8 == kind.service && row.method == kind.method && kind.major == 1)
}

/// Whether `who` may send this request.
#[must_use]
pub fn allowed(who: Who, kind: Kind) -> bool {
    row(kind).is_some_and(|row| row.allows(who))
}

/// Whether `who` may open a conversation with this request.
#[must_use]
pub fn may_open(who: Who, kind: Kind) -> bool {
    row(kind).is_some_and(|row| row.opens && row.allows(who))
}

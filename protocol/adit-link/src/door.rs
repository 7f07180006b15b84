// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The three doors of a listener. The dialler names its door in the ClientHello (ALPN); the listener chooses by it which
//! keys may finish the handshake, before any key is looked at. So a machine that comes to pair can't end up where only
//! pinned keys belong.

use adit_wire::ids::PublicKey;

/// Which door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// Everything but the two below: pinned keys only.
    Main,
    /// Pairing: any key, one message, while a token is open.
    Pair,
    /// A machine that has nothing but the recovery key: any key, one message, then the proof decides.
    Recover,
}

impl Door {
    /// Every door.
    pub const ALL: [Self; 3] = [Self::Main, Self::Pair, Self::Recover];

    /// The protocol name in the ClientHello.
    #[must_use]
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Main => b"adit/1",
            Self::Pair => b"adit-pair/1",
            Self::Recover => b"adit-recover/1",
        }
    }

    /// The door of a protocol name.
    #[must_use]
    pub fn from_alpn(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|door| door.alpn() == name)
    }

    /// Whether both sides begin with a Greeting behind this door.
    #[must_use]
    pub const fn greets(self) -> bool {
        matches!(self, Self::Main | Self::Recover)
    }
}

/// What the listener asks its owner during a handshake. Answers come from memory: a handshake waits for them.
pub trait Gate: Send + Sync {
    /// Whether this key is a peer's.
    fn pinned(&self, key: &PublicKey) -> bool;
    /// Whether an unburnt token exists.
    fn pairing_open(&self) -> bool;
    /// Whether recovery is served here.
    fn recovery_open(&self) -> bool;
}

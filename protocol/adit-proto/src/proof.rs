// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the recovery signing key signs to open a source: bound to one connection, so that a proof seen once opens nothing
//! else. The prefixes stand in adit-wire; here are the bodies behind them.

use crate::Verify;
use adit_wire::ids::{ChannelBinding, PublicKey, SourceId};
use adit_wire::read::Prove;
use adit_wire::recover::Recover;
use adit_wire::signed::{PREFIX_READ, PREFIX_RECOVER};

/// Body of the proof that opens one source for reading: channel binding ‖ source id. Its prefix is [`PREFIX_READ`].
#[must_use]
pub fn read_body(binding: &ChannelBinding, source: &SourceId) -> [u8; 48] {
    let mut body = [0u8; 48];
    for (to, from) in body.iter_mut().zip(binding.0.iter().chain(&source.0)) {
        *to = *from;
    }
    body
}

/// Body of the proof at the recovery door: channel binding ‖ box key ‖ own TLS key. Its prefix is [`PREFIX_RECOVER`].
#[must_use]
pub fn recover_body(binding: &ChannelBinding, box_key: &PublicKey, own_key: &PublicKey) -> [u8; 96] {
    let mut body = [0u8; 96];
    for (to, from) in body.iter_mut().zip(binding.0.iter().chain(&box_key.0).chain(&own_key.0)) {
        *to = *from;
    }
    body
}

/// Whether PROVE holds: its key is the one registered for the source, and the signature covers this connection.
#[must_use]
pub fn proves(prove: &Prove, registered: &PublicKey, binding: &ChannelBinding, verify: &Verify<'_>) -> bool {
    let body = read_body(binding, &prove.source);
    !registered.is_zero()
        && prove.recovery_key == *registered
        && verify(registered, PREFIX_READ, &body, &prove.signature)
}

/// Whether RECOVER's signature covers this connection. That some source belongs to its key is the caller's to look up;
/// both failures look alike outside.
#[must_use]
pub fn recovers(
    recover: &Recover,
    binding: &ChannelBinding,
    box_key: &PublicKey,
    peer_key: &PublicKey,
    verify: &Verify<'_>,
) -> bool {
    let body = recover_body(binding, box_key, peer_key);
    !recover.recovery_key.is_zero() && verify(&recover.recovery_key, PREFIX_RECOVER, &body, &recover.signature)
}

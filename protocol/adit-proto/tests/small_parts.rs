// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Liveness, recovery proofs and address records, with real signatures.

mod crypto;

use adit_proto::address::{self, AddressError, Newer};
use adit_proto::liveness::{Due, Liveness};
use adit_proto::proof;
use adit_wire::ids::{ChannelBinding, PublicKey, SourceId};
use adit_wire::read::Prove;
use adit_wire::recover::Recover;
use adit_wire::signed::{PREFIX_ADDRESS, PREFIX_READ, PREFIX_RECOVER};
use crypto::{Signer, verify};

#[test]
fn a_silent_link_pings_and_a_deaf_one_dies() {
    let mut link = Liveness::new(1_000);
    assert_eq!(link.poll(15_999), Due::Nothing);
    assert_eq!(link.next_deadline_ms(), 16_000);
    assert_eq!(link.poll(16_000), Due::Ping(1));
    assert_eq!(link.poll(16_001), Due::Nothing, "a PING counts as sent");
    assert_eq!(link.ponged(16_120, 1), Some(120));
    assert_eq!(link.ponged(16_130, 1), None, "once");
    assert_eq!(link.poll(31_000), Due::Ping(2));
    assert_eq!(link.ponged(31_100, 1), None, "an old nonce measures nothing");
    link.sent(40_000);
    assert_eq!(link.next_deadline_ms(), 55_000);
    assert_eq!(link.poll(76_099), Due::Ping(3), "sending does not show that the other side hears");
    assert_eq!(link.next_deadline_ms(), 76_100);
    assert_eq!(link.poll(76_100), Due::Dead);
    link.heard(76_100);
    assert_eq!(link.poll(76_100), Due::Nothing);
}

/// Two links that only wait keep each other alive for ever.
#[test]
fn two_idle_links_stay_alive() {
    let (mut left, mut right) = (Liveness::new(0), Liveness::new(0));
    let mut pings = 0;
    for now_ms in (0..3_600_000).step_by(100) {
        for (me, other) in [(&mut left, &mut right)] {
            for turn in 0..2 {
                let (me, other) = if turn == 0 { (&mut *me, &mut *other) } else { (&mut *other, &mut *me) };
                match me.poll(now_ms) {
                    Due::Nothing => {}
                    Due::Ping(nonce) => {
                        pings += 1;
                        other.heard(now_ms);
                        other.sent(now_ms);
                        assert_eq!(me.ponged(now_ms, nonce), Some(0));
                    }
                    Due::Dead => panic!("dead at {now_ms}"),
                }
            }
        }
    }
    assert_eq!(pings, 239, "one PING every 15 s, not one from each side");
}

#[test]
fn a_read_proof_opens_one_source_on_one_connection() {
    let recovery = Signer::new(3);
    let binding = ChannelBinding([7; 32]);
    let source = SourceId([8; 16]);
    let signature = recovery.sign(PREFIX_READ, &proof::read_body(&binding, &source));
    let prove = Prove { source, recovery_key: recovery.key(), signature };
    assert!(proof::proves(&prove, &recovery.key(), &binding, &verify));
    assert!(!proof::proves(&prove, &Signer::new(4).key(), &binding, &verify), "another key is registered");
    assert!(!proof::proves(&prove, &recovery.key(), &ChannelBinding([6; 32]), &verify), "another connection");
    let other = Prove { source: SourceId([9; 16]), ..prove };
    assert!(!proof::proves(&other, &recovery.key(), &binding, &verify), "another source");
    let none = Prove { recovery_key: PublicKey::ZERO, ..prove };
    assert!(!proof::proves(&none, &PublicKey::ZERO, &binding, &|_, _, _, _| true), "no key is registered");
}

#[test]
fn a_recovery_proof_names_both_ends() {
    let recovery = Signer::new(3);
    let binding = ChannelBinding([7; 32]);
    let (box_key, own_key) = (PublicKey([1; 32]), PublicKey([2; 32]));
    let signature = recovery.sign(PREFIX_RECOVER, &proof::recover_body(&binding, &box_key, &own_key));
    let recover = Recover { recovery_key: recovery.key(), signature };
    assert!(proof::recovers(&recover, &binding, &box_key, &own_key, &verify));
    assert!(!proof::recovers(&recover, &binding, &own_key, &box_key, &verify));
    assert!(!proof::recovers(&recover, &ChannelBinding([6; 32]), &box_key, &own_key, &verify));
}

#[test]
fn only_a_newer_address_record_of_the_peer_counts() {
    let machine = Signer::new(5);
    let addresses = vec![("2001:db8::1".parse().expect("an address"), 11_713)];
    let body = address::body(&machine.key(), 4, &addresses).expect("few addresses");
    let record = address::record(body.clone(), &machine.sign(PREFIX_ADDRESS, &body));
    let accept = |known_seq| address::accept(&record, &machine.key(), known_seq, &verify);
    assert_eq!(accept(3), Ok(Some(Newer { seq: 4, addresses: addresses.clone() })));
    assert_eq!(accept(4), Ok(None));
    assert_eq!(accept(5), Ok(None));
    assert_eq!(address::accept(&record, &Signer::new(6).key(), 0, &verify), Err(AddressError::OtherKey));
    for at in 1..record.len() {
        let mut forged = record.clone();
        forged[at] ^= 1;
        assert!(address::accept(&forged, &machine.key(), 0, &verify).is_err(), "byte {at}");
    }
    assert!(address::body(&machine.key(), 1, &[addresses[0]; 9]).is_err(), "nine addresses");
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From the recovery key alone: find the source, read it, take it over; and the same from a carried store.

use crate::backup::{back_up, fetch_unproven};
use crate::lab::{As, Lab, Machine, ask, code_of};
use crate::sealed::{certificate, id_of};
use adit_link::{Door, Identity, Link, LinkError};
use adit_proto::proof::recover_body;
use adit_wire::health::Poll;
use adit_wire::ids::{Id, PublicKey};
use adit_wire::pair::Role;
use adit_wire::recover::{Adopt, Adopted, Recover, Recovered};
use adit_wire::refusal::Code;
use adit_wire::signed::PREFIX_RECOVER;
use std::net::SocketAddrV6;

/// A new machine that has nothing of the old one but the recovery key.
fn new_machine(old: &Machine) -> Machine {
    Machine { identity: Identity::generate(), signing: Identity::generate(), ..old.clone() }
}

fn proof(machine: &Machine, link: &Link, box_key: &PublicKey) -> Recover {
    let body = recover_body(&link.channel_binding(), box_key, &machine.identity.public_key());
    let signature = machine.recovery.sign(PREFIX_RECOVER, &body);
    Recover { recovery_key: machine.recovery.public_key(), signature }
}

async fn open_door(machine: &Machine, address: SocketAddrV6, key: PublicKey) -> (Link, Result<Vec<String>, LinkError>) {
    let link = machine.dial(address, key, Door::Recover).await.expect("connected");
    let recover = proof(machine, &link, &key);
    let names = match ask(&link, &recover).await {
        Ok(frame) => {
            let recovered: Recovered<'_> = frame.message().expect("a list");
            Ok(recovered.sources.iter().map(|source| source.expect("a source").name.to_owned()).collect())
        }
        Err(error) => Err(error),
    };
    (link, names)
}

#[tokio::test]
async fn the_recovery_key_finds_and_reads_its_source() {
    let lab = Lab::start(As::Box).await;
    let (web, other) = (lab.paired(Role::Source, "web1").await, lab.paired(Role::Source, "web2").await);
    let (run, _) = back_up(&lab, &web, 1).await;
    back_up(&lab, &other, 2).await;
    let new = new_machine(&web);
    let (link, names) = open_door(&new, lab.address, lab.key).await;
    assert_eq!(names.expect("opened"), ["web1"]);
    let ids: Vec<Id> = run.records.iter().map(|record| id_of(record)).collect();
    let records = fetch_unproven(&new, &link, &ids).await.expect("read");
    assert_eq!(records.len(), run.records.len() + 1);
    // The other source stays shut.
    let error = fetch_unproven(&other, &link, &ids[..1]).await.expect_err("refused");
    assert_eq!(code_of(&error), Some(Code::ProofNeeded));
}

#[tokio::test]
async fn an_unknown_key_and_a_wrong_signature_look_alike() {
    let lab = Lab::start(As::Box).await;
    let web = lab.paired(Role::Source, "web1").await;
    back_up(&lab, &web, 1).await;
    let unknown = Machine::new("unknown");
    let (_, names) = open_door(&unknown, lab.address, lab.key).await;
    assert_eq!(names.map_err(|error| code_of(&error)), Err(Some(Code::RecoveryUnknown)));
    // The right key's signature, made for another connection.
    let new = new_machine(&web);
    let first = new.dial(lab.address, lab.key, Door::Recover).await.expect("connected");
    let second = new.dial(lab.address, lab.key, Door::Recover).await.expect("connected");
    let error = ask(&second, &proof(&new, &first, &lab.key)).await.expect_err("refused");
    assert_eq!(code_of(&error), Some(Code::RecoveryUnknown));
    assert_eq!(lab.events.count("recoveries_refused_total"), 2);
}

#[tokio::test]
async fn a_new_machine_takes_the_source_over() {
    let lab = Lab::start(As::Box).await;
    let web = lab.paired(Role::Source, "web1").await;
    back_up(&lab, &web, 1).await;
    let old_link = web.connect(&lab).await;
    let new = new_machine(&web);
    let (link, _) = open_door(&new, lab.address, lab.key).await;
    let code = |outcome: Result<_, _>| outcome.map(|_| ()).map_err(|error| code_of(&error));
    let device_key = new.identity.public_key();
    // Not by an old epoch, and not by another's signature.
    let bytes = certificate(&new, 1);
    assert_eq!(code(ask(&link, &Adopt { certificate: &bytes, device_key }).await), Err(Some(Code::EpochOld)));
    let thief = Machine { recovery: Identity::generate(), ..new.clone() };
    let bytes = certificate(&thief, 2);
    assert_eq!(code(ask(&link, &Adopt { certificate: &bytes, device_key }).await), Err(Some(Code::Signature)));
    let bytes = certificate(&new, 2);
    let frame = ask(&link, &Adopt { certificate: &bytes, device_key }).await.expect("adopted");
    assert_eq!(frame.message::<Adopted<'_>>().expect("adopted").name, "web1");
    old_link.closed().await;
    // The old machine is told what happened; the new one is let in.
    let link = web.connect(&lab).await;
    let told = ask(&link, &Poll { inventory: 0, report: 0 }).await;
    assert_eq!(code(told), Err(Some(Code::Adopted)));
    let link = new.connect(&lab).await;
    ask(&link, &Poll { inventory: 0, report: 0 }).await.expect("answered");
    assert_eq!(lab.events.count("adoptions_total"), 1);
}

#[tokio::test]
async fn a_carried_store_is_read_without_the_boxs_key() {
    let mut lab = Lab::start(As::Box).await;
    let web = lab.paired(Role::Source, "web1").await;
    let (run, _) = back_up(&lab, &web, 1).await;
    lab.stop().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let listen = "[::1]:0".parse().expect("address");
    let agent = aditd::agent::Agent::start_read_only(&lab.store_path(), listen, stop.clone()).await.expect("started");
    let (address, key) = (agent.address().expect("listens"), agent.key());
    assert_ne!(key, lab.key);
    let running = tokio::spawn(agent.run());
    let new = new_machine(&web);
    let (link, names) = open_door(&new, address, key).await;
    assert_eq!(names.expect("opened"), ["web1"]);
    let ids: Vec<Id> = run.records.iter().map(|record| id_of(record)).collect();
    assert_eq!(fetch_unproven(&new, &link, &ids).await.expect("read").len(), ids.len() + 1);
    let bytes = certificate(&new, 2);
    let adopt = Adopt { certificate: &bytes, device_key: new.identity.public_key() };
    let error = ask(&link, &adopt).await.expect_err("refused");
    assert_eq!(code_of(&error), Some(Code::ReadOnly));
    // The other doors are shut.
    assert!(web.dial(address, key, Door::Pair).await.is_err());
    let main = web.dial(address, key, Door::Main).await;
    let let_in = match main {
        Ok(link) => link.greeted().await.is_ok(),
        Err(_) => false,
    };
    assert!(!let_in);
    stop.cancel();
    running.await.expect("stopped");
}

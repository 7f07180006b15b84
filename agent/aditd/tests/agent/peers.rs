// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Peers have a life: files, lists, names, revocation, and machines that are cloned.

use crate::lab::{As, Lab, Machine, aditd, ask, code_of, until};
use adit_wire::admin::{Done, Peers, PeersListed, Rename, Revoke, Unpair};
use adit_wire::health::Poll;
use adit_wire::pair::Role;
use adit_wire::refusal::Code;

#[tokio::test]
async fn a_peer_is_a_file_that_anyone_can_write() {
    let lab = Lab::start(As::PlainAgent).await;
    let monitor = Machine::new("mon");
    assert!(!monitor.is_let_in(&lab).await);
    let text = format!("role = \"monitor\"\nkey = \"{}\"\n", monitor.identity.public_key());
    std::fs::write(lab.dir.path().join("state/peers/mon.toml"), text).expect("written");
    until("the file is seen", || lab.events.count("peers_changed_total") == 1).await;
    let link = monitor.connect(&lab).await;
    ask(&link, &Poll { inventory: 0, report: 0 }).await.expect("answered");
}

#[tokio::test]
async fn removing_the_file_cuts_live_links() {
    let lab = Lab::start(As::PlainAgent).await;
    let monitor = lab.paired(Role::Monitor, "mon").await;
    let link = monitor.connect(&lab).await;
    ask(&link, &Poll { inventory: 0, report: 0 }).await.expect("answered");
    let config = lab.config_path();
    let run = aditd(&["peers", "revoke", "mon", "--config", config.to_str().expect("UTF-8")]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let cut = tokio::time::timeout(std::time::Duration::from_secs(10), link.closed()).await;
    cut.expect("cut within seconds");
    assert!(!monitor.is_let_in(&lab).await);
}

#[tokio::test]
async fn an_admin_lists_renames_and_revokes() {
    let lab = Lab::start(As::PlainAgent).await;
    let (admin, monitor) = (lab.paired(Role::Admin, "laptop").await, lab.paired(Role::Monitor, "mon").await);
    let watched = monitor.connect(&lab).await;
    let link = admin.connect(&lab).await;
    let frame = ask(&link, &Peers { skip: 0 }).await.expect("listed");
    let listed: PeersListed<'_> = frame.message().expect("a list");
    let peers: Vec<_> = listed.peers.iter().map(|peer| peer.expect("a peer")).collect();
    let shown: Vec<_> = peers.iter().map(|peer| (peer.name, peer.role, peer.connected)).collect();
    assert_eq!(shown, [("laptop", Role::Admin, true), ("mon", Role::Monitor, true)]);
    assert!(peers.iter().all(|peer| peer.heard_s > 1_600_000_000));
    let code = |outcome: Result<_, _>| outcome.map(|_| ()).map_err(|error| code_of(&error));
    assert_eq!(code(ask(&link, &Rename { from: "mon", to: "laptop" }).await), Err(Some(Code::NameTaken)));
    assert_eq!(code(ask(&link, &Rename { from: "nobody", to: "x" }).await), Err(Some(Code::NotFound)));
    let frame = ask(&link, &Rename { from: "mon", to: "icinga" }).await.expect("renamed");
    frame.message::<Done>().expect("done");
    assert_eq!(crate::lab::files_in(&lab.dir.path().join("state/peers")), ["icinga.toml", "laptop.toml"]);
    assert_eq!(code(ask(&link, &Revoke { name: "laptop" }).await), Err(Some(Code::NotAllowed)));
    ask(&link, &Revoke { name: "icinga" }).await.expect("revoked");
    watched.closed().await;
    assert!(!monitor.is_let_in(&lab).await && admin.is_let_in(&lab).await);
}

#[tokio::test]
async fn a_peer_gives_itself_up() {
    let lab = Lab::start(As::PlainAgent).await;
    let monitor = lab.paired(Role::Monitor, "mon").await;
    let link = monitor.connect(&lab).await;
    ask(&link, &Unpair {}).await.expect("done").message::<Done>().expect("done");
    link.closed().await;
    assert!(!monitor.is_let_in(&lab).await);
}

#[tokio::test]
async fn renaming_keeps_the_link() {
    let lab = Lab::start(As::PlainAgent).await;
    let monitor = lab.paired(Role::Monitor, "mon").await;
    let link = monitor.connect(&lab).await;
    let config = lab.config_path();
    let run = aditd(&["peers", "rename", "mon", "icinga", "--config", config.to_str().expect("UTF-8")]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    until("the change is seen", || lab.events.count("peers_changed_total") == 2).await;
    ask(&link, &Poll { inventory: 0, report: 0 }).await.expect("answered");
}

#[tokio::test]
async fn a_file_with_a_typing_error_is_told_and_passed_over() {
    let lab = Lab::start(As::PlainAgent).await;
    let monitor = lab.paired(Role::Monitor, "mon").await;
    std::fs::write(lab.dir.path().join("state/peers/bad.toml"), "role = ").expect("written");
    until("the file is seen", || lab.events.count("peer_files_refused_total") >= 1).await;
    assert!(monitor.is_let_in(&lab).await);
}

#[tokio::test]
async fn the_newest_links_of_a_key_win() {
    let lab = Lab::start(As::Box).await;
    let web = lab.paired(Role::Source, "web1").await;
    let oldest = web.connect(&lab).await;
    let (second, third) = (web.connect(&lab).await, web.connect(&lab).await);
    oldest.closed().await;
    for link in [&second, &third] {
        ask(link, &Poll { inventory: 0, report: 0 }).await.expect("answered");
    }
    assert_eq!(lab.events.count("clones_suspected_total"), 0);
}

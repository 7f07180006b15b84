// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An admin invites other machines from afar: which tokens are made, and which are not.

use crate::lab::{As, Lab, Machine, ask, ask_bytes, code_of, files_in};
use adit_link::Link;
use adit_proto::token::Token;
use adit_wire::admin::{Invite, Invited, Revoke, TOKEN_LIFETIME_S_MAX};
use adit_wire::frame::Message as _;
use adit_wire::pair::Role;
use adit_wire::refusal::Code;

const SOURCE: Invite<'_> = Invite { role: Role::Source, name: "web1", rejoin: false, lifetime_s: 900 };

async fn invite(link: &Link, asked: Invite<'_>) -> Result<Token, Code> {
    let frame = ask(link, &asked).await.map_err(|error| code_of(&error).expect("a code"))?;
    Ok(Token::parse(frame.message::<Invited<'_>>().expect("a token").token).expect("readable"))
}

fn tokens(lab: &Lab) -> usize {
    files_in(&lab.dir.path().join("state/tokens")).iter().filter(|name| name.ends_with(".toml")).count()
}

#[tokio::test]
async fn an_invited_machine_pairs_once_and_becomes_what_was_asked_for() {
    let lab = Lab::start(As::Box).await;
    let link = lab.paired(Role::Admin, "laptop").await.connect(&lab).await;
    for (role, name) in [(Role::Source, "web1"), (Role::Monitor, "mon"), (Role::Replica, "cellar")] {
        let token = invite(&link, Invite { role, name, ..SOURCE }).await.expect("made");
        assert_eq!(token.maker, lab.key);
        assert_eq!(token.addresses.first().map(ToString::to_string), Some(lab.address.to_string()));
        let machine = Machine::new("anything");
        machine.pair(&lab, &token, role).await.expect("paired");
        assert!(machine.is_let_in(&lab).await, "{name}");
        let again = Machine::new("another").pair(&lab, &token, role).await;
        assert!(again.is_err(), "{name}: a token is used once");
    }
    assert_eq!(files_in(&lab.dir.path().join("state/peers")), ["cellar.toml", "laptop.toml", "mon.toml", "web1.toml"]);
    assert_eq!(lab.events.count("tokens_made_total"), 3);
}

#[tokio::test]
async fn what_the_pairing_would_refuse_is_not_made() {
    let lab = Lab::start(As::Box).await;
    let link = lab.paired(Role::Admin, "laptop").await.connect(&lab).await;
    let (web, _monitor) = (lab.paired(Role::Source, "web1").await, lab.paired(Role::Monitor, "mon").await);
    for (asked, code) in [
        (SOURCE, Code::NameTaken),
        (Invite { name: "laptop", ..SOURCE }, Code::NameTaken),
        (Invite { name: "nobody", rejoin: true, ..SOURCE }, Code::NotFound),
        // The name of another peer, whom a source would push out.
        (Invite { name: "mon", rejoin: true, ..SOURCE }, Code::NotFound),
        (Invite { role: Role::Monitor, name: "mon", rejoin: true, ..SOURCE }, Code::Protocol),
        (Invite { role: Role::Agent, name: "agent", ..SOURCE }, Code::Protocol),
        (Invite { name: "../web2", ..SOURCE }, Code::NotFound),
        (Invite { name: "web2", lifetime_s: 0, ..SOURCE }, Code::Protocol),
    ] {
        assert_eq!(invite(&link, asked).await, Err(code), "{asked:?}");
    }
    assert_eq!(tokens(&lab), 0);
    // The known source, from a new machine.
    let token = invite(&link, Invite { rejoin: true, ..SOURCE }).await.expect("made");
    let again = Machine { identity: adit_link::Identity::generate(), ..web.clone() };
    again.pair(&lab, &token, Role::Source).await.expect("back");
    // Its history stays when its key is revoked, and so does its name.
    ask(&link, &Revoke { name: "web1" }).await.expect("revoked");
    assert_eq!(invite(&link, SOURCE).await, Err(Code::NameTaken));
    let token = invite(&link, Invite { rejoin: true, lifetime_s: TOKEN_LIFETIME_S_MAX, ..SOURCE }).await.expect("made");
    web.pair(&lab, &token, Role::Source).await.expect("back again");
}

#[tokio::test]
async fn no_admin_is_made_from_afar() {
    let lab = Lab::start(As::Box).await;
    let link = lab.paired(Role::Admin, "laptop").await.connect(&lab).await;
    for asked in [
        Invite { role: Role::Admin, name: "thief", ..SOURCE },
        Invite { lifetime_s: TOKEN_LIFETIME_S_MAX + 1, ..SOURCE },
    ] {
        assert!(adit_proto::encode::body(&asked).is_err(), "{asked:?}");
    }
    // By hand, as whoever stole the admin's key would write it: the role is the first byte.
    let mut body = adit_proto::encode::body(&Invite { name: "thief", ..SOURCE }).expect("fits");
    assert_eq!(body[0], Role::Source as u8);
    body[0] = Role::Admin as u8;
    let answer = ask_bytes(&link, Invite::KIND, &body).await.map_err(|error| code_of(&error));
    assert_eq!(answer.map(|_| ()), Err(Some(Code::Protocol)));
    assert_eq!(tokens(&lab), 0);
}

#[tokio::test]
async fn a_source_needs_a_store_and_others_none() {
    let lab = Lab::start(As::PlainAgent).await;
    let link = lab.paired(Role::Admin, "laptop").await.connect(&lab).await;
    assert_eq!(invite(&link, SOURCE).await, Err(Code::NotServed));
    invite(&link, Invite { role: Role::Monitor, name: "mon", ..SOURCE }).await.expect("made");
}

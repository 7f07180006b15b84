// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every way in which a pairing is refused, and what is left behind: nothing.

use crate::lab::{As, Lab, Machine, PairFailed, files_in};
use adit_link::DialError;
use adit_proto::pairing::Spend;
use adit_proto::token::Token;
use adit_wire::pair::Role;
use adit_wire::refusal::Code;

fn registered(lab: &Lab) -> Vec<String> {
    files_in(&lab.dir.path().join("state/peers"))
}

fn refused(outcome: Result<adit_proto::pairing::Made, PairFailed>) -> Code {
    outcome.expect_err("refused").code().expect("a code")
}

#[tokio::test]
async fn a_token_makes_one_peer() {
    let lab = Lab::start(As::PlainAgent).await;
    let monitor = Machine::new("anything");
    let token = lab.token("monitor", "mon");
    let made = monitor.pair(&lab, &token, Role::Monitor).await.expect("paired");
    assert_eq!((made.role, made.name.as_str()), (Role::Monitor, "box"));
    assert_eq!(made.addresses.first().map(ToString::to_string), Some(lab.address.to_string()));
    assert_eq!(registered(&lab), ["mon.toml"]);
    assert!(monitor.is_let_in(&lab).await);
    assert_eq!(lab.events.count("pairings_total"), 1);
}

#[tokio::test]
async fn without_a_token_the_door_is_shut() {
    let lab = Lab::start(As::PlainAgent).await;
    let token = lab.token("monitor", "mon");
    Machine::new("a").pair(&lab, &token, Role::Monitor).await.expect("paired");
    let outcome = Machine::new("b").pair(&lab, &token, Role::Monitor).await;
    assert!(matches!(outcome, Err(PairFailed::Dial(DialError::PairingClosed))), "{outcome:?}");
}

#[tokio::test]
async fn a_used_token_is_told_to_its_holder_only() {
    let lab = Lab::start(As::PlainAgent).await;
    let (token, _open) = (lab.token("monitor", "mon"), lab.token("monitor", "spare"));
    Machine::new("a").pair(&lab, &token, Role::Monitor).await.expect("paired");
    assert_eq!(refused(Machine::new("b").pair(&lab, &token, Role::Monitor).await), Code::TokenBurnt);
    let mut guess = Spend::of(&token);
    guess.mac_key[0] ^= 1;
    let outcome = Machine::new("c").pair_spending(&lab, &guess, Role::Monitor, |_| {}).await;
    assert_eq!(refused(outcome), Code::TokenUnknown);
    assert_eq!(registered(&lab), ["mon.toml"]);
}

#[tokio::test]
async fn an_unknown_token_and_a_wrong_secret_look_alike() {
    let lab = Lab::start(As::PlainAgent).await;
    let spend = Spend::of(&lab.token("monitor", "mon"));
    let mut unknown = spend;
    unknown.token.0[0] ^= 1;
    let mut wrong = spend;
    wrong.mac_key[31] ^= 0x80;
    for spend in [unknown, wrong] {
        let outcome = Machine::new("a").pair_spending(&lab, &spend, Role::Monitor, |_| {}).await;
        assert_eq!(refused(outcome), Code::TokenUnknown);
    }
    assert_eq!(registered(&lab), Vec::<String>::new());
    assert_eq!(lab.events.count("pairings_refused_total"), 2);
}

#[tokio::test]
async fn a_changed_byte_anywhere_is_refused() {
    let lab = Lab::start(As::PlainAgent).await;
    for index in [0, 8, 9, 12, 40] {
        let token = lab.token("monitor", &format!("mon{index}"));
        let (machine, spend) = (Machine::new("a"), Spend::of(&token));
        let outcome = machine.pair_spending(&lab, &spend, Role::Monitor, |body| body[index] ^= 1).await;
        let code = refused(outcome);
        assert!([Code::TokenUnknown, Code::Protocol].contains(&code), "byte {index}: {code:?}");
    }
    assert_eq!(registered(&lab), Vec::<String>::new());
}

#[tokio::test]
async fn ten_wrong_tries_lock_a_token() {
    let lab = Lab::start(As::PlainAgent).await;
    let token = lab.token("monitor", "mon");
    let mut wrong = Spend::of(&token);
    wrong.mac_key[0] ^= 1;
    for _ in 0..10 {
        let outcome = Machine::new("a").pair_spending(&lab, &wrong, Role::Monitor, |_| {}).await;
        assert_eq!(refused(outcome), Code::TokenUnknown);
    }
    assert_eq!(refused(Machine::new("a").pair(&lab, &token, Role::Monitor).await), Code::TokenLocked);
    assert_eq!(registered(&lab), Vec::<String>::new());
}

#[tokio::test]
async fn a_proof_seen_on_one_connection_opens_no_other() {
    let lab = Lab::start(As::PlainAgent).await;
    let spend = Spend::of(&lab.token("monitor", "mon"));
    let mut seen = Vec::new();
    let (a, b) = (Machine::new("a"), Machine::new("b"));
    let first = a.pair_spending(&lab, &spend, Role::Monitor, |body| {
        seen.clone_from(body);
        *body.last_mut().expect("a byte") ^= 1;
    });
    assert_eq!(refused(first.await), Code::TokenUnknown);
    let replayed = b.pair_spending(&lab, &spend, Role::Monitor, |body| *body = seen);
    assert_eq!(refused(replayed.await), Code::TokenUnknown);
    assert_eq!(registered(&lab), Vec::<String>::new());
}

#[tokio::test]
async fn role_name_and_key_are_checked() {
    let lab = Lab::start(As::PlainAgent).await;
    let monitor = lab.paired(Role::Monitor, "mon").await;
    let token = lab.token("admin", "laptop");
    assert_eq!(refused(Machine::new("a").pair(&lab, &token, Role::Monitor).await), Code::TokenRole);
    assert_eq!(refused(monitor.pair(&lab, &token, Role::Admin).await), Code::KeyKnown);
    // The name is taken between the making of the token and its use.
    let late = lab.token("admin", "late");
    lab.paired(Role::Admin, "laptop2").await;
    let (from, to) = ("state/peers/laptop2.toml", "state/peers/late.toml");
    std::fs::rename(lab.dir.path().join(from), lab.dir.path().join(to)).expect("renamed");
    crate::lab::until("the change is seen", || lab.events.count("peers_changed_total") >= 3).await;
    assert_eq!(refused(Machine::new("b").pair(&lab, &late, Role::Admin).await), Code::NameTaken);
    assert_eq!(registered(&lab), ["late.toml", "mon.toml"]);
}

#[tokio::test]
async fn another_agents_token_opens_nothing_here() {
    let (lab, other) = (Lab::start(As::PlainAgent).await, Lab::start(As::PlainAgent).await);
    let (foreign, _open) = (other.token("monitor", "mon"), lab.token("monitor", "spare"));
    assert_eq!(refused(Machine::new("a").pair(&lab, &foreign, Role::Monitor).await), Code::TokenUnknown);
    // Dialled as the token says, the machine at this address has another key.
    let machine = Machine::new("b");
    let outcome = machine.dial(lab.address, foreign.maker, adit_link::Door::Pair).await;
    assert!(outcome.is_err());
}

#[tokio::test]
async fn a_token_ends_with_its_lifetime() {
    let lab = Lab::start(As::PlainAgent).await;
    let token = lab.token_with(&["--role", "monitor", "--name", "mon", "--lifetime", "15m"]);
    // The deadline passes: the file says so from now on.
    let path = lab.dir.path().join(format!("state/tokens/{}.toml", token.id()));
    let text = std::fs::read_to_string(&path).expect("read");
    let lines: Vec<&str> =
        text.lines().map(|line| if line.starts_with("deadline") { "deadline_boot_ms = 1" } else { line }).collect();
    std::fs::write(&path, lines.join("\n")).expect("written");
    let outcome = Machine::new("a").pair(&lab, &token, Role::Monitor).await;
    assert!(matches!(outcome, Err(PairFailed::Dial(DialError::PairingClosed))), "{outcome:?}");
    let _open = lab.token("monitor", "spare");
    assert_eq!(refused(Machine::new("a").pair(&lab, &token, Role::Monitor).await), Code::TokenExpired);
    // So does a token of another boot.
    let token = lab.token("monitor", "mon");
    let path = lab.dir.path().join(format!("state/tokens/{}.toml", token.id()));
    let text = std::fs::read_to_string(&path).expect("read");
    let lines: Vec<&str> =
        text.lines().map(|line| if line.starts_with("boot ") { "boot = \"another\"" } else { line }).collect();
    std::fs::write(&path, lines.join("\n")).expect("written");
    assert_eq!(refused(Machine::new("a").pair(&lab, &token, Role::Monitor).await), Code::TokenExpired);
    assert_eq!(registered(&lab), Vec::<String>::new());
}

#[tokio::test]
async fn a_source_needs_a_store() {
    let lab = Lab::start(As::PlainAgent).await;
    let run = crate::lab::aditd(&[
        "token",
        "--config",
        lab.config_path().to_str().expect("UTF-8"),
        "--role",
        "source",
        "--name",
        "web1",
    ]);
    assert_eq!(run.code, 2);
    assert_eq!(
        run.stderr,
        "aditd: this machine keeps no store, so no source can pair with it\n  write [box] store = \"DIR\" into the configuration first\n"
    );
}

#[tokio::test]
async fn a_source_comes_back_with_a_token_that_says_so() {
    let lab = Lab::start(As::Box).await;
    let web = lab.paired(Role::Source, "web1").await;
    // The same source from a new machine: its token must name it.
    let again = Machine { identity: adit_link::Identity::generate(), ..web.clone() };
    let plain = lab.token("source", "web2");
    assert_eq!(refused(again.pair(&lab, &plain, Role::Source).await), Code::SourceKnown);
    let rejoin: Token = lab.token_with(&["--role", "source", "--rejoin", "web1"]);
    // A token for the return of one source makes no other.
    assert_eq!(refused(Machine::new("x").pair(&lab, &rejoin, Role::Source).await), Code::SourceKnown);
    again.pair(&lab, &rejoin, Role::Source).await.expect("back");
    assert!(again.is_let_in(&lab).await && !web.is_let_in(&lab).await);
    assert_eq!(registered(&lab), ["web1.toml"]);
}

#[tokio::test]
async fn a_restart_knows_the_peers() {
    let mut lab = Lab::start(As::PlainAgent).await;
    let monitor = lab.paired(Role::Monitor, "mon").await;
    let key = lab.key;
    lab.restart().await;
    assert_eq!(lab.key, key);
    assert!(monitor.is_let_in(&lab).await);
}

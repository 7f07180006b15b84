// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Agents join both ways, are polled both ways, and come and go while the monitor runs.

use crate::lab::{Agent, Lab, report, run};
use adit_link::{About, DialError};
use adit_peers::joining::{JoinError, join};
use adit_proto::token::Token;
use adit_wire::health::codes::Verdict;
use std::time::Duration;

#[tokio::test]
async fn an_agent_that_is_dialled_is_polled_and_its_words_are_kept() {
    let lab = Lab::start("").await;
    let agent = Agent::new();
    let (address, serving) = agent.listen(lab.key).await;
    lab.add_agent("cellar", agent.identity.public_key(), Some(address));
    let view =
        lab.until("a report", |view| view.fleet.hosts.get("cellar").is_some_and(|host| host.report.is_some())).await;
    let host = &view.fleet.hosts["cellar"];
    assert!(host.connected && host.trouble.is_empty());
    let label = &host.report.as_ref().expect("there").components[0].label;
    assert!(!label.contains('\u{1b}'), "control characters are not kept: {label:?}");

    // The agent goes; its last words stay, over a restart of the monitor too.
    serving.abort();
    let dir = lab.stop().await;
    let lab = Lab::start_in(dir, "").await;
    let view = lab.until("the agent is missed", |view| view.fleet.hosts["cellar"].misses > 0).await;
    let host = &view.fleet.hosts["cellar"];
    assert!(host.report.is_some() && host.heard_t.is_some() && !host.connected, "{host:?}");
    lab.stop().await;
}

#[tokio::test]
async fn a_token_joins_an_agent_that_dials_in_and_revoking_cuts_it() {
    let lab = Lab::start("").await;
    let config = lab.dir.path().join("adit-monitor.toml");
    let (code, tokens, words) = run(config.clone(), &["token", "--count", "3"]).await;
    assert_eq!((code, tokens.lines().count()), (0, 3), "{words}");
    let token = Token::parse(tokens.lines().next().expect("a token")).expect("a token");
    let agent = Agent::new();
    // The door opens when the monitor sees the token.
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let made = loop {
        tick.tick().await;
        match join(&token, &agent.identity, "web1", &About::default()).await {
            Err(JoinError::Dial(DialError::PairingClosed)) => {}
            joined => break joined.expect("joined"),
        }
    };
    assert_eq!((made.name.as_str(), made.addresses.len()), ("mon", 1));
    let again = join(&token, &Agent::new().identity, "web2", &About::default()).await;
    assert!(again.is_err(), "a token is spent once");

    lab.until("the agent", |view| view.fleet.hosts.contains_key("web1")).await;
    let link = agent.dial(lab.key, lab.address.expect("listens")).await;
    let closer = link.closer();
    let serving = tokio::spawn({
        let agent = agent.clone();
        async move { agent.serve(link).await }
    });
    let view = lab.until("a report", |view| view.fleet.hosts["web1"].report.is_some()).await;
    assert_eq!(view.fleet.hosts["web1"].software, "agent 1");
    let (code, shown, _) = run(config.clone(), &["status"]).await;
    assert_eq!(code, 0);
    assert!(shown.starts_with("ok        web1"), "{shown}");

    let (code, _, words) = run(config, &["agents", "revoke", "web1"]).await;
    assert_eq!(code, 0, "{words}");
    tokio::time::timeout(crate::lab::WITHIN, closer.closed()).await.expect("cut");
    lab.until("it is forgotten", |view| view.fleet.hosts.is_empty()).await;
    serving.await.expect("ended");
    lab.stop().await;
}

#[tokio::test]
async fn an_agent_of_the_configuration_needs_no_file() {
    let agent = Agent::new();
    let more = format!("[[agent]]\nname = \"vm7\"\nkey = \"{}\"\nsite = \"berlin\"\n", agent.identity.public_key());
    let lab = Lab::start(&more).await;
    let link = agent.dial(lab.key, lab.address.expect("listens")).await;
    let serving = tokio::spawn({
        let agent = agent.clone();
        async move { agent.serve(link).await }
    });
    let view = lab.until("a report", |view| view.fleet.hosts["vm7"].report.is_some()).await;
    assert_eq!(view.fleet.hosts["vm7"].site, "berlin");
    agent.reports(&report(Verdict::Critical));
    lab.until("an incident", |view| view.verdict_of("vm7") == Verdict::Critical).await;
    lab.stop().await;
    serving.await.expect("ended");
}

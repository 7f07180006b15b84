// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is one message.

use super::*;
use crate::alerts::Subject;

fn notice(host: &str, topic: &str, occasion: Occasion, t: u64) -> Notice {
    let subject = Subject { host: host.to_owned(), component: "c".to_owned(), topic: topic.to_owned() };
    Notice { occasion, subject, verdict: Verdict::Critical, text: format!("{topic} is not well"), since_t: t, t }
}

fn site(host: &str) -> String {
    if host.starts_with("web") { "berlin".to_owned() } else { String::new() }
}

#[test]
fn a_site_that_goes_dark_is_one_message() {
    let mut outbox = Outbox::default();
    for number in 0..50u64 {
        outbox.add(vec![notice(&format!("web{number}"), "host.seen", Occasion::Problem, 100 + number)]);
        assert_eq!(outbox.due(100 + number, 0, 60, &site), [], "they are still coming");
    }
    let messages = outbox.due(160, 7, 60, &site);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].title, "CRITICAL 50 hosts at berlin are silent");
    assert_eq!((messages[0].lines.len(), messages[0].hosts.len()), (LINES_MAX + 1, 50));
    assert!(outbox.is_empty());
}

#[test]
fn one_silent_host_is_named_and_others_do_not_wait_for_it() {
    let mut outbox = Outbox::default();
    outbox.add(vec![
        notice("web1", "host.seen", Occasion::Problem, 100),
        notice("box", "host.seen", Occasion::Problem, 130),
        notice("web2", "md.state", Occasion::Problem, 100),
    ]);
    let titles = |messages: Vec<Message>| messages.into_iter().map(|message| message.title).collect::<Vec<_>>();
    assert_eq!(titles(outbox.due(105, 0, 60, &site)), ["CRITICAL web2: md.state is not well"]);
    assert_eq!(titles(outbox.due(160, 0, 60, &site)), ["CRITICAL web1: host.seen is not well"]);
    assert_eq!(titles(outbox.due(190, 0, 60, &site)), ["CRITICAL box: host.seen is not well"]);
}

#[test]
fn everything_of_a_host_is_one_message_with_the_cause_first() {
    let notices = vec![
        notice("box", "fs.space", Occasion::Problem, 1),
        notice("box", "md.state", Occasion::Problem, 1),
        notice("box", "disk.present", Occasion::Problem, 1),
        notice("box", "temp", Occasion::Recovery, 1),
    ];
    let messages = messages(notices, 0, &site);
    let titles: Vec<&str> = messages.iter().map(|message| message.title.as_str()).collect();
    assert_eq!(titles, ["CRITICAL box: disk.present is not well (and 2 more)", "RECOVERED box: temp is not well"]);
}

#[test]
fn a_site_on_battery_is_one_message() {
    let notices = ["web1", "web2"].map(|host| notice(host, "power.line", Occasion::Problem, 1)).to_vec();
    assert_eq!(messages(notices, 0, &site)[0].title, "CRITICAL 2 hosts at berlin run on battery");
}

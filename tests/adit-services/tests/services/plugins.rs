// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Real monitoring plugins.

use crate::Bench;
use adit_ask::plugin::Plugin;
use adit_health::rules;
use adit_services::{HOSTS, Room};
use adit_wire::health::codes::{Check, Reason, Verdict};
use std::time::Duration;

#[test]
fn services_plugins_are_run_and_judged() {
    let room = Room::new("plugins", "plugins", HOSTS, &[]).unwrap();
    let ask = |program: &str, words: &[&str]| {
        let door = room.door(&format!("/usr/lib/nagios/plugins/{program}")).unwrap();
        let mut command = vec![door.display().to_string()];
        command.extend(words.iter().map(|word| (*word).to_owned()));
        let reading = Plugin::new(program, &command, Duration::from_secs(30), None).ask().unwrap();
        let found = Bench::default().look(0, |_| vec![rules::plugin::plugin(&reading)]);
        (reading, found)
    };
    let (load, found) = ask("check_load", &["-w", "10000,10000,10000", "-c", "20000,20000,20000"]);
    assert_eq!(found, [], "{load:?}");
    assert!(load.text.starts_with("LOAD OK - ") && !load.text.contains('|'), "{load:?}");
    let labels: Vec<&str> = load.values.iter().map(|value| value.label.as_str()).collect();
    assert_eq!(labels, ["load1", "load5", "load15"]);
    let first = &load.values[0];
    assert!(first.thousandths >= Some(0) && first.unit.is_empty(), "{first:?}");
    assert_eq!((first.warning.unwrap().to, first.critical.unwrap().to), (Some(10_000_000), Some(20_000_000)));

    let (users, found) = ask("check_procs", &["-c", "0:0"]);
    assert_eq!(found, [(Check::Plugin, Verdict::Critical, Reason::PluginCritical)], "{users:?}");
    for (code, expected) in [
        ("1", (Verdict::Warning, Reason::PluginWarning)),
        ("2", (Verdict::Critical, Reason::PluginCritical)),
        ("3", (Verdict::Unknown, Reason::PluginUnknown)),
    ] {
        let (dummy, found) = ask("check_dummy", &[code, "as it was told"]);
        assert_eq!(found, [(Check::Plugin, expected.0, expected.1)]);
        assert!(dummy.text.ends_with(": as it was told"), "{dummy:?}");
    }
}

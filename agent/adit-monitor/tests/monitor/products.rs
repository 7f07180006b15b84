// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The files that the package brings for other programs name metrics, options and places that there are.

use adit_monitor::cli::Cli;
use adit_monitor::config::{Config, SOCKET_DEFAULT};
use clap::CommandFactory as _;
use std::collections::BTreeSet;
use std::path::Path;

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images/packages").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names that begin with adit_ and are no label of a rule.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("adit_")).map(ToOwned::to_owned).collect()
}

fn known() -> BTreeSet<String> {
    adit_monitor::http::metrics::names().into_iter().collect()
}

#[test]
fn the_dashboard_shows_metrics_that_there_are() {
    let text = file("monitoring/grafana-dashboard.json");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    assert!(panels.len() >= 6);
    for panel in panels {
        let asked = metrics(panel["targets"][0]["expr"].as_str().expect("a query"));
        assert!(!asked.is_empty() && asked.is_subset(&known()), "{}: {asked:?}", panel["title"]);
    }
}

#[test]
fn the_rules_ask_for_metrics_that_there_are() {
    let text = file("monitoring/prometheus.rules.yml");
    let queries: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    let alerts = text.lines().filter(|line| line.trim().starts_with("- alert: ")).count();
    assert!(alerts >= 5 && queries.len() == alerts, "{text}");
    for query in queries {
        let asked = metrics(query);
        assert!(!asked.is_empty() && asked.is_subset(&known()), "{query}");
    }
}

#[test]
fn icinga_calls_options_that_there_are() {
    let text = file("monitoring/icinga2.conf");
    assert!(text.contains(&format!("vars.adit_socket = \"{SOCKET_DEFAULT}\"")), "{text}");
    let command = Cli::command();
    let check = command.find_subcommand("check").expect("there");
    for option in
        text.lines().filter_map(|line| line.trim().strip_prefix('"')?.split_once("\" = {")).map(|(option, _)| option)
    {
        let known = check.get_arguments().any(|known| {
            known.get_short().is_some_and(|short| option == format!("-{short}"))
                || known.get_long().is_some_and(|long| option == format!("--{long}"))
        });
        assert!(known, "{option}");
    }
    let braces = |c: char| text.matches(c).count();
    assert_eq!((braces('{'), braces('(')), (braces('}'), braces(')')));
}

#[test]
fn the_example_configuration_is_right_with_and_without_its_comments() {
    let text = file("etc/adit-monitor.toml");
    assert!(Config::parse(&text).expect("valid").listen.is_some());
    let lines =
        text.lines().skip(2).map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line));
    let config = Config::parse(&lines.collect::<Vec<_>>().join("\n")).expect("valid with everything");
    assert_eq!((config.agents.len(), config.channels.len()), (1, 1));
}

/// The help of the program and of every command, as people read it.
#[test]
fn the_help_is_as_it_was_agreed() {
    let mut command = Cli::command();
    let mut texts = vec![command.render_long_help().to_string()];
    for command in command.get_subcommands_mut() {
        let name = command.get_name().to_owned();
        texts.push(format!("$ adit-monitor {name} --help\n{}", command.render_long_help()));
    }
    let text = texts.join("\n");
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Health as a person and as Icinga ask for it: this machine's agent over its socket, the box over the link.

use adit_contract::lab::{Lab, program, run};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

const EXIT_UNREACHABLE: i32 = 4;
const PLUGIN_UNKNOWN: i32 = 3;

#[test]
fn health_is_asked_here_and_at_the_box() {
    let lab = Lab::new();
    let socket = lab.path("health.sock");
    let mut lab_box = lab.new_box("cellar");
    let config = fs::read_to_string(&lab_box.config).unwrap();
    fs::write(&lab_box.config, format!("{config}\n[health]\nsocket = {socket:?}\n")).unwrap();

    let socket = socket.to_str().unwrap();
    let nobody = run("adit", ["health", "--socket", socket]);
    assert_eq!(nobody.code, EXIT_UNREACHABLE);
    assert!(
        nobody.stderr.contains("no agent answers at") && nobody.stderr.contains("systemctl start aditd"),
        "{nobody:?}"
    );

    lab_box.start();
    let here = run("adit", ["health", "--socket", socket, "--all"]).succeeded();
    assert!(here.stdout.contains("host ") && here.stdout.contains("memory available"), "{}", here.stdout);
    let json = run("adit", ["health", "--socket", socket, "--json"]).succeeded().json();
    assert!(json["components"].as_array().unwrap().iter().any(|component| component["kind"] == "store"), "{json}");

    let (_, public) = lab.recovery_key("admin");
    let source = lab.source("web1");
    source.set_up(&lab_box, "web1", &[&public]);
    let asked = source.adit(["health", "box", "--json"]).succeeded().json();
    assert_eq!(asked["host"], json["host"], "the box is this machine");
    let other = source.adit(["health", "attic"]);
    assert_eq!(other.code, 2);
    assert!(other.stderr.contains("\"attic\" is not paired with this machine"), "{}", other.stderr);
}

#[test]
fn check_adit_speaks_as_plugins_do() {
    let lab = Lab::new();
    let socket = lab.path("health.sock");
    let plugin = lab.path("check_adit");
    symlink(program("adit"), &plugin).unwrap();
    let check = |args: &[&str]| {
        let output = Command::new(&plugin).arg("--socket").arg(&socket).args(args).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = check(&[]);
    assert_eq!(code, PLUGIN_UNKNOWN);
    assert!(text.starts_with("UNKNOWN - ") && text.contains("no agent answers"), "{text}");

    let mut lab_box = lab.new_box("cellar");
    let config = fs::read_to_string(&lab_box.config).unwrap();
    fs::write(&lab_box.config, format!("{config}\n[health]\nsocket = {socket:?}\n")).unwrap();
    lab_box.start();
    let (code, text) = check(&["-C", "store.damage"]);
    assert_eq!((code, text.starts_with("OK - ")), (0, true), "{text}");
    let (code, text) = check(&["-C", "store.damage", "-c", "memory=:1"]);
    assert_eq!((code, text.starts_with("CRITICAL - ")), (2, true), "{text}");
    assert!(text.contains(" memory is "), "{text}");
    // Numbers stand behind one bar in the first line, and nowhere else.
    let (_, text) = check(&[]);
    let first = text.lines().next().unwrap();
    assert_eq!((first.matches('|').count(), text.matches('|').count()), (1, 1), "{text}");
    let perfdata = first.split_once(" | ").unwrap().1;
    assert!(perfdata.split("' ").count() == 1 && perfdata.matches("'=").count() > 3, "{perfdata}");
    for (args, words) in
        [(&["-w", "warmth=3"][..], "there is no quantity"), (&["-C", "nothing.here"][..], "no such check")]
    {
        let (code, text) = check(args);
        assert!(code == PLUGIN_UNKNOWN && text.contains(words), "{code} {text}");
    }
}

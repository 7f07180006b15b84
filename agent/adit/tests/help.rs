// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The words of the command line, held: help of every command, and what the binary says when the line is wrong.

use std::fmt::Write as _;
use std::process::{Command, Output};

/// Every command's long help at a fixed width.
fn collect(command: &clap::Command, path: &str, text: &mut String) {
    for sub in command.get_subcommands() {
        let path = format!("{path} {}", sub.get_name());
        let mut shown = sub.clone().bin_name(&path).term_width(100);
        write!(text, "$ {path} --help\n{}\n", shown.render_long_help()).expect("a string takes everything");
        collect(sub, &path, text);
    }
}

#[test]
fn help_of_every_command() {
    let mut command = adit::cli::command().term_width(100);
    command.build();
    let mut text = format!("$ adit --help\n{}\n", command.render_long_help());
    collect(&command, "adit", &mut text);
    insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

fn adit(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_adit")).args(arguments).output().expect("the binary was built")
}

/// Exit code and stderr.
fn check(arguments: &[&str], exit: i32, expected: &str) {
    let output = adit(arguments);
    let stderr = String::from_utf8(output.stderr).expect("errors are UTF-8");
    assert_eq!((output.status.code(), stderr.as_str()), (Some(exit), expected), "{arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
}

#[test]
fn check_is_no_command() {
    check(
        &["check"],
        2,
        "adit: did you mean `adit verify` or `check_adit`?\n  next: `adit verify` lets the box check what it stores; \
         `check_adit` is the plugin for a monitoring system\n",
    );
}

#[test]
fn a_directory_that_is_not_set_up() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("none");
    let state = state.to_str().unwrap();
    let expected =
        format!("adit: {state} is not set up\n  next: run `adit --state {state} init --recipient FILE.pub` first\n");
    for command in [&["backup", "/etc"][..], &["status"], &["sheet"], &["request"], &["snapshots"]] {
        check(&[&["--state", state][..], command].concat(), 3, &expected);
    }
}

#[test]
fn a_wrong_line_is_a_usage_error() {
    let output = adit(&["backup", "--perod", "3h", "/etc"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("--period"), "the nearest option is named: {stderr}");
}

/// What a wrong value of an option is told, before anything else is looked at.
fn check_value(arguments: &[&str], expected: &str) {
    let output = adit(arguments);
    let stderr = String::from_utf8(output.stderr).expect("errors are UTF-8");
    assert!(output.status.code() == Some(2) && stderr.contains(expected), "{arguments:?}: {stderr}");
}

#[test]
fn an_address_that_cannot_be_dialled_is_refused_with_words() {
    for (address, expected) in [
        ("192.0.2.1:11713", "is an IPv4 address; adit speaks IPv6 only"),
        ("[192.0.2.1]:11713", "is an IPv4 address; adit speaks IPv6 only"),
        ("[::ffff:192.0.2.1]:11713", "is an IPv4 address; adit speaks IPv6 only"),
        ("[fe80::1]:11713", "say which interface leads to it"),
        ("box.example.org:0", "has no port between 1 and 65535"),
        ("a b:11713", "is neither an IPv6 address nor a name"),
        ("", "is neither an IPv6 address nor a name"),
    ] {
        check_value(&["pair", "--address", address, "adit1x"], expected);
    }
    // These can be: the token is looked at next.
    for address in ["box.example.org:11713", "[2001:db8::1]:11713", "[fe80::1%1]:11713"] {
        check_value(&["pair", "--address", address, "adit1x"], "copy the whole line that `aditd token` printed");
    }
}

#[test]
fn a_token_that_no_box_makes_is_not_asked_for() {
    let token = ["box", "token", "--name", "web1"];
    for lifetime in ["0s", "15d", "99999999999d"] {
        check_value(&[&token[..], &["--lifetime", lifetime]].concat(), "a token lives for 1s to 14d");
    }
    check_value(&[&token[..], &["--lifetime", "1w"]].concat(), "is no duration");
    check_value(&[&token[..], &["--role", "admin"]].concat(), "source, monitor, replica");
    check_value(&[&token[..], &["--role", "monitor", "--rejoin"]].concat(), "--rejoin brings a source back");
}

/// From keys to a set-up source, without a box.
#[test]
fn keygen_init_request_certify_install() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let ok = |arguments: &[&str]| {
        let output = adit(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let (file, public, state) = (path("r.key"), path("r.pub"), path("state"));
    let printed = ok(&["keygen", "--recovery-file", &file, "--public", &public]);
    assert!(printed.is_empty(), "no terminal, no --words: the words stay secret");
    let again = adit(&["keygen", "--recovery-file", &file, "--public", &public]);
    assert_eq!(again.status.code(), Some(8), "a recovery key is never overwritten");
    ok(&["--state", &state, "init", "--name", "web1", "--recipient", &public]);
    check(
        &["--state", &state, "backup", "/etc/hostname"],
        3,
        &format!(
            "adit: this machine is not paired with a box\n  next: make a token on the box (`aditd token --role source \
             --name NAME`), then `adit --state {state} pair TOKEN`\n"
        ),
    );
    std::fs::write(path("request"), ok(&["--state", &state, "request"])).unwrap();
    let certificates = ok(&["certify", "--recovery-file", &file, &path("request")]);
    std::fs::write(path("certificates"), certificates).unwrap();
    ok(&["--state", &state, "certificate", "install", &path("certificates")]);
    assert!(ok(&["--state", &state, "certificate", "show"]).starts_with("adit-certificate-1:"));
    let status: serde_json::Value = serde_json::from_str(&ok(&["--state", &state, "status", "--json"])).unwrap();
    assert_eq!(status["certified"], true);
    assert_eq!(status["runs"][0]["exit"], 3, "a run that failed leaves its record");
    let words = ok(&["keygen", "--recovery-file", &path("2"), "--public", &path("2.pub"), "--words"]);
    assert!(words.contains(" 24. "), "{words}");
}

/// /dev/full is a disk without a free byte.
#[test]
fn a_full_disk_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_adit"))
        .arg("--state")
        .arg(dir.path())
        .arg("id")
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(8));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "adit: could not write to standard output: the disk is full\n  next: free some space there and run the command \
         again; the box lost nothing\n"
    );
}

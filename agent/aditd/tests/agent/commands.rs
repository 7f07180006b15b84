// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a person meets on the command line: every failure is a sentence with the next step, and an exit code.

use crate::lab::{As, Lab, aditd};
use std::path::Path;

/// Runs `aditd --config FILE ARGS` over a configuration text; answers exit code and what stands on standard error, with
/// the directory's name replaced by DIR.
fn run_with(dir: &Path, text: &str, args: &[&str]) -> (i32, String) {
    let config = dir.join("aditd.toml");
    std::fs::write(&config, text).expect("written");
    let run = aditd(&[&["--config", config.to_str().expect("UTF-8")], args].concat());
    (run.code, run.stderr.replace(dir.to_str().expect("UTF-8"), "DIR"))
}

#[test]
fn a_wrong_configuration() {
    let dir = tempfile::tempdir().expect("directory");
    let check = |text: &str, expected: &str| {
        assert_eq!(run_with(dir.path(), text, &["--check"]), (2, expected.to_owned()), "{text}");
    };
    check("lisen = 1", "aditd: DIR/aditd.toml: unknown key `lisen`; did you mean `listen`?\n");
    check(
        "listen = \"10.0.0.1:7\"",
        "aditd: DIR/aditd.toml: `listen` names the IPv4 address 10.0.0.1:7; adit speaks IPv6 only, because home boxes are reached by IPv6 without port forwarding: use an IPv6 address such as [::]:11713\n",
    );
    let run = aditd(&["--config", "/nonexistent/aditd.toml"]);
    assert_eq!(run.code, 2);
    assert_eq!(
        run.stderr,
        "aditd: there is no configuration /nonexistent/aditd.toml\n  name one by --config FILE; a box needs: listen = \"[::]:11713\", state = \"/var/lib/adit\", [box] store = \"/srv/adit\"\n"
    );
}

#[test]
fn help_is_what_the_golden_file_says() {
    let mut help = String::new();
    for args in [
        &["--help"][..],
        &["token", "--help"],
        &["pair", "--help"],
        &["peers", "--help"],
        &["verify", "--help"],
        &["forget", "--help"],
    ] {
        let run = aditd(args);
        assert_eq!(run.code, 0, "{}", run.stderr);
        help += &["$ aditd ", &args.join(" "), "\n", &run.stdout, "\n"].concat();
    }
    let golden = include_str!("help.txt").split_once("\n\n").expect("a licence line first").1;
    assert!(help == golden, "the help is now:\n{help}");
}

#[test]
fn a_valid_configuration_is_shown_resolved() {
    let dir = tempfile::tempdir().expect("directory");
    let config = dir.path().join("aditd.toml");
    std::fs::write(&config, "listen = \"[::]\"\nname = \"cellar\"\n[box]\nstore = \"/srv/adit\"\n").expect("written");
    let run = aditd(&["--check", "--config", config.to_str().expect("UTF-8")]);
    let expected = format!(
        "{} is valid\nlisten  [::]:11713\nstate   /var/lib/adit\nname    cellar\nstore   /srv/adit\nbackups /var/lib/adit-source\n",
        config.display()
    );
    assert_eq!((run.code, run.stdout), (0, expected));
}

#[test]
fn a_store_that_cannot_be_used() {
    let dir = tempfile::tempdir().expect("directory");
    let (state, store) = (dir.path().join("state"), dir.path().join("store"));
    let text = format!("listen = \"[::1]:0\"\nstate = {state:?}\n[box]\nstore = {store:?}\n");
    std::fs::create_dir(&store).expect("made");
    std::fs::write(store.join("holiday.jpg"), "").expect("written");
    assert_eq!(
        run_with(dir.path(), &text, &[]),
        (
            8,
            "aditd: open the store in DIR/store: the directory holds other things and no store\n  name an empty or absent directory by `store` in [box], for example DIR/store/adit\n".to_owned()
        )
    );
    assert_eq!(
        run_with(dir.path(), &text, &["verify"]),
        (
            8,
            "aditd: open the store in DIR/store: there is none\n  name the directory that holds store.adt\n".to_owned()
        )
    );
}

#[test]
fn a_store_from_a_newer_version() {
    let dir = tempfile::tempdir().expect("directory");
    let (state, store) = (dir.path().join("state"), dir.path().join("store"));
    let (opened, _) = aditd::open_store::open(&store, aditd::open_store::Mode::Box).expect("made");
    opened.close(aditd::clock::moment()).expect("closed");
    for name in ["store.adt", "store.bak"] {
        let mut superblock = std::fs::read(store.join(name)).expect("read");
        // A feature bit that this program can't know; agent/FORMAT.md has the offsets.
        superblock[28 + 5] |= 1;
        let hash = blake3::hash(&superblock[..4_064]);
        superblock[4_064..].copy_from_slice(hash.as_bytes());
        std::fs::write(store.join(name), superblock).expect("written");
    }
    let text = format!("listen = \"[::1]:0\"\nstate = {state:?}\n[box]\nstore = {store:?}\n");
    assert_eq!(
        run_with(dir.path(), &text, &[]),
        (
            8,
            "aditd: open the store in DIR/store: this store was written by a newer adit (feature bits 0x10000000000, this program knows none); install that version or a newer one to open it\n  nothing in it was changed\n".to_owned()
        )
    );
}

#[tokio::test]
async fn a_second_agent_is_told_of_the_first() {
    let lab = Lab::start(As::Box).await;
    let config = lab.config_path();
    let config = config.to_str().expect("UTF-8");
    let run = aditd(&["--config", config]);
    assert_eq!(run.code, 8);
    assert!(
        run.stderr.ends_with(
            "another program runs on this state directory\n  stop it first: systemctl stop aditd, or adit-monitor\n"
        ),
        "{}",
        run.stderr
    );
    // Verifying needs the store for itself.
    let run = aditd(&["verify", "--config", config]);
    assert_eq!(run.code, 8, "{}", run.stderr);
    assert!(run.stderr.contains("stop it first"), "{}", run.stderr);
}

#[tokio::test]
async fn id_is_the_key_that_peers_pin() {
    let lab = Lab::start(As::PlainAgent).await;
    let run = aditd(&["id", "--config", lab.config_path().to_str().expect("UTF-8")]);
    assert_eq!((run.code, run.stdout), (0, format!("{}\n", lab.key)));
}

#[tokio::test]
async fn tokens_by_number() {
    let lab = Lab::start(As::PlainAgent).await;
    let config = lab.config_path();
    let config = config.to_str().expect("UTF-8");
    let run = aditd(&["token", "--config", config, "--role", "monitor", "--name", "m", "--count", "3"]);
    assert_eq!((run.code, run.stdout.lines().count()), (0, 3), "{}", run.stderr);
    let run = aditd(&["token", "--config", config, "--role", "admin", "--name", "laptop", "--json"]);
    let object: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!((object["role"].as_str(), object["lifetime_s"].as_u64()), (Some("admin"), Some(900)));
    let run = aditd(&["token", "--config", config, "--role", "admin", "--name", "a b"]);
    assert_eq!(run.code, 2);
    assert_eq!(
        run.stderr,
        "aditd: --name a b: a name has 1 to 63 letters, digits, dots, dashes or underscores and begins with a letter or digit\n"
    );
}

#[test]
fn a_verified_store_is_clean_and_the_bytes_of_an_empty_one_are_few() {
    let dir = tempfile::tempdir().expect("directory");
    let store = dir.path().join("store");
    let (opened, _) = aditd::open_store::open(&store, aditd::open_store::Mode::Box).expect("made");
    opened.close(aditd::clock::moment()).expect("closed");
    let run = aditd(&["verify", "--store", store.to_str().expect("UTF-8")]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.ends_with("0 records damaged\n"), "{}", run.stdout);
}

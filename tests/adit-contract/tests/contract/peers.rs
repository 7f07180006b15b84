// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Peers: tokens that are wrong, used, expired; machines that are revoked, adopted, cloned.

use adit_contract::lab::{Lab, run};
use adit_contract::tree::{make_small, noise};
use std::ffi::OsString;
use std::fs;
use std::process::Command;

const EXIT_NOT_PAIRED: i32 = 3;
const EXIT_UNREACHABLE: i32 = 4;
const EXIT_REFUSED: i32 = 5;

#[test]
fn tokens_work_once_and_only_for_their_role() {
    let lab = Lab::new();
    let mut lab_box = lab.new_box("box");
    lab_box.start();
    let (_, public) = lab.recovery_key("admin");
    let source = |name: &str| {
        let source = lab.source(name);
        source
            .adit(["init".as_ref(), "--name".as_ref(), name.as_ref(), "--recipient".as_ref(), public.as_os_str()])
            .succeeded();
        source
    };
    let token = lab_box.token("source", "web1");
    source("web1").adit(["pair", &token]).succeeded();
    // Again from the paired machine: nothing to do. From another: the token is spent, which is told while the door for
    // pairing is open: while some other token waits.
    let _waiting = lab_box.token("source", "later");
    lab.source("web1").adit(["pair", &token]).succeeded();
    let second = source("web2").adit(["pair", &token]);
    assert_eq!(second.code, EXIT_REFUSED, "{}", second.stderr);
    assert!(second.stderr.contains("used before"), "{}", second.stderr);
    // Another box's token, with this box's address: the key does not match.
    let mut other = lab.new_box("other");
    other.start();
    let foreign = other.token("source", "web3");
    other.kill();
    let third = source("web3").adit(["pair", &foreign]);
    assert_eq!(third.code, EXIT_UNREACHABLE, "{}", third.stderr);
    // A token for another role.
    let role = source("web4").adit(["pair", &lab_box.token("monitor", "mon")]);
    assert_eq!(role.code, EXIT_REFUSED, "{}", role.stderr);
    // A typing error is told as such, before anything is dialled.
    let mut typo = lab_box.token("source", "web5");
    let last = if typo.ends_with('q') { "p" } else { "q" };
    typo.replace_range(typo.len() - 1.., last);
    let typed = source("web5").adit(["pair", &typo]);
    assert_eq!(typed.code, 2, "{}", typed.stderr);
    let listed =
        run("aditd", [OsString::from("peers"), "list".into(), "--config".into(), lab_box.config.clone().into()]);
    assert!(listed.stdout.contains("web1") && !listed.stdout.contains("web2"), "{}", listed.stdout);
}

#[test]
fn revoked_source_is_refused_and_its_history_stays() {
    let lab = Lab::new();
    let mut lab_box = lab.new_box("box");
    lab_box.start();
    let (file, public) = lab.recovery_key("admin");
    let data = lab.path("data");
    make_small(&data, 200, 7).unwrap();
    let source = lab.source("source");
    source.set_up(&lab_box, "web1", &[&public]);
    source.backup(&[&data]);
    let sheet = source.adit(["sheet"]).succeeded().stdout;
    run(
        "aditd",
        [OsString::from("peers"), "revoke".into(), "web1".into(), "--config".into(), lab_box.config.clone().into()],
    )
    .succeeded();
    std::thread::park_timeout(std::time::Duration::from_secs(5));
    let refused = source.adit(["backup".as_ref(), "--patience".as_ref(), "5s".as_ref(), data.as_os_str()]);
    assert!([EXIT_NOT_PAIRED, EXIT_REFUSED].contains(&refused.code), "{}: {}", refused.code, refused.stderr);
    let words: Vec<&str> = sheet.split_whitespace().collect();
    let after = |option: &str| words[words.iter().position(|word| *word == option).unwrap() + 1].to_owned();
    let list = run(
        "adit",
        [
            "recover".as_ref(),
            "--box".as_ref(),
            after("--box").as_ref(),
            "--box-key".as_ref(),
            after("--box-key").as_ref(),
            "--recovery-file".as_ref(),
            file.as_os_str(),
            "--list".as_ref(),
        ],
    )
    .succeeded();
    assert!(list.stdout.contains("web1"), "{}", list.stdout);
}

#[test]
fn adopted_source_refuses_the_old_machine() {
    let lab = Lab::new();
    let mut lab_box = lab.new_box("box");
    lab_box.start();
    let (file, public) = lab.recovery_key("admin");
    let data = lab.path("data");
    make_small(&data, 200, 8).unwrap();
    let old = lab.source("old");
    old.set_up(&lab_box, "web1", &[&public]);
    old.backup(&[&data]);
    let sheet = old.adit(["sheet"]).succeeded().stdout;
    let words: Vec<&str> = sheet.split_whitespace().collect();
    let after = |option: &str| words[words.iter().position(|word| *word == option).unwrap() + 1].to_owned();
    let (address, key, to) = (after("--box"), after("--box-key"), lab.path("to"));
    let new = lab.source("new");
    let mut args: Vec<OsString> =
        ["recover", "--box", &address, "--box-key", &key, "--source", "web1", "--adopt"].map(OsString::from).to_vec();
    args.extend([OsString::from("--recovery-file"), file.into(), "--to".into(), to.into()]);
    new.adit(args).succeeded();
    new.backup(&[&data]);
    let refused = old.adit(["backup".as_ref(), "--patience".as_ref(), "5s".as_ref(), data.as_os_str()]);
    assert!([EXIT_NOT_PAIRED, EXIT_REFUSED].contains(&refused.code), "{}: {}", refused.code, refused.stderr);
}

#[test]
fn cloned_machine_is_caught_at_commit() {
    let lab = Lab::new();
    let mut lab_box = lab.new_box("box");
    lab_box.start();
    let (_, public) = lab.recovery_key("admin");
    let data = lab.path("data");
    make_small(&data, 100, 9).unwrap();
    let source = lab.source("source");
    source.set_up(&lab_box, "web1", &[&public]);
    source.backup(&[&data]);
    let clone = lab.source("clone");
    let copied = Command::new("cp").arg("-a").arg(&source.state).arg(&clone.state).status().unwrap();
    assert!(copied.success());
    fs::write(data.join("new"), noise(1_000, 10)).unwrap();
    source.backup(&[&data]);
    let refused = clone.adit(["backup".as_ref(), data.as_os_str()]);
    assert_eq!(refused.code, EXIT_REFUSED, "{}", refused.stderr);
    assert!(refused.stderr.contains("another machine uses this identity"), "{}", refused.stderr);
}

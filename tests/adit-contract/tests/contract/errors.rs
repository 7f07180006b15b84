// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a person reads when something is wrong: the sentence, the next step and the exit code, held word by word.

use adit_contract::lab::{Lab, Run, Source};
use adit_contract::tree::make_small;
use std::fs::{self, File};
use std::path::Path;

/// Exit code and stderr; what differs from run to run stands in the expectation.
fn check(run: &Run, code: i32, expected: &str) {
    assert_eq!((run.code, run.stderr.trim_end()), (code, expected), "{}", run.command);
}

#[test]
fn sentences_of_a_source_and_its_box() {
    let lab = Lab::new();
    let mut lab_box = lab.new_box("box");
    lab_box.start();
    let (_, public) = lab.recovery_key("admin");
    let (wrong, _) = lab.recovery_key("stranger");
    let data = lab.path("data");
    make_small(&data, 20, 11).unwrap();
    let source = lab.source("source");
    source.set_up(&lab_box, "web1", &[&public]);
    source.backup(&[&data]);
    let name = box_name(&source);
    let to = lab.path("to");
    check(
        &source.adit(["restore", "latest", "--recovery-file", wrong.to_str().unwrap(), "--to", to.to_str().unwrap()]),
        9,
        "adit: this recovery key does not open this source\n  next: use the recovery file or words that were made when \
         the source was set up (the sheet names the source)",
    );
    let lock = File::options().write(true).open(source.state.join("lock")).unwrap();
    lock.lock().unwrap();
    let state = source.state.display().to_string();
    check(
        &source.adit(["backup".as_ref(), data.as_os_str()]),
        10,
        &format!(
            "adit: another adit runs with {state}\n  next: wait until it ends; `adit status` shows how it is doing"
        ),
    );
    drop(lock);
    check(
        &source.adit(["pair", &lab_box.token("source", "again")]),
        0,
        &format!("already paired with the box {name}; the token was not used"),
    );
    let missing = lab.path("nothing");
    check(
        &source.adit(["backup".as_ref(), missing.as_os_str()]),
        8,
        &format!(
            "adit: could not read {}: there is no such file or directory\n  next: check the path",
            missing.display()
        ),
    );
    lab_box.stop();
    check(
        &source.adit(["backup".as_ref(), data.as_os_str()]),
        4,
        &format!(
            "adit: the box {name} is unreachable at {}: the machine answers, but nothing listens on this port\n  next: start \
             aditd on the box, or check the port in its `listen`",
            lab_box.listen
        ),
    );
    fs::remove_file(source.state.join("box.toml")).unwrap();
    check(
        &source.adit(["verify"]),
        3,
        &format!(
            "adit: this machine is not paired with a box\n  next: make a token on the box (`aditd token --role source \
             --name NAME`), then `adit --state {state} pair TOKEN`"
        ),
    );
}

/// What the box calls itself, as the source has pinned it.
fn box_name(source: &Source) -> String {
    let pin = fs::read_to_string(source.state.join("box.toml")).unwrap();
    let name = pin.lines().find_map(|line| line.strip_prefix("name = ")).unwrap();
    name.trim_matches('"').to_owned()
}

#[test]
fn an_expired_token_is_told_with_its_next_step() {
    let lab = Lab::new();
    let mut lab_box = lab.new_box("box");
    lab_box.start();
    let (_, public) = lab.recovery_key("admin");
    let source = lab.source("source");
    source.adit(["init".as_ref(), "--recipient".as_ref(), public.as_os_str()]).succeeded();
    let token = lab_box.token("source", "web1");
    end_lifetimes(&lab_box.state.join("tokens"));
    let next = "make a new token on the box: `aditd token --role source --name NAME`";
    check(
        &source.adit(["pair", &token]),
        5,
        &format!("adit: the box waits for no pairing: the token was used before or has expired\n  next: {next}"),
    );
    // With another token open the box hears the old one out.
    let open = lab_box.token("source", "web2");
    check(
        &source.adit(["pair", &token]),
        5,
        &format!("adit: the box refused: the token has expired; make a new one\n  next: {next}"),
    );
    source.adit(["pair", &open]).succeeded();
}

/// Makes every token in the directory one whose time was over when the machine started.
fn end_lifetimes(tokens: &Path) {
    for entry in fs::read_dir(tokens).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let ended: String = text
            .lines()
            .map(|line| if line.starts_with("deadline_boot_ms") { "deadline_boot_ms = 1" } else { line })
            .flat_map(|line| [line, "\n"])
            .collect();
        assert_ne!(ended, text);
        fs::write(path, ended).unwrap();
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The program itself: killed without a word, it goes on where it was; a signal makes it read its files again.

use crate::lab::{Agent, config, program, report, run};
use adit_wire::health::codes::Verdict;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

fn start(dir: &Path) -> Child {
    let mut command = program();
    command.arg("--config").arg(dir.join("adit-monitor.toml")).stderr(Stdio::null());
    command.spawn().expect("started")
}

/// Asks until the answer is as it must be.
async fn until(dir: &Path, words: &[&str], is: impl Fn(&str) -> bool) -> String {
    let began = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tick.tick().await;
        let (_, said, trouble) = run(dir.join("adit-monitor.toml"), words).await;
        if is(&said) {
            return said;
        }
        assert!(began.elapsed() < crate::lab::WITHIN, "{said}{trouble}");
    }
}

#[tokio::test]
async fn a_killed_monitor_goes_on_and_a_signal_reloads() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path();
    std::fs::write(path.join("adit-monitor.toml"), config(path, "")).expect("written");
    let (_, key, _) = run(path.join("adit-monitor.toml"), &["id"]).await;
    let key =
        adit_peers::peers::unhex(&key).and_then(|bytes| adit_wire::ids::PublicKey::from_slice(&bytes)).expect("a key");
    let agent = Agent::new();
    agent.reports(&report(Verdict::Critical));
    let (address, _serving) = agent.listen(key).await;
    let mut monitor = start(path);
    let agent_of_config =
        format!("[[agent]]\nname = \"cellar\"\nkey = \"{}\"\naddress = [\"{address}\"]\n", agent.identity.public_key());
    until(path, &["status", "--json"], |said| said.contains("\"hosts\":[]")).await;
    std::fs::write(path.join("adit-monitor.toml"), config(path, &agent_of_config)).expect("written");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(monitor.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).expect("told");
    until(path, &["status"], |said| said.starts_with("critical  cellar")).await;
    let (code, _, words) =
        run(path.join("adit-monitor.toml"), &["ack", "cellar", "--reason", "soon", "--by", "me"]).await;
    assert_eq!(code, 0, "{words}");

    monitor.kill().expect("killed");
    monitor.wait().expect("dead");
    let mut monitor = start(path);
    let shown = until(path, &["status"], |said| said.contains("cellar")).await;
    assert!(shown.starts_with("critical  cellar") && shown.contains("(known to me: soon)"), "{shown}");
    monitor.kill().expect("killed");
    monitor.wait().expect("dead");
    let (code, _, words) = run(path.join("adit-monitor.toml"), &["status"]).await;
    assert!(code == 1 && words.contains("no monitor answers"), "{words}");
}

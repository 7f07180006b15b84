// SPDX-License-Identifier: Apache-2.0 OR MIT
//! In network namespaces of their own: a clean machine recovers, and a box whose address disappears is found again.
//! They need root and iproute2; `make test-services` runs them.

use adit_contract::lab::{Lab, program};
use adit_contract::tree::{differences, make_small, noise, restored};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The box's DNS name; each host finds it in its own hosts file.
const NAME: &str = "box.adit.test";

/// Two hosts joined by one cable, IPv6 only; both are gone when this goes.
struct Cable {
    hosts: [String; 2],
}

impl Cable {
    fn new(tag: &str) -> Self {
        let id = std::process::id();
        let hosts = [format!("adit-{tag}-a-{id}"), format!("adit-{tag}-b-{id}")];
        let cable = Self { hosts };
        for host in &cable.hosts {
            ip(["netns", "add", host]);
        }
        let [a, b] = &cable.hosts;
        ip(["-n", a, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b]);
        for (index, host) in cable.hosts.iter().enumerate() {
            for name in ["all", "default", "eth0"] {
                let path = format!("/proc/sys/net/ipv6/conf/{name}/accept_dad");
                cable.run(index, ["sh", "-c", &format!("echo 0 > {path}")]);
            }
            ip(["-n", host, "link", "set", "lo", "up"]);
            ip(["-n", host, "link", "set", "eth0", "up"]);
            ip(["-n", host, "-6", "addr", "add", &format!("fd00:ad17::{}/64", index + 1), "dev", "eth0", "nodad"]);
        }
        cable
    }

    /// Says in both hosts' hosts files where the box is. The file is written in place: `ip netns exec` binds it.
    fn name_box(&self, address: &str) {
        for host in &self.hosts {
            let dir = Path::new("/etc/netns").join(host);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("hosts"), format!("{address} {NAME}\n")).unwrap();
        }
    }

    fn command<S: AsRef<OsStr>>(&self, host: usize, program: S) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.hosts[host]]).arg(program);
        command
    }

    fn run<const N: usize>(&self, host: usize, words: [&str; N]) {
        let status = self.command(host, words[0]).args(&words[1..]).status().unwrap();
        assert!(status.success(), "{words:?}");
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for host in &self.hosts {
            let _gone = Command::new("ip").args(["netns", "del", host]).status().is_ok();
            let _removed = fs::remove_dir_all(Path::new("/etc/netns").join(host)).is_ok();
        }
    }
}

fn ip<const N: usize>(words: [&str; N]) {
    let output = Command::new("ip").args(words).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn netns_box_that_moves_is_found_by_the_same_run() {
    let lab = Lab::new();
    let cable = Cable::new("move");
    cable.name_box("fd00:ad17::1");
    let dir = lab.path("box");
    fs::create_dir_all(&dir).unwrap();
    let config = dir.join("aditd.toml");
    let text =
        format!("listen = \"[::]:11713\"\nstate = {:?}\n\n[box]\nstore = {:?}\n", dir.join("state"), dir.join("store"));
    fs::write(&config, text).unwrap();
    let mut agent =
        cable.command(0, program("aditd")).arg("--config").arg(&config).stdin(Stdio::null()).spawn().unwrap();
    let (file, public) = lab.recovery_key("admin");
    let source = lab.source("source");
    source.adit(["init".as_ref(), "--recipient".as_ref(), public.as_os_str()]).succeeded();
    let token = loop {
        let token = cable
            .command(0, program("aditd"))
            .args(["token", "--role", "source", "--name", "web1", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        if token.status.success() {
            break String::from_utf8(token.stdout).unwrap().trim().to_owned();
        }
        assert!(agent.try_wait().unwrap().is_none(), "{}", String::from_utf8_lossy(&token.stderr));
    };
    let paired =
        cable.command(1, program("adit")).arg("--state").arg(&source.state).args(["pair", &token]).status().unwrap();
    assert!(paired.success());
    let data = lab.path("data");
    fs::create_dir(&data).unwrap();
    for index in 0..8 {
        fs::write(data.join(format!("f{index}")), noise(8 << 20, index)).unwrap();
    }
    // Slow the cable down, so that the address disappears in the middle.
    ip([
        "netns",
        "exec",
        &cable.hosts[1],
        "tc",
        "qdisc",
        "add",
        "dev",
        "eth0",
        "root",
        "tbf",
        "rate",
        "100mbit",
        "burst",
        "64kb",
        "latency",
        "50ms",
    ]);
    let mut run =
        cable.command(1, program("adit")).arg("--state").arg(&source.state).arg("backup").arg(&data).spawn().unwrap();
    std::thread::park_timeout(std::time::Duration::from_secs(2));
    assert!(run.try_wait().unwrap().is_none(), "the run must still be going");
    ip(["-n", &cable.hosts[0], "-6", "addr", "del", "fd00:ad17::1/64", "dev", "eth0"]);
    ip(["-n", &cable.hosts[0], "-6", "addr", "add", "fd00:ad17::77/64", "dev", "eth0", "nodad"]);
    cable.name_box("fd00:ad17::77");
    let status = run.wait().unwrap();
    assert!(status.success(), "{status}");
    let to = lab.path("restored");
    let restore = cable
        .command(1, program("adit"))
        .arg("--state")
        .arg(&source.state)
        .args(["restore", "latest", "--recovery-file"])
        .arg(&file)
        .arg("--to")
        .arg(&to)
        .status()
        .unwrap();
    assert!(restore.success());
    assert_eq!(differences(&data, &restored(&to, &data)).unwrap(), [""; 0]);
    agent.kill().unwrap();
    agent.wait().unwrap();
}

#[test]
fn netns_clean_machine_recovers_from_file_and_sheet() {
    let lab = Lab::new();
    let cable = Cable::new("clean");
    let dir = lab.path("box");
    fs::create_dir_all(&dir).unwrap();
    let config = dir.join("aditd.toml");
    let text = format!(
        "listen = \"[fd00:ad17::1]:11713\"\nstate = {:?}\n\n[box]\nstore = {:?}\n",
        dir.join("state"),
        dir.join("store")
    );
    fs::write(&config, text).unwrap();
    let mut agent =
        cable.command(0, program("aditd")).arg("--config").arg(&config).stdin(Stdio::null()).spawn().unwrap();
    let (file, public) = lab.recovery_key("admin");
    let source = lab.source("source");
    source.adit(["init".as_ref(), "--recipient".as_ref(), public.as_os_str()]).succeeded();
    let token = loop {
        let token = cable
            .command(0, program("aditd"))
            .args(["token", "--role", "source", "--name", "web1", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        if token.status.success() {
            break String::from_utf8(token.stdout).unwrap().trim().to_owned();
        }
        assert!(agent.try_wait().unwrap().is_none(), "{}", String::from_utf8_lossy(&token.stderr));
    };
    let adit = |words: &[&str]| {
        let output = cable.command(1, program("adit")).arg("--state").arg(&source.state).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    adit(&["pair", &token]);
    let data = lab.path("data");
    make_small(&data, 1_000, 11).unwrap();
    adit(&["backup", data.to_str().unwrap()]);
    let sheet = adit(&["sheet"]);
    fs::remove_dir_all(&source.state).unwrap();
    let words: Vec<&str> = sheet.split_whitespace().collect();
    let after = |option: &str| words[words.iter().position(|word| *word == option).unwrap() + 1];
    let to = lab.path("recovered");
    let recover = cable
        .command(1, program("adit"))
        .args(["recover", "--box", after("--box"), "--box-key", after("--box-key"), "--recovery-file"])
        .arg(&file)
        .args(["--source", after("--source")])
        .arg("--to")
        .arg(&to)
        .status()
        .unwrap();
    assert!(recover.success());
    assert_eq!(differences(&data, &restored(&to, &data)).unwrap(), [""; 0]);
    agent.kill().unwrap();
    agent.wait().unwrap();
}

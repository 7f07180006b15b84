// SPDX-License-Identifier: Apache-2.0 OR MIT
//! In network namespaces of their own: a clean machine recovers, and a box whose address disappears is found again.
//! They need root and iproute2; `make test-services` runs them.

use adit_contract::lab::{Lab, Source, program};
use adit_contract::tree::{differences, make_small, noise, restored};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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

/// A box on host 0, a source on host 1 paired with it, and the recovery file.
struct Pair {
    lab: Lab,
    cable: Cable,
    agent: Child,
    source: Source,
    recovery_file: PathBuf,
}

impl Pair {
    /// Starts the box with this `listen` line and pairs the source.
    fn new(tag: &str, listen: &str) -> Self {
        let lab = Lab::new();
        let cable = Cable::new(tag);
        cable.name_box("fd00:ad17::1");
        let dir = lab.path("box");
        fs::create_dir_all(&dir).unwrap();
        let config = dir.join("aditd.toml");
        let (state, store) = (dir.join("state"), dir.join("store"));
        let address = format!("address = \"{NAME}:11713\"\n");
        let text = format!("listen = \"{listen}\"\n{address}state = {state:?}\n\n[box]\nstore = {store:?}\n");
        fs::write(&config, text).unwrap();
        let agent =
            cable.command(0, program("aditd")).arg("--config").arg(&config).stdin(Stdio::null()).spawn().unwrap();
        let (recovery_file, public) = lab.recovery_key("admin");
        let source = lab.source("source");
        source.adit(["init".as_ref(), "--recipient".as_ref(), public.as_os_str()]).succeeded();
        let mut pair = Self { lab, cable, agent, source, recovery_file };
        let token = pair.token(&config);
        pair.adit(["pair".as_ref(), token.as_ref()]);
        pair
    }

    /// A token, as soon as the box can make one.
    fn token(&mut self, config: &Path) -> String {
        loop {
            let mut command = self.cable.command(0, program("aditd"));
            let made =
                command.args(["token", "--role", "source", "--name", "web1", "--config"]).arg(config).output().unwrap();
            if made.status.success() {
                return String::from_utf8(made.stdout).unwrap().trim().to_owned();
            }
            assert!(self.agent.try_wait().unwrap().is_none(), "{}", String::from_utf8_lossy(&made.stderr));
        }
    }

    /// A command of the source, on its host.
    fn command(&self) -> Command {
        let mut command = self.cable.command(1, program("adit"));
        command.arg("--state").arg(&self.source.state);
        command
    }

    /// Runs `adit --state DIR …` on the source's host; answers what it printed.
    fn adit<const N: usize>(&self, words: [&OsStr; N]) -> String {
        let output = self.command().args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _gone = self.agent.kill().is_err();
        let _reaped = self.agent.wait().is_ok();
    }
}

#[test]
fn netns_box_that_moves_is_found_by_the_same_run() {
    let pair = Pair::new("move", "[::]:11713");
    let data = pair.lab.path("data");
    fs::create_dir(&data).unwrap();
    for index in 0..8 {
        fs::write(data.join(format!("f{index}")), noise(8 << 20, index)).unwrap();
    }
    // Slow the cable down, so that the address disappears in the middle.
    let slow = "tc qdisc add dev eth0 root tbf rate 100mbit burst 64kb latency 50ms";
    pair.cable.run(1, ["sh", "-c", slow]);
    let mut run = pair.command().arg("backup").arg(&data).spawn().unwrap();
    std::thread::park_timeout(Duration::from_secs(2));
    assert!(run.try_wait().unwrap().is_none(), "the run must still be going");
    let host = &pair.cable.hosts[0];
    ip(["-n", host, "-6", "addr", "del", "fd00:ad17::1/64", "dev", "eth0"]);
    ip(["-n", host, "-6", "addr", "add", "fd00:ad17::77/64", "dev", "eth0", "nodad"]);
    pair.cable.name_box("fd00:ad17::77");
    let status = run.wait().unwrap();
    assert!(status.success(), "{status}");
    let to = pair.lab.path("restored");
    let key = pair.recovery_file.as_os_str();
    pair.adit(["restore".as_ref(), "latest".as_ref(), "--recovery-file".as_ref(), key, "--to".as_ref(), to.as_ref()]);
    assert_eq!(differences(&data, &restored(&to, &data)).unwrap(), [""; 0]);
}

#[test]
fn netns_clean_machine_recovers_from_file_and_sheet() {
    let pair = Pair::new("clean", "[fd00:ad17::1]:11713");
    let data = pair.lab.path("data");
    make_small(&data, 1_000, 11).unwrap();
    pair.adit(["backup".as_ref(), data.as_os_str()]);
    let sheet = pair.adit(["sheet".as_ref()]);
    fs::remove_dir_all(&pair.source.state).unwrap();
    let words: Vec<&str> = sheet.split_whitespace().collect();
    let after = |option: &str| words[words.iter().position(|word| *word == option).unwrap() + 1];
    let to = pair.lab.path("recovered");
    let mut recover = pair.cable.command(1, program("adit"));
    recover.args(["recover", "--box", after("--box"), "--box-key", after("--box-key"), "--recovery-file"]);
    recover.arg(&pair.recovery_file).args(["--source", after("--source")]).arg("--to").arg(&to);
    assert!(recover.status().unwrap().success());
    assert_eq!(differences(&data, &restored(&to, &data)).unwrap(), [""; 0]);
}

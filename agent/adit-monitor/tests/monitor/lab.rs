// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A monitor in this process, and agents that speak the real protocol with reports that a test sets.

use adit_health::{Answer, Component, Finding, Report, Reporter};
use adit_link::{About, Deadlines, Door, Gate, Identity, Limits, Link, Listener, Target, dial};
use adit_monitor::config::Config;
use adit_monitor::core::{Core, View};
use adit_monitor::daemon::Monitor;
use adit_wire::frame::{FLAG_END, Message as _};
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};
use adit_wire::health::{Full, Poll, Same};
use adit_wire::ids::PublicKey;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must come.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// A running monitor.
pub(crate) struct Lab {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) core: Core,
    pub(crate) key: PublicKey,
    pub(crate) address: Option<std::net::SocketAddrV6>,
    pub(crate) http: Option<std::net::SocketAddr>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Lab {
    /// A monitor that listens, with more lines in its configuration.
    pub(crate) async fn start(more: &str) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        Self::start_in(dir, more).await
    }

    pub(crate) async fn start_in(dir: tempfile::TempDir, more: &str) -> Self {
        let config = config(dir.path(), more);
        let (stop, path) = (CancellationToken::new(), dir.path().join("adit-monitor.toml"));
        std::fs::write(&path, &config).expect("written");
        let parsed = Config::parse(&config).expect("valid");
        let monitor = Monitor::start(parsed, Some(path), stop.clone()).await.expect("started");
        let (core, key, address, http) = (monitor.core(), monitor.key(), monitor.address(), monitor.http_address());
        let running = tokio::spawn(monitor.run());
        Self { dir, core, key, address, http, stop, running }
    }

    /// Stops in order, and hands the state directory on.
    pub(crate) async fn stop(self) -> tempfile::TempDir {
        self.stop.cancel();
        self.running.await.expect("ended");
        self.dir
    }

    /// Waits until the monitor's view is as it must be.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&View) -> bool) -> View {
        let waited = tokio::time::timeout(WITHIN, async {
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            loop {
                tick.tick().await;
                let view = self.core.view().await.expect("runs");
                if is(&view) {
                    return view;
                }
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{what} did not come"))
    }

    /// The peer file of an agent.
    pub(crate) fn add_agent(&self, name: &str, key: PublicKey, address: Option<String>) {
        let addresses = address.map(|address| format!("addresses = [{address:?}]\n")).unwrap_or_default();
        let text = format!("role = \"agent\"\nkey = \"{key}\"\n{addresses}");
        std::fs::write(self.dir.path().join("state/peers").join(format!("{name}.toml")), text).expect("written");
    }
}

/// A configuration below a directory.
pub(crate) fn config(dir: &std::path::Path, more: &str) -> String {
    format!(
        "state = {:?}\nlisten = \"[::1]:0\"\nname = \"mon\"\nhttp = \"[::1]:0\"\nsocket = {:?}\ninterval = \"10s\"\n{more}",
        dir.join("state"),
        dir.join("monitor.sock")
    )
}

/// An agent: an identity, a report, and whoever it takes for its monitor.
#[derive(Clone)]
pub(crate) struct Agent {
    pub(crate) identity: Identity,
    reporter: Arc<Mutex<Reporter>>,
}

struct Knows(PublicKey);

impl Gate for Knows {
    fn pinned(&self, key: &PublicKey) -> bool {
        *key == self.0
    }
    fn pairing_open(&self) -> bool {
        false
    }
    fn recovery_open(&self) -> bool {
        false
    }
}

/// A report of a box with one disk.
pub(crate) fn report(disk: Verdict) -> Report {
    let finding = Finding::judged(Check::DiskStatus, disk, Reason::SelfTestFailed).because(|| "element 7".to_owned());
    let component = Component {
        kind: ComponentKind::Disk,
        id: "naa.5000c500aabbccdd".to_owned(),
        label: "sda <b>WDC</b> \u{1b}[31m\"red\"".to_owned(),
        findings: vec![finding],
        readings: vec![(Quantity::TemperatureTenths, Some(345)), (Quantity::PendingSectors, None)],
    };
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    Report { host: "box".to_owned(), time_s: now_s, components: vec![component] }
}

impl Agent {
    pub(crate) fn new() -> Self {
        let agent = Self { identity: Identity::generate(), reporter: Arc::new(Mutex::new(Reporter::new(7))) };
        agent.reports(&report(Verdict::Ok));
        agent
    }

    pub(crate) fn reports(&self, report: &Report) {
        self.reporter.lock().expect("whole").update(report).expect("fits");
    }

    /// Listens, and answers polls of one monitor until it is dropped.
    pub(crate) async fn listen(&self, monitor: PublicKey) -> (String, tokio::task::JoinHandle<()>) {
        let address = "[::1]:0".parse().expect("an address");
        let limits = Limits { handshakes_per_64: 64, ..Limits::default() };
        let gate = Arc::new(Knows(monitor));
        let mut listener =
            Listener::bind(address, self.identity.clone(), gate, About::default(), limits).await.expect("bound");
        let (address, agent) = (listener.local_address().to_string(), self.clone());
        let serving = tokio::spawn(async move {
            let mut links = tokio::task::JoinSet::new();
            while let Ok(incoming) = listener.accept().await {
                let agent = agent.clone();
                links.spawn(async move { agent.serve(incoming.link).await });
            }
        });
        (address, serving)
    }

    /// Dials a monitor, and answers its polls until the link ends.
    pub(crate) async fn dial(&self, monitor: PublicKey, address: std::net::SocketAddrV6) -> Link {
        let targets = [Target::from_address(address).expect("an address")];
        let about = About { software: "agent 1".to_owned(), address_record: Vec::new() };
        dial(&targets, Door::Main, &self.identity, monitor, &about, Deadlines::default()).await.expect("dialled")
    }

    pub(crate) async fn serve(&self, link: Link) {
        while let Some((frame, conversation)) = link.incoming().await {
            let poll: Poll = frame.message().expect("a poll");
            let (kind, body) = {
                let reporter = self.reporter.lock().expect("whole");
                let mut buffer = vec![0u8; 128 << 10];
                match reporter.answer(poll) {
                    Answer::Same { report } => {
                        (Same::KIND, Same { report }.encode(&mut buffer).expect("fits").to_vec())
                    }
                    Answer::Full { report, inventory, snapshot, inventory_bytes } => {
                        let full = Full { report, inventory, snapshot, inventory_bytes };
                        (Full::KIND, full.encode(&mut buffer).expect("fits").to_vec())
                    }
                }
            };
            if conversation.send_parts(kind, FLAG_END, &[&body]).await.is_err() {
                return;
            }
        }
    }
}

/// The program.
pub(crate) fn program() -> std::process::Command {
    std::process::Command::new(env!("CARGO_BIN_EXE_adit-monitor"))
}

/// Runs the program on a lab's configuration; answers what it printed and how it exited.
pub(crate) async fn run(config: PathBuf, words: &[&str]) -> (i32, String, String) {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let running = tokio::task::spawn_blocking(move || program().arg("--config").arg(config).args(words).output());
    let output = running.await.expect("ran").expect("started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

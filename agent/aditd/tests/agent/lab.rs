// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An agent in a temporary directory, and machines that talk to it.

use adit_link::{About, Conversation, Deadlines, DialError, Door, Frame, Identity, Link, LinkError, Target, dial};
use adit_proto::pairing::{Channel, Made, Request, Spend, redeem};
use adit_proto::token::Token;
use adit_wire::frame::{FLAG_END, Message};
use adit_wire::ids::{PublicKey, SourceId};
use adit_wire::pair::{Pair, Role};
use adit_wire::refusal::Code;
use aditd::agent::Agent;
use aditd::config::Config;
use aditd::event::Events;
use std::net::SocketAddrV6;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What the agent under test is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum As {
    Box,
    PlainAgent,
}

/// A running agent.
pub(crate) struct Lab {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) address: SocketAddrV6,
    pub(crate) key: PublicKey,
    pub(crate) events: Arc<Events>,
    what: As,
    stop: CancellationToken,
    running: Running,
}

/// The agent runs in this process, or as the program that people run.
enum Running {
    No,
    Here(tokio::task::JoinHandle<()>),
    Program(std::process::Child),
}

/// A free port of [::1]: taken and let go, so another program may take it in between, which a lab then shows by failing.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("[::1]:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

impl Lab {
    pub(crate) async fn start(what: As) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let (state, store) = (dir.path().join("state"), dir.path().join("store"));
        let mut text = format!("listen = \"[::1]:{}\"\nstate = {state:?}\nname = \"box\"\n", free_port());
        if what == As::Box {
            text = format!("{text}[box]\nstore = {store:?}\n");
        }
        std::fs::write(dir.path().join("aditd.toml"), text).expect("written");
        let mut lab = Self {
            dir,
            address: "[::1]:1".parse().expect("address"),
            key: PublicKey::ZERO,
            events: Arc::default(),
            what,
            stop: CancellationToken::new(),
            running: Running::No,
        };
        lab.restart().await;
        lab
    }

    /// A box that runs as a program of its own, so that it can be killed.
    pub(crate) async fn start_program() -> Self {
        let mut lab = Self::start(As::Box).await;
        lab.stop().await;
        lab.start_again_as_program(None).await;
        lab
    }

    /// Starts the stopped box as a program and waits until it answers.
    pub(crate) async fn start_again_as_program(&mut self, notify: Option<&Path>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aditd"));
        command.arg("--config").arg(self.config_path()).stderr(std::process::Stdio::null());
        if let Some(notify) = notify {
            command.env("NOTIFY_SOCKET", notify);
        }
        self.running = Running::Program(command.spawn().expect("runs"));
        let address = std::net::SocketAddr::V6(self.address);
        until("the port answers", || std::net::TcpStream::connect(address).is_ok()).await;
    }

    /// Ends the program without a warning.
    pub(crate) fn kill(&mut self) {
        let Running::Program(mut child) = std::mem::replace(&mut self.running, Running::No) else {
            panic!("only a program can be killed")
        };
        child.kill().expect("killed");
        child.wait().expect("gone");
    }

    /// The program's process id.
    pub(crate) fn process_id(&self) -> u32 {
        let Running::Program(child) = &self.running else { panic!("no program runs") };
        child.id()
    }

    /// Asks the program to stop; answers how it ended.
    pub(crate) fn terminate(&mut self) -> std::process::ExitStatus {
        let Running::Program(mut child) = std::mem::replace(&mut self.running, Running::No) else {
            panic!("no program runs")
        };
        let id = i32::try_from(child.id()).expect("a process id");
        let process = rustix::process::Pid::from_raw(id).expect("a process id");
        rustix::process::kill_process(process, rustix::process::Signal::TERM).expect("told");
        child.wait().expect("ended")
    }

    /// Waits until the program ends by itself; answers how.
    pub(crate) async fn wait(&mut self) -> std::process::ExitStatus {
        let Running::Program(mut child) = std::mem::replace(&mut self.running, Running::No) else {
            panic!("no program runs")
        };
        tokio::task::spawn_blocking(move || child.wait()).await.expect("waited").expect("ended")
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.dir.path().join("aditd.toml")
    }

    pub(crate) fn store_path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        if let Running::Here(running) = std::mem::replace(&mut self.running, Running::No) {
            running.await.expect("stopped in order");
        }
    }

    /// Starts the stopped agent again.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.stop = CancellationToken::new();
        let config = Config::load(&self.config_path()).expect("valid");
        assert_eq!(config.store.is_some(), self.what == As::Box);
        let agent = Agent::start(config, self.stop.clone()).await.expect("started");
        self.address = agent.address().expect("listens");
        self.key = agent.key();
        self.events = agent.events();
        self.running = Running::Here(tokio::spawn(agent.run()));
    }

    /// A token made by the program, while the agent runs.
    pub(crate) fn token(&self, role: &str, name: &str) -> Token {
        self.token_with(&["--role", role, "--name", name])
    }

    pub(crate) fn token_with(&self, args: &[&str]) -> Token {
        let config = self.config_path();
        let run = aditd(&[&["token", "--config", config.to_str().expect("UTF-8")], args].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        Token::parse(run.stdout.trim()).expect("a token alone on standard output")
    }

    /// A machine with this role that is paired.
    pub(crate) async fn paired(&self, role: Role, name: &str) -> Machine {
        let machine = Machine::new(name);
        machine.pair(self, &self.token(role.word(), name), role).await.expect("paired");
        machine
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Running::Program(child) = &mut self.running {
            let _gone = child.kill().and_then(|()| child.wait());
        }
    }
}

/// How a run of the program ended.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program to its end.
pub(crate) fn aditd(args: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_aditd")).args(args).output().expect("runs");
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// Another machine.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) identity: Identity,
    pub(crate) source: SourceId,
    pub(crate) signing: Identity,
    pub(crate) recovery: Identity,
}

/// Why a pairing didn't come about.
#[derive(Debug)]
pub(crate) enum PairFailed {
    Dial(DialError),
    Code(Code),
    Other(String),
}

impl PairFailed {
    pub(crate) fn code(&self) -> Option<Code> {
        match self {
            Self::Code(code) => Some(*code),
            Self::Dial(_) => None,
            Self::Other(text) => panic!("{text}"),
        }
    }
}

impl Machine {
    pub(crate) fn new(name: &str) -> Self {
        let mut source = SourceId::ZERO;
        aws_lc_rs::rand::fill(&mut source.0).expect("random");
        Self {
            name: name.to_owned(),
            identity: Identity::generate(),
            source,
            signing: Identity::generate(),
            recovery: Identity::generate(),
        }
    }

    pub(crate) async fn dial(&self, address: SocketAddrV6, key: PublicKey, door: Door) -> Result<Link, DialError> {
        let targets = [Target::Address(address)];
        dial(&targets, door, &self.identity, key, &About::default(), Deadlines::default()).await
    }

    /// A link at the main door.
    pub(crate) async fn connect(&self, lab: &Lab) -> Link {
        let link = self.dial(lab.address, lab.key, Door::Main).await.expect("connected");
        link.greeted().await.expect("greeted");
        link
    }

    /// Whether the main door lets this machine in.
    pub(crate) async fn is_let_in(&self, lab: &Lab) -> bool {
        let Ok(link) = self.dial(lab.address, lab.key, Door::Main).await else { return false };
        link.greeted().await.is_ok()
    }

    pub(crate) async fn pair(&self, lab: &Lab, token: &Token, role: Role) -> Result<Made, PairFailed> {
        self.pair_spending(lab, &Spend::of(token), role, |_| {}).await
    }

    /// Pairs, with the PAIR body spoilt by `spoil`.
    pub(crate) async fn pair_spending(
        &self,
        lab: &Lab,
        spend: &Spend,
        role: Role,
        spoil: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Made, PairFailed> {
        let link = self.dial(lab.address, lab.key, Door::Pair).await.map_err(PairFailed::Dial)?;
        let channel = Channel { binding: link.channel_binding(), maker: lab.key, redeemer: self.identity.public_key() };
        let is_source = role == Role::Source;
        let or_zero = |key: PublicKey| if is_source { key } else { PublicKey::ZERO };
        let request = Request {
            role,
            name: &self.name,
            source: if is_source { self.source } else { SourceId::ZERO },
            signing_key: or_zero(self.signing.public_key()),
            recovery_key: or_zero(self.recovery.public_key()),
            certificate: &[],
        };
        let (mut body, expect) = redeem(spend, &channel, &request, &aditd::pairing::hmac).expect("a request");
        spoil(&mut body);
        let answer = ask_bytes(&link, <Pair<'_> as Message<'_>>::KIND, &body).await;
        match answer {
            Ok(frame) => {
                expect.check(&frame.body, &aditd::pairing::hmac).map_err(|error| PairFailed::Other(error.to_string()))
            }
            Err(error) => Err(code_of(&error).map_or_else(|| PairFailed::Other(error.to_string()), PairFailed::Code)),
        }
    }
}

/// The code of a refusal.
pub(crate) fn code_of(error: &LinkError) -> Option<Code> {
    if let LinkError::Refused(refusal) = error { refusal.code } else { None }
}

/// Sends one frame and waits for the first frame of the answer.
pub(crate) async fn ask_bytes(link: &Link, kind: adit_wire::frame::Kind, body: &[u8]) -> Result<Frame, LinkError> {
    let conversation = link.open()?;
    conversation.send_parts(kind, FLAG_END, &[body]).await?;
    next(&conversation).await
}

/// The next frame.
pub(crate) async fn next(conversation: &Conversation) -> Result<Frame, LinkError> {
    conversation.recv_within(Duration::from_secs(20)).await?.ok_or(LinkError::Cut)
}

/// Sends one message and waits for the first frame of the answer.
pub(crate) async fn ask<'a, M: Message<'a>>(link: &Link, message: &M) -> Result<Frame, LinkError> {
    let body = adit_proto::encode::body(message).expect("fits");
    ask_bytes(link, M::KIND, &body).await
}

/// Waits until something holds, looking often; fails after 20 seconds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tick.tick().await;
    }
}

/// Files in a directory, by name.
pub(crate) fn files_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .expect("listed")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

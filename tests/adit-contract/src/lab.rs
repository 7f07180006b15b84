// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A lab: a directory, boxes and sources in it, the real binaries run as people run them. Everything that was started is
//! stopped when the lab goes, by its own process handle.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a box may take to answer on its port.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long any tool may take before the test gives up.
const RUN_DEADLINE: Duration = Duration::from_secs(300);

/// The program of this name beside the test's own target directory, or in ADIT_BIN_DIR.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let dir = std::env::var_os("ADIT_BIN_DIR").map_or_else(
        || {
            let test = std::env::current_exe().expect("a test knows its own path");
            let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
            profile.to_path_buf()
        },
        PathBuf::from,
    );
    let path = dir.join(name);
    assert!(
        path.is_file(),
        "{} is missing: run `make test`, or `cargo build --workspace --bins` first",
        path.display()
    );
    path
}

/// A port on [::1] that nobody listens on.
///
/// # Panics
/// When the machine has no [::1].
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("this machine has [::1]");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// A directory in which boxes and sources live.
#[derive(Debug)]
pub struct Lab {
    dir: tempfile::TempDir,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// A new lab.
    ///
    /// # Panics
    /// When no directory can be made.
    #[must_use]
    pub fn new() -> Self {
        Self { dir: tempfile::Builder::new().prefix("adit-lab").tempdir().expect("a temporary directory") }
    }

    /// A new lab for very many files: in memory where so many bytes are free there, for disks are slow at that.
    ///
    /// # Panics
    /// When no directory can be made.
    #[must_use]
    pub fn roomy(bytes: u64) -> Self {
        let memory = Path::new("/dev/shm");
        let free = rustix::fs::statvfs(memory).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        if free < bytes {
            return Self::new();
        }
        let dir = tempfile::Builder::new().prefix("adit-lab").tempdir_in(memory);
        dir.map_or_else(|_| Self::new(), |dir| Self { dir })
    }

    /// A path in the lab.
    #[must_use]
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A box that listens on a free port of [::1]; not started yet.
    #[must_use]
    pub fn new_box(&self, name: &str) -> LabBox {
        self.new_box_at(name, SocketAddrV6::new(Ipv6Addr::LOCALHOST, free_port(), 0, 0))
    }

    /// A box that listens there; not started yet.
    ///
    /// # Panics
    /// When its files cannot be written.
    #[must_use]
    pub fn new_box_at(&self, name: &str, listen: SocketAddrV6) -> LabBox {
        let dir = self.path(name);
        fs::create_dir_all(&dir).expect("a directory for the box");
        let config = dir.join("aditd.toml");
        let (state, store) = (dir.join("state"), dir.join("store"));
        let text = format!("listen = \"{listen}\"\nstate = {state:?}\n\n[box]\nstore = {store:?}\n");
        fs::write(&config, text).expect("a configuration");
        LabBox { listen, config, state, store, process: None }
    }

    /// A source's state directory; nothing in it yet.
    #[must_use]
    pub fn source(&self, name: &str) -> Source {
        Source { state: self.path(name) }
    }

    /// Makes a recovery file and its public half: (file, public file).
    ///
    /// # Panics
    /// When keygen fails.
    #[must_use]
    pub fn recovery_key(&self, name: &str) -> (PathBuf, PathBuf) {
        let (file, public) = (self.path(format!("{name}.recovery")), self.path(format!("{name}.pub")));
        let args =
            ["keygen".into(), "--recovery-file".into(), file.clone().into(), "--public".into(), public.clone().into()];
        run("adit", args as [OsString; 5]).succeeded();
        (file, public)
    }
}

/// A box under test.
#[derive(Debug)]
pub struct LabBox {
    /// Where it listens.
    pub listen: SocketAddrV6,
    /// Its configuration file.
    pub config: PathBuf,
    /// Its state directory.
    pub state: PathBuf,
    /// Its store.
    pub store: PathBuf,
    process: Option<Process>,
}

impl LabBox {
    /// Starts it and waits until its port answers.
    ///
    /// # Panics
    /// When it ends or does not answer in time; its log is printed.
    pub fn start(&mut self) {
        let config = self.config.clone();
        let mut process = Process::start("aditd", [OsString::from("--config"), config.into()]);
        process.wait_for_port(self.listen);
        self.process = Some(process);
    }

    /// Asks it to stop and waits.
    ///
    /// # Panics
    /// When it does not stop in time or fails.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("a running box");
        process.signal(Signal::SIGTERM);
        let status = process.wait(Duration::from_secs(30));
        assert!(status.success(), "the box ended with {status}; its log:\n{}", process.log());
    }

    /// Kills it without a warning and waits until it is gone.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("a running box");
        process.signal(Signal::SIGKILL);
        process.wait(Duration::from_secs(30));
    }

    /// What it wrote to its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.as_ref().expect("a running box").child.id()
    }

    /// A token for this role and name.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn token(&self, role: &str, name: &str) -> String {
        self.token_with(role, name, &[])
    }

    /// A token made with more options.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn token_with(&self, role: &str, name: &str, more: &[&str]) -> String {
        let mut args: Vec<OsString> = vec!["token".into(), "--config".into(), self.config.clone().into()];
        args.extend(["--role", role, "--name", name].map(OsString::from));
        args.extend(more.iter().map(OsString::from));
        let run = run("aditd", args).succeeded();
        run.stdout.trim().to_owned()
    }
}

/// A source under test.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its state directory.
    pub state: PathBuf,
}

impl Source {
    /// Runs `adit --state DIR …`.
    #[must_use]
    pub fn adit<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Run {
        run("adit", self.args(args))
    }

    /// Starts `adit --state DIR …` and leaves it running.
    #[must_use]
    pub fn start<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Process {
        Process::start("adit", self.args(args))
    }

    fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Vec<OsString> {
        let mut all: Vec<OsString> = vec!["--state".into(), self.state.clone().into()];
        all.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        all
    }

    /// Sets the source up with these public recovery files and pairs it with the box.
    pub fn set_up(&self, lab_box: &LabBox, name: &str, recipients: &[&Path]) {
        let mut args: Vec<OsString> = vec!["init".into(), "--name".into(), name.into()];
        for recipient in recipients {
            args.extend([OsString::from("--recipient"), recipient.into()]);
        }
        self.adit(args).succeeded();
        self.adit(["pair", &lab_box.token("source", name)]).succeeded();
    }

    /// Backs these paths up; answers the JSON object.
    pub fn backup(&self, paths: &[&Path]) -> Value {
        let mut args: Vec<OsString> = vec!["backup".into(), "--json".into()];
        args.extend(paths.iter().map(|path| path.into()));
        self.adit(args).succeeded().json()
    }
}

/// A program that ran to its end.
#[derive(Debug)]
pub struct Run {
    /// The command line, for messages.
    pub command: String,
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said to people.
    pub stderr: String,
}

impl Run {
    /// Insists on exit code 0.
    ///
    /// # Panics
    /// When it is another.
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "{} failed\nstdout:\n{}\nstderr:\n{}", self.command, self.stdout, self.stderr);
        self
    }

    /// The JSON object on the last line that holds one.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(self.stdout.trim())
            .or_else(|_| serde_json::from_str(self.stdout.trim().lines().last().unwrap_or_default()))
            .unwrap_or_else(|error| panic!("{}: no JSON on stdout ({error}):\n{}", self.command, self.stdout))
    }
}

/// Runs a program to its end.
///
/// # Panics
/// When it cannot be started or does not end in time.
pub fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(name: &str, args: I) -> Run {
    let mut command = Command::new(program(name));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let line = format!("{command:?}");
    let child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
    let id = child.id();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Output { status, stdout, stderr } = match receiver.recv_timeout(RUN_DEADLINE) {
        Ok(output) => output.unwrap_or_else(|error| panic!("{line}: {error}")),
        Err(_) => {
            signal(id, Signal::SIGKILL);
            panic!("{line} did not end within {RUN_DEADLINE:?}");
        }
    };
    Run {
        command: line,
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

fn signal(process: u32, which: Signal) {
    let Ok(process) = i32::try_from(process) else { return };
    // Gone already is as good.
    let _gone = kill(Pid::from_raw(process), which).is_err();
}

/// A program that runs beside the test. It is killed when the handle goes.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
    name: String,
}

impl Process {
    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(name: &str, args: I) -> Self {
        let mut child = Command::new(program(name))
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let log = Arc::new(Mutex::new(String::new()));
        let outputs: [Option<Box<dyn std::io::Read + Send>>; 2] =
            [child.stdout.take().map(|out| Box::new(out) as _), child.stderr.take().map(|out| Box::new(out) as _)];
        for output in outputs.into_iter().flatten() {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let mut log = log.lock().expect("nobody panics with the log in hand");
                    log.push_str(&line);
                    log.push('\n');
                }
            });
        }
        Self { child, log, name: name.to_owned() }
    }

    /// What it wrote so far, stdout and stderr mixed by line.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().expect("nobody panics with the log in hand").clone()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, which: Signal) {
        signal(self.child.id(), which);
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// When the system cannot tell.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn wait(&mut self, deadline: Duration) -> std::process::ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                return status;
            }
            assert!(start.elapsed() < deadline, "{} did not end in {deadline:?}; its log:\n{}", self.name, self.log());
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// Waits until the condition holds.
    ///
    /// # Panics
    /// When it does not in time, or the process ends before.
    pub fn wait_until(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        let start = Instant::now();
        while !condition() {
            let over = !self.runs() || start.elapsed() > START_DEADLINE;
            assert!(!over, "{}: waited in vain for {what}; its log:\n{}", self.name, self.log());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn wait_for_port(&mut self, address: SocketAddrV6) {
        self.wait_until("its port", || TcpStream::connect_timeout(&address.into(), Duration::from_millis(200)).is_ok());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            signal(self.child.id(), Signal::SIGKILL);
            let _reaped = self.child.wait().is_ok();
        }
    }
}

/// Largest resident memory of a process so far, bytes (VmHWM).
#[must_use]
pub fn peak_memory(process: u32) -> Option<u64> {
    status_bytes(process, "VmHWM:")
}

/// Resident memory of a process now, bytes (VmRSS).
#[must_use]
pub fn resident_memory(process: u32) -> Option<u64> {
    status_bytes(process, "VmRSS:")
}

/// Processor time of a process so far, of all its threads that live, as the scheduler counted it.
#[must_use]
pub fn processor_time(process: u32) -> Option<Duration> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    Some(tasks.flatten().filter_map(|task| task_time(&task.path())).sum())
}

/// Processor time so far of the thread of this name.
#[must_use]
pub fn thread_time(process: u32, name: &str) -> Option<Duration> {
    let mut tasks = fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten();
    let is_it = |path: &Path| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name);
    task_time(&tasks.find(|task| is_it(&task.path()))?.path())
}

fn task_time(task: &Path) -> Option<Duration> {
    let stat = fs::read_to_string(task.join("schedstat")).ok()?;
    stat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

fn status_bytes(process: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

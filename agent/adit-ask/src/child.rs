// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs a program of somebody else: no shell, a cleared environment, a process group of its own that is killed at the
//! deadline, bounded output. It stands apart because every one of these is easily forgotten.
//!
//! A program that even SIGKILL does not end waits in the kernel, usually for a dead disk. It is left there and reported;
//! the same job starts no second one, so at most one such process per job exists.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// What a program may print on its standard error, bytes. More is read and dropped.
pub const STDERR_BYTES_MAX: usize = 4096;
/// How long a killed program may take to end, before it counts as stuck. The kernel needs microseconds.
pub const KILL_GRACE: Duration = Duration::from_millis(500);
/// Where programs without a path are looked for.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program and the limits it runs under.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program and its arguments. Without a slash in it, it is looked for in [`SEARCH_PATH`].
    pub argv: Vec<OsString>,
    /// Variables on top of `PATH` and `LC_ALL=C.UTF-8`; nothing else is passed on.
    pub env: Vec<(OsString, OsString)>,
    /// User and group ids to run as; supplementary groups are dropped. `None`: as the agent itself.
    pub user: Option<(u32, u32)>,
    /// The time it has, from its start.
    pub deadline: Duration,
    /// What it may print on its standard output, bytes. More is read and dropped.
    pub stdout_bytes_max: usize,
}

impl Program {
    /// A program with 20 s and 1 MiB.
    #[must_use]
    pub fn new<S: Into<OsString>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            user: None,
            deadline: Duration::from_secs(20),
            stdout_bytes_max: 1 << 20,
        }
    }

    /// The same with other limits.
    #[must_use]
    pub const fn limits(mut self, deadline: Duration, stdout_bytes_max: usize) -> Self {
        self.deadline = deadline;
        self.stdout_bytes_max = stdout_bytes_max;
        self
    }

    /// Its name for messages: the last part of its path.
    #[must_use]
    pub fn name(&self) -> String {
        let path = self.argv.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default().to_owned()
    }
}

/// What a program left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it printed, up to the limit.
    pub stdout: Vec<u8>,
    /// Whether it printed more than the limit.
    pub is_cut: bool,
    /// What it complained about, up to [`STDERR_BYTES_MAX`].
    pub stderr: String,
}

impl Output {
    /// The standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Why a program gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It does not exist or may not be run.
    #[error("start {program}")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was not done in time and was killed.
    #[error("get an answer from {program} within {limit_ms} ms; it was killed")]
    Deadline {
        /// Its name.
        program: String,
        /// The time it had, milliseconds.
        limit_ms: u64,
    },
    /// It was killed but did not end: it waits in the kernel.
    #[error("end {program}: process {pid} ignores even SIGKILL since {since_s} s")]
    Stuck {
        /// Its name.
        program: String,
        /// The process.
        pid: u32,
        /// Since the kill, seconds.
        since_s: u64,
    },
    /// A call of the kernel's failed while it ran.
    #[error("watch {program}")]
    Watch {
        /// Its name.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ChildError {
    /// One line for a person: what to do now.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Start { .. } => "install the program, or correct its path in the configuration",
            Self::Deadline { .. } => "run it by hand as the same user and see what it waits for",
            Self::Stuck { .. } => "a device or mount under it hangs: read the kernel's log; only a reboot may free it",
            Self::Watch { .. } => "the machine may be out of processes or file descriptors",
        }
    }
}

/// One job that runs again and again. It remembers a child that would not die.
#[derive(Debug)]
pub struct Job {
    program: Program,
    stuck: Option<(Child, Instant)>,
    /// What ends a group; another one only in tests, where it stands for a kernel that does not deliver.
    kill: Signal,
}

impl Job {
    /// A job; nothing runs yet.
    #[must_use]
    pub const fn new(program: Program) -> Self {
        Self { program, stuck: None, kill: Signal::KILL }
    }

    /// What it runs.
    #[must_use]
    pub const fn program(&self) -> &Program {
        &self.program
    }

    /// Runs the program with more arguments and waits for it. Any exit code is an answer.
    ///
    /// # Errors
    /// It cannot start, is not done in time, or an earlier one is still stuck in the kernel.
    pub fn run<S: Into<OsString>>(&mut self, more: impl IntoIterator<Item = S>) -> Result<Output, ChildError> {
        self.reap_stuck()?;
        let mut command = self.command(more.into_iter().map(Into::into).collect());
        let mut child = command.spawn().map_err(|source| ChildError::Start { program: self.program.name(), source })?;
        let watched = self.watch(&mut child);
        // Whatever it started and left behind goes with it.
        self.kill_group(&child);
        match watched {
            Ok(Some((status, gathered))) => Ok(gathered.output(status)),
            Ok(None) if self.has_ended(&mut child)? => Err(self.late()),
            Ok(None) => {
                let pid = child.id();
                self.stuck = Some((child, Instant::now()));
                Err(ChildError::Stuck { program: self.program.name(), pid, since_s: 0 })
            }
            Err(source) => {
                let _ended = self.has_ended(&mut child)?;
                Err(ChildError::Watch { program: self.program.name(), source })
            }
        }
    }

    fn reap_stuck(&mut self) -> Result<(), ChildError> {
        let Some((child, since)) = &mut self.stuck else { return Ok(()) };
        if matches!(child.try_wait(), Ok(None)) {
            let (pid, since_s) = (child.id(), since.elapsed().as_secs());
            return Err(ChildError::Stuck { program: self.program.name(), pid, since_s });
        }
        self.stuck = None;
        Ok(())
    }

    fn command(&self, more: Vec<OsString>) -> Command {
        let (program, arguments) =
            self.program.argv.split_first().map_or_else(Default::default, |(p, a)| (p.clone(), a));
        let mut command = Command::new(program);
        command.args(arguments).args(more).env_clear().env("PATH", SEARCH_PATH).env("LC_ALL", "C.UTF-8");
        command.envs(self.program.env.iter().map(|(key, value)| (key, value))).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        if let Some((uid, gid)) = self.program.user {
            // With a uid given, the standard library drops the supplementary groups too.
            command.gid(gid).uid(uid);
        }
        command
    }

    /// Gathers output until the child itself ends; `None` at the deadline.
    fn watch(&self, child: &mut Child) -> io::Result<Option<(ExitStatus, Gathered)>> {
        let until = Instant::now() + self.program.deadline;
        let ended = pidfd(child)?;
        let mut gathered = Gathered::of(child, self.program.stdout_bytes_max)?;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            if gathered.wait(&ended, left)? {
                // What it wrote before its end lies in the pipes already.
                gathered.drain()?;
                return Ok(Some((child.wait()?, gathered)));
            }
            gathered.drain()?;
        }
    }

    fn kill_group(&self, child: &Child) {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        // A group that is gone already is what we want.
        let _gone = pid.is_none_or(|pid| kill_process_group(pid, self.kill).is_err());
    }

    /// Whether a killed child is gone, after the grace at the latest.
    fn has_ended(&self, child: &mut Child) -> Result<bool, ChildError> {
        let watched = |source| ChildError::Watch { program: self.program.name(), source };
        if child.try_wait().map_err(watched)?.is_some() {
            return Ok(true);
        }
        let ended = pidfd(child).map_err(watched)?;
        wait_for(&mut [PollFd::new(&ended, PollFlags::IN)], KILL_GRACE).map_err(watched)?;
        Ok(child.try_wait().map_err(watched)?.is_some())
    }

    fn late(&self) -> ChildError {
        let limit_ms = u64::try_from(self.program.deadline.as_millis()).unwrap_or(u64::MAX);
        ChildError::Deadline { program: self.program.name(), limit_ms }
    }
}

fn pidfd(child: &Child) -> io::Result<OwnedFd> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

fn wait_for(on: &mut [PollFd<'_>], limit: Duration) -> io::Result<()> {
    let limit = Timespec::try_from(limit).map_err(|_too_long| io::Error::from(io::ErrorKind::InvalidInput))?;
    match poll(on, Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The two pipes of a child and what came out of them.
#[derive(Debug)]
struct Gathered {
    pipes: [Pipe; 2],
}

impl Gathered {
    fn of(child: &mut Child, stdout_bytes_max: usize) -> io::Result<Self> {
        let stdout = child.stdout.take().map(OwnedFd::from).ok_or(io::ErrorKind::BrokenPipe)?;
        let stderr = child.stderr.take().map(OwnedFd::from).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { pipes: [Pipe::new(stdout, stdout_bytes_max)?, Pipe::new(stderr, STDERR_BYTES_MAX)?] })
    }

    /// Waits for output or the end; true when the child has ended.
    fn wait(&self, ended: &OwnedFd, limit: Duration) -> io::Result<bool> {
        let mut on: Vec<PollFd<'_>> = vec![PollFd::new(ended, PollFlags::IN)];
        on.extend(self.pipes.iter().filter_map(|pipe| pipe.end.as_ref()).map(|end| PollFd::new(end, PollFlags::IN)));
        wait_for(&mut on, limit)?;
        Ok(on.first().is_some_and(|fd| !fd.revents().is_empty()))
    }

    fn drain(&mut self) -> io::Result<()> {
        self.pipes.iter_mut().try_for_each(Pipe::drain)
    }

    fn output(self, status: ExitStatus) -> Output {
        let [stdout, stderr] = self.pipes;
        Output {
            code: status.code(),
            signal: status.signal(),
            is_cut: stdout.is_cut,
            stdout: stdout.kept,
            stderr: String::from_utf8_lossy(&stderr.kept).into_owned(),
        }
    }
}

#[derive(Debug)]
struct Pipe {
    /// `None` after the end.
    end: Option<std::fs::File>,
    /// kept.len() ≤ max
    kept: Vec<u8>,
    max: usize,
    is_cut: bool,
}

impl Pipe {
    fn new(end: OwnedFd, max: usize) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(end.as_fd())?;
        rustix::fs::fcntl_setfl(end.as_fd(), flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(Self { end: Some(end.into()), kept: Vec::new(), max, is_cut: false })
    }

    /// Takes what lies in the pipe. It reads at most one pipe full at a time, so that a talker cannot hold the caller
    /// beyond the deadline.
    fn drain(&mut self) -> io::Result<()> {
        let mut piece = [0; 65536];
        let Some(end) = &mut self.end else { return Ok(()) };
        match end.read(&mut piece) {
            Ok(0) => self.end = None,
            Ok(count) => {
                let room = self.max - self.kept.len();
                self.is_cut |= count > room;
                self.kept.extend_from_slice(piece.get(..count.min(room)).unwrap_or_default());
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program::new(["sh", "-c", script])
    }

    fn run(program: Program) -> Result<Output, ChildError> {
        Job::new(program).run(std::iter::empty::<&str>())
    }

    #[test]
    fn output_and_exit_code_come_back() {
        let output = run(shell("echo out; echo err >&2; exit 3")).unwrap();
        assert_eq!((output.code, output.text().as_str(), output.stderr.as_str()), (Some(3), "out\n", "err\n"));
        assert!(!output.is_cut);
        assert_eq!(run(shell("kill -9 $$")).unwrap().signal, Some(9));
    }

    #[test]
    fn arguments_reach_the_program_as_they_are() {
        let output = Job::new(Program::new(["printf", "%s|"])).run(["a b", "$(c)", ""]).unwrap();
        assert_eq!(output.text(), "a b|$(c)||");
    }

    #[test]
    fn the_environment_is_empty_but_for_what_was_given() {
        let mut program = Program::new(["env"]);
        program.env.push(("WANTED".into(), "1".into()));
        let text = run(program).unwrap().text();
        let mut names: Vec<&str> = text.lines().filter_map(|line| line.split('=').next()).collect();
        names.sort_unstable();
        assert_eq!(names, ["LC_ALL", "PATH", "WANTED"]);
    }

    #[test]
    fn a_talker_is_cut_at_its_limit() {
        let output =
            run(shell("yes | head -c 300000; yes | head -c 9000 >&2").limits(Duration::from_secs(30), 1000)).unwrap();
        assert!(output.is_cut);
        assert_eq!((output.stdout.len(), output.stderr.len()), (1000, STDERR_BYTES_MAX));
    }

    #[test]
    fn a_slow_program_dies_with_all_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script =
            format!("sh -c 'echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000' & while :; do :; done", pid.display());
        let mut program = shell(&script);
        program.deadline = Duration::from_millis(600);
        let started = Instant::now();
        let error = run(program).unwrap_err();
        assert!(matches!(error, ChildError::Deadline { limit_ms: 600, .. }), "{error:?}");
        assert!(started.elapsed() < Duration::from_secs(10));
        let grandchild = std::fs::read_to_string(pid).unwrap();
        // The kill is sent; the kernel carries it out in its own time.
        while started.elapsed() < Duration::from_secs(10) {
            let state = std::fs::read_to_string(format!("/proc/{}/stat", grandchild.trim())).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") {
                return;
            }
            std::thread::yield_now();
        }
        panic!("process {grandchild} lives on");
    }

    #[test]
    fn a_grandchild_that_holds_the_pipe_holds_nobody() {
        let started = Instant::now();
        let output = run(shell("sleep 1000 & echo done")).unwrap();
        assert_eq!(output.text(), "done\n");
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_child_that_cannot_be_killed_is_left_alone_and_not_doubled() {
        let mut program = Program::new(["sleep", "1000"]);
        program.deadline = Duration::from_millis(50);
        // SIGCONT does nothing here: it stands for a SIGKILL that a process in the kernel does not take.
        let mut job = Job { kill: Signal::CONT, ..Job::new(program) };
        let first = job.run(std::iter::empty::<&str>()).unwrap_err();
        let ChildError::Stuck { pid, .. } = first else { panic!("{first:?}") };
        let second = job.run(std::iter::empty::<&str>()).unwrap_err();
        assert!(matches!(second, ChildError::Stuck { pid: same, .. } if same == pid), "{second:?}");
        // It comes back to life and ends: the job runs again.
        let (child, _) = job.stuck.as_mut().unwrap();
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(9));
        job.program = Program::new(["true"]);
        assert_eq!(job.run(std::iter::empty::<&str>()).unwrap().code, Some(0));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run(Program::new(["/nowhere/at-all"])).unwrap_err();
        assert_eq!(error.to_string(), "start at-all");
        assert!(matches!(run(Program::new(Vec::<OsString>::new())), Err(ChildError::Start { .. })));
    }

    #[test]
    fn rights_are_dropped() {
        if !rustix::process::getuid().is_root() {
            // Without root nothing can be dropped: then the kernel must refuse.
            let mut program = Program::new(["id"]);
            program.user = Some((0, 0));
            assert!(matches!(run(program), Err(ChildError::Start { .. })));
            return;
        }
        let mut program = shell("id -u; id -g; id -G");
        program.user = Some((65534, 65533));
        assert_eq!(run(program).unwrap().text(), "65534\n65533\n65533\n");
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every process of a machine is in the end a child of PID 1. One thread collects the ends of all of them; whoever wants
//! to know about one asks here. Never waits for a child in a second place: the kernel tells each end only once.

use adit_guest::words::{ENDS_MAX, End, OUTPUT_BYTES_MAX, Program, Ran};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long outputs are waited for after a program ended, in case something it started keeps them open.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);

/// The processes that the hand started, and how they ended.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    known: Mutex<Known>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Known {
    started: u64,
    running: Vec<u32>,
    ended: VecDeque<(u32, End)>,
}

impl Processes {
    /// Runs a program to its end or to its deadline.
    pub(crate) fn run(&self, program: &Program, stdin: Vec<u8>, deadline: Duration) -> io::Result<Ran> {
        let until = Instant::now() + deadline;
        let mut command = command(program)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.start(&mut command)?;
        if let Some(mut input) = child.stdin.take() {
            // A program may end without reading everything; that is its own affair.
            thread::spawn(move || drop(input.write_all(&stdin)));
        }
        let outputs = [child.stdout.take().map(collect), child.stderr.take().map(collect)];
        let mut end = self.wait(child.id(), until)?;
        if end == End::Running {
            signal(-i64::from(child.id()), Signal::SIGKILL as i32)?;
            self.wait(child.id(), Instant::now() + OUTPUT_GRACE)?;
            end = End::Deadline;
        }
        let until = Instant::now() + OUTPUT_GRACE;
        let [stdout, stderr] = outputs.map(|output| output.map(|output| output.take(until)).unwrap_or_default());
        Ok(Ran { end, left_out: stdout.1 + stderr.1, stdout: stdout.0, stderr: stderr.0 })
    }

    /// Starts a program whose outputs go to a file.
    pub(crate) fn spawn(&self, program: &Program, log: &str) -> io::Result<u32> {
        let log = File::options().create(true).append(true).open(log)?;
        let mut command = command(program)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(self.start(&mut command)?.id())
    }

    /// The end of a started process, or [`End::Running`] when the time is over. An error for any other process.
    pub(crate) fn wait(&self, process: u32, until: Instant) -> io::Result<End> {
        let mut known = self.lock();
        loop {
            if let Some((_, end)) = known.ended.iter().find(|(ended, _)| *ended == process) {
                return Ok(*end);
            }
            if !known.running.contains(&process) {
                return Err(Errno::ESRCH.into());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(End::Running);
            }
            known = self.changed.wait_timeout(known, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until nothing that was started runs any more, or the time is over.
    pub(crate) fn wait_for_all(&self, until: Instant) {
        let mut known = self.lock();
        while !known.running.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            known = self.changed.wait_timeout(known, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn start(&self, command: &mut Command) -> io::Result<Child> {
        // With the lock held nothing is collected, so a child cannot end before it is known.
        let mut known = self.lock();
        let child = command.spawn()?;
        known.started += 1;
        known.running.push(child.id());
        known.ended.retain(|(ended, _)| *ended != child.id());
        self.changed.notify_all();
        Ok(child)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Collects the ends of all children for ever, on a thread of its own.
pub(crate) fn collect_ends(processes: &Arc<Processes>) {
    let processes = Arc::clone(processes);
    thread::spawn(move || {
        loop {
            let started = processes.lock().started;
            // Only look: the number must stay taken until the end is written down.
            match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
                Ok(status) => note(&processes, status),
                Err(Errno::ECHILD) => {
                    let mut known = processes.lock();
                    while known.started == started {
                        known = processes.changed.wait(known).unwrap_or_else(PoisonError::into_inner);
                    }
                }
                Err(_) => {}
            }
        }
    });
}

fn note(processes: &Processes, status: WaitStatus) {
    let Some(pid) = status.pid() else { return };
    let mut known = processes.lock();
    // A program that could not be executed was collected by whoever tried; then there is nothing to note.
    let Ok(status) = waitpid(pid, Some(WaitPidFlag::WNOHANG)) else { return };
    let end = match status {
        WaitStatus::Exited(_, code) => End::Exit(code),
        WaitStatus::Signaled(_, signal, _) => End::Signal(signal as i32),
        WaitStatus::Stopped(..)
        | WaitStatus::PtraceEvent(..)
        | WaitStatus::PtraceSyscall(_)
        | WaitStatus::Continued(_)
        | WaitStatus::StillAlive => return,
    };
    let number = pid.as_raw().unsigned_abs();
    if let Some(at) = known.running.iter().position(|running| *running == number) {
        known.running.swap_remove(at);
        if known.ended.len() == ENDS_MAX {
            known.ended.pop_front();
        }
        known.ended.push_back((number, end));
        processes.changed.notify_all();
    }
}

/// Sends a signal by number; a negative process is a group.
pub(crate) fn signal(process: i64, number: i32) -> io::Result<()> {
    let pid = Pid::from_raw(i32::try_from(process).map_err(io::Error::other)?);
    let signal = match number {
        0 => None,
        number => Some(Signal::try_from(number)?),
    };
    kill(pid, signal).map_err(io::Error::from)
}

fn command(program: &Program) -> io::Result<Command> {
    let (path, arguments) = program.argv.split_first().ok_or_else(|| io::Error::other("no program is named"))?;
    let mut command = Command::new(path);
    command.args(arguments).env_clear().current_dir("/").process_group(0);
    command.envs(program.env.iter().map(|(name, value)| (name, value)));
    Ok(command)
}

/// What a program writes, while it is written.
struct Output {
    kept: Arc<Mutex<(Vec<u8>, u64)>>,
    finished: Receiver<()>,
}

impl Output {
    fn take(self, until: Instant) -> (Vec<u8>, u64) {
        // Either it finished, or whoever still writes is not waited for.
        let _ = self.finished.recv_timeout(until.saturating_duration_since(Instant::now()));
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn collect(mut output: impl Read + Send + 'static) -> Output {
    let kept = Arc::new(Mutex::new((Vec::new(), 0)));
    let (finish, finished) = channel::<()>();
    let shared = Arc::clone(&kept);
    thread::spawn(move || {
        let mut buffer = vec![0; 16 << 10];
        // The sender is dropped at the end, which is the message.
        let _finish = finish;
        while let Ok(length @ 1..) = output.read(&mut buffer) {
            let mut kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let fits = length.min(OUTPUT_BYTES_MAX.saturating_sub(kept.0.len()));
            kept.0.extend_from_slice(buffer.get(..fits).unwrap_or_default());
            kept.1 += (length - fits) as u64;
        }
    });
    Output { kept, finished }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test: only one collector may run in a process.
    #[test]
    fn programs_run_stay_and_end() {
        let processes = Arc::new(Processes::default());
        collect_ends(&processes);
        let shell = |script: &str| Program::new(&["/bin/sh", "-c", script]);
        let minute = Duration::from_secs(60);

        let ran = processes.run(&shell("cat; echo oops >&2; exit 3"), b"in".to_vec(), minute).unwrap();
        assert_eq!((ran.end, ran.text().as_str(), ran.stderr.as_slice()), (End::Exit(3), "in", &b"oops\n"[..]));

        let ran = processes.run(&shell("kill -9 $$"), Vec::new(), minute).unwrap();
        assert_eq!(ran.end, End::Signal(9));

        let ran = processes.run(&shell("echo first; exec sleep 1000"), Vec::new(), Duration::from_millis(300)).unwrap();
        assert_eq!((ran.end, ran.text().as_str()), (End::Deadline, "first\n"));

        let script = format!("head -c {} /dev/zero", OUTPUT_BYTES_MAX + 10);
        let ran = processes.run(&shell(&script), Vec::new(), minute).unwrap();
        assert_eq!((ran.stdout.len(), ran.left_out), (OUTPUT_BYTES_MAX, 10));

        let missing = processes.run(&Program::new(&["/no/such/program"]), Vec::new(), minute);
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(processes.run(&Program::default(), Vec::new(), minute).is_err());

        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log").to_str().unwrap().to_owned();
        let staying = processes.spawn(&shell("echo here; exec sleep 1000"), &log).unwrap();
        assert_eq!(processes.wait(staying, Instant::now()).unwrap(), End::Running);
        signal(staying.into(), 15).unwrap();
        assert_eq!(processes.wait(staying, Instant::now() + minute).unwrap(), End::Signal(15));
        assert_eq!(processes.wait(staying, Instant::now()).unwrap(), End::Signal(15), "an end is remembered");

        let stranger = processes.wait(std::process::id(), Instant::now() + minute).unwrap_err();
        assert_eq!(stranger.raw_os_error(), Some(Errno::ESRCH as i32));

        for _ in 0..ENDS_MAX {
            processes.run(&Program::new(&["/bin/true"]), Vec::new(), minute).unwrap();
        }
        assert_eq!(processes.lock().ended.len(), ENDS_MAX);
        processes.wait_for_all(Instant::now() + minute);
        assert!(processes.lock().running.is_empty());
    }
}

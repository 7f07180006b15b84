// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The agent and its device helper: started, heard (readiness and signs of life as systemd hears them), started again when
//! they end, with a growing wait.

use crate::children;
use crate::watchdog::Progress;
use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, chown};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The agent's user and group, which exist in the image alone.
pub(crate) const AGENT_ID: u32 = 917;
/// The agent's runtime folder.
pub(crate) const RUNTIME: &str = "/run/adit";
/// Its configuration.
pub(crate) const AGENT_CONFIG: &str = "/run/adit/aditd.toml";
/// Where it says that it is ready and alive.
const NOTIFY: &str = "/run/adit/notify";
/// The device helper's socket, where the agent looks for it.
const PROBE_SOCKET: &str = "/run/adit/probe.sock";
/// How often the agent has to give a sign of life.
const WATCHDOG_US: &str = "60000000";
/// Waits before a service that ended is started again.
const AGAIN_FIRST: Duration = Duration::from_millis(500);
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// A service that lived this long is started again at once.
const LIVED_LONG: Duration = Duration::from_secs(60);
/// How long the helper may take to listen.
const PROBE_WAIT: Duration = Duration::from_secs(2);

/// One service.
#[derive(Debug)]
pub(crate) struct Service {
    name: &'static str,
    pid: AtomicI32,
    wanted: AtomicBool,
    starts: AtomicU32,
    /// Why it ended last.
    ended: Mutex<String>,
}

impl Service {
    /// Starts it and keeps it.
    fn keep<T: Send + 'static>(
        name: &'static str,
        command: impl Fn() -> Command + Send + 'static,
        tell: Sender<T>,
        event: fn() -> T,
    ) -> Result<Arc<Self>> {
        let service = Arc::new(Self {
            name,
            pid: AtomicI32::new(0),
            wanted: AtomicBool::new(true),
            starts: AtomicU32::new(0),
            ended: Mutex::default(),
        });
        let kept = Arc::clone(&service);
        let keep = move || {
            let mut wait = AGAIN_FIRST;
            while kept.wanted.load(Ordering::SeqCst) {
                let began = Instant::now();
                kept.once(&mut command());
                if tell.send(event()).is_err() {
                    return;
                }
                wait = if began.elapsed() > LIVED_LONG { AGAIN_FIRST } else { (wait * 2).min(AGAIN_MAX) };
                // One that was asked to end comes again at once.
                if !kept.ended.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                    thread::sleep(wait);
                }
            }
        };
        drop(thread::Builder::new().name(format!("keep {name}")).spawn(keep)?);
        Ok(service)
    }

    fn once(&self, command: &mut Command) {
        let ended = match children::spawn(command) {
            Ok(mut child) => {
                self.pid.store(i32::try_from(child.id()).unwrap_or_default(), Ordering::SeqCst);
                self.starts.fetch_add(1, Ordering::SeqCst);
                children::log_output(self.name, &mut child);
                let status = child.wait();
                self.pid.store(0, Ordering::SeqCst);
                children::finished(&child);
                match status {
                    Ok(status) if status.success() => String::new(),
                    Ok(status) => status.to_string(),
                    Err(error) => error.to_string(),
                }
            }
            Err(error) => format!("{error:#}"),
        };
        if !ended.is_empty() {
            log::error!("{} ended: {ended}", self.name);
        }
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = ended;
    }

    /// Asks it to end; it is started again.
    pub(crate) fn restart(&self) {
        let pid = self.pid.load(Ordering::SeqCst);
        if pid > 0 {
            // It may have ended just now.
            let _gone = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }

    /// It is not started again any more.
    pub(crate) fn release(&self) {
        self.wanted.store(false, Ordering::SeqCst);
    }

    /// How often it was started.
    pub(crate) fn starts(&self) -> u32 {
        self.starts.load(Ordering::SeqCst)
    }
}

/// Makes the runtime folder, which belongs to the agent.
pub(crate) fn folders() -> Result<()> {
    fs::create_dir_all(RUNTIME)?;
    give(Path::new(RUNTIME))
}

/// Gives a folder or file to the agent.
pub(crate) fn give(path: &Path) -> Result<()> {
    let (user, group) = (Uid::from_raw(AGENT_ID), Gid::from_raw(AGENT_ID));
    chown(path, Some(user), Some(group)).with_context(|| format!("give {} to the agent", path.display()))
}

/// Starts the device helper. Without it disks tell less; the rest goes on.
pub(crate) fn start_probe<T: Send + 'static>(tell: Sender<T>, event: fn() -> T) -> Result<Arc<Service>> {
    let command = || {
        let mut command = Command::new("/usr/bin/adit-probe");
        command.args(["serve", "--socket", PROBE_SOCKET]).env("MALLOC_ARENA_MAX", "1");
        command.gid(AGENT_ID).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let service = Service::keep("adit-probe", command, tell, event)?;
    let until = Instant::now() + PROBE_WAIT;
    while !Path::new(PROBE_SOCKET).exists() && Instant::now() < until {
        thread::sleep(Duration::from_millis(2));
    }
    Ok(service)
}

/// Starts the agent as its own user.
pub(crate) fn start_agent<T: Send + 'static>(tell: Sender<T>, event: fn() -> T) -> Result<Arc<Service>> {
    let command = || {
        let mut command = Command::new("/usr/bin/aditd");
        command.args(["--config", AGENT_CONFIG]).uid(AGENT_ID).gid(AGENT_ID);
        command.env("NOTIFY_SOCKET", NOTIFY).env("WATCHDOG_USEC", WATCHDOG_US).env("HOME", "/var/lib/adit");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    Service::keep("aditd", command, tell, event)
}

/// What the agent said last about itself.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    ready: AtomicBool,
    alive: Mutex<Option<Instant>>,
}

impl Heard {
    /// Whether the agent serves.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }

    /// How long ago it gave a sign of life; none when it never did.
    pub(crate) fn silent_for(&self) -> Option<Duration> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }

    /// The agent is being started.
    pub(crate) fn forget(&self) {
        self.ready.store(false, Ordering::SeqCst);
    }

    fn take(&self, text: &str) {
        for word in text.lines() {
            match word {
                "READY=1" => self.ready.store(true, Ordering::SeqCst),
                "STOPPING=1" => self.ready.store(false, Ordering::SeqCst),
                _ => {}
            }
        }
        *self.alive.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// Listens to the agent.
pub(crate) fn hear<T: Send + 'static>(progress: &Progress, tell: Sender<T>, event: fn() -> T) -> Result<Arc<Heard>> {
    let socket = UnixDatagram::bind(NOTIFY)?;
    fs::set_permissions(NOTIFY, fs::Permissions::from_mode(0o600))?;
    give(Path::new(NOTIFY))?;
    let heard = Arc::new(Heard::default());
    let (taken, progress) = (Arc::clone(&heard), progress.clone());
    let listen = move || {
        let mut buffer = [0; 4_096];
        while let Ok(read) = socket.recv(&mut buffer) {
            taken.take(&String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()));
            progress.agent_lives();
            if tell.send(event()).is_err() {
                return;
            }
        }
    };
    drop(thread::Builder::new().name("hear aditd".to_owned()).spawn(listen)?);
    Ok(heard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_words_are_understood() {
        let heard = Heard::default();
        assert!(!heard.is_ready() && heard.silent_for().is_none());
        heard.take("STATUS=reads\nEXTEND_TIMEOUT_USEC=1");
        assert!(!heard.is_ready() && heard.silent_for().is_some());
        heard.take("READY=1\nSTATUS=serves");
        assert!(heard.is_ready());
        heard.take("WATCHDOG=1");
        assert!(heard.is_ready());
        heard.take("STOPPING=1");
        assert!(!heard.is_ready());
    }
}

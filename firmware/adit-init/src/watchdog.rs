// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The watchdog: armed first of all, fed by a thread of its own as long as the policy says so, never closed in a way that
//! disarms it. Hardware is preferred; the kernel's own is better than none and is told as such.

use adit_slots::watchdog::{Phase, Signs};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Drivers that answer to no device's alias, best first; the last one is the kernel's own.
pub(crate) const DRIVERS: [&str; 3] = ["ipmi_watchdog", "sp5100_tco", "softdog"];
/// How often the thread looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// When each part of the machine last moved; shared with whoever moves.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    start: Instant,
    signs: Arc<Mutex<Signs>>,
}

impl Progress {
    /// Nothing was done yet.
    pub(crate) fn new() -> Self {
        let signs = Signs {
            now_ms: 0,
            fed_ms: 0,
            phase: Phase::Boot,
            // Later than the last feeding, so that the first one happens.
            progress_ms: 1,
            loop_ms: 0,
            storage_ms: None,
            agent_ms: None,
            write_ms: None,
        };
        Self { start: Instant::now(), signs: Arc::new(Mutex::new(signs)) }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn with<T>(&self, change: impl FnOnce(&mut Signs, u64) -> T) -> T {
        let now_ms = self.now_ms();
        change(&mut self.signs.lock().unwrap_or_else(PoisonError::into_inner), now_ms)
    }

    /// A step of the start or the stop is done, or the machine is in another phase.
    pub(crate) fn step(&self, phase: Phase) {
        self.with(|signs, now_ms| {
            (signs.phase, signs.progress_ms) = (phase, now_ms.max(signs.fed_ms + 1));
            signs.loop_ms = now_ms;
        });
    }

    /// The agent gave a sign of life.
    pub(crate) fn agent_lives(&self) {
        self.with(|signs, now_ms| signs.agent_ms = Some(now_ms));
    }

    /// The main loop went round.
    pub(crate) fn loop_turns(&self) {
        self.with(|signs, now_ms| signs.loop_ms = now_ms);
    }

    /// The storage answered.
    pub(crate) fn storage_answers(&self) {
        self.with(|signs, now_ms| signs.storage_ms = Some(now_ms));
    }

    /// Bytes of an update went to the disk, or none will any more.
    pub(crate) fn writes(&self, goes_on: bool) {
        self.with(|signs, now_ms| signs.write_ms = goes_on.then_some(now_ms));
    }
}

/// Arms the watchdogs that are there now and are not armed yet; answers what they are called.
pub(crate) fn arm(progress: &Progress, armed: &mut Vec<String>) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/class/watchdog") else { return Vec::new() };
    let mut nodes: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    nodes.sort();
    let mut names = Vec::new();
    for node in nodes {
        let name = identity(&node);
        if armed.contains(&node) {
            continue;
        }
        match OpenOptions::new().write(true).open(Path::new("/dev").join(&node)) {
            Ok(file) => {
                let progress = progress.clone();
                let feeder = move || feed(file, &progress);
                drop(thread::Builder::new().name("watchdog".to_owned()).spawn(feeder));
                armed.push(node);
                names.push(name);
            }
            Err(error) => log::warn!("arm the watchdog {node} ({name}): {error}"),
        }
    }
    names
}

fn identity(node: &str) -> String {
    let path = Path::new("/sys/class/watchdog").join(node).join("identity");
    fs::read_to_string(path).map_or_else(|_| node.to_owned(), |text| text.trim().to_owned())
}

/// Feeds for ever, or until the policy says that the machine is to be reset.
fn feed(mut file: File, progress: &Progress) {
    let mut set_s = 0;
    loop {
        let order = progress.with(|signs, now_ms| {
            signs.now_ms = now_ms;
            let order = signs.judge();
            if order.feed {
                signs.fed_ms = now_ms;
            }
            order
        });
        if order.timeout_s != set_s {
            match adit_sys::set_watchdog_timeout(&file, order.timeout_s) {
                Ok(_) => {}
                Err(error) => log::warn!("set the watchdog to {} s: {error}", order.timeout_s),
            }
            set_s = order.timeout_s;
        }
        if order.feed {
            // Any byte but a V, which would disarm it when the file is closed. The file is never closed.
            if let Err(error) = file.write_all(b"+") {
                log::error!("feed the watchdog: {error}");
            }
        }
        thread::sleep(LOOK_EVERY);
    }
}

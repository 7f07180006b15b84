// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a person sees while something runs: a line that redraws itself on a terminal, now and then a whole line in a
//! pipe or a log. Always on stderr: stdout belongs to results.

use crate::text;
use adit_archive::engine::Progress;
use adit_archive::info::{Counts, SkipReason, Skipped};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Redraws on a terminal at most this often.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Lines in a pipe or log at most this often.
const LINE_EVERY: Duration = Duration::from_secs(20);
/// Skipped paths that are shown as they come; the rest are only counted.
const SKIPPED_SHOWN: u64 = 20;

/// One redrawn line.
#[derive(Debug)]
pub struct Meter {
    bar: ProgressBar,
    what: &'static str,
    terminal: bool,
    started: Instant,
    drawn: Mutex<Instant>,
}

impl Meter {
    /// A line about bytes, or whatever [`Self::show`] is given.
    #[must_use]
    pub fn bytes(what: &'static str) -> Self {
        let terminal = io::stderr().is_terminal();
        let bar = ProgressBar::no_length();
        bar.set_draw_target(if terminal {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        });
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        let now = Instant::now();
        Self { bar, what, terminal, started: now, drawn: Mutex::new(now) }
    }

    /// Shows done and total.
    pub fn set(&self, done: u64, total: u64) {
        self.show(|elapsed| {
            let share = if total == 0 { 100 } else { u128::from(done) * 100 / u128::from(total) };
            let rate = per_second(done, elapsed);
            let left = rate_left(done, total, elapsed);
            format!("{share:>3} %  {} of {}  {}/s{left}", text::bytes(done), text::bytes(total), text::bytes(rate))
        });
    }

    /// Shows a line, unless the last one is too young.
    pub fn show(&self, line: impl FnOnce(Duration) -> String) {
        let every = if self.terminal { DRAW_EVERY } else { LINE_EVERY };
        let Ok(mut drawn) = self.drawn.try_lock() else { return };
        if drawn.elapsed() < every {
            return;
        }
        *drawn = Instant::now();
        let line = format!("{}: {}", self.what, line(self.started.elapsed()));
        if self.terminal {
            self.bar.set_message(line);
            self.bar.tick();
        } else {
            let _ignored = writeln!(io::stderr().lock(), "{line}");
        }
    }

    /// Says something that stays, above the redrawn line.
    pub fn note(&self, line: &str) {
        if self.terminal {
            self.bar.println(line);
        } else {
            let _ignored = writeln!(io::stderr().lock(), "{line}");
        }
    }

    /// Takes the line away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The line of a backup: what the engine counted, what the network sent.
#[derive(Debug)]
pub struct BackupProgress<'a> {
    meter: &'a Meter,
    sent: &'a AtomicU64,
    expected_files: u64,
    skipped: AtomicU64,
}

impl<'a> BackupProgress<'a> {
    /// `expected_files`: how many the last snapshot had; 0 when nobody knows.
    #[must_use]
    pub const fn new(meter: &'a Meter, sent: &'a AtomicU64, expected_files: u64) -> Self {
        Self { meter, sent, expected_files, skipped: AtomicU64::new(0) }
    }
}

impl Progress for BackupProgress<'_> {
    fn counted(&self, counts: &Counts) {
        self.meter.show(|elapsed| {
            let left = rate_left(counts.files, self.expected_files, elapsed);
            format!(
                "{} files  {} read  {} sent  {}/s{left}",
                text::count(counts.files),
                text::bytes(counts.bytes_read),
                text::bytes(self.sent.load(Ordering::Relaxed)),
                text::bytes(per_second(counts.bytes_read, elapsed)),
            )
        });
    }

    fn skipped(&self, skipped: &Skipped) {
        if !skipped.reason.is_failure() {
            return;
        }
        let before = self.skipped.fetch_add(1, Ordering::Relaxed);
        if before < SKIPPED_SHOWN {
            self.meter.note(&skipped_line(skipped));
        } else if before == SKIPPED_SHOWN {
            self.meter.note("more files are skipped; the snapshot's info record lists them");
        }
    }
}

/// What a person reads of a path that was not saved whole.
#[must_use]
pub fn skipped_line(skipped: &Skipped) -> String {
    let path = String::from_utf8_lossy(&skipped.path);
    let verb = if skipped.reason.is_failure() { "skipped" } else { "left out" };
    format!("{verb} {path}: {}", skip_reason(skipped.reason))
}

/// Why, and what to do about it.
#[must_use]
pub fn skip_reason(reason: SkipReason) -> String {
    match reason {
        SkipReason::Unreadable(errno) => {
            let error = io::Error::from_raw_os_error(errno);
            if error.kind() == io::ErrorKind::PermissionDenied {
                "permission denied (run the backup as a user who may read it, or exclude it)".to_owned()
            } else {
                format!("{error} (look at the disk, or exclude it)")
            }
        }
        SkipReason::Changed => "it changed each time that it was read (stop its writer, or back up a dump or a \
                                file-system snapshot)"
            .to_owned(),
        SkipReason::Socket => "a socket holds nothing to save".to_owned(),
        SkipReason::Vanished => "it was removed meanwhile".to_owned(),
    }
}

fn per_second(count: u64, elapsed: Duration) -> u64 {
    let ms = elapsed.as_millis().max(1);
    u64::try_from(u128::from(count) * 1000 / ms).unwrap_or(u64::MAX)
}

/// ", 2 min 3 s left" once there is something to judge by.
fn rate_left(done: u64, total: u64, elapsed: Duration) -> String {
    if done == 0 || total <= done || elapsed < Duration::from_secs(1) {
        return String::new();
    }
    let left_ms = elapsed.as_millis() * u128::from(total - done) / u128::from(done);
    let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(u64::MAX));
    format!("  about {} left", text::duration(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_times_left() {
        assert_eq!(per_second(10_000_000, Duration::from_secs(2)), 5_000_000);
        assert_eq!(rate_left(10, 40, Duration::from_secs(5)), "  about 15.0 s left");
        assert_eq!(rate_left(0, 40, Duration::from_secs(5)), "");
        assert_eq!(rate_left(40, 40, Duration::from_secs(5)), "");
    }

    #[test]
    fn a_skipped_file_is_told_with_the_next_step() {
        let skipped = |reason| skipped_line(&Skipped { path: b"/etc/shadow".to_vec(), reason });
        assert_eq!(
            skipped(SkipReason::Unreadable(13)),
            "skipped /etc/shadow: permission denied (run the backup as a user who may read it, or exclude it)"
        );
        assert_eq!(
            skipped(SkipReason::Changed),
            "skipped /etc/shadow: it changed each time that it was read (stop its writer, or back up a dump or a file-system snapshot)"
        );
    }
}

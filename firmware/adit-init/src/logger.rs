// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Log lines go into the kernel's own log: it is there from the first moment, it survives a panic in pstore, and the console
//! shows of it what is an error only.

use log::{Level, LevelFilter, Log, Metadata, Record};
use std::fs::{File, OpenOptions};
use std::io::Write as _;

/// Longest line that the kernel takes, bytes (CONSOLE_EXT_LOG_MAX less its own head).
const LINE_BYTES_MAX: usize = 900;

struct KernelLog(File);

impl Log for KernelLog {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // Numbers of syslog(3): facility "daemon" and the level.
        let level = match record.level() {
            Level::Error => 27,
            Level::Warn => 28,
            Level::Info => 30,
            Level::Debug | Level::Trace => 31,
        };
        let mut line = format!("<{level}>{}: {}", record.target(), record.args());
        line.truncate(line.floor_char_boundary(LINE_BYTES_MAX));
        // A log that is not there cannot be told anything.
        let _lost = (&self.0).write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Starts the log; without /dev/kmsg there is none.
pub(crate) fn start() {
    // All lines, not ten in five seconds.
    let _limited = std::fs::write("/proc/sys/kernel/printk_devkmsg", "on\n");
    let Ok(file) = OpenOptions::new().write(true).open("/dev/kmsg") else { return };
    if log::set_boxed_logger(Box::new(KernelLog(file))).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

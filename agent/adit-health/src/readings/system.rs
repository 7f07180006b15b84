// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the kernel knows of the machine as a whole.

/// The kernel's clock (adjtimex(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockReading {
    /// Whether a program keeps it: not STA_UNSYNC.
    pub is_synchronised: bool,
    /// How far the kernel still has to move it, milliseconds.
    pub offset_ms: i64,
}

/// How the machine came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootReading {
    /// A number for this boot: another boot has another one.
    pub boot: i64,
    /// Seconds since it.
    pub uptime_s: u64,
    /// Crash records that the kernel left in pstore.
    pub crash_records: usize,
    /// Whether the watchdog says that it reset the machine.
    pub watchdog_reset: bool,
}

/// Whether a reboot is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RebootReading {
    /// Packages that ask for one; empty when /run/reboot-required names none; `None` without that file.
    pub asked_by: Option<String>,
    /// A kernel that is installed and newer than the running one.
    pub newer_kernel: Option<String>,
}

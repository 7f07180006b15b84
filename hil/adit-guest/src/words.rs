// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can be asked of a machine, and what it answers. Harness and guest are always built from the same source, so these
//! types may change freely; nothing here goes over adit's own wire.

use serde::{Deserialize, Serialize};
use std::net::Ipv6Addr;

/// The most bytes of a file in one request or answer.
pub const FILE_PART_BYTES_MAX: usize = 4 << 20;
/// The most bytes kept of each output of a program; the rest is counted, not kept.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// The most requests that are worked on at a time; more wait on the port.
pub const REQUESTS_MAX: usize = 32;
/// The most ended processes whose end is remembered; the oldest is forgotten first.
pub const ENDS_MAX: usize = 1024;

/// One request. Answers carry its number and may come in another order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the asker; not used twice on a connection.
    pub id: u32,
    /// What to do.
    pub ask: Ask,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The number of the request.
    pub id: u32,
    /// What came of it.
    pub answer: Result<Answer, Failure>,
}

/// A program to start. It gets no environment but what is here, and `/` as its folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Absolute path and arguments.
    pub argv: Vec<String>,
    /// Environment.
    pub env: Vec<(String, String)>,
}

impl Program {
    /// A program with its arguments and `PATH`.
    pub fn new(argv: &[&str]) -> Self {
        let path = ("PATH".to_owned(), "/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
        Self { argv: argv.iter().map(|word| (*word).to_owned()).collect(), env: vec![path] }
    }
}

/// What to do. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Run a program to its end: [`Answer::Ran`]. After the deadline it is killed with all it started.
    Run {
        /// The program.
        program: Program,
        /// What it reads.
        stdin: Vec<u8>,
        /// How long it may take, in milliseconds.
        deadline_ms: u32,
    },
    /// Start a program and let it run: [`Answer::Process`]. Both outputs are appended to the log.
    Spawn {
        /// The program.
        program: Program,
        /// Where its outputs go.
        log: String,
    },
    /// Send a signal by number to a process, or to the group of a started program with a negative number: [`Answer::Done`].
    Signal {
        /// Process, or minus its group.
        process: i32,
        /// Number of the signal.
        signal: i32,
    },
    /// Wait for the end of a started program: [`Answer::Ended`]; still running at the deadline gives [`End::Running`].
    Wait {
        /// Which.
        process: u32,
        /// How long to wait, in milliseconds; 0 only looks.
        deadline_ms: u32,
    },
    /// Make or change a file; missing folders are made: [`Answer::Done`].
    WriteFile {
        /// Where.
        path: String,
        /// Permissions, applied to a new file too.
        permissions: u32,
        /// Append instead of replace.
        append: bool,
        /// Content, at most [`FILE_PART_BYTES_MAX`].
        bytes: Vec<u8>,
    },
    /// Read a part of a file: [`Answer::Bytes`], which is shorter than asked only at the end.
    ReadFile {
        /// Which.
        path: String,
        /// From which byte.
        offset: u64,
        /// At most so many bytes, and at most [`FILE_PART_BYTES_MAX`].
        bytes_max: u32,
    },
    /// Make a folder and its parents: [`Answer::Done`].
    MakeDirectory {
        /// Which.
        path: String,
    },
    /// Mount: [`Answer::Done`].
    Mount {
        /// Device or source.
        source: String,
        /// Folder, which is made when missing.
        target: String,
        /// Type of file system.
        kind: String,
        /// Flags.
        flags: Vec<MountFlag>,
        /// Further options, comma-separated.
        options: String,
    },
    /// Unmount: [`Answer::Done`].
    Unmount {
        /// Folder.
        target: String,
    },
    /// Set the wall clock: [`Answer::Done`].
    SetTime {
        /// Seconds since 1970.
        unix_s: i64,
        /// And nanoseconds.
        nanoseconds: u32,
    },
    /// Clocks and memory: [`Answer::Vitals`].
    Vitals,
    /// All IPv6 addresses: [`Answer::Addresses`].
    Addresses,
    /// The device file of the disk with this serial number, waiting for it to appear: [`Answer::Path`].
    Disk {
        /// Serial number as QEMU was given it.
        serial: String,
        /// How long it may take to appear, in milliseconds.
        deadline_ms: u32,
    },
    /// Everything in the kernel's log: [`Answer::Bytes`], lines as /dev/kmsg gives them, at most [`FILE_PART_BYTES_MAX`].
    KernelLog,
    /// Load a module that is in the first file system: [`Answer::Done`].
    LoadModule {
        /// Name with underscores.
        name: String,
        /// Parameters, separated by spaces.
        parameters: String,
    },
    /// Write everything to the disks: [`Answer::Done`].
    Sync,
    /// Choose what the power button does: [`Answer::Presses`], how often it was pressed until now.
    PowerButton {
        /// Whether a press ends the machine in order, as it does from the start.
        powers_off: bool,
    },
    /// End the machine: [`Answer::Done`] comes before it happens, or [`Failure`].
    End {
        /// How.
        how: Ending,
    },
}

/// How a machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// Stop programs, sync, unmount, power off.
    PowerOff,
    /// The same, then start anew.
    Reboot,
    /// Start anew at once, without a sync.
    RebootNow,
    /// Panic of the kernel.
    Crash,
}

/// Flags of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountFlag {
    /// No writing.
    ReadOnly,
    /// No times of access.
    NoAccessTimes,
    /// Every write at once.
    Synchronous,
    /// A folder in a second place.
    Bind,
    /// Change the flags of what is mounted.
    Remount,
}

/// What came of a request that did not fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Nothing to tell.
    Done,
    /// A program ran.
    Ran(Ran),
    /// Number of a started process.
    Process(u32),
    /// The end of a process.
    Ended(End),
    /// Content.
    Bytes(Vec<u8>),
    /// Clocks and memory.
    Vitals(Vitals),
    /// Addresses.
    Addresses(Vec<Address>),
    /// A path.
    Path(String),
    /// Count of presses.
    Presses(u32),
}

/// A program that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// How it ended.
    pub end: End,
    /// The first [`OUTPUT_BYTES_MAX`] bytes of its standard output.
    pub stdout: Vec<u8>,
    /// The first [`OUTPUT_BYTES_MAX`] bytes of its standard error.
    pub stderr: Vec<u8>,
    /// Bytes of both that were left out.
    pub left_out: u64,
}

impl Ran {
    /// Whether it ended with 0.
    pub fn succeeded(&self) -> bool {
        self.end == End::Exit(0)
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// It has not ended.
    Running,
    /// With this exit code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// It was killed because its deadline had come.
    Deadline,
}

/// Clocks and memory of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vitals {
    /// Time since the kernel started, in milliseconds.
    pub uptime_ms: u64,
    /// Wall clock, in milliseconds since 1970.
    pub unix_ms: i64,
    /// All memory, in KiB.
    pub memory_kib: u64,
    /// Memory that a new program could have, in KiB.
    pub available_kib: u64,
}

/// One IPv6 address of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Network interface.
    pub interface: String,
    /// The address.
    pub address: Ipv6Addr,
    /// Length of the prefix in bits.
    pub prefix_bits: u8,
    /// Whether duplicate detection has not ended yet, or ended badly: not usable.
    pub tentative: bool,
}

/// Why a request could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{doing}: {why}")]
pub struct Failure {
    /// What the guest was doing, with its subject.
    pub doing: String,
    /// What the kernel said.
    pub why: String,
    /// Number of the system's error, where there is one.
    pub errno: Option<i32>,
}

impl Failure {
    /// From an error of the system.
    pub fn system(doing: impl Into<String>, error: &std::io::Error) -> Self {
        Self { doing: doing.into(), why: error.to_string(), errno: error.raw_os_error() }
    }
}

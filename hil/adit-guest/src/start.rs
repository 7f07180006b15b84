// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The first steps of a machine: file systems of the kernel, folders, modules in their order. Failures are said on the
//! console; none ends the start.
#![expect(clippy::print_stdout, reason = "the console of the machine is its standard output")]

use crate::processes::Processes;
use adit_guest::words::Program;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// The program that reads devices for the agent, where a machine has it.
const DEVICE_READER: &str = "/usr/bin/adit-probe";
/// Where the agent asks it unless told otherwise.
const DEVICE_READER_SOCKET: &str = "/run/adit/probe.sock";
const DEVICE_READER_LOG: &str = "/run/adit-probe.log";
/// How long it may take to listen.
const DEVICE_READER_WAIT: Duration = Duration::from_secs(10);

const MOUNTS: [(&str, &str, &str); 6] = [
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", ""),
    ("tmpfs", "/run", "mode=755"),
    ("tmpfs", "/tmp", "mode=1777"),
    ("devpts", "/dev/pts", "mode=620,ptmxmode=666"),
];

/// Mounts what every program expects.
pub(crate) fn mounts() {
    for (kind, target, options) in MOUNTS {
        let mounted = std::fs::create_dir_all(target).and_then(|()| {
            mount(Some(kind), target, Some(kind), MsFlags::empty(), Some(options)).map_err(io::Error::from)
        });
        complain(&format!("mount {target}"), mounted);
    }
}

/// Loads the modules of the list.
pub(crate) fn modules() {
    let list = std::fs::read_to_string(format!("/{}", adit_guest::MODULE_LIST)).unwrap_or_default();
    for line in list.lines() {
        let (name, parameters) = line.split_once(' ').unwrap_or((line, ""));
        complain(&format!("load {name}"), load(name, parameters));
    }
}

/// Loads one module of the first file system. One that is there already is no error.
pub(crate) fn load(name: &str, parameters: &str) -> io::Result<()> {
    let file = File::open(format!("/lib/modules/{name}.ko"))?;
    match finit_module(file, &CString::new(parameters)?, ModuleInitFlags::empty()) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Starts the program that reads devices and waits until it listens, as a service manager would have its socket there first.
pub(crate) fn device_reader(processes: &Processes) {
    if !Path::new(DEVICE_READER).exists() {
        return;
    }
    let socket = Path::new(DEVICE_READER_SOCKET);
    let started = socket.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
        let program = Program::new(&[DEVICE_READER, "serve", "--socket", DEVICE_READER_SOCKET]);
        processes.spawn(&program, DEVICE_READER_LOG)?;
        let until = Instant::now() + DEVICE_READER_WAIT;
        while !socket.exists() {
            if Instant::now() > until {
                return Err(io::Error::other("it does not listen"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    });
    complain(&format!("start {DEVICE_READER}"), started);
}

/// Time since the kernel started, in seconds with two decimals.
pub(crate) fn uptime() -> String {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Says on the console what could not be done.
pub(crate) fn complain(doing: &str, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        println!("adit-guest: {doing}: {error}");
    }
}

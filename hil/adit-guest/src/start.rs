// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The first steps of a machine: file systems of the kernel, folders, modules in their order. Failures are said on the
//! console; none ends the start.
#![expect(clippy::print_stdout, reason = "the console of the machine is its standard output")]

use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use std::ffi::CString;
use std::fs::File;
use std::io;

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

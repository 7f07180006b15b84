// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kernel modules: those that the machine's devices ask for by their aliases, and those that are named. What a module needs
//! is loaded before it. There is no udev; new devices are looked at when the kernel tells of them.

use crate::appliance::Event;
use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Where the image keeps modules.
const FOLDER: &str = "/usr/lib/adit/modules";
/// "PATTERN NAME" a line.
const ALIASES: &str = "/usr/lib/adit/modules.alias";
/// "NAME: NEEDED NEEDED" a line, nearest first.
const NEEDS: &str = "/usr/lib/adit/modules.dep";
/// Depth of /sys/devices that is walked: no bus nests deeper.
const DEPTH_MAX: usize = 24;
/// How deep modules may need each other.
const NEEDS_MAX: usize = 16;

/// The modules of the image and which are loaded.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    aliases: Vec<(String, String)>,
    needs: BTreeMap<String, Vec<String>>,
    tried: BTreeSet<String>,
    seen: BTreeSet<String>,
}

impl Modules {
    /// Reads the image's tables.
    pub(crate) fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        Self::parse(&text(ALIASES), &text(NEEDS))
    }

    fn parse(aliases: &str, needs: &str) -> Self {
        let pair = |line: &str| line.rsplit_once(' ').map(|(pattern, name)| (pattern.to_owned(), name.to_owned()));
        let need = |line: &str| {
            let (name, needed) = line.split_once(':')?;
            Some((name.to_owned(), needed.split_ascii_whitespace().map(str::to_owned).collect()))
        };
        Self {
            aliases: aliases.lines().filter_map(pair).collect(),
            needs: needs.lines().filter_map(need).collect(),
            ..Self::default()
        }
    }

    /// Loads a module with what it needs. A module that is built in or not in the image is no error.
    pub(crate) fn load(&mut self, name: &str) -> Result<()> {
        for name in self.order(name) {
            let path = Path::new(FOLDER).join(format!("{name}.ko"));
            let Ok(file) = File::open(&path) else { continue };
            match finit_module(file, &CString::default(), ModuleInitFlags::empty()) {
                // A driver whose device is not there, or that somebody loaded.
                Ok(()) | Err(Errno::EEXIST | Errno::ENODEV) => {}
                Err(error) => return Err(error).with_context(|| format!("load the module {name}")),
            }
        }
        Ok(())
    }

    /// What has to be loaded for a module, in order; what was tried before is left out.
    fn order(&mut self, name: &str) -> Vec<String> {
        let mut order = Vec::new();
        self.visit(&name.replace('-', "_"), 0, &mut order);
        order
    }

    fn visit(&mut self, name: &str, depth: usize, order: &mut Vec<String>) {
        if depth > NEEDS_MAX || !self.tried.insert(name.to_owned()) {
            return;
        }
        for needed in self.needs.get(name).cloned().unwrap_or_default() {
            self.visit(&needed, depth + 1, order);
        }
        order.push(name.to_owned());
    }

    /// Loads what the devices ask for, again as long as that brings new devices. Answers what could not be loaded.
    pub(crate) fn for_devices(&mut self) -> Vec<String> {
        let mut failed = Vec::new();
        loop {
            let mut asked = BTreeSet::new();
            walk(Path::new("/sys/devices"), 0, &mut asked);
            let new: Vec<String> = asked.difference(&self.seen).cloned().collect();
            if new.is_empty() {
                return failed;
            }
            for alias in new {
                for name in self.matching(&alias) {
                    failed.extend(self.load(&name).err().map(|error| format!("{error:#}")));
                }
                self.seen.insert(alias);
            }
        }
    }

    fn matching(&self, alias: &str) -> Vec<String> {
        let found = self.aliases.iter().filter(|(pattern, _)| matches(pattern.as_bytes(), alias.as_bytes()));
        found.map(|(_, name)| name.clone()).collect()
    }
}

/// Collects the aliases of all devices below a folder.
fn walk(folder: &Path, depth: usize, asked: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth < DEPTH_MAX {
            walk(&entry.path(), depth + 1, asked);
        } else if entry.file_name() == "modalias" {
            asked.extend(fs::read_to_string(entry.path()).ok().map(|text| text.trim().to_owned()));
        }
    }
}

/// Whether a pattern of fnmatch(3) with `*`, `?` and `[…]` matches all of a text. Patterns are of the image, texts of devices.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // The place to go back to: after the last star, and one byte further in the text each time.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() || p < pattern.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(b'[') => {
                if let (Some(byte), Some(close)) = (text.get(t), close(pattern, p))
                    && class(&pattern[p + 1..close], *byte)
                {
                    (p, t) = (close + 1, t + 1);
                    continue;
                }
            }
            Some(b'?') if t < text.len() => {
                (p, t) = (p + 1, t + 1);
                continue;
            }
            Some(byte) if text.get(t) == Some(byte) => {
                (p, t) = (p + 1, t + 1);
                continue;
            }
            _ => {}
        }
        match star {
            Some((at, from)) if from < text.len() => {
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
            _ => return false,
        }
    }
    true
}

fn close(pattern: &[u8], open: usize) -> Option<usize> {
    pattern.iter().skip(open).position(|byte| *byte == b']').map(|offset| open + offset)
}

/// Whether a byte is in `a-z0` as it stands between brackets.
fn class(mut members: &[u8], byte: u8) -> bool {
    loop {
        match members {
            [from, b'-', to, rest @ ..] => {
                if (*from..=*to).contains(&byte) {
                    return true;
                }
                members = rest;
            }
            [one, rest @ ..] => {
                if *one == byte {
                    return true;
                }
                members = rest;
            }
            [] => return false,
        }
    }
}

/// Loads modules for devices that come later, and tells of disks that come or go. The kernel sends one text a change:
/// fields that end with a zero byte, the first one "add@/devices/…".
pub(crate) fn watch(modules: &Arc<Mutex<Modules>>, events: Sender<Event>) {
    let listen = || -> Result<OwnedFd> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkKObjectUEvent)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 1))?;
        Ok(socket)
    };
    let socket = match listen() {
        Ok(socket) => socket,
        Err(error) => return log::warn!("hear of new devices: {error:#}"),
    };
    let modules = Arc::clone(modules);
    let watch = move || {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let read = match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(read) => read,
                // More happened than the socket holds; the next change tells again.
                Err(Errno::ENOBUFS | Errno::EINTR) => continue,
                Err(_) => return,
            };
            let text = String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()).into_owned();
            let mut fields = text.split('\0');
            let added = fields.next().is_some_and(|head| head.starts_with("add@"));
            if added && let Some(alias) = fields.clone().find_map(|field| field.strip_prefix("MODALIAS=")) {
                let mut modules = modules.lock().unwrap_or_else(PoisonError::into_inner);
                for name in modules.matching(alias) {
                    if let Err(error) = modules.load(&name) {
                        log::warn!("{error:#}");
                    }
                }
            }
            if fields.clone().any(|field| field == "DEVTYPE=disk") && events.send(Event::Disks).is_err() {
                return;
            }
        }
    };
    drop(thread::Builder::new().name("devices".to_owned()).spawn(watch));
}

/// Names of watchdog drivers of the image that answer to no alias, in the order in which they are tried.
pub(crate) fn present(names: &[&'static str]) -> Vec<&'static str> {
    let there = |name: &&&'static str| PathBuf::from(FOLDER).join(format!("{name}.ko")).exists();
    names.iter().filter(there).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_fnmatch_does() {
        for (pattern, text, expected) in [
            ("virtio:d00000002v*", "virtio:d00000002v00001AF4", true),
            ("virtio:d00000002v*", "virtio:d00000001v00001AF4", false),
            ("pci:v*d*sv*sd*bc01sc08i02*", "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02", true),
            ("usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*", "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00", true),
            ("acpi*:PNP0C0C:*", "acpi:PNP0C0C:", true),
            (
                "cpu:type:x86,ven*fam*mod*:feature:*0099*",
                "cpu:type:x86,ven0000fam000Fmod006B:feature:,0019,0099,0100",
                true,
            ),
            ("hid:b0003g*v0000045Ep0[0-9]*", "hid:b0003g0001v0000045Ep07F8", true),
            ("a[bc]?", "abx", true),
            ("a[bc]?", "adx", false),
            ("", "", true),
            ("", "x", false),
            ("*", "", true),
            ("a[", "a[", false),
            ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_a_module_needs_comes_first_and_once() {
        let mut modules = Modules::parse("", "ext4: jbd2 mbcache crc16\njbd2: crc16\nloop: loop\n");
        assert_eq!(modules.order("ext4"), ["crc16", "jbd2", "mbcache", "ext4"]);
        assert_eq!(modules.order("jbd2"), [""; 0]);
        assert_eq!(modules.order("loop"), ["loop"]);
    }

    #[test]
    fn a_device_finds_its_module() {
        let modules = Modules::parse("virtio:d00000002v* virtio_blk\npci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\n", "");
        assert_eq!(modules.matching("virtio:d00000002v00001AF4"), ["virtio_blk"]);
        assert_eq!(modules.matching("acpi:PNP0C0C:"), [""; 0]);
    }
}

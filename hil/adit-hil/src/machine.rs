// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a machine is made of, and the QEMU command line that this becomes. Nothing runs here: a description is data, and
//! the same description always gives the same arguments, so that a failure can be seen again.

use crate::disk::{self, Disk};
use crate::guest::{self, Spec};
use crate::net::Lan;
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Memory of a machine that names none, MiB: the smallest common virtual machine has 512, a box of the 1 GB class more.
pub const MEMORY_MIB_DEFAULT: u32 = 256;

/// The program that is every machine.
pub const QEMU: &str = "qemu-system-x86_64";

/// A command that becomes QEMU and ends with whoever started it, also when that is killed: a machine nobody looks after would
/// run for ever.
pub(crate) fn qemu() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", QEMU]);
    command
}

/// What runs the machine's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// QEMU's own translator: works everywhere.
    Tcg,
    /// The host's virtualisation, where a timed boot proved that it works.
    Kvm,
}

impl Accel {
    /// The word on QEMU's command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        }
    }
}

/// How the machine's time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As on the wall: needed wherever somebody outside talks to the machine.
    Wall,
    /// Idle time is skipped: weeks pass in seconds. Only for machines that are alone.
    Warp,
}

/// Hardware that resets a machine whose software is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watchdog {
    /// Intel 6300ESB, on the PCI bus.
    I6300esb,
    /// IBM's, on the ISA bus.
    Ib700,
}

/// Where a machine's kernel comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boots {
    /// QEMU loads the harness's kernel and first file system: the quickest way to a machine that the harness speaks with.
    Kernel,
    /// UEFI firmware finds a boot loader on a disk, as a real machine does.
    Firmware {
        /// The firmware's code, never written.
        code: PathBuf,
        /// Its variables, of this machine alone.
        variables: PathBuf,
    },
}

/// The parts of one machine.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Its name: of its artifacts and its host name.
    pub name: String,
    /// Memory, MiB.
    pub memory_mib: u32,
    /// Processors.
    pub processors: u32,
    /// Disks in order.
    pub disks: Vec<Disk>,
    /// Where its kernel comes from.
    pub boots: Boots,
    /// Kernel modules, programs and files of its first file system, where the harness gives it one.
    pub inside: Spec,
    /// Words added to the kernel's command line.
    pub words: Vec<String>,
    /// The hardware watchdog.
    pub watchdog: Option<Watchdog>,
    /// What the real-time clock says at power-on: none for the host's time, else seconds since 1970.
    pub clock_s: Option<i64>,
    /// How time passes.
    pub pace: Pace,
    /// A graphics card, so that a picture of the screen can be taken.
    pub screen: bool,
    /// Its networks, a card each.
    pub lans: Vec<Lan>,
    /// Further arguments of QEMU, as a BMC or a supply says them.
    pub more: Vec<String>,
}

/// Where the machine's own channels listen: a short directory, since a socket's path has 108 bytes at most.
#[derive(Clone, Debug)]
pub(crate) struct Channels<'a> {
    pub(crate) dir: &'a Path,
}

impl Channels<'_> {
    pub(crate) const ALL: [&'static str; 4] = ["qmp", "console", "hand", "agent"];
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Parts {
    /// A machine with the default memory and nothing but a console.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            memory_mib: MEMORY_MIB_DEFAULT,
            processors: 1,
            disks: Vec::new(),
            boots: Boots::Kernel,
            inside: Spec::default(),
            words: Vec::new(),
            watchdog: None,
            clock_s: None,
            pace: Pace::Wall,
            screen: false,
            lans: Vec::new(),
            more: Vec::new(),
        }
    }

    /// Adds modules, programs or files to its first file system.
    pub fn put_inside(&mut self, add: impl FnOnce(Spec) -> Spec) {
        self.inside = add(std::mem::take(&mut self.inside));
    }

    /// The command line, without the program itself.
    ///
    /// `direct`: kernel and first file system, where QEMU loads them.
    pub(crate) fn arguments(
        &self,
        accel: Accel,
        channels: &Channels<'_>,
        direct: Option<(&Path, &Path)>,
    ) -> Result<Vec<String>> {
        let mut line = CommandLine::default();
        self.board(&mut line, accel)?;
        if let Some((kernel, initramfs)) = direct {
            line.option("-kernel", &text(kernel)?);
            line.option("-initrd", &text(initramfs)?);
            line.option("-append", &self.kernel_words());
        }
        if let Boots::Firmware { code, variables } = &self.boots {
            for (unit, path, more) in [(0, code, ",readonly=on"), (1, variables, "")] {
                let path = text(path)?;
                line.option("-drive", &format!("if=pflash,format=raw,unit={unit},file={path}{more}"));
            }
        }
        for name in Channels::ALL {
            let path = text(&channels.path(name))?;
            line.option("-chardev", &format!("socket,id={name},path={path}"));
        }
        line.option("-mon", "chardev=qmp,mode=control");
        line.option("-serial", "chardev:console");
        line.device("virtio-serial-pci,id=ports");
        line.device("virtserialport,chardev=hand,name=adit.hand,bus=ports.0");
        line.device("virtserialport,chardev=agent,name=adit.console,bus=ports.0");
        line.0.extend(disk::arguments(&self.disks)?);
        for (index, lan) in self.lans.iter().enumerate() {
            let socket = text(&lan.qemu_port(&self.name)?)?;
            line.option("-netdev", &format!("stream,id=n{index},server=off,addr.type=unix,addr.path={socket}"));
            let mac = self.mac(index);
            line.device(&format!("virtio-net-pci,id=nic{index},netdev=n{index},mac={mac},romfile="));
        }
        line.0.extend(self.more.iter().cloned());
        Ok(line.0)
    }

    fn board(&self, line: &mut CommandLine, accel: Accel) -> Result<()> {
        line.option("-accel", accel.word());
        line.option("-machine", guest::MACHINE);
        line.option("-cpu", if accel == Accel::Kvm { "host" } else { guest::CPU });
        line.option("-smp", &self.processors.to_string());
        line.option("-m", &format!("{}M", self.memory_mib));
        line.option("-name", &self.name);
        line.0.extend(["-nodefaults", "-no-user-config"].map(str::to_owned));
        line.option("-display", "none");
        if self.screen {
            line.device("VGA");
        }
        if let Some(watchdog) = self.watchdog {
            line.device(match watchdog {
                Watchdog::I6300esb => "i6300esb,id=watchdog",
                Watchdog::Ib700 => "ib700,id=watchdog",
            });
            line.option("-action", "watchdog=reset");
        }
        let base =
            self.clock_s.map(|s| Ok::<_, anyhow::Error>(format!("base={},", iso(s)?))).transpose()?.unwrap_or_default();
        match self.pace {
            // QEMU 7.2 counts the distance to the host's clock in 32 bits, which a far date overflows.
            Pace::Wall => line.option("-rtc", &format!("{base}clock={}", if base.is_empty() { "host" } else { "vm" })),
            Pace::Warp => {
                line.option("-rtc", &format!("{base}clock=vm"));
                line.option("-icount", "shift=1,sleep=off");
            }
        }
        Ok(())
    }

    fn kernel_words(&self) -> String {
        let mut words = guest::COMMAND_LINE.to_owned();
        for word in std::iter::once(&format!("adit.name={}", self.name)).chain(&self.words) {
            words.push(' ');
            words.push_str(word);
        }
        words
    }

    /// The address of a network card: locally administered, from the machine's name, so that two machines of one story
    /// never share one and every run has the same.
    fn mac(&self, index: usize) -> String {
        let hash = blake3::hash(format!("{}/{index}", self.name).as_bytes());
        let mut mac = "52:54".to_owned();
        for byte in hash.as_bytes().iter().take(4) {
            // Writing to a string cannot fail.
            let _written = write!(mac, ":{byte:02x}").is_ok();
        }
        mac
    }
}

/// QEMU's command line in the making.
#[derive(Debug, Default)]
struct CommandLine(Vec<String>);

impl CommandLine {
    fn option(&mut self, name: &str, value: &str) {
        self.0.extend([name.to_owned(), value.to_owned()]);
    }

    fn device(&mut self, value: &str) {
        self.option("-device", value);
    }
}

fn text(path: &Path) -> Result<String> {
    let text = path.to_str().context("a path of the harness is not UTF-8")?;
    anyhow::ensure!(
        !text.contains(','),
        "QEMU's options cannot hold the comma of {text}: use another target directory"
    );
    Ok(text.to_owned())
}

/// A time as QEMU's `-rtc base=` wants it, UTC.
fn iso(seconds: i64) -> Result<String> {
    let time =
        jiff::Timestamp::from_second(seconds).with_context(|| format!("{seconds} s is no time a clock can show"))?;
    Ok(time.strftime("%Y-%m-%dT%H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_parts_give_the_same_arguments() {
        let channels = Channels { dir: Path::new("/run/x") };
        let mut parts = Parts::new("box");
        parts.clock_s = Some(4_070_908_799);
        parts.watchdog = Some(Watchdog::I6300esb);
        let make =
            || parts.arguments(Accel::Tcg, &channels, Some((Path::new("/k"), Path::new("/i")))).expect("arguments");
        assert_eq!(make(), make());
        let line = make().join(" ");
        for wanted in ["-accel tcg", "base=2098-12-31T23:59:59,clock=vm", "i6300esb", "name=adit.hand", "-m 256M"] {
            assert!(line.contains(wanted), "{wanted} is missing in {line}");
        }
        assert_ne!(parts.mac(0), Parts::new("server").mac(0));
    }

    #[test]
    fn times_are_written_as_dates() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_700_000_000, "2023-11-14T22:13:20"),
            (4_102_444_800, "2100-01-01T00:00:00"),
        ] {
            assert_eq!(iso(seconds).expect("a time"), date);
        }
    }

    #[test]
    fn a_comma_in_a_path_is_refused() {
        assert!(text(Path::new("/a,b")).is_err());
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A unified kernel image: systemd's stub with the kernel, its command line and its first file system as sections
//! (systemd-stub(7)). Firmware starts it like any program; systemd-boot reads `.osrel` for the name and the version that it
//! sorts by. Never signs anything: the update file does that.

use crate::arch::Arch;
use crate::pe::{Pe, PeError};
use adit_slots::version::Version;

/// The words of `.osrel` that say whose image it is.
const ID: &str = "adit";
/// A kernel without this is no bzImage and no arm64 Image that firmware can start.
const KERNEL_MAGIC: &[u8] = b"MZ";

/// Why an image could not be joined or taken apart.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum UkiError {
    /// The stub, or the whole image.
    #[error("read the parts of a unified kernel image")]
    Pe(#[from] PeError),
    /// Made for another machine than it should be.
    #[error("{what} is for PE machine {got:#06x}, not for {arch}")]
    Machine {
        /// The stub, the kernel, or the image.
        what: &'static str,
        /// What its header says.
        got: u16,
        /// What it should be for.
        arch: Arch,
    },
    /// A kernel that firmware cannot start.
    #[error("kernel is not a PE file, so firmware cannot start it")]
    Kernel,
    /// A section that every image of ours has.
    #[error("unified kernel image has no section {0}")]
    Missing(&'static str),
    /// Text that is not UTF-8, or says something else than an image of ours.
    #[error("section {0} is not what an image of ours says")]
    Text(&'static str),
}

/// What goes into an image.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The machine it is for.
    pub arch: Arch,
    /// Its version.
    pub version: Version,
    /// The kernel's own version, such as `6.1.0-56-cloud-amd64`.
    pub kernel_version: &'a str,
    /// Words for the kernel.
    pub command_line: &'a str,
    /// The kernel as its package has it.
    pub kernel: &'a [u8],
    /// The first file system, compressed or not.
    pub initrd: &'a [u8],
}

impl Parts<'_> {
    /// Joins the parts with a stub. The kernel comes last: it is larger in memory than in the file.
    pub fn join(&self, stub: &[u8]) -> Result<Vec<u8>, UkiError> {
        let pe = Pe::new(stub)?;
        check_machine("stub", &pe, self.arch)?;
        if !self.kernel.starts_with(KERNEL_MAGIC) {
            return Err(UkiError::Kernel);
        }
        check_machine("kernel", &Pe::new(self.kernel)?, self.arch)?;
        let os_release = os_release(self.version);
        Ok(pe.append(&[
            (".osrel", os_release.as_bytes()),
            (".cmdline", self.command_line.as_bytes()),
            (".uname", self.kernel_version.as_bytes()),
            (".initrd", self.initrd),
            (".linux", self.kernel),
        ])?)
    }
}

/// An image taken apart.
#[derive(Debug, Clone, Copy)]
pub struct Uki<'a> {
    /// `.osrel`, lines of NAME=VALUE.
    pub os_release: &'a str,
    /// `.cmdline`.
    pub command_line: &'a str,
    /// `.uname`.
    pub kernel_version: &'a str,
    /// `.linux`.
    pub kernel: &'a [u8],
    /// `.initrd`.
    pub initrd: &'a [u8],
    /// What it says to be for.
    pub arch: Arch,
    /// What it says to be.
    pub version: Version,
}

impl<'a> Uki<'a> {
    /// Reads what [`Parts::join`] made.
    pub fn read(bytes: &'a [u8]) -> Result<Self, UkiError> {
        let pe = Pe::new(bytes)?;
        let arch = Arch::of_pe_machine(pe.machine()).ok_or(UkiError::Text("machine"))?;
        let section = |name: &'static str| pe.section(name)?.ok_or(UkiError::Missing(name));
        let text = |name: &'static str| {
            section(name).and_then(|bytes| std::str::from_utf8(bytes).map_err(|_| UkiError::Text(name)))
        };
        let os_release = text(".osrel")?;
        let field = |key: &str| {
            os_release
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .map(|value| value.trim_matches('"'))
        };
        let version =
            field("VERSION_ID").and_then(|version| Version::parse(version).ok()).filter(|_| field("ID") == Some(ID));
        Ok(Self {
            os_release,
            command_line: text(".cmdline")?,
            kernel_version: text(".uname")?,
            kernel: section(".linux")?,
            initrd: section(".initrd")?,
            arch,
            version: version.ok_or(UkiError::Text(".osrel"))?,
        })
    }
}

/// What systemd-boot reads: the name in its list, the key to sort by, and the version within that key.
fn os_release(version: Version) -> String {
    format!("ID={ID}\nIMAGE_ID={ID}\nVERSION_ID={version}\nPRETTY_NAME=\"adit {version}\"\n")
}

fn check_machine(what: &'static str, pe: &Pe<'_>, arch: Arch) -> Result<(), UkiError> {
    let got = pe.machine();
    if got == arch.pe_machine() { Ok(()) } else { Err(UkiError::Machine { what, got, arch }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pe::tests::stub;

    fn parts<'a>(kernel: &'a [u8], initrd: &'a [u8]) -> Parts<'a> {
        Parts {
            arch: Arch::X86_64,
            version: Version::new(1, 2, 3),
            kernel_version: "6.1.0-56-cloud-amd64",
            command_line: "console=ttyS0 quiet",
            kernel,
            initrd,
        }
    }

    #[test]
    fn parts_come_back_as_they_went_in() {
        let kernel = stub();
        let uki = parts(&kernel, b"cpio").join(&stub()).unwrap();
        let read = Uki::read(&uki).unwrap();
        assert_eq!((read.kernel, read.initrd), (kernel.as_slice(), &b"cpio"[..]));
        assert_eq!((read.command_line, read.kernel_version), ("console=ttyS0 quiet", "6.1.0-56-cloud-amd64"));
        assert_eq!((read.arch, read.version.to_string().as_str()), (Arch::X86_64, "1.2.3"));
        assert!(read.os_release.contains("PRETTY_NAME=\"adit 1.2.3\"\n"));
    }

    #[test]
    fn what_cannot_boot_is_refused() {
        let kernel = stub();
        assert_eq!(parts(b"\x7fELF", b"").join(&stub()), Err(UkiError::Kernel));
        let arm = Parts { arch: Arch::Aarch64, ..parts(&kernel, b"") };
        assert!(matches!(arm.join(&stub()), Err(UkiError::Machine { what: "stub", got: 0x8664, .. })));
        assert_eq!(Uki::read(&stub()).unwrap_err(), UkiError::Missing(".osrel"));
        assert!(matches!(Uki::read(b"MZ"), Err(UkiError::Pe(PeError::Kind))));
        let foreign = Pe::new(&kernel).unwrap().append(&[
            (".osrel", b"ID=debian\nVERSION_ID=12\n"),
            (".cmdline", b""),
            (".uname", b""),
            (".initrd", b""),
            (".linux", b""),
        ]);
        assert_eq!(Uki::read(&foreign.unwrap()).unwrap_err(), UkiError::Text(".osrel"));
    }
}

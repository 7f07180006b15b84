// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A board: what an image for one kind of machine is made of, as a TOML file in `images/boards`. Which kernel, which
//! modules, which programs of Debian, which words for the kernel, and the least memory it promises to start with. Never
//! names a version: that is the lock file's.

use crate::arch::{Arch, Flavour};
use serde::Deserialize;

/// The most modules or programs a board may name.
pub const NAMES_MAX: usize = 512;

/// Why a board cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// Not TOML of this form.
    #[error("read the board")]
    Form(#[source] Box<toml::de::Error>),
    /// More names than [`NAMES_MAX`].
    #[error("board names {0} modules or programs, at most {NAMES_MAX} are taken")]
    TooMany(usize),
    /// A file that is for another flavour than its name says.
    #[error("board is for flavour {got}, not {expected}")]
    Flavour {
        /// What the file says.
        got: Flavour,
        /// What was asked for.
        expected: Flavour,
    },
}

/// A board as its file says it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// What it is for.
    pub flavour: Flavour,
    /// The least memory that such a machine starts with, in MiB.
    pub memory_floor_mib: u32,
    /// The package that depends on the kernel, for each architecture.
    kernel: Both,
    /// Words for the kernel.
    words: Parts<String>,
    /// Names of kernel modules; what they need comes by itself.
    modules: Parts<Vec<String>>,
    /// Programs of Debian.
    pub tools: Tools,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Both {
    x86_64: String,
    aarch64: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts<T> {
    all: T,
    x86_64: T,
    aarch64: T,
}

impl<T> Parts<T> {
    const fn of(&self, arch: Arch) -> (&T, &T) {
        match arch {
            Arch::X86_64 => (&self.all, &self.x86_64),
            Arch::Aarch64 => (&self.all, &self.aarch64),
        }
    }
}

/// Programs of Debian and the packages that they and their libraries come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tools {
    /// Names of packages.
    pub packages: Vec<String>,
    /// Paths of programs in those packages.
    pub programs: Vec<String>,
}

impl Board {
    /// Reads a board.
    pub fn parse(text: &str, expected: Flavour) -> Result<Self, BoardError> {
        let board: Self = toml::from_str(text).map_err(|source| BoardError::Form(Box::new(source)))?;
        let names = [Arch::X86_64, Arch::Aarch64].map(|arch| board.modules(arch).len());
        let names = names.into_iter().chain([board.tools.packages.len(), board.tools.programs.len()]).max();
        match names {
            Some(names) if names > NAMES_MAX => Err(BoardError::TooMany(names)),
            _ if board.flavour != expected => Err(BoardError::Flavour { got: board.flavour, expected }),
            _ => Ok(board),
        }
    }

    /// The package that depends on the kernel.
    #[must_use]
    pub fn kernel(&self, arch: Arch) -> &str {
        match arch {
            Arch::X86_64 => &self.kernel.x86_64,
            Arch::Aarch64 => &self.kernel.aarch64,
        }
    }

    /// The kernel's command line.
    #[must_use]
    pub fn words(&self, arch: Arch) -> String {
        let (all, own) = self.words.of(arch);
        format!("{own} {all}")
    }

    /// Names of modules.
    #[must_use]
    pub fn modules(&self, arch: Arch) -> Vec<&str> {
        let (all, own) = self.modules.of(arch);
        all.iter().chain(own).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    const VM: &str = include_str!("../../boards/vm.toml");
    const HARDWARE: &str = include_str!("../../boards/hardware.toml");

    #[test]
    fn the_boards_of_this_repository_are_whole() {
        let (vm, hardware) =
            (Board::parse(VM, Flavour::Vm).unwrap(), Board::parse(HARDWARE, Flavour::Hardware).unwrap());
        assert_eq!(vm.kernel(Arch::X86_64), "linux-image-cloud-amd64");
        assert_eq!(hardware.kernel(Arch::Aarch64), "linux-image-arm64");
        assert!(vm.words(Arch::X86_64).starts_with("console=tty0 console=ttyS0"));
        assert!(
            vm.modules(Arch::Aarch64).contains(&"virtio_mmio") && !vm.modules(Arch::X86_64).contains(&"virtio_mmio")
        );
        assert_eq!((vm.memory_floor_mib, hardware.memory_floor_mib), (176, 256));
    }

    #[test]
    fn unknown_words_and_too_many_names_are_refused() {
        let refused = |text: &str| Board::parse(text, Flavour::Vm).unwrap_err();
        let unknown = refused(&VM.replace("memory_floor_mib", "memory_flor_mib"));
        assert!(unknown.source().unwrap().to_string().contains("memory_flor_mib"), "{unknown}");
        assert!(matches!(refused(HARDWARE), BoardError::Flavour { got: Flavour::Hardware, .. }));
        let programs = |count: usize| VM.replace("\"sbin/mdadm\"]", &format!("{}]", "\"x\", ".repeat(count - 3)));
        assert!(Board::parse(&programs(NAMES_MAX), Flavour::Vm).is_ok());
        assert!(matches!(refused(&programs(NAMES_MAX + 1)), BoardError::TooMany(513)));
    }
}

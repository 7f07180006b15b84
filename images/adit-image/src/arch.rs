// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The machines and flavours that images are made for, and what each is called by those that need to know.

use adit_slots::manifest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A processor architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit PC.
    #[value(name = "x86_64")]
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit ARM with UEFI.
    #[value(name = "aarch64")]
    Aarch64,
}

impl Arch {
    /// Its name in Rust, in the kernel, and in file names.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Its name in Debian.
    #[must_use]
    pub const fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// Its name in UEFI, in lower case: `linuxx64.efi.stub`.
    #[must_use]
    pub const fn efi(self) -> &'static str {
        match self {
            Self::X86_64 => "x64",
            Self::Aarch64 => "aa64",
        }
    }

    /// Its number in a PE header.
    #[must_use]
    pub const fn pe_machine(self) -> u16 {
        match self {
            Self::X86_64 => 0x8664,
            Self::Aarch64 => 0xaa64,
        }
    }

    /// Its number in an ELF header.
    #[must_use]
    pub const fn elf_machine(self) -> u16 {
        match self {
            Self::X86_64 => 62,
            Self::Aarch64 => 183,
        }
    }

    /// Its number in a manifest.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::X86_64 => manifest::Arch::X86_64 as u8,
            Self::Aarch64 => manifest::Arch::Aarch64 as u8,
        }
    }

    /// The architecture that a PE header names.
    #[must_use]
    pub fn of_pe_machine(machine: u16) -> Option<Self> {
        [Self::X86_64, Self::Aarch64].into_iter().find(|arch| arch.pe_machine() == machine)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// Virtual machines: a small kernel with paravirtual devices only.
    Vm,
    /// Real machines: drivers for disks, network, sensors and watchdogs.
    Hardware,
}

impl Flavour {
    /// Its name on command lines and in file names.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Hardware => "hardware",
        }
    }

    /// Its number in a manifest.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Vm => manifest::Flavour::Vm as u8,
            Self::Hardware => manifest::Flavour::Hardware as u8,
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

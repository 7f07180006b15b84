// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From a board, pinned packages and our programs to a unified kernel image and a disk. The same order gives the same bytes,
//! in whatever folder it is carried out. Needs no root, mounts nothing, and never asks the machine it runs on what it is.

use crate::arch::Arch;
use crate::board::Board;
use crate::digest::Sha256;
use crate::image::{self, ImageError};
use crate::initrd::{self, Contents, Identity, InitrdError};
use crate::inputs::{InputsError, LOADER_PACKAGE, Lock, Package, Store};
use crate::modules::{ModuleError, Modules};
use crate::table::SectorSize;
use crate::uki::{self, UkiError};
use adit_slots::layout;
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};

/// The largest unified kernel image and the largest download, in bytes.
pub const GATE_BYTES: u64 = 32_000_000;
/// The same for arm64, whose kernel is not packed: what a slot takes.
pub const GATE_AARCH64_BYTES: u64 = layout::UKI_BYTES_MAX;

/// Why an image was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Packages.
    #[error("get the packages")]
    Inputs(#[from] InputsError),
    /// A file that a package should hold.
    #[error("read {} of package {package}", path.display())]
    Part {
        /// The package.
        package: String,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Kernel modules.
    #[error("choose kernel modules")]
    Modules(#[from] ModuleError),
    /// The first file system.
    #[error("make the first file system")]
    Initrd(#[from] InitrdError),
    /// The unified kernel image.
    #[error("make the unified kernel image")]
    Uki(#[from] UkiError),
    /// The disk.
    #[error("make the disk")]
    Image(#[from] ImageError),
    /// A part above the limit.
    #[error("{what} has {bytes} bytes, the limit is {limit}")]
    Gate {
        /// The part.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
}

/// What is to be built.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// What the image will say of itself.
    pub identity: Identity,
    /// The sectors of the disk.
    pub sector_size: SectorSize,
    /// What it is made of.
    pub board: &'a Board,
    /// Which packages exactly.
    pub lock: &'a Lock,
    /// Where packages are kept.
    pub store: &'a Store,
    /// The folder with `adit-init`, `aditd` and `adit-probe`.
    pub programs: &'a Path,
    /// The signed key set for updates, if there is one.
    pub keys: Option<&'a [u8]>,
}

/// Sizes in bytes of what an image is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// The kernel as its package has it.
    pub kernel: u64,
    /// Contents of the first file system before packing.
    pub contents: initrd::Sizes,
    /// The first file system, packed.
    pub initrd: u64,
    /// The unified kernel image.
    pub uki: u64,
}

/// What was built.
#[derive(Debug, Clone)]
pub struct Built {
    /// The kernel's version.
    pub kernel_version: String,
    /// The unified kernel image.
    pub uki: Vec<u8>,
    /// Its digest.
    pub uki_sha256: Sha256,
    /// The disk.
    pub disk: Vec<u8>,
    /// How large each part is.
    pub sizes: Sizes,
    /// The packages that went in, each with the folder it was unpacked into.
    pub packages: Vec<(Package, PathBuf)>,
}

impl Order<'_> {
    /// Builds it.
    pub fn carry_out(&self) -> Result<Built, BuildError> {
        let _lock = self.store.lock()?;
        let arch = self.identity.arch;
        let (loader, kernel) = (self.lock.find(LOADER_PACKAGE, arch)?, self.lock.find(self.board.kernel(arch), arch)?);
        let tools = self.board.tools.packages.iter().map(|name| self.lock.find(name, arch));
        let tools: Vec<&Package> = tools.collect::<Result<_, _>>()?;
        let [loader_root, kernel_root] = [self.store.unpacked(&[loader])?, self.store.unpacked(&[kernel])?];
        let tools_root = self.store.unpacked(&tools)?;

        let kernel_version = kernel.name.trim_start_matches("linux-image-");
        let kernel_image = part(kernel, &kernel_root, &format!("boot/vmlinuz-{kernel_version}"))?;
        let modules = Modules::scan(&kernel_root.join("lib/modules").join(kernel_version))?;
        let modules = modules.order(&self.board.modules(arch))?;
        let contents = Contents {
            identity: self.identity,
            programs: self.programs,
            modules: &modules,
            debian: &tools_root,
            tools: &self.board.tools.programs,
            keys: self.keys,
        };
        let (archive, contents) = contents.collect()?;
        let initrd = initrd::pack(&archive)?;
        let command_line = self.board.words(arch);
        let parts = uki::Parts {
            arch,
            version: self.identity.version,
            kernel_version,
            command_line: &command_line,
            kernel: &kernel_image,
            initrd: &initrd,
        };
        let efi = |name: &str| part(loader, &loader_root, &format!("usr/lib/systemd/boot/efi/{name}"));
        let uki = parts.join(&efi(&format!("linux{}.efi.stub", arch.efi()))?)?;
        gate(arch, "unified kernel image", uki.len() as u64)?;
        let loader_image = efi(&format!("systemd-boot{}.efi", arch.efi()))?;
        let disk = image::Parts {
            arch,
            version: self.identity.version,
            sector_size: self.sector_size,
            loader: &loader_image,
            uki: &uki,
        };
        let roots = [(loader, &loader_root), (kernel, &kernel_root)].into_iter();
        let packages = roots.chain(tools.iter().map(|package| (*package, &tools_root)));
        Ok(Built {
            kernel_version: kernel_version.to_owned(),
            uki_sha256: Sha256::of(&uki),
            disk: disk.assemble()?,
            sizes: Sizes {
                kernel: kernel_image.len() as u64,
                contents,
                initrd: initrd.len() as u64,
                uki: uki.len() as u64,
            },
            packages: packages.map(|(package, root)| (package.clone(), root.clone())).collect(),
            uki,
        })
    }
}

/// Refuses what has grown beyond the limit for its architecture.
pub fn gate(arch: Arch, what: &'static str, bytes: u64) -> Result<(), BuildError> {
    let limit = match arch {
        Arch::X86_64 => GATE_BYTES,
        Arch::Aarch64 => GATE_AARCH64_BYTES,
    };
    if bytes > limit { Err(BuildError::Gate { what, bytes, limit }) } else { Ok(()) }
}

fn part(package: &Package, root: &Path, path: &str) -> Result<Vec<u8>, BuildError> {
    let path = root.join(path);
    std::fs::read(&path).map_err(|source| BuildError::Part { package: package.name.clone(), path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_above_the_limit_is_refused() {
        assert!(gate(Arch::X86_64, "download", GATE_BYTES).is_ok());
        let refused = gate(Arch::X86_64, "download", GATE_BYTES + 1).unwrap_err().to_string();
        assert_eq!(refused, "download has 32000001 bytes, the limit is 32000000");
        assert!(gate(Arch::Aarch64, "download", GATE_AARCH64_BYTES).is_ok());
        assert!(gate(Arch::Aarch64, "download", GATE_AARCH64_BYTES + 1).is_err());
    }
}

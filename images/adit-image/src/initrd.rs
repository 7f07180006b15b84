// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The first and only file system of an image: our programs, the kernel's modules with their tables, Debian's tools with
//! their libraries, and what the image says of itself. One place knows every path in it. Never reads the machine it runs on.

use crate::arch::{Arch, Flavour};
use crate::cpio::{Archive, CpioError, Entry};
use crate::debian::{self, DebianError};
use crate::elf::Elf;
use crate::modules::{Module, ModuleError, Tables};
use adit_slots::version::Version;
use std::io;
use std::path::{Path, PathBuf};

/// Our programs: what each is called where it was built, and where it lies in the image.
pub const PROGRAMS: [(&str, &str); 3] =
    [("adit-init", "init"), ("aditd", "usr/bin/aditd"), ("adit-probe", "usr/bin/adit-probe")];
/// Where the key set lies that updates are checked by.
pub const KEYS: &str = "etc/adit/keys";
/// Where the image says what it is.
pub const IMAGE: &str = "etc/adit/image.toml";
/// Where modules and their tables lie.
pub const MODULES: &str = "usr/lib/adit/modules";
/// Folders that the first process mounts something on, or that programs look for.
const FOLDERS: [&str; 9] = ["dev", "proc", "run", "srv/adit", "sys", "tmp", "usr/bin", "var/lib/adit", "var/tmp"];
/// How hard the archive is packed: zstd's highest level that decodes with little memory.
pub const ZSTD_LEVEL: i32 = 19;
/// The largest archive that is unpacked again, in bytes.
pub const ARCHIVE_BYTES_MAX: u64 = 512 << 20;

/// Why the file system could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum InitrdError {
    /// A file that goes into it.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program that is not static, or for another machine.
    #[error(
        "program {} must be a static ELF file for {arch}; images/packages/build-static.sh builds such ones",
        path.display()
    )]
    Program {
        /// The file.
        path: PathBuf,
        /// The machine.
        arch: Arch,
    },
    /// The archive.
    #[error("put together the first file system")]
    Cpio(#[from] CpioError),
    /// Kernel modules.
    #[error("write the modules' tables")]
    Modules(#[from] ModuleError),
    /// Debian's tools.
    #[error("collect Debian's tools")]
    Debian(#[from] DebianError),
    /// The compressed form.
    #[error("unpack the first file system")]
    Zstd(#[source] io::Error),
    /// More than [`ARCHIVE_BYTES_MAX`].
    #[error("first file system has more than {ARCHIVE_BYTES_MAX} bytes")]
    TooLarge,
}

/// What an image says of itself, in [`IMAGE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its version.
    pub version: Version,
    /// The version that nothing goes back below once this one has proven itself.
    pub floor: Version,
    /// Its machine.
    pub arch: Arch,
    /// Its flavour.
    pub flavour: Flavour,
    /// When it was made, in seconds since 1970.
    pub time_s: u64,
}

impl Identity {
    /// The text of [`IMAGE`].
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { version, floor, arch, flavour, time_s } = self;
        format!(
            "product = \"adit-box\"\nversion = \"{version}\"\nfloor = \"{floor}\"\narch = \"{arch}\"\nflavour = \"{flavour}\"\ntime_s = {time_s}\n"
        )
    }
}

/// What goes in.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a> {
    /// What the image is.
    pub identity: Identity,
    /// The folder that our programs were built into.
    pub programs: &'a Path,
    /// Kernel modules in loading order.
    pub modules: &'a [Module],
    /// The folder that Debian's packages were unpacked into.
    pub debian: &'a Path,
    /// Programs below it, with their libraries.
    pub tools: &'a [String],
    /// The key set that updates are checked by; none if the image takes no updates.
    pub keys: Option<&'a [u8]>,
}

/// How much each kind of content takes, in bytes before packing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sizes {
    /// Our programs.
    pub programs: u64,
    /// Kernel modules and their tables.
    pub modules: u64,
    /// Debian's tools and libraries.
    pub tools: u64,
}

impl Contents<'_> {
    /// Puts the archive together.
    pub fn collect(&self) -> Result<(Archive, Sizes), InitrdError> {
        let mut sizes = Sizes::default();
        let mut archive = Archive::default();
        archive.add("dev/console", Entry::Character { permissions: 0o600, major: 5, minor: 1 })?;
        for folder in FOLDERS {
            archive.directory(folder)?;
        }
        for (name, place) in PROGRAMS {
            let path = self.programs.join(name);
            let bytes = read(&path)?;
            let arch = self.identity.arch;
            let fits = |elf: &Elf<'_>| {
                elf.machine() == arch.elf_machine() && elf.dynamic().is_ok_and(|d| d.interpreter.is_none())
            };
            if !Elf::new(&bytes).is_ok_and(|elf| fits(&elf)) {
                return Err(InitrdError::Program { path, arch });
            }
            sizes.programs += bytes.len() as u64;
            archive.file(place, 0o755, bytes)?;
        }
        let tables = Tables::of(self.modules)?;
        sizes.modules += (tables.alias.len() + tables.dep.len()) as u64;
        archive.file(&format!("{MODULES}.alias"), 0o644, tables.alias.into_bytes())?;
        archive.file(&format!("{MODULES}.dep"), 0o644, tables.dep.into_bytes())?;
        archive.directory(MODULES)?;
        for Module { name, image } in self.modules {
            sizes.modules += image.len() as u64;
            archive.file(&format!("{MODULES}/{name}.ko"), 0o644, image.clone())?;
        }
        let tools: Vec<&str> = self.tools.iter().map(String::as_str).collect();
        for (place, path) in debian::runtime_of(self.debian, self.identity.arch.name(), &tools)? {
            let bytes = read(&path)?;
            sizes.tools += bytes.len() as u64;
            archive.file(&place, 0o755, bytes)?;
        }
        archive.file(IMAGE, 0o644, self.identity.to_text().into_bytes())?;
        if let Some(keys) = self.keys {
            archive.file(KEYS, 0o644, keys.to_vec())?;
        }
        Ok((archive, sizes))
    }
}

/// The archive's bytes, packed.
pub fn pack(archive: &Archive) -> Result<Vec<u8>, InitrdError> {
    zstd::bulk::compress(&archive.to_bytes(), ZSTD_LEVEL).map_err(InitrdError::Zstd)
}

/// Reads what [`pack`] made.
pub fn unpack(bytes: &[u8]) -> Result<Archive, InitrdError> {
    use std::io::Read as _;
    let mut archive = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(bytes).map_err(InitrdError::Zstd)?;
    decoder.take(ARCHIVE_BYTES_MAX + 1).read_to_end(&mut archive).map_err(InitrdError::Zstd)?;
    if archive.len() as u64 > ARCHIVE_BYTES_MAX { Err(InitrdError::TooLarge) } else { Ok(Archive::read(&archive)?) }
}

fn read(path: &Path) -> Result<Vec<u8>, InitrdError> {
    std::fs::read(path).map_err(|source| InitrdError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            version: Version::new(1, 2, 3),
            floor: Version::new(1, 0, 0),
            arch: Arch::X86_64,
            flavour: Flavour::Vm,
            time_s: 1_800_000_000,
        }
    }

    #[test]
    fn an_archive_is_packed_and_unpacked() {
        let mut archive = Archive::default();
        archive.file("init", 0o755, vec![1; 100_000]).unwrap();
        let packed = pack(&archive).unwrap();
        assert!(packed.len() < 1000);
        assert_eq!(unpack(&packed).unwrap(), archive);
        assert!(matches!(unpack(&packed[..packed.len() - 1]), Err(InitrdError::Zstd(_))));
        assert!(matches!(unpack(b"cpio"), Err(InitrdError::Zstd(_))));
        let bomb = zstd::stream::encode_all(io::Read::take(io::repeat(0), ARCHIVE_BYTES_MAX + 1), 1).unwrap();
        assert!(matches!(unpack(&bomb), Err(InitrdError::TooLarge)));
    }

    #[test]
    fn an_image_says_what_it_is() {
        let table: toml::Table = identity().to_text().parse().unwrap();
        assert_eq!((table["version"].as_str(), table["floor"].as_str()), (Some("1.2.3"), Some("1.0.0")));
        assert_eq!((table["arch"].as_str(), table["flavour"].as_str()), (Some("x86_64"), Some("vm")));
        assert_eq!(table["time_s"].as_integer(), Some(1_800_000_000));
    }

    #[test]
    fn programs_that_need_libraries_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy("/bin/ls", folder.path().join("adit-init")).unwrap();
        let (programs, debian) = (folder.path(), folder.path());
        let contents = Contents { identity: identity(), programs, modules: &[], debian, tools: &[], keys: None };
        let refused = contents.collect().unwrap_err().to_string();
        assert!(refused.contains("adit-init must be a static ELF file for x86_64"), "{refused}");
        std::fs::remove_file(folder.path().join("adit-init")).unwrap();
        assert!(matches!(contents.collect(), Err(InitrdError::Read { .. })));
    }
}

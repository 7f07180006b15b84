// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The packages an image is made of, pinned by their SHA-256 in `images/inputs.lock`: the same lock gives the same bytes on
//! every machine, and a changed byte is refused. Fetches by apt, which checks signatures besides. Never takes what the lock
//! does not name, unless told to build without one.

use crate::arch::Arch;
use crate::board::Board;
use crate::debian::{self, Apt, DebianError, Remote};
use crate::digest::Sha256;
use crate::image::write_file;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// The package of the boot loader and the stub.
pub const LOADER_PACKAGE: &str = "systemd-boot-efi";
/// The most packages in a lock file.
pub const PACKAGES_MAX: usize = 1024;
/// The largest package that is taken, in bytes; Debian's kernel has 70 MB.
pub const PACKAGE_BYTES_MAX: u64 = 256 << 20;

/// Why inputs could not be had.
#[derive(Debug, thiserror::Error)]
pub enum InputsError {
    /// A file of ours.
    #[error("access {}", path.display())]
    Access {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The lock file is not of this form.
    #[error("read the lock file")]
    Form(#[source] Box<toml::de::Error>),
    /// More packages than [`PACKAGES_MAX`].
    #[error("lock file names {0} packages, at most {PACKAGES_MAX} are taken")]
    TooMany(usize),
    /// A package that a board asks for is not in the lock file.
    #[error("lock file has no {wanted} for {arch}; run `adit-image lock`")]
    Unlocked {
        /// What the board asks for.
        wanted: String,
        /// For which machine.
        arch: Arch,
    },
    /// What was fetched is not what was locked.
    #[error("{file} has SHA-256 {got}, the lock file says {expected}; run `adit-image lock` if Debian has changed it")]
    Changed {
        /// The package's file.
        file: String,
        /// What it has.
        got: Sha256,
        /// What was locked.
        expected: Sha256,
    },
    /// The archive has that version no more.
    #[error("Debian has no {name} {version} any more; run `adit-image lock`, or build with --unlocked")]
    Gone {
        /// The package.
        name: String,
        /// Its locked version.
        version: String,
        /// What apt said.
        #[source]
        source: DebianError,
    },
    /// A file above [`PACKAGE_BYTES_MAX`].
    #[error("{0} has more than {PACKAGE_BYTES_MAX} bytes")]
    TooLarge(String),
    /// A meta package that depends on no kernel.
    #[error("package {0} depends on no kernel")]
    NoKernel(String),
    /// apt.
    #[error("ask Debian's archive")]
    Debian(#[from] DebianError),
}

/// One pinned package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// For which machine.
    pub arch: Arch,
    /// What the board asks for: the package itself, or one that depends on it.
    pub wanted: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its digest.
    pub sha256: Sha256,
}

impl Package {
    /// The name it has in our cache.
    #[must_use]
    pub fn file(&self) -> String {
        format!("{}_{}_{}.deb", self.name, self.version.replace(':', "%3a"), self.arch.debian())
    }
}

/// What a lock file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// When it was made, in seconds since 1970: the time that images made with it carry.
    pub time_s: u64,
    /// Pinned packages, sorted.
    #[serde(rename = "package", default)]
    pub packages: Vec<Package>,
}

impl Lock {
    /// Reads a lock file.
    pub fn parse(text: &str) -> Result<Self, InputsError> {
        let lock: Self = toml::from_str(text).map_err(|source| InputsError::Form(Box::new(source)))?;
        if lock.packages.len() > PACKAGES_MAX { Err(InputsError::TooMany(lock.packages.len())) } else { Ok(lock) }
    }

    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        const HEAD: &str = "# SPDX-License-Identifier: Apache-2.0 OR MIT\n\
            # The packages that images are made of. Written by `adit-image lock`; `adit-image build` takes no other bytes.\n";
        let body = toml::to_string(self).expect("a lock is plain tables");
        format!("{HEAD}{body}")
    }

    /// What the archive has now for some boards.
    pub fn now(store: &Store, boards: &[Board], arches: &[Arch], time_s: u64) -> Result<Self, InputsError> {
        let _lock = store.lock()?;
        let mut packages = BTreeSet::new();
        for arch in arches.iter().copied() {
            let apt = Apt::for_arch(&store.folder, arch)?;
            apt.update()?;
            for (wanted, name) in names(&apt, boards, arch)? {
                let remote = apt.find(&name)?;
                let Remote { version, size_bytes, sha256 } = remote;
                packages.insert(Package { arch, wanted, name, version, size_bytes, sha256 });
            }
        }
        Ok(Self { time_s, packages: packages.into_iter().collect() })
    }

    /// The package that a board asks for by this name.
    pub fn find(&self, wanted: &str, arch: Arch) -> Result<&Package, InputsError> {
        let found = self.packages.iter().find(|package| package.wanted == wanted && package.arch == arch);
        found.ok_or_else(|| InputsError::Unlocked { wanted: wanted.to_owned(), arch })
    }
}

/// Pairs of what boards ask for and the package that this means now.
fn names(apt: &Apt, boards: &[Board], arch: Arch) -> Result<BTreeSet<(String, String)>, InputsError> {
    let mut names = BTreeSet::from([(LOADER_PACKAGE.to_owned(), LOADER_PACKAGE.to_owned())]);
    for board in boards {
        let wanted = board.kernel(arch);
        let kernel = apt.depends(wanted)?.into_iter().find(|name| name.starts_with("linux-image-"));
        names.insert((wanted.to_owned(), kernel.ok_or_else(|| InputsError::NoKernel(wanted.to_owned()))?));
        names.extend(board.tools.packages.iter().map(|name| (name.clone(), name.clone())));
    }
    Ok(names)
}

/// A folder of fetched packages, by their pinned digests.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Uses a folder, which is made if need be.
    pub fn new(folder: &Path) -> Result<Self, InputsError> {
        let packages = folder.join("packages");
        std::fs::create_dir_all(&packages).map_err(|source| access(&packages, source))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The file of a package with the pinned bytes, fetched if it is not there.
    pub fn fetch(&self, package: &Package) -> Result<PathBuf, InputsError> {
        let path = self.folder.join("packages").join(package.file());
        if path.exists() {
            check(package, &read(&path)?)?;
            return Ok(path);
        }
        let Package { name, version, arch, .. } = package;
        let apt = Apt::for_arch(&self.folder, *arch)?;
        let asked = format!("{name}={version}");
        // Lists that are older than the archive name files that are gone.
        let fetched = apt.download(&[&asked]).or_else(|_| apt.update().and_then(|()| apt.download(&[&asked])));
        let gone = |source| InputsError::Gone { name: name.clone(), version: version.clone(), source };
        let fetched = fetched.map_err(gone)?;
        let nothing = || DebianError::Failed {
            program: "apt-get",
            subject: asked.clone(),
            said: "it names no file of this package".to_owned(),
        };
        let fetched = fetched.first().ok_or_else(|| gone(nothing()))?;
        let bytes = read(fetched)?;
        check(package, &bytes)?;
        write_file(&path, &bytes).map_err(|source| access(&path, source))?;
        Ok(path)
    }
}

impl Store {
    /// A folder that holds the files of some packages, unpacked once.
    pub fn unpacked(&self, packages: &[&Package]) -> Result<PathBuf, InputsError> {
        let digests: Vec<u8> = packages.iter().flat_map(|package| package.sha256.0).collect();
        let name = Sha256::of(&digests).to_string();
        let place = self.folder.join("unpacked").join(name.get(..16).unwrap_or_default());
        // The packages are looked at even if their files are not needed: a build answers for the bytes it was given.
        let files = packages.iter().map(|package| self.fetch(package)).collect::<Result<Vec<_>, _>>()?;
        if place.exists() {
            return Ok(place);
        }
        let unfinished = place.with_extension("unfinished");
        drop(std::fs::remove_dir_all(&unfinished));
        std::fs::create_dir_all(&unfinished).map_err(|source| access(&unfinished, source))?;
        files.iter().try_for_each(|file| debian::unpack(file, &unfinished))?;
        std::fs::rename(&unfinished, &place).map_err(|source| access(&place, source))?;
        Ok(place)
    }

    /// One process at a time; the lock ends with the file.
    pub fn lock(&self) -> Result<std::fs::File, InputsError> {
        let path = self.folder.join("lock");
        let file =
            std::fs::File::options().create(true).append(true).open(&path).map_err(|source| access(&path, source))?;
        file.lock().map_err(|source| access(&path, source))?;
        Ok(file)
    }
}

fn check(package: &Package, bytes: &[u8]) -> Result<(), InputsError> {
    let (got, expected) = (Sha256::of(bytes), package.sha256);
    if got == expected { Ok(()) } else { Err(InputsError::Changed { file: package.file(), got, expected }) }
}

fn read(path: &Path) -> Result<Vec<u8>, InputsError> {
    let size = path.metadata().map_err(|source| access(path, source))?.len();
    if size > PACKAGE_BYTES_MAX {
        return Err(InputsError::TooLarge(path.display().to_string()));
    }
    std::fs::read(path).map_err(|source| access(path, source))
}

fn access(path: &Path, source: io::Error) -> InputsError {
    InputsError::Access { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(bytes: &[u8]) -> Package {
        Package {
            arch: Arch::X86_64,
            wanted: "linux-image-amd64".to_owned(),
            name: "linux-image-6.1.0-1-amd64".to_owned(),
            version: "1:6.1.1-1".to_owned(),
            size_bytes: bytes.len() as u64,
            sha256: Sha256::of(bytes),
        }
    }

    #[test]
    fn a_lock_file_reads_back() {
        let lock = Lock { time_s: 1_800_000_000, packages: vec![package(b"deb")] };
        let text = lock.to_text();
        assert_eq!(Lock::parse(&text).unwrap(), lock, "{text}");
        assert_eq!(lock.find("linux-image-amd64", Arch::X86_64).unwrap().name, "linux-image-6.1.0-1-amd64");
        let missing = lock.find("linux-image-amd64", Arch::Aarch64).unwrap_err().to_string();
        assert_eq!(missing, "lock file has no linux-image-amd64 for aarch64; run `adit-image lock`");
        assert!(matches!(Lock::parse("time_s = 1\nmore = 2\n"), Err(InputsError::Form(_))));
        let many = Lock { time_s: 1, packages: vec![package(b""); PACKAGES_MAX + 1] };
        assert!(matches!(Lock::parse(&many.to_text()), Err(InputsError::TooMany(_))));
    }

    #[test]
    fn other_bytes_than_the_locked_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path()).unwrap();
        let package = package(b"deb");
        let path = folder.path().join("packages/linux-image-6.1.0-1-amd64_1%3a6.1.1-1_amd64.deb");
        std::fs::write(&path, b"deb").unwrap();
        assert_eq!(store.fetch(&package).unwrap(), path);
        std::fs::write(&path, b"dab").unwrap();
        let changed = store.fetch(&package).unwrap_err();
        assert!(matches!(changed, InputsError::Changed { .. }) && changed.to_string().contains("adit-image lock"));
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(PACKAGE_BYTES_MAX + 1).unwrap();
        assert!(matches!(store.fetch(&package), Err(InputsError::TooLarge(_))));
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packages of the Debian release this machine runs, fetched and unpacked into a folder of our own. apt checks their
//! signatures as it does for an installation, but nothing is installed and apt's own lists and caches stay as they are.

use crate::arch::Arch;
use crate::digest::Sha256;
use crate::elf::{Dynamic, Elf, ElfError};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why packages or libraries could not be had.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    /// A file or folder of ours.
    #[error("access {}", path.display())]
    Access {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program of Debian is missing.
    #[error("run {program}: this machine must be a Debian with apt")]
    Run {
        /// The program.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{program} {subject} failed: {said}")]
    Failed {
        /// The program.
        program: &'static str,
        /// What it was to act on.
        subject: String,
        /// The last lines it wrote.
        said: String,
    },
    /// No file of that name in any folder for libraries.
    #[error("library {name} that {by} needs is in none of the packages")]
    Library {
        /// The library.
        name: String,
        /// Who needs it.
        by: String,
    },
    /// A program or library that is not ELF.
    #[error("{} cannot be read", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ElfError,
    },
}

/// apt with lists and caches of its own below one folder. It takes the sources and keys of this machine's release.
#[derive(Debug)]
pub struct Apt {
    folder: PathBuf,
    arch: Option<Arch>,
}

/// What the archive says of a package before it is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Its version.
    pub version: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its digest.
    pub sha256: Sha256,
}

impl Apt {
    /// Prepares the folder for packages of this machine's own architecture; nothing is fetched yet.
    pub fn new(folder: &Path) -> Result<Self, DebianError> {
        Self::prepare(folder, None)
    }

    /// The same for any architecture, in a folder of its own below.
    pub fn for_arch(folder: &Path, arch: Arch) -> Result<Self, DebianError> {
        Self::prepare(&folder.join("apt").join(arch.name()), Some(arch))
    }

    fn prepare(folder: &Path, arch: Option<Arch>) -> Result<Self, DebianError> {
        let folder = std::path::absolute(folder).map_err(|source| access(folder, source))?;
        for below in ["lists/partial", "cache/archives/partial"] {
            let below = folder.join(below);
            std::fs::create_dir_all(&below).map_err(|source| access(&below, source))?;
        }
        // As far as this apt knows, nothing is installed: a closure is whole, down to the C library.
        let status = folder.join("status");
        std::fs::write(&status, "").map_err(|source| access(&status, source))?;
        Ok(Self { folder, arch })
    }

    /// Fetches the lists anew.
    pub fn update(&self) -> Result<(), DebianError> {
        run("apt-get", "update", self.command("apt-get").arg("update")).map(drop)
    }

    /// Names of the packages that a package depends on directly: the first of each set of alternatives.
    pub fn depends(&self, package: &str) -> Result<Vec<String>, DebianError> {
        let mut command = self.command("apt-cache");
        command.args(["depends", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces"]);
        let text = run("apt-cache", package, command.args(["--no-enhances", package]))?;
        let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(names.map(str::to_owned).collect())
    }

    /// What the archive has of a package.
    pub fn find(&self, package: &str) -> Result<Remote, DebianError> {
        let uris = run("apt-get", package, self.command("apt-get").args(["download", "--print-uris", package]))?;
        remote(&uris).ok_or_else(|| DebianError::Failed {
            program: "apt-get",
            subject: package.to_owned(),
            said: format!("no size and SHA-256 in {uris:?}"),
        })
    }

    /// Fetches single packages, without what they depend on. The files, in the order asked for.
    pub fn download(&self, packages: &[&str]) -> Result<Vec<PathBuf>, DebianError> {
        let archives = self.folder.join("cache/archives");
        let uris =
            run("apt-get", "download", self.command("apt-get").args(["download", "--print-uris"]).args(packages))?;
        let files: Vec<PathBuf> = file_names(&uris).map(|name| archives.join(name)).collect();
        if !files.iter().all(|file| file.exists()) {
            run("apt-get", "download", self.command("apt-get").arg("download").args(packages).current_dir(&archives))?;
        }
        Ok(files)
    }

    /// Fetches packages with all they depend on; recommendations are left out. The files, in no particular order.
    pub fn download_closure(&self, packages: &[&str]) -> Result<Vec<PathBuf>, DebianError> {
        let install = ["install", "--no-install-recommends", "--yes"];
        let archives = self.folder.join("cache/archives");
        run("apt-get", "install", self.command("apt-get").args(install).arg("--download-only").args(packages))?;
        // What is in the cache already is not listed by --print-uris, so the simulation is asked instead.
        let plan = run("apt-get", "install", self.command("apt-get").args(install).arg("--simulate").args(packages))?;
        let wanted: BTreeSet<&str> =
            plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next()).collect();
        let entries = std::fs::read_dir(&archives).map_err(|source| access(&archives, source))?;
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(|source| access(&archives, source))?.path();
            let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".deb")?.split('_').next());
            if name.is_some_and(|name| wanted.contains(name)) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let set = |key: &str, path: &Path| format!("{key}={}", path.display());
        if let Some(arch) = self.arch {
            for key in ["APT::Architecture", "APT::Architectures"] {
                command.arg("-o").arg(format!("{key}={}", arch.debian()));
            }
        }
        command.arg("-q").args(["-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=true"]);
        command.arg("-o").arg(set("Dir::State::status", &self.folder.join("status")));
        command.arg("-o").arg(set("Dir::State::lists", &self.folder.join("lists")));
        command.arg("-o").arg(set("Dir::State::extended_states", &self.folder.join("extended_states")));
        command.arg("-o").arg(set("Dir::Cache", &self.folder.join("cache")));
        command.arg("-o").arg(set("Dir::Log", &self.folder));
        command.env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

/// Unpacks a package's files below a folder; nothing in it is run.
pub fn unpack(package: &Path, folder: &Path) -> Result<(), DebianError> {
    let subject = package.display().to_string();
    run("dpkg-deb", &subject, Command::new("dpkg-deb").arg("--extract").arg(package).arg(folder)).map(drop)
}

/// The files that programs need to run, by the path that they must have there: the programs themselves, their dynamic
/// linker, and every library they ask for, all below `lib/`, where the linker always looks. Found below `root`, the folder
/// that packages were unpacked into. Libraries that a program opens later (`dlopen`) must be named as programs.
pub fn runtime(root: &Path, programs: &[&str]) -> Result<BTreeMap<String, PathBuf>, DebianError> {
    runtime_of(root, std::env::consts::ARCH, programs)
}

/// The same for programs of another architecture, by its name in Rust.
pub fn runtime_of(root: &Path, arch: &str, programs: &[&str]) -> Result<BTreeMap<String, PathBuf>, DebianError> {
    let libraries = libraries(root, arch)?;
    let mut files = BTreeMap::new();
    let mut waiting = Vec::new();
    for program in programs {
        let path = inside(root, program);
        files.insert(program.trim_start_matches('/').to_owned(), path.clone());
        waiting.push(path);
    }
    while let Some(path) = waiting.pop() {
        let Some(Dynamic { interpreter, needed }) = dynamic(&path)? else { continue };
        let by = path.display().to_string();
        let interpreter = interpreter.map(|path| (path.trim_start_matches('/').to_owned(), file_name(&path)));
        let needed = needed.into_iter().map(|name| (format!("lib/{name}"), name));
        for (place, name) in interpreter.into_iter().chain(needed) {
            if let std::collections::btree_map::Entry::Vacant(entry) = files.entry(place) {
                let found = libraries.get(&name).ok_or_else(|| DebianError::Library { name, by: by.clone() })?;
                entry.insert(found.clone());
                waiting.push(found.clone());
            }
        }
    }
    Ok(files)
}

/// Libraries by name, from the folders that packages put them in. The first folder wins, as for the linker.
fn libraries(root: &Path, arch: &str) -> Result<BTreeMap<String, PathBuf>, DebianError> {
    let multiarch = format!("{arch}-linux-gnu");
    let mut libraries = BTreeMap::new();
    for folder in [
        format!("lib/{multiarch}"),
        format!("usr/lib/{multiarch}"),
        "lib".to_owned(),
        "usr/lib".to_owned(),
        "lib64".to_owned(),
    ] {
        let mut waiting = vec![(root.join(folder), 0)];
        while let Some((folder, depth)) = waiting.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            for entry in entries {
                let path = entry.map_err(|source| access(&folder, source))?.path();
                // One folder deeper lie the private libraries of a program, such as systemd's.
                if path.is_dir() && depth == 0 {
                    waiting.push((path, 1));
                } else if let Some(name) =
                    path.file_name().and_then(|name| name.to_str()).filter(|name| name.contains(".so"))
                {
                    let file = if path.is_symlink() { followed(root, &path) } else { path.clone() };
                    libraries.entry(name.to_owned()).or_insert(file);
                }
            }
        }
    }
    Ok(libraries)
}

/// Where a link leads, with an absolute target taken from `root`.
fn followed(root: &Path, link: &Path) -> PathBuf {
    match std::fs::read_link(link) {
        Ok(target) if target.is_absolute() => inside(root, &target.to_string_lossy()),
        _ => link.to_owned(),
    }
}

fn inside(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// `None` for a script, which has no libraries of its own.
fn dynamic(path: &Path) -> Result<Option<Dynamic>, DebianError> {
    let bytes = std::fs::read(path).map_err(|source| access(path, source))?;
    if bytes.starts_with(b"#!") {
        return Ok(None);
    }
    let content = |source| DebianError::Content { path: path.to_owned(), source };
    Elf::new(&bytes).and_then(|elf| elf.dynamic()).map(Some).map_err(content)
}

fn file_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

/// Names from lines such as `'http://…/x.deb' x_1_amd64.deb 123 SHA256:…`.
fn file_names(uris: &str) -> impl Iterator<Item = &str> {
    uris.lines().filter(|line| line.starts_with('\'')).filter_map(|line| line.split(' ').nth(1))
}

/// What such a line says of the file.
fn remote(uris: &str) -> Option<Remote> {
    let mut words = uris.lines().find(|line| line.starts_with('\''))?.split(' ').skip(1);
    let version = words.next()?.split('_').nth(1)?.replace("%3a", ":");
    let size_bytes = words.next()?.parse().ok()?;
    let sha256 = words.next()?.strip_prefix("SHA256:")?.parse().ok()?;
    Some(Remote { version, size_bytes, sha256 })
}

fn access(path: &Path, source: io::Error) -> DebianError {
    DebianError::Access { path: path.to_owned(), source }
}

fn run(program: &'static str, subject: &str, command: &mut Command) -> Result<String, DebianError> {
    let output = command.output().map_err(|source| DebianError::Run { program, source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let said = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join("; ");
    Err(DebianError::Failed { program, subject: subject.to_owned(), said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_comes_with_its_linker_and_libraries() {
        let files = runtime(Path::new("/"), &["bin/ls"]).unwrap();
        let places: Vec<&str> = files.keys().map(String::as_str).collect();
        assert!(places.contains(&"bin/ls") && places.contains(&"lib/libc.so.6"), "{places:?}");
        assert!(places.iter().any(|place| place.contains("ld-linux")), "{places:?}");
        assert!(files.values().all(|file| file.is_file()), "{files:?}");
    }

    #[test]
    fn a_library_that_is_nowhere_is_named() {
        let root = tempfile::tempdir().unwrap();
        std::fs::copy("/bin/ls", root.path().join("ls")).unwrap();
        let error = runtime(root.path(), &["ls"]).unwrap_err();
        assert!(matches!(&error, DebianError::Library { name, .. } if name.contains(".so")), "{error}");
        std::fs::write(root.path().join("script"), "#!/bin/sh\n").unwrap();
        assert_eq!(runtime(root.path(), &["script"]).unwrap().len(), 1);
        std::fs::write(root.path().join("text"), "text").unwrap();
        assert!(matches!(runtime(root.path(), &["text"]), Err(DebianError::Content { .. })));
        assert!(matches!(runtime(root.path(), &["gone"]), Err(DebianError::Access { .. })));
    }

    #[test]
    fn a_package_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("x.deb");
        std::fs::write(&package, "!<arch>\ndebian").unwrap();
        assert!(matches!(unpack(&package, folder.path()), Err(DebianError::Failed { .. })));
    }

    #[test]
    fn file_names_come_out_of_lists_of_addresses() {
        let uris = "Reading lists\n'http://h/p/a_1%3a2_amd64.deb' a_1%3a2_amd64.deb 12 SHA256:00\n";
        assert_eq!(file_names(uris).collect::<Vec<_>>(), ["a_1%3a2_amd64.deb"]);
        assert_eq!(remote(uris), None, "a digest that is none");
        let digest = Sha256::of(b"");
        let found = remote(&uris.replace("SHA256:00", &format!("SHA256:{digest}"))).unwrap();
        assert_eq!(found, Remote { version: "1:2".to_owned(), size_bytes: 12, sha256: digest });
    }
}

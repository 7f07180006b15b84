// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which updates wait. For Debian its own files are read, line by line: what is installed (dpkg's status) against what the
//! lists of apt offer; running apt for it costs seconds of CPU and 100 MB. For Fedora and its kin dnf is asked from its
//! cache. Only counts leave; no list is fetched, nothing is installed.
//!
//! Lists that apt keeps compressed (Acquire::GzipIndexes, as in containers) are refused. Pinning and phased updates are not looked at: an update that apt holds back on purpose is counted. Only security
//! updates are judged, and nobody phases those.

use crate::child::{Job, Program};
use crate::error::AskError;
use crate::version::compare;
use adit_health::readings::updates::UpdatesReading;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Where dpkg keeps what is installed.
pub const STATUS: &str = "var/lib/dpkg/status";
/// Where apt keeps its lists.
pub const LISTS: &str = "var/lib/apt/lists";
/// Packages of a machine. A desktop has 3000.
pub const PACKAGES_MAX: usize = 50_000;
/// A line of these files, bytes; longer ones are cut. Dependencies may be long, versions are not.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// What dnf may print, bytes.
pub const DNF_BYTES_MAX: usize = 4 << 20;

/// An installed package and the newest version that is offered.
struct Installed {
    version: String,
    /// The newest one above the installed; `true` when a security archive offers one above the installed.
    newer: Option<(String, bool)>,
}

/// Counts updates of a Debian below `root`, at this time. `None` where there is no dpkg.
///
/// # Errors
/// A file cannot be read, or all lists are compressed.
pub fn debian(root: &Path, now: SystemTime) -> Result<Option<UpdatesReading>, AskError> {
    let whom = "dpkg and apt";
    let failed = |source| AskError::Talk { whom: whom.to_owned(), source };
    let status = root.join(STATUS);
    if !status.exists() {
        return Ok(None);
    }
    let mut packages = open(&status).and_then(installed).map_err(failed)?;
    let entries = match fs::read_dir(root.join(LISTS)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(UpdatesReading::default())),
        Err(error) => return Err(failed(error)),
    };
    let (mut newest, mut plain, mut packed): (Option<SystemTime>, bool, bool) = (None, false, false);
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with("_InRelease") || name.ends_with("_Release") {
            newest = newest.max(entry.metadata().and_then(|metadata| metadata.modified()).ok());
        }
        packed |= name.contains("_Packages.");
        if name.ends_with("_Packages") {
            plain = true;
            open(&entry.path()).and_then(|list| offered(list, is_security(&name), &mut packages)).map_err(failed)?;
        }
    }
    if packed && !plain {
        return Err(AskError::refused("apt", "its lists are compressed (Acquire::GzipIndexes)"));
    }
    let waiting = || packages.values().filter_map(|package| package.newer.as_ref());
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    // apt touches its lists at every update, but keeps their own dates; the folder's time tells of the last one.
    let touched = fs::metadata(root.join(LISTS)).and_then(|metadata| metadata.modified()).ok();
    let newest = newest.map(|newest| touched.map_or(newest, |touched| touched.max(newest)));
    Ok(Some(UpdatesReading {
        pending: count(waiting().count()),
        security: count(waiting().filter(|(_, security)| *security).count()),
        lists_age_s: newest.map(|newest| now.duration_since(newest).unwrap_or_default().as_secs()),
    }))
}

/// Whether a list is of a security archive: Debian's has "debian-security" in its address or "-security" in its suite.
fn is_security(list: &str) -> bool {
    list.contains("-security")
}

/// How many packages of dpkg's status have a newer version in one list of apt's.
///
/// # Errors
/// When one of them cannot be read.
pub fn waiting(status: impl BufRead, list: impl BufRead) -> io::Result<usize> {
    let mut packages = installed(status)?;
    offered(list, false, &mut packages)?;
    Ok(packages.values().filter(|package| package.newer.is_some()).count())
}

/// Installed packages by "name:architecture".
fn installed(status: impl BufRead) -> io::Result<HashMap<String, Installed>> {
    let mut packages = HashMap::new();
    stanzas(status, |fields| {
        // "hold" instead of "install" keeps a package back on purpose.
        if fields.status == "install ok installed" && packages.len() < PACKAGES_MAX {
            packages.insert(fields.key(), Installed { version: fields.version.clone(), newer: None });
        }
    })?;
    Ok(packages)
}

fn offered(list: impl BufRead, is_security: bool, packages: &mut HashMap<String, Installed>) -> io::Result<()> {
    stanzas(list, |fields| {
        let Some(package) = packages.get_mut(&fields.key()) else { return };
        if compare(&fields.version, &package.version) != Ordering::Greater {
            return;
        }
        let (newest, security) = package.newer.take().unwrap_or_else(|| (fields.version.clone(), false));
        let newest =
            if compare(&fields.version, &newest) == Ordering::Greater { fields.version.clone() } else { newest };
        package.newer = Some((newest, security || is_security));
    })
}

/// The fields of one package that matter here.
#[derive(Default)]
struct Fields {
    name: String,
    architecture: String,
    version: String,
    status: String,
}

impl Fields {
    fn key(&self) -> String {
        format!("{}:{}", self.name, self.architecture)
    }
}

fn open(path: &Path) -> io::Result<impl BufRead> {
    Ok(BufReader::with_capacity(64 << 10, File::open(path)?))
}

/// Walks the paragraphs of a file, one line in memory at a time.
fn stanzas(mut reader: impl BufRead, mut each: impl FnMut(&Fields)) -> io::Result<()> {
    let (mut fields, mut line) = (Fields::default(), Vec::new());
    loop {
        let is_end = !next_line(&mut reader, &mut line)?;
        if is_end || line.is_empty() {
            if !fields.name.is_empty() {
                each(&fields);
            }
            fields = Fields::default();
        }
        if is_end {
            return Ok(());
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (key, value) = line.split_at(colon);
        let field = match key {
            b"Package" => &mut fields.name,
            b"Architecture" => &mut fields.architecture,
            b"Version" => &mut fields.version,
            b"Status" => &mut fields.status,
            _ => continue,
        };
        *field = String::from_utf8_lossy(value.get(1..).unwrap_or_default()).trim().to_owned();
    }
}

/// One line without its end, cut at the limit; false at the end of the file.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(!line.is_empty());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let piece = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
        let room = LINE_BYTES_MAX.saturating_sub(line.len());
        line.extend_from_slice(piece.get(..piece.len().min(room)).unwrap_or_default());
        let used = piece.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// Asks dnf, from its cache.
#[derive(Debug)]
pub struct Dnf {
    job: Job,
}

impl Dnf {
    /// `program` is usually `dnf`; it has this deadline.
    #[must_use]
    pub fn new(program: impl Into<OsString>, deadline: Duration) -> Self {
        let argv: [OsString; 5] =
            [program.into(), "--quiet".into(), "--cacheonly".into(), "updateinfo".into(), "--list".into()];
        Self { job: Job::new(Program::new(argv).limits(deadline, DNF_BYTES_MAX)) }
    }

    /// Asks for advisories that wait. How old the cache is dnf does not tell.
    ///
    /// # Errors
    /// The program is missing or stuck, or has no cache.
    pub fn ask(&mut self) -> Result<UpdatesReading, AskError> {
        let output = self.job.run(std::iter::empty::<&str>())?;
        // 100 means that there are updates.
        match output.code {
            Some(0 | 100) => Ok(advisories(&output.text())),
            _ => Err(AskError::refused("dnf", &output.stderr)),
        }
    }
}

/// Counts packages in lines such as `RLSA-2024:1234 Important/Sec. openssl-1:3.0.7-27.el9.x86_64`; one package may have
/// several advisories.
#[must_use]
pub fn advisories(text: &str) -> UpdatesReading {
    let mut packages: HashMap<&str, bool> = HashMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        // dnf5 adds columns for severity and date; the package is the one with an architecture behind its last dot.
        let [advisory, rest @ ..] = words.as_slice() else { continue };
        let Some(package) = rest.iter().find(|word| is_package(word)) else { continue };
        if !advisory.contains('-') || packages.len() == PACKAGES_MAX {
            continue;
        }
        let is_security = rest.iter().any(|word| word.ends_with("/Sec.") || *word == "security");
        *packages.entry(name_of(package)).or_default() |= is_security;
    }
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let security = packages.values().filter(|security| **security).count();
    UpdatesReading { pending: count(packages.len()), security: count(security), lists_age_s: None }
}

fn is_package(word: &str) -> bool {
    const ARCHITECTURES: [&str; 8] = ["x86_64", "noarch", "i686", "aarch64", "ppc64le", "s390x", "riscv64", "armv7hl"];
    word.rsplit_once('.').is_some_and(|(_, architecture)| ARCHITECTURES.contains(&architecture))
}

/// The name without version and release: what stands before the last two dashes.
fn name_of(package: &str) -> &str {
    package.rsplitn(3, '-').last().unwrap_or(package)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STATUS_TEXT: &str = "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2.15-2\n\n\
        Package: libssl3\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.0.11-1\nDepends: libc6 (>= 2.34)\nDescription: x\n Version: 9\n\n\
        Package: held\nStatus: hold ok installed\nArchitecture: all\nVersion: 1\n\n\
        Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n";
    const MAIN: &str = "Package: bash\nArchitecture: amd64\nVersion: 5.2.15-2+b7\n\nPackage: libssl3\nArchitecture: amd64\nVersion: 3.0.15-1\n\n\
        Package: held\nArchitecture: all\nVersion: 2\n\nPackage: gone\nArchitecture: all\nVersion: 2\n\nPackage: bash\nArchitecture: arm64\nVersion: 9\n";
    const SECURITY: &str = "Package: libssl3\nArchitecture: amd64\nVersion: 3.0.11-1~deb12u2\n\nPackage: libssl3\nArchitecture: amd64\nVersion: 3.0.14-1~deb12u2\n";

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn updates_are_counted_and_security_is_told() {
        let root = root(&[
            (STATUS, STATUS_TEXT),
            ("var/lib/apt/lists/deb.debian.org_debian_dists_bookworm_main_binary-amd64_Packages", MAIN),
            (
                "var/lib/apt/lists/security.debian.org_debian-security_dists_bookworm-security_main_binary-amd64_Packages",
                SECURITY,
            ),
            ("var/lib/apt/lists/deb.debian.org_debian_dists_bookworm_InRelease", "x"),
        ]);
        let now = SystemTime::now() + Duration::from_secs(7_200);
        let reading = debian(root.path(), now).unwrap().unwrap();
        assert_eq!((reading.pending, reading.security), (2, 1));
        let age_s = reading.lists_age_s.unwrap();
        assert!((7_190..7_300).contains(&age_s), "{age_s}");
    }

    #[test]
    fn what_is_not_there_is_told() {
        assert_eq!(debian(root(&[]).path(), SystemTime::now()).unwrap(), None);
        let packed = root(&[(STATUS, STATUS_TEXT), ("var/lib/apt/lists/x_main_binary-amd64_Packages.lz4", "x")]);
        assert!(matches!(debian(packed.path(), SystemTime::now()), Err(AskError::Refused { .. })));
        let without_lists = root(&[(STATUS, STATUS_TEXT)]);
        assert_eq!(debian(without_lists.path(), SystemTime::now()).unwrap(), Some(UpdatesReading::default()));
    }

    #[test]
    fn a_line_without_end_costs_no_memory() {
        let text =
            format!("Package: a\nX: {}\nStatus: install ok installed\nVersion: 1\n", "y".repeat(3 * LINE_BYTES_MAX));
        let root = root(&[(STATUS, &text)]);
        let packages = installed(open(&root.path().join(STATUS)).unwrap()).unwrap();
        assert_eq!(packages.len(), 1);
        let (mut reader, mut line) = (text.as_bytes(), Vec::new());
        let mut longest = 0;
        while next_line(&mut reader, &mut line).unwrap() {
            longest = longest.max(line.len());
        }
        assert_eq!(longest, LINE_BYTES_MAX);
    }

    /// Lines of dnf 4 (Rocky Linux 9) and dnf5 (Fedora 41); names and numbers are ours.
    #[test]
    fn advisories_are_counted_by_package() {
        let dnf4 = "RLSA-2024:1234 Important/Sec. openssl-libs-1:3.0.7-27.el9.x86_64\nRLSA-2024:1240 Moderate/Sec. openssl-libs-1:3.0.7-28.el9.x86_64\n\
            RLBA-2024:2345 bugfix         tzdata-2024a-1.el9.noarch\nLast metadata expiration check: 0:10:00 ago\n";
        assert_eq!(advisories(dnf4), UpdatesReading { pending: 2, security: 1, lists_age_s: None });
        let dnf5 = "Name                   Type        Severity  Package                        Issued\n\
            FEDORA-2024-0123456789 security    Important vim-common-2:9.1.1-1.fc41.noarch 2024-11-01 01:02:03\n\
            FEDORA-2024-abcdef0123 enhancement None      htop-3.3.0-5.fc41.x86_64         2024-11-02 01:02:03\n";
        assert_eq!(advisories(dnf5), UpdatesReading { pending: 2, security: 1, lists_age_s: None });
        assert_eq!(advisories(""), UpdatesReading::default());
    }

    proptest! {
        #[test]
        fn any_files_end(status in "(Package: a\\n|Version: [0-9]{1,3}\\n|Status: install ok installed\\n|\\PC{0,40}\\n|\\n){0,20}", lines in "\\PC{0,200}") {
            let root = root(&[(STATUS, &status)]);
            let _read = debian(root.path(), SystemTime::now()).unwrap();
            let _counted = advisories(&lines);
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mounted file systems from /proc/self/mountinfo, and what /etc/fstab wants mounted.
//!
//! Can block: statvfs(2) of a file system whose disk hangs. Network and FUSE file systems are never touched, nor is
//! anything that is mounted on or below one.

use crate::readings::file_system::{FileSystemReading, FsErrors, Meant, Space};
use crate::text;
use nix::errno::Errno;
use std::fs;
use std::path::{Path, PathBuf};

/// File systems that hold data on this machine.
const LOCAL: [&str; 10] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "vfat", "exfat", "bcachefs", "zfs"];
/// Beginnings of those that wait for somebody else.
const REMOTE: [&str; 15] = [
    "nfs",
    "cifs",
    "smb",
    "fuse",
    "ceph",
    "9p",
    "afs",
    "autofs",
    "glusterfs",
    "lustre",
    "gfs2",
    "ocfs2",
    "coda",
    "davfs",
    "ncp",
];
/// File systems of one machine.
const FILE_SYSTEMS_MAX: usize = 128;

/// All mounts, and what is meant to be mounted.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    all: Vec<Mount>,
    fstab: Vec<Line>,
}

/// A line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    device: String,
    point: PathBuf,
    kind: String,
    source: String,
    options: String,
}

/// A line of fstab.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    point: PathBuf,
    options: Vec<String>,
}

impl Mounts {
    pub(crate) fn read(root: &Path) -> Self {
        let mountinfo = text::read(&root.join("proc/self/mountinfo")).unwrap_or_default();
        let fstab = text::read(&root.join("etc/fstab")).unwrap_or_default();
        Self { all: mountinfo.lines().filter_map(mount).collect(), fstab: fstab.lines().filter_map(line).collect() }
    }

    /// Local file systems with what they tell.
    pub(crate) fn file_systems(&self, root: &Path) -> Vec<FileSystemReading> {
        self.local().into_iter().take(FILE_SYSTEMS_MAX).map(|mount| self.file_system(root, mount)).collect()
    }

    /// Mount points that fstab wants and that are empty.
    pub(crate) fn absent(&self) -> Vec<String> {
        let optional = |line: &&Line| ["noauto", "nofail", "x-systemd.automount"].iter().any(|word| line.has(word));
        let mounted = |line: &&Line| self.all.iter().any(|mount| mount.point == line.point);
        let absent = self.fstab.iter().filter(|line| !optional(line) && !mounted(line));
        absent.map(|line| line.point.to_string_lossy().into_owned()).take(FILE_SYSTEMS_MAX).collect()
    }

    /// Whether one of these devices is mounted with an option of its file system.
    pub(crate) fn has_option(&self, devices: &[String], option: &str) -> bool {
        let on = |mount: &&Mount| mount.source.rsplit('/').next().is_some_and(|name| devices.iter().any(|d| d == name));
        self.all.iter().filter(on).any(|mount| mount.options.split(',').any(|known| known == option))
    }

    /// The mounts of local file systems, each once, by the shortest mount point. A ZFS pool counts once.
    fn local(&self) -> Vec<&Mount> {
        let mut found: Vec<&Mount> = Vec::new();
        for mount in self.all.iter().filter(|mount| LOCAL.contains(&mount.kind.as_str()) && !self.is_covered(mount)) {
            match found.iter_mut().find(|known| known.is_same(mount)) {
                Some(known) if mount.point.as_os_str().len() < known.point.as_os_str().len() => *known = mount,
                Some(_) => {}
                None => found.push(mount),
            }
        }
        found
    }

    /// Whether the way to it leads over a file system that could block, or another one hides it.
    fn is_covered(&self, mount: &Mount) -> bool {
        let after = self.all.iter().skip_while(|other| *other != mount).skip(1);
        let hidden = after.clone().any(|other| other.point == mount.point);
        let remote = |other: &Mount| REMOTE.iter().any(|kind| other.kind.starts_with(kind));
        hidden || self.all.iter().any(|other| remote(other) && mount.point.starts_with(&other.point))
    }

    fn file_system(&self, root: &Path, mount: &Mount) -> FileSystemReading {
        let line = self.fstab.iter().find(|line| line.point == mount.point);
        FileSystemReading {
            point: mount.point.to_string_lossy().into_owned(),
            kind: mount.kind.clone(),
            space: space(&root.join(mount.point.strip_prefix("/").unwrap_or(&mount.point))),
            read_only: mount.options.split(',').any(|option| option == "ro"),
            meant: line.map(|line| if line.has("ro") { Meant::ReadOnly } else { Meant::Writable }),
            errors: (mount.kind == "ext4").then(|| ext4_errors(root, mount)).flatten(),
        }
    }
}

impl Mount {
    fn is_same(&self, other: &Self) -> bool {
        let pool = |mount: &Self| mount.source.split('/').next().map(str::to_owned);
        self.device == other.device || (self.kind == "zfs" && other.kind == "zfs" && pool(self) == pool(other))
    }
}

impl Line {
    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|known| known == option)
    }
}

/// proc_pid_mountinfo(5).
fn mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    let ([_, _, device, _, point, ..], [kind, source, options, ..]) = (&left[..], &right[..]) else { return None };
    Some(Mount {
        device: (*device).to_owned(),
        point: unescape(point).into(),
        kind: (*kind).to_owned(),
        source: unescape(source),
        options: (*options).to_owned(),
    })
}

/// fstab(5).
fn line(line: &str) -> Option<Line> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [source, point, kind, rest @ ..] = &fields[..] else { return None };
    if source.starts_with('#') || *kind == "swap" || !point.starts_with('/') {
        return None;
    }
    let options = rest.first().map(|options| options.split(',').map(str::to_owned).collect()).unwrap_or_default();
    // Collecting the components drops a slash at the end.
    Some(Line { point: PathBuf::from(unescape(point)).components().collect(), options })
}

/// Both files write space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        match after.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn space(point: &Path) -> Space {
    let told = match nix::sys::statvfs::statvfs(point) {
        Ok(told) => told,
        Err(Errno::EIO | Errno::ENODEV | Errno::ENXIO | Errno::ESHUTDOWN | Errno::EUCLEAN) => return Space::Broken,
        Err(error) => return Space::Refused(error.desc().to_owned()),
    };
    let fragment = told.fragment_size().max(1);
    let mib = |blocks: u64| i64::try_from((u128::from(blocks) * u128::from(fragment)) >> 20).unwrap_or(i64::MAX);
    let inodes_permille = (told.files() > 0).then(|| {
        let used = told.files().saturating_sub(told.files_available());
        i64::try_from(u128::from(used) * 1000 / u128::from(told.files())).unwrap_or(i64::MAX)
    });
    Space::Known { size_mib: mib(told.blocks()), free_mib: mib(told.blocks_available()), inodes_permille }
}

fn ext4_errors(root: &Path, mount: &Mount) -> Option<FsErrors> {
    let by_number = fs::read_link(root.join("sys/dev/block").join(&mount.device)).ok();
    let by_number = by_number.and_then(|target| Some(target.file_name()?.to_str()?.to_owned()));
    let name = by_number.or_else(|| mount.source.rsplit('/').next().map(str::to_owned))?;
    let dir = root.join("sys/fs/ext4").join(name);
    Some(FsErrors {
        count: text::number(&dir.join("errors_count"))?,
        last_s: text::number(&dir.join("last_error_time")).and_then(|at| u64::try_from(at).ok()).filter(|at| *at > 0),
        place: text::word(&dir.join("last_error_func")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tree;
    use proptest::prelude::*;

    const MOUNTINFO: &str = "\
29 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n\
40 29 8:1 /var/x /srv/bind\\040mount rw shared:1 - ext4 /dev/sda1 rw\n\
41 29 8:17 / /srv/backup ro - xfs /dev/mapper/backup ro\n\
42 29 0:5 / /proc rw - proc proc rw\n\
43 29 0:50 / /mnt/nas rw - nfs4 nas:/x rw\n\
44 43 8:33 / /mnt/nas/usb rw - ext4 /dev/sdc1 rw\n\
45 29 8:49 / /media rw - ext4 /dev/sdd1 rw\n\
46 45 0:51 / /media rw - fuse.sshfs far:/ rw\n\
47 29 0:60 / /tank rw - zfs tank rw\n\
48 47 0:61 / /tank/home rw - zfs tank/home rw\n\
49 29 8:1 / /usr ro,nosuid - ext4 /dev/sda1 rw\n";
    const FSTAB: &str = "\
# a comment\n\
UUID=1 / ext4 errors=remount-ro 0 1\n\
/dev/mapper/backup /srv/backup/ xfs ro 0 2\n\
/dev/sde1 /srv/second\\040disk ext4 defaults 0 2\n\
/dev/sdf1 /srv/maybe ext4 nofail 0 2\n\
/dev/sdg1 /srv/later ext4 noauto 0 2\n\
nas:/y /srv/auto nfs4 x-systemd.automount 0 0\n\
/dev/sdh1 none swap sw 0 0\n\
broken line\n";

    fn mounts() -> (tempfile::TempDir, Mounts) {
        let tree = tree(&[
            ("proc/self/mountinfo", MOUNTINFO),
            ("etc/fstab", FSTAB),
            ("sys/dev/block/8:1", "-> ../../devices/pci0/block/sda/sda1"),
            ("sys/fs/ext4/sda1/errors_count", "3\n"),
            ("sys/fs/ext4/sda1/last_error_time", "1795000000\n"),
            ("sys/fs/ext4/sda1/last_error_func", "ext4_lookup\n"),
            ("srv/backup/file", "x"),
        ]);
        let mounts = Mounts::read(tree.path());
        (tree, mounts)
    }

    #[test]
    fn each_local_file_system_is_told_once_and_nothing_remote_is_touched() {
        let (_tree, mounts) = mounts();
        let points: Vec<_> = mounts.local().iter().map(|mount| mount.point.to_str().unwrap()).collect();
        assert_eq!(points, ["/", "/srv/backup", "/tank"]);
    }

    #[test]
    fn a_file_system_is_read_with_what_fstab_means() {
        let (tree, mounts) = mounts();
        let all = mounts.file_systems(tree.path());
        assert_eq!((all[0].read_only, all[0].meant), (false, Some(Meant::Writable)));
        assert_eq!((all[1].read_only, all[1].meant), (true, Some(Meant::ReadOnly)));
        assert_eq!(all[2].meant, None);
        let errors = all[0].errors.clone().unwrap();
        assert_eq!(
            (errors.count, errors.last_s, errors.place.as_deref()),
            (3, Some(1_795_000_000), Some("ext4_lookup"))
        );
        let Space::Known { size_mib, free_mib, .. } = all[0].space else { panic!("{:?}", all[0].space) };
        assert!(size_mib > 0 && free_mib <= size_mib);
        assert!(matches!(all[2].space, Space::Refused(_)), "there is no /tank below this root");
    }

    #[test]
    fn only_what_must_be_mounted_is_missed() {
        let (_tree, mounts) = mounts();
        assert_eq!(mounts.absent(), ["/srv/second disk"]);
        assert!(mounts.has_option(&["sda1".into()], "errors=remount-ro"));
        assert!(!mounts.has_option(&["sdc1".into()], "degraded"));
    }

    proptest! {
        #[test]
        fn any_lines_are_read(text in "[ -~\\n\\\\]{0,200}") {
            let all: Vec<Mount> = text.lines().filter_map(mount).collect();
            let mounts = Mounts { all, fstab: text.lines().filter_map(line).collect() };
            prop_assert!(mounts.local().len() + mounts.absent().len() <= 2 * text.lines().count());
        }
    }
}

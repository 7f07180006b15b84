// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Thin readers of /proc and /sys: each turns files into components. All paths hang below a root, so that a recorded tree
//! of another machine can be read in a test.

use crate::judge::Judge;
use crate::model::{Component, Finding};
use crate::{rules, text};
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};
use std::path::{Path, PathBuf};

/// File systems that hold data on this machine. Network file systems are left out: asking a dead server blocks for ever.
const LOCAL_FILE_SYSTEMS: [&str; 10] =
    ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "vfat", "exfat", "bcachefs", "zfs"];
/// A mounted file system, from /proc/self/mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    device: String,
    point: PathBuf,
    kind: String,
    source: String,
    read_only: bool,
}

/// The mounts of local file systems, each device once, by the shortest mount point.
fn mounts(mountinfo: &str) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let ([_, _, device, _, point, options, ..], [kind, source, super_options, ..]) = (&left[..], &right[..]) else {
            continue;
        };
        if !LOCAL_FILE_SYSTEMS.contains(kind) {
            continue;
        }
        let read_only = [options, super_options].iter().any(|options| options.split(',').any(|option| option == "ro"));
        let mount = Mount {
            device: (*device).into(),
            point: unescape(point).into(),
            kind: (*kind).into(),
            source: unescape(source),
            read_only,
        };
        match mounts.iter_mut().find(|known| known.device == mount.device) {
            Some(known) if mount.point.as_os_str().len() < known.point.as_os_str().len() => *known = mount,
            Some(_) => {}
            None => mounts.push(mount),
        }
    }
    mounts
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
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

/// Mounted local file systems.
pub(crate) fn file_systems(root: &Path, judge: &mut Judge<'_>) -> Vec<Component> {
    let mountinfo = text::read(&root.join("proc/self/mountinfo")).unwrap_or_default();
    mounts(&mountinfo).iter().map(|mount| file_system(root, mount, judge)).collect()
}

fn file_system(root: &Path, mount: &Mount, judge: &mut Judge<'_>) -> Component {
    let point = mount.point.to_string_lossy().into_owned();
    let mut findings = Vec::new();
    let mut readings = Vec::new();
    let space = nix::sys::statvfs::statvfs(&mount.point).ok();
    if let Some(space) = &space {
        let fragment = space.fragment_size().max(1);
        let mib = |blocks: u64| i64::try_from((u128::from(blocks) * u128::from(fragment)) >> 20).unwrap_or(i64::MAX);
        let (size, free) = (mib(space.blocks()), mib(space.blocks_available()));
        let inodes = (space.files() > 0).then(|| {
            let used = space.files().saturating_sub(space.files_available());
            i64::try_from(u128::from(used) * 1000 / u128::from(space.files())).unwrap_or(i64::MAX)
        });
        findings.push(rules::file_system::space(judge, &point, size, free));
        findings.push(rules::file_system::inodes(judge, &point, inodes));
        readings.push((Quantity::SizeMib, Some(size)));
        readings.push((Quantity::FreeMib, Some(free)));
        readings.push((Quantity::InodesPermille, inodes));
    } else {
        findings.push(Finding::new(Check::Space, Verdict::Unknown, Reason::NotReadable).with_detail("statvfs failed"));
    }
    findings.push(if mount.read_only && mount.kind != "vfat" {
        Finding::new(Check::ReadOnly, Verdict::Critical, Reason::BecameReadOnly)
    } else {
        Finding::ok(Check::ReadOnly)
    });
    if mount.kind == "ext4" {
        let device = mount.source.rsplit('/').next().unwrap_or_default();
        let errors = text::number(&root.join("sys/fs/ext4").join(device).join("errors_count"));
        if let Some(errors) = errors {
            findings.push(if errors > 0 {
                Finding::new(Check::FsErrors, Verdict::Critical, Reason::FsErrors)
                    .with_detail(format!("{errors} errors"))
            } else {
                Finding::ok(Check::FsErrors)
            });
        }
        readings.push((Quantity::Errors, errors));
    }
    Component { kind: ComponentKind::FileSystem, id: point.clone(), label: point, findings, readings }
}

/// Mains and batteries.
pub(crate) fn power(root: &Path) -> Vec<Component> {
    let dir = root.join("sys/class/power_supply");
    text::names(&dir).into_iter().filter_map(|name| power_supply(&dir.join(&name), &name)).collect()
}

fn power_supply(dir: &Path, name: &str) -> Option<Component> {
    let kind = text::read(&dir.join("type"))?;
    let online = text::number(&dir.join("online"));
    let charge = text::number(&dir.join("capacity")).map(|percent| percent.saturating_mul(10));
    let finding = match (kind.as_str(), online, charge) {
        ("Mains", Some(0), _) => Finding::new(Check::PowerLine, Verdict::Warning, Reason::OnBattery),
        ("Battery", _, Some(charge)) if charge < 100 => {
            Finding::new(Check::PowerLine, Verdict::Critical, Reason::BatteryLow)
        }
        _ => Finding::ok(Check::PowerLine),
    };
    Some(Component {
        kind: ComponentKind::Power,
        id: name.into(),
        label: format!("{name} ({kind})"),
        findings: vec![finding],
        readings: vec![(Quantity::ChargePermille, charge)],
    })
}

/// What the kernel counts of the host as a whole: findings and readings that sysinfo does not give.
pub(crate) fn kernel(root: &Path, judge: &mut Judge<'_>) -> (Vec<Finding>, Vec<(Quantity, Option<i64>)>) {
    let vmstat = text::read(&root.join("proc/vmstat"));
    let oom_kills = vmstat.as_deref().and_then(|text| text::keyed(text, "oom_kill"));
    let tainted = text::number(&root.join("proc/sys/kernel/tainted"));
    let pressure = text::read(&root.join("proc/pressure/memory")).as_deref().and_then(pressure_full_avg300);
    let findings = vec![
        rules::system::oom_kills(judge, oom_kills),
        rules::system::taint(tainted),
        rules::system::memory_pressure(judge, pressure),
    ];
    (findings, vec![(Quantity::OomKills, oom_kills), (Quantity::MemoryPressure, pressure)])
}

/// "full avg10=0.00 avg60=0.00 avg300=1.23 total=…" as hundredths of a per cent.
fn pressure_full_avg300(text: &str) -> Option<i64> {
    let line = text.lines().find(|line| line.starts_with("full "))?;
    let value = line.split(' ').find_map(|field| field.strip_prefix("avg300="))?;
    let (whole, fraction) = value.split_once('.')?;
    Some(whole.parse::<i64>().ok()?.saturating_mul(100).saturating_add(fraction.get(..2)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::memory::Memory;
    use std::fs;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn a_device_mounted_twice_is_one_file_system() {
        let mountinfo = "\
29 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
40 29 8:1 /var/x /srv/bind\\040mount rw shared:1 - ext4 /dev/sda1 rw\n\
41 29 8:17 / /srv/backup ro - xfs /dev/sdb1 rw\n\
42 29 0:5 / /proc rw - proc proc rw\n\
43 29 0:50 / /mnt/nas rw - nfs4 nas:/x rw\n";
        let mounts = mounts(mountinfo);
        assert_eq!(mounts.iter().map(|m| m.point.to_str().unwrap()).collect::<Vec<_>>(), ["/", "/srv/backup"]);
        assert!(mounts[1].read_only && !mounts[0].read_only);
        assert_eq!(unescape("/srv/bind\\040mount"), "/srv/bind mount");
    }

    #[test]
    fn the_kernel_is_asked_and_missing_answers_are_unknown() {
        let present = tree(&[
            ("proc/vmstat", "nr_free 1\noom_kill 2\n"),
            ("proc/sys/kernel/tainted", "128\n"),
            (
                "proc/pressure/memory",
                "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=7.25 total=9\n",
            ),
        ]);
        let (limits, mut memory) = (Limits::default(), Memory::default());
        let mut judge = Judge::new(0, &limits, &mut memory);
        let (findings, readings) = kernel(present.path(), &mut judge);
        let reasons: Vec<Reason> = findings.iter().map(|finding| finding.reason).collect();
        // Two processes were killed before the first look: that is no news.
        assert_eq!(reasons, [Reason::None, Reason::KernelTainted, Reason::MemoryPressure]);
        assert_eq!(readings, [(Quantity::OomKills, Some(2)), (Quantity::MemoryPressure, Some(725))]);
        let absent = tree(&[]);
        fs::write(present.path().join("proc/vmstat"), "oom_kill 3\n").unwrap();
        assert_eq!(kernel(present.path(), &mut judge).0[0].reason, Reason::OomKilled);
        assert!(kernel(absent.path(), &mut judge).0.iter().all(|finding| finding.verdict == Verdict::Unknown));
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The data file system: found on a mirror, a disk of its own or the rest of the boot disk; checked, mounted, grown. Only a
//! blank partition of a machine that never had data gets a new file system. Whatever else is wrong is told and left alone.

use crate::block::{self, Disk};
use crate::children;
use crate::services::give;
use adit_slots::layout::{DATA_NAME, DATA_TYPE, MIRROR_TYPE};
use anyhow::{Context as _, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Where the data are mounted.
pub(crate) const PLACE: &str = "/srv/adit";
/// The store on them.
pub(crate) const STORE: &str = "/srv/adit/store";
/// The array of a mirror.
pub(crate) const ARRAY: &str = "/dev/md127";
/// How long the second disk of a mirror may take to appear.
const MIRROR_WAIT: Duration = Duration::from_secs(10);
/// Less than this is no place for data, bytes.
const BYTES_MIN: u64 = 48 << 20;
/// Where the ext4 superblock lies and what it says, by the kernel's ext4.h.
const SUPERBLOCK_AT: u64 = 1_024;

/// How the data are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    /// Nothing to put them on yet.
    None(String),
    /// Mounted.
    Mounted {
        /// What should be told nevertheless; empty for nothing.
        trouble: String,
    },
    /// There, but not to be used: a person has to look.
    Damaged(String),
}

impl Data {
    /// Whether they can be used.
    pub(crate) fn is_mounted(&self) -> bool {
        matches!(self, Self::Mounted { .. })
    }

    /// In words for a person.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::None(why) => format!("no data yet: {why}"),
            Self::Mounted { trouble } if trouble.is_empty() => "mounted".to_owned(),
            Self::Mounted { trouble } => format!("mounted; {trouble}"),
            Self::Damaged(why) => format!("not usable: {why}"),
        }
    }
}

/// Finds and mounts the data. `fresh`: this machine never had any, so a blank partition may be used.
pub(crate) fn bring_up(boot_node: &str, fresh: bool) -> Data {
    match find(boot_node) {
        Ok(Some((path, trouble))) => match prepare(&path, fresh) {
            Ok(()) => Data::Mounted { trouble },
            Err(error) => Data::Damaged(format!("{error:#}")),
        },
        Ok(None) => {
            Data::None("the boot disk is too small, and no other disk was taken (adit box disk use)".to_owned())
        }
        Err(error) => Data::Damaged(format!("{error:#}")),
    }
}

/// The device with the data, and what is wrong with it all the same.
fn find(boot_node: &str) -> Result<Option<(PathBuf, String)>> {
    let disks = block::disks();
    if disks.iter().any(|disk| disk.partition(MIRROR_TYPE).is_some()) {
        return assemble().map(Some);
    }
    let own = disks.iter().filter(|disk| disk.node != boot_node).filter_map(|disk| disk.partition(DATA_TYPE));
    let own: Vec<PathBuf> = own.map(|partition| partition.path.clone()).collect();
    match own.as_slice() {
        [one] => return Ok(Some((one.clone(), String::new()))),
        [] => {}
        several => bail!("{} disks hold data of a box; leave one of them in", several.len()),
    }
    let boot = disks.iter().find(|disk| disk.node == boot_node).and_then(|disk| disk.partition(DATA_TYPE));
    Ok(boot.filter(|partition| partition.bytes >= BYTES_MIN).map(|partition| (partition.path.clone(), String::new())))
}

/// Whether what is mounted for data is a partition of this disk.
pub(crate) fn lies_on(boot_node: &str) -> bool {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let from =
        mounts.lines().find(|line| line.split(' ').nth(1) == Some(PLACE)).and_then(|line| line.split(' ').next());
    !boot_node.is_empty() && from.is_some_and(|from| from.starts_with(&format!("/dev/{boot_node}")))
}

/// Takes a member back that was away for a while: what it missed is written to it again.
pub(crate) fn add_back() -> Result<()> {
    if block::number(Path::new("/sys/block/md127/md/degraded")).is_none_or(|missing| missing == 0) {
        return Ok(());
    }
    for member in members() {
        let name = member.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !Path::new(&format!("/sys/block/md127/md/dev-{name}")).exists() {
            let path = member.to_str().context("a device's name is no text")?;
            children::must("/sbin/mdadm", &[ARRAY, "--re-add", path]).context("take a disk back into the mirror")?;
            log::info!("{name} is back in the mirror");
        }
    }
    Ok(())
}

/// Stops the array, so that the next start finds it clean.
pub(crate) fn stop_array() {
    if Path::new("/sys/block/md127").exists()
        && let Err(error) = children::must("/sbin/mdadm", &["--stop", ARRAY])
    {
        log::warn!("{error:#}");
    }
}

/// Nodes of the members that are there.
fn members() -> Vec<PathBuf> {
    let disks = block::disks();
    disks.iter().filter_map(|disk: &Disk| disk.partition(MIRROR_TYPE)).map(|member| member.path.clone()).collect()
}

/// Assembles the mirror: with both members when they come in time, else with the one that is there.
fn assemble() -> Result<(PathBuf, String)> {
    let until = Instant::now() + MIRROR_WAIT;
    while members().len() < 2 && Instant::now() < until {
        thread::sleep(Duration::from_millis(100));
    }
    let members = members();
    let nodes: Vec<&str> = members.iter().filter_map(|path| path.to_str()).collect();
    if !Path::new("/sys/block/md127").exists() {
        children::must("/sbin/mdadm", &[&["--assemble", "--run", ARRAY], nodes.as_slice()].concat())
            .context("assemble the mirror")?;
    }
    let degraded = block::number(Path::new("/sys/block/md127/md/degraded")).unwrap_or_default();
    let trouble = if degraded == 0 { String::new() } else { "one disk of the mirror is missing".to_owned() };
    Ok((PathBuf::from(ARRAY), trouble))
}

/// Makes a file system where that is allowed, checks it, mounts it, grows it.
fn prepare(path: &Path, fresh: bool) -> Result<()> {
    let content = block::content(path);
    if content == "blank" {
        ensure!(fresh, "{} is blank, and this machine had data before: is it another disk?", path.display());
        format(path, DATA_NAME)?;
    } else {
        ensure!(content == format!("ext4 \"{DATA_NAME}\""), "{} holds {content}", path.display());
        check(path)?;
    }
    mount_ext4(path, PLACE)?;
    grow(path)?;
    fs::create_dir_all(STORE)?;
    give(Path::new(STORE))
}

/// Makes an empty file system. Tables of inodes are made in the background, or a large disk would take minutes.
pub(crate) fn format(path: &Path, label: &str) -> Result<()> {
    let path = path.to_str().context("a device's name is no text")?;
    let options =
        ["-q", "-F", "-t", "ext4", "-m", "0", "-L", label, "-E", "lazy_itable_init=1,lazy_journal_init=1", path];
    children::must("/sbin/mke2fs", &options).map(drop)
}

/// Repairs what can be repaired without a question: replays the journal after a power cut.
pub(crate) fn check(path: &Path) -> Result<()> {
    let path = path.to_str().context("a device's name is no text")?;
    let ran = children::run("/sbin/e2fsck", &["-p", path])?;
    // Exit codes of e2fsck(8): 1 and 2 are errors that were corrected.
    match ran.code {
        Some(0..=3) => Ok(()),
        _ => bail!("its file system has errors that only a person may repair: {}", children::last(&ran.said)),
    }
}

/// Mounts an ext4 file system. Errors make it read-only, which health tells.
pub(crate) fn mount_ext4(path: &Path, place: &str) -> Result<()> {
    fs::create_dir_all(place)?;
    let flags = MsFlags::MS_NOATIME | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some(path), place, Some("ext4"), flags, Some("errors=remount-ro"))
        .with_context(|| format!("mount {} at {place}", path.display()))
}

/// Lets the mounted file system fill its device.
fn grow(path: &Path) -> Result<()> {
    let mut device = File::open(path)?;
    let bytes = device.seek(SeekFrom::End(0))?;
    // A MiB more or less is not worth a look.
    if file_system_bytes(&mut device)?.saturating_add(1 << 20) < bytes {
        let path = path.to_str().context("a device's name is no text")?;
        children::must("/sbin/resize2fs", &[path]).context("let the file system fill its disk")?;
        log::info!("the data file system was grown to {bytes} bytes");
    }
    Ok(())
}

fn file_system_bytes(device: &mut File) -> Result<u64> {
    let mut block = [0; 1_024];
    device.seek(SeekFrom::Start(SUPERBLOCK_AT))?;
    device.read_exact(&mut block)?;
    let word = |at: usize| u64::from(u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]));
    let blocks = word(0x4) | word(0x150) << 32;
    Ok(blocks << (10 + word(0x18).min(6)))
}

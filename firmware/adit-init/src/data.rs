// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The data file system: found on a mirror, a disk of its own or the rest of the boot disk; checked, mounted, grown. Only a
//! blank partition of a machine that never had data gets a new file system. Whatever else is wrong is told and left alone.

use crate::block::{self, Disk, Partition};
use crate::children;
use crate::lock::{self, Device, Lock};
use crate::services::give;
use adit_slots::layout::{DATA_NAME, DATA_TYPE, MIRROR_TYPE};
use anyhow::{Context as _, Result, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
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
/// Which file system held the data last.
const REMEMBERED: &str = "/var/lib/adit-init/data-uuid";
/// Where the ext4 superblock lies and what it says, by the kernel's ext4.h.
const SUPERBLOCK_AT: u64 = 1_024;

/// What a person has to do about locked data.
const LOCKED: &str = "locked: an admin opens them with `adit box unlock`";

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
    /// Encrypted, and no holder of a share has opened them since the start.
    Locked {
        /// What should be told besides; empty for nothing.
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

    /// Whether they are all there, open or not.
    pub(crate) fn is_there(&self) -> bool {
        matches!(self, Self::Mounted { .. } | Self::Locked { .. })
    }

    /// In words for a person.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::None(why) => format!("no data yet: {why}"),
            Self::Mounted { trouble } if trouble.is_empty() => "mounted".to_owned(),
            Self::Mounted { trouble } => format!("mounted; {trouble}"),
            Self::Locked { trouble } if trouble.is_empty() => LOCKED.to_owned(),
            Self::Locked { trouble } => format!("{LOCKED}; {trouble}"),
            Self::Damaged(why) => format!("not usable: {why}"),
        }
    }
}

/// Finds and mounts the data; answers how they are and whether they lie on the boot disk.
pub(crate) fn bring_up(lock: &Lock) -> (Data, bool) {
    let found = match find(lock.boot_node()) {
        Ok(Some(found)) => found,
        Ok(None) => {
            let why = "the boot disk is too small, and no other disk was taken (adit box disk use)";
            return (Data::None(why.to_owned()), false);
        }
        Err(error) => return (Data::Damaged(format!("{error:#}")), false),
    };
    let trouble = found.trouble.to_owned();
    let data = match prepare(&found, lock) {
        Ok(Ready::Mounted) => Data::Mounted { trouble },
        Ok(Ready::Locked) => Data::Locked { trouble },
        Err(error) => Data::Damaged(format!("{error:#}")),
    };
    (data, found.on_boot_disk)
}

/// The device on which the data lie, encrypted or not.
pub(crate) fn device(boot_node: &str) -> Result<PathBuf> {
    let found = find(boot_node)?.context("there is no disk with the data")?;
    Ok(found.path)
}

/// What came of a device with data.
enum Ready {
    Mounted,
    Locked,
}

/// The device with the data.
struct Found {
    path: PathBuf,
    on_boot_disk: bool,
    /// What is wrong with it all the same; empty for nothing.
    trouble: &'static str,
}

/// Finds the device that should hold the data: a mirror, a disk of their own, or the rest of the boot disk. What lies there
/// is looked at later.
fn find(boot_node: &str) -> Result<Option<Found>> {
    let disks = block::disks();
    if disks.iter().any(|disk| disk.partition(MIRROR_TYPE).is_some()) {
        return assemble().map(|trouble| Some(Found { path: PathBuf::from(ARRAY), on_boot_disk: false, trouble }));
    }
    let own = disks.iter().filter(|disk| disk.node != boot_node);
    let own: Vec<(&Disk, &Partition)> = own.filter_map(|disk| Some((disk, disk.partition(DATA_TYPE)?))).collect();
    match own.as_slice() {
        [(disk, partition)] => {
            if !is_used(&partition.path)
                && let Err(error) = disk.grow_last()
            {
                log::error!("let the partition fill {}: {error:#}", disk.node);
            }
            return Ok(Some(Found { path: partition.path.clone(), on_boot_disk: false, trouble: "" }));
        }
        [] => {}
        several => bail!("{} disks hold data of a box; leave one of them in", several.len()),
    }
    let boot = disks.iter().find(|disk| disk.node == boot_node).and_then(|disk| disk.partition(DATA_TYPE));
    let boot = boot.filter(|partition| partition.bytes >= BYTES_MIN);
    Ok(boot.map(|partition| Found { path: partition.path.clone(), on_boot_disk: true, trouble: "" }))
}

/// The file system that held the data last, by its UUID; none before there were any, and after a person took another disk.
fn remembered() -> Option<String> {
    let text = fs::read_to_string(REMEMBERED).ok()?;
    Some(text.trim().to_owned())
}

/// A person decided that the data lie elsewhere from now on.
pub(crate) fn forget_place() -> Result<()> {
    match fs::remove_file(REMEMBERED) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("forget the old place of the data")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// How the mirror is just now, from the kernel's files alone: no disk is touched. Empty without a mirror, or when it is
/// whole and quiet.
pub(crate) fn mirror_words() -> String {
    let read = |file: &str| fs::read_to_string(format!("/sys/block/md127/md/{file}")).unwrap_or_default();
    let missing = read("degraded");
    if matches!(missing.trim(), "" | "0") {
        return String::new();
    }
    match progress(&read("sync_completed")) {
        Some(percent) => format!("the mirror is being filled, {percent} %"),
        None => "one disk of the mirror is missing".to_owned(),
    }
}

/// Percent of "done / all" sectors, as md tells it (Documentation/admin-guide/md.rst); none when nothing is under way.
fn progress(completed: &str) -> Option<u64> {
    let (done, all) = completed.trim().split_once(" / ")?;
    let (done, all): (u64, u64) = (done.parse().ok()?, all.parse().ok()?);
    done.saturating_mul(100).checked_div(all)
}

/// Whether a device is mounted anywhere, or something is built upon it.
pub(crate) fn is_used(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    mounts.lines().filter_map(|line| line.split(' ').next()).any(|from| Path::new(from) == path)
        || carries_another(path)
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

/// Whether something is built upon a partition: a mirror, an encrypted volume.
fn carries_another(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    let holders = Path::new("/sys/class/block").join(name).join("holders");
    fs::read_dir(holders).is_ok_and(|mut holders| holders.next().is_some())
}

/// Stops what the data lie on, so that the next start finds it clean.
pub(crate) fn stop() {
    lock::close();
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

/// Assembles the mirror: with both members when they come in time, else with the one that is there. Answers what is wrong.
fn assemble() -> Result<&'static str> {
    let until = Instant::now() + MIRROR_WAIT;
    let runs = Path::new("/sys/block/md127").exists();
    while !runs && members().len() < 2 && Instant::now() < until {
        thread::sleep(Duration::from_millis(100));
    }
    let members = members();
    let nodes: Vec<&str> = members.iter().filter_map(|path| path.to_str()).collect();
    if !runs {
        children::must("/sbin/mdadm", &[&["--assemble", "--run", ARRAY], nodes.as_slice()].concat())
            .context("assemble the mirror")?;
    }
    let missing = block::number(Path::new("/sys/block/md127/md/degraded")).unwrap_or_default();
    Ok(if missing == 0 { "" } else { "one disk of the mirror was missing at the start" })
}

/// Makes a file system where there never was one, checks it, mounts it, grows it. Once there were data, only the very file
/// system that held them is used: an empty one in its place would look to every source like a box that lost all.
fn prepare(found: &Found, lock: &Lock) -> Result<Ready> {
    let path = match lock.device(&found.path)? {
        Device::Plain(path) | Device::Open(path) => path,
        Device::Locked => return Ok(Ready::Locked),
    };
    let path = &path;
    let known = remembered();
    let content = block::content(path);
    let is_ours = content == format!("ext4 \"{DATA_NAME}\"");
    // On the boot disk the partition came with the image, blank: what else is there is a file system cut while it was made.
    let may_format = known.is_none() && (content == "blank" || found.on_boot_disk);
    if !is_ours {
        ensure!(may_format, "{} holds {content}, not the data of this box: is a disk missing?", path.display());
        format(path, DATA_NAME)?;
    }
    let uuid = uuid(path)?;
    if let Some(known) = &known {
        let other =
            format!("{} is not the file system that held the data of this box: is a disk missing?", path.display());
        ensure!(*known == uuid, other);
    }
    check(path)?;
    // What was mounted here before stays with those who use it until they let go.
    let _nothing_there = umount2(PLACE, MntFlags::MNT_DETACH);
    mount_ext4(path, PLACE)?;
    grow(path)?;
    fs::create_dir_all(STORE)?;
    give(Path::new(STORE))?;
    if known.is_none() {
        crate::boot::write_durably(Path::new(REMEMBERED), uuid.as_bytes())?;
    }
    Ok(Ready::Mounted)
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

fn superblock(device: &mut File) -> Result<[u8; 1_024]> {
    let mut block = [0; 1_024];
    device.seek(SeekFrom::Start(SUPERBLOCK_AT))?;
    device.read_exact(&mut block)?;
    Ok(block)
}

fn file_system_bytes(device: &mut File) -> Result<u64> {
    let block = superblock(device)?;
    let word = |at: usize| u64::from(u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]));
    let blocks = word(0x4) | word(0x150) << 32;
    Ok(blocks << (10 + word(0x18).min(6)))
}

/// The UUID that mke2fs gave a file system, in hexadecimal.
fn uuid(path: &Path) -> Result<String> {
    let block = superblock(&mut File::open(path)?)?;
    Ok(block[0x68..0x78].iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_md_says_of_its_progress_is_understood() {
        assert_eq!(progress("1000 / 4000\n"), Some(25));
        for nothing in ["none\n", "", "0 / 0", "delayed", "x / 5"] {
            assert_eq!(progress(nothing), None, "{nothing}");
        }
    }
}

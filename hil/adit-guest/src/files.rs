// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files and clocks of a machine, as the hand asks for them. Every size is bounded by the caller's limit and by ours.

use adit_guest::words::{FILE_PART_BYTES_MAX, MountFlag, Vitals};
use nix::mount::{MsFlags, mount};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

/// Makes or changes a file and its folders.
pub(crate) fn write(path: &str, permissions: u32, append: bool, bytes: &[u8]) -> io::Result<()> {
    if let Some(parent) = Path::new(path).parent() {
        fs::create_dir_all(parent)?;
    }
    let mut options = File::options();
    options.create(true).mode(permissions).append(append).write(true).truncate(!append);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(permissions))
}

/// A part of a file.
pub(crate) fn read(path: &str, offset: u64, bytes_max: u32) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    // A file of /proc or /sys is read from its start or not at all.
    if offset > 0 {
        file.seek(SeekFrom::Start(offset))?;
    }
    let mut bytes = Vec::new();
    file.take(u64::from(bytes_max).min(FILE_PART_BYTES_MAX as u64)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Mounts; the folder is made when missing.
pub(crate) fn attach(source: &str, target: &str, kind: &str, flags: &[MountFlag], options: &str) -> io::Result<()> {
    fs::create_dir_all(target)?;
    let flags = flags.iter().fold(MsFlags::empty(), |all, flag| {
        all | match flag {
            MountFlag::ReadOnly => MsFlags::MS_RDONLY,
            MountFlag::NoAccessTimes => MsFlags::MS_NOATIME,
            MountFlag::Synchronous => MsFlags::MS_SYNCHRONOUS,
            MountFlag::Bind => MsFlags::MS_BIND,
            MountFlag::Remount => MsFlags::MS_REMOUNT,
        }
    });
    mount(Some(source), target, Some(kind), flags, Some(options)).map_err(io::Error::from)
}

/// Sets the wall clock.
pub(crate) fn set_time(unix_s: i64, nanoseconds: u32) -> io::Result<()> {
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(unix_s, nanoseconds.into())).map_err(io::Error::from)
}

/// Clocks and memory.
pub(crate) fn vitals() -> io::Result<Vitals> {
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kib = |name: &str| {
        let value = memory.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next());
        value.and_then(|value| value.parse().ok()).ok_or_else(|| io::Error::other(format!("meminfo has no {name}")))
    };
    let uptime: f64 = crate::start::uptime().parse().map_err(io::Error::other)?;
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an uptime is positive and small")]
    let uptime_ms = (uptime * 1000.0) as u64;
    let unix_ms = i64::try_from(unix.as_millis()).map_err(io::Error::other)?;
    Ok(Vitals { uptime_ms, unix_ms, memory_kib: kib("MemTotal:")?, available_kib: kib("MemAvailable:")? })
}

/// The kernel's log from its start until now.
pub(crate) fn kernel_log() -> io::Result<Vec<u8>> {
    let options = File::options().read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits()).open("/dev/kmsg");
    let mut file = options?;
    let (mut log, mut record) = (Vec::new(), vec![0; 8192]);
    loop {
        match file.read(&mut record) {
            Ok(length) if length > 0 && log.len() + length <= FILE_PART_BYTES_MAX => {
                log.extend_from_slice(record.get(..length).unwrap_or_default());
            }
            Ok(_) => return Ok(log),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(log),
            // A record that was overwritten while it was read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_appended_to_and_read_in_parts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b").to_str().unwrap().to_owned();
        write(&path, 0o640, false, b"hello").unwrap();
        write(&path, 0o600, true, b" world").unwrap();
        assert_eq!(read(&path, 6, 3).unwrap(), b"wor");
        assert_eq!(read(&path, 11, 3).unwrap(), b"");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        write(&path, 0o600, false, b"").unwrap();
        assert_eq!(read(&path, 0, u32::MAX).unwrap(), b"");
        File::options().write(true).open(&path).unwrap().set_len(FILE_PART_BYTES_MAX as u64 + 1).unwrap();
        assert_eq!(read(&path, 0, u32::MAX).unwrap().len(), FILE_PART_BYTES_MAX);
    }

    #[test]
    fn vitals_are_those_of_a_running_kernel() {
        let vitals = vitals().unwrap();
        assert!(vitals.uptime_ms > 0 && vitals.unix_ms > 0, "{vitals:?}");
        assert!(vitals.available_kib > 0 && vitals.available_kib <= vitals.memory_kib, "{vitals:?}");
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why the machine started, as far as hardware and the kernel's memory tell: a watchdog keeps a mark, a panic leaves its log.

use crate::block::number;
use adit_slots::record::Reset;
use std::fs;
use std::path::Path;

/// WDIOF_CARDRESET of linux/watchdog.h: the last restart was the watchdog's.
const CARD_RESET: u64 = 0x20;

/// What is told; nothing is `Unknown`.
pub(crate) fn told() -> Reset {
    reset_of(Path::new("/sys"))
}

fn reset_of(sys: &Path) -> Reset {
    let entries = |path: &str| fs::read_dir(sys.join(path)).into_iter().flatten().flatten();
    // A panic first: where it hangs afterwards, the watchdog resets the machine as well.
    if entries("fs/pstore").any(|entry| entry.file_name().to_string_lossy().starts_with("dmesg")) {
        return Reset::Panic;
    }
    let bitten = |watchdog: fs::DirEntry| {
        number(&watchdog.path().join("bootstatus")).is_some_and(|status| status & CARD_RESET != 0)
    };
    if entries("class/watchdog").any(bitten) { Reset::Watchdog } else { Reset::Unknown }
}

/// Crash logs that were counted are removed, or the next start would tell of them again. The kernel's log keeps their end.
pub(crate) fn harvest() {
    for entry in fs::read_dir("/sys/fs/pstore").into_iter().flatten().flatten() {
        let text = fs::read(entry.path()).unwrap_or_default();
        for line in crate::children::last(&String::from_utf8_lossy(&text)).lines() {
            log::warn!("before the restart: {line}");
        }
        if let Err(error) = fs::remove_file(entry.path()) {
            log::warn!("remove {}: {error}", entry.path().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_tell_why_the_machine_started() {
        let folder = tempfile::tempdir().unwrap();
        let sys = folder.path();
        assert_eq!(reset_of(sys), Reset::Unknown);
        fs::create_dir_all(sys.join("class/watchdog/watchdog0")).unwrap();
        fs::write(sys.join("class/watchdog/watchdog0/bootstatus"), "0\n").unwrap();
        assert_eq!(reset_of(sys), Reset::Unknown);
        fs::write(sys.join("class/watchdog/watchdog0/bootstatus"), "32\n").unwrap();
        assert_eq!(reset_of(sys), Reset::Watchdog);
        fs::create_dir_all(sys.join("fs/pstore")).unwrap();
        fs::write(sys.join("fs/pstore/dmesg-efi_pstore-1"), "Panic").unwrap();
        assert_eq!(reset_of(sys), Reset::Panic);
    }
}

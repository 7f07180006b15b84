// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How the machine came up: the boot's id, what the watchdog says, crash records in pstore; and whether it should go down
//! again: /run/reboot-required, a newer kernel.
//!
//! Can block: no.

use crate::readings::system::{BootReading, RebootReading};
use crate::text;
use std::cmp::Ordering;
use std::path::Path;

/// WDIOF_CARDRESET of linux/watchdog.h: the card reset the machine.
const CARD_RESET: i64 = 0x20;
/// Packages that are named in a report.
const PACKAGES_MAX: usize = 3;

/// How the machine came up; `None` where the kernel gives its boots no id.
pub(crate) fn boot(root: &Path) -> Option<BootReading> {
    let id = text::word(&root.join("proc/sys/kernel/random/boot_id"))?;
    let uptime = text::word(&root.join("proc/uptime")).unwrap_or_default();
    let watchdogs = root.join("sys/class/watchdog");
    let reset = |name: &String| {
        text::number(&watchdogs.join(name).join("bootstatus")).is_some_and(|status| status & CARD_RESET != 0)
    };
    let hex: String = id.chars().filter(char::is_ascii_hexdigit).take(15).collect();
    Some(BootReading {
        boot: i64::from_str_radix(&hex, 16).unwrap_or(0),
        uptime_s: uptime.split(['.', ' ']).next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0),
        crash_records: text::names(&root.join("sys/fs/pstore")).iter().filter(|name| name.contains("dmesg")).count(),
        watchdog_reset: text::names(&watchdogs).iter().any(reset),
    })
}

/// Whether a reboot is due.
pub(crate) fn reboot(root: &Path) -> RebootReading {
    let flag = root.join("run/reboot-required");
    let packages = text::read(&root.join("run/reboot-required.pkgs")).unwrap_or_default();
    let mut packages: Vec<&str> = packages.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
    packages.sort_unstable();
    packages.dedup();
    packages.truncate(PACKAGES_MAX);
    RebootReading { asked_by: flag.exists().then(|| packages.join(", ")), newer_kernel: newer_kernel(root) }
}

/// The newest installed kernel of the same flavour, when it is newer than the running one and the running one is installed
/// too: a machine whose kernel comes from outside (some virtual machines, containers) has others lying about.
fn newer_kernel(root: &Path) -> Option<String> {
    let running = text::word(&root.join("proc/sys/kernel/osrelease"))?;
    let modules = root.join("lib/modules");
    let has_image = |version: &String| {
        root.join("boot").join(format!("vmlinuz-{version}")).exists() || modules.join(version).join("vmlinuz").exists()
    };
    let installed: Vec<String> = text::names(&modules).into_iter().filter(has_image).collect();
    if !installed.contains(&running) {
        return None;
    }
    let newest =
        installed.into_iter().filter(|version| flavour(version) == flavour(&running)).max_by(|a, b| compare(a, b))?;
    (compare(&newest, &running) == Ordering::Greater).then_some(newest)
}

/// "amd64" of "6.1.0-18-amd64", "el.x" of "5.14.0-427.13.1.el9_4.x86_64": the letters.
fn flavour(version: &str) -> String {
    let from = version.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(version.len());
    version.get(from..).unwrap_or_default().chars().filter(|c| !c.is_ascii_digit() && *c != '_').collect()
}

/// Numbers as numbers, all else by bytes.
fn compare(a: &str, b: &str) -> Ordering {
    let numbers = |version: &str| -> Vec<u64> {
        let parts = version.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
        parts.map(|part| part.parse().unwrap_or(u64::MAX)).collect()
    };
    numbers(a).cmp(&numbers(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_is_known_by_its_id() {
        let tree = text::tree(&[
            ("proc/sys/kernel/random/boot_id", "7f3c2a10-1234-4abc-8def-001122334455\n"),
            ("proc/uptime", "3661.25 7000.00\n"),
            ("sys/class/watchdog/watchdog0/bootstatus", "32\n"),
            ("sys/fs/pstore/dmesg-efi_pstore-171", "Oops"),
            ("sys/fs/pstore/console-ramoops-0", "console"),
        ]);
        let boot = boot(tree.path()).unwrap();
        assert_eq!((boot.uptime_s, boot.crash_records, boot.watchdog_reset), (3_661, 1, true));
        assert_eq!(boot.boot, 0x07f3_c2a1_0123_44ab);
        assert_eq!(super::boot(text::tree(&[]).path()), None);
    }

    #[test]
    fn a_newer_kernel_of_the_same_flavour_wants_a_reboot() {
        let machine = |running: &str, installed: &[&str]| {
            let mut files = vec![("proc/sys/kernel/osrelease".to_owned(), running)];
            for version in installed {
                files.push((format!("lib/modules/{version}/modules.dep"), ""));
                files.push((format!("boot/vmlinuz-{version}"), ""));
            }
            files.push(("lib/modules/9.9.9-amd64/leftover".to_owned(), "")); // no image beside it
            let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
            reboot(text::tree(&files).path()).newer_kernel
        };
        let newer = machine("6.1.0-9-amd64", &["6.1.0-9-amd64", "6.1.0-18-amd64", "6.1.0-20-cloud-amd64"]);
        assert_eq!(newer.as_deref(), Some("6.1.0-18-amd64"));
        assert_eq!(machine("6.1.0-18-amd64", &["6.1.0-9-amd64", "6.1.0-18-amd64"]), None);
        assert_eq!(machine("6.18.44-host", &["6.1.0-18-amd64"]), None, "its kernel comes from outside");
        let (old, new) = ("5.14.0-427.13.1.el9_4.x86_64", "5.14.0-503.el9_5.x86_64");
        assert_eq!(machine(old, &[old, new]).as_deref(), Some(new));
    }

    #[test]
    fn packages_ask_for_a_reboot() {
        let tree = text::tree(&[
            ("run/reboot-required", "*** System restart required ***\n"),
            ("run/reboot-required.pkgs", "linux-base\nlibc6\nlinux-base\n"),
        ]);
        assert_eq!(reboot(tree.path()).asked_by.as_deref(), Some("libc6, linux-base"));
        assert_eq!(reboot(text::tree(&[]).path()), RebootReading::default());
    }
}

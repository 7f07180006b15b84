// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The packages that the services come from, unpacked into one root that all tests share and none writes to. It never
//! touches what this machine has installed.

use adit_image::debian::{Apt, unpack};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// What is fetched, with all it depends on.
const PACKAGES: [&str; 16] = [
    "ceph-mon",
    "ceph-mgr",
    "ceph-mgr-modules-core",
    "ceph-osd",
    "ceph-common",
    "glusterfs-server",
    "glusterfs-cli",
    "nut-server",
    "nut-client",
    "dbus-daemon",
    "python3-dbus",
    "python3-gi",
    "monitoring-plugins-basic",
    // Essential packages, which no package asks for.
    "coreutils",
    "dash",
    "sed",
];

/// Folders and files of the root that a room binds something over.
const PLACES: [&str; 8] = ["proc", "dev", "tmp", "run", "lab", "brick", "var/lib/glusterd", "var/log/glusterfs"];
/// What packages leave to an installation: the names of users, of this machine, and links.
const FILES: [(&str, &str); 3] = [
    ("etc/passwd", "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/hosts", "::1 localhost\n"),
];
const LINKS: [(&str, &str); 2] = [("bin/sh", "dash"), ("var/run", "/run")];

/// The folder for everything of this room: target/services.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/services")
}

/// The root with all packages, fetched when it is not there yet. The first test that comes does it; others wait.
///
/// # Errors
/// Debian's packages cannot be had: a test without its service has failed.
pub fn root() -> Result<PathBuf> {
    let folder = folder();
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    let lock = fs::File::create(folder.join("lock"))?;
    lock.lock()?;
    let (root, done) = (folder.join("root"), folder.join("packages"));
    let list = PACKAGES.join("\n");
    if fs::read_to_string(&done).is_ok_and(|text| text == list) {
        return Ok(root);
    }
    let apt = Apt::new(&folder.join("apt"))?;
    apt.update()?;
    let files = apt.download_closure(&PACKAGES)?;
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    fs::create_dir_all(&root)?;
    for file in &files {
        unpack(file, &root)?;
    }
    for place in PLACES {
        fs::create_dir_all(root.join(place)).with_context(|| format!("make {place} in the root"))?;
    }
    for (file, text) in FILES {
        fs::write(root.join(file), text)?;
    }
    for (link, target) in LINKS {
        if fs::symlink_metadata(root.join(link)).is_err() {
            std::os::unix::fs::symlink(target, root.join(link))?;
        }
    }
    fs::write(&done, list)?;
    Ok(root)
}

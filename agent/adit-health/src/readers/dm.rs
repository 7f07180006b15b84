// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Encrypted volumes: the mappings of /sys/block/dm-N/dm whose UUID says so ("CRYPT-…", as cryptsetup names them), and those
//! that /etc/crypttab wants. Headers and keys are never looked at.
//!
//! Can block: no; these files show what the kernel holds in memory.

use crate::readings::volume::LuksReading;
use crate::text;
use std::path::Path;

/// Volumes of one machine.
const VOLUMES_MAX: usize = 128;

/// All encrypted volumes that are open or should be.
pub(crate) fn encrypted(root: &Path) -> Vec<LuksReading> {
    let blocks = root.join("sys/block");
    let open = |device: &String| {
        let dir = blocks.join(device).join("dm");
        let uuid = text::word(&dir.join("uuid")).filter(|uuid| uuid.starts_with("CRYPT-"))?;
        // Parts of a verified or temporary mapping carry its UUID and a suffix of their own; their name tells no volume.
        let name = text::word(&dir.join("name")).filter(|name| uuid.ends_with(name.as_str()))?;
        Some(LuksReading { name, is_open: true, is_suspended: text::number(&dir.join("suspended")) == Some(1) })
    };
    let mut volumes: Vec<LuksReading> =
        text::names(&blocks).iter().filter(|name| name.starts_with("dm-")).filter_map(open).collect();
    for name in wanted(&text::read(&root.join("etc/crypttab")).unwrap_or_default()) {
        if !volumes.iter().any(|volume| volume.name == name) {
            volumes.push(LuksReading { name, ..LuksReading::default() });
        }
    }
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    volumes.truncate(VOLUMES_MAX);
    volumes
}

/// The names that crypttab(5) wants open after a boot.
fn wanted(crypttab: &str) -> Vec<String> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, _device, rest @ ..] = &fields[..] else { return None };
        let by_hand = rest.get(1).is_some_and(|options| options.split(',').any(|option| option == "noauto"));
        (!name.starts_with('#') && !by_hand).then(|| (*name).to_owned())
    };
    crypttab.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_and_what_should_be() {
        let tree = text::tree(&[
            ("sys/block/dm-0/dm/uuid", "CRYPT-LUKS2-0123456789abcdef0123456789abcdef-backup\n"),
            ("sys/block/dm-0/dm/name", "backup\n"),
            ("sys/block/dm-0/dm/suspended", "0\n"),
            ("sys/block/dm-1/dm/uuid", "LVM-abc\n"),
            ("sys/block/dm-1/dm/name", "vg-root\n"),
            ("sys/block/dm-2/dm/name", "linear\n"),
            (
                "etc/crypttab",
                "# name device key options\nbackup UUID=1 none luks\nsecond UUID=2 none luks,nofail\nby-hand UUID=3 none noauto\nshort\n",
            ),
        ]);
        let open = |name: &str, is_open| LuksReading { name: name.into(), is_open, is_suspended: false };
        assert_eq!(encrypted(tree.path()), [open("backup", true), open("second", false)]);
    }
}

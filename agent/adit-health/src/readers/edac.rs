// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory controllers from /sys/devices/system/edac/mc (Documentation/admin-guide/RAS/main.rst).
//!
//! Can block: no.

use crate::readings::edac::{EdacReading, MemoryModule};
use crate::text;
use std::path::Path;

/// Controllers of one machine.
const CONTROLLERS_MAX: usize = 64;

/// All memory controllers that count errors.
pub(crate) fn controllers(root: &Path) -> Vec<EdacReading> {
    let dir = root.join("sys/devices/system/edac/mc");
    let is_controller = |name: &String| name.strip_prefix("mc").is_some_and(|rest| rest.parse::<u16>().is_ok());
    let names = text::names(&dir).into_iter().filter(is_controller);
    names.filter_map(|name| controller(&dir.join(&name), name)).take(CONTROLLERS_MAX).collect()
}

fn controller(dir: &Path, name: String) -> Option<EdacReading> {
    let (corrected, uncorrected) = (text::number(&dir.join("ce_count"))?, text::number(&dir.join("ue_count"))?);
    let module = |entry: &String| {
        let module = dir.join(entry);
        Some(MemoryModule {
            corrected: text::number(&module.join("dimm_ce_count"))?,
            label: text::word(&module.join("dimm_label")).unwrap_or_else(|| entry.clone()),
        })
    };
    let mut modules: Vec<MemoryModule> = text::names(dir)
        .iter()
        .filter(|entry| entry.starts_with("dimm") || entry.starts_with("rank"))
        .filter_map(module)
        .collect();
    if modules.is_empty() {
        modules.push(MemoryModule { label: name.clone(), corrected });
    }
    Some(EdacReading { driver: text::word(&dir.join("mc_name")), name, uncorrected, modules })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_counted_apart() {
        let tree = text::tree(&[
            ("sys/devices/system/edac/mc/mc0/mc_name", "ie31200\n"),
            ("sys/devices/system/edac/mc/mc0/ce_count", "12\n"),
            ("sys/devices/system/edac/mc/mc0/ue_count", "1\n"),
            ("sys/devices/system/edac/mc/mc0/dimm0/dimm_ce_count", "12\n"),
            ("sys/devices/system/edac/mc/mc0/dimm0/dimm_label", "DIMM_A1\n"),
            ("sys/devices/system/edac/mc/mc0/dimm1/dimm_ce_count", "0\n"),
            ("sys/devices/system/edac/mc/mc1/ce_count", "3\n"),
            ("sys/devices/system/edac/mc/mc1/ue_count", "0\n"),
            ("sys/devices/system/edac/mc/power/control", "auto\n"),
        ]);
        let all = controllers(tree.path());
        let counts: Vec<(&str, i64)> =
            all.iter().flat_map(|mc| mc.modules.iter().map(|m| (m.label.as_str(), m.corrected))).collect();
        assert_eq!(counts, [("DIMM_A1", 12), ("dimm1", 0), ("mc1", 3)]);
        assert_eq!(all[0].uncorrected, 1);
    }
}

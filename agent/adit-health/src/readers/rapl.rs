// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What processors draw, from /sys/class/powercap (Documentation/power/powercap/powercap.rst). Only root may read it.
//!
//! Can block: no.

use crate::text;
use std::collections::BTreeMap;
use std::path::Path;

/// The counters of the last look.
#[derive(Debug, Default)]
pub(crate) struct Rapl {
    /// Microjoules by package.
    energy: BTreeMap<String, i64>,
    at_s: u64,
}

impl Rapl {
    /// Power of all packages since the last look, tenths of a watt; `None` at the first look and where it may not be read.
    pub(crate) fn tenth_watts(&mut self, root: &Path, now_s: u64) -> Option<i64> {
        let dir = root.join("sys/class/powercap");
        let mut energy = BTreeMap::new();
        let mut spent = 0_i64;
        for name in text::names(&dir) {
            // "intel-rapl:0" is a package (AMD's too); "intel-rapl:0:1" is a part of it.
            if name.strip_prefix("intel-rapl:").is_none_or(|rest| rest.contains(':')) {
                continue;
            }
            let zone = dir.join(&name);
            if text::word(&zone.join("name")).is_none_or(|name| !name.starts_with("package")) {
                continue;
            }
            let Some(now) = text::number(&zone.join("energy_uj")) else { continue };
            if let Some(before) = self.energy.get(&name) {
                let wraps_at = text::number(&zone.join("max_energy_range_uj")).unwrap_or(0);
                let since =
                    if now >= *before { now - before } else { wraps_at.saturating_sub(*before).saturating_add(now) };
                spent = spent.saturating_add(since);
            }
            energy.insert(name, now);
        }
        let seconds = i64::try_from(now_s.saturating_sub(self.at_s)).ok().filter(|seconds| *seconds > 0);
        let known = !self.energy.is_empty() && !energy.is_empty();
        (self.energy, self.at_s) = (energy, now_s);
        seconds.filter(|_| known).map(|seconds| spent / seconds / 100_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_is_energy_over_time_and_the_counter_wraps() {
        let at = |energy: &str| {
            text::tree(&[
                ("sys/class/powercap/intel-rapl:0/name", "package-0"),
                ("sys/class/powercap/intel-rapl:0/energy_uj", energy),
                ("sys/class/powercap/intel-rapl:0/max_energy_range_uj", "1000000000"),
                ("sys/class/powercap/intel-rapl:0:0/name", "core"),
                ("sys/class/powercap/intel-rapl:0:0/energy_uj", "77"),
                ("sys/class/powercap/intel-rapl:1/name", "psys"),
                ("sys/class/powercap/intel-rapl:1/energy_uj", "77"),
            ])
        };
        let mut rapl = Rapl::default();
        assert_eq!(rapl.tenth_watts(at("0").path(), 100), None);
        assert_eq!(rapl.tenth_watts(at("900000000").path(), 130), Some(300), "30 W");
        assert_eq!(rapl.tenth_watts(at("50000000").path(), 160), Some(50), "5 W over the wrap");
        assert_eq!(rapl.tenth_watts(text::tree(&[]).path(), 190), None);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mains and batteries from /sys/class/power_supply. Batteries of mice and keyboards (scope "Device") and USB ports are
//! left out.
//!
//! Can block: the embedded controller of a laptop answers some reads late.

use crate::readings::power::SupplyReading;
use crate::text;
use std::path::Path;

/// Supplies of one machine.
const SUPPLIES_MAX: usize = 16;

/// All supplies of the machine itself.
pub(crate) fn supplies(root: &Path) -> Vec<SupplyReading> {
    let dir = root.join("sys/class/power_supply");
    text::names(&dir).into_iter().filter_map(|name| supply(&dir.join(&name), name)).take(SUPPLIES_MAX).collect()
}

fn supply(dir: &Path, name: String) -> Option<SupplyReading> {
    let word = |file: &str| text::word(&dir.join(file)).unwrap_or_default();
    let is_battery = match word("type").as_str() {
        "Mains" => false,
        "Battery" | "UPS" => true,
        _ => return None,
    };
    if word("scope") == "Device" || word("present") == "0" {
        return None;
    }
    Some(SupplyReading {
        name,
        is_battery,
        online: text::number(&dir.join("online")) == Some(1),
        charge_permille: text::number(&dir.join("capacity")).map(|percent| percent.saturating_mul(10)),
        health: word("health"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mouse_is_no_supply() {
        let tree = text::tree(&[
            ("sys/class/power_supply/AC/type", "Mains\n"),
            ("sys/class/power_supply/AC/online", "1\n"),
            ("sys/class/power_supply/BAT0/type", "Battery\n"),
            ("sys/class/power_supply/BAT0/capacity", "87\n"),
            ("sys/class/power_supply/BAT0/health", "Good\n"),
            ("sys/class/power_supply/BAT1/type", "Battery\n"),
            ("sys/class/power_supply/BAT1/present", "0\n"),
            ("sys/class/power_supply/hidpp_battery_0/type", "Battery\n"),
            ("sys/class/power_supply/hidpp_battery_0/scope", "Device\n"),
            ("sys/class/power_supply/ucsi-source-psy/type", "USB\n"),
        ]);
        let mains = SupplyReading { name: "AC".into(), online: true, ..SupplyReading::default() };
        let battery = SupplyReading {
            name: "BAT0".into(),
            is_battery: true,
            charge_permille: Some(870),
            health: "Good".into(),
            ..SupplyReading::default()
        };
        assert_eq!(supplies(tree.path()), [mains, battery]);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mains and batteries that the kernel knows.

use crate::judge::Judge;
use crate::limits::Rule;
use crate::model::{Component, Finding};
use crate::readings::power::SupplyReading;
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

/// All supplies of a machine. With two ways to mains one is enough.
#[must_use]
pub fn supplies(judge: &mut Judge<'_>, supplies: &[SupplyReading]) -> Vec<Component> {
    let powered = supplies.iter().any(|supply| !supply.is_battery && supply.online);
    supplies
        .iter()
        .map(|supply| {
            let finding = if supply.is_battery { battery(judge, supply) } else { mains(powered) };
            let charge = supply.charge_permille.map(|charge| (Quantity::ChargePermille, Some(charge)));
            Component {
                kind: ComponentKind::Power,
                id: supply.name.clone(),
                label: format!("{} ({})", supply.name, if supply.is_battery { "battery" } else { "mains" }),
                findings: vec![finding],
                readings: charge.into_iter().collect(),
            }
        })
        .collect()
}

fn mains(powered: bool) -> Finding {
    let verdict = if powered { Verdict::Ok } else { Verdict::Warning };
    Finding::judged(Check::PowerLine, verdict, Reason::OnBattery)
}

/// The kernel's words for health: Documentation/ABI/testing/sysfs-class-power, `health`.
fn battery(judge: &mut Judge<'_>, supply: &SupplyReading) -> Finding {
    let level =
        supply.charge_permille.map_or(Verdict::Ok, |charge| judge.level(&supply.name, Rule::BatteryCharge, charge));
    if level == Verdict::Critical {
        let detail = format!("{} %", supply.charge_permille.unwrap_or(0) / 10);
        return Finding::new(Check::Battery, level, Reason::BatteryLow).with_detail(detail);
    }
    let worn = matches!(
        supply.health.as_str(),
        "Dead"
            | "Overheat"
            | "Over voltage"
            | "Under voltage"
            | "Unspecified failure"
            | "Over current"
            | "Cell imbalance"
    );
    let verdict = if worn { Verdict::Warning.worse(level) } else { level };
    Finding::judged(Check::Battery, verdict, Reason::BatteryReplace).because(|| supply.health.clone())
}

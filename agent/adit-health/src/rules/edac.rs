// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory errors. A corrected one now and then is a cosmic ray; many from one module are a module that fails.

use crate::judge::Judge;
use crate::limits::Rule;
use crate::model::{Component, Finding};
use crate::readings::edac::EdacReading;
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

/// A memory controller. An error that was not corrected stays critical until the next boot: data in memory was wrong.
#[must_use]
pub fn controller(judge: &mut Judge<'_>, controller: &EdacReading) -> Component {
    let mut finding = Finding::ok(Check::Ecc);
    for module in &controller.modules {
        let id = format!("{}/{}", controller.name, module.label);
        let lately = judge.counter(&id, Quantity::CorrectedErrors, module.corrected).two_days;
        let verdict = judge.level(&id, Rule::MemoryErrors, lately);
        if verdict != Verdict::Ok && finding.verdict != Verdict::Critical {
            let detail = format!("{}: {lately} in two days", module.label);
            finding = Finding::new(Check::Ecc, verdict, Reason::EccCorrected).with_detail(detail);
        }
    }
    if controller.uncorrected > 0 {
        let detail = format!("{} since boot", controller.uncorrected);
        finding = Finding::new(Check::Ecc, Verdict::Critical, Reason::EccUncorrected).with_detail(detail);
    }
    let corrected = controller.modules.iter().map(|module| module.corrected).fold(0, i64::saturating_add);
    let driver = controller.driver.as_ref().map(|driver| format!(" ({driver})")).unwrap_or_default();
    Component {
        kind: ComponentKind::MemoryController,
        id: controller.name.clone(),
        label: format!("{}{driver}", controller.name),
        findings: vec![finding],
        readings: vec![
            (Quantity::CorrectedErrors, Some(corrected)),
            (Quantity::UncorrectableErrors, Some(controller.uncorrected)),
        ],
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Disks by what the kernel counts: whether the device runs, errors and time-outs that grow, temperature, an eMMC's wear.
//!
//! Counters begin at 0 with each boot and are judged by growth alone: what was there at the first look is no news.

use crate::judge::Judge;
use crate::limits::{Limit, Rule};
use crate::model::{Component, Finding};
use crate::readings::block::{DiskTemperature, EmmcWear, KernelView};
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

/// How long a path may be brought back before it counts as stuck, seconds: a reset of a controller takes some.
const WAITS_S: u64 = 60;

/// Findings of a disk, and its numbers.
pub type Judged = (Vec<Finding>, Vec<(Quantity, Option<i64>)>);

/// A disk of which nothing but the kernel's view is known. A real one has more to say: that it was not asked is said too.
#[must_use]
pub fn disk(judge: &mut Judge<'_>, view: &KernelView) -> Component {
    let (mut findings, mut readings) = kernel(judge, view);
    if !view.is_virtual {
        findings.insert(0, Finding::new(Check::DiskStatus, Verdict::Unknown, Reason::NeedsDeviceAccess));
    }
    if let Some(found) = &view.temperature {
        findings.push(temperature(judge, view, found));
        readings.push((Quantity::TemperatureTenths, found.tenths));
    }
    Component { kind: ComponentKind::Disk, id: view.id.clone(), label: view.label(), findings, readings }
}

/// The part that only the kernel knows, whoever else is asked: presence, errors, time-outs, an eMMC's wear.
#[must_use]
pub fn kernel(judge: &mut Judge<'_>, view: &KernelView) -> Judged {
    let mut findings = vec![paths(view)];
    let mut readings = vec![(Quantity::SizeGib, Some(view.size_mib >> 10))];
    if let Some(errors) = view.errors {
        let lately = judge.counter(&view.id, Quantity::Errors, errors).two_days;
        let verdict = if lately > 0 { Verdict::Warning } else { Verdict::Ok };
        let finding = Finding::judged(Check::DiskErrors, verdict, Reason::IoErrors);
        findings.push(finding.because(|| format!("{lately} failed commands in the last two days")));
        readings.push((Quantity::Errors, Some(errors)));
    }
    let stuck = judge.lasting(&view.id, Reason::Stalled, !view.waiting_paths.is_empty());
    if let Some(for_s) = stuck.filter(|for_s| *for_s >= WAITS_S) {
        let detail = format!("{} for {} min", view.waiting_paths.join(", "), for_s / 60);
        findings.push(Finding::new(Check::DiskAnswers, Verdict::Critical, Reason::Stalled).with_detail(detail));
    } else if let Some(timeouts) = view.timeouts {
        let lately = judge.counter(&view.id, Quantity::CommandTimeouts, timeouts).two_days;
        let verdict = if lately > 0 { Verdict::Warning } else { Verdict::Ok };
        let finding = Finding::judged(Check::DiskAnswers, verdict, Reason::CommandTimeouts);
        findings.push(finding.because(|| format!("{lately} in the last two days")));
    }
    if let Some(wear) = view.emmc {
        findings.push(emmc(wear));
        readings.push((Quantity::WearPercent, Some(i64::from(wear.life) * 10)));
    }
    (findings, readings)
}

fn paths(view: &KernelView) -> Finding {
    let (lost, all) = (view.lost_paths.len(), view.paths);
    if lost == 0 {
        return Finding::ok(Check::DiskPresent);
    }
    let verdict = if lost < all { Verdict::Warning } else { Verdict::Critical };
    let detail = view.lost_paths.join(", ");
    let detail = if all > 1 { format!("{lost} of {all} paths: {detail}") } else { detail };
    Finding::new(Check::DiskPresent, verdict, Reason::Offline).with_detail(detail)
}

/// The temperature that a driver shows. A turning disk is held to the limits of hard disks, a solid-state one to its own.
#[must_use]
pub fn temperature(judge: &mut Judge<'_>, view: &KernelView, found: &DiskTemperature) -> Finding {
    let Some(tenths) = found.tenths else { return Finding::ok(Check::Temperature) };
    let rule = if view.rotational { Rule::DiskTemperature } else { Rule::SsdTemperature };
    let usual = judge.limit(rule);
    let limit = if view.rotational {
        let lower = |usual: Option<i64>, own: Option<i64>| usual.map(|usual| own.map_or(usual, |own| own.min(usual)));
        Limit {
            critical: lower(usual.critical, found.critical),
            warning: lower(usual.warning, found.critical),
            ..usual
        }
    } else {
        Limit {
            warning: found.warning.or(found.critical).or(usual.warning),
            critical: found.critical.or(usual.critical),
            ..usual
        }
    };
    let verdict = judge.level_within(&view.id, rule, limit, tenths);
    let verdict = if found.alarm { verdict.worse(Verdict::Warning) } else { verdict };
    super::environment::hot(verdict, tenths)
}

fn emmc(wear: EmmcWear) -> Finding {
    let finding = |verdict, reason| Finding::new(Check::DiskWear, verdict, reason);
    match wear {
        EmmcWear { spare: 3.., .. } => {
            finding(Verdict::Critical, Reason::SpareLow).with_detail("90 % of its spares used")
        }
        EmmcWear { life: 11.., .. } => finding(Verdict::Critical, Reason::WornOut),
        EmmcWear { spare: 2, .. } => finding(Verdict::Warning, Reason::SpareLow).with_detail("80 % of its spares used"),
        EmmcWear { life: 10, .. } => finding(Verdict::Warning, Reason::Wearing).with_detail("more than 90 % used"),
        EmmcWear { .. } => Finding::ok(Check::DiskWear),
    }
}

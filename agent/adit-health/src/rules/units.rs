// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Failed services. One look is not enough: a unit may fail and be restarted within seconds.
//!
//! What to do: `systemctl status UNIT`, `journalctl -u UNIT`; one that is of no use any more: `systemctl reset-failed UNIT`.

use crate::judge::Judge;
use crate::model::Finding;
use crate::readings::units::UnitsReading;
use adit_wire::health::codes::{Check, Reason, Verdict};

/// How long a unit must have failed, seconds: two polls.
const FAILED_FOR_S: u64 = 60;

/// Services that failed, but for those that the admin lets fail.
#[must_use]
pub fn units(judge: &mut Judge<'_>, id: &str, units: &UnitsReading, ignored: &[String]) -> Finding {
    let names: Vec<&str> = units.names.iter().filter(|name| !ignored.contains(name)).map(String::as_str).collect();
    let unnamed = usize::try_from(units.failed).unwrap_or(usize::MAX).saturating_sub(units.names.len());
    let count = names.len().saturating_add(unnamed);
    let since = judge.lasting(id, Reason::UnitsFailed, count > 0);
    let verdict = if since.is_some_and(|seconds| seconds >= FAILED_FOR_S) { Verdict::Warning } else { Verdict::Ok };
    Finding::judged(Check::Units, verdict, Reason::UnitsFailed).because(|| format!("{count}: {}", names.join(" ")))
}

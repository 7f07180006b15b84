// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Temperatures, and later all that a mainboard measures.

use crate::judge::Judge;
use crate::limits::{Limit, Rule};
use crate::model::Finding;
use adit_wire::health::codes::{Check, Reason, Verdict};

/// Below a sensor's own critical limit by this much a warning begins, tenths of a degree.
const WARNING_BEFORE: i64 = 50;

/// Temperature of a sensor, tenths of a degree, with the sensor's own critical limit where it has one.
#[must_use]
pub fn temperature(judge: &mut Judge<'_>, id: &str, tenths: Option<i64>, critical: Option<i64>) -> Finding {
    let Some(tenths) = tenths else {
        return Finding::new(Check::Temperature, Verdict::Unknown, Reason::NotReadable);
    };
    let usual = judge.limit(Rule::SensorTemperature);
    let limit = critical.filter(|limit| *limit > 0).map_or(usual, |critical| Limit {
        warning: Some(critical.saturating_sub(WARNING_BEFORE)),
        critical: Some(critical),
        ..usual
    });
    hot(judge.level_within(id, Rule::SensorTemperature, limit, tenths), tenths)
}

/// Temperature of a disk, tenths of a degree.
#[must_use]
pub fn disk_temperature(judge: &mut Judge<'_>, id: &str, tenths: i64) -> Finding {
    hot(judge.level(id, Rule::DiskTemperature, tenths), tenths)
}

pub(super) fn hot(verdict: Verdict, tenths: i64) -> Finding {
    let reason = if verdict == Verdict::Critical { Reason::TooHot } else { Reason::Hot };
    Finding::judged(Check::Temperature, verdict, reason).because(|| format!("{} °C", tenths / 10))
}

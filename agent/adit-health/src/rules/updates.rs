// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Updates that wait. Only security updates are judged, and only when they wait for days: a machine that installs them by
//! itself every night never warns.
//!
//! What to do: `apt update && apt upgrade`, or `dnf upgrade --security`.

use crate::judge::Judge;
use crate::limits::Rule;
use crate::model::Finding;
use crate::readings::updates::UpdatesReading;
use adit_wire::health::codes::{Check, Reason, Verdict};

const DAY_S: u64 = 86_400;

/// Security updates by how long they wait, and whether the lists tell anything at all.
#[must_use]
pub fn updates(judge: &mut Judge<'_>, id: &str, updates: &UpdatesReading) -> Finding {
    let days = |seconds: u64| i64::try_from(seconds / DAY_S).unwrap_or(i64::MAX);
    let waits_s = judge.lasting(id, Reason::UpdatesPending, updates.security > 0).unwrap_or(0);
    let verdict = judge.level(id, Rule::SecurityUpdates, days(waits_s));
    if verdict != Verdict::Ok {
        return Finding::new(Check::Updates, verdict, Reason::UpdatesPending).with_detail(format!(
            "{} for {} days",
            updates.security,
            days(waits_s)
        ));
    }
    // Without any list there is nothing that could be installed: a container, an image that is replaced as a whole.
    let age_s = updates.lists_age_s.unwrap_or(0);
    match judge.level(id, Rule::PackageLists, days(age_s)) {
        Verdict::Ok => Finding::ok(Check::Updates),
        Verdict::Warning | Verdict::Critical | Verdict::Unknown => {
            Finding::new(Check::Updates, Verdict::Unknown, Reason::UpdatesUnknown)
                .with_detail(format!("lists are {} days old", days(age_s)))
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mounted file systems: space, inodes.

use crate::judge::Judge;
use crate::limits::Rule;
use crate::model::Finding;
use adit_wire::health::codes::{Check, Reason, Verdict};

/// Space left on a file system.
#[must_use]
pub fn space(judge: &mut Judge<'_>, id: &str, size_mib: i64, free_mib: i64) -> Finding {
    let verdict = judge.level(id, Rule::Space, free_mib.saturating_mul(1000) / size_mib.max(1));
    let reason = if verdict == Verdict::Critical { Reason::SpaceOut } else { Reason::SpaceLow };
    Finding::judged(Check::Space, verdict, reason).because(|| format!("{free_mib} MiB free"))
}

/// Inodes in use, per mille; `None` on file systems that make them as needed.
#[must_use]
pub fn inodes(judge: &mut Judge<'_>, id: &str, used_permille: Option<i64>) -> Finding {
    let verdict = used_permille.map_or(Verdict::Ok, |used| judge.level(id, Rule::Inodes, used));
    Finding::judged(Check::Inodes, verdict, Reason::InodesLow)
}

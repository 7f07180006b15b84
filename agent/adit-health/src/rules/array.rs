// SPDX-License-Identifier: Apache-2.0 OR MIT
//! md arrays.

use crate::model::Finding;
use adit_wire::health::codes::{Check, Reason, Verdict};

/// Members of an md array. `array_state` alone stays "clean" when a member dies: `degraded` tells.
#[must_use]
pub fn array(members: i64, degraded: i64, state: &str, sync_action: &str) -> Finding {
    if matches!(state, "inactive" | "broken" | "clear") || degraded >= members.max(1) {
        return Finding::new(Check::ArrayState, Verdict::Critical, Reason::Broken).with_detail(state);
    }
    if degraded == 0 {
        return Finding::ok(Check::ArrayState);
    }
    if sync_action == "recover" {
        return Finding::new(Check::ArrayState, Verdict::Warning, Reason::Rebuilding);
    }
    Finding::new(Check::ArrayState, Verdict::Critical, Reason::Degraded)
        .with_detail(format!("{degraded} of {members} members missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_is_judged_by_degraded_not_by_its_state() {
        assert_eq!(array(2, 0, "clean", "idle").verdict, Verdict::Ok);
        assert_eq!(array(2, 1, "clean", "idle").reason, Reason::Degraded);
        assert_eq!(array(2, 1, "clean", "recover").verdict, Verdict::Warning);
        assert_eq!(array(2, 2, "clean", "idle").reason, Reason::Broken);
    }
}

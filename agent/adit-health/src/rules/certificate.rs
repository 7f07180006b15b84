// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How long a certificate lasts. Limits are shares of its lifetime, because a fixed "14 days" is always true for one of
//! six days and too late for one that a person must order; they are capped, so that one of ten years does not warn for two.

use crate::model::{Component, Finding};
use crate::readings::certificate::{CertificateReading, Unseen, Validity};
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

const DAY_S: i64 = 86_400;
/// A warning begins with a quarter of the lifetime left (Let's Encrypt renews at a third), at most 30 days.
const WARNING_SHARE: i64 = 4;
const WARNING_MAX_S: i64 = 30 * DAY_S;
/// It becomes critical with a tenth left, at most 7 days.
const CRITICAL_SHARE: i64 = 10;
const CRITICAL_MAX_S: i64 = 7 * DAY_S;
/// One that lasts for a month or more is critical 3 days before its end at the latest.
const MONTH_S: i64 = 30 * DAY_S;
const CRITICAL_MIN_S: i64 = 3 * DAY_S;

/// A certificate at this time, seconds since 1970.
#[must_use]
pub fn certificate(reading: &CertificateReading, now_s: u64) -> Component {
    let now_s = i64::try_from(now_s).unwrap_or(i64::MAX);
    let (finding, days_left) = match &reading.validity {
        Ok(validity) => (ends(*validity, now_s), Some(validity.until_s.saturating_sub(now_s).div_euclid(DAY_S))),
        Err(unseen) => (unread(unseen), None),
    };
    Component {
        kind: ComponentKind::Certificate,
        id: reading.place.clone(),
        label: reading.place.clone(),
        findings: vec![finding],
        readings: vec![(Quantity::DaysLeft, days_left)],
    }
}

fn unread(unseen: &Unseen) -> Finding {
    let (verdict, reason, why) = match unseen {
        Unseen::Unreadable(why) => (Verdict::Critical, Reason::CertificateUnreadable, why),
        // It may be the way there that is down, and the service well for all others.
        Unseen::Silent(why) => (Verdict::Warning, Reason::NotAnswering, why),
        Unseen::Unspoken(why) => (Verdict::Unknown, Reason::NotReadable, why),
    };
    Finding::new(Check::Certificate, verdict, reason).with_detail(why.clone())
}

fn ends(validity: Validity, now_s: i64) -> Finding {
    let Validity { from_s, until_s } = validity;
    let (left_s, lifetime_s) = (until_s.saturating_sub(now_s), until_s.saturating_sub(from_s));
    let least_s = if lifetime_s >= MONTH_S { CRITICAL_MIN_S } else { 0 };
    let critical_s = (lifetime_s / CRITICAL_SHARE).clamp(least_s, CRITICAL_MAX_S);
    let warning_s = (lifetime_s / WARNING_SHARE).min(WARNING_MAX_S);
    let until = || format!("on {}", crate::date::text(u64::try_from(until_s).unwrap_or(0)));
    let found = |verdict, reason| Finding::new(Check::Certificate, verdict, reason).with_detail(until());
    match left_s {
        ..0 => found(Verdict::Critical, Reason::CertificateEnded),
        _ if left_s < critical_s => found(Verdict::Critical, Reason::CertificateEnds),
        _ if left_s < warning_s => found(Verdict::Warning, Reason::CertificateEnds),
        _ => Finding::ok(Check::Certificate),
    }
}

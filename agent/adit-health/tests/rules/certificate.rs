// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: certificates.

use super::{Bench, Case};
use adit_health::Finding;
use adit_health::readings::certificate::{CertificateReading, Unseen, Validity};
use adit_health::rules::certificate;
use adit_wire::health::codes::{Check, Reason, Verdict};

const LETS_ENCRYPT: &str = "Let's Encrypt: 90 days, renewed with a third of it left";
const SHORT: &str = "Let's Encrypt, profile shortlived: 160 hours";
const BASELINE: &str = "CA/Browser Forum, ballot SC-081v3: at most 47 days from 2029 on";
const OWN: &str = "openssl-req(1), -days 3650";
const DAY_S: i64 = 86_400;

/// A certificate of so many days with so many hours left.
fn judged(bench: &Bench, days: i64, hours_left: i64) -> Vec<Finding> {
    let until_s = bench.now_s().cast_signed() + hours_left * 3_600;
    let validity = Ok(Validity { from_s: until_s - days * DAY_S, until_s });
    certificate::certificate(&CertificateReading { place: "/etc/x.pem".into(), validity }, bench.now_s()).findings
}

fn unseen(bench: &Bench, why: Unseen) -> Vec<Finding> {
    let reading = CertificateReading { place: "mail.example.org:993".into(), validity: Err(why) };
    certificate::certificate(&reading, bench.now_s()).findings
}

const SOON: &[(Check, Verdict, Reason)] = &[(Check::Certificate, Verdict::Warning, Reason::CertificateEnds)];
const NOW: &[(Check, Verdict, Reason)] = &[(Check::Certificate, Verdict::Critical, Reason::CertificateEnds)];
const ENDED: &[(Check, Verdict, Reason)] = &[(Check::Certificate, Verdict::Critical, Reason::CertificateEnded)];

pub(crate) const CASES: &[Case] = &[
    Case { name: "40 of 90 days", source: LETS_ENCRYPT, judge: |bench| judged(bench, 90, 40 * 24), expect: &[] },
    Case { name: "28 of 90 days", source: LETS_ENCRYPT, judge: |bench| judged(bench, 90, 28 * 24), expect: &[] },
    Case { name: "20 of 90 days", source: LETS_ENCRYPT, judge: |bench| judged(bench, 90, 20 * 24), expect: SOON },
    Case { name: "5 of 90 days", source: LETS_ENCRYPT, judge: |bench| judged(bench, 90, 5 * 24), expect: NOW },
    Case { name: "half of 160 hours", source: SHORT, judge: |bench| judged(bench, 6, 70), expect: &[] },
    Case { name: "30 of 144 hours", source: SHORT, judge: |bench| judged(bench, 6, 30), expect: SOON },
    Case { name: "10 of 144 hours", source: SHORT, judge: |bench| judged(bench, 6, 10), expect: NOW },
    Case { name: "14 of 47 days", source: BASELINE, judge: |bench| judged(bench, 47, 14 * 24), expect: &[] },
    Case { name: "11 of 47 days", source: BASELINE, judge: |bench| judged(bench, 47, 11 * 24), expect: SOON },
    Case { name: "a year of ten years", source: OWN, judge: |bench| judged(bench, 3_650, 365 * 24), expect: &[] },
    Case { name: "29 days of ten years", source: OWN, judge: |bench| judged(bench, 3_650, 29 * 24), expect: SOON },
    Case { name: "6 days of ten years", source: OWN, judge: |bench| judged(bench, 3_650, 6 * 24), expect: NOW },
    Case { name: "it ended an hour ago", source: OWN, judge: |bench| judged(bench, 365, -1), expect: ENDED },
    Case {
        name: "an endpoint that is down",
        source: "connect(2): ECONNREFUSED",
        judge: |bench| unseen(bench, Unseen::Silent("nothing listens on this port".into())),
        expect: &[(Check::Certificate, Verdict::Warning, Reason::NotAnswering)],
    },
    Case {
        name: "an endpoint that speaks TLS 1.2",
        source: "RFC 8446 appendix D.1: the server answers with protocol_version",
        judge: |bench| unseen(bench, Unseen::Unspoken("it speaks no TLS 1.3".into())),
        expect: &[(Check::Certificate, Verdict::Unknown, Reason::NotReadable)],
    },
    Case {
        name: "a file without a certificate",
        source: "RFC 7468 §5: -----BEGIN CERTIFICATE-----",
        judge: |bench| unseen(bench, Unseen::Unreadable("no certificate in it".into())),
        expect: &[(Check::Certificate, Verdict::Critical, Reason::CertificateUnreadable)],
    },
];

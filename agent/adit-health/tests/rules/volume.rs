// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: encrypted volumes and bcaches.

use super::{Bench, Case};
use adit_health::Finding;
use adit_health::readings::volume::{BcacheReading, LuksReading};
use adit_health::rules::volume;
use adit_wire::health::codes::{Check, Reason, Verdict};

const CRYPTTAB: &str = "crypttab(5); cryptsetup names its mappings CRYPT-LUKS2-UUID-NAME";
const SUSPEND: &str = "dmsetup(8), suspend: further input and output is postponed until resume";
const BCACHE: &str = "Linux, Documentation/admin-guide/bcache.rst, state";
const BCACHE_ERRORS: &str = "Linux, Documentation/admin-guide/bcache.rst, io_errors";

fn luks(bench: &mut Bench, is_open: bool, is_suspended: bool) -> Vec<Finding> {
    volume::luks(&mut bench.judge(), &LuksReading { name: "backup".into(), is_open, is_suspended }).findings
}

fn cached(state: &str) -> BcacheReading {
    BcacheReading {
        name: "bcache0".into(),
        id: "uuid".into(),
        state: state.into(),
        has_cache: state != "no cache",
        dirty_permille: Some(100),
        io_errors: Some(0),
    }
}

fn bcache(bench: &mut Bench, reading: &BcacheReading) -> Vec<Finding> {
    volume::bcache(&mut bench.judge(), reading).findings
}

const STALLED: &[(Check, Verdict, Reason)] = &[(Check::VolumeState, Verdict::Critical, Reason::Stalled)];
const BROKEN: &[(Check, Verdict, Reason)] = &[(Check::VolumeState, Verdict::Critical, Reason::Broken)];

pub(crate) const CASES: &[Case] = &[
    Case { name: "an open volume", source: CRYPTTAB, judge: |bench| luks(bench, true, false), expect: &[] },
    Case {
        name: "a volume that waits for its passphrase",
        source: CRYPTTAB,
        judge: |bench| luks(bench, false, false),
        expect: &[(Check::VolumeState, Verdict::Critical, Reason::Locked)],
    },
    Case { name: "suspended for a snapshot", source: SUSPEND, judge: |bench| luks(bench, true, true), expect: &[] },
    Case {
        name: "suspended for ten minutes",
        source: SUSPEND,
        judge: |bench| {
            drop(luks(bench, true, true));
            bench.pass(600);
            luks(bench, true, true)
        },
        expect: STALLED,
    },
    Case {
        name: "clean, and dirty with its cache, are how it works",
        source: BCACHE,
        judge: |bench| [bcache(bench, &cached("clean")), bcache(bench, &cached("dirty"))].concat(),
        expect: &[],
    },
    Case {
        name: "a disk that never had a cache",
        source: BCACHE,
        judge: |bench| bcache(bench, &BcacheReading { dirty_permille: None, io_errors: None, ..cached("no cache") }),
        expect: &[],
    },
    Case {
        name: "the cache was detached",
        source: BCACHE,
        judge: |bench| {
            drop(bcache(bench, &cached("clean")));
            bcache(bench, &cached("no cache"))
        },
        expect: &[(Check::VolumeState, Verdict::Warning, Reason::DeviceMissing)],
    },
    Case {
        name: "the cache is gone with data that is nowhere else",
        source: BCACHE,
        judge: |bench| bcache(bench, &BcacheReading { has_cache: false, ..cached("dirty") }),
        expect: BROKEN,
    },
    Case {
        name: "inconsistent: it was forced to run without its cache",
        source: BCACHE,
        judge: |bench| bcache(bench, &cached("inconsistent")),
        expect: BROKEN,
    },
    Case {
        name: "errors of the cache's device",
        source: BCACHE_ERRORS,
        judge: |bench| {
            drop(bcache(bench, &cached("dirty")));
            bcache(bench, &BcacheReading { io_errors: Some(3), ..cached("dirty") })
        },
        expect: &[(Check::VolumeState, Verdict::Critical, Reason::DeviceErrors)],
    },
    Case {
        name: "80 % of the cache wait to be written",
        source: "Netdata's alarms for bcache: dirty data beyond 75 %",
        judge: |bench| bcache(bench, &BcacheReading { dirty_permille: Some(800), ..cached("dirty") }),
        expect: &[(Check::VolumeState, Verdict::Warning, Reason::NearFull)],
    },
];

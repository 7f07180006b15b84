// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: things that were there and are gone.

use super::{Bench, Case, findings};
use adit_health::expect::{Expected, Traits};
use adit_health::{Component, Finding};
use adit_wire::health::codes::{Check, ComponentKind, Reason, Verdict};

const VANISHED: &str = "AnalogJ/scrutiny#768, #697: a disk that drops off its bus is not missed";
const BATTERY: &str = "lausser/check_hpasm#19: a failed battery's line vanishes and all is well";
const PLUG: &str = "smartmontools#57: USB disks come and go";
const CRYPTTAB: &str = "crypttab(5): after a reboot a volume waits for its passphrase";

fn thing(kind: ComponentKind, id: &str) -> Component {
    Component { kind, id: id.into(), label: id.into(), findings: Vec::new(), readings: Vec::new() }
}

/// A look each half minute: first with the thing, then without it.
fn gone(bench: &mut Bench, kind: ComponentKind, id: &str, removable: bool, looks: usize) -> Vec<Finding> {
    let mut expected = Expected::default();
    let asked = kind == ComponentKind::Ups;
    let expects = |_: &Component| Some(Traits { removable, asked, holder: None });
    expected.look(bench.now_s(), &mut vec![thing(kind, id)], expects);
    let mut there = Vec::new();
    for _ in 0..looks {
        bench.pass(30);
        there.clear();
        expected.look(bench.now_s(), &mut there, expects);
    }
    findings(there)
}

const MISSING: &[(Check, Verdict, Reason)] = &[(Check::Present, Verdict::Critical, Reason::Missing)];

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "not seen once",
        source: VANISHED,
        judge: |bench| gone(bench, ComponentKind::Disk, "naa.1", false, 1),
        expect: &[],
    },
    Case {
        name: "a disk is gone",
        source: VANISHED,
        judge: |bench| gone(bench, ComponentKind::Disk, "naa.1", false, 2),
        expect: MISSING,
    },
    Case {
        name: "a supply is gone",
        source: BATTERY,
        judge: |bench| gone(bench, ComponentKind::Power, "PSU1", false, 2),
        expect: MISSING,
    },
    Case {
        name: "a stick was pulled a minute ago",
        source: PLUG,
        judge: |bench| gone(bench, ComponentKind::Disk, "usb", true, 2),
        expect: &[],
    },
    Case {
        name: "a stick was pulled",
        source: PLUG,
        judge: |bench| gone(bench, ComponentKind::Disk, "usb", true, 3),
        expect: &[(Check::Present, Verdict::Warning, Reason::Missing)],
    },
    Case {
        name: "a UPS whose driver starts anew",
        source: "networkupstools/nut#661: the driver needs its time",
        judge: |bench| gone(bench, ComponentKind::Ups, "ups", false, 5),
        expect: &[],
    },
    Case {
        name: "a UPS that nobody tells of any more",
        source: "networkupstools/nut#661",
        judge: |bench| gone(bench, ComponentKind::Ups, "ups", false, 12),
        expect: MISSING,
    },
    Case {
        name: "a volume that was open before the reboot",
        source: CRYPTTAB,
        judge: |bench| gone(bench, ComponentKind::Volume, "luks/backup", false, 2),
        expect: &[(Check::VolumeState, Verdict::Critical, Reason::Locked)],
    },
];

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: network links.

use super::{Bench, Case, findings};
use adit_health::Finding;
use adit_health::readings::link::LinkReading;
use adit_health::rules::link;
use adit_wire::health::codes::{Check, Reason, Verdict};

const SYSFS: &str = "Linux, Documentation/ABI/testing/sysfs-class-net: carrier, carrier_changes, speed, mtu, flags";
const COUNTS: &str = "Linux, Documentation/networking/statistics.rst, rx_errors and tx_errors";
const MTU: &str = "RFC 8200 §5: every link carries packets of 1280 bytes";
const ADDRESS: &str = "Linux, Documentation/networking/ip-sysctl.rst; RFC 4862 §5.4, duplicate address detection";

fn up() -> LinkReading {
    LinkReading {
        name: "enp3s0".into(),
        is_wanted: true,
        is_up: true,
        speed_mbit: Some(1_000),
        mtu_bytes: 1_500,
        carrier_changes: 2,
        packets: 1_000_000,
        addresses: 1,
        machine_has_address: true,
        ..LinkReading::default()
    }
}

fn down() -> LinkReading {
    LinkReading { is_up: false, speed_mbit: None, ..up() }
}

fn bare() -> LinkReading {
    LinkReading { addresses: 0, ..up() }
}

fn judged(bench: &mut Bench, reading: &LinkReading) -> Vec<Finding> {
    findings(link::link(&mut bench.judge(), reading).into_iter().collect())
}

fn later(bench: &mut Bench, first: &LinkReading, seconds: u64, then: &LinkReading) -> Vec<Finding> {
    drop(judged(bench, first));
    bench.pass(30);
    drop(judged(bench, then));
    bench.pass(seconds);
    judged(bench, then)
}

const DOWN: &[(Check, Verdict, Reason)] = &[(Check::LinkState, Verdict::Warning, Reason::LinkDown)];
const NO_ADDRESS: &[(Check, Verdict, Reason)] = &[(Check::Addresses, Verdict::Warning, Reason::NoAddress)];

pub(crate) const CASES: &[Case] = &[
    Case { name: "a link at work", source: SYSFS, judge: |bench| judged(bench, &up()), expect: &[] },
    Case {
        name: "a socket that never had a cable",
        source: SYSFS,
        judge: |bench| later(bench, &down(), 600, &down()),
        expect: &[],
    },
    Case { name: "the cable is out", source: SYSFS, judge: |bench| later(bench, &up(), 600, &down()), expect: DOWN },
    Case {
        name: "the switch starts anew",
        source: SYSFS,
        judge: |bench| later(bench, &up(), 30, &down()),
        expect: &[],
    },
    Case {
        name: "an admin took it down",
        source: SYSFS,
        judge: |bench| later(bench, &up(), 600, &LinkReading { is_wanted: false, ..down() }),
        expect: &[],
    },
    Case {
        name: "one of a bond's links is down",
        source: "Linux, Documentation/networking/bonding.rst",
        judge: |bench| {
            let part = |reading| LinkReading { master: Some("bond0".into()), ..reading };
            later(bench, &part(up()), 600, &part(down()))
        },
        expect: DOWN,
    },
    Case {
        name: "up and down twenty times",
        source: SYSFS,
        judge: |bench| later(bench, &up(), 600, &LinkReading { carrier_changes: 22, ..up() }),
        expect: &[(Check::LinkState, Verdict::Warning, Reason::LinkFlapping)],
    },
    Case {
        name: "a bad cable: 1000 Mbit/s became 100",
        source: SYSFS,
        judge: |bench| later(bench, &up(), 600, &LinkReading { speed_mbit: Some(100), ..up() }),
        expect: &[(Check::LinkState, Verdict::Warning, Reason::LinkSlow)],
    },
    Case {
        name: "a slower switch, for half a year",
        source: SYSFS,
        judge: |bench| later(bench, &up(), 180 * 86_400, &LinkReading { speed_mbit: Some(100), ..up() }),
        expect: &[],
    },
    Case {
        name: "a virtual link has no speed",
        source: "Linux, drivers/net/virtio_net.c: speed unknown is -1",
        judge: |bench| judged(bench, &LinkReading { speed_mbit: None, ..up() }),
        expect: &[],
    },
    Case {
        name: "a handful of errors since boot",
        source: COUNTS,
        judge: |bench| later(bench, &up(), 600, &LinkReading { errors: 20, packets: 1_100_000, ..up() }),
        expect: &[],
    },
    Case {
        name: "5000 errors in a million packets",
        source: COUNTS,
        judge: |bench| later(bench, &up(), 600, &LinkReading { errors: 5_000, packets: 2_000_000, ..up() }),
        expect: &[(Check::LinkErrors, Verdict::Warning, Reason::LinkErrors)],
    },
    Case {
        name: "500 errors in a hundred million packets",
        source: COUNTS,
        judge: |bench| later(bench, &up(), 600, &LinkReading { errors: 500, packets: 101_000_000, ..up() }),
        expect: &[],
    },
    Case {
        name: "an MTU of 1200",
        source: MTU,
        judge: |bench| judged(bench, &LinkReading { mtu_bytes: 1_200, ..up() }),
        expect: &[(Check::Mtu, Verdict::Critical, Reason::MtuSmall)],
    },
    Case {
        name: "an MTU of 1280 is enough",
        source: MTU,
        judge: |bench| judged(bench, &LinkReading { mtu_bytes: 1_280, ..up() }),
        expect: &[],
    },
    Case {
        name: "the address was a duplicate",
        source: ADDRESS,
        judge: |bench| later(bench, &up(), 600, &bare()),
        expect: NO_ADDRESS,
    },
    Case {
        name: "no router announces a prefix",
        source: ADDRESS,
        judge: |bench| {
            let alone = LinkReading { machine_has_address: false, ..bare() };
            later(bench, &alone, 600, &alone)
        },
        expect: NO_ADDRESS,
    },
    Case {
        name: "right after the boot",
        source: ADDRESS,
        judge: |bench| {
            let alone = LinkReading { machine_has_address: false, ..bare() };
            later(bench, &alone, 10, &alone)
        },
        expect: &[],
    },
    Case {
        name: "a second link to an IPv4 network alone",
        source: ADDRESS,
        judge: |bench| later(bench, &bare(), 600, &bare()),
        expect: &[],
    },
    Case {
        name: "a port of a bridge has no address of its own",
        source: "Linux, Documentation/networking/bridge.rst",
        judge: |bench| {
            let port = LinkReading { master: Some("br0".into()), ..bare() };
            later(bench, &port, 600, &port)
        },
        expect: &[],
    },
];

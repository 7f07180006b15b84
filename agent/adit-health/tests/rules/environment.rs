// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: sensors, supplies that the kernel knows, memory errors.

use super::{Bench, Case, findings};
use adit_health::Finding;
use adit_health::readings::edac::{EdacReading, MemoryModule};
use adit_health::readings::environment::{Measured, SensorReading};
use adit_health::readings::power::SupplyReading;
use adit_health::rules::{edac, environment, power};
use adit_wire::health::codes::{Check, Reason, Verdict};

const HWMON: &str = "Linux, Documentation/hwmon/sysfs-interface.rst";
const CORETEMP: &str =
    "Linux, Documentation/hwmon/coretemp.rst: temp_max is where cooling should be full, temp_crit TjMax";
const K10TEMP: &str = "Linux, Documentation/hwmon/k10temp.rst: Tctl has no limits on most families";
const SUPPLY: &str = "Linux, Documentation/ABI/testing/sysfs-class-power: online, capacity, health";
const EDAC: &str = "Linux, Documentation/admin-guide/RAS/main.rst: ue_count, dimm_ce_count";
const DAY_S: u64 = 86_400;

fn judged(bench: &mut Bench, value: Measured) -> Vec<Finding> {
    let sensor = SensorReading { id: "chip@0/x1".into(), label: "chip x1".into(), value };
    findings(environment::sensor(&mut bench.judge(), &sensor).into_iter().collect())
}

fn later(bench: &mut Bench, first: Measured, seconds: u64, then: Measured) -> Vec<Finding> {
    drop(judged(bench, first));
    bench.pass(seconds);
    judged(bench, then)
}

fn processor(tenths: i64) -> Measured {
    let (warning, critical) = (Some(800), Some(1_000));
    Measured::Temperature { tenths, warning, critical, alarm: false, critical_alarm: false }
}

fn bare(tenths: i64, alarm: bool, critical_alarm: bool) -> Measured {
    Measured::Temperature { tenths, warning: None, critical: None, alarm, critical_alarm }
}

fn fan(rpm: i64) -> Measured {
    Measured::Fan { rpm, min: Some(600), may_stop: false, fault: false }
}

fn quiet_fan(rpm: i64) -> Measured {
    Measured::Fan { rpm, min: None, may_stop: true, fault: false }
}

fn rail(millivolts: i64) -> Measured {
    Measured::Voltage { millivolts, min: 10_800, max: 13_200 }
}

fn mains(online: bool) -> SupplyReading {
    SupplyReading { name: format!("AC{online}"), online, ..SupplyReading::default() }
}

fn battery(percent: i64, health: &str) -> SupplyReading {
    let charge_permille = Some(percent * 10);
    SupplyReading { name: "BAT0".into(), is_battery: true, charge_permille, health: health.into(), ..mains(false) }
}

fn supplies(bench: &mut Bench, supplies: &[SupplyReading]) -> Vec<Finding> {
    findings(power::supplies(&mut bench.judge(), supplies))
}

fn memory(bench: &mut Bench, uncorrected: i64, corrected: i64) -> Vec<Finding> {
    let modules = vec![MemoryModule { label: "DIMM_A1".into(), corrected }];
    let reading = EdacReading { name: "mc0".into(), driver: None, uncorrected, modules };
    edac::controller(&mut bench.judge(), &reading).findings
}

const HOT: &[(Check, Verdict, Reason)] = &[(Check::Temperature, Verdict::Warning, Reason::Hot)];
const TOO_HOT: &[(Check, Verdict, Reason)] = &[(Check::Temperature, Verdict::Critical, Reason::TooHot)];
const STOPPED: &[(Check, Verdict, Reason)] = &[(Check::Fan, Verdict::Critical, Reason::FanStopped)];
const REPLACE: &[(Check, Verdict, Reason)] = &[(Check::Battery, Verdict::Warning, Reason::BatteryReplace)];
const LOW: &[(Check, Verdict, Reason)] = &[(Check::Battery, Verdict::Critical, Reason::BatteryLow)];
const UNCORRECTED: &[(Check, Verdict, Reason)] = &[(Check::Ecc, Verdict::Critical, Reason::EccUncorrected)];

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "a processor at work",
        source: CORETEMP,
        judge: |bench| later(bench, processor(750), 900, processor(790)),
        expect: &[],
    },
    Case {
        name: "a burst of two minutes",
        source: CORETEMP,
        judge: |bench| later(bench, processor(950), 120, processor(950)),
        expect: &[],
    },
    Case {
        name: "above its maximum for a quarter of an hour",
        source: CORETEMP,
        judge: |bench| later(bench, processor(850), 900, processor(850)),
        expect: HOT,
    },
    Case {
        name: "at TjMax",
        source: CORETEMP,
        judge: |bench| later(bench, processor(1_000), 900, processor(1_010)),
        expect: TOO_HOT,
    },
    Case {
        name: "a sensor without limits at 60 °C",
        source: K10TEMP,
        judge: |bench| later(bench, bare(600, false, false), 900, bare(600, false, false)),
        expect: &[],
    },
    Case {
        name: "a sensor without limits at 90 °C",
        source: K10TEMP,
        judge: |bench| later(bench, bare(900, false, false), 900, bare(900, false, false)),
        expect: HOT,
    },
    Case {
        name: "the chip's own alarm",
        source: HWMON,
        judge: |bench| judged(bench, bare(600, true, false)),
        expect: HOT,
    },
    Case {
        name: "the chip's alarm for its critical limit",
        source: HWMON,
        judge: |bench| judged(bench, bare(600, true, true)),
        expect: TOO_HOT,
    },
    Case {
        name: "a chip whose critical limit lies below its maximum",
        source: "Linux, Documentation/hwmon/nct6775.rst: limits are as the board's firmware left them",
        judge: |bench| {
            let odd = Measured::Temperature {
                tenths: 600,
                warning: Some(1_200),
                critical: Some(700),
                alarm: false,
                critical_alarm: false,
            };
            later(bench, odd, 900, odd)
        },
        expect: &[],
    },
    Case { name: "a fan that turns", source: HWMON, judge: |bench| judged(bench, fan(1_200)), expect: &[] },
    Case {
        name: "a connector without a fan",
        source: "Linux, Documentation/hwmon/nct6775.rst: a fan that is not connected shows 0",
        judge: |bench| later(bench, fan(0), 900, fan(0)),
        expect: &[],
    },
    Case {
        name: "a fan that stopped",
        source: HWMON,
        judge: |bench| {
            drop(judged(bench, fan(1_200)));
            later(bench, fan(0), 90, fan(0))
        },
        expect: STOPPED,
    },
    Case {
        name: "a fan that starts again at once",
        source: HWMON,
        judge: |bench| {
            drop(judged(bench, fan(1_200)));
            later(bench, fan(0), 30, fan(900))
        },
        expect: &[],
    },
    Case {
        name: "a fan below its least speed",
        source: HWMON,
        judge: |bench| judged(bench, fan(400)),
        expect: &[(Check::Fan, Verdict::Warning, Reason::FanSlow)],
    },
    Case {
        name: "a fan that its chip calls broken",
        source: "Linux, Documentation/hwmon/sysfs-interface.rst, fan[1-*]_fault",
        judge: |bench| judged(bench, Measured::Fan { rpm: 0, min: None, may_stop: false, fault: true }),
        expect: STOPPED,
    },
    Case {
        name: "a graphics card stops its fan when it has nothing to do",
        source: "Linux, Documentation/gpu/amdgpu/thermal.rst: zero RPM mode",
        judge: |bench| {
            drop(judged(bench, quiet_fan(1_500)));
            later(bench, quiet_fan(0), 3_600, quiet_fan(0))
        },
        expect: &[],
    },
    Case { name: "12 V as they should be", source: HWMON, judge: |bench| judged(bench, rail(12_096)), expect: &[] },
    Case {
        name: "12 V that fell to 10.5",
        source: "ATX12V design guide 3.3.1: ±5 %; Linux, Documentation/hwmon/sysfs-interface.rst, in[0-*]_min",
        judge: |bench| judged(bench, rail(10_500)),
        expect: &[(Check::Voltage, Verdict::Warning, Reason::VoltageOff)],
    },
    Case {
        name: "power is a number and no verdict",
        source: "Linux, Documentation/hwmon/acpi_power_meter.rst",
        judge: |bench| judged(bench, Measured::Power { tenth_watts: 940 }),
        expect: &[],
    },
    Case {
        name: "mains and a full battery",
        source: SUPPLY,
        judge: |bench| supplies(bench, &[mains(true), battery(98, "Good")]),
        expect: &[],
    },
    Case {
        name: "the plug is out",
        source: SUPPLY,
        judge: |bench| supplies(bench, &[mains(false), battery(90, "Good")]),
        expect: &[(Check::PowerLine, Verdict::Warning, Reason::OnBattery)],
    },
    Case {
        name: "one of two ways to mains",
        source: SUPPLY,
        judge: |bench| supplies(bench, &[mains(false), mains(true)]),
        expect: &[],
    },
    Case { name: "8 % left", source: SUPPLY, judge: |bench| supplies(bench, &[battery(8, "Good")]), expect: LOW },
    Case {
        name: "a battery that the firmware calls dead",
        source: SUPPLY,
        judge: |bench| supplies(bench, &[mains(true), battery(60, "Dead")]),
        expect: REPLACE,
    },
    Case {
        name: "a battery whose health nobody knows",
        source: SUPPLY,
        judge: |bench| supplies(bench, &[battery(60, "Unknown")]),
        expect: &[],
    },
    Case { name: "memory without errors", source: EDAC, judge: |bench| memory(bench, 0, 0), expect: &[] },
    Case {
        name: "three corrected errors in a day",
        source: EDAC,
        judge: |bench| {
            drop(memory(bench, 0, 4));
            bench.pass(3_600);
            memory(bench, 0, 7)
        },
        expect: &[],
    },
    Case {
        name: "forty corrected errors of one module",
        source: "Schroeder, Pinheiro, Weber: DRAM Errors in the Wild, SIGMETRICS 2009",
        judge: |bench| {
            drop(memory(bench, 0, 4));
            bench.pass(3_600);
            memory(bench, 0, 44)
        },
        expect: &[(Check::Ecc, Verdict::Warning, Reason::EccCorrected)],
    },
    Case {
        name: "which were last week",
        source: EDAC,
        judge: |bench| {
            drop(memory(bench, 0, 4));
            bench.pass(3_600);
            drop(memory(bench, 0, 44));
            bench.pass(7 * DAY_S);
            memory(bench, 0, 44)
        },
        expect: &[],
    },
    Case {
        name: "an error that was not corrected",
        source: EDAC,
        judge: |bench| memory(bench, 1, 0),
        expect: UNCORRECTED,
    },
];

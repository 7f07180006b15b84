// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sensors of mainboard, processors and power supplies from /sys/class/hwmon (Documentation/hwmon/sysfs-interface.rst).
//!
//! Can block: a chip behind a slow or hung bus (I²C, a BMC) answers late. Disks' sensors are left out: to read one asks the
//! disk, and it is told with the disk.

use crate::readings::environment::{Measured, SensorReading};
use crate::text;
use std::fs;
use std::path::{Path, PathBuf};

/// Sensors of one machine.
const SENSORS_MAX: usize = 96;
/// Drivers of disks.
const DISKS: [&str; 2] = ["nvme", "drivetemp"];
/// Drivers of graphics cards, which stop their fans when idle.
const GRAPHICS: [&str; 4] = ["amdgpu", "radeon", "nouveau", "xe"];
/// A thermistor that is not there shows one of the ends of its range; tenths of a degree.
const PLAUSIBLE: std::ops::Range<i64> = -400..1_270;

/// All sensors that measure something.
pub(crate) fn sensors(root: &Path) -> Vec<SensorReading> {
    let dir = root.join("sys/class/hwmon");
    let mut sensors: Vec<SensorReading> =
        text::names(&dir).iter().flat_map(|name| Chip::open(dir.join(name))).flat_map(|chip| chip.sensors()).collect();
    sensors.sort_by(|a, b| a.id.cmp(&b.id));
    sensors.dedup_by(|a, b| a.id == b.id);
    sensors.truncate(SENSORS_MAX);
    sensors
}

struct Chip {
    dir: PathBuf,
    name: String,
    /// The device behind it: hwmon's own numbers change with the order in which drivers load.
    at: String,
}

impl Chip {
    fn open(dir: PathBuf) -> Option<Self> {
        let name = text::word(&dir.join("name")).filter(|name| !DISKS.contains(&name.as_str()))?;
        let at =
            fs::read_link(dir.join("device")).ok().and_then(|target| Some(target.file_name()?.to_str()?.to_owned()));
        Some(Self { dir, at: at.unwrap_or_default(), name })
    }

    fn sensors(&self) -> Vec<SensorReading> {
        let files = text::names(&self.dir);
        let inputs = files.iter().filter_map(|file| {
            let sensor = file.strip_suffix("_input").or_else(|| file.strip_suffix("_average"))?;
            Some((sensor, self.measure(sensor)?))
        });
        let mut found: Vec<(&str, Measured)> = inputs.collect();
        found.dedup_by(|a, b| a.0 == b.0);
        let named = |sensor: &str| text::word(&self.dir.join(format!("{sensor}_label")));
        let has_package =
            found.iter().any(|(sensor, _)| named(sensor).is_some_and(|label| label.starts_with("Package")));
        found
            .into_iter()
            .map(|(sensor, value)| (sensor, named(sensor).unwrap_or_else(|| sensor.to_owned()), value))
            // The package is as hot as its hottest core; 64 of them would fill the report.
            .filter(|(_, label, _)| !(has_package && label.starts_with("Core ")))
            .map(|(sensor, label, value)| SensorReading {
                id: format!("{}@{}/{sensor}", self.name, self.at),
                label: format!("{} {label}", self.name),
                value,
            })
            .collect()
    }

    fn number(&self, sensor: &str, what: &str) -> Option<i64> {
        text::number(&self.dir.join(format!("{sensor}_{what}")))
    }

    fn measure(&self, sensor: &str) -> Option<Measured> {
        let kind = sensor.trim_end_matches(|c: char| c.is_ascii_digit());
        let set = |what: &str| self.number(sensor, what) == Some(1);
        match kind {
            "temp" if !set("fault") => {
                let limit =
                    |what: &str| Some(self.number(sensor, what)? / 100).filter(|limit| (1..1_270).contains(limit));
                Some(Measured::Temperature {
                    tenths: Some(self.number(sensor, "input")? / 100).filter(|tenths| PLAUSIBLE.contains(tenths))?,
                    warning: limit("max"),
                    critical: limit("crit").or_else(|| limit("emergency")),
                    alarm: limit("max").is_some() && (set("alarm") || set("max_alarm")),
                    critical_alarm: limit("crit").is_some() && set("crit_alarm"),
                })
            }
            "fan" => {
                let off = text::number(&self.dir.join(sensor.replace("fan", "pwm"))) == Some(0);
                Some(Measured::Fan {
                    rpm: self.number(sensor, "input")?,
                    min: self.number(sensor, "min").filter(|min| *min > 0),
                    may_stop: off || GRAPHICS.contains(&self.name.as_str()),
                    fault: set("fault"),
                })
            }
            // Without a name nobody knows what is wired there, and limits that nobody set say nothing.
            "in" if self.dir.join(format!("{sensor}_label")).exists() => {
                let (min, max) = (self.number(sensor, "min")?, self.number(sensor, "max")?);
                let millivolts = self.number(sensor, "input")?;
                (min < max && max > 0).then_some(Measured::Voltage { millivolts, min, max })
            }
            "power" => {
                let microwatts = self.number(sensor, "average").or_else(|| self.number(sensor, "input"))?;
                Some(Measured::Power { tenth_watts: microwatts / 100_000 })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chips_are_read_with_what_they_state() {
        let tree = text::tree(&[
            ("sys/class/hwmon/hwmon2/name", "coretemp\n"),
            ("sys/class/hwmon/hwmon2/device", "-> ../../coretemp.0"),
            ("sys/class/hwmon/hwmon2/temp1_input", "48000\n"),
            ("sys/class/hwmon/hwmon2/temp1_label", "Package id 0\n"),
            ("sys/class/hwmon/hwmon2/temp1_max", "80000\n"),
            ("sys/class/hwmon/hwmon2/temp1_crit", "100000\n"),
            ("sys/class/hwmon/hwmon2/temp1_crit_alarm", "0\n"),
            ("sys/class/hwmon/hwmon2/temp2_input", "47000\n"),
            ("sys/class/hwmon/hwmon2/temp2_label", "Core 0\n"),
            ("sys/class/hwmon/hwmon3/name", "nct6775\n"),
            ("sys/class/hwmon/hwmon3/fan1_input", "1180\n"),
            ("sys/class/hwmon/hwmon3/fan1_min", "0\n"),
            ("sys/class/hwmon/hwmon3/fan2_input", "0\n"),
            ("sys/class/hwmon/hwmon3/pwm2", "0\n"),
            ("sys/class/hwmon/hwmon3/in0_input", "1016\n"),
            ("sys/class/hwmon/hwmon3/in1_input", "3312\n"),
            ("sys/class/hwmon/hwmon3/in1_label", "+3.3V\n"),
            ("sys/class/hwmon/hwmon3/in1_min", "2976\n"),
            ("sys/class/hwmon/hwmon3/in1_max", "3632\n"),
            ("sys/class/hwmon/hwmon3/temp7_input", "-62000\n"),
            ("sys/class/hwmon/hwmon4/name", "power_meter\n"),
            ("sys/class/hwmon/hwmon4/power1_average", "94000000\n"),
            ("sys/class/hwmon/hwmon5/name", "drivetemp\n"),
            ("sys/class/hwmon/hwmon5/temp1_input", "30000\n"),
        ]);
        let sensors = sensors(tree.path());
        let ids: Vec<&str> = sensors.iter().map(|sensor| sensor.id.as_str()).collect();
        let expected =
            ["coretemp@coretemp.0/temp1", "nct6775@/fan1", "nct6775@/fan2", "nct6775@/in1", "power_meter@/power1"];
        assert_eq!(ids, expected);
        let package = Measured::Temperature {
            tenths: 480,
            warning: Some(800),
            critical: Some(1_000),
            alarm: false,
            critical_alarm: false,
        };
        assert_eq!((sensors[0].label.as_str(), sensors[0].value), ("coretemp Package id 0", package));
        assert_eq!(sensors[1].value, Measured::Fan { rpm: 1_180, min: None, may_stop: false, fault: false });
        assert_eq!(sensors[2].value, Measured::Fan { rpm: 0, min: None, may_stop: true, fault: false });
        assert_eq!(sensors[3].value, Measured::Voltage { millivolts: 3_312, min: 2_976, max: 3_632 });
        assert_eq!(sensors[4].value, Measured::Power { tenth_watts: 940 });
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a mainboard measures (Documentation/hwmon/sysfs-interface.rst).

/// A sensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SensorReading {
    /// Stable over reboots: chip, its device and the sensor's file.
    pub id: String,
    /// What a person calls it.
    pub label: String,
    /// What it measures.
    pub value: Measured,
}

/// A measured value with the limits that the chip states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// A temperature, tenths of a degree.
    Temperature {
        /// Now.
        tenths: i64,
        /// The chip's "max".
        warning: Option<i64>,
        /// The chip's "crit".
        critical: Option<i64>,
        /// Whether the chip raises an alarm.
        alarm: bool,
        /// Whether it raises one because "crit" was reached.
        critical_alarm: bool,
    },
    /// A fan, turns per minute.
    Fan {
        /// Now.
        rpm: i64,
        /// The chip's least.
        min: Option<i64>,
        /// Whether it is told to stand still: its PWM is 0, or it belongs to a card that stops its fan when idle.
        may_stop: bool,
        /// Whether the chip says that it is broken.
        fault: bool,
    },
    /// A voltage with a name and limits, millivolts.
    Voltage {
        /// Now.
        millivolts: i64,
        /// Least.
        min: i64,
        /// Most.
        max: i64,
    },
    /// Power, tenths of a watt.
    Power {
        /// Now, or the chip's average.
        tenth_watts: i64,
    },
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a UPS says of itself, whichever program was asked. Units are in the names; a value that the UPS does not tell is
//! `None`, never 0.

use serde::{Deserialize, Serialize};

/// One UPS at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpsReading {
    /// The daemon that knows it: its address. With the name it makes the id, so that hosts that ask one daemon mean one UPS.
    pub daemon: String,
    /// Its name in the daemon's configuration; empty where a daemon has only one.
    pub name: String,
    /// What the admin calls it there; may be empty.
    pub description: String,
    /// Maker and model; may be empty.
    pub model: String,
    /// Serial number; may be empty.
    pub serial: String,
    /// Whether the daemon hears the UPS.
    pub comm: UpsComm,
    /// What state it is in. Empty when it is not heard.
    pub status: Vec<UpsState>,
    /// Charge of the battery, tenths of a per cent.
    pub charge_permille: Option<i64>,
    /// The charge at which the UPS says that its battery is low, tenths of a per cent.
    pub charge_low_permille: Option<i64>,
    /// How long the battery lasts at this load, seconds.
    pub runtime_s: Option<i64>,
    /// The runtime at which the UPS says that its battery is low, seconds.
    pub runtime_low_s: Option<i64>,
    /// Load, tenths of a per cent of what it can carry.
    pub load_permille: Option<i64>,
    /// Real power drawn, watts.
    pub power_w: Option<i64>,
    /// Voltage of the mains, tenths of a volt.
    pub input_decivolt: Option<i64>,
    /// Temperature inside, tenths of a degree Celsius.
    pub temperature_decicelsius: Option<i64>,
    /// When the battery was made or put in, days since 1970.
    pub battery_day: Option<i64>,
    /// How the last test of the battery came out.
    pub test: Option<UpsTest>,
    /// When that was, days since 1970.
    pub test_day: Option<i64>,
    /// How long the UPS has been on battery, seconds, where the daemon counts it.
    pub on_battery_s: Option<i64>,
}

impl UpsReading {
    /// Whether a state is among what the UPS says.
    #[must_use]
    pub fn is(&self, state: UpsState) -> bool {
        self.status.contains(&state)
    }
}

/// Whether a UPS is heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpsComm {
    /// Values are fresh.
    #[default]
    Heard,
    /// The driver runs but has had nothing from the UPS for a while.
    Stale,
    /// The daemon has no driver for it.
    DriverGone,
    /// The daemon does not know a UPS of that name.
    Unknown,
    /// The daemon itself does not answer; the other values are what it said last.
    DaemonGone,
}

/// States as NUT names them (networkupstools.org, developer guide, "Status data").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum UpsState {
    /// OL: on mains.
    Online,
    /// OB: on battery.
    OnBattery,
    /// LB: the battery is low.
    LowBattery,
    /// HB: the battery is high.
    HighBattery,
    /// RB: the battery should be replaced.
    ReplaceBattery,
    /// CHRG: charging.
    Charging,
    /// DISCHRG: discharging.
    Discharging,
    /// BYPASS: mains goes straight through.
    Bypass,
    /// CAL: calibrating its runtime.
    Calibrating,
    /// OFF: supplies nothing.
    Off,
    /// OVER: more load than it can carry.
    Overloaded,
    /// TRIM: lowers too high a voltage.
    Trimming,
    /// BOOST: raises too low a voltage.
    Boosting,
    /// FSD: orders its hosts to shut down.
    ForcedShutdown,
    /// ALARM: says that something is wrong.
    Alarm,
    /// TEST: tests its battery.
    Testing,
    /// ECO: runs in a mode that saves power.
    Eco,
    /// COMM: lost its own connection.
    CommLost,
    /// WAIT: the driver has not heard it yet.
    Waiting,
    /// A word that is not known here.
    Other,
}

impl UpsState {
    /// The state of one of NUT's words.
    #[must_use]
    pub fn of_word(word: &str) -> Self {
        match word {
            "OL" => Self::Online,
            "OB" => Self::OnBattery,
            "LB" => Self::LowBattery,
            "HB" => Self::HighBattery,
            "RB" => Self::ReplaceBattery,
            "CHRG" => Self::Charging,
            "DISCHRG" => Self::Discharging,
            "BYPASS" => Self::Bypass,
            "CAL" => Self::Calibrating,
            "OFF" => Self::Off,
            "OVER" => Self::Overloaded,
            "TRIM" => Self::Trimming,
            "BOOST" => Self::Boosting,
            "FSD" => Self::ForcedShutdown,
            "ALARM" => Self::Alarm,
            "TEST" => Self::Testing,
            "ECO" => Self::Eco,
            "COMM" | "NOCOMM" => Self::CommLost,
            "WAIT" => Self::Waiting,
            _ => Self::Other,
        }
    }
}

/// How a test of the battery came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpsTest {
    /// The battery is well.
    Passed,
    /// It is not, or the test could not be finished.
    Failed,
    /// It runs right now.
    Running,
    /// None was made.
    Never,
    /// In words that are not known here.
    Other,
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mains and batteries that the kernel knows (Documentation/ABI/testing/sysfs-class-power).

/// A supply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SupplyReading {
    /// The kernel's name, such as "AC" or "BAT0".
    pub name: String,
    /// Whether it is a battery; else it is mains.
    pub is_battery: bool,
    /// Whether mains is there.
    pub online: bool,
    /// Charge of a battery, per mille.
    pub charge_permille: Option<i64>,
    /// "Good", "Dead", "Overheat"…; empty when it is not told.
    pub health: String,
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The thresholds of the rules that compare a number with a limit: each with a name, a unit, a default and the source of
//! its number. An admin changes one by `[rule.NAME]` in the agent's configuration. Rules without a threshold (a failed
//! member is a failed member) are not here.

use std::collections::BTreeMap;

/// On which side of its limit a value is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Too much is bad.
    Above,
    /// Too little is bad.
    Below,
}

/// The limits of one rule, in the rule's unit. A value *at* a limit is beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Where a warning begins; `None` for never.
    pub warning: Option<i64>,
    /// Where it becomes critical; `None` for never.
    pub critical: Option<i64>,
    /// How far a value must come back before the verdict falls again: a value that trembles around its limit raises one
    /// alarm and not twenty.
    pub margin: i64,
    /// How long a value must stay beyond its limit, seconds.
    pub for_s: u64,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $unit:literal, $side:ident,
       $warning:expr, $critical:expr, margin $margin:literal, for $for_s:literal;)*) => {
        /// A rule with a threshold.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule { $($(#[$doc])* $variant,)* }

        impl Rule {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in the configuration.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The unit of its limits. "1/10 °C" means that they count tenths: people write and read whole degrees, see
            /// [`Self::scale`].
            #[must_use]
            pub const fn unit(self) -> &'static str {
                match self { $(Self::$variant => $unit,)* }
            }

            /// On which side of its limits a value is bad.
            #[must_use]
            pub const fn side(self) -> Side {
                match self { $(Self::$variant => Side::$side,)* }
            }

            /// The limits when nobody changed them.
            #[must_use]
            pub const fn default_limit(self) -> Limit {
                match self {
                    $(Self::$variant => Limit { warning: $warning, critical: $critical, margin: $margin, for_s: $for_s },)*
                }
            }
        }
    };
}

rules! {
    /// Five-minute load per processor, hundredths; batch machines live at 100.
    Load = "load", "1/100 tasks per processor", Above, Some(300), None, margin 50, for 300;
    /// Memory left for programs, per mille of all: below 5 % a machine begins to thrash, at 2 % the kernel is about to kill.
    Memory = "memory", "1/10 % of memory left", Below, Some(50), Some(20), margin 10, for 0;
    /// Pressure stall "memory full avg300", hundredths of a per cent: tasks wait one second in twenty.
    MemoryPressure = "memory-pressure", "1/100 %", Above, Some(500), None, margin 200, for 0;
    /// Pressure stall "io full avg300", hundredths of a per cent. A backup that arrives makes a slow disk wait; only what
    /// lasts is worth a look.
    IoPressure = "io-pressure", "1/100 %", Above, Some(4_000), None, margin 1_000, for 3_600;
    /// Free space of a file system, per mille.
    Space = "space", "1/10 % free", Below, Some(100), Some(30), margin 10, for 0;
    /// Inodes in use, per mille.
    Inodes = "inodes", "1/10 % used", Above, Some(900), Some(970), margin 10, for 0;
    /// Days until a file system is full at the speed of the last days (node-mixin warns at one day; a box's member needs time to buy).
    SpaceForecast = "space-forecast", "days", Below, Some(7), Some(1), margin 2, for 3_600;
    /// A hard disk's temperature: failures rise above about 50 °C (Pinheiro and others, FAST 2007); 60 is what most are specified for.
    DiskTemperature = "disk-temperature", "1/10 °C", Above, Some(550), Some(600), margin 30, for 300;
    /// A solid-state disk without limits of its own; drives of the NVMe kind state theirs.
    SsdTemperature = "ssd-temperature", "1/10 °C", Above, Some(700), Some(800), margin 30, for 300;
    /// Sectors that wait for reallocation, or that offline scans could not read: of Backblaze's disks with one or two pending
    /// sectors a third fails within the year, with 16 and more nearly all (the buckets that Scrutiny embeds).
    PendingSectors = "pending-sectors", "sectors", Above, Some(1), Some(8), margin 0, for 0;
    /// Sectors replaced so far; from 70 on more than a third of the disks fails within the year (the same buckets).
    ReallocatedSectors = "reallocated-sectors", "sectors", Above, Some(70), None, margin 0, for 0;
    /// Rated life used (smartd warns above 95 %).
    DiskWear = "disk-wear", "% used", Above, Some(90), Some(100), margin 0, for 0;
    /// Transfers between disk and host that failed today and yesterday: a cable has a bad day, and its count never falls.
    TransferErrors = "transfer-errors", "errors in two days", Above, Some(5), None, margin 0, for 0;
    /// A sensor without limits of its own.
    SensorTemperature = "sensor-temperature", "1/10 °C", Above, Some(850), Some(950), margin 50, for 300;
    /// The clock's distance from true time, milliseconds.
    ClockOffset = "clock-offset", "ms", Above, Some(50), Some(10_000), margin 10, for 60;
    /// Since when the clock is not synchronised, seconds: the first minutes after a boot are normal.
    ClockUnsynced = "clock-unsynchronised", "s", Above, Some(1_200), None, margin 0, for 0;
    /// Days since an md array was read and compared (Debian's mdadm does it monthly).
    ArrayCheckAge = "array-check-age", "days", Above, Some(45), None, margin 0, for 0;
    /// Days since a pool was scrubbed.
    ScrubAge = "scrub-age", "days", Above, Some(45), None, margin 0, for 0;
    /// Data of a bcache that is not on its disk yet, per mille of the cache (Netdata: 75 %).
    CacheDirty = "cache-dirty", "1/10 % of the cache", Above, Some(750), None, margin 100, for 0;
    /// Data of a thin pool, or of a snapshot's store, per mille: when it is full, writes wait and then fail.
    ThinData = "thin-data", "1/10 % used", Above, Some(800), Some(900), margin 30, for 0;
    /// Metadata of a thin pool, per mille: when it is full, the pool must be repaired before it goes on.
    ThinMetadata = "thin-metadata", "1/10 % used", Above, Some(800), Some(900), margin 30, for 0;
    /// Memory errors of one module that were corrected today and yesterday: 10 a day.
    MemoryErrors = "memory-errors", "errors in two days", Above, Some(20), None, margin 0, for 0;
    /// Charge of a battery that the kernel knows, per mille (Netdata: 10 %).
    BatteryCharge = "battery-charge", "1/10 % of the charge", Below, None, Some(100), margin 20, for 0;
    /// Times a network link went up or down today and yesterday.
    LinkFlaps = "link-flaps", "times in two days", Above, Some(10), None, margin 0, for 0;
    /// Packets with errors of a network link today and yesterday, of a million.
    LinkErrors = "link-errors", "of a million packets", Above, Some(100), None, margin 20, for 0;
    /// Days that a due reboot waits.
    RebootDue = "reboot-due", "days", Above, Some(7), None, margin 0, for 0;
    /// Days since the store was read through.
    VerifyAge = "verify-age", "days", Above, Some(30), None, margin 0, for 0;
    /// Load of a UPS, per mille of what it can carry (Netdata: 80 and 95 %).
    UpsLoad = "ups-load", "1/10 % of what it carries", Above, Some(800), Some(950), margin 50, for 60;
    /// Age of a UPS's battery: lead lasts three to five years.
    BatteryAge = "battery-age", "days", Above, Some(1_461), None, margin 0, for 0;
    /// Days since a UPS last tested its battery; most do so every two weeks.
    BatteryTestAge = "battery-test-age", "days", Above, Some(120), None, margin 0, for 0;
    /// How long a UPS has been on battery, seconds. Mains that flicker are no news.
    OnBattery = "on-battery", "s", Above, Some(30), None, margin 0, for 0;
    /// How long a UPS has not been heard, seconds: three times what upsd waits for a driver (MAXAGE 15).
    UpsSilent = "ups-silent", "s", Above, Some(45), None, margin 0, for 0;
    /// How long a security update waits, days.
    SecurityUpdates = "security-updates", "days", Above, Some(3), Some(14), margin 0, for 0;
    /// How old package lists may be, days, before nothing is known of updates.
    PackageLists = "package-lists", "days", Above, Some(3), None, margin 0, for 0;
    /// How long entries of a Gluster volume wait to be healed, seconds.
    HealWaits = "heal-waits", "s", Above, Some(3_600), None, margin 0, for 0;
    /// How long a cluster may run with a flag such as noout, or a pool without redundancy, seconds.
    ClusterFlags = "cluster-flags", "s", Above, Some(21_600), None, margin 0, for 0;
}

impl Rule {
    /// How many steps of a limit make one of the unit that people use, and that unit: (10, "°C") for "1/10 °C".
    #[must_use]
    pub fn scale(self) -> (i64, &'static str) {
        let steps = self.unit().strip_prefix("1/").and_then(|rest| rest.split_once(' '));
        steps.and_then(|(steps, unit)| Some((steps.parse().ok()?, unit))).unwrap_or_else(|| (1, self.unit()))
    }
}

/// All rules' limits: the defaults and what an admin changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    changed: BTreeMap<Rule, Limit>,
}

impl Limits {
    /// The limits of a rule.
    #[must_use]
    pub fn of(&self, rule: Rule) -> Limit {
        self.changed.get(&rule).copied().unwrap_or_else(|| rule.default_limit())
    }

    /// Changes a rule.
    ///
    /// # Errors
    /// When the critical limit lies on the good side of the warning's.
    pub fn set(&mut self, rule: Rule, limit: Limit) -> Result<(), LimitError> {
        if let (Some(warning), Some(critical)) = (limit.warning, limit.critical) {
            let ordered = match rule.side() {
                Side::Above => critical >= warning,
                Side::Below => critical <= warning,
            };
            if !ordered {
                return Err(LimitError::Order { rule: rule.name(), warning, critical, unit: rule.unit() });
            }
        }
        self.changed.insert(rule, limit);
        Ok(())
    }

    /// The rule of a name.
    ///
    /// # Errors
    /// When there is none.
    pub fn rule(name: &str) -> Result<Rule, LimitError> {
        Rule::ALL.iter().copied().find(|rule| rule.name() == name).ok_or_else(|| LimitError::Unknown(name.to_owned()))
    }
}

/// Why a rule cannot be changed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// No such rule.
    #[error("there is no rule {0:?}")]
    Unknown(String),
    /// The limits are in the wrong order.
    #[error("rule {rule:?} would be critical at {critical} before it warns at {warning} ({unit})")]
    Order {
        /// The rule's name.
        rule: &'static str,
        /// Where it would warn.
        warning: i64,
        /// Where it would be critical.
        critical: i64,
        /// The unit of both.
        unit: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_in_order_and_every_name_is_found() {
        for rule in Rule::ALL {
            Limits::default().set(*rule, rule.default_limit()).unwrap();
            assert_eq!(Limits::rule(rule.name()), Ok(*rule));
        }
    }

    /// docs/health.md tells every rule as it is.
    #[test]
    fn the_documented_limits_are_these() {
        let document = include_str!("../../../docs/health.md");
        for rule in Rule::ALL {
            let (steps, unit) = rule.scale();
            let limit = rule.default_limit();
            #[expect(clippy::cast_precision_loss, reason = "limits are small")]
            let number =
                |at: Option<i64>| at.map_or_else(|| "–".to_owned(), |at| (at as f64 / steps as f64).to_string());
            let side = match rule.side() {
                Side::Above => "at or above",
                Side::Below => "at or below",
            };
            let (warning, critical) = (number(limit.warning), number(limit.critical));
            let row = format!("| `{}` | {unit} | {side} | {warning} | {critical} | {} |", rule.name(), limit.for_s);
            assert!(document.contains(&row), "docs/health.md lacks the row\n{row}");
        }
    }

    #[test]
    fn people_use_whole_units() {
        assert_eq!(Rule::DiskTemperature.scale(), (10, "°C"));
        assert_eq!(Rule::VerifyAge.scale(), (1, "days"));
        assert_eq!(Rule::MemoryPressure.scale(), (100, "%"));
    }

    #[test]
    fn a_limit_in_the_wrong_order_is_refused() {
        let limit = |warning, critical| Limit { warning, critical, margin: 0, for_s: 0 };
        let mut limits = Limits::default();
        assert!(limits.set(Rule::Space, limit(Some(30), Some(100))).is_err());
        assert!(limits.set(Rule::DiskTemperature, limit(Some(60), Some(50))).is_err());
        limits.set(Rule::DiskTemperature, limit(None, Some(50))).unwrap();
        assert_eq!(limits.of(Rule::DiskTemperature).critical, Some(50));
        assert!(Limits::rule("disc-temperature").is_err());
    }
}

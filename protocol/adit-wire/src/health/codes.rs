// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The numbers of health: kinds of components, checks, verdicts, reasons, quantities. Append-only; a reader shows the
//! number of a code that is newer than itself.

/// How a check came out: Icinga's four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Verdict {
    /// As it should be.
    #[default]
    Ok = 0,
    /// Somebody should look at it.
    Warning = 1,
    /// Somebody must act now.
    Critical = 2,
    /// Cannot be told; the reason says what is needed.
    Unknown = 3,
}

impl Verdict {
    /// The verdict of two bits.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Ok,
            1 => Self::Warning,
            2 => Self::Critical,
            _ => Self::Unknown,
        }
    }

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Unknown => "unknown",
        }
    }

    /// The worse of two: critical, warning, unknown, ok.
    #[must_use]
    pub const fn worse(self, other: Self) -> Self {
        if self.rank() >= other.rank() { self } else { other }
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Unknown => 1,
            Self::Warning => 2,
            Self::Critical => 3,
        }
    }
}

macro_rules! numbered {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $number:literal, $text:literal;)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant = $number,)* }

        impl $name {
            /// Every one, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The one of a number; `None` when it is newer than this program.
            #[must_use]
            pub fn from_number(number: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| *code as u8 == number)
            }

            /// The words for it.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

numbered! {
    /// What a component is.
    ComponentKind {
        /// The machine as a whole.
        Host = 1, "host";
        /// A disk.
        Disk = 2, "disk";
        /// An md array.
        Array = 3, "array";
        /// A mounted file system.
        FileSystem = 4, "file system";
        /// A temperature sensor.
        Sensor = 5, "sensor";
        /// A box's store.
        Store = 6, "store";
        /// A source as the box sees it.
        Source = 7, "source";
        /// A backup job as its own host sees it.
        Job = 8, "backup job";
        /// A power supply or battery.
        Power = 9, "power";
    }
}

numbered! {
    /// What is judged.
    Check {
        /// Load against processors.
        Load = 1, "load";
        /// Memory left.
        Memory = 2, "memory";
        /// Processes killed for want of memory.
        OomKills = 3, "oom";
        /// Kernel taint.
        Kernel = 4, "kernel";
        /// Time lost to waiting.
        Pressure = 5, "pressure";
        /// The disk's own opinion (SMART, NVMe health).
        DiskStatus = 20, "disk.status";
        /// I/O errors that the kernel counted.
        DiskErrors = 21, "disk.io";
        /// Whether the device is there and running.
        DiskPresent = 22, "disk.present";
        /// Members of an array.
        ArrayState = 30, "md.state";
        /// Mismatches found by a check.
        ArrayMismatch = 31, "md.mismatch";
        /// Space left.
        Space = 40, "fs.space";
        /// Inodes left.
        Inodes = 41, "fs.inode";
        /// Mounted read-only though it should not be.
        ReadOnly = 42, "fs.ro";
        /// Errors that the file system counted.
        FsErrors = 43, "fs.errors";
        /// Temperature.
        Temperature = 50, "temp";
        /// Whether the store takes data.
        StoreState = 60, "store.state";
        /// Whether all stored records are well.
        StoreDamage = 61, "store.damage";
        /// Whether the whole store was read lately.
        StoreVerify = 62, "backup.verify";
        /// Whether a source's backups arrive.
        Arrived = 70, "backup.arrived";
        /// Whether a job's runs succeed.
        Run = 71, "backup.run";
        /// Mains or battery.
        PowerLine = 80, "power.line";
    }
}

numbered! {
    /// Why a verdict is not ok. The text is a fragment that follows the component's name.
    Reason {
        /// Nothing to say.
        None = 0, "";
        /// Load above the processors.
        LoadHigh = 1, "has more work than its processors can do";
        /// Little memory left.
        MemoryLow = 2, "is short of memory";
        /// The kernel killed processes.
        OomKilled = 3, "killed processes for want of memory";
        /// The kernel reported a fault.
        KernelTainted = 4, "its kernel reported a fault";
        /// Tasks wait for memory.
        MemoryPressure = 5, "loses time waiting for memory";
        /// Needs device access.
        NeedsDeviceAccess = 20, "cannot be read, needs device access (adit-probe)";
        /// The kernel counted I/O errors.
        IoErrors = 21, "has I/O errors";
        /// The device is offline.
        Offline = 22, "is offline";
        /// The array runs without a member.
        Degraded = 30, "is degraded";
        /// The array lost too many members.
        Broken = 31, "is broken";
        /// The array is rebuilding.
        Rebuilding = 32, "is rebuilding";
        /// A check found mismatches.
        Mismatches = 33, "has mismatches";
        /// Little space.
        SpaceLow = 40, "is almost full";
        /// No space.
        SpaceOut = 41, "is full";
        /// Few inodes.
        InodesLow = 42, "has few inodes left";
        /// Became read-only.
        BecameReadOnly = 43, "is mounted read-only";
        /// The file system counted errors.
        FsErrors = 44, "has file system errors";
        /// Too hot.
        Hot = 50, "is hot";
        /// Much too hot.
        TooHot = 51, "is too hot";
        /// The store refuses to write.
        StoreReadOnly = 60, "takes no data: it is read-only";
        /// Records are damaged.
        RecordsDamaged = 61, "has damaged records";
        /// Never read through.
        NeverVerified = 62, "was never verified";
        /// Not read through for long.
        VerifyOld = 63, "was not verified for more than 30 days";
        /// No backup yet.
        NeverArrived = 70, "has never sent a backup";
        /// The backup is late.
        BackupLate = 71, "is late with its backup";
        /// The last run failed.
        RunFailed = 72, "its last run failed";
        /// The last run skipped files.
        RunPartial = 73, "its last run skipped files";
        /// A run is late.
        RunLate = 74, "has not run in time";
        /// A run was cut off.
        RunCutOff = 75, "its last run did not end";
        /// The file cannot be read.
        NotReadable = 80, "cannot be read";
        /// On battery.
        OnBattery = 81, "runs on battery";
        /// Battery low.
        BatteryLow = 82, "its battery is low";
    }
}

numbered! {
    /// What a reading measures, with its unit.
    Quantity {
        /// Minutes since boot.
        UptimeMinutes = 1, "uptime, min";
        /// Five-minute load average, hundredths.
        LoadHundredths = 2, "load, 1/100";
        /// Processors.
        Processors = 3, "processors";
        /// Memory, MiB.
        MemoryMib = 4, "memory, MiB";
        /// Memory left for programs, MiB.
        MemoryAvailableMib = 5, "memory available, MiB";
        /// Swap in use, MiB.
        SwapUsedMib = 6, "swap used, MiB";
        /// Processes killed for want of memory since boot.
        OomKills = 7, "oom kills";
        /// Share of time that all tasks waited for memory in the last five minutes, hundredths of a per cent.
        MemoryPressure = 8, "memory pressure, 1/100 %";
        /// Size, MiB.
        SizeMib = 20, "size, MiB";
        /// Space left, MiB.
        FreeMib = 21, "free, MiB";
        /// Space in use, per mille.
        UsedPermille = 22, "used, 1/1000";
        /// Inodes in use, per mille.
        InodesPermille = 23, "inodes used, 1/1000";
        /// Errors counted.
        Errors = 24, "errors";
        /// Temperature, tenths of a degree Celsius.
        TemperatureTenths = 25, "temperature, 1/10 °C";
        /// Members that should be there.
        Members = 30, "members";
        /// Members missing.
        MembersMissing = 31, "members missing";
        /// Mismatches.
        Mismatches = 32, "mismatches";
        /// Rebuild done, per mille.
        SyncPermille = 33, "rebuilt, 1/1000";
        /// Records.
        Records = 40, "records";
        /// Snapshots.
        Snapshots = 41, "snapshots";
        /// Damaged records.
        Damaged = 42, "damaged records";
        /// Stored, MiB.
        StoredMib = 43, "stored, MiB";
        /// Minutes since 2026-01-01 UTC when it last happened.
        LastMinutes = 50, "last, min since 2026";
        /// The period of a job, minutes.
        PeriodMinutes = 51, "period, min";
        /// Exit code.
        Exit = 52, "exit code";
        /// Files skipped.
        Skipped = 53, "skipped files";
        /// Bytes sent, KiB.
        SentKib = 54, "sent, KiB";
        /// Charge, per mille.
        ChargePermille = 60, "charge, 1/1000";
    }
}

impl Quantity {
    /// How far a value must move before a new report is worth a message: (absolute, per mille of the old value).
    #[must_use]
    pub const fn deadband(self) -> (i64, i64) {
        match self {
            // Uptime is told by the last report's age; an hourly step is enough to see a reboot.
            Self::UptimeMinutes => (60, 0),
            Self::LoadHundredths => (50, 250),
            Self::MemoryAvailableMib | Self::SwapUsedMib => (16, 100),
            Self::MemoryPressure => (200, 0),
            Self::FreeMib | Self::StoredMib => (64, 5),
            Self::UsedPermille | Self::InodesPermille => (5, 0),
            Self::TemperatureTenths => (20, 0),
            Self::SyncPermille => (20, 0),
            Self::Processors
            | Self::MemoryMib
            | Self::OomKills
            | Self::SizeMib
            | Self::Errors
            | Self::Members
            | Self::MembersMissing
            | Self::Mismatches
            | Self::Records
            | Self::Snapshots
            | Self::Damaged
            | Self::LastMinutes
            | Self::PeriodMinutes
            | Self::Exit
            | Self::Skipped
            | Self::SentKib
            | Self::ChargePermille => (0, 0),
        }
    }
}

/// Minutes between 1970-01-01 and 2026-01-01 UTC: health counts minutes from there.
pub const EPOCH_MINUTES: u64 = 29_453_760;

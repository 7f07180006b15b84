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
        /// Devices that one file system spans: btrfs, ZFS.
        Pool = 10, "pool";
        /// A device-mapper volume: RAID, thin pool, LUKS; a bcache.
        Volume = 11, "volume";
        /// A hardware RAID controller.
        Controller = 12, "controller";
        /// An uninterruptible power supply.
        Ups = 13, "ups";
        /// A baseboard management controller.
        Bmc = 14, "bmc";
        /// A memory controller that counts errors (EDAC).
        MemoryController = 15, "memory controller";
        /// A Ceph cluster.
        Ceph = 16, "ceph";
        /// A Gluster volume, or the pool of its peers.
        Gluster = 17, "gluster";
        /// A network interface.
        Link = 18, "network link";
        /// A TLS certificate.
        Certificate = 19, "certificate";
        /// A plugin that the admin added.
        Plugin = 20, "plugin";
        /// The agent itself.
        Agent = 21, "agent";
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
        /// Time lost to waiting for disks.
        IoPressure = 6, "io.pressure";
        /// Services of systemd.
        Units = 7, "os.units";
        /// Pending updates.
        Updates = 8, "os.updates";
        /// Whether a reboot is due.
        Reboot = 9, "os.reboot";
        /// The clock.
        Clock = 10, "os.time";
        /// How the machine came to its last boot.
        Boot = 11, "os.boot";
        /// The agent and its helpers.
        AgentSelf = 12, "agent.self";
        /// The disk's own opinion (SMART, NVMe health).
        DiskStatus = 20, "disk.status";
        /// I/O errors that the kernel counted.
        DiskErrors = 21, "disk.io";
        /// Whether the device is there and running.
        DiskPresent = 22, "disk.present";
        /// Sectors and blocks that failed.
        DiskMedia = 23, "disk.media";
        /// How much of its life a solid-state disk has used.
        DiskWear = 24, "disk.wear";
        /// The disk's self-tests.
        DiskSelfTest = 25, "disk.selftest";
        /// The cable and the bus.
        DiskLink = 26, "disk.link";
        /// Whether the disk answers in time.
        DiskAnswers = 27, "disk.answers";
        /// Members of an array.
        ArrayState = 30, "md.state";
        /// Mismatches found by a check.
        ArrayMismatch = 31, "md.mismatch";
        /// Blocks that a member cannot hold any more.
        ArrayBadBlocks = 32, "md.badblocks";
        /// When the array was last read and compared.
        ArrayScrub = 33, "md.scrub";
        /// Spare members.
        ArraySpare = 34, "md.spare";
        /// The pool as a whole.
        PoolState = 35, "pool.state";
        /// Errors that the pool's devices counted.
        PoolErrors = 36, "pool.errors";
        /// When the pool was last scrubbed, and what that found.
        PoolScrub = 37, "pool.scrub";
        /// Space for new metadata.
        PoolAllocation = 38, "pool.alloc";
        /// Data that no copy can repair.
        PoolData = 39, "pool.data";
        /// Space left.
        Space = 40, "fs.space";
        /// Inodes left.
        Inodes = 41, "fs.inode";
        /// Mounted read-only though it should not be.
        ReadOnly = 42, "fs.ro";
        /// Errors that the file system counted.
        FsErrors = 43, "fs.errors";
        /// When the file system will be full.
        SpaceForecast = 44, "fs.forecast";
        /// Whether it is mounted.
        Mounted = 45, "fs.mounted";
        /// A device-mapper volume.
        VolumeState = 46, "volume.state";
        /// Data space of a thin pool.
        ThinData = 47, "thin.data";
        /// Metadata space of a thin pool.
        ThinMetadata = 48, "thin.metadata";
        /// Temperature.
        Temperature = 50, "temp";
        /// A fan.
        Fan = 51, "fan";
        /// A voltage.
        Voltage = 52, "voltage";
        /// A power supply unit.
        PowerSupply = 53, "psu";
        /// Events that the BMC logged.
        EventLog = 54, "bmc.log";
        /// The chassis as the BMC sees it.
        Chassis = 55, "bmc.chassis";
        /// Memory errors.
        Ecc = 56, "ecc";
        /// Whether the store takes data.
        StoreState = 60, "store.state";
        /// Whether all stored records are well.
        StoreDamage = 61, "store.damage";
        /// Whether the whole store was read lately.
        StoreVerify = 62, "backup.verify";
        /// Sessions that never came to a commit.
        StoreSessions = 63, "backup.sessions";
        /// Whether a source's backups arrive.
        Arrived = 70, "backup.arrived";
        /// Whether a job's runs succeed.
        Run = 71, "backup.run";
        /// What the source says against what the box holds.
        BothSides = 72, "backup.both";
        /// The size of the newest backup beside those before.
        SizeTrend = 73, "backup.size";
        /// Mains or battery.
        PowerLine = 80, "power.line";
        /// The battery of a UPS.
        Battery = 81, "ups.battery";
        /// How long the battery lasts.
        Runtime = 82, "ups.runtime";
        /// Whether the UPS is heard.
        UpsAnswers = 83, "ups.comm";
        /// The battery's last test.
        BatteryTest = 84, "ups.test";
        /// The load on a UPS.
        UpsLoad = 85, "ups.load";
        /// A RAID controller.
        ControllerState = 90, "hpsa.state";
        /// A logical drive.
        LogicalDrive = 91, "hpsa.ld";
        /// A physical drive behind a controller.
        PhysicalDrive = 92, "hpsa.pd";
        /// The write cache of a controller.
        ControllerCache = 93, "hpsa.cache";
        /// What Ceph says of itself.
        CephHealth = 100, "ceph.health";
        /// The OSDs.
        CephOsds = 101, "ceph.osd";
        /// The monitors' quorum.
        CephMonitors = 102, "ceph.mon";
        /// Space of the cluster.
        CephSpace = 103, "ceph.space";
        /// The placement groups.
        CephData = 104, "ceph.pg";
        /// Whether the cluster can be asked.
        CephAnswers = 105, "ceph.answers";
        /// The peers.
        GlusterPeers = 110, "gluster.peer";
        /// The bricks.
        GlusterBricks = 111, "gluster.brick";
        /// What waits to be healed.
        GlusterHeal = 112, "gluster.heal";
        /// Whether Gluster can be asked.
        GlusterAnswers = 113, "gluster.answers";
        /// Whether the link is up.
        LinkState = 120, "net.link";
        /// Errors that the interface counted.
        LinkErrors = 121, "net.errors";
        /// IPv6 addresses.
        Addresses = 122, "net.address";
        /// The largest packet.
        Mtu = 123, "net.mtu";
        /// How long a certificate lasts.
        Certificate = 130, "tls";
        /// What a plugin said.
        Plugin = 140, "plugin";
        /// Whether a thing that was there is still there.
        Present = 150, "present";
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
        /// Tasks wait for disks.
        IoPressure = 6, "loses time waiting for its disks";
        /// Services failed.
        UnitsFailed = 7, "has failed services";
        /// Security updates are pending.
        UpdatesPending = 8, "misses security updates";
        /// The package lists are old or missing.
        UpdatesUnknown = 9, "does not know its updates";
        /// A reboot is due.
        RebootNeeded = 10, "needs a reboot";
        /// The clock is not synchronised.
        ClockUnsynced = 11, "its clock is not synchronised";
        /// The clock is off.
        ClockOff = 12, "its clock is off";
        /// The kernel left a crash record.
        Crashed = 13, "crashed before this boot";
        /// The watchdog reset the machine.
        WatchdogReset = 14, "was reset by its watchdog";
        /// The machine rebooted often.
        RebootsOften = 15, "rebooted several times in a day";
        /// adit-probe does not answer.
        ProbeSilent = 16, "its device reader does not answer";
        /// Something that the agent asks does not answer.
        HelperStuck = 17, "waits for something that does not answer";
        /// Needs device access.
        NeedsDeviceAccess = 20, "cannot be read, needs device access (adit-probe)";
        /// The kernel counted I/O errors.
        IoErrors = 21, "has I/O errors";
        /// The device is offline.
        Offline = 22, "is offline";
        /// The device predicts its own failure.
        FailurePredicted = 23, "says that it will fail";
        /// Sectors wait for reallocation.
        PendingSectors = 24, "has sectors that it cannot read";
        /// Sectors were reallocated.
        SectorsReallocated = 25, "replaces failing sectors";
        /// Errors could not be corrected.
        Uncorrectable = 26, "had errors that it could not correct";
        /// The spindle needed several tries.
        SpinRetries = 27, "needed several tries to start";
        /// The media has errors.
        MediaErrors = 28, "has media errors";
        /// The list of defects grows.
        GrownDefects = 29, "has a growing list of defects";
        /// The array runs without a member.
        Degraded = 30, "is degraded";
        /// The array lost too many members.
        Broken = 31, "is broken";
        /// The array is rebuilding.
        Rebuilding = 32, "is rebuilding";
        /// A check found mismatches.
        Mismatches = 33, "has mismatches";
        /// A member failed or should be replaced.
        MemberFaulty = 34, "has a failed member";
        /// A member has bad blocks.
        BadBlocks = 35, "has bad blocks";
        /// A spare is gone.
        SpareMissing = 36, "has lost its spare";
        /// The last check is long ago.
        CheckOld = 37, "was not checked for long";
        /// A device of a pool is missing.
        DeviceMissing = 38, "misses a device";
        /// A device of a pool has errors.
        DeviceErrors = 39, "its devices have errors";
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
        /// The file system will be full soon.
        FullSoon = 45, "will be full soon";
        /// It is not mounted.
        NotMounted = 46, "is not mounted";
        /// The volume is locked.
        Locked = 47, "is locked";
        /// It has failed.
        Failed = 48, "has failed";
        /// There is no room for new metadata.
        AllocationTight = 49, "has no room for new metadata";
        /// Too hot.
        Hot = 50, "is hot";
        /// Much too hot.
        TooHot = 51, "is too hot";
        /// A fan does not turn.
        FanStopped = 52, "does not turn";
        /// A fan is below its limit.
        FanSlow = 53, "turns too slowly";
        /// A voltage or another sensor is out of its range.
        VoltageOff = 54, "is out of range";
        /// A power supply failed.
        SupplyFailed = 55, "has failed";
        /// A redundant part is gone.
        RedundancyLost = 56, "has lost its redundancy";
        /// The BMC logged a fault.
        EventLogged = 57, "logged a fault";
        /// The event log is full.
        LogFull = 58, "its event log is full";
        /// Many memory errors were corrected.
        EccCorrected = 59, "corrects many memory errors";
        /// The store refuses to write.
        StoreReadOnly = 60, "takes no data: it is read-only";
        /// Records are damaged.
        RecordsDamaged = 61, "has damaged records";
        /// Never read through.
        NeverVerified = 62, "was never verified";
        /// Not read through for long.
        VerifyOld = 63, "was not verified for more than 30 days";
        /// Memory errors could not be corrected.
        EccUncorrected = 64, "had memory errors that cannot be corrected";
        /// A session was never committed.
        SessionsOpen = 65, "has a session that never ended";
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
        /// A success that the box knows nothing of.
        LyingSuccess = 76, "says that its backup succeeded, but it has not arrived";
        /// A failure, but a newer commit.
        PartialNewer = 77, "reports a failure, though a newer backup arrived";
        /// Commits without run records.
        SourceSilent = 78, "sends backups, but does not report its runs";
        /// The size is far from the usual one.
        SizeOdd = 79, "sent a backup of unusual size";
        /// The file cannot be read.
        NotReadable = 80, "cannot be read";
        /// On battery.
        OnBattery = 81, "runs on battery";
        /// Battery low.
        BatteryLow = 82, "its battery is low";
        /// The UPS orders a shutdown.
        ShutdownForced = 83, "orders a shutdown";
        /// The battery should be replaced.
        BatteryReplace = 84, "needs a new battery";
        /// The battery is old.
        BatteryOld = 85, "has an old battery";
        /// The load is too high.
        Overloaded = 86, "is overloaded";
        /// The battery is not charging.
        NotCharging = 87, "does not charge its battery";
        /// The battery test failed.
        TestFailed = 88, "failed its battery test";
        /// The last battery test is long ago.
        TestOld = 89, "was not tested for long";
        /// The UPS is not heard.
        UpsSilent = 90, "is not heard";
        /// The UPS passes mains through.
        Bypassed = 91, "runs in bypass";
        /// A logical drive is being transformed or initialised.
        Transforming = 94, "is being transformed";
        /// The write cache of a controller is off.
        CacheOff = 95, "takes no writes into its cache";
        /// The write cache of a controller lost data.
        CacheLostData = 96, "lost data that its cache held";
        /// The write cache of a controller holds data of drives that are away.
        CacheUnflushed = 97, "holds data in its cache that its drives do not take";
        /// Ceph warns.
        CephWarning = 100, "warns";
        /// Ceph reports an error.
        CephError = 101, "reports an error";
        /// OSDs are down.
        OsdsDown = 102, "has OSDs down";
        /// Monitors are out of quorum.
        MonitorsDown = 103, "has monitors out of quorum";
        /// The cluster is nearly full.
        NearFull = 104, "is nearly full";
        /// The cluster is full.
        Full = 105, "is full and stops writing";
        /// Data is unavailable.
        DataUnavailable = 106, "cannot reach part of its data";
        /// Data has too few copies.
        DataDegraded = 107, "has data with too few copies";
        /// Data is damaged.
        DataDamaged = 108, "has damaged data";
        /// It does not answer.
        NotAnswering = 109, "does not answer";
        /// The agent may not ask it.
        AccessDenied = 110, "may not be asked";
        /// Operations are slow.
        SlowOperations = 111, "is slow";
        /// Peers are out of reach.
        PeersDown = 112, "has peers out of reach";
        /// Bricks are down.
        BricksDown = 113, "has bricks down";
        /// The quorum is lost.
        QuorumLost = 114, "has too few bricks left";
        /// Entries wait to be healed.
        HealPending = 115, "has entries that wait to be healed";
        /// Files are in split-brain.
        SplitBrain = 116, "has files in split-brain";
        /// The link is down.
        LinkDown = 120, "is down";
        /// The link changes often.
        LinkFlapping = 121, "goes up and down";
        /// The link has errors.
        LinkErrors = 122, "has transmission errors";
        /// No usable IPv6 address.
        NoAddress = 123, "has no usable IPv6 address";
        /// The MTU is below what IPv6 needs.
        MtuSmall = 124, "carries no packet of 1280 bytes";
        /// The link's speed fell.
        LinkSlow = 125, "is slower than it was";
        /// The certificate ends soon.
        CertificateEnds = 130, "ends soon";
        /// The certificate has ended.
        CertificateEnded = 131, "has ended";
        /// The file or endpoint gives no certificate.
        CertificateUnreadable = 132, "cannot be read as a certificate";
        /// A plugin warns.
        PluginWarning = 140, "warns";
        /// A plugin reports a critical state.
        PluginCritical = 141, "reports a fault";
        /// A plugin cannot tell.
        PluginUnknown = 142, "cannot tell";
        /// A plugin did not run, or not in time.
        PluginFailed = 143, "did not run";
        /// It was there and is gone.
        Missing = 150, "is missing";
        /// Its rated life is used up.
        WornOut = 160, "is worn out";
        /// Most of its rated life is used.
        Wearing = 161, "is wearing out";
        /// Its spare blocks are below the limit.
        SpareLow = 162, "has few spare blocks left";
        /// It takes no writes any more.
        MediaReadOnly = 163, "turned read-only";
        /// A self-test failed.
        SelfTestFailed = 164, "failed its self-test";
        /// Transfers fail between disk and host.
        CableErrors = 165, "has transfer errors (look at the cable)";
        /// A vendor attribute is at or below its threshold.
        AttributeFailing = 166, "has a value beyond its maker's limit";
        /// A vendor attribute was at or below its threshold.
        AttributeFailed = 167, "had a value beyond its maker's limit";
        /// A command did not come back.
        Stalled = 168, "does not answer";
        /// Commands timed out.
        CommandTimeouts = 169, "lets commands time out";
        /// The volatile memory backup device failed.
        BackupPowerFailed = 170, "lost the power backup of its memory";
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
        /// How long a battery lasts, seconds.
        RuntimeSeconds = 61, "runtime, s";
        /// Load of a UPS or supply.
        LoadPermille = 62, "load, 1/1000";
        /// Power, tenths of a watt.
        PowerTenthWatts = 63, "power, 1/10 W";
        /// Voltage, millivolts.
        VoltageMillivolts = 64, "voltage, mV";
        /// Turns of a fan per minute.
        FanRpm = 65, "fan, rpm";
        /// A sensor of another unit, thousandths of it.
        SensorThousandths = 66, "sensor, 1/1000 of its unit";
        /// Energy counted, watt hours.
        EnergyWh = 67, "energy, Wh";
        /// Age of a battery.
        BatteryAgeDays = 68, "battery age, days";
        /// Hours that a disk was powered.
        PowerOnHours = 70, "power on, h";
        /// Written over its life, GiB.
        WrittenGib = 71, "written, GiB";
        /// Sectors reallocated.
        ReallocatedSectors = 72, "reallocated sectors";
        /// Sectors that wait for reallocation.
        PendingSectors = 73, "pending sectors";
        /// Errors that were not corrected.
        UncorrectableErrors = 74, "uncorrectable errors";
        /// Media errors.
        MediaErrors = 75, "media errors";
        /// CRC errors between disk and host.
        TransferErrors = 76, "transfer errors";
        /// Share of the rated life used.
        WearPercent = 77, "wear, %";
        /// Spare blocks left.
        SparePercent = 78, "spare, %";
        /// Power losses without notice.
        UnsafeShutdowns = 79, "unsafe shutdowns";
        /// Starts and stops of the spindle.
        StartStops = 80, "start-stop cycles";
        /// Since when the values are known, minutes.
        AgeMinutes = 81, "age of the values, min";
        /// Commands that timed out.
        CommandTimeouts = 82, "command timeouts";
        /// Defects that were added to the list.
        GrownDefects = 83, "grown defects";
        /// Spare members.
        Spares = 84, "spares";
        /// Bad blocks.
        BadBlocks = 85, "bad blocks";
        /// Speed of a rebuild.
        SyncKibPerSecond = 86, "rebuild speed, KiB/s";
        /// Read errors of a pool's devices.
        ReadErrors = 87, "read errors";
        /// Write errors of a pool's devices.
        WriteErrors = 88, "write errors";
        /// Checksum errors of a pool's devices.
        ChecksumErrors = 89, "checksum errors";
        /// Data space used.
        DataPermille = 90, "data used, 1/1000";
        /// Metadata space used.
        MetadataPermille = 91, "metadata used, 1/1000";
        /// Forecast, days.
        DaysUntilFull = 92, "days until full";
        /// Days since the last scrub.
        ScrubAgeDays = 93, "last scrub, days ago";
        /// Errors that were corrected.
        CorrectedErrors = 94, "corrected errors";
        /// Offset of the clock.
        ClockOffsetMs = 95, "clock offset, ms";
        /// Share of time that all tasks waited for disks in the last five minutes.
        IoPressure = 96, "io pressure, 1/100 %";
        /// Failed units.
        UnitsFailed = 97, "failed units";
        /// Pending updates.
        Updates = 98, "updates";
        /// Pending security updates.
        SecurityUpdates = 99, "security updates";
        /// OSDs up.
        OsdsUp = 100, "OSDs up";
        /// OSDs.
        OsdsTotal = 101, "OSDs";
        /// Monitors in quorum.
        MonitorsInQuorum = 102, "monitors in quorum";
        /// Monitors.
        MonitorsTotal = 103, "monitors";
        /// Peers connected.
        PeersConnected = 104, "peers connected";
        /// Peers.
        PeersTotal = 105, "peers";
        /// Bricks up.
        BricksUp = 106, "bricks up";
        /// Bricks.
        BricksTotal = 107, "bricks";
        /// Entries that wait to be healed.
        HealPending = 108, "entries to heal";
        /// Entries in split-brain.
        SplitBrain = 109, "entries in split-brain";
        /// Speed of a link.
        SpeedMbit = 110, "speed, Mbit/s";
        /// Largest packet.
        MtuBytes = 111, "MTU, bytes";
        /// Errors of an interface.
        LinkErrors = 112, "link errors";
        /// How often the link went up or down.
        CarrierChanges = 113, "carrier changes";
        /// Days until it ends.
        DaysLeft = 114, "days left";
        /// A plugin's value, thousandths of its unit.
        PluginThousandths = 115, "value, 1/1000 of its unit";
        /// Events logged.
        Events = 116, "events";
        /// Sessions that were not committed.
        Sessions = 117, "open sessions";
        /// Boots in the last 24 hours.
        Boots = 118, "boots in a day";
        /// How long a run took.
        DurationSeconds = 119, "duration, s";
        /// Humidity.
        Humidity = 120, "humidity, 1/1000";
        /// The newest snapshot: the first 60 bits of its head. Source and box tell the same number of the same snapshot.
        SnapshotHead = 121, "newest snapshot, number";
        /// What the newest run added to a store, KiB.
        AddedKib = 122, "added, KiB";
        /// Size of a disk, GiB.
        SizeGib = 123, "size, GiB";
        /// Whether a disk's platters stand: 1 when they do.
        Asleep = 124, "asleep";
    }
}

impl Quantity {
    /// How far a value must move before a new report is worth a message: (absolute, per mille of the old value).
    #[must_use]
    pub fn deadband(self) -> (i64, i64) {
        DEADBANDS
            .iter()
            .find(|(quantity, ..)| *quantity == self)
            .map_or((0, 0), |(_, absolute, permille)| (*absolute, *permille))
    }
}

/// Deadbands: quantity, absolute, per mille of the old value. One that is not listed is told whenever it moves.
const DEADBANDS: &[(Quantity, i64, i64)] = &[
    // Uptime is told by the last report's age; an hourly step is enough to see a reboot.
    (Quantity::UptimeMinutes, 60, 0),
    (Quantity::LoadHundredths, 50, 250),
    (Quantity::MemoryAvailableMib, 16, 100),
    (Quantity::SwapUsedMib, 16, 100),
    (Quantity::MemoryPressure, 200, 0),
    (Quantity::IoPressure, 500, 250),
    (Quantity::FreeMib, 64, 5),
    (Quantity::StoredMib, 64, 5),
    (Quantity::UsedPermille, 5, 0),
    (Quantity::InodesPermille, 5, 0),
    (Quantity::DataPermille, 5, 0),
    (Quantity::MetadataPermille, 5, 0),
    (Quantity::TemperatureTenths, 20, 0),
    (Quantity::SyncPermille, 20, 0),
    (Quantity::SyncKibPerSecond, 1024, 250),
    (Quantity::ChargePermille, 10, 0),
    (Quantity::RuntimeSeconds, 60, 50),
    (Quantity::LoadPermille, 30, 0),
    (Quantity::PowerTenthWatts, 50, 100),
    (Quantity::VoltageMillivolts, 200, 20),
    (Quantity::FanRpm, 100, 100),
    (Quantity::SensorThousandths, 0, 50),
    (Quantity::EnergyWh, 100, 0),
    (Quantity::PowerOnHours, 24, 0),
    (Quantity::WrittenGib, 64, 1),
    (Quantity::AgeMinutes, 60, 0),
    (Quantity::ClockOffsetMs, 20, 100),
    (Quantity::PluginThousandths, 0, 50),
    (Quantity::LinkErrors, 10, 10),
    (Quantity::Humidity, 20, 0),
];

/// Minutes between 1970-01-01 and 2026-01-01 UTC: health counts minutes from there.
pub const EPOCH_MINUTES: u64 = 29_453_760;

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Puts a report together: the operating system's basics, disks and arrays as the kernel sees them, the runs of this
//! host's backup jobs and, on a box, the store and the sources.

use crate::expect::{Expected, Traits};
use crate::gathered::Gathered;
use crate::judge::Judge;
use crate::limits::Limits;
use crate::memory::Memory;
use crate::model::{Component, Finding, Report};
use crate::readings::array::ArrayReading;
use crate::readings::block::KernelView;
use crate::readings::file_system::FileSystemReading;
use crate::readings::pool::{BtrfsReading, ZfsState};
use crate::rules::backup;
use crate::runs::RunRecord;
use crate::{devices, readers, rules, runs};
use adit_wire::health::codes::{Check, ComponentKind, EPOCH_MINUTES, Quantity, Reason, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where to look.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The root of /proc and /sys: "/" but in tests.
    pub root: PathBuf,
    /// State directories of sources on this host, whose runs are read.
    pub run_dirs: Vec<PathBuf>,
    /// Files with certificates to watch.
    pub certificates: Vec<PathBuf>,
    /// Units of systemd that may fail, by their whole names.
    pub ignored_units: Vec<String>,
}

/// A box's store, as its owner tells it.
#[derive(Clone, Debug, Default)]
pub struct StoreReading {
    /// Where it lies.
    pub path: String,
    /// Bytes of the file system that holds it.
    pub size_bytes: u64,
    /// Bytes left there.
    pub free_bytes: u64,
    /// Bytes that the store uses.
    pub stored_bytes: u64,
    /// Records.
    pub records: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Records known to be damaged.
    pub damaged: u64,
    /// The id of the first one that the last verification named, as text.
    pub first_damaged: Option<String>,
    /// Why it takes no data.
    pub read_only: Option<String>,
    /// When it was made, seconds since 1970.
    pub created_s: u64,
    /// When it was last read through, seconds since 1970.
    pub verified_s: Option<u64>,
    /// How old all this is, seconds: its thread may be at work, or hang with its disk.
    pub age_s: u64,
    /// The sources.
    pub sources: Vec<SourceArrival>,
}

/// What the box knows of a source's backups.
#[derive(Clone, Debug, Default)]
pub struct SourceArrival {
    /// The source's id as text.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The newest snapshot.
    pub newest: Option<Arrival>,
    /// Whether it has a session that was not committed yet.
    pub session_open: bool,
    /// Seconds between its backups; 0 when not known.
    pub period_s: u64,
}

/// A snapshot as it came.
#[derive(Clone, Debug, Default)]
pub struct Arrival {
    /// Its head as text.
    pub head: String,
    /// Its number: 1 for the source's first.
    pub seq: u64,
    /// When it arrived, seconds since 1970.
    pub received_s: u64,
    /// Bytes that it added.
    pub new_bytes: u64,
    /// Bytes that those before it had added.
    pub bytes_before: u64,
}

/// Collects reports. Keeps sysinfo's objects between rounds, as that library asks for.
#[derive(Debug)]
pub struct Collector {
    surroundings: Surroundings,
    limits: Limits,
    memory: Memory,
    expected: Expected,
    activity: readers::block::Activity,
    system: Option<sysinfo::System>,
    rapl: readers::rapl::Rapl,
}

impl Collector {
    /// A collector for these surroundings, with what the rules remember from the run before.
    #[must_use]
    pub fn new(surroundings: Surroundings, limits: Limits, memory: Memory) -> Self {
        Self {
            surroundings,
            limits,
            memory,
            expected: Expected::default(),
            activity: Default::default(),
            system: None,
            rapl: Default::default(),
        }
    }

    /// The same with the things that belong to this machine, from the run before.
    #[must_use]
    pub fn expecting(self, expected: Expected) -> Self {
        Self { expected, ..self }
    }

    /// What belongs to this machine: its owner stores it now and then.
    #[must_use]
    pub const fn expected(&self) -> &Expected {
        &self.expected
    }

    /// Retires a thing: it is not missed any more. Answers whether it was known.
    pub fn forget(&mut self, id: &str) -> bool {
        self.expected.forget(id)
    }

    /// What the rules remember: its owner stores it now and then.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Looks at everything once. `now_s` is the wall clock, seconds since 1970.
    pub fn collect(&mut self, now_s: u64, gathered: &Gathered) -> Report {
        let root = self.surroundings.root.clone();
        let limits = self.limits.clone();
        let mut memory = std::mem::take(&mut self.memory);
        let judge = &mut Judge::new(now_s, &limits, &mut memory);
        let mut host = self.host(judge);
        host.findings.extend(gathered.host_findings(judge, &self.surroundings.ignored_units));
        let mut components = vec![host];
        let disks = readers::block::disks(&root, &mut self.activity);
        components.extend(devices::disks(judge, &disks, &gathered.devices));
        let arrays = readers::md::arrays(&root, &disks);
        components.extend(arrays.iter().map(|array| rules::array::array(judge, array)));
        let told = gathered.pools.as_ref().and_then(|asked| asked.as_ref().ok());
        let is_told = |state: &&ZfsState| told.is_some_and(|pools| pools.iter().any(|pool| pool.name == state.pool));
        let states = readers::zfs::pools(&root);
        components.extend(states.iter().filter(|state| !is_told(state)).map(rules::pool::zfs));
        let mounts = readers::mounts::Mounts::read(&root);
        let pools = readers::btrfs::pools(&root, &mounts);
        components.extend(pools.iter().map(|pool| rules::pool::btrfs(judge, pool)));
        components.extend(readers::dm::encrypted(&root).iter().map(|volume| rules::volume::luks(judge, volume)));
        components.extend(readers::bcache::volumes(&root).iter().map(|volume| rules::volume::bcache(judge, volume)));
        components.extend(mounts.absent().iter().map(|point| rules::file_system::not_mounted(judge, point)));
        let mounted = mounts.file_systems(&root);
        components.extend(mounted.iter().map(|found| rules::file_system::file_system(judge, found)));
        let sensors = readers::hwmon::sensors(&root);
        components.extend(sensors.iter().filter_map(|sensor| rules::environment::sensor(judge, sensor)));
        components.extend(rules::power::supplies(judge, &readers::power_supply::supplies(&root)));
        let controllers = readers::edac::controllers(&root);
        components.extend(controllers.iter().map(|controller| rules::edac::controller(judge, controller)));
        let links = readers::links::links(&root);
        components.extend(links.iter().filter_map(|link| rules::link::link(judge, link)));
        let certificates = readers::certificates::certificates(&root, &self.surroundings.certificates);
        components.extend(certificates.iter().map(|found| rules::certificate::certificate(found, now_s)));
        for dir in &self.surroundings.run_dirs {
            components.extend(jobs(dir, now_s));
        }
        let asked_from = components.len();
        components.extend(devices::others(judge, &disks, &gathered.devices));
        components.extend(gathered.components(judge));
        let asked = components.iter().skip(asked_from).map(|component| component.id.clone()).collect();
        if let Some(store) = &gathered.store {
            components.push(store_component(store, judge));
            components.extend(store.sources.iter().map(|source| source_component(source, judge)));
        }
        let belongs = Belongings::new(&root, &disks, &arrays, &pools, &mounted, asked);
        self.expected.look(now_s, &mut components, |component| belongs.traits(component));
        components.truncate(adit_wire::health::COMPONENTS_MAX);
        memory.tidy(now_s);
        self.memory = memory;
        let host = sysinfo::System::host_name().unwrap_or_else(|_| "host".to_owned());
        Report { host, time_s: now_s, components }
    }

    fn host(&mut self, judge: &mut Judge<'_>) -> Component {
        let root = &self.surroundings.root;
        let (mut findings, mut readings) = kernel(root, judge);
        let mib = |bytes: u64| i64::try_from(bytes >> 20).unwrap_or(i64::MAX);
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let processors = i64::try_from(processors).unwrap_or(i64::MAX);
        let load = sysinfo::System::load_average().ok().and_then(|average| hundredths(average.five));
        if self.system.is_none() {
            self.system = sysinfo::System::new().ok();
        }
        let memory = self.system.as_mut().map(|system| {
            system.refresh_memory();
            (mib(system.total_memory()), mib(system.available_memory()), mib(system.used_swap()))
        });
        let unreadable = |check| Finding::new(check, Verdict::Unknown, Reason::NotReadable).with_detail("needs /proc");
        findings.push(match load {
            Some(load) => rules::system::load(judge, load, processors),
            None => unreadable(Check::Load),
        });
        findings.push(match memory {
            Some((total, available, _)) => rules::system::memory(judge, total, available),
            None => unreadable(Check::Memory),
        });
        let uptime = sysinfo::System::uptime().ok();
        readings.extend([
            (Quantity::UptimeMinutes, uptime.and_then(|seconds| i64::try_from(seconds / 60).ok())),
            (Quantity::LoadHundredths, load),
            (Quantity::Processors, Some(processors)),
            (Quantity::MemoryMib, memory.map(|(total, ..)| total)),
            (Quantity::MemoryAvailableMib, memory.map(|(_, available, _)| available)),
            (Quantity::SwapUsedMib, memory.map(|(.., swap)| swap)),
        ]);
        if let Some(power) = self.rapl.tenth_watts(root, judge.now_s()) {
            readings.push((Quantity::PowerTenthWatts, Some(power)));
        }
        let label = sysinfo::System::long_os_version().unwrap_or_else(|_| "Linux".to_owned());
        Component { kind: ComponentKind::Host, id: rules::system::HOST.to_owned(), label, findings, readings }
    }
}

/// What tells whether a component should stay, and what holds it.
struct Belongings {
    /// Ids of disks that may be unplugged.
    removable: BTreeSet<String>,
    /// Mount points of /etc/fstab: other mounts come and go.
    meant: BTreeSet<String>,
    /// Array or pool by the id of a disk that is a part of it.
    holders: BTreeMap<String, String>,
    /// Ids of what others were asked for.
    asked: BTreeSet<String>,
}

impl Belongings {
    fn new(
        root: &Path,
        disks: &[KernelView],
        arrays: &[ArrayReading],
        pools: &[BtrfsReading],
        mounted: &[FileSystemReading],
        asked: BTreeSet<String>,
    ) -> Self {
        let mut holders = BTreeMap::new();
        for array in arrays {
            holders.extend(array.members.iter().filter_map(|member| Some((member.disk_id.clone()?, array.id.clone()))));
        }
        for pool in pools {
            let on = pool.present.iter().filter_map(|device| readers::block::disk_of(root, device));
            let ids = on.filter_map(|name| disks.iter().find(|disk| disk.names.contains(&name)));
            holders.extend(ids.map(|disk| (disk.id.clone(), pool.id.clone())));
        }
        Self {
            removable: disks.iter().filter(|disk| disk.removable).map(|disk| disk.id.clone()).collect(),
            meant: mounted.iter().filter(|found| found.meant.is_some()).map(|found| found.point.clone()).collect(),
            holders,
            asked,
        }
    }

    fn traits(&self, component: &Component) -> Option<Traits> {
        let stays = match component.kind {
            ComponentKind::Disk
            | ComponentKind::Array
            | ComponentKind::Pool
            | ComponentKind::Volume
            | ComponentKind::Controller
            | ComponentKind::Bmc
            | ComponentKind::Power
            | ComponentKind::Link => true,
            // A daemon that was never heard stands for UPSes that nobody knows yet.
            ComponentKind::Ups => !component.readings.is_empty(),
            ComponentKind::FileSystem => self.meant.contains(&component.id),
            ComponentKind::Host
            | ComponentKind::Sensor
            | ComponentKind::Store
            | ComponentKind::Source
            | ComponentKind::Job
            | ComponentKind::MemoryController
            | ComponentKind::Ceph
            | ComponentKind::Gluster
            | ComponentKind::Certificate
            | ComponentKind::Plugin
            | ComponentKind::Agent => false,
        };
        stays.then(|| Traits {
            removable: self.removable.contains(&component.id),
            asked: self.asked.contains(&component.id),
            holder: self.holders.get(&component.id).cloned(),
        })
    }
}

/// What the kernel counts of the machine as a whole: findings and readings that sysinfo does not give. What a kernel does
/// not count, such as pressure without CONFIG_PSI, is left out.
fn kernel(root: &Path, judge: &mut Judge<'_>) -> rules::block::Judged {
    let kernel = readers::kernel::read(root);
    let mut findings = vec![rules::system::oom_kills(judge, kernel.oom_kills), rules::system::taint(kernel.taint)];
    findings.extend(kernel.memory_pressure.map(|share| rules::system::memory_pressure(judge, share)));
    findings.extend(kernel.io_pressure.map(|share| rules::system::io_pressure(judge, share)));
    findings.extend(kernel.poisoned_kib.map(rules::system::poisoned));
    findings.extend(readers::boot::boot(root).map(|boot| rules::system::boot(judge, &boot)));
    findings.push(rules::system::reboot(judge, &readers::boot::reboot(root)));
    let told = [
        (Quantity::OomKills, kernel.oom_kills),
        (Quantity::MemoryPressure, kernel.memory_pressure),
        (Quantity::IoPressure, kernel.io_pressure),
    ];
    (findings, told.into_iter().filter(|(_, value)| value.is_some()).collect())
}

#[expect(clippy::cast_possible_truncation, reason = "a load average far below 2^63 hundredths; `as` saturates")]
fn hundredths(value: f64) -> Option<i64> {
    value.is_finite().then_some((value * 100.0) as i64)
}

/// Minutes since 2026, as health counts them.
#[must_use]
pub fn minutes(seconds: u64) -> i64 {
    i64::try_from((seconds / 60).saturating_sub(EPOCH_MINUTES)).unwrap_or(i64::MAX)
}

/// The jobs whose runs lie in one source's state directory.
fn jobs(dir: &Path, now_s: u64) -> Vec<Component> {
    let records = match runs::read(dir) {
        Ok(records) => records,
        Err(error) => {
            let finding =
                Finding::new(Check::Run, Verdict::Unknown, Reason::NotReadable).with_detail(error.to_string());
            let id = dir.to_string_lossy().into_owned();
            return vec![Component {
                kind: ComponentKind::Job,
                label: id.clone(),
                id,
                findings: vec![finding],
                readings: Vec::new(),
            }];
        }
    };
    let mut names: Vec<&str> = records.iter().map(|record| record.job.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| {
            let records: Vec<RunRecord> = records.iter().filter(|record| record.job == name).cloned().collect();
            job(name, &records, now_s)
        })
        .collect()
}

fn job(name: &str, records: &[RunRecord], now_s: u64) -> Component {
    let ended = records.iter().rev().find(|record| record.exit.is_some());
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    Component {
        kind: ComponentKind::Job,
        id: name.to_owned(),
        label: name.to_owned(),
        findings: vec![backup::run(records, now_s), backup::size(records)],
        readings: vec![
            (Quantity::LastMinutes, ended.and_then(|record| record.ended_s).map(minutes)),
            (Quantity::PeriodMinutes, ended.map(|record| signed(record.period_s / 60))),
            (Quantity::Exit, ended.and_then(|record| record.exit).map(i64::from)),
            (Quantity::Skipped, ended.map(|record| signed(record.skipped))),
            (Quantity::SentKib, ended.map(|record| signed(record.bytes_sent >> 10))),
            (
                Quantity::DurationSeconds,
                ended.and_then(|record| Some(signed(record.ended_s? - record.started_s.min(record.ended_s?)))),
            ),
            (Quantity::SnapshotHead, ended.and_then(|record| backup::head_number(record.snapshot.as_deref()?))),
        ],
    }
}

fn store_component(store: &StoreReading, judge: &mut Judge<'_>) -> Component {
    let mib = |bytes: u64| i64::try_from(bytes >> 20).unwrap_or(i64::MAX);
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let space = rules::file_system::space(judge, backup::STORE, mib(store.size_bytes), mib(store.free_bytes));
    Component {
        kind: ComponentKind::Store,
        id: backup::STORE.to_owned(),
        label: store.path.clone(),
        findings: vec![
            backup::takes_data(store.read_only.as_deref(), store.age_s),
            backup::damage(store.damaged, store.first_damaged.as_deref()),
            backup::verified(judge, store.verified_s, store.created_s),
            space,
        ],
        readings: vec![
            (Quantity::StoredMib, Some(mib(store.stored_bytes))),
            (Quantity::FreeMib, Some(mib(store.free_bytes))),
            (Quantity::Records, Some(signed(store.records))),
            (Quantity::Snapshots, Some(signed(store.snapshots))),
            (Quantity::Damaged, Some(signed(store.damaged))),
            (Quantity::LastMinutes, store.verified_s.map(minutes)),
        ],
    }
}

fn source_component(source: &SourceArrival, judge: &mut Judge<'_>) -> Component {
    let newest = source.newest.as_ref();
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let received_s = newest.map(|newest| newest.received_s);
    Component {
        kind: ComponentKind::Source,
        id: source.id.clone(),
        label: source.name.clone(),
        findings: vec![
            backup::arrived(received_s, source.period_s, judge.now_s()),
            backup::session(judge, &source.id, source.session_open),
            newest.map_or_else(
                || Finding::ok(Check::SizeTrend),
                |newest| backup::rewritten(newest.new_bytes, newest.bytes_before),
            ),
        ],
        readings: vec![
            (Quantity::LastMinutes, received_s.map(minutes)),
            (Quantity::Snapshots, Some(newest.map_or(0, |newest| signed(newest.seq)))),
            (Quantity::PeriodMinutes, Some(signed(source.period_s / 60))),
            (Quantity::AddedKib, newest.map(|newest| signed(newest.new_bytes >> 10))),
            (Quantity::SnapshotHead, newest.and_then(|newest| backup::head_number(&newest.head))),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_reports_memory_and_its_root() {
        let mut collector = Collector::new(
            Surroundings { root: "/".into(), ..Surroundings::default() },
            Limits::default(),
            Memory::default(),
        );
        let report = collector.collect(1_800_000_000, &Gathered::default());
        let host = &report.components[0];
        let memory = host.readings.iter().find(|(quantity, _)| *quantity == Quantity::MemoryMib).unwrap().1.unwrap();
        assert!(memory > 64, "{memory} MiB");
        assert!(host.findings.iter().any(|finding| finding.check == Check::Load));
    }

    /// A machine with nothing but a virtual disk and a virtual link, as its kernel shows it.
    fn virtual_machine() -> tempfile::TempDir {
        crate::text::tree(&[
            ("proc/vmstat", "oom_kill 0\n"),
            ("proc/meminfo", "MemTotal: 2048 kB\nHardwareCorrupted:     0 kB\n"),
            ("proc/sys/kernel/tainted", "0\n"),
            ("proc/sys/kernel/random/boot_id", "7f3c2a10-1234-4abc-8def-001122334455\n"),
            ("proc/pressure/memory", "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"),
            ("proc/pressure/io", "full avg10=0.00 avg60=0.00 avg300=0.25 total=0\n"),
            ("proc/self/mountinfo", "29 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw\n"),
            ("proc/net/if_inet6", "fd000000000000000000000000000002 02 40 00 80 eth0\n"),
            ("etc/fstab", "/dev/vda1 / ext4 defaults 0 1\n"),
            ("sys/fs/ext4/vda1/errors_count", "0\n"),
            ("sys/block/vda/size", "41943040\n"),
            ("sys/block/vda/queue/rotational", "1\n"),
            ("sys/block/loop0/size", "100\n"),
            ("sys/class/net/eth0/device/vendor", "0x1af4\n"),
            ("sys/class/net/eth0/flags", "0x1003\n"),
            ("sys/class/net/eth0/carrier", "1\n"),
            ("sys/class/net/eth0/speed", "-1\n"),
            ("sys/class/net/eth0/mtu", "1500\n"),
            ("sys/class/net/lo/flags", "0x9\n"),
        ])
    }

    fn collector(root: &Path) -> Collector {
        let surroundings = Surroundings { root: root.into(), ..Surroundings::default() };
        Collector::new(surroundings, Limits::default(), Memory::default())
    }

    #[test]
    fn a_plain_virtual_machine_has_nothing_unknown_and_reports_in_120_bytes() {
        use crate::report::{Answer, Reporter};
        let tree = virtual_machine();
        let report = collector(tree.path()).collect(1_800_000_000, &Gathered::default());
        let kinds: Vec<ComponentKind> = report.components.iter().map(|component| component.kind).collect();
        assert_eq!(kinds, [ComponentKind::Host, ComponentKind::Disk, ComponentKind::FileSystem, ComponentKind::Link]);
        let findings = || report.components.iter().flat_map(|component| &component.findings);
        let unknown: Vec<_> = findings().filter(|finding| finding.verdict == Verdict::Unknown).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        assert!(findings().count() >= 15, "little is judged: {report:?}");
        let mut reporter = Reporter::new(2);
        reporter.update(&report).unwrap();
        let Answer::Full { snapshot, .. } = reporter.answer(adit_wire::health::Poll { inventory: 0, report: 0 }) else {
            panic!("an asker without anything gets everything")
        };
        assert!(snapshot.len() <= 120, "{} bytes", snapshot.len());
    }

    #[test]
    fn a_disk_that_is_pulled_stays_in_the_report() {
        let tree = virtual_machine();
        let mut collector = collector(tree.path());
        let gathered = Gathered::default();
        drop(collector.collect(1_800_000_000, &gathered));
        std::fs::remove_dir_all(tree.path().join("sys/block/vda")).unwrap();
        drop(collector.collect(1_800_000_030, &gathered));
        let disk = |report: &Report| {
            report.components.iter().find(|component| component.kind == ComponentKind::Disk).map(Component::verdict)
        };
        assert_eq!(disk(&collector.collect(1_800_000_060, &gathered)), Some(Verdict::Critical));
        assert!(collector.forget("vda"));
        assert_eq!(disk(&collector.collect(1_800_000_090, &gathered)), None);
    }

    #[test]
    fn a_unit_that_may_fail_is_passed_over() {
        let tree = virtual_machine();
        let units = crate::readings::units::UnitsReading { failed: 1, names: vec!["home-backup.mount".into()] };
        let gathered = Gathered { units: Some(Ok(units)), ..Gathered::default() };
        let judged = |ignored: &[&str]| {
            let ignored_units = ignored.iter().map(|unit| (*unit).to_owned()).collect();
            let surroundings = Surroundings { root: tree.path().into(), ignored_units, ..Surroundings::default() };
            let mut collector = Collector::new(surroundings, Limits::default(), Memory::default());
            drop(collector.collect(1_800_000_000, &gathered));
            let report = collector.collect(1_800_000_060, &gathered);
            let mut findings = report.components[0].findings.iter();
            findings.find(|finding| finding.check == Check::Units).map(|finding| finding.verdict)
        };
        assert_eq!(judged(&[]), Some(Verdict::Warning));
        assert_eq!(judged(&["home.mount"]), Some(Verdict::Warning));
        assert_eq!(judged(&["home-backup.mount"]), Some(Verdict::Ok));
    }

    #[test]
    fn a_box_reports_its_store_and_late_sources() {
        let store = StoreReading {
            path: "/srv/adit".into(),
            size_bytes: 1 << 40,
            free_bytes: 1 << 39,
            damaged: 2,
            first_damaged: Some("0123456789abcdef".repeat(4)),
            sources: vec![SourceArrival {
                name: "web1".into(),
                newest: Some(Arrival { received_s: 1_000, ..Arrival::default() }),
                period_s: 3_600,
                ..SourceArrival::default()
            }],
            ..StoreReading::default()
        };
        let (limits, mut memory) = (Limits::default(), Memory::default());
        let component = store_component(&store, &mut Judge::new(2_000, &limits, &mut memory));
        assert_eq!(component.verdict(), Verdict::Critical);
        assert_eq!(component.findings[1].detail, "2 records, first 0123456789abcdef…");
        let mut source = |now_s| source_component(&store.sources[0], &mut Judge::new(now_s, &limits, &mut memory));
        assert_eq!(source(2_000).verdict(), Verdict::Ok);
        assert_eq!(source(90_000).findings[0].reason, Reason::BackupLate);
    }

    /// After a start the device helper's first answer takes seconds, and looks come one after the other.
    #[test]
    fn what_the_helper_tells_of_is_not_missed_before_it_answered() {
        use adit_device::dm::{self, Target};
        use adit_device::pipe::{Answer, DeviceReport, Said};
        const NOW_S: u64 = 1_795_000_000;
        let root = tempfile::tempdir().unwrap();
        let collector = |memory: &Memory, expected: Expected| {
            let surroundings = Surroundings { root: root.path().to_owned(), ..Surroundings::default() };
            Collector::new(surroundings, Limits::default(), memory.clone()).expecting(expected)
        };
        let raid = Target { start: 0, length: 8, kind: "raid".into(), status: "raid1 2 AA 8/8 idle 0".into() };
        let said = Said::Volumes(vec![dm::read("vg-mirror", "LVM-x", false, &[raid])]);
        let report = DeviceReport {
            name: "mapper".to_owned(),
            power: adit_device::PowerState::Unknown,
            said: Some(said),
            age_s: 0,
            waiting_s: None,
            trouble: None,
        };
        let answer = Some(Answer { version: 1, devices: vec![report], ..Answer::default() });
        let told = Gathered { devices: devices::Devices { answer, silence: None }, ..Gathered::default() };
        let mut before = collector(&Memory::default(), Expected::default());
        let volumes = |report: &Report| {
            let volumes = report.components.iter().filter(|component| component.kind == ComponentKind::Volume);
            volumes.map(Component::verdict).collect::<Vec<_>>()
        };
        assert_eq!(volumes(&before.collect(NOW_S, &told)), [Verdict::Ok]);
        let mut after = collector(before.memory(), before.expected().clone());
        for seconds in [0, 1, 2, 32, 62] {
            let report = after.collect(NOW_S + 600 + seconds, &Gathered::default());
            assert_eq!(volumes(&report), [Verdict::Ok], "{seconds} s after the start");
        }
        assert_eq!(volumes(&after.collect(NOW_S + 600 + 300, &Gathered::default())), [Verdict::Critical]);
        assert_eq!(volumes(&after.collect(NOW_S + 600 + 301, &told)), [Verdict::Ok]);
    }
}

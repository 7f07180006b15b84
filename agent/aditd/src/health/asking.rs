// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Asks whoever must be asked, each on a thread and a clock of its own, so that one that hangs keeps nobody waiting. Only the
//! newest answer is kept; one that has grown old is told as silence.

use crate::config::health::UpsAt;
use crate::event::Event;
use crate::shared::Shared;

use super::probe;
use adit_ask::ceph::{Ceph, Settings};
use adit_ask::gluster::Gluster;
use adit_ask::plugin::Plugin;
use adit_ask::updates::Dnf;
use adit_ask::zpool::Zpool;
use adit_ask::{AskError, apcupsd, nut, systemd};
use adit_device::pipe::Answer;
use adit_health::readings::ceph::CephReading;
use adit_health::readings::gluster::GlusterReading;
use adit_health::readings::plugin::PluginReading;
use adit_health::readings::silence::{Silence, Why};
use adit_health::readings::units::UnitsReading;
use adit_health::readings::updates::UpdatesReading;
use adit_health::readings::ups::{UpsComm, UpsReading, UpsState};
use adit_health::readings::zpool::ZpoolReading;
use adit_health::{Asked, Devices, Gathered, show};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// A UPS is asked this often: 30 s on battery and one poll of a monitor stay below two minutes.
const UPS_EVERY: Duration = Duration::from_secs(15);
const UPS_WITHIN: Duration = Duration::from_secs(5);
/// Ceph knows of a dead OSD after about half a minute itself.
const CEPH_EVERY: Duration = Duration::from_secs(60);
/// Twice the command's own deadline: the status, and the details where it is not well.
const CEPH_WITHIN: Duration = Duration::from_secs(30);
/// Each question locks the whole Gluster pool for a moment.
const GLUSTER_EVERY: Duration = Duration::from_secs(600);
const GLUSTER_WITHIN: Duration = Duration::from_secs(60);
/// The helper has its own clocks for its devices; asking it costs a few milliseconds.
const DEVICES_EVERY: Duration = Duration::from_secs(30);
/// Package lists change a few times a day, and reading them takes a second of processor time.
const UPDATES_EVERY: Duration = Duration::from_secs(6 * 3_600);
const DNF_WITHIN: Duration = Duration::from_secs(120);
/// What the kernel says of a pool is read with each report; this is for the details.
const POOLS_EVERY: Duration = Duration::from_secs(600);
const POOLS_WITHIN: Duration = Duration::from_secs(20);
/// Where the kernel shows its ZFS pools.
const ZFS: &str = "/proc/spl/kstat/zfs";
const UNITS_EVERY: Duration = Duration::from_secs(60);
const UNITS_WITHIN: Duration = Duration::from_secs(5);
/// An answer that is older than so many of its periods, each with the time that an answer may take, is told as silence.
const PERIODS_OLD: u32 = 3;
/// Stack of an asking thread, bytes: parsers here are flat, and there may be dozens.
const STACK_BYTES: usize = 256 << 10;

/// All who ask. Their threads end when this is dropped and their question is over.
pub(super) struct Asking {
    upses: Vec<(String, Slot<Vec<UpsReading>>)>,
    ceph: Option<(String, Slot<CephReading>)>,
    gluster: Option<Slot<GlusterReading>>,
    units: Option<Slot<UnitsReading>>,
    updates: Slot<Option<UpdatesReading>>,
    pools: Option<Slot<Vec<ZpoolReading>>>,
    plugins: Vec<(String, Slot<PluginReading>)>,
    devices: Slot<Devices>,
}

impl Asking {
    /// Begins to ask all that the configuration names, and what this machine plainly has.
    pub(super) fn start(shared: &Arc<Shared>) -> Self {
        let config = &shared.config.health;
        let upses = config.upses.iter().map(|at| {
            let (daemon, ask) = ask_ups(at.clone());
            (daemon, Slot::telling(shared, "ups", (UPS_EVERY, UPS_WITHIN), ask, |upses| state_of(upses)))
        });
        let ceph = config.ceph.clone().map(|name| {
            let mut ceph = Ceph::new(&Settings { name: name.clone(), ..Settings::default() });
            (name, Slot::start(shared, "ceph", (CEPH_EVERY, CEPH_WITHIN), move || ceph.ask()))
        });
        let gluster = config.gluster.then(|| {
            let mut gluster = Gluster::new("gluster", GLUSTER_WITHIN);
            Slot::start(shared, "gluster", (GLUSTER_EVERY, GLUSTER_WITHIN), move || gluster.ask())
        });
        let bus = Path::new(systemd::BUS);
        let units = bus.exists().then(|| {
            Slot::start(shared, "units", (UNITS_EVERY, UNITS_WITHIN), move || systemd::ask(bus, UNITS_WITHIN))
        });
        let pools = Path::new(ZFS).exists().then(|| {
            let mut zpool = Zpool::new("zpool", POOLS_WITHIN);
            Slot::start(shared, "zpool", (POOLS_EVERY, POOLS_WITHIN), move || zpool.ask())
        });
        let plugins = config.plugins.iter().map(|plugin| {
            let user = plugin.user.as_deref().map(user_ids);
            let mut asked =
                user.transpose().map(|user| Plugin::new(&plugin.name, &plugin.command, plugin.timeout, user));
            let ask = move || match &mut asked {
                Ok(plugin) => plugin.ask(),
                Err(unknown) => Err(AskError::Refused { whom: "the list of users".to_owned(), words: unknown.clone() }),
            };
            (plugin.name.clone(), Slot::start(shared, "plugin", (plugin.every, plugin.timeout), ask))
        });
        Self {
            plugins: plugins.collect(),
            updates: Slot::start(shared, "updates", (UPDATES_EVERY, DNF_WITHIN), updates()),
            devices: Slot::telling(
                shared,
                "devices",
                (DEVICES_EVERY, probe::PROBE_WAIT),
                devices(config.probe.clone()),
                |devices| devices.silence.is_some(),
            ),
            pools,
            upses: upses.collect(),
            ceph,
            gluster,
            units,
        }
    }

    /// The newest of everything; the store and endpoints are not asked here.
    pub(super) fn newest(&self) -> Gathered {
        let newest_of_each = |(name, slot): &(String, Slot<Vec<UpsReading>>)| (name.clone(), slot.newest());
        Gathered {
            upses: self.upses.iter().map(newest_of_each).collect(),
            ceph: self.ceph.as_ref().map(|(name, slot)| (name.clone(), slot.newest())),
            gluster: self.gluster.as_ref().and_then(Slot::newest),
            units: self.units.as_ref().and_then(Slot::newest),
            updates: self.updates.newest().and_then(Result::transpose),
            pools: self.pools.as_ref().and_then(Slot::newest),
            plugins: self.plugins.iter().map(|(name, slot)| (name.clone(), slot.newest())).collect(),
            // The thread that asks has a deadline for each question, so it is never silent itself.
            devices: self.devices.newest().and_then(Result::ok).unwrap_or_default(),
            certificates: Vec::new(),
            store: None,
        }
    }
}

/// Updates by whichever package manager is here.
fn updates() -> impl FnMut() -> Result<Option<UpdatesReading>, AskError> + Send {
    let mut dnf = Path::new("/usr/bin/dnf").exists().then(|| Dnf::new("/usr/bin/dnf", DNF_WITHIN));
    move || match &mut dnf {
        Some(dnf) => dnf.ask().map(Some),
        None => adit_ask::updates::debian(Path::new("/"), SystemTime::now()),
    }
}

/// What adit-probe says. While it is silent its newest answer stands: a helper that is started anew must not take a
/// controller and all its disks out of the report. One that never answered and is not there is not installed.
fn devices(path: PathBuf) -> impl FnMut() -> Result<Devices, AskError> + Send {
    let mut newest: Option<(Answer, Instant)> = None;
    move || {
        let silence = match probe::ask(&path, probe::PROBE_WAIT) {
            Ok(answer) => {
                newest = Some((answer, Instant::now()));
                None
            }
            Err(error) if error.is_absent() && newest.is_none() => None,
            Err(error) => {
                let words = format!("see systemctl status adit-probe ({})", crate::report::chain(&error));
                Some(Silence { why: Why::NotAnswering, words })
            }
        };
        let answer = newest.as_ref().map(|(answer, at)| answer.clone().aged(at.elapsed().as_secs()));
        Ok(Devices { answer, silence })
    }
}

/// The ids of a user that a plugin runs as.
fn user_ids(name: &str) -> Result<(u32, u32), String> {
    match nix::unistd::User::from_name(name) {
        Ok(Some(user)) => Ok((user.uid.as_raw(), user.gid.as_raw())),
        Ok(None) => Err(format!("there is no user {name}")),
        Err(error) => Err(format!("the user {name} cannot be looked up: {error}")),
    }
}

/// What of UPSes is news.
fn state_of(upses: &[UpsReading]) -> Vec<(UpsComm, Vec<UpsState>)> {
    upses.iter().map(|ups| (ups.comm, ups.status.clone())).collect()
}

type AskUpses = Box<dyn FnMut() -> Result<Vec<UpsReading>, AskError> + Send>;

/// Who answers for a UPS, as a person writes it, and how it is asked.
fn ask_ups(at: UpsAt) -> (String, AskUpses) {
    match at {
        UpsAt::Apcupsd { server } => {
            (server.to_string(), Box::new(move || apcupsd::ask(server, UPS_WITHIN).map(|ups| vec![ups])))
        }
        UpsAt::Nut { name, server } => {
            let daemon = format!("{name}@{server}");
            let ask = move || nut::ask_one(server, &name, UPS_WITHIN).map(|ups| vec![ups]);
            (daemon, Box::new(ask))
        }
    }
}

/// The newest answer, and when it came; before the first one, when the asking began.
struct Newest<T> {
    answer: Asked<T>,
    at: Instant,
}

/// One that is asked again and again.
struct Slot<T> {
    newest: Arc<Mutex<Newest<T>>>,
    /// An answer of this age is told as silence.
    old_after: Duration,
    /// Dropped, it ends the thread.
    _stop: mpsc::Sender<()>,
}

impl<T: Clone + Send + 'static> Slot<T> {
    fn start(
        shared: &Arc<Shared>,
        name: &str,
        times: (Duration, Duration),
        ask: impl FnMut() -> Result<T, AskError> + Send + 'static,
    ) -> Self {
        Self::telling(shared, name, times, ask, |_| ())
    }

    /// Asks every so often; an answer comes within the other time. A report is due at once when the first answer comes, when
    /// silence begins or ends, and when what `state` takes from two answers differs.
    fn telling<S: PartialEq + Send + 'static>(
        shared: &Arc<Shared>,
        name: &str,
        (every, within): (Duration, Duration),
        mut ask: impl FnMut() -> Result<T, AskError> + Send + 'static,
        state: impl Fn(&T) -> S + Send + 'static,
    ) -> Self {
        let newest = Arc::new(Mutex::new(Newest { answer: None, at: Instant::now() }));
        let (stop, stopped) = mpsc::channel();
        let (put, shared) = (Arc::clone(&newest), Arc::downgrade(shared));
        let thread = std::thread::Builder::new().name(format!("ask-{name}")).stack_size(STACK_BYTES);
        let spawned = thread.spawn(move || {
            let mut told = String::new();
            let mut before: Option<Option<S>> = None;
            loop {
                let asked = ask();
                // The agent is gone.
                let Some(shared) = shared.upgrade() else { return };
                let answer = asked.map_err(|error| {
                    let why = crate::report::chain(&error);
                    // One that stays silent is told once, not every minute.
                    if why != told {
                        shared.events.record(&Event::Trouble { what: why.clone() });
                        told = why;
                    }
                    error.silence()
                });
                if answer.is_ok() {
                    told.clear();
                }
                let now = Some(answer.as_ref().ok().map(&state));
                let answer = Newest { answer: Some(answer), at: Instant::now() };
                *put.lock().unwrap_or_else(PoisonError::into_inner) = answer;
                if now != before {
                    before = now;
                    shared.health_due.notify_one();
                }
                drop(shared);
                if stopped.recv_timeout(every) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        if let Err(error) = spawned {
            let silence = Silence { why: Why::NotAnswering, words: format!("no thread to ask it: {error}") };
            newest.lock().unwrap_or_else(PoisonError::into_inner).answer = Some(Err(silence));
        }
        Self { newest, old_after: (every + within) * PERIODS_OLD, _stop: stop }
    }

    fn newest(&self) -> Asked<T> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let age = newest.at.elapsed();
        if age <= self.old_after {
            return newest.answer.clone();
        }
        let words = format!("no answer for {}", show::duration(age.as_secs()));
        Some(Err(Silence { why: Why::NotAnswering, words }))
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is known of each device, and when each is looked at again. A round looks at what is due, waits until its deadline,
//! and answers with what there is: a device that does not come back keeps its one thread and is told with its age.
//!
//! Disks follow the standby policy; its memory, a BMC's records and the last readings live as long as the program.

use crate::discover::{Device, Found, Kind};
use crate::look::{Looked, Looker, Memory};
use adit_device::pipe::{Answer, Clock, DeviceReport, Said, Trouble, VERSION};
use adit_device::standby::{KernelSight, Plan, Standby, StandbyPolicy};
use adit_device::{Permit, PowerState};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// How many looks begin at once: enough to hide one slow disk, and few enough for the memory that their stacks take.
pub const LOOKS_AT_ONCE: usize = 4;
/// A look that lasts longer makes room for another one beside it.
pub const LOOK_SLOW: Duration = Duration::from_millis(500);
/// Stack of a look, bytes. Buffers are on the heap; the deepest path is an ATA disk behind a controller.
const STACK_BYTES: usize = 128 << 10;

/// How often what is no disk with a standby of its own is asked, seconds.
const NVME_EVERY_S: u64 = 10;
const MAPPER_EVERY_S: u64 = 10;
/// A BMC answers some hundred requests in a look, each a few milliseconds.
const BMC_EVERY_S: u64 = 30;
/// A controller asks its disks in turn.
const ARRAY_EVERY_S: u64 = 300;

/// All devices, with what is remembered of each.
#[derive(Debug)]
pub struct Rounds<L> {
    looker: Arc<L>,
    policy: StandbyPolicy,
    entries: BTreeMap<String, Entry>,
    done: Receiver<Done>,
    tell: Sender<Done>,
    /// Number of the last look: the answer of one for a device that went and came back is told apart by it.
    last: u64,
}

#[derive(Debug)]
struct Entry {
    device: Device,
    standby: Standby,
    /// With the look while one is under way.
    memory: Option<Memory>,
    said: Option<(Said, u64)>,
    looked_at_s: Option<u64>,
    trouble: Option<Trouble>,
    under_way: Option<UnderWay>,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    number: u64,
    since_s: u64,
    began: Instant,
    permit: Permit,
}

#[derive(Debug)]
struct Done {
    name: String,
    number: u64,
    looked: Looked,
    memory: Memory,
}

impl<L: Looker> Rounds<L> {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(looker: L, policy: StandbyPolicy) -> Self {
        let (tell, done) = channel();
        Self { looker: Arc::new(looker), policy, entries: BTreeMap::new(), done, tell, last: 0 }
    }

    /// Looks at what is due and answers after `wait` at the latest. `now_s` is a clock that only goes forward; `lacks` the
    /// capabilities that are missing.
    pub fn round(&mut self, found: &Found, lacks: Vec<String>, now_s: u64, wait: Duration) -> Answer {
        let deadline = Instant::now() + wait;
        self.meet(found);
        while let Ok(done) = self.done.try_recv() {
            self.take(done);
        }
        let mut due: VecDeque<(String, Permit)> = self
            .entries
            .iter_mut()
            .filter_map(|(name, entry)| Some((name.clone(), entry.due(&self.policy, now_s)?)))
            .collect();
        let first = self.last + 1;
        loop {
            while self.quick_looks() < LOOKS_AT_ONCE
                && let Some((name, permit)) = due.pop_front()
            {
                self.begin(&name, permit, now_s);
            }
            // What hangs since an earlier round is not waited for again.
            let waits = |entry: &Entry| entry.under_way.is_some_and(|look| look.number >= first);
            if due.is_empty() && !self.entries.values().any(waits) {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // Wakes up in between only when a slow look would make room for a waiting one.
            let pause = if due.is_empty() { left } else { left.min(LOOK_SLOW) };
            if let Ok(done) = self.done.recv_timeout(pause) {
                self.take(done);
            }
        }
        let devices = self.entries.values().map(|entry| entry.report(now_s)).collect();
        Answer { version: VERSION, lacks, left_out: found.left_out, clock: clock(), devices }
    }

    /// Takes over what was found: new devices enter, those that are gone leave with all that was known of them.
    fn meet(&mut self, found: &Found) {
        self.entries.retain(|name, _| found.devices.iter().any(|device| device.name == *name));
        for device in &found.devices {
            let entry = self.entries.entry(device.name.clone()).or_insert_with(|| Entry::new(device.clone()));
            entry.device = device.clone();
        }
    }

    fn quick_looks(&self) -> usize {
        let under_way = self.entries.values().filter_map(|entry| entry.under_way);
        under_way.filter(|look| look.began.elapsed() < LOOK_SLOW).count()
    }

    fn begin(&mut self, name: &str, permit: Permit, now_s: u64) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        self.last += 1;
        let number = self.last;
        let (looker, tell, device) = (Arc::clone(&self.looker), self.tell.clone(), entry.device.clone());
        let mut memory = entry.memory.take().unwrap_or_default();
        let look = move || {
            let looked = looker.look(&device, permit, &mut memory);
            // Nobody listens any more when the program ends.
            drop(tell.send(Done { name: device.name, number, looked, memory }));
        };
        let thread = std::thread::Builder::new().name(format!("look {name}")).stack_size(STACK_BYTES).spawn(look);
        match thread {
            Ok(_) => entry.under_way = Some(UnderWay { number, since_s: now_s, began: Instant::now(), permit }),
            Err(error) => entry.trouble = Some(Trouble::Io(error.raw_os_error().unwrap_or(0))),
        }
        entry.looked_at_s = Some(now_s);
    }

    fn take(&mut self, done: Done) {
        let Some(entry) = self.entries.get_mut(&done.name) else { return };
        let Some(look) = entry.under_way.filter(|look| look.number == done.number) else { return };
        entry.under_way = None;
        entry.memory = Some(done.memory);
        entry.trouble = None;
        match done.looked {
            Looked::Said(said) => {
                if let Kind::Scsi { .. } = entry.device.kind {
                    entry.standby.read(look.permit, look.since_s);
                }
                entry.said = Some((said, look.since_s));
            }
            Looked::LeftAlone(state) => entry.standby.left_alone(state),
            Looked::Trouble(trouble) => entry.trouble = Some(trouble),
        }
    }
}

impl Entry {
    fn new(device: Device) -> Self {
        Self {
            device,
            standby: Standby::default(),
            memory: None,
            said: None,
            looked_at_s: None,
            trouble: None,
            under_way: None,
        }
    }

    /// The permit for a look, when one is due.
    fn due(&mut self, policy: &StandbyPolicy, now_s: u64) -> Option<Permit> {
        if self.under_way.is_some() {
            return None;
        }
        let since_look_s = self.looked_at_s.map(|at| now_s.saturating_sub(at));
        let every_s = match &self.device.kind {
            Kind::Scsi { sight, .. } => {
                let plan = self.standby.plan(policy, *sight, now_s);
                // A disk that cannot be read is not asked each second all the same.
                let retry = since_look_s.is_none_or(|since| since >= RETRY_S);
                return match plan {
                    Plan::Look(permit) if retry => Some(permit),
                    Plan::Look(_) | Plan::Fresh | Plan::LetSleep | Plan::LetRest => None,
                };
            }
            Kind::Nvme { .. } => NVME_EVERY_S,
            Kind::Mapper { .. } => MAPPER_EVERY_S,
            Kind::Bmc { .. } => BMC_EVERY_S,
            Kind::SmartArray { .. } => ARRAY_EVERY_S,
        };
        since_look_s.is_none_or(|since| since >= every_s).then_some(Permit::Wake)
    }

    fn power(&self) -> PowerState {
        match self.device.kind {
            Kind::Scsi { sight: KernelSight { rotational: true, .. }, .. } => self.standby.state(),
            Kind::Scsi { .. }
            | Kind::Nvme { .. }
            | Kind::Bmc { .. }
            | Kind::SmartArray { .. }
            | Kind::Mapper { .. } => PowerState::Unknown,
        }
    }

    fn report(&self, now_s: u64) -> DeviceReport {
        let age = |at_s: u64| now_s.saturating_sub(at_s);
        let mut said = self.said.as_ref().map(|(said, _)| said.clone());
        let age_s = self.said.as_ref().map_or(0, |(_, at_s)| age(*at_s));
        if let Some(Said::Disk(reading)) = &mut said {
            reading.age_s = age_s;
            if self.power() != PowerState::Unknown {
                reading.power = self.power();
            }
        }
        DeviceReport {
            name: self.device.name.clone(),
            power: self.power(),
            said,
            age_s,
            waiting_s: self.under_way.map(|look| age(look.since_s)),
            trouble: self.trouble.clone(),
        }
    }
}

/// A disk that is due and gave nothing is asked again after this long, seconds.
const RETRY_S: u64 = 60;

fn clock() -> Option<Clock> {
    let status = adit_sys::clock_status()?;
    Some(Clock { is_synchronised: status.is_synchronised, offset_us: status.offset_us })
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_device::{Attachment, DiskReading};
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Condvar, Mutex};

    /// Disks whose names begin with `stuck` do not come back until released; `bad` ones refuse; `idle` ones are left alone.
    #[derive(Default)]
    struct Shelf {
        released: Mutex<bool>,
        changed: Condvar,
        looks: AtomicUsize,
        most: AtomicUsize,
        now: AtomicUsize,
    }

    impl Looker for Arc<Shelf> {
        fn look(&self, device: &Device, _: Permit, _: &mut Memory) -> Looked {
            self.looks.fetch_add(1, Ordering::SeqCst);
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            if device.name.starts_with("stuck") {
                let released = self.released.lock().unwrap();
                drop(self.changed.wait_while(released, |released| !*released).unwrap());
            }
            self.now.fetch_sub(1, Ordering::SeqCst);
            match device.name.as_str() {
                name if name.starts_with("bad") => {
                    Looked::Trouble(Trouble::NeedsCapability("CAP_SYS_RAWIO".to_owned()))
                }
                name if name.starts_with("idle") => Looked::LeftAlone(PowerState::Idle),
                _ => Looked::Said(Said::Disk(Box::default())),
            }
        }
    }

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(30);

    fn disk(name: &str, rotational: bool, suspended: bool) -> Device {
        let sight = KernelSight { rotational, suspended, completed: Some(1) };
        let kind = Kind::Scsi { node: PathBuf::from("/nonexistent"), at: Attachment::Direct, sight };
        Device { name: name.to_owned(), kind }
    }

    fn found(devices: &[Device]) -> Found {
        Found { devices: devices.to_vec(), left_out: 0 }
    }

    fn rounds() -> (Arc<Shelf>, Rounds<Arc<Shelf>>) {
        let shelf = Arc::new(Shelf::default());
        (Arc::clone(&shelf), Rounds::new(shelf, StandbyPolicy::default()))
    }

    /// On a busy machine a thread may come late: rounds go on until the first device was heard.
    fn heard(rounds: &mut Rounds<Arc<Shelf>>, devices: &Found, now_s: u64) -> Answer {
        loop {
            let answer = rounds.round(devices, vec![], now_s, SHORT);
            if answer.devices[0].waiting_s.is_none() {
                return answer;
            }
        }
    }

    #[test]
    fn a_stuck_disk_delays_nobody_and_takes_one_thread() {
        let (shelf, mut rounds) = rounds();
        let devices = found(&[disk("sda", false, false), disk("stuck", false, false)]);
        let first = heard(&mut rounds, &devices, 100);
        let [sda, stuck] = &first.devices[..] else { panic!("two devices") };
        assert!(sda.said.is_some() && sda.waiting_s.is_none());
        assert!(stuck.said.is_none() && stuck.waiting_s == Some(0));
        // Nothing is due: the answer comes at once, though the stuck look is still under way.
        let began = Instant::now();
        let second = rounds.round(&devices, vec![], 1_600, LONG);
        assert!(began.elapsed() < LONG / 2, "it waited for what hangs");
        assert_eq!((second.devices[1].waiting_s, second.devices[0].age_s), (Some(1_500), 1_500));
        // The other disk is due again, the stuck one keeps its thread.
        assert_eq!((heard(&mut rounds, &devices, 1_901).devices[0].age_s, shelf.looks.load(Ordering::SeqCst)), (0, 3));
        *shelf.released.lock().unwrap() = true;
        shelf.changed.notify_all();
        // A late answer is as old as its question, and then the disk is due.
        while shelf.looks.load(Ordering::SeqCst) < 4 {
            rounds.round(&devices, vec![], 1_902, LONG);
        }
        let last = rounds.round(&devices, vec![], 1_912, LONG);
        assert_eq!((last.devices[1].waiting_s, last.devices[1].age_s), (None, 10));
        let Some(Said::Disk(reading)) = &last.devices[1].said else { panic!("a disk") };
        assert_eq!(reading.age_s, 10);
    }

    #[test]
    fn a_sleeping_disk_is_not_looked_at_and_told_as_asleep() {
        let (shelf, mut rounds) = rounds();
        let devices = found(&[disk("idle", true, false), disk("sdb", true, true)]);
        let answer = rounds.round(&devices, vec![], 0, LONG);
        assert_eq!((answer.devices[0].power, answer.devices[1].power), (PowerState::Idle, PowerState::Asleep));
        assert_eq!(shelf.looks.load(Ordering::SeqCst), 1);
        // Read while it was awake, then asleep: the reading stays, with its age and its state.
        let awake = found(&[disk("sdb", true, false)]);
        rounds.round(&awake, vec![], 100, LONG);
        let asleep = rounds.round(&found(&[disk("sdb", true, true)]), vec![], 90_000, LONG);
        let Some(Said::Disk(reading)) = &asleep.devices[0].said else { panic!("a disk") };
        assert_eq!((reading.power, reading.age_s), (PowerState::Asleep, 89_900));
        assert_eq!(shelf.looks.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn trouble_is_told_and_tried_again_but_not_at_once() {
        let (shelf, mut rounds) = rounds();
        let devices = found(&[disk("bad", true, false)]);
        let lacks = vec!["CAP_SYS_RAWIO".to_owned()];
        let answer = rounds.round(&devices, lacks.clone(), 0, LONG);
        assert_eq!(answer.devices[0].trouble, Some(Trouble::NeedsCapability("CAP_SYS_RAWIO".to_owned())));
        assert_eq!(answer.lacks, lacks);
        rounds.round(&devices, vec![], RETRY_S - 1, LONG);
        assert_eq!(shelf.looks.load(Ordering::SeqCst), 1);
        rounds.round(&devices, vec![], RETRY_S, LONG);
        assert_eq!(shelf.looks.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn few_looks_run_at_once_and_slow_ones_make_room() {
        let (shelf, mut rounds) = rounds();
        let many: Vec<Device> = (0..20).map(|number| disk(&format!("sd{number:02}"), false, false)).collect();
        let answer = rounds.round(&found(&many), vec![], 0, LONG);
        assert!(answer.devices.iter().all(|device| device.said.is_some()));
        assert!(shelf.most.load(Ordering::SeqCst) <= LOOKS_AT_ONCE);
        let names = (0..=LOOKS_AT_ONCE).map(|number| format!("stuck{number}")).chain(["zzz".to_owned()]);
        let devices: Vec<Device> = names.map(|name| disk(&name, false, false)).collect();
        // Behind more stuck disks than may be asked at once.
        while rounds.round(&found(&devices), vec![], 1, LOOK_SLOW).devices.last().unwrap().said.is_none() {}
        *shelf.released.lock().unwrap() = true;
        shelf.changed.notify_all();
    }

    #[test]
    fn a_device_that_is_gone_is_forgotten_and_its_late_answer_too() {
        let (shelf, mut rounds) = rounds();
        let devices = found(&[disk("stuck", false, false)]);
        rounds.round(&devices, vec![], 0, SHORT);
        assert_eq!(rounds.round(&found(&[]), vec![], 1, SHORT).devices, []);
        *shelf.released.lock().unwrap() = true;
        shelf.changed.notify_all();
        let again = rounds.round(&devices, vec![], 5_000, LONG);
        assert_eq!((again.devices[0].age_s, again.devices[0].said.is_some()), (0, true));
    }

    #[test]
    fn what_does_not_sleep_is_asked_on_its_own_clock() {
        let (shelf, mut rounds) = rounds();
        let nvme = Device { name: "nvme0".to_owned(), kind: Kind::Nvme { node: PathBuf::new() } };
        let bmc = Device { name: "ipmi0".to_owned(), kind: Kind::Bmc { node: PathBuf::new() } };
        let devices = found(&[nvme, bmc]);
        for (now_s, looks) in [(0, 2), (9, 2), (10, 3), (19, 3), (20, 4), (30, 6)] {
            rounds.round(&devices, vec![], now_s, LONG);
            assert_eq!(shelf.looks.load(Ordering::SeqCst), looks, "at {now_s} s");
        }
        assert_eq!(DiskReading::default().age_s, 0);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the threads of the first process share: the slots, the data, the agent, and the queue of what happened.

use crate::data::Data;
use crate::disks::Refused;
use crate::image::Image;
use crate::lock::Lock;
use crate::slots::Slots;
use crate::update::Incoming;
use crate::watchdog::Progress;
use adit_slots::decide::Start;
use adit_slots::record::{Record, Reset};
use adit_slots::version::Version;
use adit_wire::ids::PublicKey;
use adit_wire::refusal::Code;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where updates on their way are kept.
pub(crate) const UPDATES: &str = "/var/lib/adit-init/updates";

/// Where the agent keeps a file for each peer.
const PEERS: &str = "/var/lib/adit/peers";

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A link or an address changed.
    Network,
    /// The agent ended; it is started again by itself.
    AgentEnded,
    /// The agent said something.
    AgentSpoke,
    /// The data came up, or could not; whether they lie on the boot disk.
    Data(Data, bool),
    /// A disk was taken for data: look again.
    DataChanged,
    /// Disks came or went.
    Disks,
    /// What each disk is, in words for the screen.
    DisksSeen(String),
    /// Shares of revoked peers were taken back, or could not be.
    Swept(bool),
    /// What a person who typed a line gets to read.
    Answer(String),
    /// The machine is to restart.
    Restart,
    /// The power button was pressed.
    Button,
    /// A line was typed on a console: whoever did stands at the box.
    Line(String),
}

/// The shared state.
#[derive(Debug)]
pub(crate) struct Appliance {
    pub(crate) image: Image,
    pub(crate) start: Start,
    pub(crate) watchdog: String,
    pub(crate) progress: Progress,
    pub(crate) lock: Lock,
    slots: Mutex<Slots>,
    /// What was remembered when the slots were last free: they may be busy with an update for a minute.
    record: Mutex<Record>,
    data: Mutex<(Data, bool)>,
    trouble: Mutex<String>,
    update: Mutex<()>,
    events: Sender<Event>,
}

/// A look at all of it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) version: Version,
    pub(crate) record: Record,
    pub(crate) start: &'static str,
    pub(crate) tries_left: u8,
    pub(crate) data: String,
    pub(crate) watchdog: String,
}

impl Appliance {
    pub(crate) fn new(
        image: Image,
        start: Start,
        watchdog: String,
        progress: Progress,
        lock: Lock,
        slots: Slots,
        events: Sender<Event>,
    ) -> Self {
        Self {
            lock,
            image,
            start,
            watchdog,
            progress,
            record: Mutex::new(*slots.record()),
            slots: Mutex::new(slots),
            data: Mutex::new((Data::None("not looked for yet".to_owned()), false)),
            trouble: Mutex::default(),
            update: Mutex::default(),
            events,
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered of the slots. Never waits: the main loop must turn while an update is written.
    pub(crate) fn record(&self) -> Record {
        let mut known = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(slots) = self.slots.try_lock() {
            *known = *slots.record();
        }
        *known
    }

    /// Whether the slots are free for a change that can wait.
    pub(crate) fn is_free(&self) -> bool {
        self.slots.try_lock().is_ok()
    }

    /// Changes what is remembered. What cannot be written is told and tried again at the next change.
    pub(crate) fn remember(&self, change: impl FnOnce(&Record) -> Record) {
        let outcome = self.slots().remember(change);
        if let Err(error) = outcome {
            self.trouble(format!("{error:#}"));
        }
    }

    /// Tells the main loop.
    pub(crate) fn tell(&self, event: Event) {
        // The main loop ends with the machine.
        let _over = self.events.send(event);
    }

    /// Does something that may hang on a disk or a program, and tells the main loop what came of it: the loop itself must turn.
    pub(crate) fn aside(&self, name: &str, work: impl FnOnce() -> Event + Send + 'static) {
        let events = self.events();
        let told = move || drop(events.send(work()));
        if let Err(error) = std::thread::Builder::new().name(name.to_owned()).spawn(told) {
            self.trouble(format!("start a thread for {name}: {error}"));
        }
    }

    /// A queue to the main loop.
    pub(crate) fn events(&self) -> Sender<Event> {
        self.events.clone()
    }

    /// How the data are, and whether they lie on the boot disk.
    pub(crate) fn data(&self) -> (Data, bool) {
        self.data.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The data are so now.
    pub(crate) fn set_data(&self, data: Data, on_boot_disk: bool) {
        if let Data::Damaged(why) = &data {
            self.trouble(format!("the data cannot be used: {why}"));
        }
        *self.data.lock().unwrap_or_else(PoisonError::into_inner) = (data, on_boot_disk);
    }

    /// Whether the data lie on the boot disk.
    pub(crate) fn data_on_boot_disk(&self) -> bool {
        let (data, on_boot_disk) = self.data();
        on_boot_disk && data.is_mounted()
    }

    /// Whether the boot disk holds what somebody counts on: then the data do not move to another.
    pub(crate) fn boot_holds_data(&self) -> bool {
        self.data_on_boot_disk() && (has_records() || has_peer("source"))
    }

    /// Notes the last trouble, for the log and the screen.
    pub(crate) fn trouble(&self, words: String) {
        log::error!("{words}");
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    /// The last trouble; empty for none.
    pub(crate) fn last_trouble(&self) -> String {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A look at all of it.
    pub(crate) fn seen(&self) -> Seen {
        let (data, _) = self.data();
        let trouble = self.last_trouble();
        let words = if trouble.is_empty() { data.words() } else { format!("{}; {trouble}", data.words()) };
        Seen {
            version: self.image.version,
            record: *self.slots().record(),
            start: crate::words::start(self.start),
            tries_left: if let Start::Trying { left } = self.start { left } else { 0 },
            data: words,
            watchdog: self.watchdog.clone(),
        }
    }

    /// How long the machine was off before this start, as far as it knows, seconds.
    pub(crate) fn off_s(&self) -> u64 {
        self.slots().off_s()
    }

    /// The one place for an update.
    pub(crate) fn update_lock(&self) -> Option<MutexGuard<'_, ()>> {
        self.update.try_lock().ok()
    }

    /// Whether an update can be taken now.
    pub(crate) fn may_stage(&self) -> Result<(), Refused> {
        self.slots().may_stage()
    }

    /// Refuses an update by its header, before the rest of it comes.
    pub(crate) fn check_head(&self, incoming: &mut Incoming) -> Result<(), Refused> {
        let (record, keys) = {
            let slots = self.slots();
            (*slots.record(), slots.keys(&self.image))
        };
        incoming.check_head(&self.image, &record, keys)
    }

    /// Checks a collected update and writes it to the other slot.
    pub(crate) fn stage(&self, incoming: Incoming) -> Result<Version, Refused> {
        let (record, keys) = {
            let slots = self.slots();
            (*slots.record(), slots.keys(&self.image))
        };
        let sound = incoming.check(&self.image, &record, keys)?;
        let version = sound.manifest.version;
        self.progress.writes(true);
        let staged = self.slots().stage(sound, &|| self.progress.writes(true));
        self.progress.writes(false);
        staged?;
        log::info!("version {version} is staged");
        Ok(version)
    }

    /// Gives the staged version its tries.
    pub(crate) fn activate(&self, version: Version) -> Result<(), Refused> {
        self.slots().activate(version)
    }

    /// Goes back to the other version.
    pub(crate) fn roll_back(&self) -> Result<(), Refused> {
        self.slots().roll_back()
    }

    /// A person restarts the machine.
    pub(crate) fn asked_to_restart(&self) -> Result<(), Refused> {
        let written =
            self.slots().remember(|record| adit_slots::decide::stop(record, Reset::Asked, crate::clock::kept_s()));
        written.map_err(|error| Refused::new(Code::BootUnusable, format!("{error:#}")))
    }

    /// This start is good.
    pub(crate) fn confirm(&self, data_mounted: bool) -> anyhow::Result<()> {
        self.slots().confirm(data_mounted)
    }

    /// A person at the box wants everything gone: the next start does it.
    pub(crate) fn begin_factory_reset(&self) {
        use adit_slots::record::FactoryReset;
        self.remember(|record| adit_slots::decide::factory_reset(record, FactoryReset::Asked).unwrap_or(*record));
    }

    /// The settings that a person put on the boot partition.
    pub(crate) fn preseed_of_stick(&self) -> Option<String> {
        self.slots().preseed()
    }

    /// They are kept elsewhere now.
    pub(crate) fn forget_preseed(&self) {
        let removed = self.slots().remove_preseed();
        if let Err(error) = removed {
            self.trouble(format!("remove adit.toml, which may hold a token: {error:#}"));
        }
    }

    /// Reads one sector of the boot disk: a sign that storage answers.
    pub(crate) fn storage_answers(&self) -> bool {
        // Whoever holds it works on the disk.
        self.slots.try_lock().is_ok_and(|slots| slots.answers())
    }
}

/// Whether anything was ever stored: an empty store has no segments.
fn has_records() -> bool {
    let segments = std::path::Path::new(crate::data::STORE).join("seg");
    std::fs::read_dir(segments).is_ok_and(|mut entries| entries.next().is_some())
}

/// The keys of all peers, as the agent's files say; none when one of them cannot be read or understood.
pub(crate) fn peer_keys() -> Option<Vec<PublicKey>> {
    let key = |file: std::io::Result<std::fs::DirEntry>| {
        let path = file.ok()?.path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            return Some(None);
        }
        let table: toml::Table = toml::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
        key_of(table.get("key")?.as_str()?).map(Some)
    };
    let keys: Vec<Option<PublicKey>> = std::fs::read_dir(PEERS).ok()?.map(key).collect::<Option<_>>()?;
    Some(keys.into_iter().flatten().collect())
}

/// A key from its 64 hex digits.
fn key_of(text: &str) -> Option<PublicKey> {
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes: Vec<u8> = pairs.iter().map(byte).collect::<Option<_>>()?;
    rest.is_empty().then(|| PublicKey::from_slice(&bytes))?
}

/// Whether a peer of this role is paired, as the agent's files say.
pub(crate) fn has_peer(role: &str) -> bool {
    let line = format!("role = \"{role}\"");
    let files = std::fs::read_dir(PEERS).into_iter().flatten().flatten();
    files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).any(|text| text.contains(&line))
}

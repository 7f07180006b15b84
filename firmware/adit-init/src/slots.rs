// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The slots of this machine: what the state partition remembers and what lies on the boot partition, kept in step. The
//! record is written first, always; the files follow it, and a start makes them follow again.

use crate::block::Disk;
use crate::disks::Refused;
use crate::image::Image;
use crate::update::{Sound, sha256};
use crate::watchdog::Progress;
use crate::{block, clock};
use adit_slots::decide::{self, Decision, Fix, Found, Start, StepError};
use adit_slots::esp::{Esp, EspError, FILES_MAX, Healed, OpenFile};
use adit_slots::keys::{KeySet, SignedKeySet};
use adit_slots::layout::{
    DATA_TYPE, ESP_CLUSTER_MAP_BYTES, MIRROR_TYPE, PRESEED_FILE, STATE_BYTES, STATE_SHARE_OFFSET, VAR_TYPE,
};
use adit_slots::manifest::Digest;
use adit_slots::name::{Mark, SlotFile};
use adit_slots::record::{FactoryReset, KEY_COPIES, Record, Reset, SlotState};
use adit_slots::version::Version;
use adit_slots::watchdog::Phase;
use adit_wire::refusal::Code;
use anyhow::{Context as _, Result, anyhow, ensure};
use embedded_io_adapters::std::FromStd;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Fixes of slot files that one change may need before something is wrong with the boot partition itself.
const FIX_ROUNDS_MAX: usize = 8;
/// How often the watchdog hears that an update is being written, bytes.
const ALIVE_EVERY: u64 = 1 << 20;
/// How much is erased at a time.
const ERASE_BYTES: usize = 4 << 20;
/// How long a person can read why a factory reset could not go on.
const RESET_AGAIN: Duration = Duration::from_secs(10);

/// The slots.
#[derive(Debug)]
pub(crate) struct Slots {
    paths: Option<Paths>,
    record: Record,
    trouble: Vec<String>,
    off_s: u64,
}

#[derive(Debug)]
struct Paths {
    esp: PathBuf,
    state: PathBuf,
}

impl Slots {
    /// Reads what is remembered; whether nothing was, which is so at the very first start alone.
    pub(crate) fn open(partitions: Option<(PathBuf, PathBuf)>) -> (Self, bool) {
        let mut slots = Self {
            paths: partitions.map(|(esp, state)| Paths { esp, state }),
            record: Record::default(),
            trouble: Vec::new(),
            off_s: 0,
        };
        let loaded = slots.load();
        let fresh = matches!(loaded, Ok(None));
        match loaded {
            Ok(record) => slots.record = record.unwrap_or_default(),
            Err(error) => slots.trouble.push(format!("read what this box remembers of its versions: {error:#}")),
        }
        (slots, fresh)
    }

    fn load(&self) -> Result<Option<Record>> {
        let Some(paths) = &self.paths else { return Err(anyhow!("there is no boot disk")) };
        Ok(Record::load(&mut Partition::open(&paths.state)?)?)
    }

    /// What went wrong so far.
    pub(crate) fn take_trouble(&mut self) -> Vec<String> {
        std::mem::take(&mut self.trouble)
    }

    /// Decides this start, writes it down and lets the files follow.
    pub(crate) fn start(&mut self, image: &Image, reset: Reset) -> Start {
        if let Err(error) = self.heal() {
            self.trouble.push(format!("put the boot partition in order: {error:#}"));
        }
        let files = self.files().unwrap_or_else(|error| {
            self.trouble.push(format!("read the boot partition: {error:#}"));
            Vec::new()
        });
        let known = (self.record != Record::default()).then_some(self.record);
        self.off_s = known.map_or(0, |record| clock::kept_s().saturating_sub(record.time_s));
        let found = Found {
            version: image.version,
            floor: image.floor,
            files: &files,
            boot_id: boot_id(),
            time_s: clock::kept_s(),
            reset,
        };
        let Decision { start, record } = decide::start(known, &found);
        match self.write(record) {
            Ok(()) => start,
            Err(_) if self.paths.is_none() => Start::Recovery,
            Err(error) => {
                self.trouble.push(format!("write down this start: {error:#}"));
                // Leaving for the other version without its being written down could go on for ever.
                if start == Start::Leave { Start::Recovery } else { start }
            }
        }
    }

    /// The record.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// From the last time that this machine wrote down to this start, seconds; 0 when unknown.
    pub(crate) const fn off_s(&self) -> u64 {
        self.off_s
    }

    /// The key set that counts: the newer one of the image's and the stored one.
    pub(crate) fn keys(&self, image: &Image) -> Option<KeySet> {
        let stored = || -> Result<Option<KeySet>> {
            let Some(paths) = &self.paths else { return Ok(None) };
            let mut buffer = [0; adit_slots::layout::COPY_BYTES];
            let copy = KEY_COPIES.load(&mut Partition::open(&paths.state)?, &mut buffer)?;
            // It was checked before it was stored; a damaged one fails its checksum.
            Ok(copy.and_then(|copy| SignedKeySet::parse(copy.payload).ok()).map(|signed| signed.set))
        };
        match (image.keys, stored().ok().flatten()) {
            (Some(built), Some(stored)) if stored.version > built.version => Some(stored),
            (built, _) => built,
        }
    }

    /// Writes a record, then lets the files follow it.
    fn write(&mut self, record: Record) -> Result<()> {
        let paths = self.paths.as_ref().context("there is no boot disk")?;
        record.store(&mut Partition::open(&paths.state)?).map_err(|error| anyhow!("{error:?}"))?;
        self.record = record;
        self.follow()
    }

    fn follow(&self) -> Result<()> {
        for _ in 0..FIX_ROUNDS_MAX {
            let files = self.files()?;
            let fixes: Vec<Fix> = decide::fixes(&self.record, &files).collect();
            let Some(first) = fixes.first() else { return Ok(()) };
            self.fix(*first)?;
        }
        Err(anyhow!("the files on the boot partition do not follow"))
    }

    /// Changes what is remembered, without a word about files.
    pub(crate) fn remember(&mut self, change: impl FnOnce(&Record) -> Record) -> Result<()> {
        let record = change(&self.record);
        if record == self.record {
            return Ok(());
        }
        let paths = self.paths.as_ref().context("there is no boot disk")?;
        record.store(&mut Partition::open(&paths.state)?).map_err(|error| anyhow!("{error:?}"))?;
        self.record = record;
        Ok(())
    }

    /// This start is good.
    pub(crate) fn confirm(&mut self, data_mounted: bool) -> Result<()> {
        let record = decide::confirm(&self.record, &boot_id(), data_mounted)?;
        self.write(record)
    }

    /// Whether an update can be taken now.
    pub(crate) fn may_stage(&self) -> Result<(), Refused> {
        if self.paths.is_none() {
            return Err(Refused::new(Code::BootUnusable, "there is no boot disk"));
        }
        let proved = self.record.running_slot().state == SlotState::Good && self.record.boots_unconfirmed == 0;
        if proved { Ok(()) } else { Err(Refused::new(Code::UpdateOnTrial, "")) }
    }

    /// Writes a checked update to the other slot and reads it back from the medium.
    pub(crate) fn stage(&mut self, mut sound: Sound, alive: &dyn Fn()) -> Result<(), Refused> {
        let manifest = sound.manifest;
        let staging = decide::stage(&self.record, &manifest).map_err(step_refused)?;
        let unusable = |error: anyhow::Error| Refused::new(Code::BootUnusable, format!("{error:#}"));
        // The keys first: a newer key set is signed by a root key, and holds whatever becomes of this update.
        if let Some(keys) = &sound.new_keys {
            self.store_keys(keys).map_err(unusable)?;
        }
        self.write(staging).map_err(unusable)?;
        let file = SlotFile { version: manifest.version, mark: Mark::New };
        let written = self.write_file(file, manifest.uki_size, &mut sound.image, alive);
        let outcome = written.and_then(|()| {
            let read_back = self.hash_of(file, manifest.uki_size).map_err(unusable)?;
            if Digest(read_back) != manifest.uki_sha256 {
                return Err(Refused::new(Code::UpdateDigest, "the boot disk read back other bytes than were written"));
            }
            let staged = decide::staged(&self.record, Digest(read_back)).map_err(step_refused)?;
            self.write(staged).map_err(unusable)
        });
        if outcome.is_err()
            && let Ok(cancelled) = decide::cancel(&self.record)
            && let Err(error) = self.write(cancelled)
        {
            log::error!("give up the slot again: {error:#}");
        }
        outcome.map(|()| sound.done())
    }

    fn store_keys(&self, keys: &[u8]) -> Result<()> {
        let paths = self.paths.as_ref().context("there is no boot disk")?;
        KEY_COPIES.store(&mut Partition::open(&paths.state)?, keys).map_err(|error| anyhow!("{error:?}"))?;
        Ok(())
    }

    /// Gives the staged version its tries.
    pub(crate) fn activate(&mut self, version: Version) -> Result<(), Refused> {
        let other = self.record.other_slot();
        if other.state != SlotState::Staged || other.version != version {
            return Err(Refused::new(Code::NotStaged, ""));
        }
        let record = decide::activate(&self.record).map_err(step_refused)?;
        self.write(record).map_err(|error| Refused::new(Code::BootUnusable, format!("{error:#}")))
    }

    /// Goes back to the other version.
    pub(crate) fn roll_back(&mut self) -> Result<(), Refused> {
        let unusable = |error: anyhow::Error| Refused::new(Code::BootUnusable, format!("{error:#}"));
        let files = self.files().map_err(unusable)?;
        let record = decide::roll_back(&self.record, &files).map_err(step_refused)?;
        self.write(record).map_err(unusable)
    }

    /// Whether the boot disk answers: one sector, from the medium.
    pub(crate) fn answers(&self) -> bool {
        self.paths
            .as_ref()
            .is_none_or(|paths| Partition::open(&paths.state).is_ok_and(|mut state| state.probe().is_ok()))
    }
}

fn step_refused(error: StepError) -> Refused {
    let code = match error {
        StepError::NotConfirmed => Code::UpdateOnTrial,
        StepError::Denied => Code::UpdateDenied,
        StepError::Runs => Code::UpdateNotNewer,
        StepError::Order => Code::NotStaged,
        StepError::OtherBoot | StepError::Resetting => Code::Busy,
        StepError::NoOther => Code::NothingBack,
    };
    Refused::new(code, error.to_string())
}

/// The kernel's random number of this start.
fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: Vec<u8> = text
        .bytes()
        .filter_map(|byte| char::from(byte).to_digit(16))
        .filter_map(|digit| u8::try_from(digit).ok())
        .collect();
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    id
}

/// A partition as adit-slots reads and writes it: a flush reaches the medium, and what is read after it comes from there.
#[derive(Debug)]
pub(crate) struct Partition(File);

impl Partition {
    /// For what is no record.
    pub(crate) fn into_file(self) -> File {
        self.0
    }

    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        Ok(Self(file.with_context(|| format!("open {}", path.display()))?))
    }

    fn probe(&mut self) -> std::io::Result<()> {
        self.forget()?;
        self.0.seek(SeekFrom::Start(0))?;
        self.0.read_exact(&mut [0; 512])
    }

    /// What the kernel keeps of it in memory is dropped.
    fn forget(&self) -> std::io::Result<()> {
        let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        nix::fcntl::posix_fadvise(&self.0, 0, 0, advice).map_err(Into::into)
    }
}

impl embedded_io::ErrorType for Partition {
    type Error = std::io::Error;
}

impl embedded_io::Read for Partition {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl embedded_io::Write for Partition {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.sync_data()?;
        self.forget()
    }
}

impl embedded_io::Seek for Partition {
    fn seek(&mut self, to: embedded_io::SeekFrom) -> std::io::Result<u64> {
        self.0.seek(to.into())
    }
}

/// Carries a factory reset on from the step that it had reached, and restarts the machine. Every disk in the machine that
/// holds data of a box is erased, not the boot disk alone.
pub(crate) fn factory_reset(mut slots: Slots, boot: &Disk, progress: &Progress, mut tell: impl FnMut(&str)) -> ! {
    loop {
        let (done, outcome) = match slots.record.factory_reset {
            // The box's part of the key first: what is encrypted is lost from that moment on.
            FactoryReset::Asked => (
                FactoryReset::VarErased,
                slots.erase_shares().and_then(|()| erase(boot, VAR_TYPE, progress, &mut tell)),
            ),
            FactoryReset::VarErased => (FactoryReset::DataErased, erase_data(boot, progress, &mut tell)),
            FactoryReset::DataErased | FactoryReset::None => (FactoryReset::None, slots.erase_shares()),
        };
        let written = outcome.and_then(|()| {
            let record = decide::factory_reset(&slots.record, done)?;
            slots.remember(|_| record)
        });
        match written {
            Ok(()) if done == FactoryReset::None => {
                tell("the factory reset is done");
                crate::power::now(crate::power::Ending::Restart);
            }
            Ok(()) => {}
            Err(error) => {
                tell(&format!("the factory reset goes on at the next start: {error:#}"));
                std::thread::sleep(RESET_AGAIN);
                crate::power::now(crate::power::Ending::Restart);
            }
        }
    }
}

fn erase_data(boot: &Disk, progress: &Progress, tell: &mut impl FnMut(&str)) -> Result<()> {
    for disk in block::disks() {
        erase(&disk, DATA_TYPE, progress, tell)?;
        erase(&disk, MIRROR_TYPE, progress, tell)?;
        let was_taken = disk.partition(DATA_TYPE).is_some() || disk.partition(MIRROR_TYPE).is_some();
        if was_taken && disk.node != boot.node {
            // No table of partitions either: it can be taken again.
            disk.blank()?;
        }
    }
    Ok(())
}

/// Writes zeros over all of a partition. Each piece counts as progress: a large disk takes hours.
fn erase(disk: &Disk, kind: &str, progress: &Progress, tell: &mut impl FnMut(&str)) -> Result<()> {
    let Some(partition) = disk.partition(kind) else { return Ok(()) };
    let mut file = OpenOptions::new().write(true).open(&partition.path)?;
    let zeros = vec![0; ERASE_BYTES];
    let (mut at, mut told) = (0, 0);
    while at < partition.bytes {
        let length = zeros.len().min(usize::try_from(partition.bytes - at).unwrap_or(usize::MAX));
        file.write_all(zeros.get(..length).unwrap_or_default())?;
        file.sync_data()?;
        progress.step(Phase::Boot);
        at += length as u64;
        let percent = at * 100 / partition.bytes;
        if percent >= told + 5 {
            told = percent;
            tell(&format!("factory reset: {} is erased to {percent} %", partition.path.display()));
        }
    }
    Ok(file.sync_all()?)
}

/// The boot partition: what lies on it, and its changes.
impl Slots {
    fn esp(&self) -> Result<Esp<Partition>> {
        let paths = self.paths.as_ref().context("there is no boot disk")?;
        Esp::open(Partition::open(&paths.esp)?, 0).map_err(esp_error)
    }

    /// The slot files. They come from the medium: the firmware's changes are seen by nobody else.
    fn files(&self) -> Result<Vec<SlotFile>> {
        let mut found = [SlotFile { version: Version::default(), mark: Mark::New }; FILES_MAX];
        let count = self.esp()?.files(&mut found).map_err(esp_error)?;
        Ok(found.get(..count).unwrap_or_default().to_vec())
    }

    fn fix(&self, fix: Fix) -> Result<()> {
        log::info!("boot partition: {fix:?}");
        self.esp()?.fix(fix).map_err(esp_error)
    }

    /// Puts in order what a power cut left on the boot partition.
    fn heal(&self) -> Result<()> {
        let mut scratch = vec![0; ESP_CLUSTER_MAP_BYTES];
        let healed = self.esp()?.heal(&mut scratch).map_err(esp_error)?;
        if healed != Healed::default() {
            log::info!("boot partition put in order: {healed:?}");
        }
        Ok(())
    }

    fn write_file(&self, file: SlotFile, bytes: u64, image: &mut File, alive: &dyn Fn()) -> Result<(), Refused> {
        let unusable = |words: String| Refused::new(Code::BootUnusable, words);
        let bytes = u32::try_from(bytes).map_err(|_| Refused::new(Code::UpdateTooLarge, ""))?;
        // What the other slot held was unlinked; its room is free only now.
        self.heal().map_err(|error| unusable(format!("{error:#}")))?;
        let mut esp = self.esp().map_err(|error| unusable(format!("{error:#}")))?;
        let mut source = FromStd::new(image);
        let mut told = 0;
        let mut progress = |written: u64| {
            if written >= told + ALIVE_EVERY {
                told = written;
                alive();
            }
        };
        esp.write(file, bytes, &mut source, &mut progress).map_err(|error| {
            if matches!(error, EspError::Full) {
                Refused::new(Code::BootFull, "")
            } else {
                unusable(format!("{:#}", esp_error(error)))
            }
        })
    }

    /// SHA-256 of a slot's file, read from the medium.
    fn hash_of(&self, file: SlotFile, bytes: u64) -> Result<[u8; 32]> {
        let mut esp = self.esp()?;
        let open = esp.open_slot(file).map_err(esp_error)?;
        ensure!(u64::from(open.size_bytes) == bytes, "the file has {} bytes, not {bytes}", open.size_bytes);
        Ok(sha256(&mut EspFile { esp, open }, bytes)?)
    }

    /// The settings that a person put on the boot partition.
    pub(crate) fn preseed(&self) -> Option<String> {
        let mut esp = self.esp().ok()?;
        let open = esp.open_path(&[PRESEED_FILE]).ok()?;
        let length = usize::try_from(open.size_bytes).ok()?.min(crate::preseed::BYTES_MAX + 1);
        let mut text = Vec::new();
        EspFile { esp, open }.take(length as u64).read_to_end(&mut text).ok()?;
        String::from_utf8(text).ok()
    }

    /// The settings are kept elsewhere now; what may be used once only does not stay on the stick.
    pub(crate) fn remove_preseed(&self) -> Result<()> {
        match self.esp()?.delete_path(&[PRESEED_FILE]) {
            Ok(()) | Err(EspError::NotFound) => Ok(()),
            Err(error) => Err(esp_error(error)),
        }
    }

    /// Erases what the state partition holds besides the record: shares of keys, and the log.
    fn erase_shares(&self) -> Result<()> {
        let paths = self.paths.as_ref().context("there is no boot disk")?;
        let mut state = Partition::open(&paths.state)?.0;
        state.seek(SeekFrom::Start(STATE_SHARE_OFFSET))?;
        state.write_all(&vec![0; usize::try_from(STATE_BYTES - STATE_SHARE_OFFSET)?])?;
        Ok(state.sync_all()?)
    }
}

fn esp_error(error: EspError<std::io::Error>) -> anyhow::Error {
    if let EspError::Disk(source) = error {
        return anyhow::Error::from(source).context("the boot disk refuses");
    }
    anyhow!("{error}")
}

/// A file of the boot partition as a stream.
struct EspFile {
    esp: Esp<Partition>,
    open: OpenFile,
}

impl std::io::Read for EspFile {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.esp.read(&mut self.open, buffer).map_err(|error| std::io::Error::other(esp_error(error)))
    }
}

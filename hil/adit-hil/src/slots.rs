// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a power cut left of an appliance's slots, judged on the host: first as the firmware sees the disk, then as the box's
//! own code puts it in order, start after start.
//!
//! Nothing here is a second opinion about FAT or the record: `adit-slots` reads and changes them, as in the box. What is
//! modelled is the boot loader's choice and its counting; stories boot some of the states to keep that honest.

use crate::disk::replay::{Replay, State};
use crate::disk::view::{Memo, Part, View};
use crate::image::Image;
use adit_image::digest::Sha256;
use adit_slots::decide::{self, Decision, Found, Start};
use adit_slots::esp::{Esp, EspError, FILES_MAX, OpenFile};
use adit_slots::layout::{ALIGN_BYTES, BOOT_FILE_X86_64, ESP_BYTES, ESP_CLUSTER_MAP_BYTES, LOADER_CONF, STATE_BYTES};
use adit_slots::manifest::Digest;
use adit_slots::name::{Mark, SlotFile};
use adit_slots::record::{Record, Reset};
use adit_slots::version::Version;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use embedded_io_adapters::std::FromStd;
use std::collections::{BTreeMap, HashMap};

/// The boot and the state partition on the boot disk, from the first byte to below the second.
pub const BYTES: (u64, u64) = (ALIGN_BYTES, STATE_AT + STATE_BYTES);
const STATE_AT: u64 = ALIGN_BYTES + ESP_BYTES;
/// Starts within which a box is back at a version that proved itself, even when its candidate never does: three tries and
/// the one after them.
const STARTS_MAX: u8 = 4;
/// Rounds of fixes that a start may need.
const FIX_ROUNDS_MAX: usize = 8;

/// How one state was found.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The slot files as the firmware sees them.
    pub files: Vec<SlotFile>,
    /// The version that runs in the end when no candidate is ever confirmed.
    pub rest: Version,
}

/// Judges states of one record. What it was asked for the same bytes it knows, see [`Memo`].
#[derive(Debug)]
pub struct Judge {
    contents: Contents,
    verdicts: Memo<Verdict>,
}

/// What files hold.
#[derive(Debug)]
struct Contents {
    images: BTreeMap<Version, Digest>,
    /// The boot loader and its configuration, as they were delivered.
    loader: BTreeMap<&'static str, Digest>,
    known: HashMap<OpenFile, Memo<Digest>>,
}

impl Judge {
    /// A judge who knows what these images hold.
    ///
    /// # Errors
    /// When the disk that the record begins with has no boot loader.
    pub fn new(replay: &Replay, images: &[&Image]) -> Result<Self> {
        let images = images.iter().map(|image| (image.manifest.version, image.manifest.uki_sha256)).collect();
        let mut contents = Contents { images, loader: BTreeMap::new(), known: HashMap::new() };
        let first = State { entries: 0, lost: Vec::new(), torn: None, hash: [0; 32] };
        for path in [BOOT_FILE_X86_64, LOADER_CONF] {
            let digest = contents.of_path(&mut replay.view(&first)?, path)?;
            contents.loader.insert(path, digest);
        }
        Ok(Self { contents, verdicts: Memo::default() })
    }

    /// What becomes of a box in this state.
    ///
    /// # Errors
    /// What is broken in it, or breaks in one of the starts after it.
    pub fn judge(&mut self, replay: &Replay, state: &State) -> Result<Verdict> {
        let Self { contents, verdicts } = self;
        verdicts.ask(&mut replay.view(state)?, |view| contents.verdict(view)).with_context(|| state.to_string())
    }

    /// How many states were different for the box, by the bytes that it looks at.
    #[must_use]
    pub const fn different(&self) -> usize {
        self.verdicts.asked()
    }
}

fn esp<'v, 'a>(view: &'v mut View<'a>) -> Result<Esp<FromStd<Part<'v, 'a>>>> {
    Esp::open(FromStd::new(view.part(0)), ALIGN_BYTES).map_err(wrong)
}

fn wrong(error: EspError<std::io::Error>) -> anyhow::Error {
    anyhow!("the boot partition: {error:?}")
}

fn listing(view: &mut View<'_>) -> Result<Vec<SlotFile>> {
    let mut found = [SlotFile { version: Version::default(), mark: Mark::New }; FILES_MAX];
    let count = esp(view)?.files(&mut found).map_err(wrong)?;
    Ok(found[..count].to_vec())
}

impl Contents {
    fn verdict(&mut self, view: &mut View<'_>) -> Result<Verdict> {
        let files = self.sound(view).context("before the first start")?;
        for number in 1..=STARTS_MAX {
            let (version, start) = self.start(view, number).with_context(|| format!("start {number} of {files:?}"))?;
            match start {
                Start::Normal => return Ok(Verdict { files, rest: version }),
                Start::Trying { .. } | Start::Leave => {}
                Start::Recovery | Start::FactoryReset => bail!("start {number} of {files:?} is {start:?}"),
            }
        }
        bail!("{files:?} do not come to rest in {STARTS_MAX} starts")
    }

    /// The slot files. Everything that the firmware could start is whole, and something can be started.
    fn sound(&mut self, view: &mut View<'_>) -> Result<Vec<SlotFile>> {
        for (path, digest) in self.loader.clone() {
            ensure!(self.of_path(view, path)? == digest, "{path} is not what it was");
        }
        let files = listing(view)?;
        ensure!(files.iter().any(|file| file.mark.is_live()), "nothing can be started: {files:?}");
        for file in files.iter().filter(|file| file.mark != Mark::New) {
            let open = esp(view)?.open_slot(*file).map_err(wrong)?;
            let holds = self.of(view, open).with_context(|| format!("read {file:?}"))?;
            ensure!(self.images.get(&file.version) == Some(&holds), "{file:?} is not whole");
        }
        Ok(files)
    }

    fn of_path(&mut self, view: &mut View<'_>, path: &str) -> Result<Digest> {
        let steps: Vec<&str> = path.split('/').collect();
        let open = esp(view)?.open_path(&steps).map_err(wrong).with_context(|| path.to_owned())?;
        self.of(view, open)
    }

    /// SHA-256 of a file; where it begins and how long it is stands in `open`, the rest in the sectors that are read.
    fn of(&mut self, view: &mut View<'_>, open: OpenFile) -> Result<Digest> {
        self.known.entry(open).or_default().ask(view, |view| {
            let (mut esp, mut open, mut filled) = (esp(view)?, open, 0);
            let mut content = vec![0; usize::try_from(open.size_bytes)?];
            while filled < content.len() {
                filled += esp.read(&mut open, &mut content[filled..]).map_err(wrong)?;
            }
            Ok(Digest(Sha256::of(&content).0))
        })
    }

    /// One start: the boot loader chooses and counts, then the first process does what it does.
    fn start(&mut self, view: &mut View<'_>, number: u8) -> Result<(Version, Start)> {
        let files = listing(view)?;
        let chosen = files.iter().max_by_key(|file| (file.mark.is_live(), file.version, file.mark));
        let chosen = *chosen.context("there is no slot file")?;
        if let Mark::Counted { left: left @ 1.., done } = chosen.mark {
            let counted = Mark::Counted { left: left - 1, done: done.saturating_add(1) };
            match esp(view)?.rename(chosen, counted) {
                // A cut within its renaming left both names: it starts the file all the same.
                Ok(()) | Err(EspError::Exists) => {}
                Err(error) => return Err(wrong(error)),
            }
        }
        esp(view)?.heal(&mut vec![0; ESP_CLUSTER_MAP_BYTES]).map_err(wrong)?;
        let files = listing(view)?;
        let record = Record::load(&mut FromStd::new(view.part(STATE_AT)))?.context("nothing is remembered any more")?;
        let found = Found {
            version: chosen.version,
            floor: Version::default(),
            files: &files,
            boot_id: [number; 16],
            time_s: record.time_s,
            reset: Reset::Unknown,
        };
        let Decision { start, record } = decide::start(Some(record), &found);
        let stored = record.store(&mut FromStd::new(view.part(STATE_AT)));
        stored.map_err(|error| anyhow!("write the record: {error:?}"))?;
        for _ in 0..FIX_ROUNDS_MAX {
            let files = listing(view)?;
            let Some(fix) = decide::fixes(&record, &files).next() else {
                self.sound(view)?;
                return Ok((chosen.version, start));
            };
            esp(view)?.fix(fix).map_err(wrong)?;
        }
        bail!("the files do not follow {record:?}")
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Power cuts without cutting power: from what a disk held at first and its write log, every state in which a cut could
//! have left the disk. A disk with a volatile cache keeps what was flushed or forced, any subset of the writes after
//! that, and any sectors of a write under way.
//!
//! States are told apart without building images. Each content that a sector ever has is a *version* with a 256-bit
//! BLAKE3 mark over (sector, content); the mark of what the base holds is zero. The hash of an image is the exclusive or of its
//! sectors' marks, so one write changes it by as much work as the write has sectors, and equal images have equal hashes
//! whatever way led there.

use super::log::Log;
use super::overlay::{CLUSTER_BYTES, Overlay};
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Most states that one plan may come to: its moments, times what it asks for at each.
pub const STATES_MAX: usize = 4 << 20;
/// Most sectors that all entries of a log may touch together; 8 bytes of memory each.
pub const TOUCHES_MAX: usize = 1 << 26;
/// How much is copied or looked through at once, in bytes.
const WINDOW_BYTES: u64 = 1 << 20;

/// Which moments are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Points {
    /// After every write, and before the first.
    EveryWrite,
    /// Before every flush, when most can be lost, and at the end.
    EveryFlush,
    /// So many moments of [`Points::EveryWrite`], drawn by the seed.
    Random(usize),
}

/// What to enumerate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The moments.
    pub points: Points,
    /// Moments before this entry of the log are left out: their writes are there in any case.
    pub from_entry: usize,
    /// Per moment, states without some unflushed writes. All subsets where there are no more than this.
    pub lost: usize,
    /// Per moment, states with one unflushed write torn; after every write it is that write. All subsets of the sectors
    /// that it changes where there are no more than this. A sector is the disk's logical one; ext4's superblock spans two
    /// of 512 bytes and does not survive every tear, so look at file systems with none or with sectors of 4096.
    pub torn: usize,
    /// Only writes to these bytes, from the first to below the second, are looked at, lost and torn; all others arrive as
    /// they begin. `None`: the whole disk.
    pub within: Option<(u64, u64)>,
    /// Draws everything that is drawn.
    pub seed: u64,
}

/// A write of which only some sectors arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// Its entry in the log.
    pub entry: usize,
    /// The sectors that did not arrive. Those that would have changed nothing are not named.
    pub missing: Vec<u64>,
}

/// How a disk may be after a power cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Entries of the log that had begun.
    pub entries: usize,
    /// Those of them that were lost.
    pub lost: Vec<usize>,
    /// One that was torn.
    pub torn: Option<Torn>,
    /// Equal for equal images over the same base.
    pub hash: [u8; 32],
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {} log entries", self.entries)?;
        if !self.lost.is_empty() {
            write!(f, " without {:?}", self.lost)?;
        }
        match &self.torn {
            Some(torn) => write!(f, ", entry {} without its sectors {:?}", torn.entry, torn.missing),
            None => Ok(()),
        }
    }
}

/// What a plan came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Writes in the log.
    pub writes: usize,
    /// Discards in the log.
    pub discards: usize,
    /// Flushes in the log.
    pub flushes: usize,
    /// Moments looked at.
    pub points: usize,
    /// States looked at.
    pub states: usize,
    /// Different images among them.
    pub distinct: usize,
}

/// The different states of a plan, each once, in the order of the log.
#[derive(Debug, Clone)]
pub struct States {
    /// First way found to each image.
    pub distinct: Vec<State>,
    /// What was counted.
    pub counts: Counts,
}

/// A log over its base, ready to enumerate and to build images.
#[derive(Debug)]
pub struct Replay {
    log: Log,
    base: File,
    base_path: PathBuf,
    pub(super) size_bytes: u64,
    pub(super) sector_bytes: usize,
    /// Sectors that the log touches.
    sectors: Vec<u64>,
    /// All versions; those below `sectors.len()` are the base's, in its order.
    versions: Vec<Version>,
    /// What each entry does, as (place in `sectors`, version).
    steps: Vec<Vec<(u32, u32)>>,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Base,
    Zeros,
    /// Offset in the log file.
    Log(u64),
}

#[derive(Debug, Clone, Copy)]
struct Version {
    source: Source,
    mark: Mark,
}

pub(super) type Mark = [u64; 4];

/// What the touched sectors hold.
#[derive(Clone, Debug)]
pub(super) struct Image {
    held: Vec<u32>,
    hash: Mark,
}

impl Replay {
    /// Reads the log once. `base` is what the disk of `size_bytes` held when the recording began; it may be shorter.
    /// A log without a write is an error: whatever was to be tested did not happen.
    pub fn new(base_path: &Path, size_bytes: u64, log: Log) -> Result<Self> {
        let base = File::open(base_path).with_context(|| format!("open {}", base_path.display()))?;
        let sector_bytes = usize::try_from(log.sector_bytes())?;
        ensure!(log.entries().iter().any(|e| e.writes() || e.discards()), "the log holds no write: nothing was tested");
        let mut replay = Self {
            log,
            base,
            base_path: base_path.to_owned(),
            size_bytes,
            sector_bytes,
            sectors: Vec::new(),
            versions: Vec::new(),
            steps: Vec::new(),
        };
        replay.find_sectors()?;
        replay.find_versions()?;
        Ok(replay)
    }

    /// Finds which sectors are ever touched. A discard of what is zero in the base and never written changes nothing:
    /// those are left out, or one `mkfs` would touch the whole disk.
    fn find_sectors(&mut self) -> Result<()> {
        let disk_sectors = self.size_bytes / self.sector_bytes as u64;
        let mut touched = HashSet::new();
        let mut touches = 0_u64;
        for (index, entry) in self.log.entries().iter().enumerate() {
            let end = entry.sector + entry.count;
            ensure!(end <= disk_sectors, "entry {index} ends at sector {end} of {disk_sectors}");
            if entry.writes() {
                touches = touches.saturating_add(entry.count);
                ensure!(touches <= TOUCHES_MAX as u64, "the log touches more than {TOUCHES_MAX} sectors");
                touched.extend(entry.sector..end);
            }
        }
        if self.log.entries().iter().any(super::log::Entry::discards) {
            let used = self.used_sectors()?;
            for entry in self.log.entries().iter().filter(|entry| entry.discards()) {
                touched.extend(used.range(entry.sector..entry.sector + entry.count));
            }
        }
        self.sectors = touched.into_iter().collect();
        self.sectors.sort_unstable();
        Ok(())
    }

    /// Sectors of the base that are not all zero.
    fn used_sectors(&self) -> Result<BTreeSet<u64>> {
        let mut used = BTreeSet::new();
        let mut window = vec![0; usize::try_from(WINDOW_BYTES)?];
        let mut offset = 0;
        while offset < self.size_bytes {
            if !fill(&self.base, &mut window, offset)? {
                let first = offset / self.sector_bytes as u64;
                let blocks = (first..).zip(window.chunks(self.sector_bytes));
                used.extend(blocks.filter(|(_, block)| !is_zero(block)).map(|(sector, _)| sector));
            }
            offset += WINDOW_BYTES;
        }
        ensure!(used.len() <= TOUCHES_MAX, "the base holds more than {TOUCHES_MAX} sectors");
        Ok(used)
    }

    fn find_versions(&mut self) -> Result<()> {
        let mut known: HashMap<(u32, [u8; 32]), u32> = HashMap::new();
        let mut block = vec![0; self.sector_bytes];
        let zeros = *blake3::hash(&block).as_bytes();
        for (place, sector) in (0..).zip(&self.sectors) {
            fill(&self.base, &mut block, sector * self.sector_bytes as u64)?;
            known.insert((place, *blake3::hash(&block).as_bytes()), place);
            self.versions.push(Version { source: Source::Base, mark: Mark::default() });
        }
        let mut touches = 0;
        for entry in self.log.entries() {
            let mut step = Vec::new();
            let range =
                if entry.writes() || entry.discards() { entry.sector..entry.sector + entry.count } else { 0..0 };
            let first = self.sectors.partition_point(|sector| *sector < range.start);
            let inside = self.sectors.iter().skip(first).take_while(|sector| **sector < range.end);
            let mut data = vec![0; if entry.writes() { usize::try_from(entry.count)? * self.sector_bytes } else { 0 }];
            self.log.read_at(&mut data, entry.data_offset)?;
            let mut blocks = data.chunks_exact(self.sector_bytes);
            for (place, sector) in (u32::try_from(first)?..).zip(inside) {
                let (source, digest) = match blocks.next() {
                    Some(block) => {
                        let offset = entry.data_offset + (sector - entry.sector) * self.sector_bytes as u64;
                        (Source::Log(offset), *blake3::hash(block).as_bytes())
                    }
                    None => (Source::Zeros, zeros),
                };
                let fresh = u32::try_from(self.versions.len())?;
                let version = *known.entry((place, digest)).or_insert(fresh);
                if version == fresh {
                    self.versions.push(Version { source, mark: mark(*sector, &digest) });
                }
                step.push((place, version));
            }
            touches += step.len();
            ensure!(touches <= TOUCHES_MAX, "the log touches more than {TOUCHES_MAX} sectors");
            self.steps.push(step);
        }
        Ok(())
    }

    /// Every different state that `plan` leads to.
    pub fn states(&self, plan: &Plan) -> Result<States> {
        let mut random = Random(plan.seed);
        let points = self.points(plan, &mut random)?;
        let each = plan.lost.saturating_add(plan.torn).saturating_add(1);
        let most = each.saturating_mul(points.len());
        ensure!(most <= STATES_MAX, "{most} states are more than {STATES_MAX}: look at fewer moments");
        let mut walk = Walk {
            replay: self,
            plan,
            random,
            durable: self.image(),
            full: self.image(),
            unflushed: Vec::new(),
            seen: HashSet::new(),
            states: States { distinct: Vec::new(), counts: self.counts() },
        };
        walk.states.counts.points = points.len();
        for entries in 0..=self.steps.len() {
            if points.contains(&entries) {
                walk.look(entries);
            }
            if entries < self.steps.len() {
                walk.apply(entries);
            }
        }
        walk.states.counts.distinct = walk.states.distinct.len();
        Ok(walk.states)
    }

    fn counts(&self) -> Counts {
        let count = |test: fn(&super::log::Entry) -> bool| self.log.entries().iter().filter(|e| test(e)).count();
        Counts {
            writes: count(super::log::Entry::writes),
            discards: count(super::log::Entry::discards),
            flushes: count(super::log::Entry::flushes),
            ..Counts::default()
        }
    }

    fn points(&self, plan: &Plan, random: &mut Random) -> Result<BTreeSet<usize>> {
        let entries = self.log.entries();
        ensure!(plan.from_entry <= entries.len(), "entry {} of {} does not exist", plan.from_entry, entries.len());
        let later = entries.iter().enumerate().skip(plan.from_entry);
        let changes = |e: &super::log::Entry| (e.writes() || e.discards()) && self.within(plan, e);
        let after_writes = || later.clone().filter(|(_, e)| changes(e)).map(|(i, _)| i + 1).chain([plan.from_entry]);
        Ok(match plan.points {
            Points::EveryWrite => after_writes().collect(),
            Points::EveryFlush => later.filter(|(_, e)| e.flushes()).map(|(i, _)| i).chain([entries.len()]).collect(),
            Points::Random(count) => {
                let mut all: Vec<usize> = after_writes().collect();
                let mut chosen = BTreeSet::new();
                while chosen.len() < count && !all.is_empty() {
                    chosen.insert(all.swap_remove(random.below(all.len())));
                }
                chosen
            }
        })
    }

    /// Whether an entry belongs to what the plan looks at.
    fn within(&self, plan: &Plan, entry: &super::log::Entry) -> bool {
        let bytes = |sectors: u64| sectors * self.sector_bytes as u64;
        plan.within.is_none_or(|(from, to)| bytes(entry.sector) < to && bytes(entry.sector + entry.count) > from)
    }

    fn image(&self) -> Image {
        Image { held: (0..).take(self.sectors.len()).collect(), hash: Mark::default() }
    }

    fn put(&self, image: &mut Image, (place, version): (u32, u32)) {
        let Some(held) = image.held.get_mut(place as usize) else { return };
        let old = std::mem::replace(held, version);
        let marks =
            |version: u32| self.versions.get(version as usize).map_or_else(Mark::default, |version| version.mark);
        let (old, new) = (marks(old), marks(version));
        for (hash, (old, new)) in image.hash.iter_mut().zip(old.into_iter().zip(new)) {
            *hash ^= old ^ new;
        }
    }

    fn step(&self, entry: usize) -> &[(u32, u32)] {
        self.steps.get(entry).map_or(&[], Vec::as_slice)
    }

    /// What `state` holds, built from the beginning; its hash proves that it is the state that was enumerated.
    pub(super) fn rebuild(&self, state: &State) -> Result<Image> {
        let mut image = self.image();
        for entry in (0..state.entries).filter(|entry| state.lost.binary_search(entry).is_err()) {
            let torn = state.torn.as_ref().filter(|torn| torn.entry == entry);
            for item in self.step(entry) {
                let sector = self.sectors.get(item.0 as usize).copied().unwrap_or_default();
                if torn.is_none_or(|torn| torn.missing.binary_search(&sector).is_err()) {
                    self.put(&mut image, *item);
                }
            }
        }
        ensure!(bytes_of(image.hash) == state.hash, "this state is not of this log: {state}");
        Ok(image)
    }

    /// Fills `out`, whole sectors from `first` on, with what an image holds there.
    pub(super) fn read(&self, image: &Image, first: u64, out: &mut [u8]) -> Result<()> {
        fill(&self.base, out, first * self.sector_bytes as u64)?;
        let end = first + (out.len() / self.sector_bytes) as u64;
        for place in self.places(first, end) {
            let (Some(sector), Some(version)) = (self.sectors.get(place), image.held.get(place)) else { continue };
            let start = usize::try_from(sector - first)? * self.sector_bytes;
            let block = out.get_mut(start..start + self.sector_bytes).context("whole sectors are read")?;
            match self.versions.get(*version as usize).map_or(Source::Base, |version| version.source) {
                Source::Base => {}
                Source::Zeros => block.fill(0),
                Source::Log(offset) => self.log.read_at(block, offset)?,
            }
        }
        Ok(())
    }

    /// The exclusive or of the marks of what an image holds from sector `first` to below `end`.
    pub(super) fn mark_of(&self, image: &Image, first: u64, end: u64) -> Mark {
        let held = image.held.get(self.places(first, end)).unwrap_or_default();
        held.iter().fold(Mark::default(), |mut sum, version| {
            let mark = self.versions.get(*version as usize).map_or_else(Mark::default, |version| version.mark);
            sum.iter_mut().zip(mark).for_each(|(sum, word)| *sum ^= word);
            sum
        })
    }

    /// Places of the touched sectors from `first` to below `end`.
    fn places(&self, first: u64, end: u64) -> std::ops::Range<usize> {
        let place = |sector: u64| self.sectors.partition_point(|touched| *touched < sector);
        place(first)..place(end)
    }

    /// Calls `each` with offset and content of every sector of `state` that differs from the base, ascending.
    fn differing(&self, state: &State, mut each: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let image = self.rebuild(state)?;
        let mut block = vec![0; self.sector_bytes];
        for (sector, version) in self.sectors.iter().zip(&image.held) {
            match self.versions.get(*version as usize).map_or(Source::Base, |version| version.source) {
                Source::Base => continue,
                Source::Zeros => block.fill(0),
                Source::Log(offset) => self.log.read_at(&mut block, offset)?,
            }
            each(sector * self.sector_bytes as u64, &block)?;
        }
        Ok(())
    }

    /// Writes the disk in `state` to the raw file `path`, sparse.
    pub fn write_raw(&self, state: &State, path: &Path) -> Result<()> {
        copy_sparse(&self.base_path, path)?;
        let file = File::options().write(true).open(path).with_context(|| format!("open {}", path.display()))?;
        file.set_len(self.size_bytes)?;
        self.differing(state, |offset, block| Ok(file.write_all_at(block, offset)?))
            .with_context(|| format!("write {}", path.display()))
    }

    /// Writes the disk in `state` to `path` as a qcow2 overlay over the base: only what differs.
    pub fn write_overlay(&self, state: &State, path: &Path) -> Result<()> {
        let mut clusters: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        self.differing(state, |offset, block| {
            let number = offset / CLUSTER_BYTES;
            if let std::collections::btree_map::Entry::Vacant(vacant) = clusters.entry(number) {
                let mut content = vec![0; usize::try_from(CLUSTER_BYTES)?];
                fill(&self.base, &mut content, number * CLUSTER_BYTES)?;
                vacant.insert(content);
            }
            let start = usize::try_from(offset % CLUSTER_BYTES)?;
            let place = clusters.get_mut(&number).and_then(|content| content.get_mut(start..start + block.len()));
            place.context("a sector crosses a cluster")?.copy_from_slice(block);
            Ok(())
        })?;
        let clusters: Vec<_> = clusters.into_iter().collect();
        Overlay { base: &self.base_path, size_bytes: self.size_bytes }.write(path, &clusters)
    }
}

/// The walk along a log that looks at each moment.
struct Walk<'a> {
    replay: &'a Replay,
    plan: &'a Plan,
    random: Random,
    /// What is on stable storage for sure, but for forced writes since the last flush.
    durable: Image,
    /// Everything that began.
    full: Image,
    /// Entries after the last flush.
    unflushed: Vec<usize>,
    seen: HashSet<[u8; 32]>,
    states: States,
}

impl Walk<'_> {
    fn apply(&mut self, entry: usize) {
        let head = self.replay.log.entries().get(entry);
        if head.is_some_and(super::log::Entry::flushes) {
            for item in self.unflushed.drain(..).flat_map(|old| self.replay.step(old)) {
                self.replay.put(&mut self.durable, *item);
            }
        }
        let step = self.replay.step(entry);
        for item in step {
            self.replay.put(&mut self.full, *item);
        }
        if !step.is_empty() {
            self.unflushed.push(entry);
        }
    }

    fn look(&mut self, entries: usize) {
        let hash = self.full.hash;
        self.add(State { entries, lost: Vec::new(), torn: None, hash: bytes_of(hash) });
        self.look_lost(entries);
        self.look_torn(entries);
    }

    fn add(&mut self, state: State) {
        self.states.counts.states += 1;
        if self.seen.insert(state.hash) {
            self.states.distinct.push(state);
        }
    }

    fn within(&self, entry: usize) -> bool {
        self.replay.log.entries().get(entry).is_some_and(|entry| self.replay.within(self.plan, entry))
    }

    fn look_lost(&mut self, entries: usize) {
        let forced = |entry: &usize| self.replay.log.entries().get(*entry).is_some_and(super::log::Entry::forced);
        let can_be_lost = |entry: &usize| !forced(entry) && self.within(*entry);
        let losable: Vec<usize> = self.unflushed.iter().copied().filter(can_be_lost).collect();
        for subset in subsets(losable.len(), self.plan.lost, Whole::Counts, &mut self.random) {
            let lost: Vec<usize> = losable.iter().zip(&subset).filter(|(_, gone)| **gone).map(|(e, _)| *e).collect();
            let mut image = Undo::new(self.replay, &mut self.durable);
            for entry in self.unflushed.iter().filter(|entry| lost.binary_search(entry).is_err()) {
                self.replay.step(*entry).iter().for_each(|item| image.put(*item));
            }
            let hash = image.finish();
            self.add(State { entries, lost, torn: None, hash });
        }
    }

    fn look_torn(&mut self, entries: usize) {
        let within = (0..).zip(&self.unflushed).filter(|(_, entry)| self.within(**entry));
        let within: Vec<usize> = within.map(|(place, _)| place).collect();
        if within.is_empty() || self.plan.torn == 0 {
            return;
        }
        let choice = match self.plan.points {
            Points::EveryFlush => within[self.random.below(within.len())],
            Points::EveryWrite | Points::Random(_) => within[within.len() - 1],
        };
        let victim = self.unflushed.get(choice).copied().unwrap_or_default();
        // What the victim would change, given everything before it.
        let mut before = Undo::new(self.replay, &mut self.durable);
        for entry in self.unflushed.iter().take(choice) {
            self.replay.step(*entry).iter().for_each(|item| before.put(*item));
        }
        let changes = before.changed_by(self.replay.step(victim));
        before.finish();
        for subset in subsets(changes.len(), self.plan.torn, Whole::IsAnotherState, &mut self.random) {
            let places: Vec<u32> = changes.iter().zip(&subset).filter(|(_, gone)| **gone).map(|(p, _)| *p).collect();
            let mut image = Undo::new(self.replay, &mut self.durable);
            for entry in &self.unflushed {
                let here = |place| *entry != victim || places.binary_search(&place).is_err();
                self.replay.step(*entry).iter().filter(|(place, _)| here(*place)).for_each(|item| image.put(*item));
            }
            let hash = image.finish();
            let missing = places.iter().filter_map(|place| self.replay.sectors.get(*place as usize).copied()).collect();
            self.add(State { entries, lost: Vec::new(), torn: Some(Torn { entry: victim, missing }), hash });
        }
    }
}

/// An image that is changed for one look and put back.
struct Undo<'a> {
    replay: &'a Replay,
    image: &'a mut Image,
    hash: Mark,
    old: Vec<(u32, u32)>,
}

impl<'a> Undo<'a> {
    fn new(replay: &'a Replay, image: &'a mut Image) -> Self {
        let hash = image.hash;
        Self { replay, image, hash, old: Vec::new() }
    }

    fn put(&mut self, item: (u32, u32)) {
        let held = self.image.held.get(item.0 as usize).copied().unwrap_or_default();
        if held != item.1 {
            self.old.push((item.0, held));
            self.replay.put(self.image, item);
        }
    }

    /// Places of `step` whose content would change, ascending.
    fn changed_by(&self, step: &[(u32, u32)]) -> Vec<u32> {
        step.iter()
            .filter(|(place, new)| self.image.held.get(*place as usize) != Some(new))
            .map(|item| item.0)
            .collect()
    }

    /// The hash of the changed image, which is then as it was.
    fn finish(self) -> [u8; 32] {
        let hash = bytes_of(self.image.hash);
        for (place, version) in self.old.into_iter().rev() {
            if let Some(held) = self.image.held.get_mut(place as usize) {
                *held = version;
            }
        }
        self.image.hash = self.hash;
        hash
    }
}

/// Whether losing everything is among the subsets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Counts,
    IsAnotherState,
}

/// Subsets of `count` things, true for what is gone, never empty: all of them if they are at most `most`, else `most`
/// drawn ones, sparse and dense, with everything gone as the first if that counts.
fn subsets(count: usize, most: usize, whole: Whole, random: &mut Random) -> Vec<Vec<bool>> {
    if count == 0 || most == 0 {
        return Vec::new();
    }
    let all = 1_usize.checked_shl(u32::try_from(count).unwrap_or(u32::MAX)).filter(|_| count < 32);
    let top = all.map(|all| all - 1 - usize::from(whole == Whole::IsAnotherState));
    if let Some(top) = top.filter(|top| *top <= most) {
        return (1..=top).map(|mask| (0..count).map(|bit| mask >> bit & 1 == 1).collect()).collect();
    }
    let drawn = |random: &mut Random| {
        let eighths = [1, 4, 7][random.below(3)];
        let mut subset: Vec<bool> = (0..count).map(|_| random.below(8) < eighths).collect();
        let forced = random.below(count);
        let uniform = subset.iter().all(|gone| *gone == subset[0]);
        if uniform {
            // Neither nothing nor everything: one is the other way.
            subset[forced] = !subset[forced];
        }
        if count == 1 { vec![true] } else { subset }
    };
    let first = (whole == Whole::Counts).then(|| vec![true; count]);
    let rest = most - first.iter().len();
    first.into_iter().chain((0..rest).map(|_| drawn(random))).collect()
}

pub(super) fn mark(sector: u64, digest: &[u8; 32]) -> Mark {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&sector.to_le_bytes()).update(digest);
    let mut mark = Mark::default();
    for (word, bytes) in mark.iter_mut().zip(hasher.finalize().as_bytes().chunks_exact(8)) {
        *word = bytes.try_into().map_or(0, u64::from_le_bytes);
    }
    mark
}

fn bytes_of(mark: Mark) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (place, word) in bytes.chunks_exact_mut(8).zip(mark) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// SplitMix64: small, and the same for ever.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let z = u128::from(z ^ (z >> 31));
        usize::try_from((z * limit as u128) >> 64).unwrap_or_default()
    }
}

/// Compares whole blocks: an unoptimised build would look at every byte of every image.
fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|block| ZEROS.starts_with(block))
}

/// Fills `buffer` from `file` at `offset`, with zeros after its end. True if everything is zero.
fn fill(file: &File, buffer: &mut [u8], offset: u64) -> Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).with_context(|| format!("read the base at {offset}")),
        }
    }
    buffer[filled..].fill(0);
    Ok(is_zero(&buffer[..filled]))
}

/// Copies a file and leaves out blocks of zeros.
pub fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    let source = File::open(from).with_context(|| format!("open {}", from.display()))?;
    let target = File::create(to).with_context(|| format!("create {}", to.display()))?;
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let mut window = vec![0; usize::try_from(WINDOW_BYTES)?];
    let mut offset = 0;
    while offset < length {
        let part = usize::try_from((length - offset).min(WINDOW_BYTES))?;
        if !fill(&source, &mut window[..part], offset)? {
            target.write_all_at(&window[..part], offset).with_context(|| format!("write {}", to.display()))?;
        }
        offset += part as u64;
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "a test's small numbers")]
mod tests {
    use super::super::log::End;
    use super::super::log::by_hand::{Request, SECTOR, bytes};
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    const DISK_SECTORS: u64 = 24;

    fn replay(folder: &Path, base: &[u8], size_bytes: u64, requests: &[Request]) -> Result<Replay> {
        std::fs::write(folder.join("base"), base).unwrap();
        std::fs::write(folder.join("log"), bytes(requests, requests.len() as u64)).unwrap();
        Replay::new(&folder.join("base"), size_bytes, Log::open(&folder.join("log"), End::Closed).unwrap())
    }

    fn plan(points: Points, lost: usize, torn: usize) -> Plan {
        Plan { points, from_entry: 0, lost, torn, within: None, seed: 7 }
    }

    /// The disk in `state`, by applying everything to bytes.
    fn naive(base: &[u8], requests: &[Request], state: &State) -> Vec<u8> {
        let mut disk = base.to_vec();
        disk.resize(DISK_SECTORS as usize * SECTOR, 0);
        for (index, request) in requests.iter().enumerate().take(state.entries) {
            for i in 0..request.count {
                let sector = request.sector + i;
                let torn = state.torn.as_ref().is_some_and(|t| t.entry == index && t.missing.contains(&sector));
                if state.lost.contains(&index) || torn {
                    continue;
                }
                let to = &mut disk[sector as usize * SECTOR..][..SECTOR];
                match request.data.get(i as usize * SECTOR..(i as usize + 1) * SECTOR) {
                    Some(data) => to.copy_from_slice(data),
                    None => to.fill(0),
                }
            }
        }
        disk
    }

    /// Few different contents, so that different ways lead to equal images.
    fn request() -> impl Strategy<Value = Request> {
        let write = (0..DISK_SECTORS, 1..6_u64, 0..3_u8, any::<bool>()).prop_map(|(sector, count, content, forced)| {
            let count = count.min(DISK_SECTORS - sector);
            let data: Vec<u8> = (0..count).flat_map(|i| [content * (i as u8 % 2 + 1); SECTOR]).collect();
            let write = Request::write(sector, &data);
            if forced { write.forced() } else { write }
        });
        let discard = (0..DISK_SECTORS, 1..12_u64).prop_map(|(s, c)| Request::discard(s, c.min(DISK_SECTORS - s)));
        prop_oneof![6 => write, 1 => discard, 2 => Just(Request::flush())]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn states_are_what_a_naive_disk_says(
            base in prop::collection::vec(0..2_u8, 0..DISK_SECTORS as usize),
            requests in prop::collection::vec(request(), 1..14),
            seed: u64, lost in 0..6_usize, torn in 0..6_usize, way in 0..3_u8,
            within in prop::option::of((0..DISK_SECTORS, 0..DISK_SECTORS)),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let base: Vec<u8> = base.iter().flat_map(|byte| [*byte; SECTOR]).collect();
            let size = DISK_SECTORS * SECTOR as u64;
            let Ok(replay) = replay(folder.path(), &base, size, &requests) else {
                prop_assert!(requests.iter().all(|r| r.count == 0));
                return Ok(());
            };
            let points = [Points::EveryWrite, Points::EveryFlush, Points::Random(5)][usize::from(way)];
            let within = within.map(|(from, to)| (from * SECTOR as u64, to * SECTOR as u64));
            let states = replay.states(&Plan { points, from_entry: 0, lost, torn, within, seed }).unwrap();
            let inside = |entry: usize| {
                let (first, end) = (requests[entry].sector, requests[entry].sector + requests[entry].count);
                within.is_none_or(|(from, to)| first * (SECTOR as u64) < to && end * SECTOR as u64 > from)
            };
            let mut images = HashSet::new();
            for state in &states.distinct {
                let last_flush = requests[..state.entries].iter().rposition(|r| r.flags & 1 != 0);
                prop_assert!(state.lost.iter().all(|e| Some(*e) > last_flush && requests[*e].flags & 2 == 0), "{state}");
                prop_assert!(state.torn.iter().all(|t| Some(t.entry) > last_flush && !t.missing.is_empty()), "{state}");
                let expected = naive(&base, &requests, state);
                prop_assert!(state.lost.iter().chain(state.torn.iter().map(|t| &t.entry)).all(|e| inside(*e)), "{state}");
                let mut viewed = Vec::new();
                std::io::Read::read_to_end(&mut replay.view(state).unwrap().part(0), &mut viewed).unwrap();
                prop_assert!(viewed == expected, "{state} as a view");
                replay.write_raw(state, &folder.path().join("raw")).unwrap();
                prop_assert_eq!(&std::fs::read(folder.path().join("raw")).unwrap(), &expected, "{}", state);
                prop_assert!(images.insert(expected), "two equal images: {}", state);
            }
            // Nothing was taken for equal that is not: every prefix is there.
            if points == Points::EveryWrite && within.is_none() {
                for entries in 0..=requests.len() {
                    let prefix = State { entries, lost: vec![], torn: None, hash: [0; 32] };
                    prop_assert!(images.contains(&naive(&base, &requests, &prefix)));
                }
            }
        }
    }

    #[test]
    fn small_sets_are_enumerated_whole() {
        let folder = tempfile::tempdir().unwrap();
        let write = |sector, byte| Request::write(sector, &[byte; SECTOR]);
        // Before the flush: three writes that may each be lost; the last has three sectors, one of which changes nothing.
        let wide = Request::write(4, &[[4; SECTOR], [0; SECTOR], [5; SECTOR]].concat());
        let requests = [write(1, 1), write(2, 2), wide, Request::flush(), write(3, 9).forced()];
        let replay = replay(folder.path(), &[], 1 << 16, &requests).unwrap();
        let states = replay.states(&plan(Points::EveryFlush, 7, 2)).unwrap();
        // 8 subsets and 2 tears (or fewer, where the drawn victim has one sector) before the flush, 1 + 0 at the end.
        let lost: HashSet<_> = states.distinct.iter().filter(|s| s.torn.is_none()).map(|s| s.lost.clone()).collect();
        assert_eq!(lost.len(), 8);
        let states = replay.states(&plan(Points::EveryWrite, 7, 2)).unwrap();
        let torn: Vec<_> = states.distinct.iter().filter_map(|s| s.torn.clone()).collect();
        assert!(
            torn.contains(&Torn { entry: 2, missing: vec![4] }) && torn.contains(&Torn { entry: 2, missing: vec![6] })
        );
        assert_eq!(states.counts.points, 5);
        assert_eq!(
            (states.counts.writes, states.counts.flushes, states.counts.distinct),
            (4, 1, states.distinct.len())
        );
        assert!(states.distinct.iter().all(|state| !state.lost.contains(&4)));
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let requests: Vec<_> = (0..40).map(|i| Request::write(i, &[i as u8 + 1; SECTOR])).collect();
        let replay = replay(folder.path(), &[], 1 << 16, &requests).unwrap();
        let draw = |seed| replay.states(&Plan { seed, ..plan(Points::Random(9), 6, 3) }).unwrap().distinct;
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let late = replay.states(&Plan { from_entry: 38, ..plan(Points::EveryWrite, 0, 0) }).unwrap();
        assert_eq!(late.counts.points, 3);
        assert!(replay.states(&Plan { from_entry: 41, ..plan(Points::EveryWrite, 0, 0) }).is_err());
    }

    #[test]
    fn what_tests_nothing_or_leaves_the_disk_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = |requests: &[Request]| replay(folder.path(), &[], 1 << 16, requests).unwrap_err().to_string();
        assert!(error(&[Request::flush()]).contains("nothing was tested"));
        assert!(error(&[Request::write(127, &[1; 2 * SECTOR])]).contains("entry 0 ends at sector 129 of 128"));
    }

    #[test]
    fn plans_and_logs_have_limits() {
        let folder = tempfile::tempdir().unwrap();
        let one = replay(folder.path(), &[], 1 << 16, &[Request::write(1, &[1; SECTOR])]).unwrap();
        assert!(one.states(&plan(Points::EveryFlush, STATES_MAX - 1, 0)).is_ok());
        for (lost, torn) in [(STATES_MAX, 0), (0, STATES_MAX), (usize::MAX, usize::MAX)] {
            assert!(
                one.states(&plan(Points::EveryFlush, lost, torn)).unwrap_err().to_string().contains("fewer moments")
            );
        }
        // The log says it in one entry, and its data is a hole.
        let count = TOUCHES_MAX as u64 + 1;
        let head = Request { sector: 0, count, flags: 0, data: vec![] };
        std::fs::write(folder.path().join("log"), bytes(&[head], 1)).unwrap();
        let file = File::options().write(true).open(folder.path().join("log")).unwrap();
        file.set_len((count + 2) * SECTOR as u64).unwrap();
        let log = Log::open(&folder.path().join("log"), End::Closed).unwrap();
        let error = Replay::new(&folder.path().join("base"), 1 << 40, log).unwrap_err().to_string();
        assert!(error.contains("touches more than"), "{error}");
    }

    #[test]
    fn a_state_of_another_log_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let one = replay(folder.path(), &[], 1 << 16, &[Request::write(1, &[1; SECTOR])]).unwrap();
        let state = one.states(&plan(Points::EveryWrite, 1, 1)).unwrap().distinct.pop().unwrap();
        let other = replay(folder.path(), &[], 1 << 16, &[Request::write(1, &[2; SECTOR])]).unwrap();
        assert!(other.write_raw(&state, &folder.path().join("raw")).is_err());
    }

    #[test]
    fn thousands_of_states_of_a_large_disk_cost_seconds() {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Random(3);
        let mut log = Vec::new();
        for i in 0..4000_u64 {
            let sector = random.below(500_000) as u64;
            log.push(Request::write(sector, &[(i % 251) as u8; 8 * SECTOR]));
            if i % 40 == 39 {
                log.push(Request::flush());
            }
        }
        let base = File::create(folder.path().join("base")).unwrap();
        base.set_len(256 << 20).unwrap();
        let mut file = File::create(folder.path().join("log")).unwrap();
        file.write_all(&bytes(&log, log.len() as u64)).unwrap();
        let start = std::time::Instant::now();
        let log = Log::open(&folder.path().join("log"), End::Closed).unwrap();
        let replay = Replay::new(&folder.path().join("base"), 256 << 20, log).unwrap();
        let read = start.elapsed();
        let states = replay.states(&plan(Points::EveryWrite, 4, 4)).unwrap();
        let took = start.elapsed() - read;
        println!("read in {read:?}; {:?} in {took:?}", states.counts);
        assert!(states.counts.distinct > 20_000);
        let build = std::time::Instant::now();
        replay.write_overlay(states.distinct.last().unwrap(), &folder.path().join("overlay")).unwrap();
        println!("last state as overlay in {:?}", build.elapsed());
    }
}

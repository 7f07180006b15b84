// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One backup run: walks the sources, seals what the box lacks, hands records to a sink, describes it all in one tree.
//!
//! Blocking, with its own threads and bounded queues. It sends nothing itself and signs nothing: the caller owns the
//! conversation, makes the snapshot record from the [`Outcome`] and tells the local state how the commit ended.

mod attributes;
mod bundles;
mod content;
mod heal;
mod owners;
mod pipe;
mod scan;

use crate::cut::{Cutter, PathCutter};
use crate::info::{About, Counts, Info, Skipped};
use crate::keys::SourceKeys;
use crate::run_key::RunKey;
use crate::seal::{Kind, Padding, Sealer};
use crate::state::{State, StateError, StateNext, StateWriter, short};
use crate::walk::{Filter, Limits, Prefetch, Stat, Walk, resolve_roots};
use adit_wire::ids::Id;
use adit_wire::signed::Completeness;
use content::LargeReader;
use pipe::{Flight, Have, Pipe, PipeEnd, Queues, seal_all, send_all};
use scan::{Scan, Setup};
use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::thread;

/// What to save and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The sources: existing paths; relative ones count from the working directory. Nested ones are saved once.
    pub roots: Vec<PathBuf>,
    /// Patterns to leave out. One without a slash matches a name anywhere, one that begins with a slash a whole path.
    pub excludes: Vec<String>,
    /// Stay on the file system of each source.
    pub one_file_system: bool,
    /// Leave out what lies in directories with a valid CACHEDIR.TAG.
    pub skip_caches: bool,
    /// Patterns of files that change in place by pages (databases, disk images): cut at fixed places.
    pub page_stores: Vec<String>,
    /// Where the local state lies; never saved itself.
    pub state_dir: PathBuf,
    /// How hard to compress.
    pub level: Level,
    /// Threads that compress and seal; 0 = one a core.
    pub sealers: usize,
    /// First nonce counter; a second run under one key continues at [`Outcome::next_counter`].
    pub first_counter: u32,
    /// What the info record says of who and why.
    pub about: About,
}

impl Plan {
    /// The default plan for these sources.
    #[must_use]
    pub fn new(roots: Vec<PathBuf>, state_dir: PathBuf) -> Self {
        Self {
            roots,
            excludes: Vec::new(),
            one_file_system: false,
            skip_caches: true,
            page_stores: PAGE_STORES.map(str::to_owned).to_vec(),
            state_dir,
            level: Level::Auto,
            sealers: 0,
            first_counter: 1,
            about: About::default(),
        }
    }
}

/// Page stores that don't tell themselves by their first bytes: PostgreSQL's heap files and raw images.
const PAGE_STORES: [&str; 4] = ["base/[0-9]*/[0-9]*", "*.img", "*.raw", "*.vdi"];

/// Compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Rises while the sink holds the run up, falls while it waits for the processor.
    Auto,
    /// This zstd level, 1 to 19.
    Fixed(i32),
}

/// What the box has for sure.
#[derive(Debug, Default)]
pub struct Known {
    /// Local state of the snapshot that the box holds as the newest: its whole closure is there.
    pub state: Option<State>,
    /// Records of an unfinished run that the box kept: from the journal, up to the acknowledged number.
    pub pending: Vec<Id>,
    /// After MISSING: ids that the box lacks although `state` names them. What needs them is read and sent again.
    pub missing: Vec<Id>,
    /// Without a state or with a torn journal: ask [`Sink::have`] before sending.
    pub ask: bool,
}

/// Where records go, in sending order, children before what references them.
pub trait Sink: Sync {
    /// Takes one whole record. Blocks while the line is full.
    ///
    /// # Errors
    /// When nobody will take records any more; ends the run.
    fn record(&self, record: Vec<u8>) -> Result<(), SinkClosed>;

    /// Asks which of these (at most 4,096) the box has. `None` = can't ask: then all is sent.
    ///
    /// # Errors
    /// When the line is gone; ends the run.
    fn have(&self, ids: &[Id]) -> Result<Option<Vec<bool>>, SinkClosed> {
        let _unasked = ids;
        Ok(None)
    }
}

/// The sink takes no more records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the receiver takes no more records")]
pub struct SinkClosed;

/// Told how far a run is. Called often, from the run's thread: must return at once.
pub trait Progress: Sync {
    /// Counted so far.
    fn counted(&self, counts: &Counts) {
        let _unused = counts;
    }
    /// A path was not saved whole.
    fn skipped(&self, skipped: &Skipped) {
        let _unused = skipped;
    }
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;
impl Progress for Silent {}

/// What a run made.
#[derive(Debug)]
pub struct Outcome {
    /// The root node.
    pub root: Id,
    /// Its height; the snapshot record stands one above.
    pub root_height: u8,
    /// The info record, handed to the sink as the last.
    pub info: Id,
    /// What was counted; `records` and `nodes` go into the snapshot.
    pub counts: Counts,
    /// The first skipped paths.
    pub skipped: Vec<Skipped>,
    /// Whether anything failed.
    pub completeness: Completeness,
    /// The counter that the next record under this key takes.
    pub next_counter: u32,
    /// The local state that becomes true with the commit.
    pub state_next: StateNext,
}

/// Why a run ended without an outcome.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A source can't be read at all. Operator.
    #[error("read the source {path}")]
    Root {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nothing to save. Operator.
    #[error("no source given")]
    NoRoots,
    /// A pattern does not parse. Operator.
    #[error("pattern {pattern:?}: {reason}")]
    Pattern {
        /// Which.
        pattern: String,
        /// The parser's words.
        reason: String,
    },
    /// The local state can't be written. Hardware or operator.
    #[error("write the local state")]
    State(#[from] StateError),
    /// The receiver is gone. Peer.
    #[error(transparent)]
    Sink(#[from] SinkClosed),
    /// Sealing failed its own check. Us, or the memory of this machine.
    #[error("seal a record")]
    Seal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The key has sealed as many records as it may; the caller opens a new one.
    #[error("this run's key is used up")]
    Counter,
}

/// A backup run.
#[derive(Debug)]
pub struct Run;

impl Run {
    /// Runs to the end.
    ///
    /// # Errors
    /// What makes the whole run impossible; what spoils one path is in the outcome.
    pub fn start(
        plan: &Plan,
        keys: &SourceKeys,
        run_key: &RunKey,
        known: Known,
        sink: &dyn Sink,
        progress: &dyn Progress,
    ) -> Result<Outcome, RunError> {
        let start_s = now_s();
        let roots = resolve_roots(&plan.roots)?;
        let limits = Limits {
            filter: Filter::new(&plan.excludes)?,
            one_file_system: plan.one_file_system,
            skip_caches: plan.skip_caches,
            never: Stat::of_path(&plan.state_dir).ok().map(|stat| (stat.device, stat.ino)),
        };
        let page_stores = Filter::new(&plan.page_stores)?;
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let sealers = if plan.sealers == 0 { cores } else { plan.sealers };
        let sealer =
            Sealer::new(keys, run_key.clone(), Padding::Padme).map_err(|error| RunError::Seal(error.into()))?;
        let prefetch = Prefetch::new(plan.skip_caches);
        let flight = Flight::new(plan.level);
        let queues = Queues::new();
        // Made before any thread: a thread that waits for work ends only when the queue closes.
        let sealers = (0..sealers).map(|_| sealer.try_clone()).collect::<Result<Vec<_>, _>>();
        let sealers = sealers.map_err(|error| RunError::Seal(error.into()))?;
        thread::scope(|scope| {
            for sealer in sealers {
                let ends = queues.sealer_ends();
                let flight = &flight;
                scope.spawn(move || seal_all(&ends, flight, sealer));
            }
            for _ in 0..cores.clamp(LISTERS_MIN, LISTERS_MAX) {
                scope.spawn(|| prefetch.help());
            }
            let (work, sealed) = queues.into_ends();
            let (flight, level, first) = (&flight, plan.level, plan.first_counter);
            scope.spawn(move || send_all(&sealed, flight, first, level, sink));
            let frame = Frame { plan, keys, flight, sink, progress, start_s, roots: &roots };
            let outcome = Walk::new(&roots, limits, &prefetch)
                .and_then(|mut walk| frame.scan(known, page_stores, work, &mut walk));
            prefetch.stop();
            outcome
        })
    }
}

/// What stays the same for a whole run.
struct Frame<'r> {
    plan: &'r Plan,
    keys: &'r SourceKeys,
    flight: &'r Flight,
    sink: &'r dyn Sink,
    progress: &'r dyn Progress,
    start_s: u64,
    roots: &'r [PathBuf],
}

impl Frame<'_> {
    fn scan(&self, known: Known, page_stores: Filter, work: PipeEnd, walk: &mut Walk<'_>) -> Result<Outcome, RunError> {
        let seed = self.keys.seed();
        let Known { state, pending, mut missing, ask } = known;
        let lost: HashSet<u64> = missing.iter().map(short).collect();
        let known_ids = state.as_ref().map(State::ids).unwrap_or_default();
        let have = Have {
            known: known_ids.iter().filter(|id| !lost.contains(id)).copied().collect(),
            pending: pending.iter().map(short).filter(|id| !lost.contains(id)).collect(),
            missing: missing.iter().copied().collect(),
            ask,
        };
        let mut pipe = Pipe::new(seed.id_key(), have, self.plan.first_counter, self.flight, work, self.sink);
        let hash_key = seed.derive(CONTEXT_SMALL_FILE);
        if let Some(state) = &state {
            heal::rebuild_bundles(state, &mut missing, &hash_key, &mut pipe)?;
        }
        let writer = StateWriter::new(&self.plan.state_dir, state.as_ref())?;
        let setup = Setup {
            state,
            missing: missing.iter().map(short).collect(),
            path_cutter: PathCutter::new(seed.path_cut_key()),
            large: LargeReader::new(Cutter::new(&seed.cut_key())),
            hash_key,
            link_key: seed.derive(CONTEXT_LINK_GROUP),
            page_stores,
            pipe,
            writer,
            progress: self.progress,
        };
        let scan::Scanned { root, tables, mut pipe, writer, mut counts, skipped } = Scan::new(setup)?.run(walk)?;
        let state_next = writer.finish(root.id, root.height, &tables)?;
        pipe.drain()?;
        self.count(&pipe, &mut counts);
        let info = pipe.data(Kind::Info, &self.info(counts, &skipped).to_plain())?;
        pipe.drain()?;
        self.count(&pipe, &mut counts);
        self.progress.counted(&counts);
        let completeness = if counts.skipped == 0 { Completeness::Complete } else { Completeness::Partial };
        let next_counter = pipe.next_counter();
        let (root, root_height) = (root.id, root.height);
        Ok(Outcome { root, root_height, info, counts, skipped, completeness, next_counter, state_next })
    }

    fn count(&self, pipe: &Pipe<'_>, counts: &mut Counts) {
        counts.records = pipe.records;
        counts.nodes = pipe.nodes;
        counts.bytes_new = pipe.bytes_new;
        counts.record_bytes = self.flight.record_bytes.load(std::sync::atomic::Ordering::Relaxed);
    }

    fn info(&self, counts: Counts, skipped: &[Skipped]) -> Info {
        Info {
            about: self.plan.about.clone(),
            roots: self.roots.iter().map(|root| root.as_os_str().as_bytes().to_vec()).collect(),
            excludes: self.plan.excludes.clone(),
            start_s: self.start_s,
            end_s: now_s(),
            counts,
            skipped: skipped.to_vec(),
            ext: Vec::new(),
        }
    }
}

/// Threads that list directories ahead: more than cores, for they wait for disks.
const LISTERS_MIN: usize = 4;
const LISTERS_MAX: usize = 8;
const CONTEXT_SMALL_FILE: &str = "adit 2026 small file hash v1";
const CONTEXT_LINK_GROUP: &str = "adit 2026 link group v1";

fn now_s() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    u64::try_from(now.tv_sec).unwrap_or_default()
}

#[cfg(test)]
mod tests;

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One backup run: walks the sources, seals what the box lacks, hands records to a sink, describes it all in one tree.
//!
//! Blocking, with its own threads and bounded queues. It sends nothing itself and signs nothing: the caller owns the
//! conversation, makes the snapshot record from the [`Outcome`] and tells the local state how the commit ended.

use crate::info::{About, Counts, Skipped};
use crate::keys::SourceKeys;
use crate::run_key::RunKey;
use crate::state::{State, StateNext};
use adit_wire::ids::Id;
use adit_wire::signed::Completeness;
use std::path::PathBuf;

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
            page_stores: Vec::new(),
            state_dir,
            level: Level::Auto,
            sealers: 0,
            first_counter: 1,
            about: About::default(),
        }
    }
}

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
    State(#[from] crate::state::StateError),
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
        let _unbuilt = (plan, keys, run_key, known, sink, progress);
        unimplemented!("lands next")
    }
}

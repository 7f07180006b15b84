// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The store's face: what the daemon calls, apart from sessions, commits, reading and verifying, which have their own
//! files. One thread owns a store.

use crate::disk::{Disk, FileId, Mode, replace_file};
use crate::error::{CreateError, Fault, OpenError, SourceError, WriteError};
use crate::index::Index;
use crate::ledger::{
    self, AllocEntry, CleanEntry, Entry, Genesis, Ledger, ProgressEntry, SealEntry, SourceEntry, State,
};
use crate::retain::RetentionClock;
use crate::scrub::Scrub;
use crate::segment::{Class, Footer, MarkEntry, OpenSegment, Sealed, SegmentHeader, dir};
use crate::session::Sessions;
use crate::superblock::{NAMES, Superblock};
use crate::types::{Access, Event, Holding, Moment, NewStore, Opening, Peer, Source, Status, Swept};
use adit_wire::ids::{LedgerHash, SourceId, StoreId};
use adit_wire::pair::NAME_BYTES_MAX;
use adit_wire::signed::{Certificate, PREFIX_CERTIFICATE, message_parts};
use std::cell::RefCell;
use std::sync::Arc;

/// Bytes that a record costs beside its own, when a source's use is counted.
const RECORD_COST_BYTES: u64 = 1024;

/// An open store.
#[derive(Debug)]
pub struct Store {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) superblock: Superblock,
    pub(crate) state: State,
    pub(crate) ledger: Ledger,
    pub(crate) index: Index,
    /// The open segment of each class.
    pub(crate) open: [Option<OpenSegment>; 2],
    /// Numbers that were allocated for a file that could not be made yet.
    pub(crate) spare: [Option<u32>; 2],
    pub(crate) next_arrival: u64,
    pub(crate) sessions: Sessions,
    pub(crate) read_only: Option<String>,
    pub(crate) events: Vec<Event>,
    /// Records that did not verify while they were read: (segment, offset).
    pub(crate) suspects: RefCell<Vec<(u32, u64)>>,
    pub(crate) handles: RefCell<Handles>,
    pub(crate) told_full: bool,
    /// Since when flushed bytes of each class's open segment wait for parity, milliseconds of the monotonic clock.
    pub(crate) uncovered_ms: [Option<u64>; 2],
    /// A record was healed since the last commit.
    pub(crate) healed: bool,
    pub(crate) scrub: Scrub,
    /// Read-only stores: open segments as they were found.
    pub(crate) tails: Vec<Tail>,
    pub(crate) clock: RetentionClock,
}

/// An open segment of a store that may not seal it.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) segment: u32,
    pub(crate) footer: Footer,
    pub(crate) end: u64,
}

/// Segments open for reading, the last used at the end.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    pub(crate) files: Vec<(u32, FileId)>,
}

/// Place of a class in arrays.
pub(crate) const fn slot(class: Class) -> usize {
    match class {
        Class::Data => 0,
        Class::Meta => 1,
    }
}

impl Store {
    /// Makes an empty store. The default geometry is data segments of 256 MiB and meta segments of 64 MiB.
    ///
    /// # Errors
    /// When a store is there, or the disk refuses.
    pub fn create(disk: &dyn Disk, new: &NewStore) -> Result<(), CreateError> {
        let superblock = Superblock::new(new).ok_or(CreateError::Geometry)?;
        let names = disk.list("").map_err(Fault::write("the store's directory"))?;
        if names.iter().any(|name| NAMES.contains(&name.as_str())) {
            return Err(CreateError::Exists);
        }
        for path in [dir(Class::Data), dir(Class::Meta), "par", "idx", "lost", "ledger"] {
            disk.create_dir(path).map_err(Fault::write(path))?;
        }
        for path in ledger::DIRS {
            disk.create_dir(path).map_err(Fault::write(path))?;
        }
        disk.sync_dir("").map_err(Fault::sync("the store's directory"))?;
        disk.sync_dir("ledger").map_err(Fault::sync("ledger"))?;
        let genesis = Genesis { store: new.id, created_s: new.created_s };
        Ledger::create(disk, genesis, new.created_s, superblock.ledger_file_bytes())?;
        // The superblocks come last: what has none is no store yet, and may be made again.
        for name in NAMES.into_iter().rev() {
            replace_file(disk, "", name, &superblock.to_page()).map_err(Fault::write(name))?;
        }
        Ok(())
    }

    /// Opens a store and repairs what a power cut left.
    ///
    /// # Errors
    /// When it is no store, is too new, is open elsewhere or cannot be read.
    pub fn open(disk: impl Disk + 'static, access: Access, now: Moment) -> Result<(Self, Opening), OpenError> {
        crate::recover::open(Arc::new(disk), access, now)
    }

    /// Makes everything durable and notes a clean end.
    ///
    /// # Errors
    /// When the disk refuses; the next open then recovers as after a power cut.
    pub fn close(mut self, now: Moment) -> Result<(), WriteError> {
        if self.read_only.is_some() {
            return Ok(());
        }
        self.sync(now)?;
        self.write_tables()?;
        for place in 0..self.open.len() {
            self.write_parity(place)?;
        }
        let ends = self.open.iter().flatten().map(|segment| (segment.number(), segment.end())).collect();
        self.note(now, &[Entry::Clean(CleanEntry { ends })]).map(|_| ())
    }

    /// The store's name.
    #[must_use]
    pub const fn id(&self) -> StoreId {
        self.superblock.id
    }

    /// Registers a source or changes it. Durable on return. A recovery key that is known stays, and so does a certificate
    /// of the same epoch when none is given.
    ///
    /// # Errors
    /// When the epoch goes back, the certificate does not fit, or nothing can be written.
    pub fn put_source(&mut self, mut source: Source, now: Moment) -> Result<(), SourceError> {
        if source.name.len() > NAME_BYTES_MAX {
            return Err(SourceError::Name);
        }
        let number = self.state.number_of(&source.id);
        if let Some(known) = number.and_then(|number| self.state.source(number)) {
            let (known, given) = (&known.source, source.epoch);
            if given < known.epoch {
                return Err(SourceError::EpochOld { given, known: known.epoch });
            }
            if given == known.epoch && source.signing_key != known.signing_key {
                return Err(SourceError::KeyDiffers);
            }
            if !known.recovery_key.is_zero() {
                if source.recovery_key.is_zero() {
                    source.recovery_key = known.recovery_key;
                } else if source.recovery_key != known.recovery_key {
                    return Err(SourceError::RecoveryDiffers);
                }
            }
            if given == known.epoch && source.certificate.is_empty() {
                source.certificate.clone_from(&known.certificate);
            }
            if *known == source {
                return Ok(());
            }
        }
        check_certificate(&source)?;
        let number = number.unwrap_or_else(|| crate::bytes::narrow(self.state.sources.len()));
        self.writable()?;
        self.note(now, &[Entry::Source(SourceEntry { number, source })])?;
        Ok(())
    }

    /// One source.
    #[must_use]
    pub fn source(&self, source: &SourceId) -> Option<&Source> {
        let number = self.state.number_of(source)?;
        self.state.source(number).map(|state| &state.source)
    }

    /// All sources, in the order of their registration.
    #[must_use]
    pub fn sources(&self) -> Vec<&Source> {
        self.state.sources.iter().map(|state| &state.source).collect()
    }

    /// Notes a pairing in the ledger. Durable on return.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn note_peer(&mut self, peer: Peer, now: Moment) -> Result<(), WriteError> {
        if self.state.peers.contains(&peer) {
            return Ok(());
        }
        self.writable()?;
        self.note(now, &[Entry::Peer(peer)])?;
        Ok(())
    }

    /// The pairings that the ledger knows, the newest note of each key.
    #[must_use]
    pub fn peers(&self) -> &[Peer] {
        &self.state.peers
    }

    /// The store at a glance.
    #[must_use]
    pub fn status(&self) -> Status {
        let (ledger_block, ledger_hash) = self.ledger.head();
        let totals = (0..crate::bytes::narrow(self.state.sources.len())).map(|number| self.index.totals(number));
        let (records, record_bytes) = totals.fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1));
        let snapshots = self.state.sources.iter().flat_map(|source| &source.snapshots);
        Status {
            id: self.superblock.id,
            created_s: self.superblock.created_s,
            read_only: self.read_only.clone(),
            ledger_block,
            ledger_hash,
            sources: self.state.sources.len() as u64,
            snapshots: snapshots.clone().count() as u64,
            records,
            record_bytes,
            damaged_records: self.index.damaged(),
            quarantined_ranges: self.state.quarantine.iter().filter(|range| range.promised).count() as u64,
            segments: self.state.segments.len() as u64,
            segment_bytes: self.segment_bytes(),
            grown_bytes: {
                let newest_s = snapshots.clone().map(|snapshot| snapshot.received_s).max().unwrap_or(0);
                let recent = snapshots.clone().filter(|it| it.received_s.saturating_add(30 * 86_400) > newest_s);
                recent.map(|snapshot| snapshot.bytes).sum()
            },
            swept: self.state.swept.as_ref().map(|sweep| Swept {
                at_s: sweep.at_s,
                records: sweep.records,
                bytes: sweep.bytes,
            }),
            free_bytes: self.disk.free_bytes().ok().flatten(),
            newest_received_s: snapshots.map(|snapshot| snapshot.received_s).max().unwrap_or(0),
        }
    }

    fn segment_bytes(&self) -> u64 {
        let sealed = self.state.segments.values().filter_map(|state| state.sealed.as_ref());
        let open = self.open.iter().flatten().map(OpenSegment::end);
        sealed.map(|sealed| sealed.length).chain(open).sum()
    }

    /// What the store holds of each source, in the order of their registration.
    #[must_use]
    pub fn holdings(&self) -> Vec<Holding> {
        let holding = |(number, state): (u32, &ledger::SourceState)| {
            let (records, bytes) = self.index.totals(number);
            let expired = state.snapshots.iter().filter(|snapshot| snapshot.expired.is_some()).count() as u64;
            Holding {
                source: state.source.id,
                name: state.source.name.clone(),
                snapshots: state.snapshots.len() as u64 - expired,
                expired,
                released: state.released,
                newest_s: state.snapshots.last().map_or(0, |newest| newest.received_s),
                records,
                bytes,
                guarded: self.state.guards.contains_key(&Some(number)),
            }
        };
        (0u32..).zip(&self.state.sources).map(holding).collect()
    }

    /// The newest durable ledger block and its hash.
    #[must_use]
    pub const fn ledger_head(&self) -> (u64, LedgerHash) {
        self.ledger.head()
    }

    /// Why nothing can be written, if so.
    #[must_use]
    pub fn read_only(&self) -> Option<&str> {
        self.read_only.as_deref()
    }

    /// Bytes charged to a source: its records and 1 KiB for each.
    #[must_use]
    pub fn used_bytes(&self, source: &SourceId) -> u64 {
        let totals = self.state.number_of(source).map(|number| self.index.totals(number));
        totals.map_or(0, |(records, bytes)| bytes + records * RECORD_COST_BYTES)
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    pub(crate) fn writable(&self) -> Result<(), WriteError> {
        match &self.read_only {
            Some(why) => Err(WriteError::ReadOnly(why.clone())),
            None => Ok(()),
        }
    }

    /// Appends one ledger block.
    pub(crate) fn note(&mut self, now: Moment, entries: &[Entry]) -> Result<(u64, LedgerHash), WriteError> {
        let disk = Arc::clone(&self.disk);
        let clock = self.clock_entry(now);
        let with_clock;
        let entries = match clock {
            None => entries,
            Some(clock) => {
                // CLEAN must stay the last.
                with_clock = [&[clock], entries].concat();
                &with_clock
            }
        };
        let noted = self.ledger.append(&*disk, &mut self.state, now.wall_s, entries);
        noted.map_err(|fault| self.fail(fault))
    }

    /// Turns a fault into an error; all but a full disk end writing until the store is opened again.
    pub(crate) fn fail(&mut self, fault: Fault) -> WriteError {
        match fault {
            Fault::Full => {
                if !std::mem::replace(&mut self.told_full, true) {
                    self.events.push(Event::DiskFull);
                }
                WriteError::DiskFull
            }
            Fault::Write(what, source) => {
                let why = format!("writing {what} failed: {source}");
                self.events.push(Event::WriteFailed(why.clone()));
                self.read_only = Some(why);
                WriteError::Disk { what, source }
            }
            Fault::Sync(what, source) => {
                let why = format!("flushing {what} failed: {source}");
                self.events.push(Event::SyncFailed(why.clone()));
                self.read_only = Some(why);
                WriteError::Disk { what, source }
            }
        }
    }

    /// The index does not verify: it is rebuilt at the next start, and nothing is taken until then.
    pub(crate) fn index_damaged(&mut self) -> WriteError {
        self.index.invalidate(&*self.disk);
        self.read_only = Some("the index is damaged; restart to rebuild it".to_owned());
        WriteError::Index
    }

    /// Writes the memtable as a table. Everything in it is durable in segments.
    pub(crate) fn write_tables(&mut self) -> Result<(), WriteError> {
        let disk = Arc::clone(&self.disk);
        let written = self.index.write_tables(&*disk, self.next_arrival, self.ledger.head());
        written.map_err(|fault| match fault {
            crate::index::WriteFault::Damaged => self.index_damaged(),
            crate::index::WriteFault::Disk(fault) => self.fail(fault),
        })
    }

    /// The open segment of a class, with room for a record of so many bytes.
    pub(crate) fn segment_for(&mut self, class: Class, record_bytes: usize, now: Moment) -> Result<(), WriteError> {
        if self.open[slot(class)].as_ref().is_some_and(|segment| segment.has_room(record_bytes)) {
            return Ok(());
        }
        let mut entries = Vec::new();
        if let Some(segment) = &mut self.open[slot(class)] {
            let sealed = segment.seal(&*self.disk, &self.superblock.store_key);
            let entry = match sealed {
                Ok(sealed) => seal_entry(segment, sealed),
                Err(fault) => return Err(self.fail(fault)),
            };
            // Parity first: what SEAL names can be healed.
            let bytes = segment.parity_file(entry.length, entry.footer_hash);
            self.keep_parity(entry.segment, bytes)?;
            self.uncovered_ms[slot(class)] = None;
            entries.push(Entry::Seal(entry));
            entries.push(Entry::Progress(ProgressEntry::new(&self.durable_progress())));
        }
        let number = match self.spare[slot(class)] {
            Some(number) => number,
            None => {
                let number = self.state.next_segment;
                entries.push(Entry::Alloc(AllocEntry { segment: number, class, created_s: now.wall_s }));
                number
            }
        };
        if !entries.is_empty() {
            self.note(now, &entries)?;
        }
        if let Some(segment) = self.open[slot(class)].take() {
            self.disk.close(segment.file());
        }
        self.spare[slot(class)] = Some(number);
        let created = self.create_segment(class, number);
        match created {
            Ok(segment) => {
                self.spare[slot(class)] = None;
                self.open[slot(class)] = Some(segment);
                Ok(())
            }
            Err(fault) => Err(self.fail(fault)),
        }
    }

    fn create_segment(&self, class: Class, number: u32) -> Result<OpenSegment, Fault> {
        let state = self.state.segments.get(&number);
        let (created_s, alloc_block) = state.map_or((0, 0), |state| (state.created_s, state.alloc_block));
        let header = SegmentHeader {
            class,
            number,
            store: self.superblock.id,
            geometry: self.superblock.geometry,
            created_s,
            alloc_block,
        };
        let limit = self.superblock.segment_bytes(class);
        OpenSegment::create(&*self.disk, header, limit, self.superblock.buffer_bytes())
    }

    /// Durable numbers of all unfinished sessions.
    pub(crate) fn durable_progress(&self) -> Vec<MarkEntry> {
        (0u32..)
            .zip(&self.state.sources)
            .filter_map(|(source, state)| {
                let pending = state.pending.as_ref()?;
                Some(MarkEntry { source, key_id: pending.key_id, seq: pending.durable_seq })
            })
            .collect()
    }

    /// A segment's file, for reading.
    pub(crate) fn handle(&self, segment: u32) -> std::io::Result<FileId> {
        const HANDLES: usize = 32;
        let mut handles = self.handles.borrow_mut();
        if let Some(place) = handles.files.iter().position(|(number, _)| *number == segment) {
            let handle = handles.files.remove(place);
            handles.files.push(handle);
            return Ok(handle.1);
        }
        let class = self.state.segments.get(&segment).ok_or(std::io::ErrorKind::NotFound)?.class;
        let file = self.disk.open(&crate::segment::path(class, segment), Mode::Read)?;
        if handles.files.len() >= HANDLES {
            self.disk.close(handles.files.remove(0).1);
        }
        handles.files.push((segment, file));
        Ok(file)
    }
}

/// The SEAL entry of a segment that was just sealed.
pub(crate) fn seal_entry(segment: &OpenSegment, sealed: Sealed) -> SealEntry {
    let (first_arrival, last_arrival) = segment.arrivals();
    SealEntry {
        segment: segment.number(),
        length: sealed.length,
        footer_hash: sealed.footer_hash,
        records: crate::bytes::narrow(segment.footer().entries.len()),
        first_arrival,
        last_arrival,
    }
}

/// A certificate must say what the source says and be signed by its recovery key.
fn check_certificate(source: &Source) -> Result<(), SourceError> {
    if source.certificate.is_empty() {
        return Ok(());
    }
    let (certificate, body, signature) =
        Certificate::read(&source.certificate).map_err(|_| SourceError::Certificate)?;
    let fits = certificate.source == source.id
        && certificate.signing_key == source.signing_key
        && certificate.epoch == source.epoch;
    let parts = message_parts(PREFIX_CERTIFICATE, body);
    if fits && verify(&source.recovery_key.0, &parts, &signature.0) { Ok(()) } else { Err(SourceError::Certificate) }
}

/// Whether an Ed25519 signature over the joined parts holds.
pub(crate) fn verify(key: &[u8; 32], parts: &[&[u8]], signature: &[u8; 64]) -> bool {
    let message = parts.concat();
    aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, key)
        .verify(&message, signature)
        .is_ok()
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ledger: two copies of one chain of blocks. It says what was promised; segments hold what the promises rest on.
//!
//! A block is written once, to both copies, and is durable in both before anything that rests on it is told to anybody.
//! Each file begins with a whole CHECKPOINT, so that opening reads the newest file only.

mod block;
mod entry;
mod state;
mod state_v1;

pub(crate) use block::Block;
pub(crate) use entry::{
    AbandonEntry, AllocEntry, CleanEntry, ClockEntry, CommitEntry, DropEntry, Entry, ExpireEntry, Genesis, GuardEntry,
    HealEntry, HealedBy, OpenEntry, PolicyEntry, ProgressEntry, ProtectEntry, QuarantineEntry, ReleaseEntry,
    RewriteEntry, SealEntry, SourceEntry, SweepEntry,
};
pub(crate) use state::{Quarantine, SnapshotState, SourceState, State};

use crate::bytes::{PAGE, PAGE_U64, align, memory, narrow};
use crate::disk::{Disk, FileId, Mode, read_exact};
use crate::error::{Fault, OpenError};
use crate::types::Event;
use adit_wire::ids::LedgerHash;
use entry::{CHECKPOINT_VERSION, CheckpointPart, EntryError};

/// Directories of the two copies.
pub(crate) const DIRS: [&str; 2] = ["ledger/a", "ledger/b"];
const COPIES: [&str; 2] = ["a", "b"];
/// Bytes of state in one CHECKPOINT block.
const PART_BYTES: usize = 128 << 10;

/// The ledger, open for appending.
#[derive(Debug)]
pub(crate) struct Ledger {
    files: [FileId; 2],
    file_number: u32,
    /// Where the next block goes.
    offset: u64,
    file_bytes: u64,
    next_block: u64,
    head: LedgerHash,
}

/// What reading the ledger gave.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) ledger: Ledger,
    pub(crate) state: State,
    pub(crate) events: Vec<Event>,
    /// A block that neither copy holds although later ones exist.
    pub(crate) gap: Option<u64>,
}

fn name(number: u32) -> String {
    format!("{number:08x}")
}

fn path(copy: usize, number: u32) -> String {
    format!("{}/{number:08x}", DIRS[copy])
}

fn file_number(name: &str) -> Option<u32> {
    u32::from_str_radix(name, 16).ok().filter(|number| self::name(*number) == name)
}

impl Ledger {
    /// Writes the first file of a new store.
    pub(crate) fn create(disk: &dyn Disk, genesis: Genesis, wall_s: u64, file_bytes: u64) -> Result<(), Fault> {
        let first = Block::build(0, wall_s, LedgerHash::ZERO, &[Entry::Genesis(genesis)]);
        let (blocks, _) = checkpoint(&State::default(), first.number + 1, wall_s, first.hash);
        let mut bytes = first.bytes;
        for block in blocks {
            bytes.extend_from_slice(&block.bytes);
        }
        write_files(disk, 0, &bytes, file_bytes)
    }

    /// Number and hash of the newest block.
    pub(crate) const fn head(&self) -> (u64, LedgerHash) {
        (self.next_block.saturating_sub(1), self.head)
    }

    /// Appends one block, durable in both copies on return, and applies it to `state`.
    pub(crate) fn append(
        &mut self,
        disk: &dyn Disk,
        state: &mut State,
        wall_s: u64,
        entries: &[Entry],
    ) -> Result<(u64, LedgerHash), Fault> {
        let mut block = Block::build(self.next_block, wall_s, self.head, entries);
        if self.offset + block.bytes.len() as u64 > self.file_bytes {
            self.roll(disk, state, wall_s)?;
            block = Block::build(self.next_block, wall_s, self.head, entries);
        }
        // Both copies lie in files whose room was written before: a full disk can't hit here.
        let hard = |fault| match fault {
            Fault::Full => Fault::Write("the ledger".to_owned(), std::io::ErrorKind::StorageFull.into()),
            Fault::Write(what, error) | Fault::Sync(what, error) => Fault::Write(what, error),
        };
        for (copy, file) in self.files.iter().enumerate() {
            let written = disk.write_at(*file, self.offset, &block.bytes);
            written.map_err(Fault::write(path(copy, self.file_number))).map_err(hard)?;
        }
        for (copy, file) in self.files.iter().enumerate() {
            disk.sync(*file).map_err(Fault::sync(path(copy, self.file_number)))?;
        }
        self.offset += block.bytes.len() as u64;
        self.next_block += 1;
        self.head = block.hash;
        for entry in entries {
            state.apply(block.number, block.hash, entry);
        }
        Ok((block.number, block.hash))
    }

    /// Starts the next file with a checkpoint. On failure the old file stays in use.
    fn roll(&mut self, disk: &dyn Disk, state: &State, wall_s: u64) -> Result<(), Fault> {
        let (blocks, head) = checkpoint(state, self.next_block, wall_s, self.head);
        let count = blocks.len() as u64;
        let bytes: Vec<u8> = blocks.into_iter().flat_map(|block| block.bytes).collect();
        // A state that fills a file by itself gets a longer one.
        let file_bytes = self.file_bytes.max(align(bytes.len() as u64 * 2, PAGE_U64));
        let number = self.file_number + 1;
        write_files(disk, number, &bytes, file_bytes)?;
        let mut files = [FileId(0); 2];
        for (copy, file) in files.iter_mut().enumerate() {
            *file = disk.open(&path(copy, number), Mode::Write).map_err(Fault::write(path(copy, number)))?;
        }
        for file in std::mem::replace(&mut self.files, files) {
            disk.close(file);
        }
        self.file_number = number;
        self.offset = bytes.len() as u64;
        self.file_bytes = file_bytes;
        self.next_block += count;
        self.head = head;
        Ok(())
    }

    /// Reads the newest file, taking of each block the copy that verifies, and repairs the other if `repair`.
    pub(crate) fn load(disk: &dyn Disk, repair: bool) -> Result<Loaded, OpenError> {
        let number = newest_file(disk)?;
        let mut reader = Reader::open(disk, number, repair)?;
        let mut state = State::default();
        let mut parts: Vec<u8> = Vec::new();
        let mut whole = false;
        let mut last: Option<(u64, LedgerHash)> = None;
        while let Some(block) = reader.next(last)? {
            let (count, bytes) = block.entries();
            let entries = Entry::read_all(bytes, count).map_err(|error| match error {
                EntryError::Damaged => OpenError::Ledger,
                EntryError::Newer(kind) => OpenError::Newer { what: format!("ledger entry {kind}") },
            })?;
            for entry in &entries {
                if let Entry::Checkpoint(part) = entry {
                    parts.extend_from_slice(&part.bytes);
                    if part.index + 1 == part.count {
                        state = State::read(part.version, &parts).ok_or(OpenError::Ledger)?;
                        whole = true;
                    }
                } else if whole {
                    state.apply(block.number, block.hash, entry);
                }
            }
            last = Some((block.number, block.hash));
        }
        let (newest, head) = last.filter(|_| whole).ok_or(OpenError::Ledger)?;
        let gap = reader.later_block(newest).then_some(newest + 1);
        let mut events = reader.events();
        events.extend(gap.map(|block| Event::LedgerGap { block }));
        let ledger = Self {
            files: reader.files(),
            file_number: number,
            offset: reader.offset,
            file_bytes: reader.file_bytes,
            next_block: newest + 1,
            head,
        };
        Ok(Loaded { ledger, state, events, gap })
    }

    /// Checks both copies of the newest file: blocks read, and what is wrong.
    pub(crate) fn verify(&self, disk: &dyn Disk) -> (u64, Vec<String>) {
        let mut blocks = 0;
        let mut damage = Vec::new();
        for (copy, file) in self.files.iter().enumerate() {
            let mut at = 0;
            let mut prev: Option<LedgerHash> = None;
            while at < self.offset {
                let block = read_block(disk, *file, at).filter(|block| prev.is_none_or(|prev| block.prev == prev));
                let Some(block) = block else {
                    damage.push(format!("ledger {} is damaged at byte {at}", path(copy, self.file_number)));
                    break;
                };
                at += block.bytes.len() as u64;
                prev = Some(block.hash);
                blocks += 1;
            }
            if at >= self.offset && prev != Some(self.head) {
                damage.push(format!("ledger {} does not end where it should", path(copy, self.file_number)));
            }
        }
        (blocks, damage)
    }

    /// Number of the file that is appended to.
    pub(crate) const fn newest_file(&self) -> u32 {
        self.file_number
    }

    /// Reads both copies of a file and writes the wrong blocks of one anew from the other. A copy that is gone comes back.
    pub(crate) fn heal(&mut self, disk: &dyn Disk, number: u32) -> Result<Vec<Event>, OpenError> {
        let newest = number == self.file_number;
        let mut reader = Reader::open(disk, number, true)?;
        let mut last = None;
        while !(newest && reader.offset >= self.offset) {
            let Some(block) = reader.next(last)? else { break };
            last = Some((block.number, block.hash));
        }
        let mut events = reader.events();
        let end = last.map_or(0, |(number, _)| number);
        if newest && reader.offset < self.offset {
            events.push(Event::LedgerGap { block: end + 1 });
        }
        let files = if newest { std::mem::replace(&mut self.files, reader.files()) } else { reader.files() };
        files.into_iter().for_each(|file| disk.close(file));
        Ok(events)
    }

    /// Calls `each` with the time and each entry of the newest two files, oldest first; what does not verify is left out.
    pub(crate) fn each_entry(&self, disk: &dyn Disk, each: &mut dyn FnMut(u64, &Entry)) {
        for number in self.file_number.saturating_sub(1)..=self.file_number {
            let Ok(mut reader) = Reader::open(disk, number, false) else { continue };
            let mut last = None;
            while let Ok(Some(block)) = reader.next(last) {
                let (count, bytes) = block.entries();
                let entries = Entry::read_all(bytes, count).unwrap_or_default();
                entries.iter().for_each(|entry| each(block.wall_s, entry));
                last = Some((block.number, block.hash));
            }
            reader.files.into_iter().flatten().for_each(|file| disk.close(file));
        }
    }

    /// Older files: each must hold a whole chain in both copies. Blocks read, and what is wrong.
    pub(crate) fn verify_older(&self, disk: &dyn Disk) -> (u64, Vec<String>) {
        let mut blocks = 0;
        let mut damage = Vec::new();
        for number in 0..self.file_number {
            for copy in 0..DIRS.len() {
                match verify_file(disk, &path(copy, number)) {
                    Some(count) => blocks += count,
                    None => damage.push(format!("ledger {} is damaged", path(copy, number))),
                }
            }
        }
        (blocks, damage)
    }
}

/// Counts the blocks of a finished file; `None` if it does not hold one chain and zeros behind it.
fn verify_file(disk: &dyn Disk, path: &str) -> Option<u64> {
    let file = disk.open(path, Mode::Read).ok()?;
    let mut at = 0;
    let mut blocks = 0;
    let mut prev: Option<LedgerHash> = None;
    while let Some(block) = read_block(disk, file, at) {
        if prev.is_some_and(|prev| prev != block.prev) {
            break;
        }
        at += block.bytes.len() as u64;
        prev = Some(block.hash);
        blocks += 1;
    }
    // A torn block that was never promised may lie at the very end; one with a valid successor may not.
    let end = disk.len(file).unwrap_or(0);
    let later = (at..end).step_by(PAGE).any(|at| read_block(disk, file, at).is_some());
    disk.close(file);
    (blocks > 0 && !later).then_some(blocks)
}

/// The blocks of a checkpoint, and the hash of the last.
fn checkpoint(state: &State, first: u64, wall_s: u64, prev: LedgerHash) -> (Vec<Block>, LedgerHash) {
    let bytes = postcard::to_stdvec(state).expect("the state encodes into memory");
    let parts: Vec<&[u8]> = bytes.chunks(PART_BYTES).collect();
    let count = narrow(parts.len());
    let mut head = prev;
    let blocks = (0u32..)
        .zip(parts)
        .map(|(index, part)| {
            let part = CheckpointPart { index, count, bytes: part.to_vec(), version: CHECKPOINT_VERSION };
            let block = Block::build(first + u64::from(index), wall_s, head, &[Entry::Checkpoint(part)]);
            head = block.hash;
            block
        })
        .collect();
    (blocks, head)
}

/// Writes both copies of a new file under another name, flushes them, and gives them their names.
fn write_files(disk: &dyn Disk, number: u32, bytes: &[u8], file_bytes: u64) -> Result<(), Fault> {
    for dir in DIRS {
        let new = format!("{dir}/{}.new", name(number));
        let file = disk.open(&new, Mode::CreateOrEmpty).map_err(Fault::write(&new))?;
        let written = fill_file(disk, file, bytes, file_bytes).map_err(Fault::write(&new));
        let synced = written.and_then(|()| disk.sync(file).map_err(Fault::sync(&new)));
        disk.close(file);
        synced?;
    }
    for dir in DIRS {
        let new = format!("{dir}/{}.new", name(number));
        disk.rename(&new, &format!("{dir}/{}", name(number))).map_err(Fault::write(dir))?;
        disk.sync_dir(dir).map_err(Fault::sync(dir))?;
    }
    Ok(())
}

/// Blocks, then zeros to the end: later blocks overwrite bytes that have their place on the disk already.
fn fill_file(disk: &dyn Disk, file: FileId, bytes: &[u8], file_bytes: u64) -> std::io::Result<()> {
    const ZEROS: usize = 1 << 20;
    disk.write_at(file, 0, bytes)?;
    let mut at = bytes.len() as u64;
    let zeros = vec![0; ZEROS.min(memory(file_bytes))];
    while at < file_bytes {
        let count = memory(file_bytes - at).min(zeros.len());
        disk.write_at(file, at, &zeros[..count])?;
        at += count as u64;
    }
    Ok(())
}

fn newest_file(disk: &dyn Disk) -> Result<u32, OpenError> {
    let mut newest = None;
    for dir in DIRS {
        let names = disk.list(dir).map_err(|source| OpenError::Disk { what: dir.to_owned(), source })?;
        newest = newest.max(names.iter().filter_map(|name| file_number(name)).max());
    }
    newest.ok_or(OpenError::Ledger)
}

/// The block at an offset of one copy, if it verifies.
fn read_block(disk: &dyn Disk, file: FileId, offset: u64) -> Option<Block> {
    let mut head = [0; 24];
    read_exact(disk, file, offset, &mut head).ok()?;
    let mut bytes = vec![0; memory(Block::stated_bytes(&head)?)];
    read_exact(disk, file, offset, &mut bytes).ok()?;
    Block::parse(bytes)
}

/// Reads both copies of one file side by side.
struct Reader<'a> {
    disk: &'a dyn Disk,
    number: u32,
    files: [Option<FileId>; 2],
    repair: bool,
    repaired: [u64; 2],
    offset: u64,
    file_bytes: u64,
}

impl<'a> Reader<'a> {
    fn open(disk: &'a dyn Disk, number: u32, repair: bool) -> Result<Self, OpenError> {
        let mode = if repair { Mode::Write } else { Mode::Read };
        let mut files = [None; 2];
        let mut file_bytes = 0;
        for (copy, file) in files.iter_mut().enumerate() {
            let open = match disk.open(&path(copy, number), mode) {
                // A copy that is gone is written anew.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && repair => {
                    disk.create_dir(DIRS[copy]).and_then(|()| disk.open(&path(copy, number), Mode::CreateOrEmpty))
                }
                other => other,
            };
            *file = open.ok();
            file_bytes = file_bytes.max(file.and_then(|file| disk.len(file).ok()).unwrap_or(0));
        }
        if files.iter().all(Option::is_none) || (repair && files.iter().any(Option::is_none)) {
            return Err(OpenError::Ledger);
        }
        Ok(Self { disk, number, files, repair, repaired: [0; 2], offset: 0, file_bytes })
    }

    fn files(&self) -> [FileId; 2] {
        let [a, b] = self.files;
        let any = a.or(b).expect("one copy at least is open");
        [a.unwrap_or(any), b.unwrap_or(any)]
    }

    fn next(&mut self, last: Option<(u64, LedgerHash)>) -> Result<Option<Block>, OpenError> {
        if self.offset >= self.file_bytes {
            return Ok(None);
        }
        let chained =
            |block: &Block| last.is_none_or(|(number, hash)| block.number == number + 1 && block.prev == hash);
        let copies = self.files.map(|file| {
            let block = read_block(self.disk, file?, self.offset)?;
            chained(&block).then_some(block)
        });
        let [a, b] = copies;
        let wrong = [a.is_none(), b.is_none()];
        let Some(block) = a.or(b) else { return Ok(None) };
        for (copy, wrong) in wrong.into_iter().enumerate() {
            if wrong {
                self.rewrite(copy, &block)?;
            }
        }
        self.offset += block.bytes.len() as u64;
        Ok(Some(block))
    }

    fn rewrite(&mut self, copy: usize, block: &Block) -> Result<(), OpenError> {
        self.repaired[copy] += 1;
        if let (true, Some(file)) = (self.repair, self.files[copy]) {
            let what = path(copy, self.number);
            let disk = self.disk;
            if disk.len(file).unwrap_or(0) < self.file_bytes {
                disk.set_len(file, self.file_bytes).map_err(Fault::write(&what))?;
            }
            disk.write_at(file, self.offset, &block.bytes).map_err(Fault::write(&what))?;
            disk.sync(file).map_err(Fault::sync(&what))?;
            disk.sync_dir(DIRS[copy]).map_err(Fault::sync(DIRS[copy]))?;
        }
        Ok(())
    }

    /// Whether a valid block with a higher number lies behind the end: then the end is a hole.
    fn later_block(&self, newest: u64) -> bool {
        let files = self.files.into_iter().flatten();
        files.into_iter().any(|file| {
            (self.offset..self.file_bytes)
                .step_by(PAGE)
                .filter_map(|at| read_block(self.disk, file, at))
                .any(|block| block.number > newest)
        })
    }

    fn events(&self) -> Vec<Event> {
        let repaired = COPIES.into_iter().zip(self.repaired);
        repaired
            .filter(|(_, blocks)| *blocks > 0)
            .map(|(copy, blocks)| Event::LedgerRepaired { copy, blocks })
            .collect()
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Seals content into records and proves each by opening it again.

use super::body::{Codec, Context, HEAD_BYTES, Head, Padding, TAG_BYTES, nonce};
use super::{Content, PLAIN_BYTES_MAX, keyed_id};
use crate::keys::{IdKey, SourceKeys};
use crate::run_key::RunKey;
use adit_wire::ids::{Id, SourceId};
use adit_wire::record::{HASH_BYTES, HEADER_BYTES, Header, REFS_MAX, RecordError};
use std::fmt;
use std::io;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::ResetDirective;

/// The compression level of a backup that does not ask for another.
pub const LEVEL_DEFAULT: i32 = 3;
/// Below this many bytes compression has nothing to gain.
const COMPRESS_BYTES_MIN: usize = 64;
/// A compressed form must save 1 part in this many, else the bytes are stored as they are.
const GAIN_DIVISOR: usize = 32;
/// Levels up to this one pass over incompressible bytes quickly by themselves; higher ones are probed first.
const LEVEL_QUICK_MAX: i32 = 3;

/// Seals the records of one run. One per thread: clone it; the clones share keys, not buffers.
pub struct Sealer {
    source: SourceId,
    id_key: IdKey,
    run_key: RunKey,
    padding: Padding,
    level: i32,
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
    /// Compressed bytes, and between two compressions what the proof decompresses.
    scratch: Vec<u8>,
    opened: Vec<u8>,
}

/// Content as it will be stored, before padding and sealing.
#[derive(Debug)]
pub(crate) struct Pressed {
    codec: Codec,
    raw_bytes: usize,
    stored: Vec<u8>,
}

impl Pressed {
    /// Bytes that it takes.
    pub(crate) const fn bytes(&self) -> usize {
        self.stored.len()
    }
}

impl Sealer {
    /// A sealer for one run of one source.
    ///
    /// # Errors
    /// When there is no memory for compression contexts.
    pub fn new(keys: &SourceKeys, run_key: RunKey, padding: Padding) -> Result<Self, SealError> {
        Self::with_keys(keys.source(), keys.seed().id_key(), run_key, padding)
    }

    fn with_keys(source: SourceId, id_key: IdKey, run_key: RunKey, padding: Padding) -> Result<Self, SealError> {
        Ok(Self {
            source,
            id_key,
            run_key,
            padding,
            level: LEVEL_DEFAULT,
            compressor: Compressor::new(LEVEL_DEFAULT).map_err(SealError::Compressor)?,
            decompressor: Decompressor::new().map_err(SealError::Compressor)?,
            scratch: Vec::new(),
            opened: Vec::new(),
        })
    }

    /// Another sealer for another thread.
    ///
    /// # Errors
    /// When there is no memory for compression contexts.
    pub fn try_clone(&self) -> Result<Self, SealError> {
        Self::with_keys(self.source, self.id_key.clone(), self.run_key.clone(), self.padding)
    }

    /// The key of content ids.
    #[must_use]
    pub const fn id_key(&self) -> &IdKey {
        &self.id_key
    }

    /// Seals content into a whole record and opens it again before answering: decrypt, decompress, compare the id.
    /// `id` is [`Content::id`]; `counter` must rise with every record of the run, in the order of sending; `level` is
    /// zstd's.
    ///
    /// # Errors
    /// When the content breaks a limit, or the record does not open: then memory or processor are at fault.
    pub fn seal(&mut self, content: &Content<'_>, id: Id, counter: u32, level: i32) -> Result<Vec<u8>, SealError> {
        let raw_bytes = content.plain.len();
        if raw_bytes > PLAIN_BYTES_MAX {
            return Err(SealError::TooLong(raw_bytes));
        }
        let codec = self.compress(content.plain, level)?;
        let compressed = std::mem::take(&mut self.scratch);
        let stored = match codec {
            Codec::Raw => content.plain,
            Codec::Zstd => &compressed,
        };
        let record = self.seal_stored(content, (codec, raw_bytes, stored), id, counter);
        self.scratch = compressed;
        record
    }

    /// The first half of sealing, which takes most of the time and makes most content smaller.
    ///
    /// # Errors
    /// When the content is too long or the compressor fails.
    pub(crate) fn press(&mut self, plain: Vec<u8>, level: i32) -> Result<Pressed, SealError> {
        let raw_bytes = plain.len();
        if raw_bytes > PLAIN_BYTES_MAX {
            return Err(SealError::TooLong(raw_bytes));
        }
        let codec = self.compress(&plain, level)?;
        let stored = match codec {
            Codec::Raw => plain,
            Codec::Zstd => self.scratch.clone(),
        };
        Ok(Pressed { codec, raw_bytes, stored })
    }

    /// The second half: as [`Self::seal`], for content whose bytes were pressed; `outline` has the rest.
    ///
    /// # Errors
    /// As [`Self::seal`].
    pub(crate) fn seal_pressed(
        &mut self,
        outline: &Content<'_>,
        pressed: &Pressed,
        id: Id,
        counter: u32,
    ) -> Result<Vec<u8>, SealError> {
        self.seal_stored(outline, (pressed.codec, pressed.raw_bytes, &pressed.stored), id, counter)
    }

    fn seal_stored(
        &mut self,
        content: &Content<'_>,
        (codec, raw_bytes, stored): (Codec, usize, &[u8]),
        id: Id,
        counter: u32,
    ) -> Result<Vec<u8>, SealError> {
        let head = Head {
            kind: content.kind,
            codec,
            raw_bytes: u32::try_from(raw_bytes).map_err(|_| SealError::TooLong(raw_bytes))?,
            stored_bytes: u32::try_from(stored.len()).map_err(|_| SealError::TooLong(raw_bytes))?,
        };
        let padded = self.padding.pad(HEAD_BYTES + stored.len());
        let header = self.header(content, id, counter, padded + TAG_BYTES)?;
        let mut record = Vec::with_capacity(header.bytes());
        record.extend_from_slice(&header.to_bytes());
        for id in content.node_refs.iter().chain(content.data_refs) {
            record.extend_from_slice(&id.0);
        }
        let body_at = record.len();
        record.extend_from_slice(&head.to_bytes());
        record.extend_from_slice(stored);
        record.resize(body_at + padded, 0);
        let context = Context::new(&self.source, &header.to_bytes(), &record[HEADER_BYTES..body_at]);
        let tag = context
            .key(&self.run_key)
            .seal_in_place_separate_tag(nonce(counter), context.aad(), &mut record[body_at..])
            .map_err(|_| SealError::Unproven(id))?;
        record.extend_from_slice(tag.as_ref());
        let hash = blake3::hash(&record);
        record.extend_from_slice(hash.as_bytes());
        self.prove(&record, body_at, content, raw_bytes, id)?;
        Ok(record)
    }

    fn header(&self, content: &Content<'_>, id: Id, counter: u32, body_bytes: usize) -> Result<Header, SealError> {
        let refs = content.node_refs.len() + content.data_refs.len();
        if refs > REFS_MAX {
            return Err(SealError::Rule(RecordError::TooManyRefs(refs)));
        }
        let count = |refs: &[Id]| u16::try_from(refs.len()).map_err(|_| RecordError::TooManyRefs(refs.len()));
        let header = Header {
            class: content.kind.class(),
            suite: self.run_key.suite() as u8,
            height: content.height,
            node_refs: count(content.node_refs)?,
            data_refs: count(content.data_refs)?,
            body_bytes: u32::try_from(body_bytes).map_err(|_| SealError::TooLong(body_bytes))?,
            counter,
            id,
            key_id: self.run_key.id(),
        };
        let ascends = |refs: &[Id]| refs.is_sorted_by(|low, high| low < high);
        if !ascends(content.node_refs) || !ascends(content.data_refs) {
            return Err(SealError::Rule(RecordError::RefsOrder));
        }
        Ok(Header::from_bytes(&header.to_bytes())?)
    }

    /// Leaves the compressed form in its buffer, or says that the bytes are better stored as they are.
    fn compress(&mut self, plain: &[u8], level: i32) -> Result<Codec, SealError> {
        if plain.len() < COMPRESS_BYTES_MIN {
            return Ok(Codec::Raw);
        }
        if level > LEVEL_QUICK_MAX && !looks_compressible(plain) && self.compress_at(plain, 1)? == Codec::Raw {
            return Ok(Codec::Raw);
        }
        self.compress_at(plain, level)
    }

    fn compress_at(&mut self, plain: &[u8], level: i32) -> Result<Codec, SealError> {
        if level != self.level {
            // A compression that gave up leaves its session open, and an open session takes no new level.
            self.compressor.context_mut().reset(ResetDirective::SessionOnly).map_err(|_| SealError::Session)?;
            self.compressor.set_compression_level(level).map_err(SealError::Compressor)?;
            self.level = level;
        }
        // Too little room makes the compressor give up: that is the test for the least gain.
        let room = plain.len() - plain.len() / GAIN_DIVISOR;
        self.scratch.resize(room, 0);
        match self.compressor.compress_to_buffer(plain, &mut self.scratch[..]) {
            Ok(length) => {
                self.scratch.truncate(length);
                Ok(Codec::Zstd)
            }
            Err(_) => Ok(Codec::Raw),
        }
    }

    /// Opens what was sealed from its own bytes.
    fn prove(
        &mut self,
        record: &[u8],
        body_at: usize,
        content: &Content<'_>,
        raw_bytes: usize,
        id: Id,
    ) -> Result<(), SealError> {
        let unproven = || SealError::Unproven(id);
        let (head, _) = record.split_first_chunk::<HEADER_BYTES>().ok_or_else(unproven)?;
        let counter = Header::from_bytes(head)?.counter;
        let sealed = &record[body_at..record.len() - HASH_BYTES];
        let (sealed, tag) = sealed.split_at(sealed.len() - TAG_BYTES);
        let context = Context::new(&self.source, head, &record[HEADER_BYTES..body_at]);
        grow(&mut self.opened, sealed.len());
        let opened = &mut self.opened[..sealed.len()];
        context
            .key(&self.run_key)
            .open_separate_gather(nonce(counter), context.aad(), sealed, tag, opened)
            .map_err(|_| unproven())?;
        let (head, stored) = Head::split(opened).ok_or_else(unproven)?;
        let plain = match head.codec {
            Codec::Raw => stored,
            Codec::Zstd => {
                let raw_bytes = usize::try_from(head.raw_bytes).map_err(|_| unproven())?;
                grow(&mut self.scratch, raw_bytes);
                let unpacked = &mut self.scratch[..raw_bytes];
                let length = self.decompressor.decompress_to_buffer(stored, unpacked).map_err(|_| unproven())?;
                &self.scratch[..length]
            }
        };
        let counts = [content.node_refs.len(), content.data_refs.len()];
        let refs = &record[HEADER_BYTES..body_at];
        let same = keyed_id(&self.id_key, head.kind, counts, std::iter::once(refs), plain) == id;
        if same && plain.len() == raw_bytes { Ok(()) } else { Err(unproven()) }
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("source", &self.source)
            .field("key_id", &self.run_key.id())
            .finish_non_exhaustive()
    }
}

/// Makes a scratch buffer at least `bytes` long; what is in it does not matter.
pub(super) fn grow(buffer: &mut Vec<u8>, bytes: usize) {
    if buffer.len() < bytes {
        buffer.resize(bytes, 0);
    }
}

/// Whether a sample's byte frequencies promise a gain. Repeats don't show in them: whoever asks tries a quick level
/// before giving up.
fn looks_compressible(plain: &[u8]) -> bool {
    const SAMPLES: usize = 16;
    const SAMPLE_BYTES: usize = 256;
    let mut counts = [0u32; 256];
    let step = (plain.len() / SAMPLES).max(1);
    for sample in plain.chunks(step) {
        for byte in sample.iter().take(SAMPLE_BYTES) {
            counts[usize::from(*byte)] += 1;
        }
    }
    // The sum of squares tells even from uneven without a logarithm. For n random bytes it is n²/256 + n, give or take
    // half a percent; an eighth more means some 0.1 bits less entropy a byte.
    let total: u32 = counts.iter().sum();
    let squares: u64 = counts.iter().map(|count| u64::from(*count) * u64::from(*count)).sum();
    let even = u64::from(total) * u64::from(total) / 256 + u64::from(total);
    squares > even + even / 8
}

/// Why content can't be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Longer than any record.
    #[error("content has {0} bytes, the limit is {PLAIN_BYTES_MAX}")]
    TooLong(usize),
    /// References, height or length break the record's rules.
    #[error(transparent)]
    Rule(#[from] RecordError),
    /// No memory for compression.
    #[error("set up compression")]
    Compressor(#[source] io::Error),
    /// The compressor can't be used again.
    #[error("start compression anew")]
    Session,
    /// What was sealed does not open to what was given.
    #[error("the sealed record {0} does not open to its content: memory or processor are faulty")]
    Unproven(Id),
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bytes of a parity file: header, P, Q, check sums of all cells and the hash of these.

use super::{Encoder, Shape, checksum, checksums};
use crate::bytes::{Fields, PAGE, PAGE_U64, checked_page, hashed_page, memory, narrow};

const MAGIC: &[u8; 8] = b"ADITPAR1";
const FORMAT: u16 = 1;
const HASH_BYTES: u64 = 32;

/// A parity file whose header and check sums are right. Cells of P and Q may be damaged.
#[derive(Clone)]
pub(crate) struct ParityFile {
    pub(crate) shape: Shape,
    pub(crate) segment: u32,
    /// Bytes of the segment that it covers, from its first.
    pub(crate) covered: u64,
    /// The footer's hash; zero while the segment is open.
    pub(crate) footer_hash: [u8; 32],
    pub(super) p: Vec<u8>,
    pub(super) q: Vec<u8>,
    pub(super) bad_p: Vec<bool>,
    pub(super) bad_q: Vec<bool>,
    /// Of the segment's cells.
    pub(super) sums: Vec<u32>,
}

impl std::fmt::Debug for ParityFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("ParityFile");
        debug.field("segment", &self.segment).field("covered", &self.covered).finish_non_exhaustive()
    }
}

/// What the first page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParityHeader {
    pub(crate) shape: Shape,
    pub(crate) segment: u32,
    pub(crate) covered: u64,
    pub(crate) footer_hash: [u8; 32],
}

impl ParityHeader {
    pub(crate) fn to_page(self) -> [u8; PAGE] {
        hashed_page(&[
            MAGIC,
            &FORMAT.to_le_bytes(),
            &[self.shape.col_log2, self.shape.cell_log2],
            &self.segment.to_le_bytes(),
            &narrow(memory(self.shape.columns(self.covered))).to_le_bytes(),
            &[0; 4],
            &self.covered.to_le_bytes(),
            &self.footer_hash,
        ])
    }

    pub(crate) fn from_page(page: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(checked_page(page)?);
        if fields.bytes(8)? != MAGIC || fields.u16()? != FORMAT {
            return None;
        }
        let shape = Shape { col_log2: fields.u8()?, cell_log2: fields.u8()? };
        let (segment, columns) = (fields.u32()?, fields.u32()?);
        fields.u32()?;
        let (covered, footer_hash) = (fields.u64()?, fields.array()?);
        let sizes = shape.cell_log2 <= shape.col_log2 && shape.col_log2 < 32 && covered <= 1 << 40;
        let header = Self { shape, segment, covered, footer_hash };
        (sizes && u64::from(columns) == shape.columns(covered) && shape.fits(covered)).then_some(header)
    }

    /// Bytes of the whole file.
    pub(crate) const fn file_bytes(self) -> u64 {
        let height = self.shape.height(self.covered);
        let cells = self.shape.cells(self.covered) + 2 * self.shape.cells(height);
        PAGE_U64 + 2 * height + 4 * cells + HASH_BYTES
    }
}

impl Encoder {
    /// The parity file of what was taken so far.
    pub(crate) fn to_file(&self, segment: u32, footer_hash: [u8; 32]) -> Vec<u8> {
        let header = ParityHeader { shape: self.shape, segment, covered: self.covered, footer_hash };
        let mut bytes = Vec::with_capacity(memory(header.file_bytes()));
        bytes.extend_from_slice(&header.to_page());
        bytes.extend_from_slice(&self.p);
        bytes.extend_from_slice(&self.q);
        let table = bytes.len();
        for sums in [self.all_sums(), checksums(&self.p, self.shape), checksums(&self.q, self.shape)] {
            sums.iter().for_each(|sum| bytes.extend_from_slice(&sum.to_le_bytes()));
        }
        let hash = blake3::hash(&bytes[table..]);
        bytes.extend_from_slice(hash.as_bytes());
        bytes
    }

    /// Goes on where a file stopped; `None` unless all of it is whole and it ends with a whole cell.
    pub(crate) fn resume(file: ParityFile) -> Option<Self> {
        let whole = !file.bad_p.iter().chain(&file.bad_q).any(|bad| *bad);
        let ends = file.covered & (file.shape.cell() - 1) == 0;
        (whole && ends).then(|| Self {
            covered: file.covered,
            p: file.p,
            q: file.q,
            sums: file.sums,
            ..Self::new(file.shape)
        })
    }
}

impl ParityFile {
    /// Reads a parity file. `unreadable` names pages by their offset that the disk does not give; their bytes are zero.
    pub(crate) fn from_bytes(bytes: &[u8], unreadable: &[u64]) -> Option<Self> {
        let lost = |from: u64, to: u64| unreadable.iter().any(|page| *page < to && from < *page + PAGE_U64);
        let header = ParityHeader::from_page(bytes.get(..PAGE)?)?;
        if bytes.len() as u64 != header.file_bytes() {
            return None;
        }
        let shape = header.shape;
        let height = memory(shape.height(header.covered));
        let (p, rest) = bytes[PAGE..].split_at(height);
        let (q, table) = rest.split_at(height);
        let (table, hash) = table.split_last_chunk::<32>()?;
        let table_at = PAGE_U64 + 2 * height as u64;
        if blake3::hash(table).as_bytes() != hash || lost(0, PAGE_U64) || lost(table_at, bytes.len() as u64) {
            return None;
        }
        let sums: Vec<u32> = table.as_chunks::<4>().0.iter().map(|sum| u32::from_le_bytes(*sum)).collect();
        let (sums, of_parity) = sums.split_at(memory(shape.cells(header.covered)));
        let (of_p, of_q) = of_parity.split_at(of_parity.len() / 2);
        let bad = |column: &[u8], sums: &[u32], at: u64| {
            let cells = column.chunks(memory(shape.cell())).zip(sums).zip(0u64..);
            let bad = cells.map(|((cell, sum), place)| {
                let from = at + place * shape.cell();
                checksum(cell, shape) != *sum || lost(from, from + cell.len() as u64)
            });
            bad.collect::<Vec<bool>>()
        };
        Some(Self {
            shape,
            segment: header.segment,
            covered: header.covered,
            footer_hash: header.footer_hash,
            bad_p: bad(p, of_p, PAGE_U64),
            bad_q: bad(q, of_q, PAGE_U64 + height as u64),
            p: p.to_vec(),
            q: q.to_vec(),
            sums: sums.to_vec(),
        })
    }

    /// Whether no cell of P or Q is damaged.
    pub(crate) fn is_whole(&self) -> bool {
        !self.bad_p.iter().chain(&self.bad_q).any(|bad| *bad)
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Parity over one segment: two columns P and Q beside the file's own, kept while the file grows, and what they give back.
//!
//! It stands apart from the store because it is arithmetic: bytes in, bytes out, no disk and no clock. Any two lost columns
//! come back, so every region of two columns less one cell does, wherever it begins. What cells are lost is known by their
//! check sums or by the disk's answer; nothing is ever guessed.

mod field;
mod file;

pub(crate) use file::ParityFile;

use crate::bytes::memory;
use crate::types::Geometry;
use crc32c::{crc32c, crc32c_append};
use field::{add, add_times, divide, double, power};
use std::collections::BTreeMap;

/// Powers of two repeat after this many columns, so no file may have more.
const COLUMNS_MAX: u64 = 255;

/// Sizes of columns and cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) col_log2: u8,
    /// At most `col_log2`.
    pub(crate) cell_log2: u8,
}

impl Shape {
    pub(crate) const fn new(geometry: Geometry) -> Self {
        Self { col_log2: geometry.col_log2, cell_log2: geometry.cell_log2 }
    }

    pub(crate) const fn column(self) -> u64 {
        1 << self.col_log2
    }

    pub(crate) const fn cell(self) -> u64 {
        1 << self.cell_log2
    }

    /// Whether files of so many bytes can have parity.
    pub(crate) const fn fits(self, covered: u64) -> bool {
        self.columns(covered) <= COLUMNS_MAX
    }

    const fn columns(self, covered: u64) -> u64 {
        covered.div_ceil(self.column())
    }

    /// Bytes of P, and of Q.
    const fn height(self, covered: u64) -> u64 {
        if covered < self.column() { covered } else { self.column() }
    }

    const fn cells(self, bytes: u64) -> u64 {
        bytes.div_ceil(self.cell())
    }
}

/// P, Q and check sums of a file that grows at its end.
#[derive(Clone)]
pub(crate) struct Encoder {
    shape: Shape,
    covered: u64,
    p: Vec<u8>,
    /// For the columns so far: column `j` of `k` counts 2^(k-1-j) times.
    q: Vec<u8>,
    /// Of whole cells.
    sums: Vec<u32>,
    /// Of the cell that is being filled.
    sum: u32,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("shape", &self.shape).field("covered", &self.covered).finish_non_exhaustive()
    }
}

impl Encoder {
    pub(crate) fn new(shape: Shape) -> Self {
        Self { shape, covered: 0, p: Vec::new(), q: Vec::new(), sums: Vec::new(), sum: 0 }
    }

    /// Bytes taken.
    pub(crate) const fn covered(&self) -> u64 {
        self.covered
    }

    /// Takes the bytes that follow. 8 MiB of state at most (two columns), and 4 bytes for each cell.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let row = self.covered & (self.shape.column() - 1);
            let count = memory(self.shape.cell() - (row & (self.shape.cell() - 1))).min(bytes.len());
            let (cell, rest) = bytes.split_at(count);
            if self.covered < self.shape.column() {
                self.p.extend_from_slice(cell);
                self.q.extend_from_slice(cell);
            } else {
                if row == 0 {
                    double(&mut self.q);
                }
                let rows = memory(row)..memory(row) + count;
                add(&mut self.p[rows.clone()], cell);
                add(&mut self.q[rows], cell);
            }
            self.sum = crc32c_append(self.sum, cell);
            self.covered += count as u64;
            if self.covered & (self.shape.cell() - 1) == 0 {
                self.sums.push(std::mem::take(&mut self.sum));
            }
            bytes = rest;
        }
    }

    /// Puts bytes where zeros were taken for them.
    fn patch(&mut self, offset: u64, bytes: &[u8]) {
        let (column, row) = (offset >> self.shape.col_log2, memory(offset & (self.shape.column() - 1)));
        let factor = power(self.shape.columns(self.covered) - 1 - column);
        add(&mut self.p[row..row + bytes.len()], bytes);
        add_times(&mut self.q[row..row + bytes.len()], bytes, factor);
        if let Some(sum) = self.sums.get_mut(memory(offset >> self.shape.cell_log2)) {
            *sum = checksum(bytes, self.shape);
        } else {
            self.sum = crc32c(bytes);
        }
    }

    /// Check sums of all cells; the last is filled up with zeros.
    fn all_sums(&self) -> Vec<u32> {
        let mut sums = self.sums.clone();
        let within = self.covered & (self.shape.cell() - 1);
        if within > 0 {
            sums.push(crc32c_append(self.sum, &vec![0; memory(self.shape.cell() - within)]));
        }
        sums
    }
}

/// The check sum of a cell; a short one is filled up with zeros.
fn checksum(bytes: &[u8], shape: Shape) -> u32 {
    let gap = memory(shape.cell()) - bytes.len();
    let sum = crc32c(bytes);
    if gap > 0 { crc32c_append(sum, &vec![0; gap]) } else { sum }
}

/// Check sums of the cells of P or Q.
fn checksums(bytes: &[u8], shape: Shape) -> Vec<u32> {
    bytes.chunks(memory(shape.cell())).map(|cell| checksum(cell, shape)).collect()
}

/// A file that is read beside its parity, cell by cell, to get back what it lost.
#[derive(Debug)]
pub(crate) struct Healing {
    file: ParityFile,
    encoder: Encoder,
    /// Offsets of lost cells, by row.
    lost: BTreeMap<u64, Vec<u64>>,
}

/// What a healing gave.
#[derive(Debug)]
pub(crate) struct Restored {
    /// Cells as they were, with their offsets. Their check sums were compared.
    pub(crate) cells: Vec<(u64, Vec<u8>)>,
    /// Offsets of cells that stay lost.
    pub(crate) beyond: Vec<u64>,
    /// Parity of the whole file, right if nothing stays lost.
    pub(crate) encoder: Encoder,
    /// Whether the parity file's own bytes are damaged.
    pub(crate) parity_damaged: bool,
}

impl Healing {
    pub(crate) fn new(file: ParityFile) -> Self {
        let encoder = Encoder::new(file.shape);
        Self { file, encoder, lost: BTreeMap::new() }
    }

    /// Bytes that the parity covers.
    pub(crate) const fn covered(&self) -> u64 {
        self.file.covered
    }

    /// Takes the next cell; `None` when the disk does not give it.
    pub(crate) fn push(&mut self, cell: Option<&[u8]>) {
        let offset = self.encoder.covered;
        let count = memory(self.file.shape.cell().min(self.file.covered - offset));
        let sum = self.file.sums[memory(offset >> self.file.shape.cell_log2)];
        match cell.filter(|cell| cell.len() == count && checksum(cell, self.file.shape) == sum) {
            Some(cell) => self.encoder.push(cell),
            None => {
                let row = offset & (self.file.shape.column() - 1);
                self.lost.entry(row).or_default().push(offset);
                self.encoder.push(&vec![0; count]);
            }
        }
    }

    /// What comes back, once everything was pushed.
    pub(crate) fn finish(mut self) -> Restored {
        let (mut cells, mut beyond) = (Vec::new(), Vec::new());
        for (row, offsets) in std::mem::take(&mut self.lost) {
            match self.solve(row, &offsets) {
                Some(solved) => cells.extend(solved),
                None => beyond.extend(offsets),
            }
        }
        for (offset, bytes) in &cells {
            self.encoder.patch(*offset, bytes);
        }
        cells.sort_unstable_by_key(|(offset, _)| *offset);
        let parity_damaged = self.file.bad_p.iter().chain(&self.file.bad_q).any(|bad| *bad);
        Restored { cells, beyond, encoder: self.encoder, parity_damaged }
    }

    /// The lost cells of one row.
    fn solve(&self, row: u64, offsets: &[u64]) -> Option<Vec<(u64, Vec<u8>)>> {
        let (file, shape) = (&self.file, self.file.shape);
        let place = memory(row >> shape.cell_log2);
        let from = memory(row);
        let to = from + memory(shape.cell().min(shape.height(file.covered) - row));
        // What the sound columns don't explain.
        let rest = |mine: &[u8], theirs: &[u8]| {
            let mut rest = mine[from..to].to_vec();
            add(&mut rest, &theirs[from..to]);
            rest
        };
        let p = (!file.bad_p[place]).then(|| rest(&self.encoder.p, &file.p));
        let q = (!file.bad_q[place]).then(|| rest(&self.encoder.q, &file.q));
        let columns = shape.columns(file.covered);
        let factor = |offset: u64| power(columns - 1 - (offset >> shape.col_log2));
        let mut solved = match (offsets, p, q) {
            ([one], Some(p), _) => vec![(*one, p)],
            ([one], None, Some(mut q)) => {
                divide(&mut q, factor(*one));
                vec![(*one, q)]
            }
            ([first, second], Some(p), Some(mut q)) => {
                // p = a + b, q = fa + gb, so a = (q + gp) / (f + g).
                add_times(&mut q, &p, factor(*second));
                divide(&mut q, factor(*first) ^ factor(*second));
                let mut second_cell = p;
                add(&mut second_cell, &q);
                vec![(*first, q), (*second, second_cell)]
            }
            _ => return None,
        };
        for (offset, cell) in &mut solved {
            cell.truncate(memory(shape.cell().min(file.covered - *offset)));
            if checksum(cell, shape) != file.sums[memory(*offset >> shape.cell_log2)] {
                return None;
            }
        }
        Some(solved)
    }
}

#[cfg(test)]
mod tests;

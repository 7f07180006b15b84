// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The audit: references are read from the nodes themselves and compared with the edges that collection marks by. A
//! difference means that the index is wrong, and nothing may be removed by it.

use super::Stop;
use crate::bytes::PAGE_U64;
use crate::disk::Mode;
use crate::index::{Bitmap, tag};
use crate::segment::{Class, Found, Walk, path};
use crate::store::Store;
use adit_wire::record;
use std::sync::Arc;

/// Both sums, and which nodes are in the first and not yet in the second.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// Segments up to this one are read.
    next: u32,
    seen: Bitmap,
    nodes: u64,
    edges: u64,
    unknown: bool,
}

fn mix(number: u32, refs: &[u32]) -> u64 {
    let mut refs = refs.to_vec();
    refs.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_le_bytes());
    refs.iter().for_each(|child| {
        hasher.update(&child.to_le_bytes());
    });
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

impl Audit {
    /// Reads one more sealed segment of nodes that arrived before; answers whether that was the last.
    pub(super) fn read_segment(
        &mut self,
        store: &Store,
        (end, arrival): (u32, u64),
        io_bytes: &mut u64,
    ) -> Result<bool, Stop> {
        let next = store.state.segments.range(self.next..).find_map(|(number, state)| {
            let sealed = state.sealed.as_ref()?;
            (state.class == Class::Meta && sealed.last_arrival < arrival).then_some((*number, sealed.length))
        });
        let Some((segment, length)) = next else { return Ok(true) };
        self.next = segment + 1;
        *io_bytes += length;
        // What can't be read is for verification to tell; its edges are known from when it came.
        let Ok(file) = store.disk.open(&path(Class::Meta, segment), Mode::Read) else { return Ok(false) };
        let read = self.read_nodes(store, (segment, length), file, end);
        store.disk.close(file);
        read.map(|()| false)
    }

    fn read_nodes(
        &mut self,
        store: &Store,
        (segment, length): (u32, u64),
        file: crate::disk::FileId,
        end: u32,
    ) -> Result<(), Stop> {
        let key = store.superblock.store_key;
        let disk = Arc::clone(&store.disk);
        let mut walk = Walk::new(&*disk, file, &key, segment, PAGE_U64, length);
        while let Some(item) = walk.next() {
            let Found::Record { envelope, record, .. } = &item.found else { continue };
            let node = matches!(record.header.class, record::Class::Node | record::Class::Snapshot);
            let Some(source) = store.state.source(envelope.source).filter(|_| node && record.header.refs_count() > 0)
            else {
                continue;
            };
            let source = source.source.id;
            let Some(number) = store.index.find(&*disk, &tag(&key, &source, &record.header.id))? else { continue };
            let loc = store.index.loc(&*disk, number)?;
            let named = (loc.segment, loc.offset) == (segment, item.offset);
            if !named || number >= end || !store.index.is_ok(number) || self.seen.get(number) {
                continue;
            }
            let mut refs = Vec::with_capacity(record.header.refs_count());
            for id in record.node_refs.iter().chain(record.data_refs.iter()) {
                refs.extend(store.index.find(&*disk, &tag(&key, &source, &id))?);
            }
            self.unknown |= refs.len() != record.header.refs_count();
            self.seen.set(number);
            self.nodes = self.nodes.wrapping_add(mix(number, &refs));
        }
        Ok(())
    }

    /// One entry of the edges.
    pub(super) fn compare(&mut self, number: u32, refs: &[u32]) {
        if self.seen.get(number) {
            // A node that was healed stands here twice.
            self.seen.clear(number);
            self.edges = self.edges.wrapping_add(mix(number, refs));
        }
    }

    /// Whether the edges say what the nodes say.
    pub(super) fn is_right(&self) -> bool {
        !self.unknown && self.nodes == self.edges && self.seen.count() == 0
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One block of the local state: a leaf of the tree as its record has it, and beside each entry what never leaves this
//! machine. Each block carries its own checksum.

use crate::entry::{Content, Entry, Time};
use crate::node::{Encoded, decode_leaf};
use adit_wire::ids::Id;
use serde::{Deserialize, Serialize};

/// Bytes of a checksum: against rot, not against people.
pub(super) const SUM_BYTES: usize = 16;
/// Bytes in front of a block's content: its length.
pub(super) const LENGTH_BYTES: usize = 4;
/// Longest block: a leaf with the ids of every chunk of its large files. Above, a block can't be right.
pub(super) const BLOCK_BYTES_MAX: usize = 1 << 30;

/// How far an entry may be trusted to still describe its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Trust {
    /// If change time, modification time, size and inode are the same.
    #[default]
    Exact,
    /// Never: the file was changed so shortly before it was read that a later change may not show in its times.
    Never,
    /// If modification time and size are the same: the state came from the box, inodes and change times are unknown.
    Adopted,
}

/// What the state keeps beside an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Side {
    pub(crate) trust: Trust,
    pub(crate) ctime: Time,
    pub(crate) ino: u64,
    /// Keyed hash of a bundled file's content; zero = unknown.
    pub(crate) hash: [u8; 16],
    /// Short ids of all that hangs on the entry's list node, itself included.
    pub(crate) list_ids: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct SidePart<'a> {
    trust: Trust,
    ctime_s: i64,
    ctime_ns: u32,
    ino: u64,
    hash: &'a [u8],
    list_ids: &'a [u8],
}

#[derive(Serialize, Deserialize)]
struct BlockPart<'a> {
    id: Id,
    plain: &'a [u8],
    node_refs: &'a [u8],
    node_heights: &'a [u8],
    data_refs: &'a [u8],
    #[serde(borrow)]
    sides: Vec<SidePart<'a>>,
}

/// The checksum of a block's content.
pub(super) fn sum(content: &[u8]) -> [u8; SUM_BYTES] {
    let mut sum = [0; SUM_BYTES];
    sum.copy_from_slice(&blake3::hash(content).as_bytes()[..SUM_BYTES]);
    sum
}

/// A whole block: length, content, checksum.
pub(super) fn encode(id: Id, leaf: &Encoded, entries: &[(Entry, Side)]) -> Vec<u8> {
    let packed = |ids: &[Id]| -> Vec<u8> { ids.iter().flat_map(|id| id.0).collect() };
    let heights: Vec<u8> = leaf
        .node_refs
        .iter()
        .map(|wanted| {
            let found = entries.iter().find_map(|(entry, _)| {
                let Content::List { list, height } = &entry.content else { return None };
                (list == wanted).then_some(*height)
            });
            found.unwrap_or(1)
        })
        .collect();
    let list_ids: Vec<Vec<u8>> =
        entries.iter().map(|(_, side)| side.list_ids.iter().flat_map(|id| id.to_le_bytes()).collect()).collect();
    let sides = entries
        .iter()
        .zip(&list_ids)
        .map(|((_, side), list_ids)| SidePart {
            trust: side.trust,
            ctime_s: side.ctime.s,
            ctime_ns: side.ctime.ns,
            ino: side.ino,
            hash: if side.hash == [0; 16] { &[] } else { &side.hash },
            list_ids,
        })
        .collect();
    let (node_refs, data_refs) = (packed(&leaf.node_refs), packed(&leaf.data_refs));
    let part = BlockPart {
        id,
        plain: &leaf.plain,
        node_refs: &node_refs,
        node_heights: &heights,
        data_refs: &data_refs,
        sides,
    };
    let mut block = vec![0; LENGTH_BYTES];
    block.reserve(leaf.plain.len() + node_refs.len() + data_refs.len() + entries.len() * 48 + 64);
    // Serialising plain data into memory can't fail.
    let mut block = postcard::to_extend(&part, block).unwrap_or_default();
    let content_bytes = u32::try_from(block.len() - LENGTH_BYTES).unwrap_or(u32::MAX);
    block[..LENGTH_BYTES].copy_from_slice(&content_bytes.to_le_bytes());
    let sum = sum(&block[LENGTH_BYTES..]);
    block.extend_from_slice(&sum);
    block
}

/// A leaf and what stood beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) id: Id,
    pub(super) entries: Vec<(Entry, Side)>,
}

/// Reads a block's content. `None` when it breaks a rule.
pub(super) fn decode(content: &[u8]) -> Option<Block> {
    let part: BlockPart<'_> = postcard::from_bytes(content).ok()?;
    let ids = |packed: &[u8]| -> Vec<Id> { packed.chunks_exact(Id::BYTES).filter_map(Id::from_slice).collect() };
    let (node_refs, data_refs) = (ids(part.node_refs), ids(part.data_refs));
    let mut entries = decode_leaf(part.plain, &node_refs, &data_refs).ok()?;
    if entries.len() != part.sides.len() || part.node_heights.len() != node_refs.len() {
        return None;
    }
    for entry in &mut entries {
        if let Content::List { list, height } = &mut entry.content {
            *height = *part.node_heights.get(node_refs.binary_search(list).ok()?)?;
        }
    }
    let sides = part.sides.iter().map(|side| Side {
        trust: side.trust,
        ctime: Time { s: side.ctime_s, ns: side.ctime_ns },
        ino: side.ino,
        hash: side.hash.try_into().unwrap_or_default(),
        list_ids: side
            .list_ids
            .chunks_exact(8)
            .map(|bytes| bytes.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
            .collect(),
    });
    Some(Block { id: part.id, entries: entries.into_iter().zip(sides).collect() })
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Makes the local state of a snapshot from the box: a new machine goes on where the old one stopped, and sends nothing
//! that is there.

use super::reader::{Cursor, Met, NODES_AT_ONCE, Node, ReadError, TreeReader, Wanted};
use crate::entry::{Content, Entry};
use crate::node::encode_leaf;
use crate::state::{Bundle, Side, StateError, StateWriter, Tables, Trust, short};
use adit_wire::ids::Id;
use crossbeam_channel::bounded;
use std::collections::{HashMap, VecDeque};
use std::path::Path;

/// List nodes fetched at once.
const LISTS_AT_ONCE: usize = 128;

/// Why a state can't be made.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// A part of the snapshot can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The state can't be written.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What is known of a bundle without fetching it.
#[derive(Default)]
struct Seen {
    end: u64,
    live: HashMap<u32, u64>,
}

/// Reads the whole tree of a snapshot and writes the local state that belongs to it. Entries are trusted by modification
/// time and size until the next run has seen their files.
///
/// # Errors
/// When a node is absent or damaged, the line is gone or the directory can't be written.
pub fn adopt_state(reader: &mut TreeReader<'_>, root: Id, dir: &Path, seq: u64, head: Id) -> Result<(), AdoptError> {
    reader.totals(root)?;
    let root_height = reader.last_height;
    let mut writer = StateWriter::new(dir, None)?;
    let mut bundles: HashMap<Id, Seen> = HashMap::new();
    reader.inner_seen.clear();
    let mut lists_reader = reader.twin()?;
    let cursor = Cursor::new(root, Wanted::default(), NODES_AT_ONCE);
    // The next leaves are under way while these are written.
    std::thread::scope(|threads| {
        let (met_end, met) = bounded(1);
        let walk = threads.spawn(|| {
            let met_end = met_end;
            reader.walk(cursor, &met_end)
        });
        for batch in &met {
            take(batch, root, &mut lists_reader, &mut bundles, &mut writer)?;
        }
        Ok::<_, AdoptError>(walk.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?)
    })?;
    for id in reader.inner_seen.drain(..) {
        writer.node(id);
    }
    let bundles = bundles.into_iter().map(|(id, seen)| {
        let clip = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        Bundle { id, bytes: clip(seen.end), live: clip(seen.live.values().sum::<u64>().min(seen.end)) }
    });
    let mut bundles: Vec<Bundle> = bundles.collect();
    bundles.sort_unstable_by_key(|bundle| bundle.id);
    let mut next = writer.finish(root, root_height, &Tables { bundles, places: Vec::new() })?;
    next.prepare(seq, head)?;
    Ok(next.adopt()?)
}

/// Writes some leaves into the state; their list nodes are fetched together.
fn take(
    batch: Vec<Met>,
    root: Id,
    reader: &mut TreeReader<'_>,
    bundles: &mut HashMap<Id, Seen>,
    writer: &mut StateWriter,
) -> Result<(), AdoptError> {
    let mut leaves = Vec::with_capacity(batch.len());
    for met in batch {
        let Met::Leaf(leaf) = met else { return Err(ReadError::Damaged("part of the tree below", root).into()) };
        leaves.push(leaf);
    }
    let mut entries: Vec<&mut Entry> = leaves.iter_mut().flat_map(|leaf| &mut leaf.entries).collect();
    let mut below = lists(reader, &mut entries)?.into_iter();
    for leaf in leaves {
        note_bundles(&leaf.entries, bundles);
        let node = encode_leaf(&leaf.entries.iter().collect::<Vec<_>>());
        let sides = below.by_ref().map(|list_ids| Side { trust: Trust::Adopted, list_ids, ..Side::default() });
        let entries: Vec<(Entry, Side)> = leaf.entries.into_iter().zip(sides).collect();
        writer.leaf(leaf.id, &node, &entries)?;
    }
    Ok(())
}

fn note_bundles(entries: &[Entry], bundles: &mut HashMap<Id, Seen>) {
    for entry in entries {
        if let Content::Bundle { bundle, offset } = entry.content {
            let seen = bundles.entry(bundle).or_default();
            seen.end = seen.end.max(u64::from(offset) + entry.size);
            seen.live.insert(offset, entry.size);
        }
    }
}

/// Short ids of all that hangs on each entry's list node; sets the entries' list heights.
fn lists(reader: &mut TreeReader<'_>, entries: &mut [&mut Entry]) -> Result<Vec<Vec<u64>>, ReadError> {
    let mut below = vec![Vec::new(); entries.len()];
    let mut ahead: VecDeque<(usize, Id)> = VecDeque::new();
    for (at, entry) in entries.iter().enumerate() {
        if let Content::List { list, .. } = entry.content {
            ahead.push_back((at, list));
        }
    }
    while !ahead.is_empty() {
        let batch: Vec<(usize, Id)> = ahead.drain(..ahead.len().min(LISTS_AT_ONCE)).collect();
        let mut ids: Vec<Id> = batch.iter().map(|(_, id)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        let found = reader.nodes(&ids)?;
        for (at, id) in batch {
            let Some(Node::List(node, node_height)) = found.get(&id) else {
                return Err(ReadError::Damaged("list node", id));
            };
            if let Content::List { list, height } = &mut entries[at].content
                && *list == id
            {
                *height = *node_height;
            }
            below[at].push(short(&id));
            for item in &node.items {
                if node.level == 0 {
                    below[at].push(short(&item.id));
                } else {
                    ahead.push_back((at, item.id));
                }
            }
        }
    }
    Ok(below)
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Builds the prolly tree in one pass over sorted paths, and the list nodes of large files in one pass over chunks.
//!
//! Where nodes end depends on names (for lists: on chunk ids) only, never on contents or on the order of changes: equal
//! sets of entries give equal roots, and a changed file changes one node a level. Memory: one open node a level. Sealing
//! and sending is the caller's [`Place`].

use crate::cut::{PathCutter, PathLevel, list_ends};
use crate::entry::{CHUNKS_MAX, Chunk, Content, Entry};
use crate::node::{
    Child, Encoded, ITEMS_MAX, LIST_ITEMS_MAX, ListItem, NODE_BYTES_MAX, child_cost, encode_inner, encode_leaf,
    encode_list, entry_cost,
};
use crate::seal::Kind;
use adit_wire::ids::Id;

/// A node ends only after this many items, so that none is tiny.
pub const ITEMS_MIN: usize = 48;
/// Behind them, one path in this many ends it.
pub const ENDS_MEAN: u32 = 58;
/// A list node of a page store ends after this many items.
pub const PAGE_LIST_ITEMS: usize = 256;
/// A list node of any other file ends only after this many items, so that levels shrink whatever the ids are.
pub const LIST_ITEMS_MIN: usize = 16;
/// Bytes kept free in a node for its own frame.
const FRAME_BYTES: usize = 1 << 10;

/// Takes finished nodes: works out the id, sends what is not known, answers the id.
pub trait Place {
    /// What can go wrong.
    type Error;

    /// Takes a node.
    ///
    /// # Errors
    /// The run's end.
    fn place(&mut self, kind: Kind, node: Encoded) -> Result<Id, Self::Error>;
}

/// When a node is full, by the rule of leaves and inner nodes.
#[derive(Debug, Default)]
struct Fill {
    items: usize,
    bytes: usize,
}

impl Fill {
    /// Whether an item of this size must begin a new node.
    const fn overflows(&self, cost: usize) -> bool {
        self.items > 0 && self.bytes + cost > NODE_BYTES_MAX - FRAME_BYTES
    }

    /// Counts an item; answers whether the node ends behind it.
    fn add(&mut self, cutter: &PathCutter, height: u8, path: &[u8], cost: usize) -> bool {
        self.items += 1;
        self.bytes += cost;
        self.items >= ITEMS_MAX || (self.items >= ITEMS_MIN && cutter.ends(PathLevel::Node(height), path, ENDS_MEAN))
    }
}

/// Gathers entries, each with what the caller keeps beside it, into leaves.
#[derive(Debug)]
pub struct LeafBuilder<S> {
    fill: Fill,
    open: Vec<(Entry, S)>,
}

impl<S> Default for LeafBuilder<S> {
    fn default() -> Self {
        Self { fill: Fill::default(), open: Vec::with_capacity(ITEMS_MAX) }
    }
}

impl<S> LeafBuilder<S> {
    /// Adds the next path. Answers the entries of a leaf that ended, before or with this one.
    pub fn push(&mut self, cutter: &PathCutter, entry: Entry, beside: S) -> Option<Vec<(Entry, S)>> {
        debug_assert!(self.open.last().is_none_or(|(last, _)| last.path < entry.path), "paths must ascend");
        let cost = entry_cost(&entry);
        let before = if self.fill.overflows(cost) { self.take() } else { None };
        let ends = self.fill.add(cutter, 1, &entry.path, cost);
        self.open.push((entry, beside));
        // A leaf of one entry never ends behind it: at most one of the two is there.
        if ends { self.take() } else { before }
    }

    /// The entries of the last leaf, if any are left.
    pub fn take(&mut self) -> Option<Vec<(Entry, S)>> {
        self.fill = Fill::default();
        (!self.open.is_empty()).then(|| std::mem::replace(&mut self.open, Vec::with_capacity(ITEMS_MAX)))
    }
}

/// Seals a leaf and tells what its parent says of it.
///
/// # Errors
/// What placing the node answers.
pub fn place_leaf<P: Place>(entries: &[&Entry], place: &mut P) -> Result<Child, P::Error> {
    let first = entries.first().map(|entry| entry.path.clone()).unwrap_or_default();
    let bytes = entries.iter().map(|entry| entry.size).sum();
    let node = encode_leaf(entries);
    let height = node.height;
    let id = place.place(Kind::Leaf, node)?;
    Ok(Child { first, id, height, entries: entries.len() as u64, bytes })
}

#[derive(Debug, Default)]
struct Level {
    fill: Fill,
    open: Vec<Child>,
    closed: usize,
}

/// Gathers leaves into inner nodes, and these into more, up to one root.
#[derive(Debug, Default)]
pub struct TreeBuilder {
    /// Index 0 holds leaves, that is the open node of level 1.
    levels: Vec<Level>,
}

impl TreeBuilder {
    /// Adds the next leaf.
    ///
    /// # Errors
    /// What placing a node answers.
    pub fn push<P: Place>(&mut self, cutter: &PathCutter, leaf: Child, place: &mut P) -> Result<(), P::Error> {
        self.push_at(0, cutter, leaf, place)
    }

    fn push_at<P: Place>(
        &mut self,
        at: usize,
        cutter: &PathCutter,
        child: Child,
        place: &mut P,
    ) -> Result<(), P::Error> {
        if self.levels.len() <= at {
            self.levels.push(Level::default());
        }
        let cost = child_cost(&child);
        if self.levels[at].fill.overflows(cost) {
            self.close(at, cutter, place)?;
        }
        let height = u8::try_from(at + 2).unwrap_or(u8::MAX);
        let level = &mut self.levels[at];
        let ends = level.fill.add(cutter, height, &child.first, cost);
        level.open.push(child);
        if ends { self.close(at, cutter, place) } else { Ok(()) }
    }

    fn close<P: Place>(&mut self, at: usize, cutter: &PathCutter, place: &mut P) -> Result<(), P::Error> {
        let node = self.seal_level(at, place)?;
        self.push_at(at + 1, cutter, node, place)
    }

    fn seal_level<P: Place>(&mut self, at: usize, place: &mut P) -> Result<Child, P::Error> {
        let level = &mut self.levels[at];
        let children = std::mem::take(&mut level.open);
        level.fill = Fill::default();
        level.closed += 1;
        let node = encode_inner(u8::try_from(at + 1).unwrap_or(u8::MAX), &children);
        let height = node.height;
        let id = place.place(Kind::Inner, node)?;
        Ok(Child {
            first: children.first().map(|child| child.first.clone()).unwrap_or_default(),
            id,
            height,
            entries: children.iter().map(|child| child.entries).sum(),
            bytes: children.iter().map(|child| child.bytes).sum(),
        })
    }

    /// Ends every open node; answers the root. A tree without entries is one empty leaf.
    ///
    /// # Errors
    /// What placing a node answers.
    pub fn finish<P: Place>(mut self, cutter: &PathCutter, place: &mut P) -> Result<Child, P::Error> {
        let mut at = 0;
        while at < self.levels.len() {
            let topmost = at + 1 == self.levels.len();
            let level = &self.levels[at];
            if topmost && level.closed == 0 {
                return match level.open.as_slice() {
                    [root] => Ok(root.clone()),
                    _ => self.seal_level(at, place),
                };
            }
            if !level.open.is_empty() {
                self.close(at, cutter, place)?;
            }
            at += 1;
        }
        place_leaf(&[], place)
    }
}

#[derive(Debug, Default)]
struct ListLevel {
    open: Vec<ListItem>,
    closed: usize,
}

/// Gathers the chunks of one file into its content.
#[derive(Debug, Default)]
pub struct ListBuilder {
    page_store: bool,
    levels: Vec<ListLevel>,
}

impl ListBuilder {
    /// For one file; page stores have lists that end at fixed places.
    #[must_use]
    pub const fn new(page_store: bool) -> Self {
        Self { page_store, levels: Vec::new() }
    }

    /// Adds the next chunk.
    ///
    /// # Errors
    /// What placing a node answers.
    pub fn push<P: Place>(&mut self, chunk: Chunk, place: &mut P) -> Result<(), P::Error> {
        self.push_at(0, ListItem { id: chunk.id, height: 0, bytes: u64::from(chunk.bytes) }, place)
    }

    fn push_at<P: Place>(&mut self, at: usize, item: ListItem, place: &mut P) -> Result<(), P::Error> {
        if self.levels.len() <= at {
            self.levels.push(ListLevel::default());
        }
        let open = &mut self.levels[at].open;
        open.push(item);
        let ends = if self.page_store {
            open.len() >= PAGE_LIST_ITEMS
        } else {
            open.len() >= LIST_ITEMS_MAX || (open.len() >= LIST_ITEMS_MIN && list_ends(&item.id))
        };
        if ends { self.close(at, place) } else { Ok(()) }
    }

    fn close<P: Place>(&mut self, at: usize, place: &mut P) -> Result<(), P::Error> {
        let node = self.seal_level(at, place)?;
        self.push_at(at + 1, node, place)
    }

    fn seal_level<P: Place>(&mut self, at: usize, place: &mut P) -> Result<ListItem, P::Error> {
        let level = &mut self.levels[at];
        let items = std::mem::take(&mut level.open);
        level.closed += 1;
        let node = encode_list(u8::try_from(at).unwrap_or(u8::MAX), &items);
        let height = node.height;
        let id = place.place(Kind::List, node)?;
        Ok(ListItem { id, height, bytes: items.iter().map(|item| item.bytes).sum() })
    }

    /// The content of the file: nothing, a few chunks, or the topmost list node.
    ///
    /// # Errors
    /// What placing a node answers.
    pub fn finish<P: Place>(mut self, place: &mut P) -> Result<Content, P::Error> {
        match self.levels.as_slice() {
            [] => return Ok(Content::Empty),
            [only] if only.closed == 0 && only.open.len() <= CHUNKS_MAX => {
                let chunk =
                    |item: &ListItem| Chunk { id: item.id, bytes: u32::try_from(item.bytes).unwrap_or(u32::MAX) };
                return Ok(Content::Chunks(only.open.iter().map(chunk).collect()));
            }
            _ => {}
        }
        let mut at = 0;
        loop {
            let topmost = at + 1 == self.levels.len();
            let level = &self.levels[at];
            if topmost && level.closed == 0 {
                let root = match level.open.as_slice() {
                    [root] if at > 0 => *root,
                    _ => self.seal_level(at, place)?,
                };
                return Ok(Content::List { list: root.id, height: root.height });
            }
            if !level.open.is_empty() {
                self.close(at, place)?;
            }
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests;

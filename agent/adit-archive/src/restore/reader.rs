// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads the tree: lists, finds, walks in the order of paths, a batch of nodes a round trip.

use super::keyring::{Keyring, ThreadOpener};
use super::line::Line;
use super::{FetchError, Fetcher};
use crate::entry::{Entry, is_within};
use crate::info::{Info, InfoError};
use crate::node::{Child, Inner, List, NodeError, decode_inner, decode_leaf, decode_list};
use crate::seal::Kind;
use adit_wire::ids::Id;
use adit_wire::read::Scope;
use adit_wire::record::Record;
use crossbeam_channel::Sender;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Nodes that a walk fetches at once, unless whoever walks says otherwise.
pub(super) const NODES_AT_ONCE: usize = 128;
/// A tree deeper than this is not ours: the same bound as in record headers.
const LEVELS_MAX: u8 = adit_wire::record::HEIGHT_MAX;

/// Why something can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The line or the store is gone.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// There is no memory for a decompressor.
    #[error("prepare to open records")]
    Opener(#[from] std::io::Error),
    /// A record is absent or fails its checks.
    #[error("{0} {1} is absent or damaged")]
    Damaged(&'static str, Id),
    /// A record opens, and what it says can't be.
    #[error("read node {0}")]
    Node(Id, #[source] NodeError),
    /// The info record does not decode.
    #[error("read info record {0}")]
    Info(Id, #[source] InfoError),
}

/// A node that was fetched and opened.
#[derive(Debug)]
pub(super) enum Node {
    Leaf(Vec<Entry>),
    Inner(Inner),
    /// With its height in the record header.
    List(List, u8),
}

/// A leaf on its way to whoever walks.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) id: Id,
    pub(super) entries: Vec<Entry>,
}

/// What a walk meets.
#[derive(Debug)]
pub(super) enum Met {
    Leaf(Leaf),
    /// A node that is absent or damaged: the first path below it, and how many entries are lost.
    Lost(Vec<u8>, u64),
}

/// Reads trees through a fetcher.
pub struct TreeReader<'a> {
    pub(super) line: Arc<Line<'a>>,
    opener: ThreadOpener<'a>,
    /// Inner nodes that walks went through.
    pub(super) inner_seen: Vec<Id>,
    /// Height of the node that was read last.
    pub(super) last_height: u8,
}

impl std::fmt::Debug for TreeReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TreeReader").finish_non_exhaustive()
    }
}

/// Which paths are wanted: all, or some with all below them and, for their attributes, all above.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    paths: Vec<Vec<u8>>,
}

impl Wanted {
    pub(super) const fn new(paths: Vec<Vec<u8>>) -> Self {
        Self { paths }
    }

    pub(super) fn is_all(&self) -> bool {
        self.paths.is_empty() || self.paths.iter().any(Vec::is_empty)
    }

    pub(super) fn has(&self, path: &[u8]) -> bool {
        self.is_all() || self.paths.iter().any(|wanted| is_within(path, wanted) || is_within(wanted, path))
    }

    /// Whether something wanted can lie from `first` up to, not including, `next`.
    fn overlaps(&self, first: &[u8], next: Option<&[u8]>) -> bool {
        let below_next = |path: &[u8]| next.is_none_or(|next| path < next);
        self.is_all()
            || self.paths.iter().any(|wanted| {
                // All below `wanted` sorts before `wanted` with a byte of 1 behind it.
                let end = [wanted, &[1][..]].concat();
                let below = first < end.as_slice() && next.is_none_or(|next| next > wanted.as_slice());
                let above = wanted
                    .iter()
                    .enumerate()
                    .filter(|(_, byte)| **byte == crate::entry::SEPARATOR)
                    .any(|(at, _)| first <= &wanted[..at] && below_next(&wanted[..at]));
                below || above
            })
    }
}

/// Where a walk over a tree stands: nodes still to visit, in the order of paths.
#[derive(Debug)]
pub(super) struct Cursor {
    /// Child, level (0 = leaf; none for a root whose level nobody told), and the first path behind it.
    ahead: VecDeque<(Child, Option<u8>, Option<Vec<u8>>)>,
    wanted: Wanted,
    nodes_at_once: usize,
}

impl Cursor {
    pub(super) fn new(root: Id, wanted: Wanted, nodes_at_once: usize) -> Self {
        let root = Child { first: Vec::new(), id: root, height: 0, entries: 0, bytes: 0 };
        Self { ahead: VecDeque::from([(root, None, None)]), wanted, nodes_at_once }
    }
}

impl<'a> TreeReader<'a> {
    /// A reader.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(fetcher: &'a dyn Fetcher, keyring: &'a Keyring) -> Result<Self, ReadError> {
        Self::on(Arc::new(Line::new(fetcher, keyring)))
    }

    fn on(line: Arc<Line<'a>>) -> Result<Self, ReadError> {
        let opener = line.keyring.opener()?;
        Ok(Self { line, opener, inner_seen: Vec::new(), last_height: 0 })
    }

    /// Another reader on the same line, for another thread.
    pub(super) fn twin(&self) -> Result<Self, ReadError> {
        Self::on(Arc::clone(&self.line))
    }

    /// Walks to the end, a batch ahead of whoever receives. Ends early when nobody does.
    pub(super) fn walk(&mut self, mut cursor: Cursor, met: &Sender<Vec<Met>>) -> Result<(), ReadError> {
        loop {
            let batch = self.next_leaves(&mut cursor)?;
            if batch.is_empty() || met.send(batch).is_err() {
                return Ok(());
            }
        }
    }

    /// Reads an info record.
    ///
    /// # Errors
    /// When it's absent, damaged or of a newer schema.
    pub fn info(&mut self, id: Id) -> Result<Info, ReadError> {
        let mut plain = self.data(&[id])?;
        let plain = plain.remove(&id).ok_or(ReadError::Damaged("info record", id))?;
        Info::from_plain(&plain).map_err(|error| ReadError::Info(id, error))
    }

    /// Content of data records; what is absent or damaged is not in the answer.
    pub(super) fn data(&mut self, ids: &[Id]) -> Result<HashMap<Id, Vec<u8>>, ReadError> {
        let opener = &mut self.opener;
        let mut found = HashMap::new();
        self.line.fetch(Scope::Records, ids, &mut |bytes| {
            let Ok(record) = Record::parse(bytes) else { return };
            let mut plain = Vec::new();
            if opener.open(&record, &mut plain).is_ok() {
                found.insert(record.header.id, plain);
            }
        })?;
        Ok(found)
    }

    /// Nodes; what is absent or damaged is not in the answer.
    pub(super) fn nodes(&mut self, ids: &[Id]) -> Result<HashMap<Id, Node>, ReadError> {
        let (opener, last_height) = (&mut self.opener, &mut self.last_height);
        let mut found = HashMap::new();
        let mut failed = None;
        let mut plain = Vec::new();
        self.line.fetch(Scope::Records, ids, &mut |bytes| {
            let Ok(record) = Record::parse(bytes) else { return };
            let id = record.header.id;
            let Ok(kind) = opener.open(&record, &mut plain) else { return };
            *last_height = record.header.height;
            match decode(kind, &plain, &record) {
                Ok(Some(node)) => drop(found.insert(id, node)),
                Ok(None) => {}
                Err(error) => failed = Some(ReadError::Node(id, error)),
            }
        })?;
        match failed {
            // A schema of a later version is not damage: whoever reads must be told to update.
            Some(error @ ReadError::Node(_, NodeError::Version(_))) => Err(error),
            _ => Ok(found),
        }
    }

    /// The next leaves of a walk, at most as many as one batch holds; empty at the end.
    pub(super) fn next_leaves(&mut self, cursor: &mut Cursor) -> Result<Vec<Met>, ReadError> {
        loop {
            let Some((_, level, _)) = cursor.ahead.front() else { return Ok(Vec::new()) };
            let level = *level;
            let mut batch = Vec::new();
            while batch.len() < cursor.nodes_at_once
                && cursor.ahead.front().is_some_and(|(_, other, _)| *other == level)
            {
                batch.extend(cursor.ahead.pop_front());
            }
            let ids: Vec<Id> = batch.iter().map(|(child, ..)| child.id).collect();
            let mut nodes = self.nodes(&ids)?;
            let mut met = Vec::new();
            let mut below = Vec::new();
            for (child, _, next) in batch {
                match nodes.remove(&child.id) {
                    Some(Node::Leaf(entries)) if level.is_none_or(|level| level == 0) => {
                        met.push(Met::Leaf(Leaf { id: child.id, entries }));
                    }
                    Some(Node::Inner(inner))
                        if level.map_or(inner.level <= LEVELS_MAX, |level| level == inner.level) =>
                    {
                        self.inner_seen.push(child.id);
                        below.extend(children(inner, next, &cursor.wanted));
                    }
                    Some(Node::Leaf(..) | Node::Inner(_) | Node::List(..)) | None => {
                        met.push(Met::Lost(child.first, child.entries));
                    }
                }
            }
            for child in below.into_iter().rev() {
                cursor.ahead.push_front(child);
            }
            if !met.is_empty() {
                return Ok(met);
            }
        }
    }

    /// Calls `visit` for every entry of a tree that lies at, below or above the wanted paths (components with 0x00
    /// between them; none = all), in the order of paths, until it answers false. Answers the first paths of parts that
    /// are absent or damaged.
    ///
    /// # Errors
    /// When the line or the store is gone.
    pub fn entries(
        &mut self,
        root: Id,
        paths: Vec<Vec<u8>>,
        visit: &mut dyn FnMut(&Entry) -> bool,
    ) -> Result<Vec<Vec<u8>>, ReadError> {
        let wanted = Wanted::new(paths);
        let mut cursor = Cursor::new(root, wanted.clone(), NODES_AT_ONCE);
        let mut lost = Vec::new();
        loop {
            let met = self.next_leaves(&mut cursor)?;
            if met.is_empty() {
                return Ok(lost);
            }
            for met in met {
                match met {
                    Met::Lost(first, _) => lost.push(first),
                    Met::Leaf(leaf) => {
                        for entry in leaf.entries.iter().filter(|entry| wanted.has(&entry.path)) {
                            if !visit(entry) {
                                return Ok(lost);
                            }
                        }
                    }
                }
            }
        }
    }

    /// The entry of one path. Costs one round trip a level.
    ///
    /// # Errors
    /// When the line is gone or a node on the way is damaged.
    pub fn find(&mut self, root: Id, path: &[u8]) -> Result<Option<Entry>, ReadError> {
        let mut at = root;
        for _ in 0..=LEVELS_MAX {
            match self.nodes(&[at])?.remove(&at) {
                Some(Node::Leaf(entries)) => return Ok(entries.into_iter().find(|entry| entry.path == path)),
                Some(Node::Inner(inner)) => {
                    let behind = inner.children.partition_point(|child| child.first.as_slice() <= path);
                    let Some(child) = behind.checked_sub(1).and_then(|at| inner.children.get(at)) else {
                        return Ok(None);
                    };
                    at = child.id;
                }
                Some(Node::List(..)) | None => return Err(ReadError::Damaged("node", at)),
            }
        }
        Err(ReadError::Damaged("node", root))
    }

    /// Entries and bytes of files below a root.
    ///
    /// # Errors
    /// When the line is gone or the root is damaged.
    pub fn totals(&mut self, root: Id) -> Result<(u64, u64), ReadError> {
        match self.nodes(&[root])?.remove(&root) {
            Some(Node::Leaf(entries)) => Ok((entries.len() as u64, entries.iter().map(|entry| entry.size).sum())),
            Some(Node::Inner(inner)) => {
                let sum = |of: fn(&Child) -> u64| inner.children.iter().map(of).fold(0u64, u64::saturating_add);
                Ok((sum(|child| child.entries), sum(|child| child.bytes)))
            }
            Some(Node::List(..)) | None => Err(ReadError::Damaged("root", root)),
        }
    }
}

type Ahead = (Child, Option<u8>, Option<Vec<u8>>);

fn children(inner: Inner, next: Option<Vec<u8>>, wanted: &Wanted) -> Vec<Ahead> {
    let level = inner.level - 1;
    let mut nexts: VecDeque<Option<Vec<u8>>> =
        inner.children.iter().skip(1).map(|child| Some(child.first.clone())).collect();
    nexts.push_back(next);
    inner
        .children
        .into_iter()
        .zip(nexts)
        .filter(|(child, next)| wanted.overlaps(&child.first, next.as_deref()))
        .map(|(child, next)| (child, Some(level), next))
        .collect()
}

fn decode(kind: Kind, plain: &[u8], record: &Record<'_>) -> Result<Option<Node>, NodeError> {
    let node_refs: Vec<Id> = record.node_refs.iter().collect();
    let data_refs: Vec<Id> = record.data_refs.iter().collect();
    Ok(match kind {
        Kind::Leaf => Some(Node::Leaf(decode_leaf(plain, &node_refs, &data_refs)?)),
        Kind::Inner => Some(Node::Inner(decode_inner(plain, &node_refs)?)),
        Kind::List => Some(Node::List(decode_list(plain, &node_refs, &data_refs)?, record.header.height)),
        Kind::Chunk | Kind::Bundle | Kind::Patch | Kind::Info => None,
    })
}

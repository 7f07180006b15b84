// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What differs between two trees: only nodes that are not in both are fetched.

use super::reader::{Node, ReadError, TreeReader};
use crate::entry::Entry;
use crate::node::Child;
use adit_wire::ids::Id;
use std::collections::HashSet;

/// One path that is not the same in both trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Only in the second.
    Added(Entry),
    /// Only in the first.
    Removed(Entry),
    /// In both, not alike.
    Changed(Box<Entry>, Box<Entry>),
}

/// Nodes fetched at once.
const NODES_AT_ONCE: usize = 128;

impl TreeReader<'_> {
    /// Calls `visit` for every path that differs, in order.
    ///
    /// # Errors
    /// When the line is gone, or a node that only one of the trees has is damaged.
    pub fn diff(&mut self, first: Id, second: Id, visit: &mut dyn FnMut(Difference)) -> Result<(), ReadError> {
        if first == second {
            return Ok(());
        }
        let (mut ours, mut theirs) = (vec![first], vec![second]);
        let (mut our_leaves, mut their_leaves) = (Vec::new(), Vec::new());
        // Levels need not match: a tree that grew is one level higher. Each side goes down on its own, without what the
        // other has too.
        while !ours.is_empty() || !theirs.is_empty() {
            let (below, leaves) = self.one_level(&ours)?;
            ours = below;
            our_leaves.extend(leaves);
            let (below, leaves) = self.one_level(&theirs)?;
            theirs = below;
            their_leaves.extend(leaves);
            drop_common(&mut ours, &mut theirs);
        }
        drop_common(&mut our_leaves, &mut their_leaves);
        let (old, new) = (self.leaf_entries(&our_leaves)?, self.leaf_entries(&their_leaves)?);
        merge(old, new, visit);
        Ok(())
    }

    /// The nodes below these, and which of these are leaves.
    fn one_level(&mut self, nodes: &[Id]) -> Result<(Vec<Id>, Vec<Id>), ReadError> {
        let (mut below, mut leaves) = (Vec::new(), Vec::new());
        for batch in nodes.chunks(NODES_AT_ONCE) {
            let mut found = self.nodes(batch)?;
            for id in batch {
                match found.remove(id) {
                    Some(Node::Inner(inner)) if inner.level == 1 => leaves.extend(ids(&inner.children)),
                    Some(Node::Inner(inner)) => below.extend(ids(&inner.children)),
                    Some(Node::Leaf(..)) => leaves.push(*id),
                    Some(Node::List(..)) | None => return Err(ReadError::Damaged("node", *id)),
                }
            }
        }
        Ok((below, leaves))
    }

    fn leaf_entries(&mut self, leaves: &[Id]) -> Result<Vec<Entry>, ReadError> {
        let mut all = Vec::new();
        for batch in leaves.chunks(NODES_AT_ONCE) {
            let mut found = self.nodes(batch)?;
            for id in batch {
                match found.remove(id) {
                    Some(Node::Leaf(entries)) => all.extend(entries),
                    Some(Node::Inner(_) | Node::List(..)) | None => return Err(ReadError::Damaged("node", *id)),
                }
            }
        }
        Ok(all)
    }
}

fn ids(children: &[Child]) -> impl Iterator<Item = Id> + '_ {
    children.iter().map(|child| child.id)
}

fn drop_common(ours: &mut Vec<Id>, theirs: &mut Vec<Id>) {
    let our_set: HashSet<Id> = ours.iter().copied().collect();
    let common: HashSet<Id> = theirs.iter().copied().filter(|id| our_set.contains(id)).collect();
    ours.retain(|id| !common.contains(id));
    theirs.retain(|id| !common.contains(id));
}

fn merge(old: Vec<Entry>, new: Vec<Entry>, visit: &mut dyn FnMut(Difference)) {
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(old), Some(new)) => old.path.cmp(&new.path),
        };
        match order {
            std::cmp::Ordering::Less => old.next().map(Difference::Removed).into_iter().for_each(&mut *visit),
            std::cmp::Ordering::Greater => new.next().map(Difference::Added).into_iter().for_each(&mut *visit),
            std::cmp::Ordering::Equal => {
                if let (Some(old), Some(new)) = (old.next(), new.next())
                    && old != new
                {
                    visit(Difference::Changed(Box::new(old), Box::new(new)));
                }
            }
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tree against a naive map, and where its nodes end.

use super::*;
use crate::entry::{Kind as What, Owner};
use crate::keys::{IdKey, SourceKeys};
use crate::node::{decode_inner, decode_leaf, decode_list};
use crate::seal::content_id;
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;

/// Keeps every node.
struct Kept {
    key: IdKey,
    nodes: HashMap<Id, (Kind, Encoded)>,
    placed: Vec<Id>,
}

impl Place for Kept {
    type Error = Infallible;

    fn place(&mut self, kind: Kind, node: Encoded) -> Result<Id, Infallible> {
        let id = content_id(&self.key, kind, &node.node_refs, &node.data_refs, &node.plain);
        for list in [&node.node_refs, &node.data_refs] {
            assert!(list.windows(2).all(|pair| pair[0] < pair[1]), "references must ascend strictly");
        }
        for child in &node.node_refs {
            assert!(self.nodes[child].1.height < node.height, "children come first and are lower");
        }
        assert!(node.plain.len() <= NODE_BYTES_MAX);
        assert!(node.node_refs.len() + node.data_refs.len() <= adit_wire::record::REFS_MAX);
        self.nodes.insert(id, (kind, node));
        self.placed.push(id);
        Ok(id)
    }
}

fn keys() -> SourceKeys {
    let mut next = 1u8;
    SourceKeys::generate(&mut |bytes| {
        for byte in bytes {
            next = next.wrapping_mul(73).wrapping_add(41);
            *byte = next;
        }
    })
}

fn kept() -> (Kept, PathCutter) {
    let keys = keys();
    (
        Kept { key: keys.seed().id_key(), nodes: HashMap::new(), placed: Vec::new() },
        PathCutter::new(keys.seed().path_cut_key()),
    )
}

fn file(path: &[u8], content: &[u8]) -> Entry {
    let mut entry = Entry::new(path.to_vec(), What::File);
    entry.size = content.len() as u64;
    entry.content = if content.is_empty() { Content::Empty } else { Content::Inline(content.to_vec()) };
    entry.owner = Arc::new(Owner { uid: 1000, gid: 1000, user: b"u".to_vec(), group: b"g".to_vec() });
    entry
}

fn build(entries: &BTreeMap<Vec<u8>, Vec<u8>>, kept: &mut Kept, cutter: &PathCutter) -> Child {
    let Ok(root) = build_entries(entries.iter().map(|(path, content)| file(path, content)), kept, cutter);
    root
}

fn build_entries(
    entries: impl Iterator<Item = Entry>,
    kept: &mut Kept,
    cutter: &PathCutter,
) -> Result<Child, Infallible> {
    let mut leaves = LeafBuilder::default();
    let mut tree = TreeBuilder::default();
    for entry in entries {
        if let Some(leaf) = leaves.push(cutter, entry, ()) {
            let leaf: Vec<&Entry> = leaf.iter().map(|(entry, ())| entry).collect();
            let leaf = place_leaf(&leaf, kept)?;
            tree.push(cutter, leaf, kept)?;
        }
    }
    if let Some(leaf) = leaves.take() {
        let leaf: Vec<&Entry> = leaf.iter().map(|(entry, ())| entry).collect();
        let leaf = place_leaf(&leaf, kept)?;
        tree.push(cutter, leaf, kept)?;
    }
    tree.finish(cutter, kept)
}

fn read_back(kept: &Kept, root: Id, entries: &mut Vec<Entry>, leaves: &mut Vec<Vec<u8>>) {
    let (kind, node) = &kept.nodes[&root];
    match kind {
        Kind::Leaf => {
            let leaf = decode_leaf(&node.plain, &node.node_refs, &node.data_refs).unwrap();
            leaves.extend(leaf.first().map(|entry| entry.path.clone()));
            entries.extend(leaf);
        }
        Kind::Inner => {
            for child in decode_inner(&node.plain, &node.node_refs).unwrap().children {
                let before = entries.len();
                read_back(kept, child.id, entries, leaves);
                assert_eq!(entries[before].path, child.first);
                assert_eq!((entries.len() - before) as u64, child.entries);
            }
        }
        Kind::Chunk | Kind::Bundle | Kind::Patch | Kind::List | Kind::Info => panic!("{kind:?} in a tree"),
    }
}

fn numbered(count: u32) -> BTreeMap<Vec<u8>, Vec<u8>> {
    (0..count).map(|n| (format!("home\0u\0dir{}\0file{n}", n % 37).into_bytes(), n.to_le_bytes().to_vec())).collect()
}

#[test]
fn reads_back_and_keeps_bounds() {
    for count in [0, 1, 47, 48, 49, 424, 425, 5_000, 60_000] {
        let (mut kept, cutter) = kept();
        let wanted = numbered(count);
        let root = build(&wanted, &mut kept, &cutter);
        assert_eq!(root.entries, u64::from(count));
        let (mut entries, mut leaves) = (Vec::new(), Vec::new());
        read_back(&kept, root.id, &mut entries, &mut leaves);
        let got: BTreeMap<Vec<u8>, Vec<u8>> = entries
            .iter()
            .map(|entry| {
                let Content::Inline(bytes) = &entry.content else { panic!("content was {:?}", entry.content) };
                (entry.path.clone(), bytes.clone())
            })
            .collect();
        assert_eq!(got, wanted);
        if count == 60_000 {
            let mean = entries.len() / leaves.len();
            assert!((95..=120).contains(&mean), "mean leaf has {mean} entries");
            assert_eq!(root.height, 3);
        }
    }
}

#[test]
fn contents_never_move_boundaries() {
    let (mut kept, cutter) = kept();
    let mut map = numbered(20_000);
    let root = build(&map, &mut kept, &cutter);
    let (mut entries, mut leaves) = (Vec::new(), Vec::new());
    read_back(&kept, root.id, &mut entries, &mut leaves);
    map.values_mut().for_each(|content| content.push(7));
    let changed = build(&map, &mut kept, &cutter);
    let (mut entries, mut leaves_changed) = (Vec::new(), Vec::new());
    read_back(&kept, changed.id, &mut entries, &mut leaves_changed);
    assert_eq!(leaves, leaves_changed);
    assert_ne!(root.id, changed.id);
}

#[test]
fn one_change_costs_one_node_a_level_and_one_name_few_leaves() {
    let (mut kept, cutter) = kept();
    let mut map = numbered(20_000);
    build(&map, &mut kept, &cutter);
    let before: BTreeSet<Id> = kept.nodes.keys().copied().collect();
    let fresh = |kept: &Kept| kept.nodes.keys().filter(|id| !before.contains(id)).count();
    map.insert(b"home\0u\0dir5\0file5".to_vec(), b"other".to_vec());
    let root = build(&map, &mut kept, &cutter);
    assert_eq!(fresh(&kept), usize::from(root.height));
    for n in 0..20u32 {
        map.insert(format!("home\0u\0dir{n}\0new").into_bytes(), vec![1]);
    }
    build(&map, &mut kept, &cutter);
    assert!(fresh(&kept) <= 3 + 2 * 20 + 3 + 3, "20 new names made {} nodes", fresh(&kept));
}

#[test]
fn long_entries_stay_below_the_byte_limit() {
    let (mut kept, cutter) = kept();
    let entries = (0..200u32).map(|n| {
        let mut entry = file(format!("d\0{n:05}{}", "x".repeat(3_000)).as_bytes(), b"y");
        entry.xattrs = crate::entry::Xattrs::Here(vec![3; crate::entry::XATTRS_BYTES_MAX]);
        entry
    });
    let Ok(root) = build_entries(entries, &mut kept, &cutter);
    assert_eq!(root.entries, 200);
}

fn chunk(n: u32) -> Chunk {
    Chunk { id: Id(*blake3::hash(&n.to_le_bytes()).as_bytes()), bytes: 1_000 + n % 7 }
}

fn read_list(kept: &Kept, id: Id, chunks: &mut Vec<Chunk>) {
    let (kind, node) = &kept.nodes[&id];
    assert_eq!(*kind, Kind::List);
    let list = decode_list(&node.plain, &node.node_refs, &node.data_refs).unwrap();
    for item in list.items {
        if list.level == 0 {
            chunks.push(Chunk { id: item.id, bytes: u32::try_from(item.bytes).unwrap() });
        } else {
            let from = chunks.len();
            read_list(kept, item.id, chunks);
            assert_eq!(item.bytes, chunks[from..].iter().map(|chunk| u64::from(chunk.bytes)).sum::<u64>());
        }
    }
}

#[test]
fn lists_hold_their_chunks() {
    for page_store in [false, true] {
        for count in [0, 1, 4, 5, 255, 256, 257, 3_000, 140_000] {
            let (mut kept, _) = kept();
            let chunks: Vec<Chunk> = (0..count).map(chunk).collect();
            let mut list = ListBuilder::new(page_store);
            for chunk in &chunks {
                let Ok(()) = list.push(*chunk, &mut kept);
            }
            let Ok(content) = list.finish(&mut kept);
            match content {
                Content::Empty => assert_eq!(count, 0),
                Content::Chunks(few) => assert!(few == chunks && count <= 4),
                Content::List { list, height } => {
                    let mut got = Vec::new();
                    read_list(&kept, list, &mut got);
                    assert_eq!(got, chunks);
                    assert_eq!(height, kept.nodes[&list].1.height);
                    assert!(height <= 4);
                }
                Content::Inline(_) | Content::Bundle { .. } => panic!("a list builder made {content:?}"),
            }
        }
    }
}

#[test]
fn equal_chunks_do_not_pile_up_levels() {
    let (mut kept, _) = kept();
    let mut list = ListBuilder::new(false);
    let zero = Chunk { id: Id::ZERO, bytes: 1 << 20 };
    for _ in 0..100_000 {
        let Ok(()) = list.push(zero, &mut kept);
    }
    let Ok(Content::List { height, .. }) = list.finish(&mut kept) else { panic!("no list") };
    assert!(height <= 5, "height {height}");
}

#[test]
fn a_changed_chunk_changes_one_list_node_a_level() {
    let (mut kept, _) = kept();
    let mut build = |changed: u32| {
        let mut list = ListBuilder::new(false);
        for n in 0..10_000 {
            let Ok(()) = list.push(chunk(if n == changed { 1_000_000 } else { n }), &mut kept);
        }
        let Ok(_) = list.finish(&mut kept);
        kept.nodes.len()
    };
    let first = build(u32::MAX);
    let second = build(5_000);
    assert!(second - first <= 5, "{} new nodes", second - first);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Equal sets give equal roots, whatever was edited in between and in whatever order.
    #[test]
    fn equal_sets_have_equal_roots(
        edits in proptest::collection::vec((0u16..600, proptest::option::of(0u8..4)), 0..900),
        rotation in 0usize..900,
    ) {
        let (mut kept, cutter) = kept();
        let path = |n: u16| format!("d{}\0f{n}", n % 9).into_bytes();
        let mut naive: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for (n, content) in &edits {
            match content {
                Some(byte) => { naive.insert(path(*n), vec![*byte]); }
                None => { naive.remove(&path(*n)); }
            }
        }
        let root = build(&naive, &mut kept, &cutter);
        let mut other: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let pairs: Vec<_> = naive.iter().collect();
        for at in 0..pairs.len() {
            let (path, content) = pairs[(at + rotation) % pairs.len()];
            other.insert(path.clone(), content.clone());
        }
        let again = build(&other, &mut kept, &cutter);
        prop_assert_eq!(root.id, again.id);
        let (mut entries, mut leaves) = (Vec::new(), Vec::new());
        read_back(&kept, root.id, &mut entries, &mut leaves);
        prop_assert_eq!(entries.len(), naive.len());
        prop_assert!(leaves.len() <= 1 + naive.len() / ITEMS_MIN);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The plaintext of leaves, inner nodes and list nodes: a schema byte, then postcard, with room for later fields.
//!
//! Pure over bytes. Everything that a decoder accepts keeps the rules that the restorer relies on: ascending paths,
//! no component that leads upward, references in range. Drawn in `agent/FORMAT.md`, frozen by golden vectors.

use crate::entry::{
    CHUNKS_MAX, Chunk, Content, EXTENTS_MAX, Entry, Extent, Extents, INLINE_BYTES_MAX, Kind, Mark, Owner, SEPARATOR,
    Time, Xattrs,
};
use adit_wire::ids::Id;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Schema number at the front of every node.
pub const NODE_VERSION: u8 = 1;
/// Entries of a leaf, children of an inner node.
pub const ITEMS_MAX: usize = 424;
/// Items of a list node.
pub const LIST_ITEMS_MAX: usize = 1_024;
/// Plaintext of a node, bytes.
pub const NODE_BYTES_MAX: usize = 256 << 10;
/// Longest path of an entry, bytes: far above what a system call takes, far below a leaf.
pub const PATH_BYTES_MAX: usize = 32 << 10;

/// A node before it is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Schema byte and postcard.
    pub plain: Vec<u8>,
    /// Referenced nodes, strictly ascending.
    pub node_refs: Vec<Id>,
    /// Referenced data, strictly ascending.
    pub data_refs: Vec<Id>,
    /// One above the highest reference.
    pub height: u8,
}

/// What an inner node says of one child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// First path of the child's subtree.
    pub first: Vec<u8>,
    /// The child.
    pub id: Id,
    /// Its height in the record header. Not stored: a reader gets it from the child.
    pub height: u8,
    /// Entries below.
    pub entries: u64,
    /// Sizes of the files below.
    pub bytes: u64,
}

/// An inner node, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inner {
    /// 1 = the children are leaves.
    pub level: u8,
    /// In the order of paths.
    pub children: Vec<Child>,
}

/// An item of a list node: a chunk at level 0, a list node above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListItem {
    /// Its id.
    pub id: Id,
    /// Its height in the record header; 0 for a chunk. Not stored.
    pub height: u8,
    /// Bytes of content in it or below it.
    pub bytes: u64,
}

/// A list node, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// 0 = the items are chunks.
    pub level: u8,
    /// In the order of content.
    pub items: Vec<ListItem>,
}

/// Why bytes are no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// A schema this program does not know.
    #[error("node has schema {0}, this program reads {NODE_VERSION}")]
    Version(u8),
    /// No such structure.
    #[error("node does not decode")]
    Malformed,
    /// A rule between fields is broken.
    #[error("node breaks the rule of its {0}")]
    Rule(&'static str),
}

type Ext<'a> = Vec<(u16, &'a [u8])>;

#[derive(Serialize, Deserialize)]
struct LeafPart<'a> {
    #[serde(borrow)]
    owners: Vec<OwnerPart<'a>>,
    #[serde(borrow)]
    entries: Vec<EntryPart<'a>>,
    #[serde(borrow)]
    ext: Ext<'a>,
}

#[derive(Serialize, Deserialize, PartialEq)]
struct OwnerPart<'a> {
    uid: u32,
    gid: u32,
    user: &'a [u8],
    group: &'a [u8],
}

#[derive(Serialize, Deserialize)]
struct EntryPart<'a> {
    prefix: u32,
    suffix: &'a [u8],
    #[serde(borrow)]
    kind: KindPart<'a>,
    mode: u16,
    owner: u16,
    mtime_s: i64,
    mtime_ns: u32,
    size: u64,
    link_group: Option<u64>,
    #[serde(borrow)]
    xattrs: XattrsPart<'a>,
    extents: ExtentsPart,
    #[serde(borrow)]
    content: ContentPart<'a>,
    mark: MarkPart,
    #[serde(borrow)]
    ext: Ext<'a>,
}

#[derive(Serialize, Deserialize)]
enum KindPart<'a> {
    File,
    Dir,
    Parent,
    Symlink(&'a [u8]),
    Fifo,
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
}

#[derive(Serialize, Deserialize)]
enum MarkPart {
    Whole,
    Changed,
    Unreadable,
}

#[derive(Serialize, Deserialize)]
enum XattrsPart<'a> {
    None,
    Here(&'a [u8]),
    Chunk(u16),
}

#[derive(Serialize, Deserialize)]
enum ExtentsPart {
    Whole,
    /// Gap since the end of the extent before, then length.
    Here(Vec<(u64, u64)>),
    Chunk(u16),
}

#[derive(Serialize, Deserialize)]
enum ContentPart<'a> {
    Empty,
    Inline(&'a [u8]),
    Bundle { data_ref: u16, offset: u32 },
    Chunks(Vec<(u16, u32)>),
    List { node_ref: u16 },
}

#[derive(Serialize, Deserialize)]
struct InnerPart<'a> {
    level: u8,
    #[serde(borrow)]
    children: Vec<ChildPart<'a>>,
    #[serde(borrow)]
    ext: Ext<'a>,
}

#[derive(Serialize, Deserialize)]
struct ChildPart<'a> {
    prefix: u32,
    suffix: &'a [u8],
    node_ref: u16,
    entries: u64,
    bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct ListPart<'a> {
    level: u8,
    items: Vec<(u16, u64)>,
    #[serde(borrow)]
    ext: Ext<'a>,
}

fn to_plain(part: &impl Serialize, bytes_hint: usize) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes_hint);
    plain.push(NODE_VERSION);
    // Serialising plain data into memory can't fail.
    postcard::to_extend(part, plain).unwrap_or_default()
}

fn from_plain<'a, T: Deserialize<'a>>(plain: &'a [u8]) -> Result<T, NodeError> {
    match plain.split_first() {
        Some((&NODE_VERSION, rest)) if plain.len() <= NODE_BYTES_MAX => {
            postcard::from_bytes(rest).map_err(|_| NodeError::Malformed)
        }
        Some((&NODE_VERSION, _)) => Err(NodeError::Rule("length")),
        Some((version, _)) => Err(NodeError::Version(*version)),
        None => Err(NodeError::Malformed),
    }
}

fn sorted(ids: impl Iterator<Item = Id>) -> Vec<Id> {
    let mut ids: Vec<Id> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The place of an id in a sorted list that holds it; a node names at most 4,096.
fn place(ids: &[Id], id: &Id) -> u16 {
    let at = ids.binary_search(id);
    debug_assert!(at.is_ok(), "a reference was not collected");
    u16::try_from(at.unwrap_or_default()).unwrap_or_default()
}

fn shared_prefix(before: &[u8], path: &[u8]) -> usize {
    before.iter().zip(path).take_while(|(a, b)| a == b).count()
}

/// At most this many bytes of plaintext come from one entry.
#[must_use]
pub fn entry_cost(entry: &Entry) -> usize {
    let target = if let Kind::Symlink(target) = &entry.kind { target.len() } else { 0 };
    let xattrs = if let Xattrs::Here(packed) = &entry.xattrs { packed.len() } else { 0 };
    let extents = if let Extents::Here(extents) = &entry.extents { extents.len() * 20 } else { 0 };
    let owner = entry.owner.user.len() + entry.owner.group.len() + 16;
    entry.path.len() + target + xattrs + extents + owner + INLINE_BYTES_MAX + 96
}

/// Encodes a leaf. Entries must ascend and keep the limits.
#[must_use]
pub fn encode_leaf(entries: &[&Entry]) -> Encoded {
    let data_refs = sorted(entries.iter().flat_map(|entry| entry.data_refs()));
    let lists = || {
        entries.iter().filter_map(|entry| {
            if let Content::List { list, height } = entry.content { Some((list, height)) } else { None }
        })
    };
    let node_refs = sorted(lists().map(|(list, _)| list));
    let height = lists().map(|(_, height)| height).max().unwrap_or(0).saturating_add(1);
    let mut owners: Vec<OwnerPart<'_>> = Vec::new();
    let mut parts = Vec::with_capacity(entries.len());
    let mut before: &[u8] = &[];
    let mut cost = 16;
    for entry in entries {
        let owner = owner_index(&mut owners, &entry.owner);
        parts.push(entry_part(entry, before, owner, &node_refs, &data_refs));
        before = &entry.path;
        cost += entry_cost(entry);
    }
    let plain = to_plain(&LeafPart { owners, entries: parts, ext: Vec::new() }, cost);
    Encoded { plain, node_refs, data_refs, height }
}

fn owner_index<'a>(owners: &mut Vec<OwnerPart<'a>>, owner: &'a Owner) -> u16 {
    let part = OwnerPart { uid: owner.uid, gid: owner.gid, user: &owner.user, group: &owner.group };
    let at = owners.iter().position(|known| *known == part).unwrap_or_else(|| {
        owners.push(part);
        owners.len() - 1
    });
    u16::try_from(at).unwrap_or_default()
}

fn entry_part<'a>(entry: &'a Entry, before: &[u8], owner: u16, node_refs: &[Id], data_refs: &[Id]) -> EntryPart<'a> {
    let prefix = shared_prefix(before, &entry.path);
    EntryPart {
        prefix: u32::try_from(prefix).unwrap_or_default(),
        suffix: &entry.path[prefix..],
        kind: match &entry.kind {
            Kind::File => KindPart::File,
            Kind::Dir => KindPart::Dir,
            Kind::Parent => KindPart::Parent,
            Kind::Symlink(target) => KindPart::Symlink(target),
            Kind::Fifo => KindPart::Fifo,
            Kind::CharDevice(major, minor) => KindPart::CharDevice(*major, *minor),
            Kind::BlockDevice(major, minor) => KindPart::BlockDevice(*major, *minor),
        },
        mode: u16::try_from(entry.mode & 0o7777).unwrap_or_default(),
        owner,
        mtime_s: entry.mtime.s,
        mtime_ns: entry.mtime.ns,
        size: entry.size,
        link_group: entry.link_group,
        xattrs: match &entry.xattrs {
            Xattrs::None => XattrsPart::None,
            Xattrs::Here(packed) => XattrsPart::Here(packed),
            Xattrs::Chunk(id) => XattrsPart::Chunk(place(data_refs, id)),
        },
        extents: extents_part(&entry.extents, data_refs),
        content: match &entry.content {
            Content::Empty => ContentPart::Empty,
            Content::Inline(bytes) => ContentPart::Inline(bytes),
            Content::Bundle { bundle, offset } => {
                ContentPart::Bundle { data_ref: place(data_refs, bundle), offset: *offset }
            }
            Content::Chunks(chunks) => {
                ContentPart::Chunks(chunks.iter().map(|chunk| (place(data_refs, &chunk.id), chunk.bytes)).collect())
            }
            Content::List { list, .. } => ContentPart::List { node_ref: place(node_refs, list) },
        },
        mark: match entry.mark {
            Mark::Whole => MarkPart::Whole,
            Mark::Changed => MarkPart::Changed,
            Mark::Unreadable => MarkPart::Unreadable,
        },
        ext: Vec::new(),
    }
}

fn extents_part(extents: &Extents, data_refs: &[Id]) -> ExtentsPart {
    match extents {
        Extents::Whole => ExtentsPart::Whole,
        Extents::Here(extents) => ExtentsPart::Here(pack_extents(extents)),
        Extents::Chunk(id) => ExtentsPart::Chunk(place(data_refs, id)),
    }
}

fn pack_extents(extents: &[Extent]) -> Vec<(u64, u64)> {
    let mut end = 0;
    extents
        .iter()
        .map(|extent| {
            let gap = extent.offset.saturating_sub(end);
            end = extent.offset.saturating_add(extent.bytes);
            (gap, extent.bytes)
        })
        .collect()
}

fn unpack_extents(packed: &[(u64, u64)], size: u64) -> Result<Vec<Extent>, NodeError> {
    let mut end = 0u64;
    let mut extents = Vec::with_capacity(packed.len());
    for (index, (gap, bytes)) in packed.iter().enumerate() {
        let offset = end.checked_add(*gap).ok_or(NodeError::Rule("extents"))?;
        end = offset.checked_add(*bytes).filter(|end| *end <= size).ok_or(NodeError::Rule("extents"))?;
        if *bytes == 0 || (index > 0 && *gap == 0) {
            return Err(NodeError::Rule("extents"));
        }
        extents.push(Extent { offset, bytes: *bytes });
    }
    Ok(extents)
}

/// The content of a chunk that holds a long extent map.
#[must_use]
pub fn encode_extents(extents: &[Extent]) -> Vec<u8> {
    to_plain(&pack_extents(extents), extents.len() * 12 + 16)
}

/// Reads the content of an extent chunk for a file of this size.
///
/// # Errors
/// When the bytes are no extent map or reach beyond the size.
pub fn decode_extents(plain: &[u8], size: u64) -> Result<Vec<Extent>, NodeError> {
    match plain.split_first() {
        Some((&NODE_VERSION, rest)) => {
            let packed: Vec<(u64, u64)> = postcard::from_bytes(rest).map_err(|_| NodeError::Malformed)?;
            unpack_extents(&packed, size)
        }
        Some((version, _)) => Err(NodeError::Version(*version)),
        None => Err(NodeError::Malformed),
    }
}

/// Decodes a leaf whose record names these references. `heights` tells a list node's height where it is known; a reader
/// that does not care gives 1.
///
/// # Errors
/// The first rule that the bytes break.
pub fn decode_leaf(plain: &[u8], node_refs: &[Id], data_refs: &[Id]) -> Result<Vec<Entry>, NodeError> {
    let part: LeafPart<'_> = from_plain(plain)?;
    if part.entries.len() > ITEMS_MAX {
        return Err(NodeError::Rule("entry count"));
    }
    let owners: Vec<Arc<Owner>> = part
        .owners
        .iter()
        .map(|owner| {
            Arc::new(Owner { uid: owner.uid, gid: owner.gid, user: owner.user.to_vec(), group: owner.group.to_vec() })
        })
        .collect();
    let mut entries: Vec<Entry> = Vec::with_capacity(part.entries.len());
    for entry in &part.entries {
        let before: &[u8] = entries.last().map_or(&[], |last| &last.path);
        let path = next_path(before, entry.prefix, entry.suffix, entries.is_empty())?;
        let owner = owners.get(usize::from(entry.owner)).ok_or(NodeError::Rule("owner"))?;
        entries.push(read_entry(entry, path, Arc::clone(owner), node_refs, data_refs)?);
    }
    Ok(entries)
}

fn next_path(before: &[u8], prefix: u32, suffix: &[u8], first: bool) -> Result<Vec<u8>, NodeError> {
    let kept = usize::try_from(prefix).ok().and_then(|prefix| before.get(..prefix)).ok_or(NodeError::Rule("prefix"))?;
    let path = [kept, suffix].concat();
    let whole = path
        .split(|byte| *byte == SEPARATOR)
        .all(|name| !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/'));
    if !whole || path.len() > PATH_BYTES_MAX || (!first && path.as_slice() <= before) {
        return Err(NodeError::Rule("path"));
    }
    Ok(path)
}

fn read_entry(
    part: &EntryPart<'_>,
    path: Vec<u8>,
    owner: Arc<Owner>,
    node_refs: &[Id],
    data_refs: &[Id],
) -> Result<Entry, NodeError> {
    let data = |at: u16| data_refs.get(usize::from(at)).copied().ok_or(NodeError::Rule("data reference"));
    let kind = match part.kind {
        KindPart::File => Kind::File,
        KindPart::Dir => Kind::Dir,
        KindPart::Parent => Kind::Parent,
        KindPart::Symlink(target) => Kind::Symlink(target.to_vec()),
        KindPart::Fifo => Kind::Fifo,
        KindPart::CharDevice(major, minor) => Kind::CharDevice(major, minor),
        KindPart::BlockDevice(major, minor) => Kind::BlockDevice(major, minor),
    };
    let content = match &part.content {
        ContentPart::Empty => Content::Empty,
        ContentPart::Inline(bytes) if bytes.len() <= INLINE_BYTES_MAX => Content::Inline(bytes.to_vec()),
        ContentPart::Inline(_) => return Err(NodeError::Rule("inline content")),
        ContentPart::Bundle { data_ref, offset } => Content::Bundle { bundle: data(*data_ref)?, offset: *offset },
        ContentPart::Chunks(chunks) if (1..=CHUNKS_MAX).contains(&chunks.len()) => Content::Chunks(
            chunks.iter().map(|(at, bytes)| Ok(Chunk { id: data(*at)?, bytes: *bytes })).collect::<Result<_, _>>()?,
        ),
        ContentPart::Chunks(_) => return Err(NodeError::Rule("chunk count")),
        ContentPart::List { node_ref } => Content::List {
            list: node_refs.get(usize::from(*node_ref)).copied().ok_or(NodeError::Rule("node reference"))?,
            height: 0,
        },
    };
    let has_content = !matches!(content, Content::Empty);
    if (has_content && kind != Kind::File) || part.mode > 0o7777 || part.mtime_ns >= 1_000_000_000 {
        return Err(NodeError::Rule("entry"));
    }
    Ok(Entry {
        path,
        kind,
        mode: u32::from(part.mode),
        owner,
        mtime: Time { s: part.mtime_s, ns: part.mtime_ns },
        size: part.size,
        link_group: part.link_group,
        xattrs: match part.xattrs {
            XattrsPart::None => Xattrs::None,
            XattrsPart::Here(packed) => Xattrs::Here(packed.to_vec()),
            XattrsPart::Chunk(at) => Xattrs::Chunk(data(at)?),
        },
        extents: match &part.extents {
            ExtentsPart::Whole => Extents::Whole,
            ExtentsPart::Here(packed) if packed.len() <= EXTENTS_MAX => {
                Extents::Here(unpack_extents(packed, part.size)?)
            }
            ExtentsPart::Here(_) => return Err(NodeError::Rule("extents")),
            ExtentsPart::Chunk(at) => Extents::Chunk(data(*at)?),
        },
        content,
        mark: match part.mark {
            MarkPart::Whole => Mark::Whole,
            MarkPart::Changed => Mark::Changed,
            MarkPart::Unreadable => Mark::Unreadable,
        },
    })
}

/// At most this many bytes of plaintext come from one child.
#[must_use]
pub const fn child_cost(child: &Child) -> usize {
    child.first.len() + 32
}

/// Encodes an inner node. Children must ascend and keep the limits.
#[must_use]
pub fn encode_inner(level: u8, children: &[Child]) -> Encoded {
    let node_refs = sorted(children.iter().map(|child| child.id));
    let height = children.iter().map(|child| child.height).max().unwrap_or(0).saturating_add(1);
    let mut before: &[u8] = &[];
    let mut parts = Vec::with_capacity(children.len());
    for child in children {
        let prefix = shared_prefix(before, &child.first);
        parts.push(ChildPart {
            prefix: u32::try_from(prefix).unwrap_or_default(),
            suffix: &child.first[prefix..],
            node_ref: place(&node_refs, &child.id),
            entries: child.entries,
            bytes: child.bytes,
        });
        before = &child.first;
    }
    let plain = to_plain(&InnerPart { level, children: parts, ext: Vec::new() }, children.len() * 48);
    Encoded { plain, node_refs, data_refs: Vec::new(), height }
}

/// Decodes an inner node whose record names these nodes.
///
/// # Errors
/// The first rule that the bytes break.
pub fn decode_inner(plain: &[u8], node_refs: &[Id]) -> Result<Inner, NodeError> {
    let part: InnerPart<'_> = from_plain(plain)?;
    if part.children.is_empty() || part.children.len() > ITEMS_MAX || part.level == 0 {
        return Err(NodeError::Rule("child count"));
    }
    let mut children: Vec<Child> = Vec::with_capacity(part.children.len());
    for child in &part.children {
        let before: &[u8] = children.last().map_or(&[], |last| &last.first);
        let first = next_path(before, child.prefix, child.suffix, children.is_empty())?;
        let id = *node_refs.get(usize::from(child.node_ref)).ok_or(NodeError::Rule("node reference"))?;
        children.push(Child { first, id, height: 0, entries: child.entries, bytes: child.bytes });
    }
    Ok(Inner { level: part.level, children })
}

/// Encodes a list node.
#[must_use]
pub fn encode_list(level: u8, items: &[ListItem]) -> Encoded {
    let refs = sorted(items.iter().map(|item| item.id));
    let height = items.iter().map(|item| item.height).max().unwrap_or(0).saturating_add(1);
    let parts = items.iter().map(|item| (place(&refs, &item.id), item.bytes)).collect();
    let plain = to_plain(&ListPart { level, items: parts, ext: Vec::new() }, items.len() * 6 + 16);
    let (node_refs, data_refs) = if level == 0 { (Vec::new(), refs) } else { (refs, Vec::new()) };
    Encoded { plain, node_refs, data_refs, height }
}

/// Decodes a list node whose record names these references.
///
/// # Errors
/// The first rule that the bytes break.
pub fn decode_list(plain: &[u8], node_refs: &[Id], data_refs: &[Id]) -> Result<List, NodeError> {
    let part: ListPart<'_> = from_plain(plain)?;
    if part.items.is_empty() || part.items.len() > LIST_ITEMS_MAX {
        return Err(NodeError::Rule("item count"));
    }
    let refs = if part.level == 0 { data_refs } else { node_refs };
    let items = part
        .items
        .iter()
        .map(|(at, bytes)| {
            let id = *refs.get(usize::from(*at)).ok_or(NodeError::Rule("list reference"))?;
            Ok(ListItem { id, height: 0, bytes: *bytes })
        })
        .collect::<Result<_, _>>()?;
    Ok(List { level: part.level, items })
}

#[cfg(test)]
mod tests;

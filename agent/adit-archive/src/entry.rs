// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a snapshot says of one path: kind, owners, times, attributes and where the content lies.
//!
//! Stands apart from the node codec because the walker, the local state and the restorer speak of entries too. Paths are
//! bytes with 0x00 between components, so that byte order is depth-first order. Nothing here opens a file.

use adit_wire::ids::Id;
use std::sync::Arc;

/// Separates the components of an entry's path. No file name can hold it.
pub const SEPARATOR: u8 = 0;
/// Longest content that lies in the entry itself, bytes.
pub const INLINE_BYTES_MAX: usize = 64;
/// Most chunks that an entry names itself; more hang on a list node.
pub const CHUNKS_MAX: usize = 4;
/// Longest set of extended attributes inside an entry, bytes; a longer one is a chunk of its own.
pub const XATTRS_BYTES_MAX: usize = 4 << 10;
/// Extents of a sparse file inside an entry; a longer map is a chunk of its own.
pub const EXTENTS_MAX: usize = 32;

/// Seconds since 1970 and nanoseconds below 1,000,000,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds; negative before 1970.
    pub s: i64,
    /// Nanoseconds.
    pub ns: u32,
}

/// Names of an owner and a group at the time of the backup; empty where the system knew none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// Numeric user.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// User name.
    pub user: Vec<u8>,
    /// Group name.
    pub group: Vec<u8>,
}

/// What kind of thing a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A directory that is here only because a source lies below it: its time isn't kept.
    Parent,
    /// A symbolic link and where it points, bytes as they are.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A character device: major and minor number.
    CharDevice(u32, u32),
    /// A block device: major and minor number.
    BlockDevice(u32, u32),
}

/// Whether the entry says all that there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// It does.
    #[default]
    Whole,
    /// The file changed while it was read: the content is a mixture.
    Changed,
    /// The file could not be read: there is no content.
    Unreadable,
}

/// One chunk of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its id.
    pub id: Id,
    /// Bytes of content in it.
    pub bytes: u32,
}

/// Where a file's bytes are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// There are none.
    #[default]
    Empty,
    /// Here.
    Inline(Vec<u8>),
    /// In a bundle, from `offset` on, as long as the entry's size.
    Bundle {
        /// The bundle's id.
        bundle: Id,
        /// Where in its plaintext.
        offset: u32,
    },
    /// In 1 to [`CHUNKS_MAX`] chunks.
    Chunks(Vec<Chunk>),
    /// Under a list node.
    List {
        /// The topmost list node's id.
        list: Id,
        /// Its height in the record header.
        height: u8,
    },
}

/// A piece of a sparse file that holds data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where in the file.
    pub offset: u64,
    /// How long.
    pub bytes: u64,
}

/// Which parts of a file are data. The content is the data parts back to back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Extents {
    /// All of it.
    #[default]
    Whole,
    /// These; ascending, not touching.
    Here(Vec<Extent>),
    /// As listed in a chunk.
    Chunk(Id),
}

/// Extended attributes, ACLs and capabilities among them, packed as [`pack_xattrs`] does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Xattrs {
    /// None.
    #[default]
    None,
    /// Here.
    Here(Vec<u8>),
    /// In a chunk.
    Chunk(Id),
}

/// One path of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Components with 0x00 between them, no leading separator.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, set-id and sticky bits: mode & 0o7777.
    pub mode: u32,
    /// Who owns it.
    pub owner: Arc<Owner>,
    /// When the content last changed.
    pub mtime: Time,
    /// Bytes of a file as stat tells, or what was read of it; 0 for all else.
    pub size: u64,
    /// Keyed hash of the first path of its group of hard links.
    pub link_group: Option<u64>,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// Holes.
    pub extents: Extents,
    /// Content.
    pub content: Content,
    /// Whether something is missing.
    pub mark: Mark,
}

impl Entry {
    /// An entry without owner names, times or content.
    #[must_use]
    pub fn new(path: Vec<u8>, kind: Kind) -> Self {
        Self {
            path,
            kind,
            mode: 0,
            owner: Arc::new(Owner::default()),
            mtime: Time::default(),
            size: 0,
            link_group: None,
            xattrs: Xattrs::None,
            extents: Extents::Whole,
            content: Content::Empty,
            mark: Mark::Whole,
        }
    }

    /// Whether it's a directory, a mere parent included.
    #[must_use]
    pub const fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Dir | Kind::Parent)
    }

    /// Ids of data records that the entry names.
    pub fn data_refs(&self) -> impl Iterator<Item = Id> + '_ {
        let xattrs = if let Xattrs::Chunk(id) = self.xattrs { Some(id) } else { None };
        let extents = if let Extents::Chunk(id) = self.extents { Some(id) } else { None };
        let (bundle, chunks): (Option<Id>, &[Chunk]) = match &self.content {
            Content::Bundle { bundle, .. } => (Some(*bundle), &[]),
            Content::Chunks(chunks) => (None, chunks),
            Content::Empty | Content::Inline(_) | Content::List { .. } => (None, &[]),
        };
        xattrs.into_iter().chain(extents).chain(bundle).chain(chunks.iter().map(|chunk| chunk.id))
    }

    /// Bytes of content that are stored: the file's size without its holes. Unknown when the map lies in a chunk.
    #[must_use]
    pub fn data_bytes(&self) -> Option<u64> {
        match &self.extents {
            Extents::Whole => Some(self.size),
            Extents::Here(extents) => Some(extents.iter().map(|extent| extent.bytes).sum()),
            Extents::Chunk(_) => None,
        }
    }

    /// The path as a person writes it: with slashes, from the root.
    #[must_use]
    pub fn display_path(&self) -> Vec<u8> {
        display_path(&self.path)
    }
}

/// A path as a person writes it: `/usr/lib` for `usr\0lib`.
#[must_use]
pub fn display_path(path: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(path.len() + 1);
    shown.push(b'/');
    shown.extend(path.iter().map(|byte| if *byte == SEPARATOR { b'/' } else { *byte }));
    shown
}

/// A person's path in the order of components: `/usr//lib/` and `usr/lib` become `usr\0lib`. `.` goes; `..` is refused.
#[must_use]
pub fn parse_path(shown: &[u8]) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(shown.len());
    for part in shown.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
        if part == b".." || part.contains(&SEPARATOR) {
            return None;
        }
        if !path.is_empty() {
            path.push(SEPARATOR);
        }
        path.extend_from_slice(part);
    }
    Some(path)
}

/// Whether `path` is `above` or lies below it. The empty path is above all.
#[must_use]
pub fn is_within(path: &[u8], above: &[u8]) -> bool {
    above.is_empty() || path.strip_prefix(above).is_some_and(|rest| rest.first().is_none_or(|byte| *byte == SEPARATOR))
}

/// The path of the directory that holds it, and its name there.
#[must_use]
pub fn split_name(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == SEPARATOR) {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

/// Packs attributes: for each, sorted by name: name length u8, name, value length u32 little-endian, value.
/// The kernel bounds names to 255 bytes and values to 64 KiB.
#[must_use]
pub fn pack_xattrs(attributes: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut sorted: Vec<&(Vec<u8>, Vec<u8>)> = attributes.iter().collect();
    sorted.sort();
    let mut packed = Vec::new();
    for (name, value) in sorted {
        let (Ok(name_bytes), Ok(value_bytes)) = (u8::try_from(name.len()), u32::try_from(value.len())) else {
            continue;
        };
        packed.push(name_bytes);
        packed.extend_from_slice(name);
        packed.extend_from_slice(&value_bytes.to_le_bytes());
        packed.extend_from_slice(value);
    }
    packed
}

/// Unpacks what [`pack_xattrs`] packed; `None` when the bytes are torn.
#[must_use]
pub fn unpack_xattrs(mut packed: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut attributes = Vec::new();
    while let Some((name_bytes, rest)) = packed.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(*name_bytes))?;
        let (value_bytes, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*value_bytes)).ok()?)?;
        attributes.push((name, value));
        packed = rest;
    }
    Some(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_people() {
        let check =
            |shown: &str, expected: Option<&[u8]>| assert_eq!(parse_path(shown.as_bytes()).as_deref(), expected);
        check("/usr//lib/./x/", Some(b"usr\0lib\0x"));
        check("usr/lib", Some(b"usr\0lib"));
        check("/", Some(b""));
        check("/a/../b", None);
        assert_eq!(display_path(b"usr\0lib"), b"/usr/lib");
        assert!(is_within(b"a\0b", b"a") && is_within(b"a", b"a") && !is_within(b"ab", b"a") && is_within(b"a", b""));
        assert_eq!(split_name(b"a\0b\0c"), (&b"a\0b"[..], &b"c"[..]));
        assert_eq!(split_name(b"a"), (&b""[..], &b"a"[..]));
    }

    #[test]
    fn attributes_come_back_sorted() {
        let packed = pack_xattrs(&[(b"user.b".to_vec(), vec![0, 1]), (b"user.a".to_vec(), Vec::new())]);
        assert_eq!(unpack_xattrs(&packed), Some(vec![(&b"user.a"[..], &b""[..]), (&b"user.b"[..], &[0u8, 1][..])]));
        for cut in 1..packed.len() {
            let torn = unpack_xattrs(&packed[..cut]);
            assert!(torn.is_none_or(|whole| whole.len() < 2), "{cut} bytes read as whole");
        }
    }
}

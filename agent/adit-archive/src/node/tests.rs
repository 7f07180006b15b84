// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Frozen bytes of schema 1, round trips, and bytes that must be refused.

use super::*;
use crate::entry::INLINE_BYTES_MAX;
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

fn id(byte: u8) -> Id {
    Id([byte; 32])
}

fn entry(path: &[u8], kind: Kind) -> Entry {
    let owner = Owner { uid: 1_000, gid: 100, user: b"web".to_vec(), group: b"users".to_vec() };
    let mut entry = Entry::new(path.to_vec(), kind);
    entry.mode = 0o4755;
    entry.owner = Arc::new(owner);
    entry.mtime = Time { s: 1_700_000_000, ns: 123_456_789 };
    entry
}

/// One entry of every shape.
fn shapes() -> Vec<Entry> {
    let file = |path: &[u8], size: u64, content: Content| {
        let mut file = entry(path, Kind::File);
        (file.size, file.content) = (size, content);
        file
    };
    let mut parent = entry(b"srv", Kind::Parent);
    parent.mtime = Time::default();
    let mut old = entry(b"srv\0data", Kind::Dir);
    old.mtime = Time { s: -1, ns: 999_999_999 };
    old.owner = Arc::new(Owner::default());
    old.xattrs = Xattrs::Here(vec![1, b'a', 0, 0, 0, 0]);
    let mut linked = file(b"srv\0data\0bundled", 700, Content::Bundle { bundle: id(9), offset: 70_000 });
    linked.link_group = Some(0x0123_4567_89ab_cdef);
    let chunks = vec![Chunk { id: id(7), bytes: 131_072 }, Chunk { id: id(3), bytes: 5 }];
    let mut chunked = file(b"srv\0data\0chunked", 131_077, Content::Chunks(chunks));
    chunked.xattrs = Xattrs::Chunk(id(4));
    chunked.mark = Mark::Changed;
    let mut holes = file(b"srv\0data\0holes", 1 << 30, Content::List { list: id(2), height: 2 });
    holes.extents =
        Extents::Here(vec![Extent { offset: 4_096, bytes: 8_192 }, Extent { offset: 1 << 20, bytes: 65_536 }]);
    let mut mapped = file(b"srv\0data\0mapped", 1 << 40, Content::List { list: id(1), height: 1 });
    mapped.extents = Extents::Chunk(id(5));
    let mut unreadable = entry(b"srv\0data\0\xff\n", Kind::File);
    unreadable.mark = Mark::Unreadable;
    vec![
        parent,
        old,
        linked,
        chunked,
        entry(b"srv\0data\0disk", Kind::BlockDevice(7, 200)),
        file(b"srv\0data\0empty", 0, Content::Empty),
        holes,
        file(b"srv\0data\0inline", 3, Content::Inline(b"abc".to_vec())),
        entry(b"srv\0data\0link", Kind::Symlink(b"../x\xfe".to_vec())),
        mapped,
        entry(b"srv\0data\0null", Kind::CharDevice(1, 3)),
        entry(b"srv\0data\0pipe", Kind::Fifo),
        unreadable,
    ]
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// As a reader sees them: heights of list nodes are in the records, not in the leaf.
fn as_read(mut entries: Vec<Entry>) -> Vec<Entry> {
    for entry in &mut entries {
        if let Content::List { height, .. } = &mut entry.content {
            *height = 0;
        }
    }
    entries
}

#[test]
fn leaf_bytes_are_frozen() {
    let entries = shapes();
    let leaf = encode_leaf(&entries.iter().collect::<Vec<_>>());
    assert_eq!(leaf.height, 3);
    assert_eq!(leaf.node_refs, [id(1), id(2)]);
    assert_eq!(leaf.data_refs, [id(3), id(4), id(5), id(7), id(9)]);
    assert_eq!(hex(&leaf.plain), LEAF);
    assert_eq!(decode_leaf(&leaf.plain, &leaf.node_refs, &leaf.data_refs), Ok(as_read(entries)));
}

#[test]
fn inner_and_list_bytes_are_frozen() {
    let child =
        |first: &[u8], byte, entries| Child { first: first.to_vec(), id: id(byte), height: 1, entries, bytes: 99 };
    let children = vec![child(b"srv", 8, 106), child(b"srv\0data\0x", 2, 300)];
    let inner = encode_inner(1, &children);
    assert_eq!((inner.height, inner.node_refs.as_slice()), (2, &[id(2), id(8)][..]));
    assert_eq!(hex(&inner.plain), "010102000373727601 6a 63 03 0700646174610078 00 ac02 63 00".replace(' ', ""));
    let read = decode_inner(&inner.plain, &inner.node_refs).unwrap();
    assert_eq!(read.level, 1);
    assert!(
        read.children.iter().zip(&children).all(|(a, b)| (a.id, &a.first, a.entries) == (b.id, &b.first, b.entries))
    );

    let item = |byte, bytes| ListItem { id: id(byte), height: 0, bytes };
    let items = [item(5, 65_536), item(1, 65_536), item(5, 65_536), item(3, 7)];
    let list = encode_list(0, &items);
    assert_eq!((list.height, list.data_refs.len(), list.node_refs.len()), (1, 3, 0));
    assert_eq!(hex(&list.plain), "0100 04 02808004 00808004 02808004 0107 00".replace(' ', ""));
    assert_eq!(decode_list(&list.plain, &[], &list.data_refs).unwrap().items, items);
    let map = encode_extents(&[Extent { offset: 4_096, bytes: 8_192 }, Extent { offset: 1 << 20, bytes: 1 }]);
    assert_eq!(hex(&map), "01 02 8020 8040 80a03f 01".replace(' ', ""));
}

#[test]
fn every_truncation_is_refused() {
    let entries = shapes();
    let leaf = encode_leaf(&entries.iter().collect::<Vec<_>>());
    for cut in 0..leaf.plain.len() {
        assert!(decode_leaf(&leaf.plain[..cut], &leaf.node_refs, &leaf.data_refs).is_err(), "{cut} bytes");
    }
    assert_eq!(decode_leaf(&[2, 0, 0, 0], &[], &[]), Err(NodeError::Version(2)));
    assert_eq!(decode_leaf(&leaf.plain, &leaf.node_refs[..1], &leaf.data_refs), Err(NodeError::Rule("node reference")));
    assert_eq!(decode_leaf(&leaf.plain, &leaf.node_refs, &leaf.data_refs[..2]), Err(NodeError::Rule("data reference")));
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    let check = |paths: &[&[u8]]| {
        let entries: Vec<Entry> = paths.iter().map(|path| entry(path, Kind::Dir)).collect();
        let leaf = encode_leaf(&entries.iter().collect::<Vec<_>>());
        decode_leaf(&leaf.plain, &[], &[]).map(|entries| entries.len())
    };
    assert_eq!(check(&[b"a", b"a\0b", b"a\0b.c"]), Ok(3));
    for bad in [&b".."[..], b"a\0..", b"..\0a", b".", b"a\0.\0b", b"", b"a\0", b"\0a", b"a\0\0b", b"a/b", b"/a"] {
        assert_eq!(check(&[bad]), Err(NodeError::Rule("path")), "{bad:?}");
    }
    assert_eq!(check(&[b"b", b"a"]), Err(NodeError::Rule("path")));
    assert_eq!(check(&[b"a", b"a"]), Err(NodeError::Rule("path")));
}

#[test]
fn entries_that_contradict_themselves_are_refused() {
    let check = |change: fn(&mut Entry)| {
        let mut bad = entry(b"a", Kind::File);
        bad.size = 10;
        change(&mut bad);
        let leaf = encode_leaf(&[&bad]);
        decode_leaf(&leaf.plain, &leaf.node_refs, &leaf.data_refs).map(drop)
    };
    assert_eq!(check(|_| ()), Ok(()));
    assert_eq!(check(|bad| bad.mtime.ns = 1_000_000_000), Err(NodeError::Rule("entry")));
    assert_eq!(
        check(|bad| (bad.kind, bad.content) = (Kind::Dir, Content::Inline(vec![1]))),
        Err(NodeError::Rule("entry"))
    );
    assert_eq!(
        check(|bad| bad.content = Content::Inline(vec![0; INLINE_BYTES_MAX + 1])),
        Err(NodeError::Rule("inline content"))
    );
    assert_eq!(
        check(|bad| bad.content = Content::Chunks(vec![Chunk { id: id(1), bytes: 1 }; 5])),
        Err(NodeError::Rule("chunk count"))
    );
    let extents = |bad: &mut Entry, pairs: &[(u64, u64)]| {
        bad.extents =
            Extents::Here(pairs.iter().map(|(offset, bytes)| Extent { offset: *offset, bytes: *bytes }).collect());
    };
    assert_eq!(check(|bad| bad.extents = Extents::Here(Vec::new())), Ok(()));
    let mut bad = entry(b"a", Kind::File);
    bad.size = 10;
    for pairs in [&[(5u64, 6u64)][..], &[(0, 0)], &[(0, 3), (3, 3)], &[(u64::MAX, 2)]] {
        extents(&mut bad, pairs);
        let leaf = encode_leaf(&[&bad]);
        assert_eq!(decode_leaf(&leaf.plain, &[], &[]), Err(NodeError::Rule("extents")), "{pairs:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Whatever the bytes are, a decoder answers and what it accepts keeps the rules.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..400, flip in any::<u8>()) {
        let refs = [id(1), id(2), id(3)];
        let mut leaf = encode_leaf(&shapes().iter().collect::<Vec<_>>());
        let length = leaf.plain.len();
        leaf.plain[at % length] ^= flip;
        let data_refs = [id(3), id(4), id(5), id(7), id(9)];
        for plain in [&bytes, &leaf.plain, &[vec![NODE_VERSION], bytes.clone()].concat()] {
            if let Ok(entries) = decode_leaf(plain, &refs, &data_refs) {
                prop_assert!(entries.windows(2).all(|pair| pair[0].path < pair[1].path));
                prop_assert!(entries.iter().all(|entry| !entry.path.is_empty() && !entry.path.contains(&b'/')));
            }
            if let Ok(inner) = decode_inner(plain, &refs) {
                prop_assert!(inner.children.windows(2).all(|pair| pair[0].first < pair[1].first));
            }
            if let Ok(list) = decode_list(plain, &refs, &refs) {
                prop_assert!(!list.items.is_empty());
            }
            drop(decode_extents(plain, 1 << 30));
        }
    }

    #[test]
    fn sparse_maps_come_back(parts in proptest::collection::vec((1u64..1 << 20, 1u64..1 << 20), 0..80)) {
        let mut at = 0;
        let extents: Vec<Extent> = parts.iter().map(|(gap, bytes)| {
            let offset = at + gap;
            at = offset + bytes;
            Extent { offset, bytes: *bytes }
        }).collect();
        prop_assert_eq!(decode_extents(&encode_extents(&extents), at), Ok(extents));
    }
}

const LEAF: &str = "\
    0102e8076403776562057573657273000000000d000373727602ed13000000000000000000000305006461746101ed130101\
    ff93ebdc03000001060161000000000000000008080062756e646c656400ed130080c49fd50c959aef3abc0501ef9bafcdf8\
    acd1910100000204f0a204000009076368756e6b656400ed130080c49fd50c959aef3a858008000201000302038080080005\
    010009046469736b0607c801ed130080c49fd50c959aef3a000000000000000905656d70747900ed130080c49fd50c959aef\
    3a000000000000000905686f6c657300ed130080c49fd50c959aef3a8080808004000001028020804080a03f808004040100\
    000906696e6c696e6500ed130080c49fd50c959aef3a030000000103616263000009046c696e6b03052e2e2f78feed130080\
    c49fd50c959aef3a0000000000000009066d617070656400ed130080c49fd50c959aef3a8080808080200000020204000000\
    09046e756c6c050103ed130080c49fd50c959aef3a0000000000000009047069706504ed130080c49fd50c959aef3a000000\
    000000000902ff0a00ed130080c49fd50c959aef3a0000000000020000";

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bundles that the box lost, put together again from files that still are what they were.
//!
//! Chunks and nodes come back under their old ids when a file is read again; a bundle would not, for changed files are
//! packed anew. With all its files at hand the very same bundle is made, and older snapshots heal too. Without, the run
//! packs what is left elsewhere: its own snapshot is whole either way.

use super::RunError;
use super::pipe::Pipe;
use crate::entry::Content;
use crate::seal::Kind;
use crate::secret::Secret;
use crate::state::{Side, State};
use crate::walk::system_path;
use adit_wire::ids::Id;
use rustix::fs::{Mode, OFlags};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// A file of a lost bundle.
struct Member {
    path: Vec<u8>,
    bytes: usize,
    hash: [u8; 16],
}

/// Sends every lost bundle that can be made again, and takes it off the list.
pub(super) fn rebuild_bundles(
    state: &State,
    missing: &mut Vec<Id>,
    hash_key: &Secret<32>,
    pipe: &mut Pipe<'_>,
) -> Result<(), RunError> {
    let lengths = state.bundles().iter().filter(|bundle| missing.contains(&bundle.id));
    let lengths: HashMap<Id, usize> =
        lengths.map(|bundle| (bundle.id, usize::try_from(bundle.bytes).unwrap_or_default())).collect();
    if lengths.is_empty() {
        return Ok(());
    }
    let mut members: HashMap<Id, BTreeMap<u32, Member>> = HashMap::new();
    let mut entries = state.entries()?;
    while let Some((entry, Side { hash, .. })) = entries.pop() {
        if let Content::Bundle { bundle, offset } = entry.content
            && lengths.contains_key(&bundle)
        {
            let bytes = usize::try_from(entry.size).unwrap_or(usize::MAX);
            members.entry(bundle).or_default().insert(offset, Member { path: entry.path, bytes, hash });
        }
    }
    for (bundle, members) in members {
        let Some(plain) = lengths.get(&bundle).and_then(|length| assemble(*length, &members, hash_key)) else {
            continue;
        };
        if pipe.id_of(Kind::Bundle, &plain) == bundle {
            pipe.data(Kind::Bundle, &plain)?;
            missing.retain(|id| *id != bundle);
        }
    }
    Ok(())
}

/// The plaintext, if its files cover it without a gap and have their old content.
fn assemble(length: usize, members: &BTreeMap<u32, Member>, hash_key: &Secret<32>) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(length);
    for (offset, member) in members {
        if usize::try_from(*offset).ok()? != plain.len() || plain.len().checked_add(member.bytes)? > length {
            return None;
        }
        plain.extend_from_slice(&read(member, hash_key)?);
    }
    (plain.len() == length).then_some(plain)
}

fn read(member: &Member, hash_key: &Secret<32>) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(system_path(&member.path), flags, Mode::empty()).ok()?);
    let mut content = vec![0; member.bytes];
    file.read_exact_at(&mut content, 0).ok()?;
    let hash = blake3::keyed_hash(hash_key.expose(), &content);
    let is_same = member.hash == [0; 16] || hash.as_bytes()[..16] == member.hash;
    is_same.then_some(content)
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names of owners, asked of the system once each.

use crate::entry::Owner;
use nix::unistd::{Gid, Group, Uid, User};
use std::collections::HashMap;
use std::sync::Arc;

/// Every pair of user and group that a run met.
#[derive(Debug, Default)]
pub(super) struct Owners {
    pairs: HashMap<(u32, u32), Arc<Owner>>,
}

impl Owners {
    /// The owner with names, as far as the system knows them.
    pub(super) fn name(&mut self, uid: u32, gid: u32) -> Arc<Owner> {
        let owner = self.pairs.entry((uid, gid)).or_insert_with(|| {
            let user = User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name.into_bytes());
            let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name.into_bytes());
            Arc::new(Owner { uid, gid, user: user.unwrap_or_default(), group: group.unwrap_or_default() })
        });
        Arc::clone(owner)
    }
}

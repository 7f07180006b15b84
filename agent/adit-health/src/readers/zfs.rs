// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of ZFS pools from /proc/spl/kstat/zfs/POOL/state, which the module shows without any lock so that it can be
//! read while a pool hangs (OpenZFS, module/os/linux/zfs/… spa_stats.c).
//!
//! Can block: no, by design.

use crate::readings::pool::ZfsState;
use crate::text;
use std::path::Path;

/// Pools of one machine.
const POOLS_MAX: usize = 32;

/// All imported pools.
pub(crate) fn pools(root: &Path) -> Vec<ZfsState> {
    let dir = root.join("proc/spl/kstat/zfs");
    let state = |pool: String| Some(ZfsState { state: text::word(&dir.join(&pool).join("state"))?, pool });
    text::names(&dir).into_iter().filter_map(state).take(POOLS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_directories_with_a_state() {
        let tree = text::tree(&[
            ("proc/spl/kstat/zfs/tank/state", "DEGRADED\n"),
            ("proc/spl/kstat/zfs/arcstats", "13 1 0x01\n"),
            ("proc/spl/kstat/zfs/old/io", "an older module has no state\n"),
        ]);
        assert_eq!(pools(tree.path()), [ZfsState { pool: "tank".into(), state: "DEGRADED".into() }]);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a Gluster pool says of its peers, volumes, bricks and healing. What the command could not tell is `None`.

use serde::{Deserialize, Serialize};

/// A pool at one moment, as one of its nodes sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlusterReading {
    /// The other nodes.
    pub peers: Vec<GlusterPeer>,
    /// Its volumes.
    pub volumes: Vec<GlusterVolume>,
}

/// Another node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlusterPeer {
    /// Its name.
    pub host: String,
    /// Whether it is connected right now.
    pub is_connected: bool,
    /// What this node thinks of it, such as "Peer in Cluster".
    pub state: String,
}

/// One volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlusterVolume {
    /// Its id, which never changes.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it was started. A stopped one has no running bricks and misses none.
    pub is_started: bool,
    /// Bricks in one set, which hold the same data (or, dispersed, one share each). 1: no redundancy.
    pub set_size: u32,
    /// Bricks that each set may lose and still serve and take data.
    pub may_lose: u32,
    /// Bricks in order: set after set.
    pub bricks: Vec<GlusterBrick>,
}

/// One brick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlusterBrick {
    /// The node that holds it.
    pub host: String,
    /// The folder there.
    pub path: String,
    /// Whether its process runs; `None` when the node did not tell.
    pub is_online: Option<bool>,
    /// Entries that wait to be healed from it.
    pub heal_pending: Option<u64>,
    /// Entries in split-brain.
    pub split_brain: Option<u64>,
}

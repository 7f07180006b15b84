// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a Ceph cluster says of itself, from the command or from the manager's metrics. Counts that the source does not
//! tell are `None`.

use serde::{Deserialize, Serialize};

/// A cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CephReading {
    /// The cluster's id; empty from metrics.
    pub fsid: String,
    /// The monitors' umbrella verdict.
    pub status: CephStatus,
    /// Every check that is raised, muted ones too.
    pub checks: Vec<CephCheck>,
    /// Monitors of the cluster.
    pub monitors: Option<u32>,
    /// Monitors in the quorum.
    pub in_quorum: Option<u32>,
    /// OSDs of the cluster.
    pub osds: Option<u32>,
    /// OSDs that run.
    pub osds_up: Option<u32>,
    /// OSDs that hold data.
    pub osds_in: Option<u32>,
    /// Bytes in use, MiB.
    pub used_mib: Option<i64>,
    /// Bytes of all OSDs, MiB.
    pub total_mib: Option<i64>,
}

/// The umbrella verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CephStatus {
    /// HEALTH_OK
    #[default]
    Ok,
    /// HEALTH_WARN
    Warn,
    /// HEALTH_ERR
    Error,
}

/// One raised check (docs.ceph.com, "Health checks").
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CephCheck {
    /// Its code, such as OSD_DOWN.
    pub code: String,
    /// How bad Ceph finds it.
    pub severity: CephStatus,
    /// How many things it is about, where told.
    pub count: Option<u32>,
    /// Whether an admin muted it.
    pub muted: bool,
    /// Ceph's sentence, ≤ 256 bytes.
    pub summary: String,
    /// The first line of the details, ≤ 256 bytes; says which OSD or placement group.
    pub detail: String,
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Encrypted volumes and bcaches.

use crate::judge::Judge;
use crate::limits::Rule;
use crate::model::{Component, Finding};
use crate::readings::volume::{BcacheReading, LuksReading};
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

/// A snapshot suspends a volume for a moment; after this long it hangs, seconds.
const SUSPENDED_S: u64 = 300;

/// An encrypted volume. One that is not open after a reboot waits for a person and a passphrase.
#[must_use]
pub fn luks(judge: &mut Judge<'_>, volume: &LuksReading) -> Component {
    let id = luks_id(&volume.name);
    let hangs = judge.lasting(&id, Reason::Stalled, volume.is_suspended).is_some_and(|for_s| for_s >= SUSPENDED_S);
    let finding = if !volume.is_open {
        locked()
    } else if hangs {
        Finding::new(Check::VolumeState, Verdict::Critical, Reason::Stalled).with_detail("suspended")
    } else {
        Finding::ok(Check::VolumeState)
    };
    Component {
        kind: ComponentKind::Volume,
        label: format!("{} (encrypted)", volume.name),
        id,
        findings: vec![finding],
        readings: Vec::new(),
    }
}

/// The id of an encrypted volume: known by its name also while it is closed.
#[must_use]
pub fn luks_id(name: &str) -> String {
    format!("{LUKS}{name}")
}

/// How ids of encrypted volumes begin.
pub(crate) const LUKS: &str = "luks/";

/// A volume that was open, or should be, and is not.
#[must_use]
pub fn locked() -> Finding {
    Finding::new(Check::VolumeState, Verdict::Critical, Reason::Locked).with_detail("not open since the last boot")
}

/// A bcache. Written data may lie in the cache alone: without its cache the disk is not whole.
#[must_use]
pub fn bcache(judge: &mut Judge<'_>, volume: &BcacheReading) -> Component {
    let critical = |reason| Finding::new(Check::VolumeState, Verdict::Critical, reason);
    let errors = volume.io_errors.map_or(0, |count| judge.counter(&volume.id, Quantity::Errors, count).two_days);
    let had_cache = judge.best(&volume.id, Check::VolumeState, i64::from(volume.has_cache)) == 1;
    let dirty = judge.level(&volume.id, Rule::CacheDirty, volume.dirty_permille.unwrap_or(0));
    let finding = match volume.state.as_str() {
        "inconsistent" => critical(Reason::Broken).with_detail("started without its cache while that held data"),
        "dirty" if !volume.has_cache => critical(Reason::Broken).with_detail("the cache that holds data is detached"),
        _ if errors > 0 => critical(Reason::DeviceErrors).with_detail(format!("{errors} of its cache")),
        "no cache" if had_cache => Finding::new(Check::VolumeState, Verdict::Warning, Reason::DeviceMissing)
            .with_detail("runs without its cache"),
        _ => Finding::judged(Check::VolumeState, dirty, Reason::NearFull)
            .because(|| "much of its cache is not on the disk yet".to_owned()),
    };
    Component {
        kind: ComponentKind::Volume,
        id: volume.id.clone(),
        label: volume.name.clone(),
        findings: vec![finding],
        readings: vec![(Quantity::DataPermille, volume.dirty_permille)],
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Gluster pools: peers, and per volume its bricks and what waits to be healed.
//!
//! What to do: `gluster volume status`; a dead brick, look at its disk, then `gluster volume start VOLUME force`;
//! split-brain, `gluster volume heal VOLUME info split-brain` and choose a copy.

use crate::judge::Judge;
use crate::limits::Rule;
use crate::model::{Component, Finding};
use crate::readings::gluster::{GlusterBrick, GlusterReading, GlusterVolume};
use crate::readings::silence::{Silence, Why};
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

/// The id of the pool itself; volumes have their own.
const POOL: &str = "gluster";

/// The pool and its volumes.
#[must_use]
pub fn gluster(judge: &mut Judge<'_>, gluster: &GlusterReading) -> Vec<Component> {
    let away = gluster.peers.iter().find(|peer| !peer.is_connected);
    let peers = away.map_or_else(
        || Finding::ok(Check::GlusterPeers),
        |peer| Finding::new(Check::GlusterPeers, Verdict::Warning, Reason::PeersDown).with_detail(peer.host.clone()),
    );
    let connected = gluster.peers.iter().filter(|peer| peer.is_connected).count();
    let mut components = vec![Component {
        kind: ComponentKind::Gluster,
        id: POOL.to_owned(),
        label: "gluster".to_owned(),
        findings: vec![Finding::ok(Check::GlusterAnswers), peers],
        readings: vec![
            (Quantity::PeersConnected, count(connected)),
            (Quantity::PeersTotal, count(gluster.peers.len())),
        ],
    }];
    let started = gluster.volumes.iter().filter(|volume| volume.is_started);
    components.extend(started.map(|volume| self::volume(judge, volume)));
    components
}

/// A pool that did not answer, or not us. A lock that another command holds is no fault: then ask again, and keep what was
/// known.
#[must_use]
pub fn gluster_silent(silence: &Silence) -> Component {
    let (verdict, reason) = match silence.why {
        Why::Denied => (Verdict::Unknown, Reason::AccessDenied),
        Why::Stuck => (Verdict::Critical, Reason::HelperStuck),
        Why::Busy => (Verdict::Ok, Reason::None),
        Why::NotAnswering => (Verdict::Critical, Reason::NotAnswering),
    };
    let finding = Finding::judged(Check::GlusterAnswers, verdict, reason).because(|| silence.words.clone());
    let (id, label) = (POOL.to_owned(), POOL.to_owned());
    Component { kind: ComponentKind::Gluster, id, label, findings: vec![finding], readings: Vec::new() }
}

fn volume(judge: &mut Judge<'_>, volume: &GlusterVolume) -> Component {
    let up = volume.bricks.iter().filter(|brick| is_up(brick)).count();
    let sum = |of: fn(&GlusterBrick) -> Option<u64>| {
        let known: Vec<u64> = volume.bricks.iter().filter_map(of).collect();
        (!known.is_empty()).then(|| i64::try_from(known.iter().sum::<u64>()).unwrap_or(i64::MAX))
    };
    let (pending, split) = (sum(|brick| brick.heal_pending), sum(|brick| brick.split_brain));
    Component {
        kind: ComponentKind::Gluster,
        id: volume.id.clone(),
        label: format!("volume {}", volume.name),
        findings: vec![bricks(volume), heal(judge, volume, pending.unwrap_or(0), split.unwrap_or(0))],
        readings: vec![
            (Quantity::BricksUp, count(up)),
            (Quantity::BricksTotal, count(volume.bricks.len())),
            (Quantity::HealPending, pending),
            (Quantity::SplitBrain, split),
        ],
    }
}

/// The set that lost most decides. A brick that nobody told about counts as down.
fn bricks(volume: &GlusterVolume) -> Finding {
    let size = usize::try_from(volume.set_size.max(1)).unwrap_or(usize::MAX);
    let down = |set: &&[GlusterBrick]| set.iter().filter(|brick| !is_up(brick)).count();
    let Some(worst) = volume.bricks.chunks(size).max_by_key(down) else { return Finding::ok(Check::GlusterBricks) };
    let Some(dead) = worst.iter().find(|brick| !is_up(brick)) else { return Finding::ok(Check::GlusterBricks) };
    let may_lose = usize::try_from(volume.may_lose).unwrap_or(0);
    let place = format!("{}:{}", dead.host, dead.path);
    match may_lose.checked_sub(down(&worst)) {
        Some(more) => Finding::new(Check::GlusterBricks, Verdict::Warning, Reason::BricksDown)
            .with_detail(format!("{more} more may fail: {place}")),
        None => Finding::new(Check::GlusterBricks, Verdict::Critical, Reason::QuorumLost).with_detail(place),
    }
}

fn heal(judge: &mut Judge<'_>, volume: &GlusterVolume, pending: i64, split: i64) -> Finding {
    let seconds = judge.lasting(&volume.id, Reason::HealPending, pending > 0).unwrap_or(0);
    let verdict = judge.level(&volume.id, Rule::HealWaits, i64::try_from(seconds).unwrap_or(i64::MAX));
    if split > 0 {
        return Finding::new(Check::GlusterHeal, Verdict::Critical, Reason::SplitBrain)
            .with_detail(format!("{split} files"));
    }
    Finding::judged(Check::GlusterHeal, verdict, Reason::HealPending).because(|| format!("{pending} entries"))
}

fn is_up(brick: &GlusterBrick) -> bool {
    brick.is_online == Some(true)
}

fn count(count: usize) -> Option<i64> {
    i64::try_from(count).ok()
}

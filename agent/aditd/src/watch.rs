// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What goes on by itself: peer files are read again when they change, monitors are dialled and the links kept, and it is
//! stored when peers were heard.

use crate::agent::peer_link;
use crate::event::Event;
use crate::peers::Peer;
use crate::shared::Shared;
use adit_link::{Deadlines, Door, Target, dial};
use adit_wire::ids::PublicKey;
use adit_wire::pair::Role;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Waits between two attempts to reach a monitor.
const REDIAL_FIRST: Duration = Duration::from_secs(1);
const REDIAL_MAX: Duration = Duration::from_secs(60);
/// A link that lived this long was a good one: the next attempt comes soon.
const GOOD_LINK: Duration = Duration::from_secs(60);

/// Reads the peer files again when they change; starts and stops dialling.
pub(crate) async fn peers(shared: Arc<Shared>, every: Duration) {
    let mut dials: BTreeMap<PublicKey, (Peer, CancellationToken)> = BTreeMap::new();
    let mut tick = tokio::time::interval(every);
    loop {
        keep_dialling(&shared, &mut dials);
        tick.tick().await;
        match shared
            .peers_differ()
            .and_then(|differ| if differ { shared.reload_peers().map(|()| true) } else { Ok(false) })
        {
            Ok(false) => {}
            Ok(true) => shared.register_sources().await,
            Err(error) => shared.events.record(&Event::Trouble { what: crate::report::chain(&error) }),
        }
    }
}

/// A monitor with addresses is dialled, from when its file is there until it is gone or changed.
fn keep_dialling(shared: &Arc<Shared>, dials: &mut BTreeMap<PublicKey, (Peer, CancellationToken)>) {
    let peers = shared.peers();
    dials.retain(|key, (peer, stop)| {
        let stays = peers.by_key(key) == Some(peer);
        if !stays {
            stop.cancel();
        }
        stays
    });
    for peer in peers.iter().filter(|peer| peer.role == Role::Monitor && !peer.addresses.is_empty()) {
        if let std::collections::btree_map::Entry::Vacant(entry) = dials.entry(peer.key) {
            let stop = shared.stop.child_token();
            entry.insert((peer.clone(), stop.clone()));
            drop(shared.tasks.spawn(stop.run_until_cancelled_owned(keep_link(Arc::clone(shared), peer.clone()))));
        }
    }
}

/// Dials a peer and serves over the link, again and again.
async fn keep_link(shared: Arc<Shared>, peer: Peer) {
    let mut wait = REDIAL_FIRST;
    let mut told = String::new();
    loop {
        let targets: Vec<Target> = peer.addresses.iter().filter_map(|text| Target::parse(text).ok()).collect();
        let about = shared.about();
        let dialled = dial(&targets, Door::Main, &shared.identity, peer.key, &about, Deadlines::default()).await;
        let began = tokio::time::Instant::now();
        match dialled {
            Ok(link) => {
                told.clear();
                peer_link(Arc::clone(&shared), link).await;
            }
            Err(error) => {
                let why = crate::report::chain(&error);
                // A monitor that stays away is told once, not every minute.
                if why != told {
                    told.clone_from(&why);
                    shared.events.record(&Event::DialFailed { name: peer.name.to_string(), why });
                }
            }
        }
        wait = if began.elapsed() >= GOOD_LINK { REDIAL_FIRST } else { (wait * 2).min(REDIAL_MAX) };
        // A fleet that lost its monitor doesn't come back in one instant.
        let jitter = wait.mul_f64(f64::from(peer.key.0[0] ^ shared.identity.public_key().0[0]) / 512.0);
        tokio::time::sleep(wait + jitter).await;
    }
}

/// Stores now and then when peers were heard.
pub(crate) async fn heard(shared: Arc<Shared>, every: Duration) {
    let mut tick = tokio::time::interval(every);
    tick.tick().await;
    loop {
        tick.tick().await;
        shared.save_heard();
    }
}

/// Lets the store look at the clock.
pub(crate) async fn store(shared: Arc<Shared>, every: Duration) {
    let Some(served) = shared.store.as_ref().filter(|served| !served.read_only) else { return };
    loop {
        tokio::time::sleep(every).await;
        if served.handle.tick().await.is_err() {
            return;
        }
    }
}

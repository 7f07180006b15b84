// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Collection against the model: random interleavings of backup, commit, expiry, slices of collection, restarts and power
//! cuts. A failure prints its seed; `ADIT_COLLECT_SEED=n` runs that schedule alone, `ADIT_COLLECT_SCHEDULES=n` so many.

use crate::world::{Sender, World};
use adit_store::disk::Image;
use adit_store::retention::Policy;
use adit_store::{Access, CollectStep, Moment, SimDisk, Store};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

const SCHEDULES: u64 = 2_400;
const STEPS: u64 = 24;

fn number(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().expect("a number"))
}

fn schedule(seed: u64) -> [u64; 3] {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.check();
    world.check_garbage();
    world.check();
    world.cut();
    world.check();
    [world.swept, world.dropped, world.rewritten]
}

#[test]
fn random_schedules_match_the_model() {
    let only = number("ADIT_COLLECT_SEED");
    let schedules = number("ADIT_COLLECT_SCHEDULES").unwrap_or(SCHEDULES);
    let seeds = only.map_or(0..schedules, |seed| seed..seed + 1);
    let [mut swept, mut dropped, mut rewritten] = [0, 0, 0];
    for seed in seeds.clone() {
        let run = std::panic::catch_unwind(|| schedule(seed));
        let Ok(counts) = run else { panic!("fails with ADIT_COLLECT_SEED={seed}") };
        swept += counts[0];
        dropped += counts[1];
        rewritten += counts[2];
    }
    let count = seeds.end - seeds.start;
    println!("{count} schedules: {swept} records swept, {dropped} segments dropped, {rewritten} rewritten");
    assert!(only.is_some() || (swept > count && dropped > count / 100 && rewritten > count));
}

/// What must hold after a cut: snapshots that were not to be released, and a policy that is the old or the new one.
#[derive(Clone)]
struct Boundary {
    image: Image,
    promise: Arc<Promise>,
}

struct Promise {
    now: Moment,
    senders: Vec<Sender>,
    /// Snapshots of each source that no step until here, done or under way, may release.
    kept: Vec<BTreeSet<u64>>,
    /// Policies that the first source may have.
    policies: Vec<Policy>,
}

type Boundaries = Arc<Mutex<(Arc<Promise>, Vec<Boundary>)>>;

fn kept(world: &mut World) -> Vec<BTreeSet<u64>> {
    let now = world.now();
    let ids: Vec<_> = world.senders.iter().map(|sender| sender.source.id).collect();
    let store = world.store();
    let now_s = store.retention_s(now);
    ids.iter()
        .map(|id| {
            let rows = store.retention_plan(id, now).expect("a plan");
            let stays = rows.iter().filter(|row| row.expired.is_none_or(|(_, release_s)| release_s > now_s));
            stays.map(|row| row.judged.seq).collect()
        })
        .collect()
}

/// Records expiry, releases, policy changes and collections, with backups between them.
fn recorded(seed: u64, boundaries: usize) -> Vec<Boundary> {
    let mut world = World::new(seed);
    let promise = |world: &mut World, policies: &[Policy]| {
        let (now, kept) = (world.now(), kept(world));
        Arc::new(Promise { now, senders: world.senders.clone(), kept, policies: policies.to_vec() })
    };
    let first = promise(&mut world, &[]);
    let seen: Boundaries = Arc::new(Mutex::new((first, Vec::new())));
    let recorder = Arc::clone(&seen);
    let watching = Arc::new(AtomicBool::new(false));
    let watched = Arc::clone(&watching);
    world.disk.watch(move |_, image| {
        if watched.load(Ordering::Relaxed) {
            let mut seen = recorder.lock().expect("no panic while recording");
            let promise = Arc::clone(&seen.0);
            seen.1.push(Boundary { image: image.clone(), promise });
        }
    });
    let id = world.senders[0].source.id;
    let mut policy = world.store().policy(Some(&id)).policy;
    while seen.lock().expect("no panic while recording").1.len() < boundaries {
        for _ in 0..4 {
            world.now_s += 40_000;
            world.backup_some();
        }
        world.now_s += 3 * 86_400;
        let wish = Policy { daily_d: policy.daily_d + 1, ..policy };
        let told = promise(&mut world, &[policy, wish]);
        seen.lock().expect("no panic while recording").0 = told;
        watching.store(true, Ordering::Relaxed);
        let now = world.now();
        policy = world.store().set_policy(Some(&id), wish, now).expect("a looser policy").policy;
        let told = promise(&mut world, &[policy]);
        seen.lock().expect("no panic while recording").0 = told;
        world.retain();
        world.collect_all();
        watching.store(false, Ordering::Relaxed);
    }
    let seen = std::mem::take(&mut seen.lock().expect("no panic while recording").1);
    assert!(world.swept > 0 && world.rewritten > 0, "the recording holds a sweep and a rewriting");
    seen
}

fn check_cut(boundary: &Boundary, seed: u64) {
    let Promise { now, senders, kept, policies } = &*boundary.promise;
    let disk = SimDisk::power_cut(&boundary.image, seed, None);
    let (mut store, opening) = Store::open(disk, Access::ReadWrite, *now).expect("a store opens after a cut");
    assert_eq!(opening.read_only, None);
    assert!(policies.is_empty() || policies.contains(&store.policy(Some(&senders[0].source.id)).policy));
    // Once more, to its end: it converges.
    for round in 0..2 {
        let report = crate::support::verify(&mut store);
        assert!(report.is_clean(), "{report:?}");
        for (sender, kept) in senders.iter().zip(kept) {
            let rows = store.retention_plan(&sender.source.id, *now).expect("a plan");
            let there: BTreeSet<u64> = rows.iter().map(|row| row.judged.seq).collect();
            assert!(kept.is_subset(&there), "{kept:?} {there:?}");
            crate::world::check_sender(&store, sender, *now);
        }
        if round == 0 {
            let mut collection = store.collection(*now);
            while collection.step(&mut store, u64::MAX, *now).expect("a collection") == CollectStep::Working {}
            assert!(!collection.report().audit_failed);
        }
    }
}

#[test]
fn every_boundary_of_retention_survives_a_power_cut() {
    const SUBSETS: u64 = 8;
    let (mut cuts, mut boundaries) = (0, 0);
    let only = number("ADIT_COLLECT_CUT");
    for seed in [1, 2] {
        let recorded = recorded(seed, 250);
        boundaries += recorded.len();
        for (place, boundary) in recorded.iter().enumerate() {
            for subset in 0..SUBSETS {
                let case = seed << 40 | (place as u64) << 8 | subset;
                if only.is_none_or(|only| only == case) {
                    let checked = std::panic::catch_unwind(|| check_cut(boundary, case));
                    assert!(checked.is_ok(), "fails with ADIT_COLLECT_CUT={case}");
                    cuts += 1;
                }
            }
        }
    }
    println!("{cuts} power cuts at {boundaries} boundaries of policy, expiry, release, sweep, drop and rewriting");
}

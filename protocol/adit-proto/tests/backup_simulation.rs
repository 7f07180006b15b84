// SPDX-License-Identifier: Apache-2.0 OR MIT
//! SourceSession against BoxSession over connections that are slow, small and cut, with machines that die on either side.
//!
//! The seed decides everything; a failure prints it. `ADIT_SEED=n cargo test -p adit-proto --test backup_simulation` runs
//! one. What must hold: no record is lost, no run hangs, a lost connection costs at most 16 MiB, memory stays bounded.

mod lane;

use lane::{Fault, Lane, Random};

const SEEDS: u64 = 150;
/// Simulated milliseconds after which a run counts as hung; the slowest takes a tenth.
const STEPS_MAX: u64 = 2_000_000;

#[derive(Debug, Default)]
struct Worst {
    resent_once: u64,
    kept: u64,
    unappended: u64,
    steps: u64,
    reconnects: u64,
    kills: u64,
    resent_total: u64,
}

/// Runs one to three sources against one box until all have committed.
fn simulate(seed: u64, worst: &mut Worst) {
    let mut random = Random::new(seed);
    let pool_bytes = [1 << 20, 4 << 20, 16 << 20, 32 << 20][random.below(4)];
    let mut pool = adit_proto::backup::CreditPool::new(pool_bytes);
    let count = 1 + random.below(3);
    let mut lanes: Vec<Lane> = (0..count).map(|index| Lane::new(index, &mut random)).collect();
    let mut faults_left = random.below(12);
    let mut next_fault_ms = 1 + random.below(4_000) as u64;
    for now_ms in 0..STEPS_MAX {
        for lane in &mut lanes {
            lane.step(now_ms, &pool, &mut random);
            worst.resent_once = worst.resent_once.max(lane.resent_once());
            worst.kept = worst.kept.max(lane.kept_bytes());
        }
        let held: u32 = lanes.iter().map(Lane::credit_bytes).sum();
        assert_eq!(held + pool.free_bytes(), pool_bytes, "seed {seed}: credit was lost or made at {now_ms} ms");
        worst.unappended = worst.unappended.max(lanes.iter().map(Lane::unappended_bytes).sum());
        if lanes.iter().all(Lane::is_done) {
            worst.steps = worst.steps.max(now_ms);
            worst.resent_total += lanes.iter().map(|lane| lane.resent_total).sum::<u64>();
            lanes.iter().for_each(|lane| lane.check_end(seed));
            return;
        }
        if now_ms == next_fault_ms && faults_left > 0 {
            faults_left -= 1;
            next_fault_ms = now_ms + 1 + random.below(4_000) as u64;
            let victim = random.below(lanes.len());
            match random.below(4) {
                0 => {
                    // The box dies: every connection ends, what was not synced may be gone, the pool is new.
                    worst.kills += 1;
                    for lane in &mut lanes {
                        lane.fault(Fault::BoxDies, now_ms, &mut random);
                    }
                    pool = adit_proto::backup::CreditPool::new(pool_bytes);
                }
                1 => {
                    worst.kills += 1;
                    lanes[victim].fault(Fault::SourceDies, now_ms, &mut random);
                }
                _ => {
                    worst.reconnects += 1;
                    lanes[victim].fault(Fault::Cut, now_ms, &mut random);
                }
            }
        }
    }
    let states: Vec<String> = lanes.iter().map(Lane::describe).collect();
    panic!("seed {seed}: not done after {STEPS_MAX} ms: {states:#?}");
}

#[test]
fn no_record_is_lost_and_no_run_hangs() {
    let mut worst = Worst::default();
    let seeds = match std::env::var("ADIT_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("ADIT_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..SEEDS,
    };
    for seed in seeds {
        println!("seed {seed}");
        simulate(seed, &mut worst);
    }
    println!("{worst:#?}");
    assert!(worst.resent_once <= 16 << 20, "one lost connection sent {} bytes twice", worst.resent_once);
    assert!(worst.kept <= 16 << 20, "a source kept {} bytes", worst.kept);
    assert!(worst.unappended <= 32 << 20, "the box held {} bytes", worst.unappended);
}

/// A run without faults waits twice, whatever it sends: for WELCOME and for COMMITTED.
#[test]
fn a_quiet_run_waits_twice() {
    for items in [0, 1, 10, 2_000] {
        let mut random = Random::new(7);
        let pool = adit_proto::backup::CreditPool::new(16 << 20);
        let mut lane = Lane::quiet(items, 1_000);
        let mut now_ms = 0;
        while !lane.is_done() {
            lane.step(now_ms, &pool, &mut random);
            now_ms += 1;
            assert!(now_ms < STEPS_MAX, "hung with {items} records");
        }
        let waits = lane.waits();
        assert_eq!((waits.welcome, waits.having, waits.commit, waits.window), (1, 0, 1, 0), "{items} records");
        assert_eq!(waits.round_trips(), 2);
    }
}

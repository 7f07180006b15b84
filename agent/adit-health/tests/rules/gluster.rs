// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases: Gluster pools, by its administrator's guide.

use super::{Bench, Case, findings};
use adit_health::Finding;
use adit_health::readings::gluster::{GlusterBrick, GlusterPeer, GlusterReading, GlusterVolume};
use adit_health::readings::silence::{Silence, Why};
use adit_health::rules::gluster;
use adit_wire::health::codes::{Check, Reason, Verdict};

const VOLUMES: &str = "docs.gluster.org, setting up volumes";
const QUORUM: &str = "docs.gluster.org, split brain and ways to deal with it, client quorum";
const HEAL: &str = "docs.gluster.org, heal info and split-brain resolution";
const PEERS: &str = "docs.gluster.org, managing trusted storage pools";

/// A volume of sets of this size; `bricks` says for each one whether it runs: + - or ? for not told.
fn volume(set_size: u32, may_lose: u32, bricks: &str) -> GlusterVolume {
    let bricks = bricks.chars().enumerate().map(|(index, mark)| GlusterBrick {
        host: format!("n{index}"),
        path: "/b".into(),
        is_online: match mark {
            '+' => Some(true),
            '-' => Some(false),
            _ => None,
        },
        ..GlusterBrick::default()
    });
    let bricks = bricks.collect();
    GlusterVolume { id: "v".into(), name: "v".into(), is_started: true, set_size, may_lose, bricks }
}

fn judged(bench: &mut Bench, volume: GlusterVolume) -> Vec<Finding> {
    let reading = GlusterReading { peers: Vec::new(), volumes: vec![volume] };
    findings(gluster::gluster(&mut bench.judge(), &reading))
}

fn bricks(bench: &mut Bench, set_size: u32, may_lose: u32, marks: &str) -> Vec<Finding> {
    judged(bench, volume(set_size, may_lose, marks))
}

fn healing(bench: &mut Bench, pending: u64, split_brain: u64, minutes: u64) -> Vec<Finding> {
    let reading = || {
        let mut volume = volume(3, 1, "+++");
        (volume.bricks[0].heal_pending, volume.bricks[0].split_brain) = (Some(pending), Some(split_brain));
        volume
    };
    drop(judged(bench, reading()));
    bench.pass(minutes * 60);
    judged(bench, reading())
}

fn silent(why: Why) -> Vec<Finding> {
    gluster::gluster_silent(&Silence { why, words: "ask the gluster command".into() }).findings
}

type Expected = &'static [(Check, Verdict, Reason)];
const DOWN: Expected = &[(Check::GlusterBricks, Verdict::Warning, Reason::BricksDown)];
const LOST: Expected = &[(Check::GlusterBricks, Verdict::Critical, Reason::QuorumLost)];

const fn case(
    name: &'static str,
    source: &'static str,
    judge: fn(&mut Bench) -> Vec<Finding>,
    expect: Expected,
) -> Case {
    Case { name, source, judge, expect }
}

pub(crate) const CASES: &[Case] = &[
    case("replica 3", VOLUMES, |bench| bricks(bench, 3, 1, "+++"), &[]),
    case("replica 3, a brick is down", QUORUM, |bench| bricks(bench, 3, 1, "+-+"), DOWN),
    case("replica 3, the node of a brick is away", QUORUM, |bench| bricks(bench, 3, 1, "++?"), DOWN),
    case("replica 3, two bricks are down", QUORUM, |bench| bricks(bench, 3, 1, "--+"), LOST),
    case("2 x 3, a brick of each set is down", VOLUMES, |bench| bricks(bench, 3, 1, "+-++-+"), DOWN),
    case("2 x 3, two bricks of one set are down", VOLUMES, |bench| bricks(bench, 3, 1, "++++--"), LOST),
    case("replica 2, a brick is down", QUORUM, |bench| bricks(bench, 2, 1, "+-"), DOWN),
    case("distributed, a brick is down", VOLUMES, |bench| bricks(bench, 1, 0, "++-"), LOST),
    case("dispersed 4+2, two bricks are down", VOLUMES, |bench| bricks(bench, 6, 2, "+--+++"), DOWN),
    case("dispersed 4+2, three bricks are down", VOLUMES, |bench| bricks(bench, 6, 2, "---+++"), LOST),
    case(
        "a volume that was stopped",
        VOLUMES,
        |bench| judged(bench, GlusterVolume { is_started: false, ..volume(3, 1, "---") }),
        &[],
    ),
    case("a volume without bricks", VOLUMES, |bench| bricks(bench, 3, 1, ""), &[]),
    case("entries that wait for ten minutes", HEAL, |bench| healing(bench, 12, 0, 10), &[]),
    case(
        "entries that wait for two hours",
        HEAL,
        |bench| healing(bench, 12, 0, 120),
        &[(Check::GlusterHeal, Verdict::Warning, Reason::HealPending)],
    ),
    case(
        "split-brain",
        HEAL,
        |bench| healing(bench, 0, 1, 0),
        &[(Check::GlusterHeal, Verdict::Critical, Reason::SplitBrain)],
    ),
    case(
        "a peer is disconnected",
        PEERS,
        |bench| {
            let peer = |host: &str, is_connected| GlusterPeer {
                host: host.into(),
                is_connected,
                state: "Peer in Cluster".into(),
            };
            let reading = GlusterReading { peers: vec![peer("n2", true), peer("n3", false)], volumes: Vec::new() };
            findings(gluster::gluster(&mut bench.judge(), &reading))
        },
        &[(Check::GlusterPeers, Verdict::Warning, Reason::PeersDown)],
    ),
    case(
        "the daemon does not answer",
        PEERS,
        |_| silent(Why::NotAnswering),
        &[(Check::GlusterAnswers, Verdict::Critical, Reason::NotAnswering)],
    ),
    case("another command holds the lock", PEERS, |_| silent(Why::Busy), &[]),
    case(
        "the agent may not ask",
        PEERS,
        |_| silent(Why::Denied),
        &[(Check::GlusterAnswers, Verdict::Unknown, Reason::AccessDenied)],
    ),
];

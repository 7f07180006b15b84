// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A real Gluster pool of three nodes, each in a room of its own, joined by a bridge in the first.

use crate::Bench;
use adit_ask::AskError;
use adit_ask::gluster::Gluster;
use adit_health::readings::gluster::GlusterReading;
use adit_health::rules;
use adit_services::{Room, until};
use adit_wire::health::codes::{Check, Reason, Verdict};
use std::process::Command;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(120);
const DEADLINE: Duration = Duration::from_secs(30);
const HOSTS: &str = "::1 localhost\nfd00:61::1 n1\nfd00:61::2 n2\nfd00:61::3 n3\n";
/// Without the keepalive options a probe of a peer runs into a timeout of two minutes.
const VOLFILE: &str = "volume management
    type mgmt/glusterd
    option working-directory /var/lib/glusterd
    option transport-type socket
    option transport.socket.listen-port 24007
    option transport.address-family inet6
    option transport.socket.bind-address NAME
    option transport.socket.keepalive-time 10
    option transport.socket.keepalive-interval 2
    option ping-timeout 0
    option event-threads 1
    option max-port 60999
end-volume
";

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().expect("iproute2 is installed");
    assert!(status.success(), "ip {words}");
}

fn node(number: usize) -> Room {
    let name = format!("n{number}");
    let places = [("lib", "var/lib/glusterd"), ("log", "var/log/glusterfs"), ("brick", "brick")];
    let room = Room::new("gluster", &name, HOSTS, &places).unwrap();
    room.write("glusterd.vol", &VOLFILE.replace("NAME", &name)).unwrap();
    room
}

fn pool() -> Vec<Room> {
    let mut nodes: Vec<Room> = (1..=3).map(node).collect();
    let first = nodes[0].pid();
    let in_first = |words: &str| {
        let mut command = Command::new("nsenter");
        command.args(["--target", &first.to_string(), "--net", "ip"]).args(words.split(' '));
        assert!(command.status().unwrap().success(), "ip {words}");
    };
    in_first("link add br0 type bridge");
    in_first("-6 addr add fd00:61::1/64 dev br0 nodad");
    in_first("link set br0 up");
    for (index, node) in nodes.iter().enumerate().skip(1) {
        let (number, pid) = (index + 1, node.pid());
        ip(&format!("link add p{number} netns {first} type veth peer name eth0 netns {pid}"));
        in_first(&format!("link set p{number} master br0 up"));
        for words in [format!("-6 addr add fd00:61::{number}/64 dev eth0 nodad"), "link set eth0 up".to_owned()] {
            let mut command = Command::new("nsenter");
            command.args(["--target", &pid.to_string(), "--net", "ip"]).args(words.split(' '));
            assert!(command.status().unwrap().success(), "ip {words}");
        }
    }
    for node in &mut nodes {
        std::fs::create_dir_all(node.folder.join("brick/b")).unwrap();
        node.run(["mkdir", "-p", "/run/gluster"]).unwrap();
        node.start("glusterd", ["glusterd", "-N", "-f", "/lab/glusterd.vol", "-p", "/run/glusterd.pid"]).unwrap();
    }
    nodes
}

fn gluster(node: &Room, words: &str) -> Result<String, String> {
    let all = ["gluster", "--mode=script"].into_iter().chain(words.split(' '));
    node.run(all).map_err(|error| error.to_string())
}

/// What the rules make of a reading, ten minutes after the last one.
fn judged(bench: &mut Bench, reading: &GlusterReading) -> Vec<(Check, Verdict, Reason)> {
    bench.look(600, |judge| rules::gluster::gluster(judge, reading))
}

fn bricks(answer: &Result<GlusterReading, AskError>) -> Vec<Option<bool>> {
    let volume = answer.as_ref().ok().and_then(|reading| reading.volumes.first());
    volume.map(|volume| volume.bricks.iter().map(|brick| brick.is_online).collect()).unwrap_or_default()
}

#[test]
fn services_gluster_bricks_die_and_come_back() {
    let nodes = pool();
    let first = &nodes[0];
    for node in &nodes {
        until("a node answers", LONG, || gluster(node, "peer status"), Result::is_ok).unwrap();
    }
    let mut asker = Gluster::new(first.door("gluster").unwrap(), DEADLINE);
    assert_eq!(asker.ask().unwrap(), GlusterReading::default(), "a pool of one without volumes");

    for name in ["n2", "n3"] {
        until("a peer is probed", LONG, || gluster(first, &format!("peer probe {name}")), Result::is_ok).unwrap();
    }
    let joined = |answer: &Result<GlusterReading, AskError>| {
        answer.as_ref().is_ok_and(|reading| {
            reading.peers.len() == 2
                && reading.peers.iter().all(|peer| peer.is_connected && peer.state == "Peer in Cluster")
        })
    };
    until("the peers are joined", LONG, || asker.ask(), joined).unwrap();
    gluster(first, "volume create v replica 3 n1:/brick/b n2:/brick/b n3:/brick/b force").unwrap();
    let reading = asker.ask().unwrap();
    assert_eq!((reading.volumes[0].is_started, reading.volumes[0].set_size), (false, 3));
    until("the volume starts", LONG, || gluster(first, "volume start v"), Result::is_ok).unwrap();

    let running = |answer: &_| bricks(answer) == [Some(true); 3];
    let reading = until("all bricks run", LONG, || asker.ask(), running).unwrap();
    let volume = &reading.volumes[0];
    assert_eq!((volume.name.as_str(), volume.set_size, volume.may_lose, volume.id.len()), ("v", 3, 1, 36));
    let healed = |answer: &Result<GlusterReading, AskError>| {
        answer.as_ref().is_ok_and(|reading| {
            reading.volumes[0].bricks.iter().all(|b| b.heal_pending == Some(0) && b.split_brain == Some(0))
        })
    };
    let reading = until("nothing waits to be healed", LONG, || asker.ask(), healed).unwrap();
    let mut bench = Bench::default();
    assert_eq!(judged(&mut bench, &reading), []);

    nodes[1].kill("glusterfsd").unwrap();
    let down = |answer: &_| bricks(answer) == [Some(true), Some(false), Some(true)];
    let reading = until("a brick is down", LONG, || asker.ask(), down).unwrap();
    let dead = &reading.volumes[0].bricks[1];
    assert_eq!((dead.host.as_str(), dead.path.as_str(), dead.heal_pending), ("n2", "/brick/b", None));
    let down_one = [(Check::GlusterBricks, Verdict::Warning, Reason::BricksDown)];
    assert_eq!(judged(&mut bench, &reading), down_one);
    nodes[2].kill("glusterfsd").unwrap();
    let down = |answer: &_| bricks(answer) == [Some(true), Some(false), Some(false)];
    let reading = until("a second brick is down", LONG, || asker.ask(), down).unwrap();
    assert_eq!(judged(&mut bench, &reading), [(Check::GlusterBricks, Verdict::Critical, Reason::QuorumLost)]);

    gluster(first, "volume start v force").unwrap();
    let reading = until("the bricks are back", LONG, || asker.ask(), running).unwrap();
    assert_eq!(judged(&mut bench, &reading), []);

    nodes[2].kill("glusterd -N").unwrap();
    let away = |answer: &Result<GlusterReading, AskError>| {
        answer.as_ref().is_ok_and(|r| r.peers.iter().any(|peer| !peer.is_connected))
    };
    let reading = until("a peer is away", LONG, || asker.ask(), away).unwrap();
    assert!(judged(&mut bench, &reading).contains(&(Check::GlusterPeers, Verdict::Warning, Reason::PeersDown)));
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The agent as a program: killed and started again, stopped by a signal, watched by systemd, with little memory.

use crate::backup::{Outcome, Runner, fetch, small_run, start};
use crate::lab::{Lab, Machine, aditd, ask, until};
use crate::sealed::{Sealer, id_of, noise};
use adit_wire::health::Poll;
use adit_wire::ids::Id;
use adit_wire::pair::Role;
use std::os::unix::net::UnixDatagram;

/// Memory that is the program's own, MiB: what it wrote to, not what it maps of its file.
pub(crate) fn own_memory_mib(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).expect("read");
    let anonymous = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    anonymous.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") / 1_024
}

#[tokio::test]
async fn kill_nine_loses_nothing_that_was_acknowledged() {
    let mut lab = Lab::start_program().await;
    let web = lab.paired(Role::Source, "web1").await;
    let link = web.connect(&lab).await;
    let (mut runner, _) = Runner::hello(&link, start(&web)).await.expect("welcome");
    let mut sealer = Sealer::new(&web, 1, 1);
    runner.open(&sealer, None).await.expect("opened");
    let first = small_run(&mut sealer, 1, Id::ZERO, 8, 150_000);
    runner.records(&first.records).await.expect("sent");
    assert!(matches!(runner.commit(&first.snapshot).await, Ok(Outcome::Committed(_))));
    // A second run is cut in its middle.
    let (mut runner, _) = Runner::hello(&link, start(&web)).await.expect("welcome");
    let mut sealer = Sealer::new(&web, 2, 1);
    runner.open(&sealer, None).await.expect("opened");
    let second = small_run(&mut sealer, 2, id_of(&first.snapshot), 8, 150_000);
    runner.records(&second.records[..5]).await.expect("sent");
    runner.durable(5).await.expect("durable");
    lab.kill();
    lab.start_again_as_program(None).await;
    let link = web.connect(&lab).await;
    let (mut runner, welcome) = Runner::hello(&link, start(&web)).await.expect("welcome");
    assert_eq!(welcome.newest.map(|newest| newest.head), Some(id_of(&first.snapshot)));
    let pending = welcome.pending.expect("the cut run is known");
    assert_eq!((pending.key_id, pending.durable_seq), (sealer.key_id, 5));
    let mut again = Sealer::new(&web, 3, 1);
    runner.open(&again, Some(pending.key_id)).await.expect("opened");
    let data: Vec<Id> = second.records[..5].iter().map(|record| id_of(record)).collect();
    let (info, root) = (again.data(b"info"), again.node(&data));
    let snapshot = again.snapshot(2, id_of(&first.snapshot), id_of(&root), id_of(&info), 7);
    runner.records(&[info, root]).await.expect("sent");
    assert!(matches!(runner.commit(&snapshot).await, Ok(Outcome::Committed(_))));
    let ids: Vec<Id> = first.records.iter().chain(&second.records[..5]).map(|record| id_of(record)).collect();
    let got = fetch(&web, &link, &ids).await.expect("fetched");
    let all = first.records.iter().chain(&second.records[..5]);
    assert!(all.into_iter().all(|record| got.contains(record)), "every byte came back");
    assert!(lab.terminate().success());
    let run = aditd(&["verify", "--config", lab.config_path().to_str().expect("UTF-8")]);
    assert_eq!(run.code, 0, "{} {}", run.stdout, run.stderr);
}

#[tokio::test]
async fn systemd_is_told_of_start_and_stop() {
    let mut lab = Lab::start_program().await;
    lab.kill();
    let path = lab.dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    socket.set_nonblocking(true).expect("set");
    lab.start_again_as_program(Some(&path)).await;
    let mut told = String::new();
    let hear = |told: &mut String| {
        let mut buffer = [0u8; 512];
        while let Ok(length) = socket.recv(&mut buffer) {
            told.push_str(core::str::from_utf8(&buffer[..length]).expect("UTF-8"));
        }
    };
    until("it is ready", || {
        hear(&mut told);
        told.contains("READY=1")
    })
    .await;
    assert!(lab.terminate().success());
    hear(&mut told);
    assert!(told.contains("STOPPING=1"), "{told}");
}

#[tokio::test]
async fn eight_sources_fit_into_little_memory() {
    let lab = Lab::start_program().await;
    let monitor = lab.paired(Role::Monitor, "mon").await;
    ask(&monitor.connect(&lab).await, &Poll { inventory: 0, report: 0 }).await.expect("answered");
    let idle = own_memory_mib(lab.process_id());
    let mut machines: Vec<Machine> = Vec::new();
    for number in 0..8 {
        machines.push(lab.paired(Role::Source, &format!("web{number}")).await);
    }
    let mut runs = tokio::task::JoinSet::new();
    for machine in machines {
        // One after the other: the door lets few of one network in at once.
        let link = machine.connect(&lab).await;
        runs.spawn(async move {
            let (mut runner, _) = Runner::hello(&link, start(&machine)).await.expect("welcome");
            let mut sealer = Sealer::new(&machine, 1, 1);
            runner.open(&sealer, None).await.expect("opened");
            for seed in 0..24 {
                let record = sealer.data(&noise(1 << 20, seed));
                runner.records(&[record]).await.expect("sent");
            }
            runner.durable(24).await.expect("durable");
        });
    }
    let mut most = 0;
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(50));
    while !runs.is_empty() {
        tokio::select! {
            done = runs.join_next() => done.expect("one").expect("sent"),
            _ = tick.tick() => most = most.max(own_memory_mib(lab.process_id())),
        }
    }
    assert!(idle <= 16, "idle: {idle} MiB");
    assert!(most <= 64, "receiving from 8 sources: {most} MiB");
    assert!(most > 0);
}

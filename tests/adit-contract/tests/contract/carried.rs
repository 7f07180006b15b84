// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Carried: the store's disk alone, on another machine, without the box's key or state; and damage on that disk.

use adit_contract::lab::{Lab, Process, free_port, run};
use adit_contract::tree::{differences, make_small, restored};
use std::fs;
use std::net::{Ipv6Addr, SocketAddrV6, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Exit code of a tool that found damage.
const EXIT_DAMAGED: i32 = 7;

#[test]
fn store_alone_is_enough_to_recover() {
    let lab = Lab::new();
    let mut lab_box = lab.new_box("box");
    lab_box.start();
    let (file, public) = lab.recovery_key("admin");
    let data = lab.path("data");
    make_small(&data, 1_000, 5).unwrap();
    let source = lab.source("source");
    source.set_up(&lab_box, "web1", &[&public]);
    source.backup(&[&data]);
    lab_box.kill();
    let carried = lab.path("carried");
    fs::rename(&lab_box.store, &carried).unwrap();
    fs::remove_dir_all(&lab_box.state).unwrap();
    fs::remove_dir_all(&source.state).unwrap();
    let listen = SocketAddrV6::new(Ipv6Addr::LOCALHOST, free_port(), 0, 0);
    let mut server = Process::start(
        "aditd",
        [
            "--read-only".as_ref(),
            "--store".as_ref(),
            carried.as_os_str(),
            "--listen".as_ref(),
            listen.to_string().as_ref(),
        ],
    );
    server.wait_until("its port", || TcpStream::connect_timeout(&listen.into(), Duration::from_millis(200)).is_ok());
    let key = key_in(&server);
    let to = lab.path("recovered");
    run(
        "adit",
        [
            "recover".as_ref(),
            "--box".as_ref(),
            listen.to_string().as_ref(),
            "--box-key".as_ref(),
            key.as_ref(),
            "--recovery-file".as_ref(),
            file.as_os_str(),
            "--source".as_ref(),
            "web1".as_ref(),
            "--to".as_ref(),
            to.as_os_str(),
        ],
    )
    .succeeded();
    assert_eq!(differences(&data, &restored(&to, &data)).unwrap(), [""; 0]);
}

/// The key that a read-only agent prints, a moment after its port answers: the word after "--box-key".
fn key_in(server: &Process) -> String {
    let start = Instant::now();
    loop {
        let log = server.log();
        let mut words = log.split_whitespace();
        if words.any(|word| word == "--box-key") {
            return words.next().unwrap_or_default().to_owned();
        }
        assert!(start.elapsed() < Duration::from_secs(10), "no --box-key in:\n{log}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn one_flipped_byte_on_the_disk_is_healed_and_without_parity_found() {
    let lab = Lab::new();
    let mut lab_box = lab.new_box("box");
    lab_box.start();
    let (file, public) = lab.recovery_key("admin");
    let data = lab.path("data");
    make_small(&data, 1_000, 6).unwrap();
    let source = lab.source("source");
    source.set_up(&lab_box, "web1", &[&public]);
    source.adit(["backup".as_ref(), "--period".as_ref(), "90m".as_ref(), data.as_os_str()]).succeeded();
    let periods = fs::read_to_string(lab_box.state.join("periods")).unwrap();
    assert!(periods.ends_with(" 5400\n"), "the box was told the schedule: {periods}");
    source.adit(["verify"]).succeeded();
    lab_box.stop();
    let segment = largest_file(&lab_box.store.join("seg"));
    let whole = fs::read(&segment).unwrap();
    flip_middle(&segment);
    lab_box.start();
    source.adit(["verify"]).succeeded();
    assert!(fs::read(&segment).unwrap() == whole, "the segment is not what it was");
    lab_box.stop();
    flip_middle(&segment);
    fs::remove_dir_all(lab_box.store.join("par")).unwrap();
    lab_box.start();
    let verify = source.adit(["verify", "--json"]);
    assert_eq!(verify.code, EXIT_DAMAGED, "stdout:\n{}\nstderr:\n{}", verify.stdout, verify.stderr);
    assert_eq!(verify.json()["damaged"].as_array().map(Vec::len), Some(1), "{}", verify.stdout);
    let to = lab.path("restored");
    let restore = source.adit([
        "restore".as_ref(),
        "latest".as_ref(),
        "--recovery-file".as_ref(),
        file.as_os_str(),
        "--to".as_ref(),
        to.as_os_str(),
    ]);
    assert_eq!(restore.code, EXIT_DAMAGED, "stdout:\n{}\nstderr:\n{}", restore.stdout, restore.stderr);
    // What is damaged is left out and named; nothing else differs, and no file holds other bytes than its source.
    let wrong = differences(&data, &restored(&to, &data)).unwrap();
    assert!(wrong.iter().all(|line| line.ends_with("is missing")) && !wrong.is_empty(), "{wrong:#?}");
    // The box names what it lost when its source comes next, and the source, where nothing changed, sends it again.
    source.adit(["backup".as_ref(), data.as_os_str()]).succeeded();
    source.adit(["verify"]).succeeded();
}

fn flip_middle(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, &bytes).unwrap();
}

fn largest_file(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.max_by_key(|path| fs::metadata(path).unwrap().len()).expect("a segment")
}

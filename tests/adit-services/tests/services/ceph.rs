// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A real Ceph cluster of one monitor, one manager and one OSD in memory.

use crate::Bench;
use adit_ask::AskError;
use adit_ask::ceph::{self, Ceph, Settings};
use adit_health::readings::ceph::{CephReading, CephStatus};
use adit_health::rules::ceph::{ceph as judge_ceph, ceph_silent};
use adit_services::{HOSTS, Room, until};
use adit_wire::health::codes::{Check, Reason, Verdict};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(120);
const CONF: &str = "[global]
fsid = FSID
ms_bind_ipv6 = true
ms_bind_ipv4 = false
mon_host = [v2:[::1]:3300/0,v1:[::1]:6789/0]
public_network = ::1/128
mon_initial_members = a
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
keyring = /lab/keyring.$type.$id
run_dir = /run
admin_socket = /run/$name.asok
log_file = /lab/$name.log
pid_file = /run/$name.pid
crash_dir = /lab/crash
osd_pool_default_size = 1
osd_pool_default_min_size = 1
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_data_avail_warn = 2
mon_data_avail_crit = 1
osd_pool_default_pg_num = 8
osd_crush_chooseleaf_type = 0
auth_allow_insecure_global_id_reclaim = false
[mon]
mon_data = /lab/mon
[mgr]
mgr_data = /lab/mgr
[osd]
osd_data = /lab/osd
osd_objectstore = memstore
memstore_device_bytes = 268435456
";

/// A random id, as the kernel gives them.
fn uuid() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim().to_owned()
}

/// Runs a line of the shell's inside.
fn sh(room: &Room, line: &str) {
    room.run(["env", "CEPH_CONF=/lab/ceph.conf", "sh", "-ec", line]).unwrap();
}

fn start(room: &mut Room, name: &str, words: &str) {
    let line = format!("exec {words} -f -c /lab/ceph.conf");
    room.start(name, ["sh", "-c", &line]).unwrap();
}

fn cluster(room: &mut Room) {
    let fsid = uuid();
    room.write("ceph.conf", &CONF.replace("FSID", &fsid)).unwrap();
    sh(room, "cd /lab; mkdir mon mgr osd crash
        ceph-authtool --create-keyring mon.keyring --gen-key -n mon. --cap mon 'allow *'
        ceph-authtool --create-keyring keyring.client.admin --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
        ceph-authtool mon.keyring --import-keyring keyring.client.admin");
    sh(
        room,
        &format!(
            "cd /lab; monmaptool --create --addv a '[v2:[::1]:3300,v1:[::1]:6789]' --fsid {fsid} monmap
        ceph-mon --mkfs -i a --monmap monmap --keyring mon.keyring; cp mon.keyring mon/keyring"
        ),
    );
    start(room, "mon", "ceph-mon -i a --keyring /lab/mon/keyring");
    sh(room, "cd /lab; ceph --connect-timeout 60 auth get-or-create mgr.x mon 'allow profile mgr' osd 'allow *' -o keyring.mgr.x
        ceph auth get-or-create client.adit mon 'allow r' -o keyring.client.adit
        ceph auth get-or-create client.blind osd 'allow r' -o keyring.client.blind");
    start(room, "mgr", "ceph-mgr -i x");
    let id = uuid();
    sh(
        room,
        &format!(
            "cd /lab; key=$(ceph-authtool --gen-print-key)
        echo \"{{\\\"cephx_secret\\\":\\\"$key\\\"}}\" | ceph osd new {id} -i -
        ceph-authtool --create-keyring keyring.osd.0 --name osd.0 --add-key $key; cp keyring.osd.0 osd/keyring
        ceph-osd -i 0 --mkfs --osd-uuid {id}"
        ),
    );
    start(room, "osd", "ceph-osd -i 0");
}

fn settings(room: &Room, name: &str) -> Settings {
    let program = room.door("ceph").unwrap().into();
    let keyring = Some(format!("/lab/keyring.{name}").into());
    Settings { program, name: name.to_owned(), keyring, conf: Some("/lab/ceph.conf".into()), connect_timeout_s: 5 }
}

/// What the rules make of a reading, a minute after the last one.
fn judged(bench: &mut Bench, reading: &CephReading) -> Vec<(Check, Verdict, Reason)> {
    bench.look(60, |judge| vec![judge_ceph(judge, "ceph", reading)])
}

fn codes(reading: &CephReading) -> Vec<&str> {
    reading.checks.iter().map(|check| check.code.as_str()).collect()
}

#[test]
fn services_ceph_an_osd_stops_and_comes_back() {
    let mut room = Room::new("ceph", "ceph", HOSTS, &[]).unwrap();
    room.enter_network().unwrap();
    cluster(&mut room);
    let mut ceph = Ceph::new(&settings(&room, "client.adit"));
    let is_up = |answer: &Result<CephReading, AskError>| {
        answer.as_ref().is_ok_and(|reading| {
            reading.status == CephStatus::Ok && reading.osds_up == Some(1) && reading.total_mib >= Some(200)
        })
    };
    let reading = until("the cluster is healthy", LONG, || ceph.ask(), is_up).unwrap();
    assert_eq!([reading.monitors, reading.in_quorum, reading.osds, reading.osds_in], [Some(1); 4]);
    assert_eq!(reading.fsid.len(), 36);
    let mut bench = Bench::default();
    assert_eq!(judged(&mut bench, &reading), []);

    let mut blind = Ceph::new(&settings(&room, "client.blind"));
    let refused = blind.ask();
    assert!(matches!(refused, Err(AskError::Denied { .. })), "a key that may not read: {refused:?}");

    sh(&room, "ceph mgr module enable prometheus; ceph config set mgr mgr/prometheus/server_addr ::1");
    let manager = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 9283, 0, 0);
    let metrics = || ceph::ask_metrics(manager, Duration::from_secs(5));
    let page = until("the manager tells its metrics", LONG, metrics, |page| {
        page.as_ref().is_ok_and(|page| page.osds_up == Some(1))
    });
    let page = page.unwrap();
    assert_eq!([page.monitors, page.in_quorum, page.osds, page.osds_in], [Some(1); 4]);

    room.kill("ceph-osd").unwrap();
    // The monitor believes what other OSDs report; with one OSD it must be told.
    sh(&room, "ceph osd down 0");
    let down = |answer: &Result<CephReading, AskError>| {
        answer.as_ref().is_ok_and(|reading| codes(reading).contains(&"OSD_DOWN"))
    };
    let reading = until("the OSD is down", LONG, || ceph.ask(), down).unwrap();
    assert_eq!((reading.status, reading.osds_up), (CephStatus::Warn, Some(0)));
    let check = reading.checks.iter().find(|check| check.code == "OSD_DOWN").unwrap();
    assert!(check.detail.contains("osd.0") && check.count == Some(1), "{check:?}");
    assert!(judged(&mut bench, &reading).contains(&(Check::CephOsds, Verdict::Critical, Reason::OsdsDown)));
    until("the metrics tell it too", LONG, metrics, |page| {
        page.as_ref().is_ok_and(|page| codes(page).contains(&"OSD_DOWN"))
    })
    .unwrap();

    start(&mut room, "osd-again", "ceph-osd -i 0");
    let reading = until("the cluster is healthy again", LONG, || ceph.ask(), is_up).unwrap();
    assert_eq!(judged(&mut bench, &reading), []);

    room.kill("ceph-mon").unwrap();
    let silent = ceph.ask();
    assert!(matches!(&silent, Err(AskError::Refused { .. } | AskError::Child(_))), "{silent:?}");
    let silence = silent.unwrap_err().silence();
    let found = bench.look(60, |_| vec![ceph_silent("ceph", &silence)]);
    assert_eq!(found, [(Check::CephAnswers, Verdict::Critical, Reason::NotAnswering)]);
}

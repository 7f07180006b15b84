// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A real upsd with a driver that plays a UPS from a file.

use crate::Bench;
use adit_ask::{AskError, nut};
use adit_health::readings::ups::{UpsComm, UpsReading, UpsState};
use adit_health::rules;
use adit_services::{HOSTS, Room, until};
use adit_wire::health::codes::{Check, Reason, Verdict};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(60);
const DEVICE: &str = "ups.mfr: adit\nups.model: dummy\nups.serial: 7\nups.status: OL\nbattery.charge: 100\n\
    battery.charge.low: 20\nbattery.runtime: 1800\nups.load: 12\nups.realpower: 140\ninput.voltage: 230.0\nbattery.date: 2025/03/01\n";

fn ask() -> Result<Vec<UpsReading>, AskError> {
    nut::ask(nut::ADDRESS, DEADLINE)
}

fn only(answer: &Result<Vec<UpsReading>, AskError>) -> Option<&UpsReading> {
    answer.as_ref().ok()?.first()
}

/// What the rules make of the one UPS, so many seconds later.
fn judged(bench: &mut Bench, seconds: u64, answer: &[UpsReading]) -> Vec<(Check, Verdict, Reason)> {
    bench.look(seconds, |judge| answer.iter().map(|ups| rules::ups::ups(judge, ups)).collect())
}

fn device(room: &Room, status: &str, charge: u32) {
    let text = DEVICE.replace("ups.status: OL", &format!("ups.status: {status}"));
    let text = text.replace("battery.charge: 100", &format!("battery.charge: {charge}"));
    room.write("new.dev", &text).unwrap();
    std::fs::rename(room.folder.join("new.dev"), room.folder.join("u.dev")).unwrap();
}

#[test]
fn services_nut_a_ups_goes_on_battery_and_runs_low() {
    let mut room = Room::new("nut", "ups", HOSTS, &[]).unwrap();
    room.enter_network().unwrap();
    assert!(matches!(ask(), Err(AskError::Connect { .. })), "nobody listens yet");

    device(&room, "OL", 100);
    room.write("upsd.conf", "LISTEN ::1 3493\nMAXAGE 15\nSTATEPATH /lab/state\n").unwrap();
    room.write("upsd.users", "").unwrap();
    room.write(
        "ups.conf",
        "[u]\n driver = dummy-ups\n port = /lab/u.dev\n mode = dummy-loop\n pollinterval = 1\n desc = \"The rack\"\n",
    )
    .unwrap();
    room.write("nut.conf", "MODE=standalone\n").unwrap();
    std::fs::create_dir_all(room.folder.join("state")).unwrap();
    let env = ["env", "NUT_CONFPATH=/lab", "NUT_STATEPATH=/lab/state", "NUT_ALTPIDPATH=/lab/state"];
    room.start("driver", env.iter().chain(&["/lib/nut/dummy-ups", "-a", "u", "-u", "root", "-D"])).unwrap();
    room.start("upsd", env.iter().chain(&["/lib/nut/upsd", "-u", "root", "-D"])).unwrap();

    let heard = |answer: &Result<_, _>| only(answer).is_some_and(|ups| ups.is(UpsState::Online));
    let answer = until("the UPS is heard", LONG, ask, heard);
    let ups = only(&answer).unwrap();
    assert_eq!((ups.name.as_str(), ups.description.as_str(), ups.model.as_str()), ("u", "The rack", "adit dummy"));
    assert_eq!((ups.serial.as_str(), ups.comm, ups.status.as_slice()), ("7", UpsComm::Heard, &[UpsState::Online][..]));
    let numbers = [
        ups.charge_permille,
        ups.charge_low_permille,
        ups.runtime_s,
        ups.load_permille,
        ups.power_w,
        ups.input_decivolt,
    ];
    assert_eq!(numbers, [Some(1000), Some(200), Some(1800), Some(120), Some(140), Some(2300)]);

    let mut bench = Bench::default();
    let answer = answer.unwrap();
    assert_eq!(judged(&mut bench, 60, &answer), []);

    device(&room, "OB DISCHRG", 80);
    let on_battery = |answer: &Result<_, _>| {
        only(answer).is_some_and(|ups| ups.is(UpsState::OnBattery) && ups.charge_permille == Some(800))
    };
    let answer = until("the UPS is on battery", LONG, ask, on_battery).unwrap();
    assert_eq!(judged(&mut bench, 15, &answer), [], "mains may flicker");
    let warned = [(Check::PowerLine, Verdict::Warning, Reason::OnBattery)];
    assert_eq!(judged(&mut bench, 30, &answer), warned);

    device(&room, "OB DISCHRG LB", 7);
    let is_low = |answer: &Result<_, _>| only(answer).is_some_and(|ups| ups.is(UpsState::LowBattery));
    let answer = until("its battery is low", LONG, ask, is_low).unwrap();
    let low = (Check::Battery, Verdict::Critical, Reason::BatteryLow);
    assert_eq!(judged(&mut bench, 15, &answer), [warned[0], low]);

    room.kill("dummy-ups").unwrap();
    let is_gone = |answer: &Result<_, _>| only(answer).is_some_and(|ups| ups.comm == UpsComm::DriverGone);
    let answer = until("the driver is gone", LONG, ask, is_gone).unwrap();
    assert_eq!(judged(&mut bench, 15, &answer), []);
    let lost = [(Check::UpsAnswers, Verdict::Critical, Reason::UpsSilent)];
    assert_eq!(judged(&mut bench, 60, &answer), lost, "it fell silent while on battery");
    room.kill("upsd").unwrap();
    until("nobody listens", LONG, ask, |answer| matches!(answer, Err(AskError::Connect { .. }))).unwrap_err();
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A UPS behind a NUT server: its state is reported, and where the configuration says so its last minutes are used to go in
//! order.

use crate::lab::{As, Lab, until};
use adit_link::serial::{Polled, local};
use adit_wire::health::Poll;
use adit_wire::health::codes::{ComponentKind, Reason, Verdict};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A NUT server of a few lines (RFC 9271) with one UPS, whose status the test sets.
fn nut(status: &Arc<Mutex<&'static str>>) -> SocketAddr {
    let listener = TcpListener::bind("[::1]:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let status = Arc::clone(status);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let status = *status.lock().expect("whole");
            // A client that hangs up early is no fault of the server.
            let _gone = serve(&client, status);
        }
    });
    address
}

fn serve(mut client: &TcpStream, status: &str) -> std::io::Result<()> {
    for line in BufReader::new(client.try_clone()?).lines() {
        match line?.as_str() {
            "LIST UPS" => client.write_all(b"BEGIN LIST UPS\nUPS eaton \"Eaton\"\nEND LIST UPS\n")?,
            "LIST VAR eaton" => client.write_all(
                format!(
                    "BEGIN LIST VAR eaton\nVAR eaton ups.status \"{status}\"\nVAR eaton battery.charge \"40\"\nEND LIST VAR eaton\n"
                )
                .as_bytes(),
            )?,
            "LOGOUT" => client.write_all(b"OK Goodbye\n")?,
            _ => client.write_all(b"ERR UNKNOWN-COMMAND\n")?,
        }
    }
    Ok(())
}

/// The verdict and reasons of the UPS in the newest report.
fn ups(socket: &Path) -> Option<(Verdict, Vec<Reason>)> {
    let mut agent = local::reach(socket, Duration::from_secs(30)).ok()?;
    let Ok(Polled::Full { snapshot, inventory_bytes, .. }) = agent.poll(Poll { inventory: 0, report: 0 }) else {
        return None;
    };
    let report = adit_health::decode(&inventory_bytes, &snapshot).expect("readable");
    let ups = report.components.into_iter().find(|component| component.kind == ComponentKind::Ups)?;
    let reasons = ups.findings.iter().map(|finding| finding.reason).filter(|reason| *reason != Reason::None);
    Some((ups.verdict(), reasons.collect()))
}

async fn lab_with(status: &Arc<Mutex<&'static str>>, shutdown: bool) -> Lab {
    let mut lab = Lab::start(As::Box).await;
    lab.stop().await;
    let socket = lab.dir.path().join("health.sock");
    let text = std::fs::read_to_string(lab.config_path()).expect("read");
    let health = format!("[health]\nsocket = {socket:?}\nups = [\"eaton@{}\"]\nshutdown = {shutdown}\n", nut(status));
    std::fs::write(lab.config_path(), format!("{text}{health}")).expect("written");
    lab.start_again_as_program(None).await;
    lab
}

#[tokio::test]
async fn a_low_battery_stops_the_agent_in_order_and_asks_for_the_power_off() {
    let status = Arc::new(Mutex::new("OB DISCHRG LB"));
    let mut lab = lab_with(&status, true).await;
    let order = lab.dir.path().join("poweroff");
    until("the machine is told to power off", || order.exists()).await;
    assert!(lab.wait().await.success());
    // The store was closed as after any stop: the next start has nothing to mend.
    *status.lock().expect("whole") = "OL CHRG";
    lab.start_again_as_program(None).await;
    let socket = lab.dir.path().join("health.sock");
    until("the UPS is well", || ups(&socket).is_some_and(|(verdict, _)| verdict == Verdict::Ok)).await;
    assert!(!order.exists(), "an order that nobody followed is taken back");
    assert!(lab.terminate().success());
}

/// A pipe that nobody writes stands for a disk that hangs.
#[tokio::test]
async fn a_low_battery_is_obeyed_though_a_disk_hangs() {
    let status = Arc::new(Mutex::new("OL"));
    let mut lab = lab_with(&status, true).await;
    assert!(lab.terminate().success());
    nix::unistd::mkfifo(&lab.dir.path().join("runs.jsonl"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let config = std::fs::read_to_string(lab.config_path()).expect("read");
    std::fs::write(lab.config_path(), format!("backups = [{:?}]\n{config}", lab.dir.path())).expect("written");
    *status.lock().expect("whole") = "OB DISCHRG LB";
    lab.start_again_as_program(None).await;
    let order = lab.dir.path().join("poweroff");
    until("the machine is told to power off", || order.exists()).await;
    assert!(lab.wait().await.success());
}

#[tokio::test]
async fn a_low_battery_is_only_told_unless_asked_for() {
    let status = Arc::new(Mutex::new("OB DISCHRG LB"));
    let mut lab = lab_with(&status, false).await;
    let socket = lab.dir.path().join("health.sock");
    until("the low battery is told", || {
        ups(&socket)
            .is_some_and(|(verdict, reasons)| verdict == Verdict::Critical && reasons.contains(&Reason::BatteryLow))
    })
    .await;
    assert!(!lab.dir.path().join("poweroff").exists());
    assert!(lab.terminate().success());
}

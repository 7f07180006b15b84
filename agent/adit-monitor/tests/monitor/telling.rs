// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the monitor tells programs: status, the plugin's answer, metrics, history; and what people tell it.

use crate::lab::{Agent, Lab, report, run};
use adit_wire::health::codes::Verdict;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

fn get(address: SocketAddr, path: &str) -> String {
    request(address, &format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n"))
}

fn request(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("reached");
    stream.write_all(request.as_bytes()).expect("asked");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("heard");
    text
}

#[tokio::test]
async fn a_failing_disk_is_told_to_every_program_and_can_be_acknowledged() {
    let lab = Lab::start("").await;
    let agent = Agent::new();
    agent.reports(&report(Verdict::Critical));
    let (address, _serving) = agent.listen(lab.key).await;
    lab.add_agent("cellar", agent.identity.public_key(), Some(address));
    lab.until("an incident", |view| view.verdict_of("cellar") == Verdict::Critical).await;
    let config = lab.dir.path().join("adit-monitor.toml");

    let (code, line, _) = run(config.clone(), &["check", "-H", "cellar"]).await;
    assert_eq!(code, 2, "{line}");
    assert!(line.starts_with("CRITICAL - cellar: disk sda <b>WDC</b> "), "{line}");
    assert!(line.contains("temperature'=34.5"), "{line}");
    assert_eq!(run(config.clone(), &["check", "-H", "cellar", "-C", "temp"]).await.0, 0);
    let (code, line, _) = run(config.clone(), &["check", "-H", "nobody"]).await;
    assert_eq!((code, line.as_str()), (3, "UNKNOWN - the monitor has no agent nobody\n"));

    let http = lab.http.expect("served");
    let plain = tokio::task::spawn_blocking(move || get(http, "/metrics")).await.expect("asked");
    assert!(
        plain.contains("text/plain; version=0.0.4") && !plain.contains("# EOF") && !plain.contains(" info\n"),
        "{plain}"
    );
    assert!(plain.contains("# TYPE adit_component_info gauge\n# HELP adit_component_info "), "{plain}");
    let wanted =
        "GET /metrics HTTP/1.0\r\nHost: x\r\nAccept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n\r\n";
    let metrics = tokio::task::spawn_blocking(move || request(http, wanted)).await.expect("asked");
    assert!(metrics.contains("adit_up{host=\"cellar\",site=\"\"} 1\n"), "{metrics}");
    assert!(
        metrics.contains("adit_status{host=\"cellar\",component=\"naa.5000c500aabbccdd\",check=\"disk.status\"} 2\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("adit_temperature_celsius{host=\"cellar\",component=\"naa.5000c500aabbccdd\"} 34.5\n"),
        "{metrics}"
    );
    assert!(metrics.contains("label=\"sda <b>WDC</b> \u{fffd}[31m\\\"red\\\"\""), "{metrics}");
    assert!(!metrics.contains("adit_disk_pending_sectors"), "what is not known is absent");
    assert!(metrics.ends_with("# EOF\n"));
    let post = "POST /api/v1/ack HTTP/1.0\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    let refused = tokio::task::spawn_blocking(move || request(http, post)).await.expect("asked");
    assert!(refused.starts_with("HTTP/1.0 404"), "what changes something is on the socket only: {refused}");

    let (code, said, words) =
        run(config.clone(), &["ack", "cellar", "--reason", "a new disk comes", "--by", "me"]).await;
    assert_eq!((code, said.as_str()), (0, "1 incidents are known for 7 d\n"), "{words}");
    assert_eq!(run(config.clone(), &["check", "-H", "cellar", "--acked-ok"]).await.0, 0);
    let (_, shown, _) = run(config.clone(), &["status"]).await;
    assert!(shown.contains("(known to me: a new disk comes)"), "{shown}");
    let (code, _, words) = run(config.clone(), &["ack", "nobody", "--reason", "why"]).await;
    assert!(code == 1 && words.contains("no incident is open there"), "{words}");
    let (code, csv, _) = run(config.clone(), &["export", "cellar"]).await;
    assert!(code == 0 && csv.lines().count() == 2 && csv.ends_with(",34.5,34.5,34.5\n"), "{csv}");
    let (code, log, _) = run(config, &["log"]).await;
    assert!(code == 0 && log.contains("ack          cellar by me: a new disk comes"), "{log}");
    lab.stop().await;
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Endpoints with certificates of all ages, by a real TLS server, as the agent reports them.

use crate::lab::{As, Lab, until};
use adit_link::Identity;
use adit_link::serial::{Polled, local};
use adit_wire::health::Poll;
use adit_wire::health::codes::{ComponentKind, Reason, Verdict};
use rustls::crypto::aws_lc_rs::sign::any_eddsa_type;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, ServerConnection};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The GeneralizedTime at the beginning of a day, counted from 1970.
fn date(mut days: i64) -> String {
    let length = |year: i64| 365 + i64::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
    let mut year = 1970;
    while days >= length(year) {
        days -= length(year);
        year += 1;
    }
    let months = [31, length(year) - 337, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= months[month] {
        days -= months[month];
        month += 1;
    }
    format!("{year:04}{:02}{:02}000000Z", month + 1, days + 1)
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u16::try_from(body.len()).expect("short").to_be_bytes();
    [&[tag, 0x82][..], &length, &body].concat()
}

/// A self-signed certificate (RFC 5280, Ed25519 by RFC 8410) that began so many days ago and ends in so many.
fn certificate(began_days: i64, ends_days: i64) -> Arc<CertifiedKey> {
    let today = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs() / 86_400;
    let time = |days: i64| der(0x18, &[date(today.cast_signed() + days).as_bytes()]);
    let identity = Identity::from_seed([9; 32]);
    let ed25519 = der(0x30, &[&[6, 3, 0x2b, 0x65, 0x70]]);
    let name = der(0x30, &[&der(0x31, &[&der(0x30, &[&[6, 3, 0x55, 4, 3], &der(0x0c, &[b"x"])])])]);
    let validity = der(0x30, &[&time(-began_days), &time(ends_days)]);
    let key = der(0x30, &[&ed25519, &der(3, &[&[0], identity.public_key().as_bytes()])]);
    let body = der(0x30, &[&[0xa0, 3, 2, 1, 2, 2, 1, 1], &ed25519, &name, &validity, &name, &key]);
    let signature = identity.sign(b"", &body);
    let leaf = der(0x30, &[&body, &ed25519, &der(3, &[&[0], signature.as_bytes()])]);
    let pkcs8 =
        [&[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20], &identity.seed()[..]].concat();
    let signing = any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8)).expect("a key");
    Arc::new(CertifiedKey::new(vec![CertificateDer::from(leaf)], signing))
}

/// A TLS server on [::1] that shows this certificate to whoever comes.
fn serve(key: Arc<CertifiedKey>) -> SocketAddr {
    let config = ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_cert_resolver(Arc::new(SingleCertAndKey::from(key))));
    let listener = TcpListener::bind("[::1]:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut tls = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            // A client that hangs up early is no fault of the server.
            while tls.complete_io(&mut client).is_ok_and(|(read, _)| read > 0) {}
        }
    });
    address
}

/// Verdict and reason of each certificate in the newest report, by its place.
fn told(socket: &Path) -> Vec<(String, Verdict, Reason)> {
    let Ok(mut agent) = local::reach(socket, Duration::from_secs(30)) else { return Vec::new() };
    let Ok(Polled::Full { snapshot, inventory_bytes, .. }) = agent.poll(Poll { inventory: 0, report: 0 }) else {
        return Vec::new();
    };
    let report = adit_health::decode(&inventory_bytes, &snapshot).expect("readable");
    let certificates = report.components.into_iter().filter(|found| found.kind == ComponentKind::Certificate);
    certificates.map(|found| (found.id.clone(), found.verdict(), found.findings[0].reason)).collect()
}

#[tokio::test]
async fn certificates_of_endpoints_are_told_by_their_end() {
    let expired = serve(certificate(400, -1)).to_string();
    let soon = serve(certificate(85, 5)).to_string();
    let fresh = serve(certificate(1, 89)).to_string();
    let away = TcpListener::bind("[::1]:0").expect("a port").local_addr().expect("its address").to_string();
    let mut lab = Lab::start(As::PlainAgent).await;
    lab.stop().await;
    let socket = lab.dir.path().join("health.sock");
    let text = std::fs::read_to_string(lab.config_path()).expect("read");
    let endpoints = [&expired, &soon, &fresh, &away];
    let health = format!("{text}[health]\nsocket = {socket:?}\nendpoints = {endpoints:?}\n");
    std::fs::write(lab.config_path(), health).expect("written");
    lab.start_again_as_program(None).await;
    let expected = [
        (expired, Verdict::Critical, Reason::CertificateEnded),
        (soon, Verdict::Critical, Reason::CertificateEnds),
        (fresh, Verdict::Ok, Reason::None),
        (away, Verdict::Warning, Reason::NotAnswering),
    ];
    until("all four are told", || told(&socket) == expected).await;
    assert!(lab.terminate().success());
}

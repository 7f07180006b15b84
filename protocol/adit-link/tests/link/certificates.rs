// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Endpoints that are no peers: their certificate is seen, whatever it says, and those who show none are told apart.

use crate::common::{LOOPBACK, server, soon};
use crate::raw::{signing_key, x509};
use adit_link::limits::CHAIN_BYTES_MAX;
use adit_link::{CertificateError, Deadlines, DialError, Target, certificate};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A server's certificate of these dates, signed by its own key.
fn shows(from: &[u8], until: &[u8]) -> (Vec<u8>, Arc<CertifiedKey>) {
    let leaf = x509(&server(), from, until);
    let key = CertifiedKey::new(vec![CertificateDer::from(leaf.clone())], signing_key(&server()));
    (leaf, Arc::new(key))
}

async fn listen() -> (TcpListener, Target) {
    let listener = TcpListener::bind(SocketAddr::V6(LOOPBACK)).await.unwrap();
    let SocketAddr::V6(address) = listener.local_addr().unwrap() else { panic!("an IPv6 address") };
    (listener, Target::Address(address))
}

/// Serves one client by TLS; answers the name it asked for, and how its stream ended.
fn serve(listener: TcpListener, config: ServerConfig) -> JoinHandle<(Option<String>, std::io::Result<usize>)> {
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(Arc::new(config)).accept(client).await.unwrap();
        let name = stream.get_ref().1.server_name().map(str::to_owned);
        (name, stream.read(&mut [0]).await)
    })
}

/// Says these bytes to one client after its first words, and holds the line until it hangs up.
async fn says(bytes: Vec<u8>) -> Target {
    let (listener, target) = listen().await;
    tokio::spawn(async move {
        let (mut client, _): (TcpStream, _) = listener.accept().await.unwrap();
        assert!(client.read(&mut [0; 4_096]).await.unwrap() > 0, "it says something");
        // A client that has heard enough hangs up while more is said.
        drop(client.write_all(&bytes).await);
        while client.read(&mut [0; 4_096]).await.is_ok_and(|count| count > 0) {}
    });
    target
}

async fn look(target: &Target) -> Result<Vec<u8>, CertificateError> {
    soon(certificate(target, Deadlines::default())).await
}

#[tokio::test]
async fn a_certificate_is_seen_whenever_it_ends_and_whoever_signed_it() {
    for (from, until) in [(b"000101000000Z", b"010101000000Z"), (b"000101000000Z", b"490101000000Z")] {
        let (leaf, key) = shows(from, until);
        let (listener, target) = listen().await;
        let config = ServerConfig::builder().with_no_client_auth();
        let served = serve(listener, config.with_cert_resolver(Arc::new(SingleCertAndKey::from(key))));
        assert_eq!(look(&target).await.unwrap(), leaf);
        let (name, end) = soon(served).await.unwrap();
        assert_eq!((name, end.unwrap()), (None, 0), "an address is no name, and the farewell is said");
    }
}

#[tokio::test]
async fn a_name_is_sent_along() {
    let (leaf, key) = shows(b"000101000000Z", b"490101000000Z");
    let (listener, target) = listen().await;
    let Target::Address(address) = target else { panic!("an address") };
    let config = ServerConfig::builder().with_no_client_auth();
    let served = serve(listener, config.with_cert_resolver(Arc::new(SingleCertAndKey::from(key))));
    match look(&Target::Name("localhost".to_owned(), address.port())).await {
        Ok(shown) => {
            assert_eq!(shown, leaf);
            assert_eq!(soon(served).await.unwrap().0.as_deref(), Some("localhost"));
        }
        // A machine whose hosts file gives localhost an IPv4 address only.
        Err(error) => assert_eq!(error, DialError::OnlyIpv4.into()),
    }
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_of_ours_shows_its_own() {
    let (leaf, key) = shows(b"000101000000Z", b"490101000000Z");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(leaf.clone())).unwrap();
    let wants = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let config = ServerConfig::builder().with_client_cert_verifier(wants);
    let config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    let (listener, target) = listen().await;
    let refused = tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        TlsAcceptor::from(Arc::new(config)).accept(client).await.is_err()
    });
    assert_eq!(look(&target).await.unwrap(), leaf);
    assert!(soon(refused).await.unwrap(), "it wanted one");
}

#[tokio::test]
async fn older_versions_of_tls_are_told_as_such() {
    // An alert: fatal, protocol_version (RFC 8446 §6.2).
    let alert = vec![21, 3, 3, 0, 2, 2, 70];
    // A ServerHello of TLS 1.2 (RFC 5246 §7.4.1.3): random, no session, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256.
    let hello = [&[22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3][..], &[7; 32], &[0, 0xc0, 0x2f, 0]].concat();
    for bytes in [alert, hello] {
        assert_eq!(look(&says(bytes).await).await, Err(CertificateError::NoTls13));
    }
}

#[tokio::test]
async fn who_shows_none_is_told_apart_from_who_does_not_answer() {
    let http = look(&says(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await).await;
    assert!(matches!(&http, Err(CertificateError::NotShown(_))), "{http:?}");

    let (listener, target) = listen().await;
    drop(listener);
    assert_eq!(look(&target).await, Err(DialError::Refused.into()));
    let short = Deadlines { handshake: Duration::from_millis(50), ..Deadlines::default() };
    let (silent, target) = listen().await;
    assert_eq!(soon(certificate(&target, short)).await, Err(DialError::Stalled.into()));
    drop(silent);
    let none = Target::Name("no-such-name.invalid".to_owned(), 443);
    assert!(matches!(look(&none).await, Err(CertificateError::Unreachable(DialError::Resolve(_)))));
}

/// A server that goes on for ever is not read for ever: a message of just less than what TLS allows, in records of one byte.
#[tokio::test]
async fn a_handshake_has_a_bound() {
    let head = [22, 3, 3, 0, 4, 2, 0, 0xff, 0xff];
    let drip = [22, 3, 3, 0, 1, 0].iter().copied().cycle().take(4 * CHAIN_BYTES_MAX);
    let target = says(head.into_iter().chain(drip).collect()).await;
    let bound = CertificateError::NotShown(format!("more than {CHAIN_BYTES_MAX} bytes"));
    assert_eq!(look(&target).await, Err(bound));
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TLS clients straight on rustls, free to offer what adit never offers.

use crate::common::server;
use adit_link::Identity;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group, sign::any_eddsa_type};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// What a client offers; starts from what adit offers.
#[derive(Clone)]
pub(crate) struct Offer {
    pub(crate) provider: CryptoProvider,
    pub(crate) alpn: Vec<Vec<u8>>,
    pub(crate) key: Key,
    pub(crate) resumption: Option<Resumption>,
}

/// How the client shows its key.
#[derive(Clone)]
pub(crate) enum Key {
    None,
    Raw(Identity),
    X509(Identity),
    /// One key shown, another one's signature.
    Borrowed {
        shown: Identity,
        signing: Identity,
    },
}

impl Offer {
    pub(crate) fn like_adit(identity: &Identity) -> Self {
        Self {
            provider: CryptoProvider { kx_groups: vec![kx_group::X25519MLKEM768], ..default_provider() },
            alpn: vec![b"adit/1".to_vec()],
            key: Key::Raw(identity.clone()),
            resumption: None,
        }
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(self.provider.clone()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone { raw: !matches!(self.key, Key::X509(_)) }));
        let mut config = match &self.key {
            Key::None => builder.with_client_cert_resolver(Arc::new(NoKey)),
            Key::Raw(identity) => builder.with_client_cert_resolver(raw_key(identity, identity)),
            Key::Borrowed { shown, signing } => builder.with_client_cert_resolver(raw_key(shown, signing)),
            Key::X509(identity) => builder.with_client_cert_resolver(Arc::new(X509(Arc::new(CertifiedKey::new(
                vec![CertificateDer::from(x509(identity, b"000101000000Z", b"490101000000Z"))],
                signing_key(identity),
            ))))),
        };
        config.alpn_protocols.clone_from(&self.alpn);
        config.enable_sni = false;
        if let Some(resumption) = &self.resumption {
            config.resumption = resumption.clone();
        }
        Arc::new(config)
    }

    /// The handshake, and whatever the server says to it: in TLS 1.3 a refusal of the client's key comes afterwards.
    pub(crate) async fn connect(&self, to: std::net::SocketAddrV6) -> std::io::Result<TlsStream<TcpStream>> {
        connect(self.config(), to).await
    }

    /// Whether the server lets this client in: its Greeting arrives.
    pub(crate) async fn gets_in(&self, to: std::net::SocketAddrV6) -> Result<(), String> {
        let mut stream = self.connect(to).await.map_err(|error| error.to_string())?;
        let mut byte = [0];
        match stream.read(&mut byte).await {
            Ok(0) => Err("closed".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

pub(crate) async fn connect(
    config: Arc<ClientConfig>,
    to: std::net::SocketAddrV6,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(to).await?;
    TlsConnector::from(config).connect(ServerName::try_from("box.invalid").unwrap(), socket).await
}

/// The first bytes that a client sends: a whole ClientHello.
pub(crate) fn client_hello(offer: &Offer) -> Vec<u8> {
    let mut connection = ClientConnection::new(offer.config(), ServerName::try_from("box.invalid").unwrap()).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    hello
}

/// A client that is let in and then writes what it likes.
pub(crate) async fn vandal(identity: &Identity, to: std::net::SocketAddrV6, bytes: &[u8]) -> TlsStream<TcpStream> {
    let mut stream = Offer::like_adit(identity).connect(to).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

fn raw_key(shown: &Identity, signing: &Identity) -> Arc<AlwaysResolvesClientRawPublicKeys> {
    let key = CertifiedKey::new(vec![CertificateDer::from(spki(shown))], signing_key(signing));
    Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::new(key)))
}

pub(crate) fn signing_key(identity: &Identity) -> Arc<dyn rustls::sign::SigningKey> {
    let pkcs8 = [&unhex("302e020100300506032b657004220420")[..], identity.seed()].concat();
    any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8)).unwrap()
}

fn spki(identity: &Identity) -> Vec<u8> {
    [&unhex("302a300506032b6570032100")[..], identity.public_key().as_bytes()].concat()
}

/// A self-signed certificate, by hand: CN=x, valid between two UTCTimes.
pub(crate) fn x509(identity: &Identity, from: &[u8], until: &[u8]) -> Vec<u8> {
    let name = unhex("300c310a300806035504030c0178");
    let body = der(
        0x30,
        &[
            &unhex("a003020102020101300506032b6570")[..],
            &name,
            &der(0x30, &[&der(0x17, &[from]), &der(0x17, &[until])]),
            &name,
            &spki(identity),
        ],
    );
    let signature = identity.sign(b"", &body);
    der(0x30, &[&body[..], &unhex("300506032b6570"), &der(0x03, &[&[0][..], signature.as_bytes()])])
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = match u8::try_from(body.len()).unwrap() {
        short @ 0..128 => vec![short],
        long => vec![0x81, long],
    };
    [&[tag][..], &length, &body].concat()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[derive(Debug)]
struct NoKey;

impl ResolvesClientCert for NoKey {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct X509(Arc<CertifiedKey>);

impl ResolvesClientCert for X509 {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Believes every server: what is tested is the server's refusal.
#[derive(Debug)]
struct Anyone {
    raw: bool,
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        assert!(!self.raw || shown.as_ref() == spki(&server()), "the server shows its raw key");
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256]
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.raw
    }
}

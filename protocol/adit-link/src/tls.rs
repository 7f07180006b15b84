// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every call into rustls. TLS 1.3 only, raw public keys on both sides (RFC 7250), Ed25519, one hybrid key exchange, two
//! suites; no tickets, no resumption, no early data: each connection shows both keys anew.
//!
//! Of peers it compares keys and nothing else: there are no certificates, names or dates. What a key may do is decided elsewhere.

pub(crate) mod look;

use crate::door::{Door, Gate};
use crate::identity::Identity;
use crate::meter::{Metered, TooManyBytes};
use adit_wire::ids::{ChannelBinding, PublicKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group, sign::any_eddsa_type};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, IpAddr, Ipv6Addr, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, ClientHello, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    ServerConfig, SignatureScheme,
};
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Duration, timeout};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, TlsStream};
use zeroize::Zeroizing;

/// RFC 8410: AlgorithmIdentifier of Ed25519 and the head of the BIT STRING; the key follows.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// RFC 8410: PKCS#8 version 1 of an Ed25519 key; the seed follows.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// RFC 9266.
const BINDING_LABEL: &[u8] = b"EXPORTER-Channel-Binding";
/// Plaintext that rustls may hold encrypted and unsent on one link, bytes.
const TLS_BUFFER_BYTES: usize = 256 << 10;
/// After a refusal the socket is read for this long, so that the alert is not lost to a reset.
const ALERT_WITHIN: Duration = Duration::from_secs(1);

/// A machine's key as rustls wants it, and the algorithms.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
}

impl Credentials {
    pub(crate) fn new(identity: &Identity) -> Self {
        Self::with_provider(identity, provider())
    }

    fn with_provider(identity: &Identity, provider: CryptoProvider) -> Self {
        let pkcs8 = Zeroizing::new([&PKCS8_PREFIX[..], identity.seed()].concat());
        let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8.as_slice())).expect("PKCS#8 of an Ed25519 seed");
        let spki = CertificateDer::from(spki(&identity.public_key()).to_vec());
        Self { provider: Arc::new(provider), key: Arc::new(CertifiedKey::new(vec![spki], key)) }
    }

    fn client(&self, door: Door, expected: PublicKey) -> ClientConfig {
        let pin =
            Arc::new(Pin { expected: spki(&expected), algorithms: self.provider.signature_verification_algorithms });
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has TLS 1.3 suites")
            .dangerous()
            .with_custom_certificate_verifier(pin)
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&self.key))));
        config.alpn_protocols = vec![door.alpn().to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        config
    }

    fn server(&self, alpn: &[u8], keys: Keys) -> Arc<ServerConfig> {
        let verifier = Arc::new(Visitor { keys, algorithms: self.provider.signature_verification_algorithms });
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has TLS 1.3 suites")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&self.key))));
        config.alpn_protocols = vec![alpn.to_vec()];
        // With tickets a second connection would resume without asking the verifier, past a removed pin.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Arc::new(config)
    }
}

/// Makes the same cryptography the default of this process: for libraries that speak TLS to others, such as mail servers. The
/// link itself never uses a default.
pub fn provide_cryptography() {
    // Somebody else's default is as good; there is only one provider in this program.
    drop(default_provider().install_default());
}

/// TLS 1.3 alone, the hybrid exchange alone: all peers are ours, so there is nothing to downgrade to.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_256_GCM_SHA384, cipher_suite::TLS13_CHACHA20_POLY1305_SHA256],
        kx_groups: vec![kx_group::X25519MLKEM768],
        ..default_provider()
    }
}

fn spki(key: &PublicKey) -> [u8; 44] {
    let mut spki = [0; 44];
    let (head, tail) = spki.split_at_mut(SPKI_PREFIX.len());
    head.copy_from_slice(&SPKI_PREFIX);
    tail.copy_from_slice(key.as_bytes());
    spki
}

/// The Ed25519 key of an SPKI, if it is exactly one.
fn key_of(spki: &[u8]) -> Option<PublicKey> {
    PublicKey::from_slice(spki.strip_prefix(&SPKI_PREFIX)?)
}

/// A raw key of another kind, or none at all.
fn malformed() -> rustls::Error {
    CertificateError::BadEncoding.into()
}

/// What a verifier tells beyond "no"; the other side sees the alert `certificate_unknown`.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the key {0} is not expected here")]
struct UnexpectedKey(PublicKey);

impl UnexpectedKey {
    fn error(self) -> rustls::Error {
        CertificateError::Other(OtherError(Arc::new(self))).into()
    }
}

fn verify_signature(
    message: &[u8],
    spki: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    if signed.scheme != SignatureScheme::ED25519 {
        return Err(malformed());
    }
    verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(spki.as_ref()), signed, algorithms)
}

/// The dialler's verifier: one key and no other.
#[derive(Debug)]
struct Pin {
    expected: [u8; 44],
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if intermediates.is_empty()
            && aws_lc_rs::constant_time::verify_slices_are_equal(end_entity.as_ref(), &self.expected).is_ok()
        {
            return Ok(ServerCertVerified::assertion());
        }
        Err(key_of(end_entity.as_ref()).map_or_else(malformed, |key| UnexpectedKey(key).error()))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(malformed())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(message, key, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Which keys may finish a handshake.
enum Keys {
    Pinned(Arc<dyn Gate>),
    Any,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pinned(_) => "Pinned",
            Self::Any => "Any",
        })
    }
}

/// The listener's verifier.
#[derive(Debug)]
struct Visitor {
    keys: Keys,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Visitor {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let key = key_of(end_entity.as_ref()).filter(|_| intermediates.is_empty()).ok_or_else(malformed)?;
        match &self.keys {
            Keys::Any => Ok(ClientCertVerified::assertion()),
            Keys::Pinned(gate) if gate.pinned(&key) => Ok(ClientCertVerified::assertion()),
            Keys::Pinned(_) => Err(UnexpectedKey(key).error()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(malformed())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(message, key, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// A finished handshake.
#[derive(Debug)]
pub(crate) struct Secured<IO> {
    pub(crate) stream: TlsStream<Metered<IO>>,
    pub(crate) peer: PublicKey,
    pub(crate) binding: ChannelBinding,
}

impl<IO> Secured<IO> {
    fn new(mut stream: TlsStream<Metered<IO>>) -> Result<Self, TlsError> {
        let missing = || TlsError::NotAdit("no raw key after the handshake".to_owned());
        match &mut stream {
            TlsStream::Client(side) => side.get_mut().1.set_buffer_limit(Some(TLS_BUFFER_BYTES)),
            TlsStream::Server(side) => side.get_mut().1.set_buffer_limit(Some(TLS_BUFFER_BYTES)),
        }
        let (io, session) = stream.get_mut();
        io.established();
        let peer = session.peer_certificates().and_then(|keys| key_of(keys.first()?.as_ref())).ok_or_else(missing)?;
        let export = match &stream {
            TlsStream::Client(side) => side.get_ref().1.export_keying_material([0; 32], BINDING_LABEL, None),
            TlsStream::Server(side) => side.get_ref().1.export_keying_material([0; 32], BINDING_LABEL, None),
        };
        let binding = ChannelBinding(export.map_err(|error| TlsError::NotAdit(error.to_string()))?);
        Ok(Self { stream, peer, binding })
    }
}

/// Why a handshake did not finish.
#[derive(Debug)]
pub(crate) enum TlsError {
    /// The other side showed another key than the pinned one, or one that is no peer's.
    UnexpectedKey(PublicKey),
    /// The other side does not know our key.
    NotPaired,
    /// The door is not open there, or (seen from inside) not here.
    NoSuchDoor,
    /// The other side closed without a word.
    Closed,
    /// More bytes than a handshake needs.
    TooManyBytes,
    /// Not TLS, or not ours.
    NotAdit(String),
    /// The socket failed.
    Broken(io::Error),
}

impl TlsError {
    fn of(error: io::Error) -> Self {
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self::of_tls(tls);
        }
        if error.get_ref().is_some_and(|inner| inner.is::<TooManyBytes>()) {
            return Self::TooManyBytes;
        }
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        let closed = matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe);
        if closed { Self::Closed } else { Self::Broken(error) }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        if let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other))) = error
            && let Some(UnexpectedKey(key)) = other.downcast_ref::<UnexpectedKey>()
        {
            return Self::UnexpectedKey(*key);
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "what is not a refusal of ours is shown as it is")]
        match error {
            rustls::Error::AlertReceived(AlertDescription::CertificateUnknown | AlertDescription::AccessDenied) => {
                Self::NotPaired
            }
            rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)
            | rustls::Error::NoApplicationProtocol => Self::NoSuchDoor,
            other => Self::NotAdit(other.to_string()),
        }
    }
}

/// Whether an error of an established stream says that the listener did not accept our key. In TLS 1.3 the dialler's
/// handshake is over before the listener looks at the dialler's key, so the refusal arrives as the first thing read.
pub(crate) fn says_not_paired(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    tls.is_some_and(|tls| matches!(TlsError::of_tls(tls), TlsError::NotPaired))
}

/// Whether an error of an established stream came from TLS: bytes that are not the peer's.
pub(crate) fn is_garbage(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

/// The dialler's handshake.
pub(crate) async fn connect<IO: AsyncRead + AsyncWrite + Unpin>(
    credentials: &Credentials,
    door: Door,
    expected: PublicKey,
    io: Metered<IO>,
) -> Result<Secured<IO>, TlsError> {
    // An address is no name: nothing about the peer goes out in the clear. rustls wants one although no one reads it.
    let nobody = ServerName::IpAddress(IpAddr::V6(Ipv6Addr::from([0u16; 8])));
    let connector = TlsConnector::from(Arc::new(credentials.client(door, expected)));
    let stream = connector.connect(nobody, io).await.map_err(TlsError::of)?;
    if stream.get_ref().1.alpn_protocol() != Some(door.alpn()) {
        return Err(TlsError::NotAdit("it chose no protocol".to_owned()));
    }
    Secured::new(TlsStream::Client(stream))
}

/// The listener's configurations, one for each door.
pub(crate) struct Doors {
    main: Arc<ServerConfig>,
    pair: Arc<ServerConfig>,
    recover: Arc<ServerConfig>,
    /// Offers a name that nobody asks for, so that rustls answers with `no_application_protocol`.
    shut: Arc<ServerConfig>,
    gate: Arc<dyn Gate>,
}

impl Doors {
    pub(crate) fn new(credentials: &Credentials, gate: Arc<dyn Gate>) -> Self {
        Self {
            main: credentials.server(Door::Main.alpn(), Keys::Pinned(Arc::clone(&gate))),
            pair: credentials.server(Door::Pair.alpn(), Keys::Any),
            recover: credentials.server(Door::Recover.alpn(), Keys::Any),
            shut: credentials.server(b"adit-shut/1", Keys::Pinned(Arc::clone(&gate))),
            gate,
        }
    }

    /// The door that a ClientHello asks for, if it names exactly one.
    fn asked(hello: &ClientHello<'_>) -> Option<Door> {
        let mut names = hello.alpn()?;
        let door = Door::from_alpn(names.next()?);
        door.filter(|_| names.next().is_none())
    }

    fn config(&self, door: Option<Door>) -> (&Arc<ServerConfig>, bool) {
        match door {
            Some(Door::Main) => (&self.main, true),
            Some(Door::Pair) if self.gate.pairing_open() => (&self.pair, true),
            Some(Door::Recover) if self.gate.recovery_open() => (&self.recover, true),
            _ => (&self.shut, false),
        }
    }

    /// The listener's handshake. `admit` is asked when the door is known, before any key is computed or looked at.
    pub(crate) async fn accept<IO, F>(
        &self,
        io: Metered<IO>,
        admit: impl FnOnce(Door) -> F,
    ) -> Result<(Secured<IO>, Door), (TlsError, Option<Door>)>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        F: Future<Output = ()>,
    {
        let acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), io);
        let start = acceptor.await.map_err(|error| (TlsError::of(error), None))?;
        if start.client_hello().alpn().is_none() {
            return Err((TlsError::NoSuchDoor, None));
        }
        let door = Self::asked(&start.client_hello());
        let (config, open) = self.config(door);
        if let Some(door) = door.filter(|_| open) {
            admit(door).await;
        }
        match start.into_stream(Arc::clone(config)).into_fallible().await {
            Ok(stream) => {
                let door = door.ok_or((TlsError::NoSuchDoor, None))?;
                let secured = Secured::new(TlsStream::Server(stream)).map_err(|error| (error, Some(door)))?;
                Ok((secured, door))
            }
            Err((error, io)) => {
                let error = TlsError::of(error);
                let_the_alert_arrive(io).await;
                Err((error, door))
            }
        }
    }
}

/// Closing a socket with unread bytes resets the connection, and a reset may overtake the alert.
async fn let_the_alert_arrive<IO: AsyncRead + AsyncWrite + Unpin>(mut io: Metered<IO>) {
    let mut rest = [0; 1024];
    let drained = async {
        if io.shutdown().await.is_ok() {
            while io.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
        }
    };
    // Whether it came to its end or not: the socket closes now.
    drop(timeout(ALERT_WITHIN, drained).await);
}

#[cfg(test)]
mod tests;

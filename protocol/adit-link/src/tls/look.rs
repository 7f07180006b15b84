// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A handshake with a machine that is no peer, to see the certificate it shows and nothing else. It stands apart from the
//! link's own TLS because it offers whatever TLS 1.3 has and believes everyone; so nothing may ever be sent on it.
//!
//! TLS 1.2 is not spoken here either: its code is not in the program.

use super::default_provider;
use crate::meter::{Metered, TooManyBytes};
use crate::target::Target;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, IpAddr, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, PeerIncompatible, SignatureScheme};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

/// Why no certificate was seen.
#[derive(Debug)]
pub(crate) enum LookError {
    /// It speaks older versions of TLS only.
    NoTls13,
    /// It does not speak TLS, or breaks it off.
    Tls(String),
    /// More bytes than a handshake needs.
    TooManyBytes,
    /// The socket failed.
    Broken(io::Error),
}

impl LookError {
    fn of(error: io::Error) -> Self {
        if error.get_ref().is_some_and(|inner| inner.is::<TooManyBytes>()) {
            return Self::TooManyBytes;
        }
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            None => Self::Broken(error),
            Some(
                rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
                | rustls::Error::PeerIncompatible(
                    PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                    | PeerIncompatible::ServerDoesNotSupportTls12Or13,
                ),
            ) => Self::NoTls13,
            Some(other) => Self::Tls(other.to_string()),
        }
    }
}

/// The certificate, DER, that the other side shows to one who asks for this name (SNI; for an address, without one).
pub(crate) async fn shown<IO: AsyncRead + AsyncWrite + Unpin>(
    endpoint: &Target,
    io: Metered<IO>,
) -> Result<Vec<u8>, LookError> {
    let name = match endpoint {
        Target::Address(address) => ServerName::IpAddress(IpAddr::from(*address.ip())),
        Target::Name(name, _) => {
            let name = ServerName::try_from(name.clone());
            name.map_err(|_| LookError::Tls("TLS cannot ask for such a name".to_owned()))?
        }
    };
    let provider = default_provider();
    let onlooker = Onlooker(provider.signature_verification_algorithms.supported_schemes());
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3 suites")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(onlooker))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    // A handshake that ends well leaves no line in the other side's log, as one broken off does.
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, io).await.map_err(LookError::of)?;
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let shown = shown.map(|leaf| leaf.to_vec()).ok_or_else(|| LookError::Tls("no certificate".to_owned()));
    // Whether it hears the farewell or not: all is seen.
    drop(stream.shutdown().await);
    shown
}

/// Believes every certificate: what is looked for are its dates, an expired or self-signed one is what it is about.
#[derive(Debug)]
struct Onlooker(Vec<SignatureScheme>);

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(super::malformed())
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
        self.0.clone()
    }
}

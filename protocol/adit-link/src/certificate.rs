// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Looks which certificate an endpoint of the admin's shows, such as a web or mail server: health watches its end. It stands
//! beside the link because sockets and TLS do. It judges nothing, sends nothing and never speaks with a peer.

use crate::dial::{Candidate, DialError, addresses, connect};
use crate::limits::{CHAIN_BYTES_MAX, Deadlines};
use crate::meter::{Meter, Metered};
use crate::target::Target;
use crate::tls::look::{self, LookError};
use std::io::ErrorKind;
use std::sync::Arc;
use tokio::time::timeout;

/// Why an endpoint's certificate was not seen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Nobody answers, or stops to answer on the way.
    #[error(transparent)]
    Unreachable(#[from] DialError),
    /// It offers nothing newer than TLS 1.2, which this program does not speak.
    #[error("it speaks no TLS 1.3")]
    NoTls13,
    /// It speaks, but shows no certificate.
    #[error("it shows no certificate: {0}")]
    NotShown(String),
}

/// The certificate, DER, that an endpoint shows: the leaf, whoever signed it and whenever it ends. A name is sent along (SNI)
/// and its IPv6 addresses are tried in the resolver's order until one answers.
///
/// It takes at most `resolve` and, for each of [`crate::limits::ADDRESSES_MAX`] addresses, `connect` and `handshake`.
///
/// # Errors
/// When no address shows one: the failure of the last.
pub async fn certificate(endpoint: &Target, deadlines: Deadlines) -> Result<Vec<u8>, CertificateError> {
    let mut failed = CertificateError::Unreachable(DialError::NoTarget);
    for address in addresses(endpoint, deadlines.resolve).await?.into_iter().take(crate::limits::ADDRESSES_MAX) {
        let candidate = Candidate { target: endpoint.to_string(), address };
        match look(candidate, endpoint, deadlines).await {
            Ok(certificate) => return Ok(certificate),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn look(candidate: Candidate, endpoint: &Target, deadlines: Deadlines) -> Result<Vec<u8>, CertificateError> {
    let (_, stream) = connect(candidate, deadlines.connect).await;
    let io = Metered::new(stream?, Arc::new(Meter::new()), CHAIN_BYTES_MAX);
    match timeout(deadlines.handshake, look::shown(endpoint, io)).await {
        Ok(shown) => shown.map_err(explain),
        Err(_) => Err(DialError::Stalled.into()),
    }
}

fn explain(error: LookError) -> CertificateError {
    use ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match error {
        LookError::NoTls13 => CertificateError::NoTls13,
        LookError::Tls(words) => CertificateError::NotShown(words),
        LookError::TooManyBytes => CertificateError::NotShown(format!("more than {CHAIN_BYTES_MAX} bytes")),
        LookError::Broken(error) if matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe) => {
            DialError::Closed.into()
        }
        LookError::Broken(error) => DialError::Local(error.to_string()).into(),
    }
}

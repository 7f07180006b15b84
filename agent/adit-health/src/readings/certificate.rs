// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A certificate that the admin wants watched.

/// A file with certificates, or an endpoint that shows one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateReading {
    /// The file's path, or the endpoint.
    pub place: String,
    /// From when to when the one that ends first is valid.
    pub validity: Result<Validity, Unseen>,
}

/// Why there is none to judge, with words for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// What is there is no certificate, or nothing is there.
    Unreadable(String),
    /// The endpoint does not answer.
    Silent(String),
    /// The endpoint speaks a language that the agent does not.
    Unspoken(String),
}

/// Seconds since 1970, both inclusive (RFC 5280 §4.1.2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validity {
    /// notBefore.
    pub from_s: i64,
    /// notAfter.
    pub until_s: i64,
}

impl Validity {
    /// The validity of a certificate, DER; `None` when it is none.
    #[must_use]
    pub fn of_der(der: &[u8]) -> Option<Self> {
        crate::readers::certificates::of_certificate(der)
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How long configured certificates last: PEM or DER files (RFC 7468, RFC 5280). Only the validity is read, so a walk over
//! seven elements does: no name, key or extension is looked at, and nothing is trusted because of it.
//!
//! Can block: when a file lies on a file system that hangs.

use crate::readings::certificate::{CertificateReading, Unseen, Validity};
use crate::text;
use data_encoding::{BASE64, DecodeError};
use std::path::{Path, PathBuf};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// Certificates of one file that are looked at: a chain has a handful.
const CHAIN_MAX: usize = 16;

/// Each of these files.
pub(crate) fn certificates(root: &Path, paths: &[PathBuf]) -> Vec<CertificateReading> {
    paths
        .iter()
        .map(|path| CertificateReading {
            place: path.to_string_lossy().into_owned(),
            validity: match text::bytes(&root.join(path.strip_prefix("/").unwrap_or(path))) {
                Some(bytes) => validity(&bytes).ok_or_else(|| Unseen::Unreadable("no certificate in it".to_owned())),
                None => Err(Unseen::Unreadable("no such file, or not allowed to read it".to_owned())),
            },
        })
        .collect()
}

/// The validity of the certificate in a file that ends first: a chain is as good as its weakest link.
fn validity(bytes: &[u8]) -> Option<Validity> {
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.contains(BEGIN)) else {
        return of_certificate(bytes);
    };
    let bodies = text.split(BEGIN).skip(1).filter_map(|rest| rest.split_once(END)).take(CHAIN_MAX);
    let all: Option<Vec<Validity>> = bodies.map(|(body, _)| of_certificate(&pem(body).ok()?)).collect();
    all?.into_iter().min_by_key(|validity| validity.until_s)
}

fn pem(body: &str) -> Result<Vec<u8>, DecodeError> {
    let packed: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    BASE64.decode(packed.as_bytes())
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0] EXPLICIT`: the version, which certificates of version 1 leave out.
const VERSION: u8 = 0xa0;

/// Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version, serialNumber, signature, issuer, validity … (RFC 5280 §4.1).
pub(crate) fn of_certificate(der: &[u8]) -> Option<Validity> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if let Some((_, after)) = element(rest, VERSION) {
        rest = after;
    }
    for kind in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, rest) = element(rest, kind)?;
    }
    let (validity, _) = element(rest, SEQUENCE)?;
    let (from_s, rest) = time(validity)?;
    Some(Validity { from_s, until_s: time(rest)?.0 })
}

/// The content of an element of this kind at the beginning of `der`, and what follows it. Lengths as DER writes them
/// (X.690 §8.1.3), up to four bytes.
fn element(der: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    (*tag == kind).then(|| rest.split_at_checked(length)).flatten()
}

/// UTCTime "YYMMDDHHMMSSZ" (years 1950 to 2049) or GeneralizedTime "YYYYMMDDHHMMSSZ" (RFC 5280 §4.1.2.5), seconds since 1970.
fn time(der: &[u8]) -> Option<(i64, &[u8])> {
    let (text, rest, short) = match (element(der, UTC_TIME), element(der, GENERALIZED_TIME)) {
        (Some((text, rest)), _) => (text, rest, true),
        (None, Some((text, rest))) => (text, rest, false),
        (None, None) => return None,
    };
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, digits) = digits.split_at_checked(if short { 2 } else { 4 })?;
    if digits.len() != 10 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let year: i64 = year.parse().ok()?;
    let year = if short { year + if year < 50 { 2000 } else { 1900 } } else { year };
    let part = |at: usize| digits.get(at..at + 2)?.parse::<i64>().ok();
    let days = crate::date::days(year, part(0)?, part(2)?);
    Some((days * 86_400 + part(4)? * 3_600 + part(6)? * 60 + part(8)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn der(kind: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![kind, 0x82];
        out.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        out.extend(content);
        out
    }

    /// A certificate with nothing but what is read; its times as they stand.
    fn certificate(from: (u8, &str), until: (u8, &str)) -> Vec<u8> {
        let validity = [der(from.0, from.1.as_bytes()), der(until.0, until.1.as_bytes())].concat();
        let tbs = [
            der(VERSION, &der(INTEGER, &[2])),
            der(INTEGER, &[7; 16]),
            der(SEQUENCE, &[]),
            der(SEQUENCE, b"issuer"),
            der(SEQUENCE, &validity),
        ];
        der(SEQUENCE, &der(SEQUENCE, &tbs.concat()))
    }

    fn block(certificate: &[u8]) -> String {
        format!("{BEGIN}\n{}\n{END}\n", BASE64.encode(certificate))
    }

    #[test]
    fn der_and_pem_are_read_and_the_chain_ends_with_its_first() {
        // 2026-01-01 and 2026-04-01; 2026-01-01 and 2051-01-01.
        let leaf = certificate((UTC_TIME, "260101000000Z"), (UTC_TIME, "260401120030Z"));
        let root = certificate((UTC_TIME, "260101000000Z"), (GENERALIZED_TIME, "20510101000000Z"));
        let expected = Validity { from_s: 1_767_225_600, until_s: 1_775_044_830 };
        assert_eq!(validity(&leaf), Some(expected));
        assert_eq!(validity(&root).unwrap().until_s, 2_556_144_000);
        let chain = format!("subject=x\n{}{}", block(&root), block(&leaf));
        assert_eq!(validity(chain.as_bytes()), Some(expected));
        assert_eq!(validity(format!("{}{BEGIN}\nAAAA\n{END}\n", block(&leaf)).as_bytes()), None, "one is damaged");
        assert_eq!(validity(b"-----BEGIN PRIVATE KEY-----\n"), None);
    }

    #[test]
    fn a_file_that_is_missing_says_so() {
        let tree = text::tree(&[("etc/ssl/a.pem", "nothing")]);
        let read = certificates(tree.path(), &["/etc/ssl/a.pem".into(), "/etc/ssl/b.pem".into()]);
        assert_eq!(read[0].validity, Err(Unseen::Unreadable("no certificate in it".into())));
        assert!(matches!(&read[1].validity, Err(Unseen::Unreadable(why)) if why.starts_with("no such file")));
    }

    proptest! {
        #[test]
        fn damaged_certificates_are_no_panic(at in 0usize..200, to in any::<u8>(), cut in 0usize..200) {
            let mut bytes = certificate((UTC_TIME, "260101000000Z"), (GENERALIZED_TIME, "20510101000000Z"));
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = validity(&bytes);
            bytes.truncate(cut);
            let _ = validity(&bytes);
        }

        #[test]
        fn noise_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = validity(&bytes);
        }
    }
}

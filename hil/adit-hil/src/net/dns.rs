// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Answers to DNS questions about the harness's own names: AAAA records, nothing else, no recursion. Bytes in, bytes out.

use super::frame::u16_at;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;

/// The port of DNS.
pub(crate) const PORT: u16 = 53;
/// How long an answer may be kept, in seconds: short, because scenarios move things.
pub(crate) const TTL_SECONDS: u32 = 5;
/// Names in a zone.
pub const NAMES_MAX: usize = 256;
/// Bytes of a name as written with dots (RFC 1035, section 2.3.4).
pub const NAME_BYTES_MAX: usize = 253;

const HEADER_BYTES: usize = 12;
const LABEL_BYTES_MAX: usize = 63;
const AAAA: u16 = 28;
const ANY: u16 = 255;
const INTERNET: u16 = 1;

/// Names and their addresses. Upper and lower case are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zone {
    names: BTreeMap<String, Ipv6Addr>,
}

impl Zone {
    /// Adds or moves a name; false if the name cannot be one, or the zone is full.
    #[must_use]
    pub(crate) fn set(&mut self, name: &str, address: Ipv6Addr) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let fits = labels(&name).is_some() && (self.names.len() < NAMES_MAX || self.names.contains_key(&name));
        if fits {
            self.names.insert(name, address);
        }
        fits
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.names.remove(&name.trim_end_matches('.').to_ascii_lowercase());
    }

    /// The answer to a question; `None` for bytes that deserve none.
    pub(crate) fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let flags = u16_at(question, 2)?;
        if flags & 0xf800 != 0 || u16_at(question, 4)? != 1 {
            return None; // a response, another opcode, or not one question
        }
        let (name, end) = read_name(question)?;
        let (kind, class) = (u16_at(question, end)?, u16_at(question, end + 2)?);
        let found = self.names.get(&name).filter(|_| class == INTERNET);
        let record = found.filter(|_| kind == AAAA || kind == ANY);
        let mut answer = question.get(..2)?.to_vec();
        // Response, authoritative, recursion as asked for; NXDOMAIN where the name is unknown.
        let code = if found.is_some() { 0 } else { 3 };
        answer.extend((0x8400 | flags & 0x0100 | code).to_be_bytes());
        answer.extend([0, 1, 0, u8::from(record.is_some()), 0, 0, 0, 0]);
        answer.extend(question.get(HEADER_BYTES..end + 4)?);
        if let Some(address) = record {
            answer.extend([0xc0, 12]);
            answer.extend(AAAA.to_be_bytes());
            answer.extend(INTERNET.to_be_bytes());
            answer.extend(TTL_SECONDS.to_be_bytes());
            answer.extend([0, 16]);
            answer.extend(address.octets());
        }
        Some(answer)
    }
}

/// A name as lengths and labels, with its closing zero; `None` for what is no name.
pub(crate) fn labels(name: &str) -> Option<Vec<u8>> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return None;
    }
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    Some(bytes)
}

/// The first question's name, in lower case, and where it ends. Compression has no place in a first name.
fn read_name(message: &[u8]) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut at = HEADER_BYTES;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        let label = message.get(at..at + length).filter(|_| length <= LABEL_BYTES_MAX)?;
        at += length;
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&std::str::from_utf8(label).ok()?.to_ascii_lowercase());
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xad17, 0, 0, 0, 0, 0, 5);

    fn zone() -> Zone {
        let mut zone = Zone::default();
        assert!(zone.set("box.home.test.", BOX));
        zone
    }

    fn question(name: &str, kind: u16) -> Vec<u8> {
        let mut bytes = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend(labels(name).expect("name"));
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1]);
        bytes
    }

    #[test]
    fn a_name_is_answered_in_any_case() {
        let answer = zone().answer(&question("BOX.home.test", AAAA)).expect("answer");
        assert_eq!(&answer[..8], [0xab, 0xcd, 0x85, 0, 0, 1, 0, 1]);
        assert_eq!(answer[answer.len() - 16..], BOX.octets());
    }

    #[test]
    fn other_types_are_empty_and_other_names_unknown() {
        let empty = zone().answer(&question("box.home.test", 1)).expect("answer");
        assert_eq!((empty[3], empty[7]), (0, 0));
        let unknown = zone().answer(&question("nobody.home.test", AAAA)).expect("answer");
        assert_eq!((unknown[3], unknown[7]), (3, 0));
    }

    #[test]
    fn no_cut_and_no_changed_byte_breaks_it() {
        let good = question("box.home.test", AAAA);
        for length in 0..good.len() {
            assert_eq!(zone().answer(&good[..length]), None);
        }
        for at in 0..good.len() {
            for value in 0..=255 {
                let mut bytes = good.clone();
                bytes[at] = value;
                if let Some(answer) = zone().answer(&bytes) {
                    assert!(answer.len() <= bytes.len() + 28);
                }
            }
        }
    }

    #[test]
    fn names_have_limits() {
        let mut zone = Zone::default();
        for name in ["", "..", "a..b", &"a".repeat(64), &"a.".repeat(130)] {
            assert!(!zone.set(name, BOX), "{name:?}");
        }
        let taken = (0..2 * NAMES_MAX).filter(|number| zone.set(&format!("n{number}.test"), BOX)).count();
        assert_eq!(taken, NAMES_MAX);
    }
}

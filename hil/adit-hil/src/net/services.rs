// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a home's router does besides routing, where a story switches it on: it opens its firewall when it is asked to by the
//! Port Control Protocol (RFC 6887), and tells the time (RFC 5905). Bytes in, bytes out.

use super::frame::{address_at, u16_at};
use std::net::Ipv6Addr;
use std::time::Duration;

/// Ports of the two.
pub(crate) const PORT_CONTROL: u16 = 5351;
pub(crate) const TIME: u16 = 123;

/// A request with opcode MAP and no option, bytes.
const MAP_BYTES: usize = 60;
const VERSION: u8 = 2;
const MAP: u8 = 1;
const RESPONSE: u8 = 0x80;
/// Where the result, the length of life, the router's seconds and what follows them stand in an answer.
const CODE_AT: usize = 3;
const LIFETIME_AT: usize = 4;
const EPOCH_AT: usize = 8;
/// A refusal of a router that a person is just setting up, seconds.
const REFUSED_S: u32 = 30;
const NONCE_AT: usize = 24;
/// Result codes (section 7.4).
const DONE: u8 = 0;
const OTHER_VERSION: u8 = 1;
const NOT_AUTHORIZED: u8 = 2;
const OTHER_ADDRESS: u8 = 12;

const TIME_BYTES: usize = 48;
/// Seconds from 1900 to 1970.
const TO_1970_S: u64 = 2_208_988_800;

/// The port that a request of a machine at `from` may have opened for that address, and the answer to it; `None` for bytes that deserve none.
pub(crate) fn port_control(request: &[u8], from: Ipv6Addr, allowed: bool) -> Option<(Option<u16>, Vec<u8>)> {
    let [version, opcode, ..] = *request else { return None };
    if opcode & RESPONSE != 0 || request.len() < NONCE_AT {
        return None;
    }
    let mut answer = request.to_vec();
    answer[1] |= RESPONSE;
    answer[EPOCH_AT..NONCE_AT].fill(0);
    answer[EPOCH_AT + 3] = 1;
    let wanted = u16_at(request, 40).filter(|_| version == VERSION && opcode == MAP && request.len() == MAP_BYTES);
    let code = match wanted {
        None => OTHER_VERSION,
        Some(_) if !allowed => NOT_AUTHORIZED,
        Some(_) if address_at(request, 8) != Some(from) => OTHER_ADDRESS,
        Some(_) => DONE,
    };
    answer[CODE_AT] = code;
    if code != DONE {
        // How long the refusal counts.
        answer[LIFETIME_AT..EPOCH_AT].copy_from_slice(&REFUSED_S.to_be_bytes());
    }
    Some((wanted.filter(|_| code == DONE), answer))
}

/// The answer to a question for the time, `since_1970` of the wall clock; `None` for bytes that are no question.
pub(crate) fn time(question: &[u8], since_1970: Duration) -> Option<Vec<u8>> {
    let question: &[u8; TIME_BYTES] = question.try_into().ok()?;
    let mut answer = vec![0; TIME_BYTES];
    // Version 4, mode server, stratum 2; the question's own number goes back with it.
    answer[..2].copy_from_slice(&[0x24, 2]);
    answer[24..32].copy_from_slice(&question[40..48]);
    let seconds = u32::try_from((since_1970.as_secs() + TO_1970_S) & u64::from(u32::MAX)).ok()?;
    let fraction = u32::try_from((u64::from(since_1970.subsec_nanos()) << 32) / 1_000_000_000).ok()?;
    for at in [32, 40] {
        answer[at..at + 4].copy_from_slice(&seconds.to_be_bytes());
        answer[at + 4..at + 8].copy_from_slice(&fraction.to_be_bytes());
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5);

    fn request() -> Vec<u8> {
        let mut bytes = vec![0; MAP_BYTES];
        bytes[..2].copy_from_slice(&[VERSION, MAP]);
        bytes[8..24].copy_from_slice(&BOX.octets());
        bytes[24..36].fill(7);
        bytes[40..42].copy_from_slice(&11_713_u16.to_be_bytes());
        bytes
    }

    #[test]
    fn a_port_is_opened_for_its_own_machine_alone() {
        let asked =
            |bytes: &[u8], from, allowed| port_control(bytes, from, allowed).map(|(open, answer)| (open, answer[3]));
        assert_eq!(asked(&request(), BOX, true), Some((Some(11_713), DONE)));
        assert_eq!(asked(&request(), BOX, false), Some((None, NOT_AUTHORIZED)));
        assert_eq!(asked(&request(), Ipv6Addr::LOCALHOST, true), Some((None, OTHER_ADDRESS)));
        let mut old = request();
        old[0] = 0;
        assert_eq!(asked(&old, BOX, true), Some((None, OTHER_VERSION)));
        assert_eq!(asked(&request()[..23], BOX, true), None);
        let (_, answer) = port_control(&request(), BOX, true).unwrap();
        assert_eq!(answer[24..36], [7; 12]);
        assert_eq!(asked(&answer, BOX, true), None, "an answer is no request");
    }

    #[test]
    fn the_time_is_told() {
        let mut question = [0; TIME_BYTES];
        question[40..48].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let answer = time(&question, Duration::from_millis(1_500)).unwrap();
        assert_eq!(answer[24..32], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(answer[40..48], [0x83, 0xaa, 0x7e, 0x81, 0x80, 0, 0, 0]);
        assert_eq!(time(&question[1..], Duration::ZERO), None);
    }
}

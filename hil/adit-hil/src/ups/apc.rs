// SPDX-License-Identifier: Apache-2.0 OR MIT
//! APC's smart protocol: one byte asks, a line answers; alerts come unasked as one byte each. What a supply does not know
//! it answers with `NA`.

use super::{Condition, Event, MAINS_HZ, MAINS_V, Shared};
use std::io::{Read, Write};
use std::time::Duration;

/// Protocol version, alerts, and commands known here, for drivers that ask before they ask.
const ABILITIES: &str = "3.!$%+.\u{1}BCFLOPQSUYafjnm@K";
/// Seconds until a soft shutdown cuts the load.
const SOFT_DELAY_S: u64 = 20;

/// What is said unasked when the condition changes: `!` mains lost, `$` back, `%` battery low, `+` no longer low.
pub(super) fn alerts(was: Condition, is: Condition) -> Vec<u8> {
    let mains = (was.on_line != is.on_line).then_some(if is.on_line { b'$' } else { b'!' });
    let battery = (was.low != is.low).then_some(if is.low { b'%' } else { b'+' });
    mains.into_iter().chain(battery).collect()
}

/// Talks until the other side leaves.
pub(super) fn talk(shared: &Shared, mut stream: impl Read + Write) -> std::io::Result<()> {
    let mut parser = Parser::default();
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 {
        stream.write_all(parser.push(shared, byte[0]).as_bytes())?;
    }
    Ok(())
}

/// Some commands are longer than one byte.
#[derive(Debug, Default)]
struct Parser {
    /// Digits after `@`: tenths of hours until the return.
    wake: Option<String>,
    /// `K` has to come twice.
    cut: bool,
}

impl Parser {
    fn push(&mut self, shared: &Shared, byte: u8) -> String {
        let condition = shared.condition();
        let cut = std::mem::take(&mut self.cut);
        if let Some(mut digits) = self.wake.take().filter(|_| byte.is_ascii_digit()) {
            digits.push(char::from(byte));
            if digits.len() < 3 {
                self.wake = Some(digits);
                return String::new();
            }
            let tenths: u64 = digits.parse().unwrap_or_default();
            return shutdown(shared, Some(Duration::from_secs(tenths * 360)));
        }
        let text = match byte {
            b'Y' => "SM".to_owned(),
            b'a' => ABILITIES.to_owned(),
            0x01 => "ADIT HARNESS".to_owned(),
            b'n' => "ADIT0001".to_owned(),
            b'm' => "01/01/24".to_owned(),
            b'Q' => {
                let flags = [
                    (8, condition.on_line),
                    (0x10, !condition.on_line),
                    (0x40, condition.low),
                    (0x80, condition.replace),
                ];
                format!("{:02X}", flags.into_iter().filter(|(_, set)| *set).map(|(flag, _)| flag).sum::<u8>())
            }
            b'f' => format!("{:05.1}", f64::from(condition.charge())),
            b'P' => format!("{:05.1}", f64::from(condition.load())),
            b'j' => format!("{:04}:", (condition.runtime_s / 60).min(9999)),
            b'B' => format!("{:05.2}", condition.battery_v()),
            b'L' => format!("{:05.1}", condition.input_v()),
            b'O' => format!("{MAINS_V:05.1}"),
            b'F' => format!("{MAINS_HZ:05.2}"),
            b'C' => "025.0".to_owned(),
            b'U' => {
                shared.tell(Event::Test);
                "OK".to_owned()
            }
            b'S' => return shutdown(shared, Some(Duration::ZERO)),
            b'K' if cut => return shutdown(shared, None),
            b'K' | b'@' => {
                self.cut = byte == b'K';
                self.wake = (byte == b'@').then(String::new);
                return String::new();
            }
            b'\r' | b'\n' => return String::new(),
            _ => "NA".to_owned(),
        };
        text + "\r\n"
    }
}

fn shutdown(shared: &Shared, restart: Option<Duration>) -> String {
    let delay = Duration::from_secs(SOFT_DELAY_S);
    shared.tell(Event::Shutdown { delay, restart });
    "OK\r\n".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_answer() {
        let shared = Shared::default();
        let check = |bytes: &str, expected: &str| {
            let mut parser = Parser::default();
            let answers: String = bytes.bytes().map(|byte| parser.push(&shared, byte)).collect();
            assert_eq!(answers, expected, "{bytes:?}");
        };
        check("Y\r\nQ", "SM\r\n08\r\n");
        check("fPjBLOFC", "100.0\r\n012.0\r\n0030:\r\n26.00\r\n230.0\r\n230.0\r\n50.00\r\n025.0\r\n");
        check("?z", "NA\r\nNA\r\n");
        check("U", "OK\r\n");
        check("S", "OK\r\n");
        check("KQK", "08\r\n");
        check("KK", "OK\r\n");
        check("@0Y", "SM\r\n");
        check("@015", "OK\r\n");
        let shutdown = |restart| Event::Shutdown { delay: Duration::from_secs(20), restart };
        let restarts = [Some(Duration::ZERO), None, Some(Duration::from_secs(5400))];
        let expected: Vec<_> = [Event::Test].into_iter().chain(restarts.map(shutdown)).collect();
        assert_eq!(super::super::locked(&shared.state).events, expected);
        // Every command that is said to be known is known.
        for byte in ABILITIES.rsplit('.').next().unwrap().bytes() {
            assert_ne!(Parser::default().push(&shared, byte), "NA\r\n", "{byte}");
        }
    }

    #[test]
    fn alerts_are_said_once() {
        let on_line = Condition::default();
        let low = Condition { on_line: false, low: true, ..on_line };
        assert_eq!((alerts(on_line, low), alerts(low, on_line)), (b"!%".to_vec(), b"$+".to_vec()));
        assert_eq!(alerts(low, Condition { load_percent: 99, ..low }), b"");
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Megatec's protocol: lines that end with a carriage return. What a supply does not know it sends back.

use super::{Event, MAINS_HZ, MAINS_V, Shared};
use std::time::Duration;

/// Answers one line without its end; commands have no answer.
pub(super) fn answer(shared: &Shared, line: &[u8]) -> Vec<u8> {
    let condition = shared.condition();
    let text = match line {
        b"Q1" => {
            let input = condition.input_v();
            // Mains failed, battery low, boost, fault, standby type, test, shutdown, beeper.
            let bit = |set: bool| if set { '1' } else { '0' };
            let (failed, low) = (bit(!condition.on_line), bit(condition.low));
            format!(
                "({input:05.1} {input:05.1} {MAINS_V:05.1} {:03} {MAINS_HZ:04.1} {:04.1} 25.0 {failed}{low}00000{failed}\r",
                condition.load(),
                condition.battery_v()
            )
        }
        b"F" => format!("#{MAINS_V:05.1} 004 24.00 {MAINS_HZ:04.1}\r"),
        b"I" => format!("#{:<15} {:<10} {:<10}\r", "ADIT", "HARNESS", "1.0"),
        b"C" | b"CT" => {
            if line == b"C" {
                shared.tell(Event::ShutdownCancelled);
            }
            String::new()
        }
        b"Q" => String::new(),
        [b'T', rest @ ..] if rest == b"L" || rest.iter().all(u8::is_ascii_digit) => {
            shared.tell(Event::Test);
            String::new()
        }
        [b'S', rest @ ..] => match shutdown(rest) {
            Some(event) => {
                shared.tell(event);
                String::new()
            }
            None => return echo(line),
        },
        _ => return echo(line),
    };
    text.into_bytes()
}

fn echo(line: &[u8]) -> Vec<u8> {
    [line, b"\r"].concat()
}

/// `NN` or `.N` minutes, and perhaps `R` with minutes until the return.
fn shutdown(text: &[u8]) -> Option<Event> {
    let text = std::str::from_utf8(text).ok()?;
    let (delay, restart) = match text.split_once('R') {
        Some((delay, restart)) => (delay, Some(minutes(restart).filter(|_| restart.len() == 4)?)),
        None => (text, None),
    };
    Some(Event::Shutdown { delay: tenths(delay).or_else(|| minutes(delay).filter(|_| delay.len() == 2))?, restart })
}

fn minutes(text: &str) -> Option<Duration> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).map(|minutes: u32| Duration::from_secs(u64::from(minutes) * 60))
}

fn tenths(text: &str) -> Option<Duration> {
    let digit = text.strip_prefix('.').filter(|rest| rest.len() == 1)?;
    digit.parse().ok().map(|tenths: u8| Duration::from_secs(u64::from(tenths) * 6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_its_answer() {
        let shared = Shared::default();
        let check =
            |line: &str, expected: &str| assert_eq!(answer(&shared, line.as_bytes()), expected.as_bytes(), "{line}");
        check("F", "#230.0 004 24.00 50.0\r");
        check("I", "#ADIT            HARNESS    1.0       \r");
        for echoed in ["", "QGS", "S", "Sx", "S1", "S.12", "S01R5", "S01R+005", "T+1", "Q1 "] {
            check(echoed, &format!("{echoed}\r"));
        }
        for silent in ["T", "TL", "T05", "CT", "Q", "C", "S.2", "S01", "S10R0000"] {
            check(silent, "");
        }
        let seconds = Duration::from_secs;
        let shutdown = |delay, restart| Event::Shutdown { delay, restart };
        let expected = [
            Event::Test,
            Event::Test,
            Event::Test,
            Event::ShutdownCancelled,
            shutdown(seconds(12), None),
            shutdown(seconds(60), None),
            shutdown(seconds(600), Some(Duration::ZERO)),
        ];
        assert_eq!(super::super::locked(&shared.state).events, expected);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! UPSs that a NUT daemon knows: the text protocol of upsd (networkupstools.org, developer guide, "Network protocol
//! information"; RFC 9271), over IPv6. It only lists: it never logs in, sets a variable or sends a command.

use crate::error::AskError;
use crate::talk::Talk;
use crate::words::{scaled, shortened};
use adit_health::readings::ups::{UpsComm, UpsReading, UpsState, UpsTest};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::Duration;

/// The registered port, on this machine.
pub const ADDRESS: SocketAddrV6 = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 3493, 0, 0);
/// All that a daemon may say in one conversation, bytes. A large UPS has 300 variables of 60 bytes.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;
/// UPSs on one daemon.
pub const UPSES_MAX: usize = 32;
/// Lines of one list.
pub const LINES_MAX: usize = 2000;
/// A value that is kept, bytes.
pub const VALUE_BYTES_MAX: usize = 128;

/// Asks a daemon about all of its UPSs. One that the daemon itself does not hear is listed all the same, with `comm`.
///
/// # Errors
/// Nobody listens, the deadline, an answer without end or of another protocol.
pub fn ask(daemon: SocketAddrV6, deadline: Duration) -> Result<Vec<UpsReading>, AskError> {
    let mut talk = Talk::tcp(daemon, deadline, ANSWER_BYTES_MAX)?;
    let whom = format!("NUT at {daemon}");
    talk.say(b"LIST UPS\n")?;
    let lines = list(&mut talk, &whom)?.map_err(|word| refusal(&whom, &word))?;
    let mut readings = Vec::new();
    for line in lines.iter().take(UPSES_MAX) {
        let words = words(line);
        let [kind, name, rest @ ..] = words.as_slice() else { continue };
        if kind != "UPS" || !is_name(name) {
            return Err(AskError::malformed(&whom, "a line `UPS name \"description\"` was expected"));
        }
        let description = rest.first().map(|text| shortened(text, VALUE_BYTES_MAX)).unwrap_or_default();
        readings.push(UpsReading { description, ..variables(&mut talk, &whom, daemon, name)? });
    }
    talk.say(b"LOGOUT\n")?;
    Ok(readings)
}

/// Asks a daemon about one of its UPSs.
///
/// # Errors
/// As [`ask`]. A UPS that the daemon does not know is no error but a reading that says so.
pub fn ask_one(daemon: SocketAddrV6, name: &str, deadline: Duration) -> Result<UpsReading, AskError> {
    let whom = format!("NUT at {daemon}");
    if !is_name(name) {
        return Err(AskError::malformed(&whom, "the name of a UPS holds no spaces and quotes"));
    }
    let mut talk = Talk::tcp(daemon, deadline, ANSWER_BYTES_MAX)?;
    let ups = variables(&mut talk, &whom, daemon, name)?;
    talk.say(b"LOGOUT\n")?;
    Ok(ups)
}

fn variables(talk: &mut Talk, whom: &str, daemon: SocketAddrV6, name: &str) -> Result<UpsReading, AskError> {
    talk.say(format!("LIST VAR {name}\n").as_bytes())?;
    let reading = match list(talk, whom)? {
        Ok(lines) => reading(lines.iter().map(String::as_str)),
        Err(word) => UpsReading { comm: comm(&word).ok_or_else(|| refusal(whom, &word))?, ..UpsReading::default() },
    };
    Ok(UpsReading { daemon: daemon.to_string(), name: name.to_owned(), ..reading })
}

/// The lines between `BEGIN LIST` and `END LIST`, or the word of an `ERR`.
fn list(talk: &mut Talk, whom: &str) -> Result<Result<Vec<String>, String>, AskError> {
    let first = talk.line()?.unwrap_or_default();
    if let Some(word) = first.strip_prefix("ERR ") {
        return Ok(Err(word.split_whitespace().next().unwrap_or_default().to_owned()));
    }
    if !first.starts_with("BEGIN LIST ") {
        return Err(AskError::malformed(whom, "`BEGIN LIST` was expected"));
    }
    let mut lines = Vec::new();
    loop {
        let line = talk.line()?.ok_or_else(|| AskError::malformed(whom, "the list has no end"))?;
        if line.starts_with("END LIST ") {
            return Ok(Ok(lines));
        }
        if lines.len() == LINES_MAX {
            return Err(AskError::TooLong { whom: whom.to_owned(), limit: LINES_MAX, unit: "lines" });
        }
        lines.push(line);
    }
}

/// A reading from the lines of `LIST VAR`. Lines of other kinds are passed over, as a newer daemon may send some.
pub fn reading<'t>(lines: impl IntoIterator<Item = &'t str>) -> UpsReading {
    let mut ups = UpsReading::default();
    let mut day = Days::default();
    for line in lines {
        let words = words(line);
        if let [kind, _ups, variable, value, ..] = words.as_slice()
            && kind == "VAR"
        {
            take(&mut ups, &mut day, variable, &shortened(value, VALUE_BYTES_MAX));
        }
    }
    ups.battery_day = day.battery.or(day.battery_made);
    ups.test_day = day.test;
    ups
}

/// Days that come from several variables.
#[derive(Default)]
struct Days {
    battery: Option<i64>,
    battery_made: Option<i64>,
    test: Option<i64>,
}

fn take(ups: &mut UpsReading, days: &mut Days, variable: &str, value: &str) {
    match variable {
        "ups.status" => ups.status = value.split_whitespace().map(UpsState::of_word).collect(),
        "ups.mfr" | "device.mfr" if !ups.model.starts_with(value) => {
            ups.model = format!("{value} {}", ups.model).trim().to_owned();
        }
        "ups.model" if !ups.model.ends_with(value) => ups.model = format!("{} {value}", ups.model).trim().to_owned(),
        "ups.serial" => value.clone_into(&mut ups.serial),
        "battery.charge" => ups.charge_permille = scaled(value, 10),
        "battery.charge.low" => ups.charge_low_permille = scaled(value, 10),
        "battery.runtime" => ups.runtime_s = scaled(value, 1),
        "battery.runtime.low" => ups.runtime_low_s = scaled(value, 1),
        "ups.load" => ups.load_permille = scaled(value, 10),
        "ups.realpower" => ups.power_w = scaled(value, 1),
        "input.voltage" => ups.input_decivolt = scaled(value, 10),
        "ups.temperature" => ups.temperature_decicelsius = scaled(value, 10),
        "battery.date" => days.battery = day(value),
        "battery.mfr.date" => days.battery_made = day(value),
        "ups.test.date" => days.test = day(value),
        "ups.test.result" => ups.test = Some(test(value)),
        _ => {}
    }
}

/// How a test came out. The texts are those of NUT's drivers (usbhid-ups, apcsmart, snmp-ups, nutdrv_qx).
pub(crate) fn test(text: &str) -> UpsTest {
    let text = text.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["no test", "not initiated", "never", "not run"]) {
        UpsTest::Never
    } else if has(&["progress", "pending", "running", "initiated", "scheduled"]) {
        UpsTest::Running
    } else if has(&["fail", "error", "abort", "warning", "bad", "invalid"]) {
        UpsTest::Failed
    } else if has(&["pass", "success", "ok", "done"]) {
        UpsTest::Passed
    } else {
        UpsTest::Other
    }
}

/// Days since 1970 of a date as UPSs write it: 2023/05/01, 2023-05-01 with or without a time, 05/01/23 (month first, as APC
/// does), 13/05/2023 where the first number can only be a day. `None` for anything else.
pub(crate) fn day(text: &str) -> Option<i64> {
    let date = text.split_whitespace().next()?;
    let date = date.split('T').next()?;
    let numbers: Vec<i64> = date.split(['/', '-', '.']).map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [first, second, third] = *numbers.as_slice() else { return None };
    let (year, month, day) = if first > 31 {
        (first, second, third)
    } else {
        let year = if third < 100 { 2000 + third } else { third };
        if first > 12 { (year, second, first) } else { (year, first, second) }
    };
    days_since_1970(year, month, day)
}

/// Days since 1970 of a date between 1970 and 2200.
pub(crate) fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    if !(1970..=2200).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    let before = *BEFORE.get(usize::try_from(month - 1).ok()?)?;
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let leaps = (1970..year).filter(|year| is_leap(*year)).count();
    let leaps = i64::try_from(leaps).ok()? + i64::from(is_leap(year) && month > 2);
    Some((year - 1970) * 365 + leaps + before + day - 1)
}

/// What an error word says about the way to one UPS; `None` for one about something else.
fn comm(word: &str) -> Option<UpsComm> {
    match word {
        "DATA-STALE" => Some(UpsComm::Stale),
        "DRIVER-NOT-CONNECTED" => Some(UpsComm::DriverGone),
        "UNKNOWN-UPS" => Some(UpsComm::Unknown),
        _ => None,
    }
}

fn refusal(whom: &str, word: &str) -> AskError {
    match word {
        "ACCESS-DENIED" | "USERNAME-REQUIRED" | "PASSWORD-REQUIRED" => AskError::denied(whom, word),
        _ => AskError::refused(whom, word),
    }
}

/// A name that can be put into a command as it is.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"')
}

/// Words of a line; one in quotes may hold spaces, and a backslash takes away the meaning of what follows.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut in_quotes = false;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.get_or_insert_default().extend(characters.next()),
            '"' => {
                in_quotes = !in_quotes;
                word.get_or_insert_default();
            }
            ' ' if !in_quotes => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::thread;

    /// A daemon that answers each line with the next of these texts. Gives its address and what it was told.
    fn daemon(answers: &'static [&'static str]) -> (SocketAddrV6, thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let SocketAddr::V6(address) = listener.local_addr().unwrap() else { panic!("bound over IPv6") };
        let heard = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut heard = Vec::new();
            for answer in answers {
                let Some(Ok(line)) = lines.next() else { return heard };
                heard.push(line);
                stream.write_all(answer.as_bytes()).unwrap();
            }
            drop(stream);
            heard
        });
        (address, heard)
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn a_daemon_tells_about_all_its_upses() {
        let (address, heard) = daemon(&[
            "BEGIN LIST UPS\nUPS rack \"Rack \\\"A\\\"\"\nUPS desk \"\"\nUPS gone \"old\"\nEND LIST UPS\n",
            "BEGIN LIST VAR rack\nVAR rack ups.status \"OB DISCHRG LB\"\nVAR rack battery.charge \"9.5\"\nEND LIST VAR rack\n",
            "ERR DATA-STALE\n",
            "ERR DRIVER-NOT-CONNECTED\n",
            "OK Goodbye\n",
        ]);
        let upses = ask(address, LONG).unwrap();
        assert_eq!(heard.join().unwrap(), ["LIST UPS", "LIST VAR rack", "LIST VAR desk", "LIST VAR gone", "LOGOUT"]);
        assert_eq!(upses.iter().map(|ups| ups.name.as_str()).collect::<Vec<_>>(), ["rack", "desk", "gone"]);
        assert_eq!(upses[0].description, "Rack \"A\"");
        assert_eq!(upses[0].status, [UpsState::OnBattery, UpsState::Discharging, UpsState::LowBattery]);
        assert_eq!(upses[0].charge_permille, Some(95));
        assert_eq!([upses[1].comm, upses[2].comm], [UpsComm::Stale, UpsComm::DriverGone]);
    }

    #[test]
    fn one_ups_is_asked_for_by_its_name() {
        let (address, heard) = daemon(&["ERR UNKNOWN-UPS\n", "OK Goodbye\n"]);
        let ups = ask_one(address, "rack", LONG).unwrap();
        assert_eq!((ups.comm, ups.name.as_str(), ups.daemon), (UpsComm::Unknown, "rack", address.to_string()));
        assert_eq!(heard.join().unwrap(), ["LIST VAR rack", "LOGOUT"]);
        assert!(matches!(ask_one(address, "a\nb", LONG), Err(AskError::Malformed { .. })));
    }

    #[test]
    fn refusals_are_told_apart() {
        let (address, _heard) = daemon(&["ERR ACCESS-DENIED\n"]);
        assert!(matches!(ask(address, LONG), Err(AskError::Denied { .. })));
        let (address, _heard) = daemon(&["ERR UNKNOWN-COMMAND\n"]);
        assert!(matches!(ask(address, LONG), Err(AskError::Refused { .. })));
        let (address, _heard) = daemon(&["220 mail.example ESMTP\n"]);
        assert!(matches!(ask(address, LONG), Err(AskError::Malformed { .. })));
        let (address, _heard) = daemon(&["BEGIN LIST UPS\nUPS a\"b\n\" \"x\"\nEND LIST UPS\n"]);
        assert!(matches!(ask(address, LONG), Err(AskError::Malformed { .. })), "a name with a line end is no name");
    }

    #[test]
    fn a_list_has_a_limit() {
        let lines: &'static str = Box::leak("VAR u a \"1\"\n".repeat(LINES_MAX + 1).into_boxed_str());
        let answer: &'static str = Box::leak(format!("BEGIN LIST VAR u\n{lines}END LIST VAR u\n").into_boxed_str());
        let answers: &'static [&'static str] =
            Box::leak(Box::new(["BEGIN LIST UPS\nUPS u \"\"\nEND LIST UPS\n", answer]));
        let (address, _heard) = daemon(answers);
        assert!(matches!(ask(address, LONG), Err(AskError::TooLong { limit: LINES_MAX, .. })));
    }

    /// A Smart-UPS as the NUT developer guide and driver manuals show its variables.
    #[test]
    fn variables_become_readings_with_units() {
        let text = "VAR u battery.charge \"100\"\nVAR u battery.charge.low \"10\"\nVAR u battery.date \"05/01/23\"\n\
            VAR u battery.mfr.date \"2022/11/05\"\nVAR u battery.runtime \"2880\"\nVAR u battery.runtime.low \"120\"\n\
            VAR u device.mfr \"American Power Conversion\"\nVAR u input.voltage \"231.8\"\nVAR u ups.load \"17.5\"\n\
            VAR u ups.mfr \"American Power Conversion\"\nVAR u ups.model \"Smart-UPS 1500\"\nVAR u ups.realpower \"152\"\n\
            VAR u ups.serial \"AS1425232433\"\nVAR u ups.status \"OL CHRG\"\nVAR u ups.temperature \"29.2\"\n\
            VAR u ups.test.date \"2023/07/07\"\nVAR u ups.test.result \"Done and passed\"\nTYPE u x NUMBER\n";
        let ups = reading(text.lines());
        assert_eq!(ups.model, "American Power Conversion Smart-UPS 1500");
        assert_eq!(ups.status, [UpsState::Online, UpsState::Charging]);
        let numbers =
            [ups.charge_permille, ups.charge_low_permille, ups.runtime_s, ups.runtime_low_s, ups.load_permille];
        assert_eq!(numbers, [Some(1000), Some(100), Some(2880), Some(120), Some(175)]);
        assert_eq!([ups.power_w, ups.input_decivolt, ups.temperature_decicelsius], [Some(152), Some(2318), Some(292)]);
        assert_eq!(
            (ups.battery_day, ups.test_day, ups.test),
            (day("2023-05-01"), day("2023-07-07"), Some(UpsTest::Passed))
        );
    }

    #[test]
    fn dates_are_read_in_every_known_form() {
        for (text, expected) in [
            ("1970/01/01", Some(0)),
            ("2000-02-29", Some(11_016)),
            ("2000-03-01", Some(11_017)),
            ("2023/05/01", Some(19_478)),
            ("05/01/23", Some(19_478)),
            ("05/01/2023", Some(19_478)),
            ("13/05/2023", Some(19_490)),
            ("2023-05-01 08:10:01 +0000", Some(19_478)),
            ("2023-05-01T08:10:01", Some(19_478)),
            ("not set", None),
            ("", None),
            ("2023/13/01", None),
            ("2023/00/01", None),
            ("99999999999999999999/1/1", None),
            ("9999/1/1", None),
        ] {
            assert_eq!(day(text), expected, "{text}");
        }
    }

    #[test]
    fn test_results_are_read_in_every_known_form() {
        for (text, expected) in [
            ("Done and passed", UpsTest::Passed),
            ("Done and warning", UpsTest::Failed),
            ("Done and error", UpsTest::Failed),
            ("Aborted", UpsTest::Failed),
            ("In progress", UpsTest::Running),
            ("No test initiated", UpsTest::Never),
            ("Test scheduled", UpsTest::Running),
            ("OK - Battery GOOD", UpsTest::Passed),
            ("BT - Battery capacity failure", UpsTest::Failed),
            ("", UpsTest::Other),
        ] {
            assert_eq!(test(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_lines_give_a_bounded_reading(lines in proptest::collection::vec("(VAR u (ups|battery)\\.[a-z.]{1,12} )?\\PC{0,300}", 0..20)) {
            let ups = reading(lines.iter().map(String::as_str));
            prop_assert!(ups.serial.len() <= VALUE_BYTES_MAX && ups.status.len() <= VALUE_BYTES_MAX);
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which services of systemd have failed, asked over the system's message bus (org.freedesktop.systemd1(5)). Reading needs
//! no rights there. It never starts, stops or resets a unit.

use crate::dbus::{Argument, Bus, Message, Method};
use crate::error::AskError;
use crate::words::shortened;
use adit_health::readings::units::UnitsReading;
use std::path::Path;
use std::time::Duration;

/// Where the system's bus listens.
pub const BUS: &str = "/run/dbus/system_bus_socket";
/// Names that are kept.
pub const NAMES_MAX: usize = 64;
/// A name that is kept, bytes. systemd itself allows 255.
pub const NAME_BYTES_MAX: usize = 255;

const SERVICE: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";

/// Asks for failed units. The names are only asked for when there are any.
///
/// # Errors
/// There is no bus, systemd is not on it, the deadline, an answer of no known form.
pub fn ask(bus: &Path, deadline: Duration) -> Result<UnitsReading, AskError> {
    let whom = format!("systemd over {}", bus.display());
    let mut bus = Bus::connect(bus, rustix::process::geteuid().as_raw(), deadline)?;
    let get = Method { service: SERVICE, path: PATH, interface: "org.freedesktop.DBus.Properties", member: "Get" };
    let manager = "org.freedesktop.systemd1.Manager";
    let answer = bus.call(get, &[Argument::Text(manager), Argument::Text("NFailedUnits")])?;
    let failed = count(&answer).ok_or_else(|| AskError::malformed(&whom, "a number of failed units was expected"))?;
    let mut names = Vec::new();
    if failed > 0 {
        let list = Method { service: SERVICE, path: PATH, interface: manager, member: "ListUnitsFiltered" };
        let answer = bus.call(list, &[Argument::Texts(&["failed"])])?;
        names = units(&answer).ok_or_else(|| AskError::malformed(&whom, "a list of units was expected"))?;
    }
    Ok(UnitsReading { failed, names })
}

/// What one message of the bus tells, whichever of the two questions of [`ask`] it answers; `None` for any other.
#[must_use]
pub fn told(message: &[u8]) -> Option<UnitsReading> {
    let message = Message::parse(message)?;
    let number = count(&message).map(|failed| UnitsReading { failed, names: Vec::new() });
    number.or_else(|| units(&message).map(|names| UnitsReading { failed: 0, names }))
}

/// The number in a variant.
fn count(answer: &Message) -> Option<u32> {
    let mut body = answer.body();
    (answer.signature() == "v" && body.signature()? == "u").then(|| body.number())?
}

/// The names in a list of (name, description, load, active, sub, following, path, job, job type, job path).
fn units(answer: &Message) -> Option<Vec<String>> {
    if answer.signature() != "a(ssssssouso)" {
        return None;
    }
    let mut items = answer.body().structures()?;
    let mut names = Vec::new();
    while !items.is_done() {
        items.pad(8)?;
        names.push(shortened(&items.text()?, NAME_BYTES_MAX));
        for _ in 0..6 {
            items.text()?;
        }
        items.number()?;
        items.text()?;
        items.text()?;
    }
    names.sort_unstable();
    names.truncate(NAMES_MAX);
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// An answer with this signature and body to the call of this serial number.
    fn answer(serial: u32, kind: u8, error: &str, signature: &str, body: &[u8]) -> Vec<u8> {
        let mut fields = [&b"\x05\x01u\0"[..], &serial.to_le_bytes()].concat();
        if !error.is_empty() {
            let length = u32::try_from(error.len()).unwrap().to_le_bytes();
            fields.extend([&b"\x04\x01s\0"[..], &length, error.as_bytes(), b"\0"].concat());
            fields.resize(fields.len().next_multiple_of(8), 0);
        }
        let length = u8::try_from(signature.len()).unwrap();
        fields.extend([&b"\x08\x01g\0"[..], &[length], signature.as_bytes(), b"\0"].concat());
        let lengths = [body.len(), fields.len()].map(|length| u32::try_from(length).unwrap().to_le_bytes());
        let mut message = [&[b'l', kind, 1, 1][..], &lengths[0], &[9, 0, 0, 0], &lengths[1], &fields].concat();
        message.resize(message.len().next_multiple_of(8), 0);
        message.extend(body);
        message
    }

    fn text(to: &mut Vec<u8>, text: &str) {
        to.resize(to.len().next_multiple_of(4), 0);
        to.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        to.extend(text.bytes().chain([0]));
    }

    fn list(names: &[&str]) -> Vec<u8> {
        let mut items = Vec::new();
        for name in names {
            items.resize(items.len().next_multiple_of(8), 0);
            for word in [name, "A service", "loaded", "failed", "failed", "", "/u"] {
                text(&mut items, word);
            }
            items.resize(items.len().next_multiple_of(4), 0);
            items.extend(0_u32.to_le_bytes());
            text(&mut items, "");
            text(&mut items, "/");
        }
        [&u32::try_from(items.len()).unwrap().to_le_bytes()[..], &[0; 4], &items].concat()
    }

    /// A bus that accepts us and gives these answers to the calls, after a signal that nobody asked for.
    fn asked(answers: Vec<Vec<u8>>) -> Result<UnitsReading, AskError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bus");
        let listener = UnixListener::bind(&path).unwrap();
        let far = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            assert!(line.starts_with("\0AUTH EXTERNAL 3"), "{line:?}");
            (&stream).write_all(b"OK 0123456789abcdef\r\n").unwrap();
            line.clear();
            reader.read_line(&mut line).unwrap();
            assert_eq!(line, "BEGIN\r\n");
            let signal = answer(0, 4, "", "s", b"\x01\0\0\0x\0");
            for answer in answers {
                let mut start = [0; 16];
                if reader.read_exact(&mut start).is_err() {
                    return;
                }
                let rest = crate::dbus::message_length(&start).unwrap() - 16;
                reader.read_exact(&mut vec![0; rest]).unwrap();
                (&stream).write_all(&[signal.as_slice(), &answer].concat()).unwrap();
            }
        });
        let reading = ask(&path, Duration::from_secs(30));
        far.join().unwrap();
        reading
    }

    fn hello() -> Vec<u8> {
        answer(1, 2, "", "s", b"\x04\0\0\0:1.7\0")
    }

    fn failed(count: u8) -> Vec<u8> {
        answer(2, 2, "", "v", &[1, b'u', 0, 0, count, 0, 0, 0])
    }

    #[test]
    fn failed_units_are_counted_and_named() {
        assert_eq!(asked(vec![hello(), failed(0)]).unwrap(), UnitsReading::default());
        let units = answer(3, 2, "", "a(ssssssouso)", &list(&["z.service", "a.mount"]));
        let reading = asked(vec![hello(), failed(2), units]).unwrap();
        assert_eq!((reading.failed, reading.names), (2, vec!["a.mount".to_owned(), "z.service".to_owned()]));
    }

    #[test]
    fn names_have_a_limit() {
        let names: Vec<String> = (0..NAMES_MAX + 5).map(|number| format!("{number:04}.service")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let units = answer(3, 2, "", "a(ssssssouso)", &list(&names));
        assert_eq!(asked(vec![hello(), failed(69), units]).unwrap().names.len(), NAMES_MAX);
    }

    #[test]
    fn refusals_are_told_apart() {
        let error = |name: &str| asked(vec![hello(), answer(2, 3, name, "s", b"\x02\0\0\0no\0")]);
        assert!(matches!(error("org.freedesktop.DBus.Error.AccessDenied"), Err(AskError::Denied { .. })));
        assert!(matches!(error("org.freedesktop.DBus.Error.ServiceUnknown"), Err(AskError::Refused { .. })));
        let odd = asked(vec![hello(), answer(2, 2, "", "s", b"\x02\0\0\0no\0")]);
        assert!(matches!(odd, Err(AskError::Malformed { .. })), "{odd:?}");
        let short = answer(3, 2, "", "a(ssssssouso)", &list(&["a.service"])[..20]);
        assert!(asked(vec![hello(), failed(1), short]).is_err());
    }
}

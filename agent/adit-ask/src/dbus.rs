// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The few parts of D-Bus that a question to systemd needs (dbus.freedesktop.org, "D-Bus Specification", 0.43): the
//! handshake as one's own user, method calls with strings, and reading what comes back. It is small enough to write out;
//! the crates for it bring an async runtime. It never receives calls and never sends file descriptors.

use crate::error::AskError;
use crate::talk::Talk;
use std::path::Path;
use std::time::Duration;

/// A message that is taken, bytes. The specification allows 128 MiB; a list of failed units has kilobytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Messages that may come before an answer: signals that nobody asked for.
const MESSAGES_MAX: usize = 64;

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;

/// Where a call goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Method<'n> {
    pub(crate) service: &'n str,
    pub(crate) path: &'n str,
    pub(crate) interface: &'n str,
    pub(crate) member: &'n str,
}

/// An argument of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Argument<'n> {
    /// `s`
    Text(&'n str),
    /// `as`
    Texts(&'n [&'n str]),
}

/// A connection to a message bus.
#[derive(Debug)]
pub(crate) struct Bus {
    talk: Talk,
    serial: u32,
}

impl Bus {
    /// Connects, says who we are by our own user id, and takes a name.
    pub(crate) fn connect(path: &Path, uid: u32, deadline: Duration) -> Result<Self, AskError> {
        let mut talk = Talk::unix(path, deadline, MESSAGE_BYTES_MAX)?;
        let digits: String = uid.to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        talk.say(format!("\0AUTH EXTERNAL {digits}\r\n").as_bytes())?;
        let answer = talk.line()?.unwrap_or_default();
        if !answer.starts_with("OK ") {
            return Err(AskError::denied(talk.whom(), &answer));
        }
        talk.say(b"BEGIN\r\n")?;
        let mut bus = Self { talk, serial: 0 };
        let hello = Method {
            service: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
        };
        bus.call(hello, &[])?;
        Ok(bus)
    }

    /// Calls a method and waits for its answer.
    pub(crate) fn call(&mut self, method: Method<'_>, arguments: &[Argument<'_>]) -> Result<Message, AskError> {
        self.serial += 1;
        let call = call(self.serial, method, arguments);
        self.talk.say(&call)?;
        for _ in 0..MESSAGES_MAX {
            let message = self.message()?;
            if message.answers == Some(self.serial) {
                return match message.kind {
                    METHOD_RETURN => Ok(message),
                    _ => Err(refusal(self.talk.whom(), &message)),
                };
            }
        }
        Err(AskError::TooLong { whom: self.talk.whom().to_owned(), limit: MESSAGES_MAX, unit: "messages" })
    }

    fn message(&mut self) -> Result<Message, AskError> {
        let mut bytes = self.talk.exactly(16)?;
        let length = message_length(&bytes).ok_or_else(|| AskError::malformed(self.talk.whom(), "a D-Bus message"))?;
        bytes.extend(self.talk.exactly(length - bytes.len())?);
        Message::parse(&bytes).ok_or_else(|| AskError::malformed(self.talk.whom(), "a D-Bus message"))
    }
}

fn refusal(whom: &str, message: &Message) -> AskError {
    let name = message.error.as_deref().unwrap_or("an error without a name");
    let text = message.body().text().unwrap_or_default();
    let said = format!("{name}: {text}");
    match name {
        "org.freedesktop.DBus.Error.AccessDenied" | "org.freedesktop.DBus.Error.AuthFailed" => {
            AskError::denied(whom, &said)
        }
        _ => AskError::refused(whom, &said),
    }
}

/// The bytes of a call, little-endian.
pub(crate) fn call(serial: u32, method: Method<'_>, arguments: &[Argument<'_>]) -> Vec<u8> {
    let mut body = Writer::default();
    let mut signature = String::new();
    for argument in arguments {
        match argument {
            Argument::Text(text) => {
                signature.push('s');
                body.text(text);
            }
            Argument::Texts(texts) => {
                signature.push_str("as");
                body.texts(texts);
            }
        }
    }
    let mut fields = Writer::default();
    for (code, kind, text) in
        [(1, "o", method.path), (2, "s", method.interface), (3, "s", method.member), (6, "s", method.service)]
    {
        fields.field(code, kind);
        fields.text(text);
    }
    if !signature.is_empty() {
        fields.field(8, "g");
        fields.signature(&signature);
    }
    let mut message = Writer::default();
    message.bytes.extend([b'l', METHOD_CALL, 0, 1]);
    message.count(body.bytes.len());
    message.bytes.extend(serial.to_le_bytes());
    message.count(fields.bytes.len());
    message.bytes.extend(fields.bytes);
    message.pad(8);
    message.bytes.extend(body.bytes);
    message.bytes
}

/// Bytes of a message or of its parts; all parts here begin at a multiple of 8.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn pad(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn count(&mut self, count: usize) {
        self.pad(4);
        // Only our own words are written here; none comes near 4 GiB.
        self.bytes.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.bytes.extend(text.bytes());
        self.bytes.push(0);
    }

    fn texts(&mut self, texts: &[&str]) {
        let mut items = Self::default();
        texts.iter().for_each(|text| items.text(text));
        self.count(items.bytes.len());
        self.bytes.extend(items.bytes);
    }

    fn signature(&mut self, signature: &str) {
        self.bytes.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.bytes.extend(signature.bytes());
        self.bytes.push(0);
    }

    fn field(&mut self, code: u8, kind: &str) {
        self.pad(8);
        self.bytes.push(code);
        self.signature(kind);
    }
}

/// The length of a message from its first 16 bytes; `None` for no message or for one over the limit.
pub(crate) fn message_length(start: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(start)?;
    reader.at = 4;
    let body = reader.count()?;
    reader.at = 12;
    let fields = reader.count()?;
    let length = 16_usize.checked_add(fields)?.checked_next_multiple_of(8)?.checked_add(body)?;
    (length <= MESSAGE_BYTES_MAX).then_some(length)
}

/// A message that came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    kind: u8,
    answers: Option<u32>,
    error: Option<String>,
    signature: String,
    is_big_endian: bool,
    body: Vec<u8>,
}

impl Message {
    /// A whole message; `None` when it is none.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes)?;
        let kind = *bytes.get(1)?;
        if !(METHOD_CALL..=4).contains(&kind) || *bytes.get(3)? != 1 {
            return None;
        }
        let mut message = Self { kind, is_big_endian: reader.is_big_endian, ..Self::default() };
        reader.at = 12;
        let fields_end = reader.count()?.checked_add(16)?;
        while reader.at < fields_end {
            reader.pad(8)?;
            let code = reader.byte()?;
            let signature = reader.signature()?;
            match (code, signature.as_str()) {
                (5, "u") => message.answers = Some(reader.number()?),
                (4, "s") => message.error = Some(reader.text()?),
                (8, "g") => message.signature = reader.signature()?,
                (_, "s" | "o") => drop(reader.text()?),
                (_, "u") => drop(reader.number()?),
                (_, "g") => drop(reader.signature()?),
                _ => return None,
            }
        }
        reader.pad(8)?;
        message.body = bytes.get(reader.at..)?.to_vec();
        Some(message)
    }

    /// What the arguments are.
    pub(crate) fn signature(&self) -> &str {
        &self.signature
    }

    /// The arguments.
    pub(crate) fn body(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0, is_big_endian: self.is_big_endian }
    }
}

/// Reads values one after the other; `None` where there are none. at ≤ bytes.len()
#[derive(Clone, Debug)]
pub(crate) struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    is_big_endian: bool,
}

impl<'b> Reader<'b> {
    fn new(bytes: &'b [u8]) -> Option<Self> {
        let is_big_endian = match bytes.first()? {
            b'l' => false,
            b'B' => true,
            _ => return None,
        };
        Some(Self { bytes, at: 0, is_big_endian })
    }

    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    /// Goes to the next multiple of `to`.
    pub(crate) fn pad(&mut self, to: usize) -> Option<()> {
        let at = self.at.checked_next_multiple_of(to)?;
        self.take(at - self.at).map(drop)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// `u`
    pub(crate) fn number(&mut self) -> Option<u32> {
        self.pad(4)?;
        let bytes = self.take(4)?.try_into().ok()?;
        Some(if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    /// `s` or `o`
    pub(crate) fn text(&mut self) -> Option<String> {
        let length = self.count()?;
        let text = self.take(length)?;
        self.byte()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// `g`
    pub(crate) fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        let text = self.take(length)?;
        self.byte()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// The items of an array of structures, as a reader of their own. Its numbers keep their alignment: such an array
    /// begins at a multiple of 8.
    pub(crate) fn structures(&mut self) -> Option<Self> {
        let length = self.count()?;
        self.pad(8)?;
        let bytes = self.take(length)?;
        Some(Self { bytes, at: 0, is_big_endian: self.is_big_endian })
    }

    /// Whether all was read.
    pub(crate) const fn is_done(&self) -> bool {
        self.at >= self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The call that every client makes first, byte for byte as the specification lays it out.
    #[test]
    fn a_call_has_the_bytes_of_the_specification() {
        let method = Method { service: "a.b", path: "/p", interface: "c.d", member: "M" };
        let expected = [
            &b"l\x01\x00\x01"[..], // little-endian, method call, no flags, version 1
            b"\x0f\x00\x00\x00\x07\x00\x00\x00\x48\x00\x00\x00", // body of 15 bytes, serial 7, fields of 72
            b"\x01\x01o\x00\x02\x00\x00\x00/p\x00\x00\x00\x00\x00\x00",
            b"\x02\x01s\x00\x03\x00\x00\x00c.d\x00\x00\x00\x00\x00",
            b"\x03\x01s\x00\x01\x00\x00\x00M\x00\x00\x00\x00\x00\x00\x00",
            b"\x06\x01s\x00\x03\x00\x00\x00a.b\x00\x00\x00\x00\x00",
            b"\x08\x01g\x00\x02as\x00",
            b"\x0b\x00\x00\x00\x06\x00\x00\x00failed\x00", // an array of 11 bytes with one text
        ];
        assert_eq!(call(7, method, &[Argument::Texts(&["failed"])]), expected.concat());
    }

    #[test]
    fn messages_of_both_orders_of_bytes_are_read() {
        let little = b"l\x02\x01\x01\x04\0\0\0\x05\0\0\0\x08\0\0\0\x05\x01u\0\x07\0\0\0\x2a\0\0\0";
        let big = b"B\x02\x01\x01\0\0\0\x04\0\0\0\x05\0\0\0\x08\x05\x01u\0\0\0\0\x07\0\0\0\x2a";
        for bytes in [&little[..], &big[..]] {
            assert_eq!(message_length(&bytes[..16]), Some(bytes.len()));
            let message = Message::parse(bytes).unwrap();
            assert_eq!((message.answers, message.body().number()), (Some(7), Some(42)));
        }
    }

    #[test]
    fn a_message_over_the_limit_is_none() {
        let mut start = *b"l\x02\x01\x01\0\0\0\0\x05\0\0\0\0\0\0\0";
        assert_eq!(message_length(&start), Some(16));
        start[4..8].copy_from_slice(&u32::try_from(MESSAGE_BYTES_MAX - 15).unwrap().to_le_bytes());
        assert_eq!(message_length(&start), None);
        start[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(message_length(&start), None);
    }

    proptest! {
        #[test]
        fn any_bytes_end(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), tidy in any::<bool>()) {
            if tidy && bytes.len() >= 16 {
                bytes[..4].copy_from_slice(b"l\x02\0\x01");
                bytes[12..16].copy_from_slice(&40_u32.to_le_bytes());
            }
            if let Some(message) = Message::parse(&bytes) {
                let mut body = message.body();
                let _text = body.clone().text();
                let _items = body.structures();
            }
        }
    }
}

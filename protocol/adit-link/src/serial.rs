// SPDX-License-Identifier: Apache-2.0 OR MIT
//! adit's frames over a line that loses and invents bytes: a serial console, a pipe to the test harness. Each frame is
//! its prefix and body as on TLS, a CRC-32 behind it, COBS around both, and a 0x00 at the end.
//!
//! After noise the reader is whole again at the next 0x00; what does not pass the CRC is counted and dropped. There is no
//! key here and no secrecy: whoever holds the line is whoever the line was given to. Nothing is sent again by itself.

use adit_wire::frame::{FrameError, Header, Kind, PREFIX_BYTES};
use adit_wire::health::{INVENTORY_BYTES_MAX, SNAPSHOT_BYTES_MAX};
use crc::{CRC_32_ISO_HDLC, Crc};
use embedded_io_async::{Error as _, ErrorKind, Read, Write};

mod client;
pub mod local;
pub use client::{Hello, Polled, SerialClient, SerialClientError};

/// Longest body on a serial line, bytes: the longest health report with its inventory. A second at 1 Mbaud, and all that a
/// reader must hold.
pub const SERIAL_BODY_BYTES_MAX: usize = 96 << 10;
const _: () = assert!(SERIAL_BODY_BYTES_MAX >= INVENTORY_BYTES_MAX + SNAPSHOT_BYTES_MAX + 32);
/// Bytes of the CRC.
const CRC_BYTES: usize = 4;
/// Prefix, body and CRC of the longest frame.
const PLAIN_BYTES_MAX: usize = PREFIX_BYTES + SERIAL_BODY_BYTES_MAX + CRC_BYTES;
/// Bytes of a COBS block without its length byte.
const BLOCK_BYTES: usize = 254;
/// Bytes of one read from the line.
const READ_BYTES: usize = 512;
/// The CRC of Ethernet, gzip and PNG.
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Why the line is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SerialError {
    /// The line failed.
    #[error("the serial line failed: {0:?}")]
    Line(ErrorKind),
    /// The line ended.
    #[error("the serial line ended")]
    Ended,
    /// The frame to send is too long for a serial line.
    #[error("a frame was refused")]
    Frame(#[from] FrameError),
}

/// What came over the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SerialCounts {
    /// Whole frames.
    pub frames: u64,
    /// Stretches between two 0x00 that were no frame.
    pub damaged: u64,
}

/// A received frame; the body lies in the line's buffer until the next one is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialFrame<'a> {
    /// Its header.
    pub header: Header,
    /// Its body.
    pub body: &'a [u8],
}

/// Frames over a serial line.
#[derive(Debug)]
pub struct SerialLine<L> {
    line: L,
    outgoing: Vec<u8>,
    decoder: Decoder,
    read: [u8; READ_BYTES],
    /// Read and not yet decoded: `read[at..end]`.
    at: usize,
    end: usize,
    counts: SerialCounts,
}

impl<L> SerialLine<L> {
    /// Takes the line over.
    pub fn new(line: L) -> Self {
        Self {
            line,
            outgoing: Vec::new(),
            decoder: Decoder::default(),
            read: [0; READ_BYTES],
            at: 0,
            end: 0,
            counts: SerialCounts::default(),
        }
    }

    /// What came up to now.
    #[must_use]
    pub const fn counts(&self) -> SerialCounts {
        self.counts
    }
}

impl<L: Write> SerialLine<L> {
    /// Sends a frame whose body lies in parts.
    ///
    /// # Errors
    /// When the body is too long or the line fails.
    pub async fn send(&mut self, kind: Kind, flags: u8, conversation: u32, body: &[&[u8]]) -> Result<(), SerialError> {
        let body_bytes = body.iter().map(|part| part.len()).sum();
        if body_bytes > SERIAL_BODY_BYTES_MAX {
            return Err(FrameError::TooLong { body_bytes, max: SERIAL_BODY_BYTES_MAX }.into());
        }
        let prefix = Header { kind, flags, conversation }.prefix(body_bytes)?;
        self.outgoing.clear();
        // The leading 0x00 ends whatever noise stands before the frame.
        self.outgoing.push(0);
        let mut encoder = Encoder::new(&mut self.outgoing);
        let mut digest = CRC.digest();
        for part in std::iter::once(&prefix[..]).chain(body.iter().copied()) {
            digest.update(part);
            encoder.extend(part);
        }
        encoder.extend(&digest.finalize().to_le_bytes());
        encoder.finish();
        self.line.write_all(&self.outgoing).await.map_err(|error| SerialError::Line(error.kind()))?;
        self.line.flush().await.map_err(|error| SerialError::Line(error.kind()))
    }
}

impl<L: Read> SerialLine<L> {
    /// The next whole frame, past any noise. Dropped while it waits, it loses nothing.
    ///
    /// # Errors
    /// When the line fails or ends.
    pub async fn recv(&mut self) -> Result<SerialFrame<'_>, SerialError> {
        while !self.next_frame() {
            let read = self.line.read(&mut self.read).await.map_err(|error| SerialError::Line(error.kind()))?;
            if read == 0 {
                return Err(SerialError::Ended);
            }
            (self.at, self.end) = (0, read);
        }
        let (header, body) = parse(&self.decoder.plain).ok_or(SerialError::Ended)?;
        Ok(SerialFrame { header, body })
    }

    /// Decodes what was read until a frame stands in the decoder.
    fn next_frame(&mut self) -> bool {
        if self.decoder.done {
            self.decoder.restart();
        }
        while self.at < self.end {
            let byte = self.read[self.at];
            self.at += 1;
            match self.decoder.push(byte) {
                Decoded::More => {}
                Decoded::Nothing => self.decoder.restart(),
                Decoded::Whole if parse(&self.decoder.plain).is_some() => {
                    self.counts.frames += 1;
                    self.decoder.done = true;
                    return true;
                }
                Decoded::Whole | Decoded::Noise => {
                    self.counts.damaged += 1;
                    self.decoder.restart();
                }
            }
        }
        false
    }
}

/// Header and body, if length and CRC agree.
fn parse(plain: &[u8]) -> Option<(Header, &[u8])> {
    let (framed, crc) = plain.split_last_chunk::<CRC_BYTES>()?;
    if CRC.checksum(framed) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (prefix, body) = framed.split_first_chunk::<PREFIX_BYTES>()?;
    let (header, body_bytes) = Header::from_prefix(prefix, SERIAL_BODY_BYTES_MAX).ok()?;
    (body.len() == body_bytes).then_some((header, body))
}

/// COBS: blocks of up to 254 bytes without 0x00, each behind the distance to the next 0x00.
struct Encoder<'o> {
    out: &'o mut Vec<u8>,
    /// Where the open block's length byte stands.
    length_at: usize,
}

impl<'o> Encoder<'o> {
    fn new(out: &'o mut Vec<u8>) -> Self {
        let length_at = out.len();
        out.push(0);
        Self { out, length_at }
    }

    fn extend(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == 0 {
                self.next_block();
                continue;
            }
            if self.out.len() - self.length_at > BLOCK_BYTES {
                self.next_block();
            }
            self.out.push(*byte);
        }
    }

    fn next_block(&mut self) {
        self.close_block();
        self.length_at = self.out.len();
        self.out.push(0);
    }

    fn close_block(&mut self) {
        let length = self.out.len() - self.length_at;
        self.out[self.length_at] = u8::try_from(length).expect("a block has at most 254 bytes behind its length");
    }

    fn finish(mut self) {
        self.close_block();
        self.out.push(0);
    }
}

/// What one more byte made of the stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decoded {
    /// It goes on.
    More,
    /// It ended before it began.
    Nothing,
    /// It ended and its blocks fit.
    Whole,
    /// It ended and was no frame.
    Noise,
}

/// Undoes COBS byte by byte; holds at most one frame.
#[derive(Debug, Default)]
struct Decoder {
    plain: Vec<u8>,
    /// Bytes of the open block that are still to come.
    left: u8,
    /// The open block stands for a 0x00 at its end.
    zero_follows: bool,
    begun: bool,
    /// Longer than any frame: nothing is kept until the next 0x00.
    overlong: bool,
    /// The frame was handed out.
    done: bool,
}

impl Decoder {
    fn restart(&mut self) {
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        *self = Self { plain, ..Self::default() };
    }

    fn push(&mut self, byte: u8) -> Decoded {
        if byte == 0 {
            return match (self.begun, self.overlong || self.left > 0) {
                (false, _) => Decoded::Nothing,
                (true, false) => Decoded::Whole,
                (true, true) => Decoded::Noise,
            };
        }
        if self.left > 0 {
            self.left -= 1;
            self.keep(byte);
            return Decoded::More;
        }
        if std::mem::replace(&mut self.zero_follows, byte != u8::MAX) && self.begun {
            self.keep(0);
        }
        self.begun = true;
        self.left = byte - 1;
        Decoded::More
    }

    fn keep(&mut self, byte: u8) {
        if self.plain.len() >= PLAIN_BYTES_MAX {
            self.overlong = true;
            self.plain.clear();
        }
        if !self.overlong {
            self.plain.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out);
        encoder.extend(plain);
        encoder.finish();
        out
    }

    fn check(plain: &[u8], expected: &[u8]) {
        assert_eq!(encode(plain), expected, "{plain:02x?}");
        let mut decoder = Decoder::default();
        let (last, rest) = expected.split_last().unwrap();
        assert!(rest.iter().all(|byte| decoder.push(*byte) == Decoded::More));
        assert_eq!((decoder.push(*last), &decoder.plain[..]), (Decoded::Whole, plain));
    }

    /// The examples of Cheshire and Baker's paper as the encyclopaedias print them.
    #[test]
    fn known_blocks() {
        check(&[0], &[1, 1, 0]);
        check(&[0, 0], &[1, 1, 1, 0]);
        check(&[0, 0x11, 0], &[1, 2, 0x11, 1, 0]);
        check(&[0x11, 0x22, 0, 0x33], &[3, 0x11, 0x22, 2, 0x33, 0]);
        check(&[0x11, 0x22, 0x33, 0x44], &[5, 0x11, 0x22, 0x33, 0x44, 0]);
        check(&[0x11, 0, 0, 0], &[2, 0x11, 1, 1, 1, 0]);
    }

    #[test]
    fn long_blocks() {
        let run: Vec<u8> = (1..=254).collect();
        check(&run, &[&[255][..], &run, &[0]].concat());
        let longer: Vec<u8> = (1..=255).collect();
        check(&longer, &[&[255][..], &run, &[2, 255, 0]].concat());
        check(&[&[0][..], &run].concat(), &[&[1, 255][..], &run, &[0]].concat());
    }

    #[test]
    fn every_length_comes_back() {
        for length in 0..1_100 {
            for fill in [0, 1, 255] {
                let plain = vec![fill; length];
                let encoded = encode(&plain);
                let mut decoder = Decoder::default();
                let decoded: Vec<Decoded> = encoded.iter().map(|byte| decoder.push(*byte)).collect();
                assert_eq!((decoded.last(), &decoder.plain), (Some(&Decoded::Whole), &plain), "{length} × {fill}");
            }
        }
    }

    #[test]
    fn endless_noise_is_not_kept() {
        let mut decoder = Decoder::default();
        (0..10 * PLAIN_BYTES_MAX).for_each(|_| assert_eq!(decoder.push(0x55), Decoded::More));
        assert!(decoder.plain.capacity() <= 2 * PLAIN_BYTES_MAX);
        assert_eq!(decoder.push(0), Decoded::Noise);
    }
}

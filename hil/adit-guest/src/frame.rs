// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Frames of the hand: a length of four bytes, little-endian, then that many bytes of postcard. A virtio-serial port
//! neither loses nor changes bytes, so there is no checksum. Never allocates for a length above the limit.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read, Write};

/// The longest frame, in bytes without its length.
pub const FRAME_BYTES_MAX: u32 = 8 << 20;

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream ended between two frames.
    #[error("the other side is gone")]
    Closed,
    /// The stream failed, or ended within a frame.
    #[error("transfer a frame")]
    Transfer(#[source] io::Error),
    /// A frame above [`FRAME_BYTES_MAX`].
    #[error("frame of {0} bytes, at most {FRAME_BYTES_MAX} are taken")]
    TooLong(u64),
    /// Bytes that are not what was expected: the two sides were built from different sources.
    #[error("decode a frame")]
    Content(#[source] postcard::Error),
}

/// Writes one value as a frame and flushes.
pub fn send(stream: &mut impl Write, value: &impl Serialize) -> Result<(), FrameError> {
    let mut bytes = vec![0; 4];
    bytes = postcard::to_extend(value, bytes).map_err(FrameError::Content)?;
    let length = bytes.len() as u64 - 4;
    let prefix = u32::try_from(length).ok().filter(|length| *length <= FRAME_BYTES_MAX);
    bytes[..4].copy_from_slice(&prefix.ok_or(FrameError::TooLong(length))?.to_le_bytes());
    stream.write_all(&bytes).and_then(|()| stream.flush()).map_err(FrameError::Transfer)
}

/// Reads one frame. Every byte of it must belong to the value.
pub fn receive<T: DeserializeOwned>(stream: &mut impl Read) -> Result<T, FrameError> {
    let mut prefix = [0; 4];
    let first = loop {
        match stream.read(&mut prefix) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other.map_err(FrameError::Transfer)?,
        }
    };
    if first == 0 {
        return Err(FrameError::Closed);
    }
    stream.read_exact(&mut prefix[first..]).map_err(FrameError::Transfer)?;
    let length = u32::from_le_bytes(prefix);
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(length.into()));
    }
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes).map_err(FrameError::Transfer)?;
    match postcard::take_from_bytes(&bytes).map_err(FrameError::Content)? {
        (value, []) => Ok(value),
        _ => Err(FrameError::Content(postcard::Error::DeserializeBadEncoding)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(value: &impl Serialize) -> Vec<u8> {
        let mut bytes = Vec::new();
        send(&mut bytes, value).unwrap();
        bytes
    }

    #[test]
    fn a_frame_is_a_length_and_its_bytes() {
        assert_eq!(framed(&(7_u8, "ab")), [4, 0, 0, 0, 7, 2, b'a', b'b']);
        let bytes = framed(&(7_u8, "ab"));
        assert_eq!(receive::<(u8, String)>(&mut bytes.as_slice()).unwrap(), (7, "ab".to_owned()));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = framed(&(7_u8, "ab"));
        assert!(matches!(receive::<(u8, String)>(&mut &bytes[..0]), Err(FrameError::Closed)));
        for length in 1..bytes.len() {
            assert!(matches!(receive::<(u8, String)>(&mut &bytes[..length]), Err(FrameError::Transfer(_))), "{length}");
        }
    }

    #[test]
    fn long_frames_and_rests_are_refused() {
        let long = (FRAME_BYTES_MAX + 1).to_le_bytes();
        assert!(matches!(receive::<u8>(&mut long.as_slice()), Err(FrameError::TooLong(_))));
        assert!(matches!(send(&mut Vec::new(), &vec![0_u8; FRAME_BYTES_MAX as usize]), Err(FrameError::TooLong(_))));
        assert!(matches!(receive::<u8>(&mut framed(&(7_u8, 8_u8)).as_slice()), Err(FrameError::Content(_))));
    }
}

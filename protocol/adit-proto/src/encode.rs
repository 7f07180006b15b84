// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Message bodies and packed parts as owned bytes. adit-wire encodes into a buffer that it is given; here is the buffer.

use adit_wire::frame::{BODY_BYTES_MAX, Message, MessageError};
use alloc::vec;
use alloc::vec::Vec;
use serde::Serialize;

/// First size of the buffer, bytes: most messages fit.
const ROOM_BYTES: usize = 512;

/// The body of a message.
///
/// # Errors
/// When it is longer than an ordinary frame carries, or breaks its own rule.
pub fn body<'a, M: Message<'a>>(message: &M) -> Result<Vec<u8>, MessageError> {
    let mut room = ROOM_BYTES;
    loop {
        let mut buffer = vec![0u8; room];
        match message.encode(&mut buffer) {
            Ok(filled) => {
                let length = filled.len();
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(MessageError::NoRoom(_)) if room < BODY_BYTES_MAX => room = room.saturating_mul(8).min(BODY_BYTES_MAX),
            Err(error) => return Err(error),
        }
    }
}

/// Appends one part of a [`adit_wire::list::Parts`] list; answers whether it fitted `bytes_max`. A part that does not fit
/// leaves the list as it was.
pub fn push_part<T: Serialize>(list: &mut Vec<u8>, part: &T, bytes_max: usize) -> bool {
    let before = list.len();
    let mut room = ROOM_BYTES;
    loop {
        let end = before.saturating_add(room).min(bytes_max.max(before));
        list.resize(end, 0);
        let filled = list
            .get_mut(before..)
            .and_then(|free| adit_wire::list::encode_part(part, free).ok().map(|filled| filled.len()));
        if let Some(filled) = filled {
            list.truncate(before.saturating_add(filled));
            return true;
        }
        if end >= bytes_max {
            list.truncate(before);
            return false;
        }
        room = room.saturating_mul(8);
    }
}

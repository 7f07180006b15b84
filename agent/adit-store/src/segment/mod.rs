// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Segments: files of records behind box-made envelopes. Codecs, the one that is being written, and the walk through
//! whatever a disk holds. Nothing here knows sessions, snapshots or the ledger.

mod format;
mod open;
mod walk;

pub(crate) use format::{
    Check, Class, ENVELOPE_BYTES, Envelope, Footer, FooterEntry, Kind, MarkEntry, NO_KEY, SegmentHeader, TRAILER_BYTES,
    UNIT, footer_entry,
};
pub(crate) use open::{OpenSegment, Sealed};
pub(crate) use walk::{Found, Walk};

/// Directory of a class's segments.
pub(crate) const fn dir(class: Class) -> &'static str {
    match class {
        Class::Data => "seg",
        Class::Meta => "met",
    }
}

/// Path of a segment.
pub(crate) fn path(class: Class, number: u32) -> String {
    format!("{}/{number:08x}.adt", dir(class))
}

/// The number in a segment's file name.
pub(crate) fn number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".adt").filter(|digits| digits.len() == 8)?;
    u32::from_str_radix(digits, 16).ok().filter(|number| format!("{number:08x}") == digits)
}

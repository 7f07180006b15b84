// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which files are cut at fixed places: page stores overwrite pages in place, so content never shifts in them.

use super::FIXED_BYTES;

/// How a file is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Where the keyed digest says.
    Content,
    /// Every [`FIXED_BYTES`].
    Fixed,
}

impl Method {
    /// The next fixed cut, if this method has them: `None` when more bytes are needed or the method looks at content.
    #[must_use]
    pub fn fixed_cut(self, available: usize, last: bool) -> Option<usize> {
        match self {
            Self::Content => None,
            Self::Fixed if available >= FIXED_BYTES => Some(FIXED_BYTES),
            Self::Fixed => (last && available > 0).then_some(available),
        }
    }
}

/// Bytes at the beginning of a file that [`detect`] wants to see.
pub const DETECT_BYTES: usize = 64;

/// The method for a file whose first bytes are `start`: SQLite, InnoDB tablespaces and qcow2 images tell themselves.
/// PostgreSQL heap files and raw images have no magic: their method comes from policy.
#[must_use]
pub fn detect(start: &[u8]) -> Method {
    let page_store = start.starts_with(b"SQLite format 3\0")
        || start.starts_with(b"QFI\xfb")
        || start.get(..DETECT_BYTES).is_some_and(is_innodb);
    if page_store { Method::Fixed } else { Method::Content }
}

/// Page 0 of a tablespace: page number 0, no neighbours (or the versions that stand there), type FSP_HDR (8).
fn is_innodb(page: &[u8]) -> bool {
    let zero_page_number = page[4..8] == [0; 4];
    let header_type = page[24..26] == [0, 8];
    // File space header behind the 38 bytes of the page header: space id again, then four zero bytes.
    let same_space = page[34..38] == page[38..42];
    zero_page_number && header_type && same_space && page[42..46] == [0; 4]
}

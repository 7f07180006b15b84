// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bytes of a segment: header, envelope, mark, footer. Codecs only.

use crate::bytes::{Fields, PAGE, checked_page, hashed_page, narrow};
use crate::types::Geometry;
use adit_wire::ids::{Id, KeyId, RecordHash, StoreId};
use adit_wire::record::{self, HEADER_BYTES, RECORD_BYTES_MAX, Record};
use serde::{Deserialize, Serialize};

/// Records begin at multiples of this.
pub(crate) const UNIT: u64 = 64;
/// Bytes of an envelope.
pub(crate) const ENVELOPE_BYTES: usize = 32;
/// Records of one segment at most, so that a footer always fits.
pub(crate) const RECORDS_MAX: usize = 65_535;
/// Index in a footer's key table of a record without key id.
pub(crate) const NO_KEY: u16 = u16::MAX;
/// Bytes of one footer entry.
pub(crate) const FOOTER_ENTRY_BYTES: usize = 88;
/// Bytes of a footer's trailer.
pub(crate) const TRAILER_BYTES: usize = 64;
const FORMAT: u16 = 1;
const HEADER_MAGIC: &[u8; 8] = b"ADITSEG1";
const ENVELOPE_MAGIC: &[u8; 4] = b"ADR1";
const TRAILER_MAGIC: &[u8; 8] = b"ADITFTR1";
const MARK_ENTRY_BYTES: usize = 28;

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Class {
    /// Data records, and the first copy of key records.
    Data,
    /// Nodes, snapshots, and the second copy of key records.
    Meta,
}

/// The first page of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) class: Class,
    pub(crate) number: u32,
    pub(crate) store: StoreId,
    pub(crate) geometry: Geometry,
    pub(crate) created_s: u64,
    pub(crate) alloc_block: u64,
}

impl SegmentHeader {
    pub(crate) fn to_page(self) -> [u8; PAGE] {
        let Geometry { data_log2, meta_log2, col_log2, cell_log2 } = self.geometry;
        let class = match self.class {
            Class::Data => 1,
            Class::Meta => 2,
        };
        hashed_page(&[
            HEADER_MAGIC,
            &FORMAT.to_le_bytes(),
            &[class, 0],
            &self.number.to_le_bytes(),
            &self.store.0,
            &0u64.to_le_bytes(),
            &[data_log2, meta_log2, col_log2, cell_log2],
            &narrow(RECORD_BYTES_MAX).to_le_bytes(),
            &self.created_s.to_le_bytes(),
            &self.alloc_block.to_le_bytes(),
        ])
    }

    pub(crate) fn from_page(page: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(checked_page(page)?);
        if fields.bytes(8)? != HEADER_MAGIC || fields.u16()? != FORMAT {
            return None;
        }
        let class = match fields.u8()? {
            1 => Class::Data,
            2 => Class::Meta,
            _ => return None,
        };
        fields.u8()?;
        let number = fields.u32()?;
        let store = StoreId(fields.array()?);
        if fields.u64()? != 0 {
            return None;
        }
        let [data_log2, meta_log2, col_log2, cell_log2] = fields.array()?;
        fields.u32()?;
        let geometry = Geometry { data_log2, meta_log2, col_log2, cell_log2 };
        Some(Self { class, number, store, geometry, created_s: fields.u64()?, alloc_block: fields.u64()? })
    }
}

/// What lies behind an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bytes to skip.
    Pad,
    /// A record.
    Record,
    /// How far sessions are: [`MarkEntry`]s and a hash.
    Mark,
}

/// The box's 32 bytes before a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) kind: Kind,
    /// Bytes behind the envelope.
    pub(crate) length: u32,
    pub(crate) source: u32,
    pub(crate) arrival: u64,
}

/// Where an envelope lies and with which secret it is checked: a copy elsewhere does not pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check<'a> {
    pub(crate) store_key: &'a [u8; 32],
    pub(crate) segment: u32,
    pub(crate) offset: u64,
}

impl Check<'_> {
    fn compute(&self, envelope: &[u8], client_header: &[u8]) -> [u8; 8] {
        let mut message = [0u8; 11 + 4 + 8 + 24 + HEADER_BYTES];
        message[..11].copy_from_slice(b"adit record");
        message[11..15].copy_from_slice(&self.segment.to_le_bytes());
        message[15..23].copy_from_slice(&self.offset.to_le_bytes());
        message[23..47].copy_from_slice(envelope);
        message[47..47 + client_header.len()].copy_from_slice(client_header);
        let hash = blake3::keyed_hash(self.store_key, &message[..47 + client_header.len()]);
        let mut check = [0; 8];
        check.copy_from_slice(&hash.as_bytes()[..8]);
        check
    }
}

impl Envelope {
    /// The envelope's bytes. `content` is what follows; of a record, its client header is covered too.
    pub(crate) fn to_bytes(self, check: Check<'_>, content: &[u8]) -> [u8; ENVELOPE_BYTES] {
        let mut bytes = [0; ENVELOPE_BYTES];
        bytes[..4].copy_from_slice(ENVELOPE_MAGIC);
        bytes[4] = match self.kind {
            Kind::Pad => 0,
            Kind::Record => 1,
            Kind::Mark => 2,
        };
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.source.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.arrival.to_le_bytes());
        let covered = self.covered(content);
        let check = check.compute(&bytes[..24], covered);
        bytes[24..].copy_from_slice(&check);
        bytes
    }

    fn covered<'c>(&self, content: &'c [u8]) -> &'c [u8] {
        match self.kind {
            Kind::Record => content.get(..HEADER_BYTES).unwrap_or_default(),
            Kind::Pad | Kind::Mark => &[],
        }
    }

    /// Reads and checks an envelope at the start of `bytes`, which go on behind it.
    pub(crate) fn from_bytes(bytes: &[u8], check: Check<'_>) -> Option<Self> {
        let (head, content) = bytes.split_at_checked(ENVELOPE_BYTES)?;
        let mut fields = Fields::new(head);
        if fields.bytes(4)? != ENVELOPE_MAGIC {
            return None;
        }
        let kind = match fields.u8()? {
            0 => Kind::Pad,
            1 => Kind::Record,
            2 => Kind::Mark,
            _ => return None,
        };
        fields.bytes(3)?;
        let envelope = Self { kind, length: fields.u32()?, source: fields.u32()?, arrival: fields.u64()? };
        let covered = envelope.covered(content);
        (check.compute(&head[..24], covered) == fields.array::<8>()?).then_some(envelope)
    }

    /// Bytes from this envelope to the next.
    pub(crate) const fn stride(&self) -> u64 {
        crate::bytes::align(ENVELOPE_BYTES as u64 + self.length as u64, UNIT)
    }
}

/// How far one session is: everything up to `seq` lies before this mark, here or in the other open segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MarkEntry {
    pub(crate) source: u32,
    pub(crate) key_id: KeyId,
    pub(crate) seq: u64,
}

impl MarkEntry {
    /// A mark's content: entries, then their hash.
    pub(crate) fn content(entries: &[Self]) -> Vec<u8> {
        let mut content = Vec::with_capacity(entries.len() * MARK_ENTRY_BYTES + 32);
        for entry in entries {
            content.extend_from_slice(&entry.source.to_le_bytes());
            content.extend_from_slice(&entry.key_id.0);
            content.extend_from_slice(&entry.seq.to_le_bytes());
        }
        let hash = blake3::hash(&content);
        content.extend_from_slice(hash.as_bytes());
        content
    }
}

/// Reads a mark's content.
pub(crate) fn read_mark(content: &[u8]) -> Option<Vec<MarkEntry>> {
    let (body, hash) = content.split_last_chunk::<32>()?;
    if blake3::hash(body).as_bytes() != hash || !body.len().is_multiple_of(MARK_ENTRY_BYTES) {
        return None;
    }
    body.chunks_exact(MARK_ENTRY_BYTES)
        .map(|bytes| {
            let mut fields = Fields::new(bytes);
            Some(MarkEntry { source: fields.u32()?, key_id: KeyId(fields.array()?), seq: fields.u64()? })
        })
        .collect()
}

/// One record of a segment, as its footer lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FooterEntry {
    /// Offset of the envelope.
    pub(crate) offset: u64,
    /// Bytes behind the envelope.
    pub(crate) length: u32,
    pub(crate) arrival: u64,
    pub(crate) id: Id,
    pub(crate) hash: RecordHash,
    pub(crate) source: u32,
    /// Place in the footer's key table, or [`NO_KEY`]. A key record names the key id that it wraps.
    pub(crate) key: u16,
    pub(crate) class: record::Class,
    pub(crate) height: u8,
}

/// The footer entry of a record.
pub(crate) fn footer_entry(envelope: &Envelope, offset: u64, record: &Record<'_>, key: u16) -> FooterEntry {
    FooterEntry {
        offset,
        length: envelope.length,
        arrival: envelope.arrival,
        id: record.header.id,
        hash: record.hash,
        source: envelope.source,
        key,
        class: record.header.class,
        height: record.header.height,
    }
}

/// The list of records at the end of a sealed segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) entries: Vec<FooterEntry>,
    pub(crate) key_ids: Vec<KeyId>,
}

impl Footer {
    /// Bytes of a footer of so many records and key ids.
    pub(crate) const fn bytes(records: usize, key_ids: usize) -> u64 {
        (records * FOOTER_ENTRY_BYTES + key_ids * KeyId::BYTES + TRAILER_BYTES) as u64
    }

    /// The footer's bytes and its hash, for a footer that begins at `offset`.
    pub(crate) fn to_bytes(&self, header: &[u8; PAGE], offset: u64) -> (Vec<u8>, [u8; 32]) {
        let mut bytes = Vec::with_capacity(crate::bytes::memory(Self::bytes(self.entries.len(), self.key_ids.len())));
        for entry in &self.entries {
            let place = u32::try_from(entry.offset / UNIT).expect("segments are at most 2^32 bytes");
            bytes.extend_from_slice(&place.to_le_bytes());
            bytes.extend_from_slice(&entry.length.to_le_bytes());
            bytes.extend_from_slice(&entry.arrival.to_le_bytes());
            bytes.extend_from_slice(&entry.id.0);
            bytes.extend_from_slice(&entry.hash.0);
            bytes.extend_from_slice(&entry.source.to_le_bytes());
            bytes.extend_from_slice(&entry.key.to_le_bytes());
            bytes.extend_from_slice(&[entry.class as u8, entry.height]);
        }
        for key_id in &self.key_ids {
            bytes.extend_from_slice(&key_id.0);
        }
        bytes.extend_from_slice(TRAILER_MAGIC);
        bytes.extend_from_slice(&narrow(self.entries.len()).to_le_bytes());
        bytes.extend_from_slice(&narrow(self.key_ids.len()).to_le_bytes());
        bytes.extend_from_slice(&offset.to_le_bytes());
        let mut hasher = blake3::Hasher::new();
        hasher.update(header).update(&bytes);
        let hash = *hasher.finalize().as_bytes();
        bytes.extend_from_slice(&hash);
        bytes.extend_from_slice(&[0; 8]);
        (bytes, hash)
    }

    /// Where a footer begins and how long it is, from the last 64 bytes of a file of `file_bytes`.
    pub(crate) fn locate(trailer: &[u8; TRAILER_BYTES], file_bytes: u64) -> Option<u64> {
        let mut fields = Fields::new(trailer);
        if fields.bytes(8)? != TRAILER_MAGIC {
            return None;
        }
        let records = crate::bytes::memory(fields.u32()?.into());
        let key_ids = crate::bytes::memory(fields.u32()?.into());
        let offset = fields.u64()?;
        let fits = records <= RECORDS_MAX && key_ids <= RECORDS_MAX;
        (fits && offset.checked_add(Self::bytes(records, key_ids))? == file_bytes).then_some(offset)
    }

    /// Reads a whole footer whose hash must be `expected`.
    pub(crate) fn from_bytes(bytes: &[u8], header: &[u8], expected: &[u8; 32]) -> Option<Self> {
        let (body, trailer) = bytes.split_last_chunk::<TRAILER_BYTES>()?;
        let mut fields = Fields::new(trailer);
        fields.bytes(8)?;
        let records = crate::bytes::memory(fields.u32()?.into());
        let key_ids = crate::bytes::memory(fields.u32()?.into());
        fields.u64()?;
        let stated: [u8; 32] = fields.array()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(header).update(bytes.get(..bytes.len() - 40)?);
        let hash = *hasher.finalize().as_bytes();
        let right = hash == stated && &hash == expected && fields.u64()? == 0;
        if !right || body.len() != records * FOOTER_ENTRY_BYTES + key_ids * KeyId::BYTES {
            return None;
        }
        let (entries, table) = body.split_at_checked(records * FOOTER_ENTRY_BYTES)?;
        let entries = entries.chunks_exact(FOOTER_ENTRY_BYTES).map(read_entry).collect::<Option<Vec<_>>>()?;
        let key_ids = table.chunks_exact(KeyId::BYTES).filter_map(KeyId::from_slice).collect();
        Some(Self { entries, key_ids })
    }

    /// The key id of an entry; zero if it has none.
    pub(crate) fn key_id(&self, entry: &FooterEntry) -> KeyId {
        self.key_ids.get(usize::from(entry.key)).copied().unwrap_or_default()
    }
}

fn read_entry(bytes: &[u8]) -> Option<FooterEntry> {
    let mut fields = Fields::new(bytes);
    Some(FooterEntry {
        offset: u64::from(fields.u32()?) * UNIT,
        length: fields.u32()?,
        arrival: fields.u64()?,
        id: Id(fields.array()?),
        hash: RecordHash(fields.array()?),
        source: fields.u32()?,
        key: fields.u16()?,
        class: class_of(fields.u8()?)?,
        height: fields.u8()?,
    })
}

/// A record class from its byte.
pub(crate) const fn class_of(byte: u8) -> Option<record::Class> {
    match byte {
        1 => Some(record::Class::Data),
        2 => Some(record::Class::Node),
        3 => Some(record::Class::Snapshot),
        4 => Some(record::Class::Key),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Check, Class, Envelope, Footer, FooterEntry, Kind, MarkEntry, SegmentHeader, TRAILER_BYTES, read_mark,
    };
    use crate::types::Geometry;
    use adit_wire::ids::{Id, KeyId, RecordHash, StoreId};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn header_golden_bytes() {
        let header = SegmentHeader {
            class: Class::Meta,
            number: 0x0a0b,
            store: StoreId([0x33; 16]),
            geometry: Geometry::default(),
            created_s: 7,
            alloc_block: 9,
        };
        let page = header.to_page();
        let expected = format!(
            "4144495453454731010002000b0a0000{}00000000000000001c1a160c0000200007000000000000000900000000000000",
            "33".repeat(16)
        );
        assert_eq!(hex(&page[..64]), expected);
        assert_eq!(SegmentHeader::from_page(&page), Some(header));
        for at in 0..page.len() {
            let mut torn = page;
            torn[at] ^= 0x80;
            assert_eq!(SegmentHeader::from_page(&torn), None, "byte {at}");
        }
    }

    #[test]
    fn envelope_golden_bytes() {
        let check = Check { store_key: &[1; 32], segment: 2, offset: 4096 };
        let envelope = Envelope { kind: Kind::Record, length: 96, source: 3, arrival: 4 };
        let content = [5; 96];
        let bytes = envelope.to_bytes(check, &content);
        assert_eq!(hex(&bytes[..24]), "414452310100000060000000030000000400000000000000");
        let mut message = b"adit record\x02\0\0\0\0\x10\0\0\0\0\0\0".to_vec();
        message.extend_from_slice(&bytes[..24]);
        message.extend_from_slice(&content[..64]);
        assert_eq!(bytes[24..], blake3::keyed_hash(&[1; 32], &message).as_bytes()[..8]);
        let mut all = bytes.to_vec();
        all.extend_from_slice(&content);
        assert_eq!(Envelope::from_bytes(&all, check), Some(envelope));
        assert_eq!(envelope.stride(), 128);
        for at in 0..96 {
            let mut torn = all.clone();
            torn[at] ^= 4;
            assert_eq!(Envelope::from_bytes(&torn, check), None, "byte {at}");
        }
        for moved in
            [Check { segment: 3, ..check }, Check { offset: 4160, ..check }, Check { store_key: &[2; 32], ..check }]
        {
            assert_eq!(Envelope::from_bytes(&all, moved), None, "an envelope holds in its place only");
        }
    }

    #[test]
    fn mark_round_trip() {
        let entries = [MarkEntry { source: 1, key_id: KeyId([2; 16]), seq: 3 }];
        let content = MarkEntry::content(&entries);
        assert_eq!(hex(&content[..28]), format!("01000000{}0300000000000000", "02".repeat(16)));
        assert_eq!(read_mark(&content).as_deref(), Some(&entries[..]));
        for at in 0..content.len() {
            let mut torn = content.clone();
            torn[at] ^= 1;
            assert_eq!(read_mark(&torn), None, "byte {at}");
        }
    }

    #[test]
    fn footer_golden_bytes() {
        let footer = Footer {
            entries: vec![FooterEntry {
                offset: 4096,
                length: 100,
                arrival: 8,
                id: Id([9; 32]),
                hash: RecordHash([10; 32]),
                source: 11,
                key: 0,
                class: adit_wire::record::Class::Node,
                height: 1,
            }],
            key_ids: vec![KeyId([12; 16])],
        };
        let header = [0; 4096];
        let (bytes, hash) = footer.to_bytes(&header, 8192);
        let expected = format!(
            "40000000640000000800000000000000{}{}0b00000000000201{}414449544654523101000000010000000020000000000000",
            "09".repeat(32),
            "0a".repeat(32),
            "0c".repeat(16)
        );
        assert_eq!(hex(&bytes[..bytes.len() - 40]), expected);
        let trailer: &[u8; TRAILER_BYTES] = bytes.last_chunk().expect("a footer has a trailer");
        assert_eq!(Footer::locate(trailer, 8192 + bytes.len() as u64), Some(8192));
        assert_eq!(Footer::from_bytes(&bytes, &header, &hash), Some(footer));
        for at in 0..bytes.len() {
            let mut torn = bytes.clone();
            torn[at] ^= 1;
            assert_eq!(Footer::from_bytes(&torn, &header, &hash), None, "byte {at}");
        }
    }
}

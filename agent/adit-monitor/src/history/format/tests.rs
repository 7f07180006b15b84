// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Frozen bytes of history, round trips, and bytes that are none.

use super::*;
use proptest::prelude::*;

fn key(component: &str, quantity: u8) -> SeriesKey {
    SeriesKey { component: component.to_owned(), quantity }
}

fn small() -> Block {
    let span = |least, mean, greatest| Some(Span { least, mean, greatest });
    Block {
        tier: Tier::Hours,
        start: 490_000,
        count: 3,
        series: vec![
            Series { key: key("sda", 25), slots: vec![span(300, 345, 350), span(340, 340, 341), span(-5, 0, 9)] },
            Series { key: key("md0", 31), slots: vec![None, Some(Span::of(1)), None] },
        ],
    }
}

fn read(bytes: &[u8]) -> Result<Block, FormatError> {
    let head = BlockHead::decode(bytes)?;
    let packed = bytes[BLOCK_HEAD_BYTES..].get(..head.packed_bytes as usize).ok_or(FormatError::Truncated)?;
    Block::decode(&head, packed)
}

/// The columns as the format draws them. How zstd packs them may change with its version; what it unpacks may not.
#[test]
fn the_columns_of_a_block_are_frozen() {
    let expected = "03736461 19 036d6430 1f 01 b205 09 a705 2d 00 05 05 01 09 00 02 02 00 00";
    let hex: String = small().raw().expect("fits").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expected.replace(' ', ""));
}

/// A block that the first version of this program wrote. It is read for ever.
#[test]
fn a_block_of_the_first_version_is_read() {
    let bytes = include_bytes!("golden/block-v1.bin");
    assert_eq!(read(bytes), Ok(small()));
    let journal = include_bytes!("golden/journal-v1.bin");
    assert_eq!(read_journal(journal), (journal_records(), journal.len()));
}

fn journal_records() -> Vec<Record> {
    vec![
        Record::Series(vec![key("sda", 25), key("md0", 31)]),
        Record::Tick { tick: 5_880_000, values: vec![Some(345), Some(-2)] },
        Record::Tick { tick: 5_880_001, values: vec![Some(i64::MAX), None] },
    ]
}

fn journal() -> Vec<u8> {
    let mut bytes = JOURNAL_HEAD.to_vec();
    for record in journal_records() {
        bytes.extend(record.encode().expect("fits"));
    }
    bytes
}

#[test]
fn a_torn_journal_is_read_to_its_last_whole_record() {
    let whole = journal();
    assert_eq!(whole, include_bytes!("golden/journal-v1.bin"), "the journal's bytes are frozen");
    let mut lengths = Vec::new();
    for length in 0..=whole.len() {
        let (records, good) = read_journal(&whole[..length]);
        assert!(good <= length && journal_records().starts_with(&records), "{length} bytes");
        lengths.push(records.len());
    }
    assert!(lengths.is_sorted() && lengths.last() == Some(&3), "{lengths:?}");
}

#[test]
fn a_flipped_bit_of_a_block_is_noticed() {
    let whole = small().encode().expect("fits");
    for at in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        assert!(read(&bytes).is_err(), "bit {at}");
    }
    for length in 0..whole.len() {
        assert!(read(&whole[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn limits_are_held() {
    let series = |count: usize| Block {
        tier: Tier::Minutes,
        start: 0,
        count: 1,
        series: vec![Series { key: key("x", 1), slots: vec![None] }; count],
    };
    assert!(series(SERIES_MAX).encode().is_ok());
    assert_eq!(series(SERIES_MAX + 1).encode(), Err(FormatError::Rule));
    let long = Block { count: 673, series: Vec::new(), ..series(0) };
    assert_eq!(long.encode(), Err(FormatError::Rule));
}

fn spans() -> impl Strategy<Value = Option<Span>> {
    proptest::option::of((any::<i64>(), any::<i64>(), any::<i64>()).prop_map(|(a, b, c)| {
        let mut values = [a, b, c];
        values.sort_unstable();
        Span { least: values[0], mean: values[1], greatest: values[2] }
    }))
}

proptest! {
    #[test]
    fn what_was_written_is_read(columns in proptest::collection::vec(proptest::collection::vec(spans(), 20), 0..6),
                                minutes in any::<bool>(), start in any::<u32>()) {
        let tier = if minutes { Tier::Minutes } else { Tier::Days };
        let flat = |span: Option<Span>| if minutes { span.map(|span| Span::of(span.mean)) } else { span };
        let series = columns.into_iter().enumerate().map(|(index, slots)| Series {
            key: key(&format!("c{index}"), 7),
            slots: slots.into_iter().map(flat).collect(),
        });
        let block = Block { tier, start, count: 20, series: series.collect() };
        prop_assert_eq!(read(&block.encode().expect("fits")), Ok(block));
    }

    #[test]
    fn noise_is_an_error_or_a_block(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _either = read(&bytes).is_ok();
        let mut journal = JOURNAL_HEAD.to_vec();
        journal.extend(&bytes);
        let _some = read_journal(&journal);
        // Columns that are noise behind a head that fits.
        let packed = zstd::bulk::compress(&bytes, 1).expect("packs");
        let head = BlockHead { tier: Tier::Hours, start: 0, count: 50, series: 3, raw_bytes: 300,
                               packed_bytes: 0, packed_crc: CRC.checksum(&packed) };
        let _either = Block::decode(&head, &packed).is_ok();
    }
}

/// Writes the frozen files anew: only for a new version of the format, by hand.
#[test]
fn bless_golden_files_only_when_asked() {
    if std::env::var_os("ADIT_BLESS").is_some_and(|word| word == "history") {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/history/format/golden");
        std::fs::write(dir.join("block-v1.bin"), small().encode().expect("fits")).expect("written");
        std::fs::write(dir.join("journal-v1.bin"), journal()).expect("written");
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The box's signed promises, one hex line each, newest last. At every WELCOME the newest is held against what the box
//! shows: a box that shows less than it promised went back in time, and a person must hear of it.

use crate::exit::Exit;
use crate::failure::Failure;
use crate::state::{StateDir, names};
use crate::text;
use adit_wire::ids::{Id, StoreId};
use adit_wire::signed::Receipt;

/// Receipts that are kept.
const KEPT: usize = 200;

/// Every receipt, oldest first. Lines that are no receipt are skipped: a torn line must not stop a backup.
///
/// # Errors
/// When the file can't be read.
pub fn read(state: &StateDir) -> Result<Vec<Receipt>, Failure> {
    let text = state.read_text(names::RECEIPTS)?.unwrap_or_default();
    Ok(text.lines().filter_map(|line| Receipt::read(&text::hex(line)?).ok().map(|(receipt, _, _)| receipt)).collect())
}

/// Adds a verified receipt; the oldest beyond [`KEPT`] go.
///
/// # Errors
/// When the file can't be written.
pub fn add(state: &StateDir, receipt: &[u8]) -> Result<(), Failure> {
    let text = state.read_text(names::RECEIPTS)?.unwrap_or_default();
    let mut lines: Vec<&str> = text.lines().collect();
    let line = text::to_hex(receipt);
    lines.push(&line);
    let kept = lines.split_off(lines.len().saturating_sub(KEPT));
    state.write(names::RECEIPTS, format!("{}\n", kept.join("\n")).as_bytes())
}

/// Holds what the box shows against the newest receipt of that store.
///
/// # Errors
/// When the box shows less than it promised.
pub fn check(receipts: &[Receipt], store: StoreId, shown_seq: u64, shown_head: Id) -> Result<(), Failure> {
    let Some(promised) = receipts.iter().rev().find(|receipt| receipt.store == store) else { return Ok(()) };
    let same = shown_seq == promised.seq && shown_head == promised.head;
    if same || shown_seq > promised.seq {
        return Ok(());
    }
    let shows = match shown_seq {
        0 => "no snapshot at all".to_owned(),
        seq if seq == promised.seq => format!("another snapshot {seq}"),
        seq => format!("only snapshot {seq}"),
    };
    Err(Failure::new(
        Exit::Damaged,
        format!(
            "the box went back in time: it promised snapshot {} ({}) on {} and now shows {shows}",
            promised.seq,
            text::short(&promised.head),
            text::time(promised.time_s),
        ),
        "find out what happened to the box's disk; then `adit backup --accept-gap` goes on from what is there",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_wire::ids::{LedgerHash, SourceId};

    fn receipt(seq: u64) -> Receipt {
        Receipt {
            store: StoreId([1; 16]),
            source: SourceId([2; 16]),
            seq,
            head: Id([u8::try_from(seq).unwrap(); 32]),
            ledger_block: seq,
            ledger_hash: LedgerHash::ZERO,
            time_s: 0,
        }
    }

    #[test]
    fn a_box_that_went_back_is_told() {
        let store = StoreId([1; 16]);
        let known = [receipt(1), receipt(2)];
        check(&known, store, 2, Id([2; 32])).unwrap();
        check(&known, store, 3, Id([3; 32])).unwrap();
        check(&known, StoreId([9; 16]), 0, Id::ZERO).unwrap();
        for (seq, head, shows) in
            [(1, 1, "only snapshot 1"), (0, 0, "no snapshot at all"), (2, 7, "another snapshot 2")]
        {
            let failure = check(&known, store, seq, Id([head; 32])).unwrap_err();
            assert_eq!(failure.exit, Exit::Damaged);
            assert!(failure.what.starts_with("the box went back in time: it promised snapshot 2 (020202020202) on "));
            assert!(failure.what.ends_with(shows), "{}", failure.what);
        }
    }

    #[test]
    fn the_newest_two_hundred_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().to_owned());
        for seq in 1..=203u64 {
            let mut seven = receipt(seq % 200);
            seven.seq = seq;
            add(&state, &[&seven.to_bytes()[..], &[0; 64]].concat()).unwrap();
        }
        let kept = read(&state).unwrap();
        assert_eq!((kept.len(), kept[0].seq, kept[199].seq), (200, 4, 203));
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What belongs to this machine: a thing that was seen is expected from then on, and one that is gone is told until a person
//! retires it by [`Expected::forget`]. Without this a disk that drops off its bus leaves nothing behind that could complain.
//!
//! The owner stores the bytes; damaged bytes are an empty inventory, which learns anew. Never judges what is there.

use crate::date;
use crate::model::{Component, Finding};
use crate::rules::volume;
use adit_wire::health::LABEL_BYTES_MAX;
use adit_wire::health::codes::{Check, ComponentKind, Reason, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Things that are expected: several times what a large server has. With more, new ones are not remembered.
pub const ITEMS_MAX: usize = 192;
/// Longest encoding, bytes: [`ITEMS_MAX`] items with the longest names.
pub const BYTES_MAX: usize = 64 << 10;
/// At which look without it a thing is missing; one that people may unplug gets a look more.
const LOOKS: u8 = 2;
const LOOKS_REMOVABLE: u8 = 3;
/// Things that others tell of are asked for in longer steps, and later after a start: five minutes of looks.
const LOOKS_ASKED: u8 = 10;
/// Looks may follow each other fast: nothing is missing that was seen so shortly before, seconds.
const GONE_S: u64 = 15;
const VERSION: u8 = 1;

/// The inventory of one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// By kind and id.
    items: BTreeMap<(u8, String), Item>,
}

/// A thing that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Item {
    label: String,
    first_seen_s: u64,
    last_seen_s: u64,
    /// Looks since then that did not see it.
    missed: u8,
    removable: bool,
    /// Id of the array or pool that it is a part of; empty for none.
    holder: String,
}

/// What matters of a thing when it is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// Whether people unplug it.
    pub removable: bool,
    /// Id of the array or pool that it is a part of.
    pub holder: Option<String>,
}

impl Expected {
    /// Reads what [`Self::encode`] wrote; anything else is an empty inventory.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let Some((&VERSION, body)) = bytes.split_first() else { return Self::default() };
        let items = postcard::from_bytes::<Vec<((u8, String), Item)>>(body).unwrap_or_default();
        Self { items: items.into_iter().take(ITEMS_MAX).collect() }
    }

    /// The bytes to store, at most [`BYTES_MAX`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let items: Vec<_> = self.items.iter().collect();
        let mut bytes = vec![VERSION];
        bytes.extend(postcard::to_stdvec(&items).unwrap_or_default());
        bytes
    }

    /// Takes a report in and adds what is missing from it. `expects` says of a component whether it should stay.
    pub fn look(
        &mut self,
        now_s: u64,
        components: &mut Vec<Component>,
        expects: impl Fn(&Component) -> Option<Traits>,
    ) {
        for item in self.items.values_mut() {
            item.missed = item.missed.saturating_add(1);
        }
        for component in components.iter() {
            if let Some(traits) = expects(component) {
                self.see(now_s, component, traits);
            }
        }
        let missing: Vec<Component> =
            self.items.iter().filter_map(|((kind, id), item)| missing(now_s, *kind, id, item, components)).collect();
        components.extend(missing);
    }

    /// Retires everything of this id: it is not expected any more. Answers whether there was any.
    pub fn forget(&mut self, id: &str) -> bool {
        let before = self.items.len();
        self.items.retain(|(_, known), _| known != id);
        self.items.len() < before
    }

    fn see(&mut self, now_s: u64, component: &Component, traits: Traits) {
        let key = (component.kind as u8, clip(&component.id));
        if !self.items.contains_key(&key) && self.items.len() >= ITEMS_MAX {
            return;
        }
        let first_seen_s = self.items.get(&key).map_or(now_s, |item| item.first_seen_s);
        let item = Item {
            label: clip(&component.label),
            first_seen_s,
            last_seen_s: now_s,
            missed: 0,
            removable: traits.removable,
            holder: clip(&traits.holder.unwrap_or_default()),
        };
        self.items.insert(key, item);
    }
}

/// At its first look without it a thing stays in the report as well: it may be back at the next.
fn missing(now_s: u64, kind: u8, id: &str, item: &Item, there: &[Component]) -> Option<Component> {
    let kind = ComponentKind::from_number(kind).filter(|_| item.missed > 0)?;
    let asked = matches!(kind, ComponentKind::Ups | ComponentKind::Controller | ComponentKind::Bmc);
    let (verdict, looks) = match (item.removable, asked) {
        (true, _) => (Verdict::Warning, LOOKS_REMOVABLE),
        (false, true) => (Verdict::Critical, LOOKS_ASKED),
        (false, false) => (Verdict::Critical, LOOKS),
    };
    let gone = item.missed >= looks && now_s.saturating_sub(item.last_seen_s) >= GONE_S;
    let finding = if !gone {
        Finding::ok(Check::Present)
    } else if kind == ComponentKind::Volume && id.starts_with(volume::LUKS) {
        volume::locked()
    } else {
        let holder = there.iter().find(|component| component.id == item.holder).and_then(state_of);
        let seen = format!("last seen {}", date::text(item.last_seen_s));
        let detail = holder.map_or_else(|| seen.clone(), |holder| format!("{holder}; {seen}"));
        Finding::new(Check::Present, verdict, Reason::Missing).with_detail(detail)
    };
    Some(Component {
        kind,
        id: id.to_owned(),
        label: item.label.clone(),
        findings: vec![finding],
        readings: Vec::new(),
    })
}

/// "md0: no redundancy left" of an array or pool that is not well.
fn state_of(holder: &Component) -> Option<String> {
    let finding = holder.findings.first().filter(|finding| finding.verdict != Verdict::Ok)?;
    let name = holder.label.split(" (").next().unwrap_or(&holder.label);
    let state =
        finding.detail.split(':').next().filter(|state| !state.is_empty()).unwrap_or_else(|| finding.reason.text());
    Some(format!("{name}: {state}"))
}

/// What fits on the wire.
fn clip(text: &str) -> String {
    let mut text = text.to_owned();
    text.truncate(text.floor_char_boundary(LABEL_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW_S: u64 = 1_795_356_300;

    fn component(kind: ComponentKind, id: &str, label: &str) -> Component {
        Component { kind, id: id.into(), label: label.into(), findings: Vec::new(), readings: Vec::new() }
    }

    fn all(_: &Component) -> Option<Traits> {
        Some(Traits { removable: false, holder: Some("uuid".into()) })
    }

    #[test]
    fn a_disk_that_was_pulled_is_told_with_the_state_of_its_array() {
        let disk = component(ComponentKind::Disk, "naa.1", "sdb (WD40EFRX WCC4E bay 3)");
        let mut array = component(ComponentKind::Array, "uuid", "md0 (raid1)");
        array.findings = vec![
            Finding::new(Check::ArrayState, Verdict::Critical, Reason::Degraded)
                .with_detail("no redundancy left: 1 of 2 members missing"),
        ];
        let mut expected = Expected::default();
        expected.look(NOW_S, &mut vec![disk.clone(), array.clone()], all);
        let mut restarted = Expected::decode(&expected.encode());
        let mut look = |at_s: u64, mut there: Vec<Component>| {
            restarted.look(at_s, &mut there, all);
            there.into_iter().filter(|component| component.kind == ComponentKind::Disk).collect::<Vec<_>>()
        };
        let first = look(NOW_S + 30, vec![array.clone()]);
        assert_eq!(first[0].findings, [Finding::ok(Check::Present)], "it may be back at the next look");
        let second = look(NOW_S + 60, vec![array.clone()]);
        assert_eq!(second[0].label, "sdb (WD40EFRX WCC4E bay 3)");
        let finding = &second[0].findings[0];
        assert_eq!((finding.verdict, finding.reason), (Verdict::Critical, Reason::Missing));
        assert_eq!(finding.detail, "md0: no redundancy left; last seen 2026-11-22 14:05 UTC");
        assert_eq!(look(NOW_S + 90, vec![array, disk]).len(), 1);
        assert!(restarted.forget("naa.1") && !restarted.forget("naa.1"));
        let mut there = Vec::new();
        restarted.look(NOW_S + 120, &mut there, all);
        assert!(there.iter().all(|component| component.kind != ComponentKind::Disk));
    }

    #[test]
    fn a_full_inventory_fits_its_limit() {
        let mut expected = Expected::default();
        let long = "ä".repeat(LABEL_BYTES_MAX);
        for index in 0..ITEMS_MAX + 9 {
            let mut there = vec![component(ComponentKind::Disk, &format!("{index}{long}"), &long)];
            let holder = Some(long.clone());
            expected.look(NOW_S, &mut there, |_| Some(Traits { removable: true, holder: holder.clone() }));
        }
        let bytes = expected.encode();
        assert!(expected.items.len() == ITEMS_MAX && bytes.len() <= BYTES_MAX, "{} bytes", bytes.len());
        assert_eq!(Expected::decode(&bytes).items, expected.items);
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_inventory(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..100, to in any::<u8>()) {
            drop(Expected::decode(&bytes).encode());
            let mut expected = Expected::default();
            expected.look(NOW_S, &mut vec![component(ComponentKind::Disk, "naa.1", "sda")], all);
            let mut bytes = expected.encode();
            let at = at % bytes.len();
            bytes[at] = to;
            drop(Expected::decode(&bytes).encode());
        }
    }
}

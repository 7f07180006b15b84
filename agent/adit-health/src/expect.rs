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
/// How long a thing must have been away at every look to be missing, seconds: two looks of the agent's usual ones; looks may
/// also follow each other fast. One that people may unplug has a look more.
const GONE_AFTER_S: u64 = 15;
const UNPLUGGED_AFTER_S: u64 = 45;
/// What others are asked for comes in longer steps, and late after a start.
const UNTOLD_AFTER_S: u64 = 300;
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
    /// The first look since then that did not see it, seconds since 1970.
    missed_s: Option<u64>,
    removable: bool,
    asked: bool,
    /// Id of the array or pool that it is a part of; empty for none.
    holder: String,
}

/// What matters of a thing when it is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// Whether people unplug it.
    pub removable: bool,
    /// Whether somebody else was asked for it, and did not find it by looking: an answer may come minutes after a start.
    pub asked: bool,
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
            item.missed_s = Some(item.missed_s.unwrap_or(now_s).min(now_s));
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
            missed_s: None,
            removable: traits.removable,
            asked: traits.asked,
            holder: clip(&traits.holder.unwrap_or_default()),
        };
        self.items.insert(key, item);
    }
}

/// At its first look without it a thing stays in the report as well: it may be back at the next.
fn missing(now_s: u64, kind: u8, id: &str, item: &Item, there: &[Component]) -> Option<Component> {
    let (kind, missed_s) = (ComponentKind::from_number(kind)?, item.missed_s?);
    let (verdict, after_s) = match (item.removable, item.asked) {
        (true, _) => (Verdict::Warning, UNPLUGGED_AFTER_S),
        (false, true) => (Verdict::Critical, UNTOLD_AFTER_S),
        (false, false) => (Verdict::Critical, GONE_AFTER_S),
    };
    let gone = now_s.saturating_sub(missed_s) >= after_s;
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
        Some(Traits { holder: Some("uuid".into()), ..Traits::default() })
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

    /// Each thing that the agent begins to ask makes a look of its own, so a start has ten of them in a second.
    #[test]
    fn many_looks_after_a_start_miss_nothing() {
        let volume = component(ComponentKind::Volume, "LVM-x", "vg-pool");
        let told = |_: &Component| Some(Traits { asked: true, ..Traits::default() });
        let mut expected = Expected::default();
        expected.look(NOW_S, &mut vec![volume.clone()], told);
        let mut restarted = Expected::decode(&expected.encode());
        let mut look = |after_s: u64, mut there: Vec<Component>| {
            restarted.look(NOW_S + 86_400 + after_s, &mut there, told);
            there.iter().flat_map(|component| &component.findings).any(|finding| finding.verdict != Verdict::Ok)
        };
        assert!((0..20).all(|_| !look(0, Vec::new())));
        assert!(!look(299, Vec::new()) && look(300, Vec::new()));
        assert!(!look(330, vec![volume]) && !look(360, Vec::new()));
    }

    #[test]
    fn a_full_inventory_fits_its_limit() {
        let mut expected = Expected::default();
        let long = "ä".repeat(LABEL_BYTES_MAX);
        for index in 0..ITEMS_MAX + 9 {
            let mut there = vec![component(ComponentKind::Disk, &format!("{index}{long}"), &long)];
            let holder = Some(long.clone());
            expected.look(NOW_S, &mut there, |_| Some(Traits { removable: true, asked: true, holder: holder.clone() }));
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

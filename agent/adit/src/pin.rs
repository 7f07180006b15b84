// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The pinned box: its key, its names, every way to reach it. A fleet can write this file without a token. Addresses are
//! hints; the key alone decides who is trusted.

use crate::failure::Failure;
use crate::state::{StateDir, names};
use crate::text;
use adit_link::Target;
use adit_wire::ids::{PublicKey, StoreId};
use adit_wire::pair::Role;
use adit_wire::signed::AddressRecord;
use serde::{Deserialize, Serialize};
use std::net::Ipv6Addr;

/// Addresses that one dial tries.
const TARGETS_MAX: usize = 8;

/// `box.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The box's public key, 64 hex digits.
    pub key: String,
    /// The box's own name.
    #[serde(default)]
    pub name: String,
    /// What this machine may do there.
    #[serde(default = "default_role")]
    pub role: String,
    /// The store's id, 32 hex digits; empty when there is none.
    #[serde(default)]
    pub store: String,
    /// `[IPv6]:port` or `name:port`, from the token or typed by a person.
    pub addresses: Vec<String>,
    /// The box's newest signed address record in hex; empty when none came.
    #[serde(default)]
    pub address_record: String,
    /// The epoch of the certificate that the box has registered; 0 for none.
    #[serde(default)]
    pub certified_epoch: u32,
    /// When the pairing was made, seconds since 1970.
    #[serde(default)]
    pub paired_s: u64,
}

fn default_role() -> String {
    Role::Source.word().to_owned()
}

impl Pin {
    /// The pin of a state directory, or `None` before pairing.
    ///
    /// # Errors
    /// When the file is unreadable or does not parse.
    pub fn read(state: &StateDir) -> Result<Option<Self>, Failure> {
        state.read_toml(names::BOX)
    }

    /// The pin; an unpaired directory is a failure with its next step.
    ///
    /// # Errors
    /// As [`Self::read`], and when there is none.
    pub fn need(state: &StateDir) -> Result<Self, Failure> {
        Self::read(state)?.ok_or_else(|| Failure::not_paired(state.path()))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, state: &StateDir) -> Result<(), Failure> {
        state.write_toml(names::BOX, self)
    }

    /// The box's key.
    ///
    /// # Errors
    /// When the file holds no key.
    pub fn public_key(&self, state: &StateDir) -> Result<PublicKey, Failure> {
        text::public_key(&self.key).ok_or_else(|| Failure::state(&state.file(names::BOX), "key is not 64 hex digits"))
    }

    /// The store's id; `None` when the file names none.
    #[must_use]
    pub fn store_id(&self) -> Option<StoreId> {
        text::hex(&self.store).and_then(|bytes| StoreId::from_slice(&bytes)).filter(|store| !store.is_zero())
    }

    /// Every way to reach the box: its own newest record first, then what the file names; at most eight.
    ///
    /// # Errors
    /// When an address of the file does not parse.
    pub fn targets(&self, state: &StateDir) -> Result<Vec<Target>, Failure> {
        let mut texts = self.record_addresses();
        texts.extend(self.addresses.iter().cloned());
        let mut seen = std::collections::BTreeSet::new();
        texts.retain(|text| seen.insert(text.clone()));
        texts
            .iter()
            .take(TARGETS_MAX)
            .map(|text| Target::parse(text).map_err(|error| Failure::state(&state.file(names::BOX), error)))
            .collect()
    }

    /// The addresses of the newest signed record.
    #[must_use]
    pub fn record_addresses(&self) -> Vec<String> {
        let bytes = text::hex(&self.address_record).unwrap_or_default();
        AddressRecord::read(&bytes).map_or_else(
            |_| Vec::new(),
            |(record, _, _)| record.addresses().map(|(ip, port)| format!("[{}]:{port}", Ipv6Addr::from(ip))).collect(),
        )
    }

    /// Takes over a verified address record when it is newer; answers whether the file changed.
    pub fn accept_record(&mut self, record: &[u8]) -> bool {
        let seq = |bytes: &[u8]| AddressRecord::read(bytes).ok().map(|(record, _, _)| (record.key, record.seq));
        let Some((key, new)) = seq(record) else { return false };
        let newer = text::public_key(&self.key) == Some(key)
            && seq(&text::hex(&self.address_record).unwrap_or_default()).is_none_or(|(_, old)| new > old);
        if newer {
            self.address_record = text::to_hex(record);
        }
        newer
    }

    /// "the box cellar" or "the box".
    #[must_use]
    pub fn called(&self) -> String {
        if self.name.is_empty() { "the box".to_owned() } else { format!("the box {}", self.name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin() -> Pin {
        Pin {
            key: "ab".repeat(32),
            name: "cellar".to_owned(),
            role: default_role(),
            store: String::new(),
            addresses: vec!["[::1]:11713".to_owned()],
            address_record: String::new(),
            certified_epoch: 0,
            paired_s: 7,
        }
    }

    fn record(key: u8, seq: u64, last: u8) -> Vec<u8> {
        let mut packed = [0u8; 18];
        packed[15] = last;
        packed[16..].copy_from_slice(&11_713u16.to_le_bytes());
        let mut buffer = [0u8; 256];
        let body = AddressRecord::new(PublicKey([key; 32]), seq, &packed).unwrap().write(&mut buffer).unwrap().to_vec();
        [body.as_slice(), &[0u8; 64]].concat()
    }

    #[test]
    fn a_hand_written_file_needs_two_lines() {
        let text = format!("key = \"{}\"\naddresses = [\"box.example:11713\"]\n", "0c".repeat(32));
        let pin: Pin = toml::from_str(&text).unwrap();
        assert_eq!((pin.role.as_str(), pin.store_id()), ("source", None));
        assert!(toml::from_str::<Pin>("kee = 1").is_err());
    }

    #[test]
    fn only_a_newer_record_of_the_same_key_counts() {
        let mut pin = pin();
        assert!(pin.accept_record(&record(0xab, 3, 2)));
        assert!(!pin.accept_record(&record(0xab, 3, 9)));
        assert!(!pin.accept_record(&record(0xcd, 9, 9)));
        assert_eq!(pin.record_addresses(), ["[::2]:11713"]);
        assert!(pin.accept_record(&record(0xab, 4, 1)));
        let state = StateDir::new("/none".into());
        assert_eq!(pin.targets(&state).unwrap().len(), 1, "the record names the file's address: tried once");
    }

    #[test]
    fn the_file_reads_back() {
        let text = toml::to_string(&pin()).unwrap();
        assert_eq!(toml::from_str::<Pin>(&text).unwrap(), pin());
    }
}

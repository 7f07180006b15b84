// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How this machine is reached, by its configuration; and the signed address record that tells it to peers.
//!
//! A hint for dialling, never a trust decision.

use crate::config::Config;
use crate::state::{AddressState, State};
use adit_link::Identity;
use adit_peers::addresses;
use adit_proto::address;
use adit_proto::token::Address;
use adit_wire::signed::{ADDRESSES_MAX, PREFIX_ADDRESS};
use std::net::{Ipv6Addr, SocketAddrV6};

pub use adit_peers::addresses::{UnreachableError, interfaces};

/// The addresses at which others reach this machine, best first.
///
/// # Errors
/// When there is none.
pub fn own(
    config: &Config,
    listening: Option<SocketAddrV6>,
    interfaces: &str,
) -> Result<Vec<Address>, UnreachableError> {
    addresses::own(&config.addresses, config.listen, listening, interfaces)
}

/// The signed address record to show: a new number only when the addresses differ from the last record's. Nothing when
/// there are no addresses to sign.
///
/// # Errors
/// When the number can't be stored.
pub fn record(state: &State, identity: &Identity, own: &[Address]) -> Result<Vec<u8>, crate::files::FileError> {
    let mut ips: Vec<(Ipv6Addr, u16)> = own
        .iter()
        .filter_map(|address| match address {
            Address::Ip(ip, port) => Some((*ip, *port)),
            Address::Name(..) => None,
        })
        .collect();
    ips.truncate(ADDRESSES_MAX);
    if ips.is_empty() {
        return Ok(Vec::new());
    }
    let packed: Vec<u8> = ips.iter().flat_map(|(ip, port)| [&ip.octets()[..], &port.to_le_bytes()].concat()).collect();
    let mut known = state.address();
    if known.packed != packed {
        known = AddressState { seq: known.seq.saturating_add(1), packed };
        state.put_address(&known)?;
    }
    let Ok(body) = address::body(&identity.public_key(), known.seq, &ips) else { return Ok(Vec::new()) };
    let signature = identity.sign(PREFIX_ADDRESS, &body);
    Ok(address::record(body, &signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_gets_a_new_number_only_when_it_changes() {
        let dir = tempfile::tempdir().expect("directory");
        let state = State::open(dir.path()).expect("opened");
        let identity = state.identity().expect("made");
        let key = identity.public_key();
        let one = [Address::Ip("2001:db8::1".parse().expect("address"), 7)];
        let two = [Address::Ip("2001:db8::2".parse().expect("address"), 7)];
        let seq = |own: &[Address]| {
            let bytes = record(&state, &identity, own).expect("stored");
            address::accept(&bytes, &key, 0, &adit_link::verify).expect("valid").expect("newer").seq
        };
        assert_eq!((seq(&one), seq(&one), seq(&two), seq(&two), seq(&one)), (1, 1, 2, 2, 3));
    }

    #[test]
    fn a_name_alone_gives_no_record() {
        let dir = tempfile::tempdir().expect("directory");
        let state = State::open(dir.path()).expect("opened");
        let name = [Address::Name("box.example.org".to_owned(), 7)];
        assert_eq!(record(&state, &state.identity().expect("made"), &name).expect("stored"), Vec::<u8>::new());
    }
}

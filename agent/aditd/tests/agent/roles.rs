// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every role against every method, over the wire: what the table refuses reaches no service.

use crate::lab::{As, Lab, Machine, ask_bytes, code_of};
use adit_link::Link;
use adit_proto::roles::{TABLE, Who};
use adit_wire::frame::{Kind, Service};
use adit_wire::pair::Role;
use adit_wire::refusal::Code;

/// What the agent says to an empty body of this kind: allowed requests are malformed or served, refused ones not allowed.
async fn answer(link: &Link, kind: Kind) -> Result<(), Option<Code>> {
    ask_bytes(link, kind, &[]).await.map(|_| ()).map_err(|error| code_of(&error))
}

/// Walks the table for a peer of one role.
async fn walk(lab: &Lab, machine: &Machine, who: Who) -> usize {
    let mut link = machine.connect(lab).await;
    let mut cells = 0;
    for row in TABLE.iter().filter(|row| row.service != Service::Link) {
        // Giving itself up would end the walk; it has a test of its own.
        if row.name == "UNPAIR" {
            continue;
        }
        let kind = Kind { service: row.service as u8, method: row.method, major: 1 };
        let got = answer(&link, kind).await;
        let refused = got == Err(Some(Code::NotAllowed));
        assert_eq!(refused, !row.allows(who), "{} {} answered {got:?}", who.word(), row.name);
        cells += 1;
        // A method or major that nobody knows is refused as such, whatever the role.
        for unknown in [Kind { method: 200, ..kind }, Kind { major: 9, ..kind }] {
            assert_eq!(answer(&link, unknown).await, Err(Some(Code::UnknownMethod)), "{unknown:?}");
        }
        if link.closer().is_closed() {
            link = machine.connect(lab).await;
        }
    }
    cells
}

#[tokio::test]
async fn every_cell_of_the_table() {
    let lab = Lab::start(As::Box).await;
    let mut cells = 0;
    for role in [Role::Source, Role::Monitor, Role::Admin, Role::Replica] {
        let machine = lab.paired(role, role.word()).await;
        cells += walk(&lab, &machine, Who::Peer(role)).await;
    }
    // What calls itself an agent is registered by a file only.
    let agent = Machine::new("agent");
    let text = format!("role = \"agent\"\nkey = \"{}\"\n", agent.identity.public_key());
    std::fs::write(lab.dir.path().join("state/peers/agent.toml"), text).expect("written");
    crate::lab::until("the file is seen", || lab.events.count("peers_changed_total") >= 5).await;
    cells += walk(&lab, &agent, Who::Peer(Role::Agent)).await;
    let rows = TABLE.iter().filter(|row| row.service != Service::Link && row.name != "UNPAIR").count();
    assert_eq!(cells, rows * 5);
    assert!(lab.events.count("not_allowed_total") > 20);
}

#[tokio::test]
async fn strangers_at_the_recovery_door_get_nothing_else() {
    let lab = Lab::start(As::Box).await;
    let stranger = Machine::new("stranger");
    for row in TABLE.iter().filter(|row| row.service != Service::Link) {
        let link = stranger.dial(lab.address, lab.key, adit_link::Door::Recover).await.expect("connected");
        let kind = Kind { service: row.service as u8, method: row.method, major: 1 };
        let got = answer(&link, kind).await;
        let refused = got == Err(Some(Code::NotAllowed));
        assert_eq!(refused, !row.allows(Who::Recovering), "{} answered {got:?}", row.name);
        assert!(got.is_err(), "{} was served to a stranger", row.name);
        link.close(None).await;
    }
}

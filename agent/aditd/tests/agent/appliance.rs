// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Orders to a machine that runs from no image of adit's. Who may give them is the table of roles, walked elsewhere.

use crate::lab::{As, Lab, ask, code_of};
use adit_wire::appliance::{Disks, Look, Restart, Update};
use adit_wire::pair::Role;
use adit_wire::refusal::Code;

#[tokio::test]
async fn a_machine_of_another_system_has_nothing_to_order() {
    let lab = Lab::start(As::Box).await;
    let link = lab.paired(Role::Admin, "admin").await.connect(&lab).await;
    let answers = [
        ask(&link, &Look {}).await,
        ask(&link, &Update { bytes: 1, hash: [1; 32] }).await,
        ask(&link, &Restart { back: false }).await,
        ask(&link, &Disks {}).await,
    ];
    for answer in answers {
        assert_eq!(answer.map_err(|error| code_of(&error)), Err(Some(Code::NoAppliance)));
    }
}

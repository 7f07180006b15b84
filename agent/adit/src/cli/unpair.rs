// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit unpair`: the box forgets this machine's key, then this machine forgets the box. History stays on the box.

use super::say;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::net::{self, Net, Way};
use crate::pin::Pin;
use crate::state::{StateDir, names};
use adit_link::Door;
use adit_wire::admin::{Done, Unpair as UnpairRequest};

/// Give the pairing up. What is on the box stays there.
#[derive(Debug, clap::Args)]
pub(super) struct Unpair {
    /// Forget the box without telling it: it is gone, or it has forgotten this machine.
    #[arg(long)]
    forget: bool,
}

impl Unpair {
    pub(super) fn run(self, state: &StateDir) -> Result<Exit, Failure> {
        let pin = Pin::need(state)?;
        let _lock = state.lock()?;
        if !self.forget {
            let (way, _) = Way::paired(state)?;
            let net = Net::start()?;
            net.run(async {
                let link = way.connect(Door::Main).await?;
                let frame = net::ask(&link, &UnpairRequest {}).await?;
                net::read::<Done>(&frame)?;
                link.close(None).await;
                Ok::<(), Failure>(())
            })?;
        }
        state.remove(names::BOX)?;
        state.remove(names::PENDING_PAIR)?;
        say(&format!("{} is forgotten here; its snapshots stay there", pin.called()));
        Ok(Exit::Done)
    }
}

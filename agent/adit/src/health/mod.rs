// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How a machine is: asked from this machine's agent over its socket or from the paired box over the link, and shown.
//!
//! Knows no rule: what is judged was judged by the agent that was asked.

pub mod plugin;
pub mod table;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::net::{self, Net, Way};
use crate::state::StateDir;
use adit_health::{Report, decode};
use adit_link::Door;
use adit_link::serial::Polled;
use adit_link::serial::local;
use adit_wire::health::{Full, Poll};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The word for the box that this source is paired with.
pub const BOX: &str = "box";
/// How long the agent may take: its first report after a start may wait for a stuck disk.
const WITHIN: Duration = Duration::from_secs(30);

/// Who is asked.
#[derive(Clone, Debug)]
pub enum Whom {
    /// The agent of this machine.
    Here(PathBuf),
    /// The paired box, by the word for it or by its name.
    Box(String),
}

/// Asks for the newest report.
///
/// # Errors
/// When nobody answers, or not so that it can be read.
pub fn ask(whom: &Whom, state: &StateDir) -> Result<Report, Failure> {
    match whom {
        Whom::Here(socket) => ask_here(socket),
        Whom::Box(name) => ask_box(name, state),
    }
}

fn ask_here(socket: &Path) -> Result<Report, Failure> {
    let trouble = |error: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Unreachable,
            format!("the agent at {} does not answer: {error}", socket.display()),
            "look at its log: journalctl -u aditd",
        )
    };
    let mut agent = local::reach(socket, WITHIN).map_err(|error| {
        let (what, advice) = if error.kind() == io::ErrorKind::PermissionDenied {
            ("this user may not ask the agent", "run it as root, or add the user to the group adit")
        } else {
            ("no agent answers", "start it (systemctl start aditd), or ask the paired box: adit health box")
        };
        Failure::new(Exit::Unreachable, format!("{what} at {}: {error}", socket.display()), advice)
    })?;
    agent.hello(net::SOFTWARE).map_err(|error| trouble(&error))?;
    match agent.poll(Poll { inventory: 0, report: 0 }).map_err(|error| trouble(&error))? {
        Polled::Full { snapshot, inventory_bytes, .. } => read(&inventory_bytes, &snapshot),
        // An agent that starts at this moment has no report yet.
        Polled::Same { .. } => Err(trouble(&"it has no report yet")),
    }
}

fn ask_box(name: &str, state: &StateDir) -> Result<Report, Failure> {
    let (way, pin) = Way::paired(state)?;
    if name != BOX && name != pin.name {
        return Err(Failure::new(
            Exit::Usage,
            format!("{name:?} is not paired with this machine; {} is", pin.called()),
            "ask it by its name or as `box`; without a name this machine's own agent is asked",
        ));
    }
    let net = Net::start()?;
    net.run(async {
        let link = way.connect(Door::Main).await?;
        let frame = net::ask(&link, &Poll { inventory: 0, report: 0 }).await?;
        let full: Full<'_> = net::read(&frame)?;
        let report = read(full.inventory_bytes, full.snapshot)?;
        link.close(None).await;
        Ok(report)
    })
}

fn read(inventory: &[u8], snapshot: &[u8]) -> Result<Report, Failure> {
    decode(inventory, snapshot).map_err(|error| {
        Failure::new(Exit::Refused, format!("the health report does not read: {error}"), "update adit")
    })
}

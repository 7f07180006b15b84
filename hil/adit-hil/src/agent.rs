// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The agent inside a machine, asked in adit's own protocol over its serial port. `embedded_io` is the edge: the same client
//! would speak over a USB adapter.

use crate::clock::MachineClock;
use adit_link::serial::{Polled, SerialClient};
use adit_wire::health::Poll;
use anyhow::{Context as _, Result};
use embedded_io_adapters::std::FromStd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// What the harness calls itself.
const SOFTWARE: &str = concat!("adit-hil ", env!("CARGO_PKG_VERSION"));

/// The virtio port on which the agent speaks adit's own protocol.
pub const AGENT_PORT: &str = "adit.console";
/// How long the agent may take to answer, the machine's own time.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
/// How long a greeting may take before it is said again, wall time: an agent that is not up yet reads nothing.
const GREET_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Greets until the agent answers, then asks for the whole health report.
///
/// # Errors
/// When it does not answer `within` the machine's own time.
pub(crate) fn poll(port: UnixStream, clock: &MachineClock, within: Duration) -> Result<Polled> {
    // Both clones are one socket with one timeout.
    let socket = port.try_clone().context("share the agent's port")?;
    socket.set_read_timeout(Some(GREET_AGAIN_AFTER)).context("set a deadline for the agent")?;
    let deadline = clock.now() + within;
    let mut client = SerialClient::new(FromStd::new(port), GREET_AGAIN_AFTER);
    while let Err(error) = client.hello(SOFTWARE) {
        if clock.now() > deadline {
            return Err(error).context("the agent did not answer");
        }
    }
    // A report may take the agent seconds, and a read that ends early ends the question.
    socket.set_read_timeout(Some(within)).context("set a deadline for the agent")?;
    SerialClient::new(client.into_line(), within).poll(Poll { report: 0, inventory: 0 }).context("ask for a report")
}

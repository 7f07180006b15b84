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

/// How long one question may take before it is asked again, wall time: an agent that is not up yet reads nothing.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(300);

/// Asks for the whole health report, again and again until the agent answers.
///
/// # Errors
/// When it does not answer `within` the machine's own time.
pub(crate) fn poll(port: UnixStream, clock: &MachineClock, within: Duration) -> Result<Polled> {
    port.set_read_timeout(Some(ASK_AGAIN_AFTER)).context("set a deadline for the agent")?;
    let mut client = SerialClient::new(FromStd::new(port), ASK_AGAIN_AFTER);
    let deadline = clock.now() + within;
    loop {
        match client.poll(Poll { report: 0, inventory: 0 }) {
            Ok(polled) => return Ok(polled),
            Err(error) if clock.now() > deadline => return Err(error).context("the agent did not answer"),
            Err(_) => {}
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A program takes all memory until the kernel kills it: the agent lives on and tells it for two days.

use adit_hil::Lab;
use adit_wire::health::codes::{Check, Reason, Verdict};
use anyhow::{Result, ensure};
use std::time::Duration;

const DAYS: Duration = Duration::from_secs(3 * 86_400);
const MINUTES: Duration = Duration::from_secs(120);

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let mut server = lab.start_machine("server", &[], |parts| {
        parts.put_inside(|inside| inside.debian("busybox", &["bin/busybox"]));
    })?;
    for text in ["Out of memory: Killed", "Call Trace"] {
        server.expects(text);
    }
    server.run_agent("")?;
    server.well("host", Check::OomKills)?;
    let ran = server.run(&["/bin/busybox", "tail", "/dev/zero"], MINUTES)?;
    ensure!(ran.code != 0, "a program took all memory and was not killed");
    server.turns("host", Check::OomKills, Verdict::Warning, Reason::OomKilled)?;
    server.clock_forward(DAYS)?;
    server.well("host", Check::OomKills)
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How long a machine takes to an agent that answers, beside the time that the same machine takes to an empty first process;
//! and how long a saved machine takes to answer. In the machine's own time, so other work on the host does not count.

use adit_hil::running::BOOT_DEADLINE;
use adit_hil::{Lab, Parts};
use anyhow::{Result, ensure};
use std::time::Duration;

/// The most that an answering agent may take, as a multiple of the empty machine.
const TIMES_EMPTY_MAX: f64 = 2.0;
/// The most that a saved machine may take until its agent answers.
const RESTORED_MAX: Duration = Duration::from_secs(1);

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let mut parts = Parts::new("server");
    parts.inside = parts.inside.ours(&["aditd"]);
    let mut server = lab.machine(parts.clone())?;
    server.boot()?;
    server.run_agent("")?;
    let answering = server.clock()?.now();
    let saved = server.save()?;
    server.restore(&saved)?;
    server.report()?;
    let restored = server.clock()?.now();

    parts.name = "empty".to_owned();
    parts.words.push(adit_guest::EMPTY_OPTION.to_owned());
    let mut empty = lab.machine(parts)?;
    empty.switch_on(&[])?;
    empty.expect(adit_guest::EMPTY, BOOT_DEADLINE)?;
    let bare = empty.clock()?.now();
    let times = answering.as_secs_f64() / bare.as_secs_f64();
    lab.tell(&format!("empty {bare:?}, answering {answering:?} ({times:.2} times), restored {restored:?}"))?;
    ensure!(times <= TIMES_EMPTY_MAX, "an answering agent took {answering:?}, an empty machine {bare:?}");
    ensure!(restored <= RESTORED_MAX, "a saved machine took {restored:?} to answer");
    Ok(())
}

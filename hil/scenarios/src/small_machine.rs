// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A virtual machine with 64 MiB of memory: what it needs and what it says.

use adit_hil::{Lab, Parts};
use anyhow::Result;

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let mut parts = Parts::new("tiny");
    parts.memory_mib = 64;
    let mut tiny = lab.machine(parts)?;
    tiny.boot()?;
    let vitals = tiny.hand()?.vitals()?;
    lab.tell(&format!("{vitals:?}"))
}

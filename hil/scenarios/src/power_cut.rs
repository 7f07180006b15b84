// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The power of a box goes at any moment of a running backup, and its disk has a cache that forgets. Every write is
//! recorded; from the record come the states in which the disk could have been left. In each of them the box comes up, and
//! what it had acknowledged is whole.

use adit_hil::Lab;
use adit_hil::box_machine::Cuts;
use anyhow::{Context as _, Result, ensure};

pub(crate) fn few(lab: &mut Lab) -> Result<()> {
    play(lab, 5)
}

pub(crate) fn many(lab: &mut Lab) -> Result<()> {
    play(lab, 50)
}

fn play(lab: &mut Lab, boots: usize) -> Result<()> {
    let home = lab.lan("home")?;
    let mut cellar = lab.new_box("cellar", &home).recorded().start()?;
    let web = lab.source("web1")?;
    web.pair(&mut cellar)?;
    web.backup()?;
    let acknowledged = web.snapshots()?;
    let from = cellar.recorded_entries()?;
    web.add(lab, 100, 6 << 20)?;
    web.backup()?;
    let (later, all) = (cellar.recorded_entries()?, web.snapshots()?);
    let Cuts { counts, states, replay } = cellar.cuts(lab, from)?;
    let mut chosen = lab.choose(states.len(), boots);
    // Most can be missing right after a promise.
    let promised = states.iter().position(|state| state.entries >= later);
    chosen.extend(promised.filter(|index| !chosen.contains(index)));
    lab.tell(&format!("{counts:?}, {} booted", chosen.len()))?;
    ensure!(counts.writes > 0 && !chosen.is_empty(), "nothing was recorded: {counts:?}");
    for index in chosen {
        let state = &states[index];
        cellar.boot_from(&replay, state)?;
        let held = web.snapshots()?;
        let promised = if state.entries >= later { &all } else { &acknowledged };
        ensure!(held.starts_with(promised), "{state}: {held:?} instead of {promised:?}");
        cellar.verify()?.succeeded().with_context(|| state.to_string())?;
    }
    Ok(())
}

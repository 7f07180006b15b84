// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The power goes at any write while an update is staged, activated, confirmed and gone back from, and the boot disk has a
//! cache that forgets. Every write is recorded; in each state that a cut could have left, whatever the firmware can start is
//! whole, the version that proved itself is among it, and within four starts the box is back at it. Some states are booted.

use adit_hil::Lab;
use adit_hil::box_machine::Cuts;
use adit_hil::image::{self, Edition, Image};
use adit_hil::slots::Judge;
use anyhow::{Context as _, Result, ensure};

pub(crate) fn few(lab: &mut Lab) -> Result<()> {
    play(lab, 16, 2)
}

pub(crate) fn many(lab: &mut Lab) -> Result<()> {
    play(lab, 256, 20)
}

/// Different states that a run must come to at least; 72 moments gave 1,070 with 16 sets each.
const STATES_MIN: usize = 500;

/// From this entry of the record on, one version stays whole and good, and the box ends at one of some.
struct Phase<'a> {
    from: usize,
    stays: &'a Image,
    rests: Vec<&'a Image>,
}

fn play(lab: &mut Lab, sets: usize, boots: usize) -> Result<()> {
    let home = lab.lan("home")?;
    let [second, third] =
        [Edition::new(1, 1, 0), Edition::new(1, 2, 0)].map(|edition| image::image(lab.guest(), edition));
    let (second, third) = (second?, third?);
    let mut cellar = lab.new_appliance("cellar", &home, Edition::new(1, 0, 0)).recorded().start()?;
    let first = cellar.image().clone();
    cellar.pair_admin()?;
    cellar.confirmed()?;

    let from = cellar.recorded_entries()?;
    let mut phases = vec![Phase { from, stays: &first, rests: vec![&first, &second] }];
    let update = cellar.start_update(&second.update, &[])?;
    cellar.serves()?;
    cellar.confirmed()?;
    update.finish()?.succeeded()?;
    cellar.admin(&["box", "restart", "--back", "--yes"])?.succeeded()?;
    cellar.serves()?;
    phases.push(Phase { from: cellar.recorded_entries()?, stays: &first, rests: vec![&first] });
    cellar.confirmed()?;
    // The slot that it goes to holds something by now.
    cellar.start_update(&third.update, &["--stage-only"])?.finish()?.succeeded()?;

    let Cuts { counts, states, replay } = cellar.cuts(lab, from, sets)?;
    let mut judge = Judge::new(&replay, &[&first, &second, &third])?;
    let mut telling = Vec::new();
    for state in &states {
        let known = judge.different();
        let verdict = judge.judge(&replay, state)?;
        let phase = phases.iter().rfind(|phase| phase.from <= state.entries).context("a state before all")?;
        let is = |image: &&Image, version| image.manifest.version == version;
        let stays = verdict.files.iter().any(|file| is(&phase.stays, file.version) && file.mark.is_live());
        ensure!(stays, "{state}: {} is not among {:?}", phase.stays.manifest.version, verdict.files);
        ensure!(phase.rests.iter().any(|image| is(image, verdict.rest)), "{state}: it ends at {}", verdict.rest);
        if judge.different() > known {
            telling.push(state);
        }
    }
    let chosen = lab.choose(telling.len(), boots);
    lab.tell(&format!("{counts:?}, {} different to the box, {} booted", telling.len(), chosen.len()))?;
    ensure!(
        counts.flushes > 0 && counts.distinct >= STATES_MIN && !chosen.is_empty(),
        "too little was seen: {counts:?}"
    );
    for state in chosen.into_iter().map(|index| telling[index]) {
        cellar.boot_from(&replay, state)?;
        let version = cellar.version().with_context(|| state.to_string())?;
        ensure!(["1.0.0", "1.1.0"].contains(&version.as_str()), "{state}: {version} runs");
    }
    Ok(())
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The keys that sign updates change: an update brings the next key set, signed by a root key. From then on the key before signs
//! nothing that the box takes, and the one after it does, across a power cut.

use adit_hil::Lab;
use adit_hil::image::{self, Edition};
use anyhow::{Result, ensure};

/// The harness's signing keys by number: the image knows the first.
const FIRST: usize = 2;
const SECOND: usize = 3;

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let next = image::image(lab.guest(), Edition::new(1, 1, 0))?;
    let later = image::image(lab.guest(), Edition::new(1, 2, 0))?;
    let path = lab.path("offer.adit");
    let mut cellar = lab.new_appliance("cellar", &home, Edition::new(1, 0, 0)).start()?;
    cellar.pair_admin()?;
    cellar.confirmed()?;
    std::fs::write(&path, next.signed_as(Some((2, &[SECOND])), SECOND)?)?;
    cellar.update(&path)?;
    ensure!(cellar.version()? == "1.1.0", "{}", cellar.show()?);

    cellar.cut()?;
    cellar.start()?;
    cellar.confirmed()?;
    // The key that was taken out, with the key set that still named it, and alone.
    let old: [Option<(u32, &[usize])>; 2] = [Some((1, &[FIRST])), None];
    for keys in old {
        std::fs::write(&path, later.signed_as(keys, FIRST)?)?;
        let ran = cellar.start_update(&path, &[])?.finish()?.ended_with(5)?;
        ensure!(ran.stderr.contains("signed by a key that this machine does not know"), "{keys:?}: {}", ran.stderr);
    }
    std::fs::write(&path, later.signed_as(Some((3, &[FIRST])), FIRST)?)?;
    cellar.update(&path)?;
    ensure!(cellar.version()? == "1.2.0", "{}", cellar.show()?);
    Ok(())
}

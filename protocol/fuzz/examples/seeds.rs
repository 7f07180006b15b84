// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Writes the seeds of a fuzz run: `seeds DIR` puts those of each decoder into DIR/NAME, whose fuzz target begins there.

use adit_fuzz::{Decoder, machine};
use std::path::Path;

fn main() -> std::io::Result<()> {
    let dir = std::env::args_os().nth(1).ok_or_else(|| std::io::Error::other("the directory is missing"))?;
    write(Path::new(&dir), &adit_fuzz::DECODERS, &adit_fuzz::seeds())?;
    write(Path::new(&dir), &machine::DECODERS, &machine::seeds())
}

fn write(dir: &Path, decoders: &[(&str, Decoder)], seeds: &[Vec<u8>]) -> std::io::Result<()> {
    for (name, _) in decoders {
        std::fs::create_dir_all(dir.join(name))?;
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(dir.join(name).join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}

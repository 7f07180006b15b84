// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit-image write`: an image onto a disk or a stick. Asks twice, since it cannot be undone.

use super::say;
use adit_image::device::{self, Disk};
use adit_image::inspect::whole;
use adit_image::table::Table;
use anyhow::{Context as _, Result, bail, ensure};
use std::fs::File;
use std::io::{BufRead as _, Cursor};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Write {
    /// The image, raw or packed with zstd.
    image: PathBuf,
    /// The device, such as /dev/sdb.
    device: PathBuf,
}

impl Write {
    pub(crate) fn run(self) -> Result<()> {
        let file = File::open(&self.image).with_context(|| format!("open {}", self.image.display()))?;
        let packed = self.image.extension().is_some_and(|extension| extension == "zst");
        let image = if packed { whole(zstd::stream::read::Decoder::new(file)?) } else { whole(file) };
        let mut image = image.with_context(|| format!("read {}", self.image.display()))?;
        let table = Table::read(Cursor::new(&mut image)).context("this is no disk image: give an .img or .img.zst")?;
        let disk = Disk::of_node(Path::new("/"), &self.device)?;
        disk.check(&table)?;
        ask(&disk)?;
        // O_EXCL: the kernel itself refuses a block device that is in use.
        let exclusive = i32::try_from(rustix::fs::OFlags::EXCL.bits()).unwrap_or_default();
        let mut options = File::options();
        let open = options.read(true).write(true).custom_flags(exclusive).open(&self.device);
        let mut device = open.with_context(|| format!("open {}", self.device.display()))?;
        device::write(&image, &table, &mut device).with_context(|| format!("write {}", self.device.display()))?;
        say(&format!("{} bytes written to {} and read back the same", image.len(), self.device.display()))
    }
}

fn ask(disk: &Disk) -> Result<()> {
    let Disk { name, model, serial, size_bytes, .. } = disk;
    say(&format!("{name}: model {model:?}, serial {serial:?}, {} MB", size_bytes / 1_000_000))?;
    say("Everything on it will be lost.")?;
    say(&format!("Type what is printed on it or shown above, {:?}, to go on:", disk.word()))?;
    ensure!(answer()? == disk.word(), "that is not this disk; nothing was changed");
    say(&format!("Type {name} to erase it now:"))?;
    if answer()? == *name { Ok(()) } else { bail!("nothing was changed") }
}

fn answer() -> Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("read the answer")?;
    Ok(line.trim().to_owned())
}

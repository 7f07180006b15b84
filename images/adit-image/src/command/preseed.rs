// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit-image preseed`: puts `adit.toml` onto the ESP of an image file or of a stick that has one.

use super::{pair, say};
use adit_image::device::Disk;
use adit_image::esp::{Esp, Window};
use adit_image::preseed::{Settings, check};
use adit_image::table::{ESP, Table};
use adit_slots::layout::PRESEED_FILE;
use anyhow::{Context as _, Result, ensure};
use std::fs::File;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Preseed {
    /// The raw image, or the device.
    target: PathBuf,
    /// A settings file to check and put there, instead of the options below.
    #[arg(long, exclusive = true)]
    file: Option<PathBuf>,
    /// The box's name.
    #[arg(long)]
    hostname: Option<String>,
    /// A fixed address, such as 2001:db8::5/64.
    #[arg(long)]
    address: Option<String>,
    /// The router of the fixed address.
    #[arg(long)]
    gateway: Option<String>,
    /// A name server; up to three.
    #[arg(long)]
    dns: Vec<String>,
    /// A name or address under which others reach the box.
    #[arg(long)]
    reached_at: Vec<String>,
    /// The admin's name and public key, as `adit id` prints it: NAME=KEY.
    #[arg(long, value_parser = pair)]
    admin: Option<(String, String)>,
    /// The monitor's name and a one-time token of it: NAME=TOKEN.
    #[arg(long, value_parser = pair)]
    monitor: Option<(String, String)>,
}

impl Preseed {
    pub(crate) fn run(self: Box<Self>) -> Result<()> {
        let target = self.target.clone();
        let text = match self.file {
            Some(path) => {
                let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
                check(&text).with_context(|| format!("check {}", path.display()))?;
                text
            }
            None => Settings {
                hostname: self.hostname,
                address: self.address,
                gateway: self.gateway,
                dns: self.dns,
                reached_at: self.reached_at,
                admin: self.admin,
                monitor: self.monitor,
            }
            .to_text()?,
        };
        put(&target, &text).with_context(|| format!("put settings onto {}", target.display()))?;
        say(&format!("{PRESEED_FILE} is on {}", target.display()))
    }
}

fn put(target: &Path, text: &str) -> Result<()> {
    if target.metadata().is_ok_and(|metadata| metadata.file_type().is_block_device()) {
        let disk = Disk::of_node(Path::new("/"), target)?;
        ensure!(disk.users.is_empty(), "{} is in use: {}", disk.name, disk.users.join(", "));
    }
    let mut file = File::options().read(true).write(true).open(target)?;
    let table = Table::read(&mut file)?;
    let part = table.partition(ESP).context("it has no EFI system partition")?;
    let mut esp = Esp::open(Window::new(&mut file, part.start_bytes, part.size_bytes))?;
    esp.write(PRESEED_FILE, text.as_bytes())?;
    esp.close()?;
    Ok(file.sync_all()?)
}

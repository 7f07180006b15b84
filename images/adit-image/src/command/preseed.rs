// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit-image preseed`: puts `adit.toml` onto the ESP of an image file or of a stick that has one.

use super::{pair, say};
use adit_image::device::Disk;
use adit_image::esp::{Esp, Window};
use adit_image::preseed::{Admin, Monitor, Settings, check};
use adit_image::table::{ESP, Table};
use adit_slots::layout::PRESEED_FILE;
use anyhow::{Context as _, Result};
use std::fs::File;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Preseed {
    /// The raw image, or the device. Without one a settings file is only checked.
    #[arg(required_unless_present = "file")]
    target: Option<PathBuf>,
    /// A settings file to check and put there, instead of the options below.
    #[arg(long, conflicts_with = "settings")]
    file: Option<PathBuf>,
    #[command(flatten)]
    given: Given,
}

/// Settings out of options.
#[derive(Debug, clap::Args)]
#[group(id = "settings", multiple = true)]
struct Given {
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
    /// A time server; up to four.
    #[arg(long)]
    ntp: Vec<String>,
    /// Whom the member who houses the box calls: a name and a number, for its screen.
    #[arg(long)]
    contact: Option<String>,
    /// A person opens the port at the router, which is not asked then.
    #[arg(long)]
    port_by_hand: bool,
    /// The admin's name and public key, as `adit id` prints it: NAME=KEY.
    #[arg(long, value_parser = pair)]
    admin: Option<(String, String)>,
    /// The monitor's name and a one-time token of it: NAME=TOKEN.
    #[arg(long, value_parser = pair)]
    monitor: Option<(String, String)>,
}

impl Preseed {
    pub(crate) fn run(self: Box<Self>) -> Result<()> {
        let text = match &self.file {
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
                check(&text).with_context(|| format!("check {}", path.display()))?;
                text
            }
            None => self.given.settings().to_text()?,
        };
        let Some(target) = self.target else { return say("a box takes these settings") };
        put(&target, &text).with_context(|| format!("put settings onto {}", target.display()))?;
        say(&format!("{PRESEED_FILE} is on {}", target.display()))
    }
}

impl Given {
    fn settings(self) -> Settings {
        let Self { hostname, address, gateway, dns, reached_at, ntp, contact, port_by_hand, admin, monitor } = self;
        let admin = admin.map(|(name, key)| Admin { name, key });
        let monitor = monitor.map(|(name, token)| Monitor { name, token });
        Settings {
            hostname,
            address,
            gateway,
            dns,
            reached_at,
            ntp,
            contact,
            port_by_hand,
            admin,
            monitor,
            ..Settings::default()
        }
    }
}

fn put(target: &Path, text: &str) -> Result<()> {
    if target.metadata().is_ok_and(|metadata| metadata.file_type().is_block_device()) {
        Disk::of_node(Path::new("/"), target)?.check_idle()?;
    }
    let mut file = File::options().read(true).write(true).open(target)?;
    let table = Table::read(&mut file).context("give a raw image or a stick that one was written to")?;
    let part = table.partition(ESP).context("it has no EFI system partition")?;
    let mut esp = Esp::open(Window::new(&mut file, part.start_bytes, part.size_bytes))?;
    esp.write(PRESEED_FILE, text.as_bytes())?;
    esp.close()?;
    Ok(file.sync_all()?)
}

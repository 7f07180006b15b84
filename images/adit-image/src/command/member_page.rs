// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit-image member-page`: one page to print, as text and as HTML.

use super::{say, write_file};
use adit_image::page::Page;
use anyhow::Result;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct MemberPage {
    /// What the box is called.
    #[arg(long)]
    hostname: String,
    /// Who looks after it.
    #[arg(long)]
    admin: String,
    /// How to reach that person: telephone, mail.
    #[arg(long)]
    contact: String,
    /// The file for a page in HTML; otherwise text goes to stdout.
    #[arg(long)]
    html: Option<PathBuf>,
}

impl MemberPage {
    pub(crate) fn run(self) -> Result<()> {
        let page = Page { hostname: self.hostname, admin: self.admin, contact: self.contact };
        page.check()?;
        match self.html {
            Some(path) => write_file(&path, page.to_html().as_bytes()),
            None => say(page.to_text().trim_end()),
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit certify`: the admin's machine signs what servers ask for, many at once. The recovery key never leaves it.

use super::{print, say};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::prompt::{KeyArgs, read_text_file};
use crate::{recovery, source};
use adit_archive::keys::CertificateRequest;
use std::path::PathBuf;

/// Sign certificate requests with the recovery key; certificates go to standard output, one line each.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Requests are the lines that `adit request` prints; a file may hold many. Check the names that \
are shown before you hand the certificates out."
)]
pub(super) struct Certify {
    #[command(flatten)]
    key: KeyArgs,
    /// Write FILE.cert beside each request file instead.
    #[arg(long)]
    beside: bool,
    /// Files with requests, or `-` for standard input.
    #[arg(required = true, value_name = "REQUEST")]
    requests: Vec<PathBuf>,
}

impl Certify {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let mut files = Vec::new();
        for path in &self.requests {
            let from = (path.as_os_str() != "-").then_some(path.as_path());
            let text = read_text_file(from)?;
            let requests = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| {
                CertificateRequest::from_text(line).map_err(|error| {
                    Failure::new(
                        Exit::Usage,
                        format!("{}: {error}", path.display()),
                        "copy the whole line that `adit request` printed",
                    )
                })
            });
            files.push((path, requests.collect::<Result<Vec<_>, _>>()?));
        }
        let key = recovery::open(&self.key)?;
        for (path, requests) in files {
            let mut lines = String::new();
            for request in &requests {
                let certificate = key.certify(request).map_err(|error| Failure::internal(error.to_string()))?;
                lines.push_str(&source::certificate_to_text(&certificate));
                lines.push('\n');
                say(&format!("certified {} (source {}, epoch {})", request.name, request.source, request.epoch));
            }
            if self.beside && path.as_os_str() != "-" {
                let mut beside = path.clone().into_os_string();
                beside.push(".cert");
                crate::state::write_private(&PathBuf::from(beside), lines.as_bytes())?;
            } else {
                print(&lines)?;
            }
        }
        Ok(Exit::Done)
    }
}

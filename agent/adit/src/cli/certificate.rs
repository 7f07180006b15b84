// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit certificate install|show`: the certificate that ties this source to its recovery key. The box hears of it at
//! the next connection.

use super::{print, say};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::source;
use crate::state::StateDir;
use std::path::PathBuf;

/// Install or show this source's certificate.
#[derive(Debug, clap::Args)]
pub(super) struct Certificate {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Install what `adit certify` printed; a file with certificates of many sources is fine.
    Install {
        /// The file, or `-` for standard input.
        file: PathBuf,
    },
    /// Print the installed certificate.
    Show,
}

impl Certificate {
    pub(super) fn run(self, state: &StateDir) -> Result<Exit, Failure> {
        let keys = source::keys(state)?;
        match self.verb {
            Verb::Show => {
                let certificate = source::certificate(state)?.ok_or_else(|| {
                    Failure::new(
                        Exit::NotPaired,
                        "this source is not certified",
                        "`adit request` writes the request, `adit certify` signs it",
                    )
                })?;
                print(&format!("{}\n", source::certificate_to_text(&certificate)))?;
            }
            Verb::Install { file } => {
                let _lock = state.lock()?;
                let from = (file.as_os_str() != "-").then_some(file.as_path());
                let text = crate::prompt::read_text_file(from)?;
                let name = source::install_certificate(state, &keys, &text)?;
                say(&format!("certificate of {name} installed; the box hears of it at the next connection"));
            }
        }
        Ok(Exit::Done)
    }
}

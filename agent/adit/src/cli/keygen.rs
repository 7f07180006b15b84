// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit keygen`: a recovery key, made on the admin's machine. The 24 words are the key itself; the file is a copy sealed
//! by a passphrase; the public file is all that a server ever sees.

use super::{print, say};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::prompt::{must_be_new, new_passphrase, on_terminal};
use crate::recovery;
use crate::state::write_new;
use crate::text::fill_random;
use adit_archive::keys::RecoveryKey;
use std::path::PathBuf;

/// Make a recovery key.
#[derive(Debug, clap::Args)]
#[command(after_help = "The words are shown on a terminal, or with --words. Write them down: with them, the sheet of \
`adit sheet` and any machine everything comes back; without them nobody can read a backup.")]
pub(super) struct Keygen {
    /// Where the sealed recovery key goes; it must not exist.
    #[arg(long, value_name = "FILE")]
    recovery_file: PathBuf,
    /// Where the public recovery file for servers goes; it must not exist.
    #[arg(long, value_name = "FILE.pub")]
    public: PathBuf,
    /// Take the passphrase from the first line of FILE instead of asking.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Print the 24 words even when standard output is no terminal.
    #[arg(long)]
    words: bool,
}

impl Keygen {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        must_be_new(&self.recovery_file)?;
        must_be_new(&self.public)?;
        let passphrase = new_passphrase(self.passphrase_file.as_deref())?;
        let key = RecoveryKey::generate(&mut fill_random);
        recovery::write(&key, &self.recovery_file, passphrase.as_ref().map(|p| p.as_str()))?;
        write_new(&self.public, key.public().to_text().as_bytes(), 0o644)?;
        say(&format!("recovery key: {} (keep it off the servers)", self.recovery_file.display()));
        say(&format!("for servers:  {}", self.public.display()));
        if passphrase.is_none() {
            say("the recovery file has no passphrase: whoever copies it reads every backup");
        }
        if self.words || on_terminal() {
            print(&recovery::words_table(&key))?;
        }
        Ok(Exit::Done)
    }
}

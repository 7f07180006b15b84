// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit init`: makes a source. Its history gets an id, a seed and a signing key; its recipients are pinned. With
//! `--recovery-file` (one machine only) it is certified at once and the key is proven on a first key record.

use super::say;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::prompt::{must_be_new, new_passphrase};
use crate::recovery;
use crate::source::{self, NewSource};
use crate::state::StateDir;
use std::path::PathBuf;

/// Set this machine up as a source.
#[derive(Debug, clap::Args)]
pub(super) struct Init {
    /// A public recovery file (`adit keygen` makes it); give it several times for several holders.
    #[arg(long, value_name = "FILE.pub", required_unless_present = "recovery_file")]
    recipient: Vec<PathBuf>,
    /// One machine only: use this recovery file, or make it when it does not exist.
    #[arg(long, value_name = "FILE")]
    recovery_file: Option<PathBuf>,
    /// Take the passphrase of the recovery file from the first line of FILE instead of asking.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The source's name; this machine's name when not given.
    #[arg(long)]
    name: Option<String>,
}

impl Init {
    pub(super) fn run(self, state: &StateDir) -> Result<Exit, Failure> {
        let name = match self.name {
            Some(name) => name,
            None => source::host_name()?,
        };
        state.create()?;
        let _lock = state.lock()?;
        if let Ok(known) = state.source() {
            return Err(Failure::new(
                Exit::Usage,
                format!("{} is set up already, as source {}", state.path().display(), known.name),
                "go on with `adit pair`, or choose another --state directory for another source",
            ));
        }
        let mut recipients = Vec::new();
        for path in &self.recipient {
            recipients.push(recovery::read_public(path)?);
        }
        let key = match &self.recovery_file {
            Some(path) if must_be_new(path).is_ok() => {
                let passphrase = new_passphrase(self.passphrase_file.as_deref())?;
                let key = adit_archive::keys::RecoveryKey::generate(&mut crate::text::fill_random);
                recovery::write(&key, path, passphrase.as_ref().map(|p| p.as_str()))?;
                if passphrase.is_none() {
                    say("the recovery file has no passphrase: whoever copies it reads every backup");
                }
                Some(key)
            }
            Some(path) => Some(recovery::read(path, self.passphrase_file.as_deref())?),
            None => None,
        };
        if let Some(key) = &key {
            recipients.insert(0, key.public());
        }
        let made = source::create(state, NewSource { name: &name, recipients: &recipients, recovery: key.as_ref() })?;
        say(&format!("source {name} ({made}) is set up in {}", state.path().display()));
        say(&format!("next: on the box `aditd token --role source --name {name}`, here `adit pair TOKEN`"));
        match &self.recovery_file {
            Some(path) => say(&format!(
                "then move {} to another place: this machine does not need it, and a thief of this machine must not find it",
                path.display()
            )),
            None => say("it is not certified yet: `adit request` writes what the holder of the recovery key signs"),
        }
        Ok(Exit::Done)
    }
}

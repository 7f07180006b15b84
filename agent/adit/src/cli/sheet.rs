// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit sheet`: the page that, with the recovery words, brings everything back on a machine that knows nothing. It
//! holds no secret.

use super::print;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::pin::Pin;
use crate::source;
use crate::state::{STATE_DEFAULT, StateDir};
use crate::text::{now_s, time};
use fast_qr::{ECL, QRBuilder};

/// Digits of the source's id in the command: enough among the sources of one recovery key.
const SOURCE_DIGITS: usize = 12;

/// Print the recovery sheet: one page of text.
#[derive(Debug, clap::Args)]
pub(super) struct Sheet {
    /// Leave the QR code out.
    #[arg(long)]
    no_qr: bool,
}

/// What a sheet says.
struct Facts<'a> {
    source: &'a str,
    source_id: &'a str,
    box_name: &'a str,
    box_key: &'a str,
    addresses: Vec<String>,
    /// The recovery signing key that the box has registered: the one that opens its door.
    recovery_key: String,
    /// Others who can unwrap runs, once somebody opened the door.
    others: Vec<String>,
    certified: bool,
    printed_s: u64,
}

impl Sheet {
    pub(super) fn run(self, state: &StateDir) -> Result<Exit, Failure> {
        let file = state.source()?;
        let pin = Pin::need(state)?;
        let mut addresses = pin.record_addresses();
        addresses.extend(pin.addresses.iter().cloned());
        let mut seen = std::collections::BTreeSet::new();
        addresses.retain(|address| seen.insert(address.clone()));
        let recovery_key = source::recovery_signing_key(state)?;
        let keys = source::recipients(state)?.into_iter().map(|public| public.signing_key());
        let others = keys.filter(|key| *key != recovery_key).map(|key| key.to_string()).collect();
        let facts = Facts {
            source: &file.name,
            source_id: &file.source,
            box_name: &pin.name,
            box_key: &pin.key,
            addresses,
            recovery_key: recovery_key.to_string(),
            others,
            certified: source::certificate(state)?.is_some(),
            printed_s: now_s(),
        };
        print(&page(&facts))?;
        if !self.no_qr {
            print(&qr(&command(&facts))?)?;
        }
        Ok(Exit::Done)
    }
}

fn page(facts: &Facts<'_>) -> String {
    let list = |items: &[String]| items.join(&format!("\n{:13}", ""));
    let others = if facts.others.is_empty() {
        String::new()
    } else {
        format!("Wrapped also {}\n{:13}(they read what the recovery key above fetched)\n", list(&facts.others), "")
    };
    let certified = if facts.certified {
        ""
    } else {
        "\nNot certified yet: run `adit request` here and `adit certify` where the recovery key is.\n"
    };
    format!(
        "ADIT RECOVERY SHEET for {source}, printed {printed}\n\
         Keep it with the recovery words or file, away from this machine. It holds no secret.\n\
         \n\
         Source       {source}\n\
         Source id    {source_id}\n\
         Box          {box_name}\n\
         Box key      {box_key}\n\
         Addresses    {addresses}\n\
         Recovery key {recovery_key}\n\
         {others}\
         {certified}\
         \n\
         On any Linux machine with adit, as root:\n\
         \n\
         1. See what there is:\n\
         \x20  {start} --list\n\
         \n\
         2. Bring everything back below /restore:\n\
         \x20  {command}\n\
         \n\
         With the 24 words instead of the file: --words in place of --recovery-file FILE.\n\
         To send this source's next backups from the new machine: add --adopt --state {STATE_DEFAULT}\n\
         The old machine may no longer send from then on.\n",
        source = facts.source,
        printed = time(facts.printed_s),
        source_id = facts.source_id,
        box_name = facts.box_name,
        box_key = facts.box_key,
        addresses = list(&facts.addresses),
        recovery_key = facts.recovery_key,
        start = start(facts),
        command = command(facts),
    )
}

fn start(facts: &Facts<'_>) -> String {
    format!("adit recover --box {} --box-key {} --recovery-file FILE", facts.addresses.join(","), facts.box_key)
}

fn command(facts: &Facts<'_>) -> String {
    // By id: the box may know the source by another name, and an admin there may rename it.
    let id = facts.source_id.get(..SOURCE_DIGITS).unwrap_or(facts.source_id);
    format!("{} --source {id} --to /restore", start(facts))
}

fn qr(text: &str) -> Result<String, Failure> {
    let code = QRBuilder::new(text)
        .ecl(ECL::L)
        .build()
        .map_err(|_| Failure::internal("the command line is too long for a QR code"))?;
    Ok(format!("\nThe second command as a QR code:\n\n{}\n", code.to_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(key: &'a str) -> Facts<'a> {
        Facts {
            source: "web1",
            source_id: "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
            box_name: "cellar",
            box_key: key,
            addresses: vec!["[2001:db8::1]:11713".to_owned(), "box.example:11713".to_owned()],
            recovery_key: "cd".repeat(32),
            others: vec!["ef".repeat(32)],
            certified: true,
            printed_s: 0,
        }
    }

    #[test]
    fn one_page() {
        let key = "ab".repeat(32);
        let text = page(&facts(&key));
        let after = text.split_once('\n').unwrap().1;
        insta::assert_snapshot!(after);
        assert!(text.lines().count() < 60);
    }

    #[test]
    fn the_command_fits_a_code() {
        let key = "ab".repeat(32);
        assert!(qr(&command(&facts(&key))).unwrap().lines().count() > 20);
    }
}

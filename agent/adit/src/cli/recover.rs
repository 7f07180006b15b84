// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit recover`: on a machine that knows nothing. The sheet gives the box, the recovery key opens it.

use super::doctor::{parse_key, parse_targets};
use super::restore::{finish, target_of};
use super::{print, print_json, say};
use crate::bring::Reading;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history;
use crate::net::{Net, Way};
use crate::prompt::KeyArgs;
use crate::reading::Trust;
use crate::recovering::{Adoption, Found, choose, knock, seed};
use crate::recovery;
use crate::state::StateDir;
use crate::text::{self, Lines as _};
use adit_archive::keys::RecoveryKey;
use adit_link::{Identity, Link};
use adit_wire::ids::StoreId;
use serde_json::json;
use std::path::PathBuf;

/// Restore on a machine that knows nothing but the recovery key and the sheet.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "With --adopt this machine goes on as the source: the next `adit backup` sends only what is new, and \
the old machine may no longer send."
)]
pub(super) struct Recover {
    /// The box's addresses from the sheet, with commas between.
    #[arg(long, value_name = "ADDR", value_delimiter = ',', required = true)]
    r#box: Vec<String>,
    /// The box's key from the sheet, 64 hex digits.
    #[arg(long, value_name = "KEY")]
    box_key: String,
    #[command(flatten)]
    key: KeyArgs,
    /// Only list the sources that this recovery key opens.
    #[arg(long, conflicts_with_all = ["to", "adopt"])]
    list: bool,
    /// Which source, by its name or the first digits of its id; not needed when the key opens only one.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Which snapshot: `latest`, its number or the first digits of its id.
    #[arg(long, default_value = "latest")]
    snapshot: String,
    /// The directory below which every path gets its full place.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["list", "adopt"])]
    to: Option<PathBuf>,
    /// Take the source over: its next backups come from this machine, with the state in --state.
    #[arg(long)]
    adopt: bool,
    /// More public recovery files for whom future runs are wrapped, beside this recovery key.
    #[arg(long, value_name = "FILE.pub", requires = "adopt")]
    recipient: Vec<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Only these paths.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

impl Recover {
    pub(super) fn run(self, state: &StateDir) -> Result<Exit, Failure> {
        let targets = parse_targets(&self.r#box)?;
        let box_key = parse_key(&self.box_key)?;
        let key = recovery::open(&self.key)?;
        // The key that knocks is the one that an adoption registers.
        let way = Way::new(Identity::generate(), box_key, "the box".to_owned(), targets);
        let net = Net::start()?;
        let (link, store, found) = net.run(knock(&way, &key))?;
        if self.list {
            self.print_list(&found)?;
            net.run(link.close(None));
            return Ok(Exit::Done);
        }
        let chosen = choose(&found, self.source.as_deref())?;
        if self.adopt {
            Adoption::check_state(state, chosen.source)?;
        }
        let history = net.run(history::list(&link, chosen.source))?;
        let trust = Trust::of(&history, &key);
        let reading = Reading { net: &net, link: &link, history: &history, trust: &trust, recovery: &key };
        let exit = match &self.to {
            Some(to) => self.restore(&reading, to.clone())?,
            None => Exit::Done,
        };
        // A restore that missed something must not keep the source from going on.
        if self.adopt {
            self.adopt(state, &way, store, chosen, &reading)?;
        }
        net.run(link.close(None));
        Ok(exit)
    }

    fn restore(&self, reading: &Reading<'_>, to: PathBuf) -> Result<Exit, Failure> {
        let item = reading.history.find(&self.snapshot)?.clone();
        let report = reading.restore(&item, &target_of(to.clone(), &self.paths))?;
        finish(&item, &to, &report, self.json)
    }

    fn adopt(
        &self,
        state: &StateDir,
        way: &Way,
        store: StoreId,
        found: &Found,
        reading: &Reading<'_>,
    ) -> Result<(), Failure> {
        let mut recipients = Vec::new();
        for path in &self.recipient {
            recipients.push(recovery::read_public(path)?);
        }
        state.create()?;
        let _lock = state.lock()?;
        let newest = reading.history.snapshots.last();
        let seed = seed(&reading.fetcher(), reading.trust, reading.history, reading.recovery)?;
        let adoption = Adoption {
            state,
            way,
            addresses: &self.r#box,
            store,
            found,
            history: reading.history,
            seed,
            recovery: reading.recovery,
            recipients: &recipients,
        };
        let (link, key): (&Link, &RecoveryKey) = (reading.link, reading.recovery);
        reading.net.run(adoption.run(link, newest))?;
        if let Some(item) = newest {
            reading.adopt_state(item, state.path())?;
        }
        say(&format!(
            "source {} is adopted: its state is in {}, the old machine may no longer send",
            found.name,
            state.path().display()
        ));
        say(&format!(
            "future runs are wrapped for this recovery key ({}…){}",
            &key.signing().public().to_string()[..12],
            if recipients.is_empty() { "; give --recipient for other holders" } else { " and the ones given" }
        ));
        Ok(())
    }

    fn print_list(&self, found: &[Found]) -> Result<(), Failure> {
        if self.json {
            let array = found.iter().map(|source| {
                json!({
                    "name": source.name,
                    "source": source.source.to_string(),
                    "newest_seq": source.newest_seq,
                    "newest": source.newest_head.to_string(),
                    "received_s": source.received_s,
                })
            });
            return print_json(&json!(array.collect::<Vec<_>>()));
        }
        let mut lines = String::new();
        lines.line(format_args!("{:<20}{:>9}  {:<14}{}", "SOURCE", "SNAPSHOTS", "NEWEST", "RECEIVED"));
        for source in found {
            let (newest, received) = match source.newest_seq {
                0 => ("none".to_owned(), String::new()),
                _ => (text::short(&source.newest_head), text::time(source.received_s)),
            };
            lines.line(format_args!("{:<20}{:>9}  {newest:<14}{received}", source.name, source.newest_seq));
        }
        print(&lines)
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit status`: what this machine knows without asking the box.

use super::{print, print_json};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::job::Last;
use crate::pin::Pin;
use crate::source;
use crate::state::{StateDir, names};
use crate::text::{self, Lines as _};
use adit_health::runs::{self, RunRecord};
use serde_json::json;

/// Runs that are shown.
const RUNS_SHOWN: usize = 5;

/// Show this source's own state: pairing, newest snapshot, last runs. Asks nobody.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(self, state: &StateDir) -> Result<Exit, Failure> {
        let file = state.source()?;
        let keys = source::keys(state)?;
        let pin = Pin::read(state)?;
        let certified = source::certificate(state)?.is_some();
        let last: Option<Last> = state.read_toml(names::LAST)?;
        let all = runs::read(state.path())
            .map_err(|error| Failure::io("read", &state.path().join(runs::FILE_NAME), &error))?;
        if self.json {
            print_json(&json!({
                "source": file.name,
                "source_id": file.source,
                "epoch": keys.epoch(),
                "certified": certified,
                "box": pin.as_ref().map(|pin| json!({ "name": pin.name, "key": pin.key, "addresses": pin.addresses })),
                "newest": last,
                "runs": all.iter().rev().take(RUNS_SHOWN).collect::<Vec<_>>(),
            }))?;
            return Ok(Exit::Done);
        }
        let mut lines = format!("source     {} ({})\n", file.name, file.source);
        if !certified {
            lines.push_str(
                "           not certified: `adit request` writes what the holder of the recovery key signs\n",
            );
        }
        match &pin {
            Some(pin) => lines.line(format_args!("box        {} at {}", pin.called(), pin.addresses.join(", "))),
            None => lines.push_str("box        not paired: `adit pair TOKEN`\n"),
        }
        match &last {
            Some(last) => lines.line(format_args!(
                "newest     snapshot {} ({}), {}: {} files, {}",
                last.snapshot.get(..12).unwrap_or(&last.snapshot),
                last.seq,
                text::time(last.committed_s),
                text::count(last.files),
                text::bytes(last.bytes),
            )),
            None => lines.push_str("newest     none from this machine yet\n"),
        }
        for run in all.iter().rev().take(RUNS_SHOWN) {
            lines.line(format_args!("run        {}  {}", text::time(run.started_s), ended(run)));
        }
        print(&lines)?;
        Ok(Exit::Done)
    }
}

fn ended(run: &RunRecord) -> String {
    let known = |code: i32| Exit::ALL.iter().find(|exit| i32::from(**exit as u8) == code);
    match run.exit {
        None if run.ended_early => "was cut off".to_owned(),
        None => "runs".to_owned(),
        Some(0) => format!("done, {} sent", text::bytes(run.bytes_sent)),
        Some(code) => known(code).map_or_else(|| format!("exit {code}"), |exit| exit.text().to_owned()),
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit snapshots`: what the box has of this source. A source may list its own without the recovery key.

use super::{print, print_json};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::history;
use crate::net::{Net, Way};
use crate::source;
use crate::state::StateDir;
use crate::text::{self, Lines as _};
use adit_link::Door;
use adit_wire::signed::Completeness;
use serde_json::json;

/// List the snapshots on the box, oldest first.
#[derive(Debug, clap::Args)]
pub(super) struct Snapshots {
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
}

impl Snapshots {
    pub(super) fn run(self, state: &StateDir) -> Result<Exit, Failure> {
        let keys = source::keys(state)?;
        let (way, _) = Way::paired(state)?;
        let net = Net::start()?;
        let history = net.run(async {
            let link = way.connect(Door::Main).await?;
            let history = history::list(&link, keys.source()).await?;
            link.close(None).await;
            Ok::<_, Failure>(history)
        })?;
        let end = if history.damaged.is_empty() { Exit::Done } else { Exit::Damaged };
        if self.json {
            let array: Vec<_> = history
                .snapshots
                .iter()
                .map(|item| {
                    json!({
                        "snapshot": item.head.to_string(),
                        "seq": item.snapshot.seq,
                        "received_s": item.received_s,
                        "complete": item.snapshot.state == Completeness::Complete,
                        "new_records": item.new_records,
                        "new_bytes": item.new_bytes,
                    })
                })
                .chain(history.damaged.iter().map(|head| json!({ "snapshot": head.to_string(), "damaged": true })))
                .collect();
            print_json(&json!(array))?;
            return Ok(end);
        }
        if history.snapshots.is_empty() && history.damaged.is_empty() {
            return print("no snapshots yet: `adit backup PATH…` makes the first\n").map(|()| Exit::Done);
        }
        let mut lines = format!("{:<14}{:>6}  {:<21}{:>10}  {}\n", "SNAPSHOT", "NUMBER", "RECEIVED", "ADDED", "STATE");
        for item in &history.snapshots {
            let whole = if item.snapshot.state == Completeness::Complete { "complete" } else { "files skipped" };
            lines.line(format_args!(
                "{:<14}{:>6}  {:<21}{:>10}  {whole}",
                text::short(&item.head),
                item.snapshot.seq,
                text::time(item.received_s),
                text::bytes(item.new_bytes),
            ));
        }
        for head in &history.damaged {
            lines.line(format_args!(
                "{:<14}     ?  lost on the box by damage: it cannot be restored",
                text::short(head)
            ));
        }
        print(&lines)?;
        Ok(end)
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit verify`: the box reads everything that it stores and checks every hash. No key is needed or sent.

use super::{print, print_json, say};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::net::{self, Net, Way};
use crate::progress::Meter;
use crate::state::StateDir;
use crate::text::{self, Lines as _};
use adit_link::{Door, Link, LinkError};
use adit_wire::admin::{Verified, Verify as VerifyRequest, Verifying};
use adit_wire::frame::Message as _;
use serde_json::{Value, json};

/// Let the box read and check everything it stores, without a key.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Damaged records that are named on the screen; `--json` names all that the box told.
const NAMED_MAX: usize = 20;

/// What the box found, owned.
struct Found {
    value: Value,
    well: bool,
    first_place: String,
}

impl Verify {
    pub(super) fn run(self, state: &StateDir) -> Result<Exit, Failure> {
        let (way, _) = Way::paired(state)?;
        let net = Net::start()?;
        let found = net.run(async {
            let link = way.connect(Door::Main).await?;
            let found = verify(&link).await?;
            link.close(None).await;
            Ok::<Found, Failure>(found)
        })?;
        if self.json {
            print_json(&found.value)?;
        } else {
            print(&found.lines())?;
        }
        if found.well {
            return Ok(Exit::Done);
        }
        say(
            "next: the box marks what is damaged; the next `adit backup` sends it again where this machine still has it",
        );
        Ok(Exit::Damaged)
    }
}

async fn verify(link: &Link) -> Result<Found, Failure> {
    let failed = |error: LinkError| net::link_failure(&error);
    let conversation = link.open().map_err(failed)?;
    conversation.send(&VerifyRequest {}, true).await.map_err(failed)?;
    let meter = Meter::bytes("verify");
    loop {
        let frame = net::answer(&conversation).await?;
        if frame.kind == Verifying::KIND {
            let progress: Verifying = net::read(&frame)?;
            meter.set(progress.done_bytes, progress.total_bytes);
            continue;
        }
        let verified: Verified<'_> = net::read(&frame)?;
        meter.finish();
        return Ok(Found::of(&verified));
    }
}

impl Found {
    fn of(verified: &Verified<'_>) -> Self {
        let well = verified.records_damaged == 0 && verified.places_damaged == 0 && verified.snapshots_incomplete == 0;
        let value = json!({
            "well": well,
            "bytes": verified.bytes,
            "records_well": verified.records_well,
            "records_damaged": verified.records_damaged,
            "places_damaged": verified.places_damaged,
            "snapshots": verified.snapshots,
            "snapshots_incomplete": verified.snapshots_incomplete,
            "damaged": verified.damaged.iter().map(|id| id.to_string()).collect::<Vec<_>>(),
            "first_place": verified.first_place,
        });
        Self { value, well, first_place: verified.first_place.to_owned() }
    }

    fn lines(&self) -> String {
        let number = |name: &str| self.value[name].as_u64().unwrap_or(0);
        let mut lines = format!(
            "{} read; {} records well, {} damaged; {} snapshots, {} incomplete\n",
            text::bytes(number("bytes")),
            text::count(number("records_well")),
            text::count(number("records_damaged")),
            number("snapshots"),
            number("snapshots_incomplete"),
        );
        for id in self.value["damaged"].as_array().into_iter().flatten().take(NAMED_MAX).filter_map(Value::as_str) {
            lines.line(format_args!("damaged record {id}"));
        }
        if number("places_damaged") > 0 {
            lines.line(format_args!("{} damaged places outside records", number("places_damaged")));
        }
        if !self.first_place.is_empty() {
            lines.line(format_args!("first damage: {}", self.first_place));
        }
        lines.push_str(if self.well { "everything is well\n" } else { "DAMAGED\n" });
        lines
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Health is polled: the newest report, or "the same as you have". Reports are collected elsewhere, on their own time; a
//! poll waits only for a report that is due because something happened here.

use super::{Caller, ServeError};
use adit_health::Answer;
use adit_link::{Conversation, Frame};
use adit_wire::health::{Full, Poll, Same};
use std::time::Duration;

/// How long a poll right after the start or after a commit waits for the report that shows it.
const FRESH_REPORT_WITHIN: Duration = Duration::from_secs(20);

pub(super) async fn serve(caller: &Caller, frame: &Frame, conversation: &Conversation) -> Result<(), ServeError> {
    let poll: Poll = frame.message()?;
    let wanted = caller.shared.health_wanted();
    let mut shown = caller.shared.health_shown.subscribe();
    let fresh = async { drop(shown.wait_for(|shown| *shown >= wanted).await) };
    // After that time the report before is answered, or an empty one, which says that nothing could be read.
    let _late = tokio::time::timeout(FRESH_REPORT_WITHIN, fresh).await;
    let answer = match caller.shared.reporter().answer(poll) {
        Answer::Same { report } => Err(report),
        Answer::Full { report, inventory, snapshot, inventory_bytes } => {
            Ok((report, inventory, snapshot.to_vec(), inventory_bytes.to_vec()))
        }
    };
    match answer {
        Err(report) => conversation.send(&Same { report }, true).await?,
        Ok((report, inventory, snapshot, inventory_bytes)) => {
            let full = Full { report, inventory, snapshot: &snapshot, inventory_bytes: &inventory_bytes };
            conversation.send(&full, true).await?;
        }
    }
    Ok(())
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Health is polled: the newest report, or "the same as you have". Reports are collected elsewhere, on their own time, so
//! that a poll never waits for a disk.

use super::{Caller, ServeError};
use adit_health::Answer;
use adit_link::{Conversation, Frame};
use adit_wire::health::{Full, Poll, Same};
use std::time::Duration;

/// How long a poll right after the start waits for the first report.
const FIRST_REPORT_WITHIN: Duration = Duration::from_secs(20);

pub(super) async fn serve(caller: &Caller, frame: &Frame, conversation: &Conversation) -> Result<(), ServeError> {
    let poll: Poll = frame.message()?;
    let mut ready = caller.shared.health_ready.subscribe();
    let first = async { drop(ready.wait_for(|ready| *ready).await) };
    // After that time an empty report is answered: it says that nothing could be read.
    let _late = tokio::time::timeout(FIRST_REPORT_WITHIN, first).await;
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

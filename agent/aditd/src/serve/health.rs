// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Health is polled: the newest report, or "the same as you have". Reports are collected elsewhere, on their own time; a
//! poll waits only for a report that is due because something happened here.

use super::{Caller, ServeError};
use crate::shared::Shared;
use adit_health::Answer;
use adit_link::{Conversation, Frame};
use adit_proto::encode;
use adit_wire::frame::{FLAG_END, Kind, Message};
use adit_wire::health::{Full, Poll, Same};
use std::time::Duration;

/// How long a poll right after the start or after a commit waits for the report that shows it.
const FRESH_REPORT_WITHIN: Duration = Duration::from_secs(20);

pub(super) async fn serve(caller: &Caller, frame: &Frame, conversation: &Conversation) -> Result<(), ServeError> {
    let (kind, body) = answer(&caller.shared, frame.message()?).await?;
    Ok(conversation.send_parts(kind, FLAG_END, &[&body]).await?)
}

/// The answer to a poll: its kind and body.
pub(crate) async fn answer(shared: &Shared, poll: Poll) -> Result<(Kind, Vec<u8>), ServeError> {
    let wanted = shared.health_wanted();
    let mut shown = shared.health_shown.subscribe();
    let fresh = async { drop(shown.wait_for(|shown| *shown >= wanted).await) };
    // After that time the report before is answered, or an empty one, which says that nothing could be read.
    let _late = tokio::time::timeout(FRESH_REPORT_WITHIN, fresh).await;
    Ok(match shared.reporter().answer(poll) {
        Answer::Same { report } => (Same::KIND, encode::body(&Same { report })?),
        Answer::Full { report, inventory, snapshot, inventory_bytes } => {
            (Full::KIND, encode::body(&Full { report, inventory, snapshot, inventory_bytes })?)
        }
    })
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One agent, followed: a link when there is none, a poll every interval, less often after failures. When to do what is
//! decided without a clock ([`wait_after`]); the rest is I/O.

use crate::core::{Input, Polled};
use crate::daemon::{Shared, lock};
use adit_link::{Deadlines, Door, Link, LinkError, Target, dial};
use adit_wire::health::{Full, Poll, Same};
use adit_wire::ids::PublicKey;
use std::sync::Arc;
use std::time::Duration;

/// How long an agent may take to answer: its first report after a start may wait for a stuck disk.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// First wait after a failure; it doubles up to the interval.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// The fleet's first polls are spread over so long.
const SPREAD: Duration = Duration::from_secs(5);

/// An agent to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agent {
    /// Its name here.
    pub(crate) name: String,
    /// Its key.
    pub(crate) key: PublicKey,
    /// Where to dial it; none for one that only dials in.
    pub(crate) addresses: Vec<String>,
}

/// A fraction between 0 and 1 that is an agent's own, so that the fleet is polled evenly over the interval.
fn share(key: &PublicKey) -> f64 {
    f64::from(u16::from_le_bytes([key.0[3], key.0[4]])) / 65_536.0
}

/// How long to wait after a poll that came after so many failures: the interval after none; else from 5 seconds on twice as
/// long each time, up to the interval; and a tenth more or less, by the agent.
#[must_use]
pub(crate) fn wait_after(failures: u32, interval: Duration, key: &PublicKey) -> Duration {
    let plain = match failures {
        0 => interval,
        failures => AGAIN_AFTER.saturating_mul(1 << (failures - 1).min(16)).min(interval),
    };
    plain.mul_f64(0.95 + share(key) / 10.0)
}

/// Follows an agent until it is cancelled.
pub(crate) async fn follow(shared: Arc<Shared>, agent: Agent) {
    let wake = shared.wake(&agent.key);
    let mut known = Poll { inventory: 0, report: 0 };
    let mut failures = 0u32;
    let interval = shared.config().interval;
    tokio::time::sleep(SPREAD.min(interval).mul_f64(share(&agent.key))).await;
    loop {
        let outcome = round(&shared, &agent, &mut known).await;
        match &outcome {
            Ok(_) => failures = 0,
            Err(_) => failures = failures.saturating_add(1),
        }
        let polled = outcome.unwrap_or_else(Polled::Missed);
        shared.core.tell(Input::Polled(agent.name.clone(), polled)).await;
        let wait = wait_after(failures, shared.config().interval, &agent.key);
        // An agent that dials in while it is missed is asked at once.
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = wake.notified(), if failures > 0 => {}
        }
    }
}

/// One poll over the link that is up, or over a new one.
async fn round(shared: &Arc<Shared>, agent: &Agent, known: &mut Poll) -> Result<Polled, String> {
    let link = match shared.link(&agent.key) {
        Some(link) => link,
        None => dial_agent(shared, agent).await?,
    };
    let polled = poll(&link, known).await;
    if polled.is_err() {
        // What it holds is not known any more; and a link that answers no poll is no use.
        *known = Poll { inventory: 0, report: 0 };
        link.closer().close(adit_wire::refusal::Code::Deadline);
    }
    polled.map_err(|error| error.to_string())
}

async fn dial_agent(shared: &Arc<Shared>, agent: &Agent) -> Result<Arc<Link>, String> {
    let mut addresses = agent.addresses.clone();
    let record = lock(&shared.records).get(&agent.key).map(|(_, addresses)| addresses.clone()).unwrap_or_default();
    let more: Vec<String> = record.into_iter().filter(|address| !addresses.contains(address)).collect();
    addresses.extend(more);
    let targets: Vec<Target> = addresses.iter().filter_map(|text| Target::parse(text).ok()).collect();
    if targets.is_empty() {
        return Err("it does not dial in".to_owned());
    }
    let Ok(_place) = shared.dials.acquire().await else { return Err("the monitor stops".to_owned()) };
    let about = shared.about();
    let dialled = dial(&targets, Door::Main, &shared.identity, agent.key, &about, Deadlines::default()).await;
    let link = dialled.map_err(|error| error.to_string())?;
    Ok(shared.adopt(&agent.name, link))
}

async fn poll(link: &Link, known: &mut Poll) -> Result<Polled, LinkError> {
    let conversation = link.open()?;
    conversation.send(known, true).await?;
    let frame = conversation.recv_within(ANSWER_WITHIN).await?.ok_or(LinkError::Cut)?;
    if let Ok(same) = frame.message::<Same>() {
        if same.report == known.report {
            return Ok(Polled::Same);
        }
        return Err(LinkError::Protocol("\"same\" names another report"));
    }
    let full: Full<'_> = frame.message()?;
    if full.inventory_bytes.is_empty() && full.inventory != known.inventory {
        return Err(LinkError::Protocol("a report without its inventory"));
    }
    *known = Poll { inventory: full.inventory, report: full.report };
    Ok(Polled::Full { inventory: full.inventory_bytes.to_vec(), snapshot: full.snapshot.to_vec() })
}

/// Takes an address record that an agent shows; answers whether it is newer than the one known.
pub(crate) fn newer_record(shared: &Shared, key: &PublicKey, bytes: &[u8]) -> bool {
    if bytes.is_empty() {
        return false;
    }
    let mut records = lock(&shared.records);
    let known = records.get(key).map_or(0, |(seq, _)| *seq);
    let Ok(Some(newer)) = adit_proto::address::accept(bytes, key, known, &adit_link::verify) else { return false };
    let addresses = newer.addresses.iter().map(|(ip, port)| format!("[{ip}]:{port}")).collect();
    records.insert(*key, (newer.seq, addresses));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_tried_again_less_and_less_often() {
        let (minute, middle) = (Duration::from_secs(60), PublicKey([0x80; 32]));
        let waits = [0, 1, 2, 3, 4, 5, 40].map(|failures| wait_after(failures, minute, &middle).as_secs());
        assert_eq!(waits, [60, 5, 10, 20, 40, 60, 60]);
        let (first, last) = (PublicKey([0; 32]), PublicKey([0xff; 32]));
        assert_eq!(wait_after(0, minute, &first), Duration::from_secs(57));
        assert!((62..=63).contains(&wait_after(0, minute, &last).as_secs()));
    }
}

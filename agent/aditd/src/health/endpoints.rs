// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Looks at the certificates that configured endpoints show, a few times a day, as a task of its own: no report waits for it.
//! It never judges one: that is done anew for each report, because time passes between two looks.

use crate::shared::Shared;
use adit_health::readings::certificate::{CertificateReading, Unseen, Validity};
use adit_link::{CertificateError, Deadlines, DialError, Target, certificate};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// A certificate that was seen is looked at again after this time: the shortest that are issued last six days.
const EVERY: Duration = Duration::from_secs(6 * 3_600);
/// One that was not seen.
const AGAIN: Duration = Duration::from_secs(600);
/// What one look may take in all.
const WITHIN: Duration = Duration::from_secs(30);

/// The newest of each endpoint; the task ends when this is dropped.
pub(super) struct Endpoints {
    newest: Arc<Mutex<Vec<Option<CertificateReading>>>>,
    _task: JoinSet<()>,
}

impl Endpoints {
    pub(super) fn start(shared: &Arc<Shared>) -> Self {
        let endpoints = &shared.config.health.endpoints;
        let newest = Arc::new(Mutex::new(vec![None; endpoints.len()]));
        let mut task = JoinSet::new();
        if !endpoints.is_empty() {
            task.spawn(watch(Arc::clone(shared), Arc::clone(&newest)));
        }
        Self { newest, _task: task }
    }

    pub(super) fn newest(&self) -> Vec<CertificateReading> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).iter().flatten().cloned().collect()
    }
}

async fn watch(shared: Arc<Shared>, newest: Arc<Mutex<Vec<Option<CertificateReading>>>>) {
    let mut looks = vec![Look::default(); shared.config.health.endpoints.len()];
    loop {
        for (at, endpoint) in shared.config.health.endpoints.iter().enumerate() {
            let Some(look) = looks.get_mut(at).filter(|look| look.is_due()) else { continue };
            let validity = ask(endpoint).await;
            if !look.tells(&validity) {
                continue;
            }
            let reading = Some(CertificateReading { place: endpoint.to_string(), validity });
            let mut newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(slot) = newest.get_mut(at).filter(|slot| **slot != reading) {
                *slot = reading;
                shared.health_due.notify_one();
            }
        }
        sleep(AGAIN).await;
    }
}

/// What is known of the looks at one endpoint.
#[derive(Clone, Debug, Default)]
struct Look {
    /// When its certificate was seen last.
    seen_at: Option<Instant>,
    /// Whether the look before this was in vain.
    in_vain: bool,
}

impl Look {
    fn is_due(&self) -> bool {
        self.in_vain || self.seen_at.is_none_or(|at| at.elapsed() >= EVERY)
    }

    /// Notes a look; whether it is told. One look in vain behind good ones is not: a service that is started anew is no news.
    fn tells(&mut self, validity: &Result<Validity, Unseen>) -> bool {
        let forgiven = matches!(validity, Err(Unseen::Silent(_))) && self.seen_at.is_some() && !self.in_vain;
        self.in_vain = validity.is_err();
        if validity.is_ok() {
            self.seen_at = Some(Instant::now());
        }
        !forgiven
    }
}

async fn ask(endpoint: &Target) -> Result<Validity, Unseen> {
    match timeout(WITHIN, certificate(endpoint, Deadlines::default())).await {
        Err(_late) => Err(Unseen::Silent(format!("nothing for {} s", WITHIN.as_secs()))),
        Ok(Ok(der)) => {
            Validity::of_der(&der).ok_or_else(|| Unseen::Unreadable("no certificate in its answer".to_owned()))
        }
        Ok(Err(error)) => {
            let words = error.to_string();
            Err(match error {
                CertificateError::NotShown(_) => Unseen::Unreadable(words),
                CertificateError::NoTls13 | CertificateError::Unreachable(DialError::OnlyIpv4) => {
                    Unseen::Unspoken(words)
                }
                CertificateError::Unreachable(_) => Unseen::Silent(words),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent() -> Result<Validity, Unseen> {
        Err(Unseen::Silent("no answer".to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn one_look_in_vain_is_forgiven_and_made_up_for() {
        let mut look = Look::default();
        assert!(look.is_due() && look.tells(&silent()), "one that never answered is told at once");
        assert!(look.is_due() && look.tells(&Ok(Validity::default())) && !look.is_due());
        tokio::time::advance(EVERY).await;
        assert!(look.is_due() && !look.tells(&silent()), "the first time");
        assert!(look.is_due() && look.tells(&silent()), "the second time");
        assert!(look.tells(&Ok(Validity::default())) && !look.is_due());
        assert!(look.tells(&Err(Unseen::Unspoken(String::new()))), "that is an answer");
    }
}

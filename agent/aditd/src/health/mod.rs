// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Health goes on by itself: one thread looks at the kernel's files and judges, others ask what must be asked. A poll is
//! answered from the newest report, whatever hangs meanwhile: a stuck disk makes the report old and says so, it never makes
//! the agent mute.

mod asking;
mod endpoints;
mod looker;
mod probe;
mod stored;

use crate::clock;
use crate::event::Event;
use crate::shared::Shared;
use adit_health::{Finding, Gathered, Report, Surroundings, rules, show};
use adit_wire::health::codes::{Check, ComponentKind, Reason, Verdict};
use asking::Asking;
use endpoints::Endpoints;
pub(crate) use looker::Remembered;
use looker::{Look, Looker, Seen};
use std::sync::Arc;
use std::time::Duration;
use stored::Stored;
use tokio::time::Instant;

/// How old a report may get.
const EVERY: Duration = Duration::from_secs(30);
/// Something happened that health shows: the report is made anew after this long, so that many events cost one.
const AFTER: Duration = Duration::from_millis(100);
/// A look that takes longer is stuck: the report before stands, and says so.
const LOOK_WITHIN: Duration = Duration::from_secs(10);
/// How long the machine goes on after a report says that its power ends: a monitor that holds a link asks meanwhile.
const TELL: Duration = Duration::from_secs(5);
/// How often what the rules remember is stored, when it changed.
const REMEMBER_EVERY: Duration = Duration::from_secs(600);

/// Makes reports until the task is dropped.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let surroundings = Surroundings {
        root: "/".into(),
        run_dirs: shared.config.backups.clone(),
        certificates: shared.config.health.certificates.clone(),
        ignored_units: shared.config.health.ignored_units.clone(),
    };
    let remembered = shared.state.as_ref().map(crate::state::State::health_remembered).unwrap_or_default();
    let looker = match Looker::start(surroundings, shared.config.health.limits.clone(), &remembered) {
        Ok(looker) => looker,
        Err(error) => {
            return shared.events.record(&Event::Trouble { what: format!("start the health thread: {error}") });
        }
    };
    let asking = Asking::start(&shared);
    let endpoints = Endpoints::start(&shared);
    let mut rounds = Rounds {
        shared,
        looker,
        asking,
        endpoints,
        store: Stored::default(),
        stored: remembered,
        stored_at: Instant::now(),
    };
    loop {
        rounds.round().await;
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = rounds.shared.health_due.notified() => tokio::time::sleep(AFTER).await,
        }
    }
}

struct Rounds {
    shared: Arc<Shared>,
    looker: Looker,
    asking: Asking,
    endpoints: Endpoints,
    store: Stored,
    /// What was stored last.
    stored: Remembered,
    stored_at: Instant,
}

impl Rounds {
    async fn round(&mut self) {
        let shared = Arc::clone(&self.shared);
        let shows = shared.health_wanted();
        let store = self.store.newest(&shared).await;
        let forget = shared.state.as_ref().map(crate::state::State::forgotten).unwrap_or_default();
        let gathered = Gathered { store, certificates: self.endpoints.newest(), ..self.asking.newest() };
        let mut seen = self.looker.look(Look { now_s: clock::wall_s(), gathered, forget: forget.clone() });
        let began = Instant::now();
        let seen = loop {
            match tokio::time::timeout(LOOK_WITHIN, &mut seen).await {
                Ok(seen) => break seen,
                // Whoever waits for this report gets the one before, which says why it is old.
                Err(_late) => self.publish_stuck(began.elapsed()),
            }
            self.go_when_power_ends().await;
        };
        match seen {
            Ok(Seen { report, remembered }) => {
                self.publish(&report);
                self.remember(remembered, &forget);
            }
            Err(_gone) => shared.events.record(&Event::Trouble { what: "the health thread broke off".to_owned() }),
        }
        shared.health_shown.send_replace(shows);
        self.go_when_power_ends().await;
    }

    /// Stops the agent when it is told to do so and every UPS says that its battery ends, whatever hangs meanwhile.
    async fn go_when_power_ends(&self) {
        if self.shared.config.health.shutdown && power_ends(&self.asking.newest()) {
            // The newest report says why; monitors get a moment to hear it before the links end.
            tokio::time::sleep(TELL).await;
            self.shared.events.record(&Event::Stopping { why: "every UPS says that its battery ends" });
            self.shared.power_ends();
        }
    }

    fn publish(&self, report: &Report) {
        if let Err(error) = self.shared.reporter().update(report) {
            let what = format!("health report: {}", crate::report::chain(&error));
            self.shared.events.record(&Event::Trouble { what });
        }
    }

    fn publish_stuck(&self, for_so_long: Duration) {
        let before = self.shared.reporter().report().clone();
        self.publish(&stuck(before, for_so_long));
        self.shared.health_shown.send_replace(u64::MAX);
    }

    /// Losing what is remembered costs days of growth, not a verdict of the moment: so it is stored now and then. What a
    /// person retired stays retired whatever comes: its order goes only after that is stored.
    fn remember(&mut self, remembered: Remembered, forget: &[String]) {
        let late = self.stored.memory.is_empty() || self.stored_at.elapsed() >= REMEMBER_EVERY;
        let due = !forget.is_empty() || (late && remembered != self.stored);
        let Some(state) = self.shared.state.as_ref().filter(|_| due) else { return };
        self.stored_at = Instant::now();
        match state.put_health_remembered(&remembered).and_then(|()| state.obeyed(forget)) {
            Ok(()) => self.stored = remembered,
            Err(error) => self.shared.events.record(&Event::Trouble { what: crate::report::chain(&error) }),
        }
    }
}

/// Whether every UPS was asked and says that its battery ends.
fn power_ends(gathered: &Gathered) -> bool {
    let told: Vec<_> =
        gathered.upses.iter().map(|(_, asked)| asked.as_ref().and_then(|asked| asked.as_ref().ok())).collect();
    told.iter().all(Option::is_some) && rules::ups::must_shut_down(told.into_iter().flatten().flatten())
}

/// The report before, with a word that nothing newer is to be had.
fn stuck(mut report: Report, for_so_long: Duration) -> Report {
    let finding = Finding::new(Check::AgentSelf, Verdict::Critical, Reason::HelperStuck)
        .with_detail(format!("the look at this machine hangs for {}", show::duration(for_so_long.as_secs())));
    report.components.retain(|component| component.kind != ComponentKind::Agent);
    report.components.push(rules::system::agent(finding));
    report
}

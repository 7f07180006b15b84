// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The fast stories as tests, one each, so that every runner can list, filter and count them. The seed is of the day the
//! test was written unless ADIT_HIL_SEED names another; a failure prints it.

use adit_hil::artifacts::Visitor;
use adit_hil::{Guest, Lab};
use libtest_mimic::{Arguments, Trial};
use scenarios::{ALL, Scenario, Set};
use std::sync::Arc;

fn main() {
    let trial = |scenario: &'static Scenario| Trial::test(scenario.name, || play(scenario).map_err(Into::into));
    let trials = ALL.iter().filter(|scenario| scenario.set == Set::Fast).map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn play(scenario: &Scenario) -> Result<(), String> {
    let seed = std::env::var("ADIT_HIL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let run = || {
        let guest = Arc::new(Guest::prepare()?);
        let mut lab = Lab::new(scenario.name, seed, &guest, Visitor::Nobody)?;
        let result = (scenario.play)(&mut lab);
        lab.end(result, false)
    };
    run().map_err(|error: anyhow::Error| format!("{error:#}"))
}

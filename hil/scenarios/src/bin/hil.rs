// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo hil`: lists the stories, plays them, repeats them with other seeds, and says what to type to see a failure again.
#![expect(clippy::print_stdout, reason = "the results of this program")]

use adit_hil::artifacts::Visitor;
use adit_hil::{Guest, Lab};
use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use scenarios::cli::{Cli, Command, Run};
use scenarios::junit::{self, Outcome};
use scenarios::{ALL, Scenario, Set};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

fn main() -> ExitCode {
    match start(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("stopped: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn start(cli: Cli) -> Result<bool> {
    match cli.command {
        Command::List => {
            for scenario in ALL {
                let set = if scenario.set == Set::Fast { "" } else { " (slow)" };
                println!("{:<28}{}{set}", scenario.name, scenario.about);
            }
            Ok(true)
        }
        Command::Prepare => {
            let guest = Guest::prepare()?;
            println!("kernel {}, in {}", guest.kernel_version()?, guest.folder().display());
            Ok(true)
        }
        Command::Run(run) => play_all(&run),
    }
}

fn play_all(run: &Run) -> Result<bool> {
    let chosen = chosen(run)?;
    let guest = Arc::new(Guest::prepare().context("prepare the guest")?);
    let mut outcomes = Vec::new();
    for round in 0..u64::from(run.repeat) {
        for scenario in &chosen {
            outcomes.push(play(scenario, run.seed + round, &guest, run)?);
        }
    }
    if let Some(path) = &run.junit {
        std::fs::write(path, junit::xml(&outcomes)).with_context(|| format!("write {}", path.display()))?;
    }
    let failed: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.failure.is_some()).collect();
    println!("\n{} passed, {} failed", outcomes.len() - failed.len(), failed.len());
    for Outcome { name, seed, .. } in &failed {
        println!("see it again: cargo hil run {name} --seed {seed} --keep");
    }
    Ok(failed.is_empty())
}

fn chosen(run: &Run) -> Result<Vec<&'static Scenario>> {
    let wanted = |scenario: &&Scenario| {
        let named = run.names.iter().any(|name| scenario.name.contains(name.as_str()));
        named || (run.names.is_empty() && (run.all || scenario.set == Set::Fast))
    };
    // A whole name means that one alone, even where it is a part of another.
    let exact: Vec<&Scenario> = ALL.iter().filter(|s| run.names.iter().any(|name| name == s.name)).collect();
    let chosen: Vec<&Scenario> =
        if exact.len() == run.names.len() && !exact.is_empty() { exact } else { ALL.iter().filter(wanted).collect() };
    if chosen.is_empty() {
        bail!("no scenario is called {}; `cargo hil list` shows them", run.names.join(", "));
    }
    Ok(chosen)
}

fn play(scenario: &Scenario, seed: u64, guest: &Arc<Guest>, run: &Run) -> Result<Outcome> {
    let started = Instant::now();
    let visitor = if run.interactive { Visitor::Person } else { Visitor::Nobody };
    let mut lab = Lab::new(scenario.name, seed, guest, visitor)?;
    let result = (scenario.play)(&mut lab);
    let dir = lab.path("");
    let failure = lab.end(result, run.keep).err().map(|error| format!("{error:#}"));
    let took = started.elapsed();
    let word = if failure.is_some() { "FAIL" } else { "ok" };
    println!("{word:<5}{:<28}seed {seed:<6}{:6.1} s", scenario.name, took.as_secs_f64());
    match &failure {
        Some(text) => println!("{text}\n"),
        None if run.keep => println!("     kept in {}", dir.display()),
        None => {}
    }
    Ok(Outcome { name: scenario.name, seed, took, failure })
}

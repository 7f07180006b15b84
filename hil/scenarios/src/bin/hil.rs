// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo hil`: lists the stories, plays them, repeats them with other seeds, and says what to type to see a failure again.
#![expect(clippy::print_stdout, reason = "the results of this program")]

use adit_hil::artifacts::Visitor;
use adit_hil::guest::Spec;
use adit_hil::{Guest, Lab};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser as _;
use scenarios::cli::{Cli, Command, Mutants, Run};
use scenarios::junit::{self, Outcome};
use scenarios::mutants::{Change, MUTANTS, Mutant, Nursery};
use scenarios::{ALL, Scenario, Set};
use std::collections::BTreeMap;
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
            prepare()?;
            Ok(true)
        }
        Command::Run(run) => play_all(&run),
        Command::Mutants(args) => mutants(&args),
    }
}

/// What machines boot, and how large it is.
fn prepare() -> Result<()> {
    let started = Instant::now();
    let guest = Guest::prepare()?;
    println!("kernel {} and static programs: {:.1} s", guest.kernel_version()?, started.elapsed().as_secs_f64());
    let first = guest.initramfs(&Spec::default().ours(&["aditd", "adit-probe"]))?;
    let programs = ["adit-guest", "aditd", "adit", "adit-probe"].map(|name| guest.program(name));
    for path in programs.iter().chain([&guest.vmlinux(), &first]) {
        println!("{:>8} KiB  {}", std::fs::metadata(path)?.len() / 1024, path.display());
    }
    Ok(())
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
    let (dir, told) = (lab.path(""), lab.told().join("\n     "));
    let failure = lab.end(result, run.keep).err().map(|error| format!("{error:#}"));
    let took = started.elapsed();
    let word = if failure.is_some() { "FAIL" } else { "ok" };
    println!("{word:<5}{:<28}seed {seed:<6}{:6.1} s", scenario.name, took.as_secs_f64());
    if !told.is_empty() {
        println!("     {told}");
    }
    match &failure {
        Some(text) => println!("{text}\n"),
        None if run.keep => println!("     kept in {}", dir.display()),
        None => {}
    }
    Ok(Outcome { name: scenario.name, seed, took, failure })
}

/// What a story says without any mutation; a mutant proves nothing where that is a complaint.
type Controls = BTreeMap<&'static str, Option<String>>;

fn mutants(args: &Mutants) -> Result<bool> {
    let chosen: Vec<&Mutant> =
        MUTANTS.iter().filter(|m| args.names.is_empty() || args.names.iter().any(|name| name == m.name)).collect();
    ensure!(chosen.len() >= args.names.len().max(1), "no such mutant; `cargo hil mutants --list` shows them");
    if args.list {
        for mutant in chosen {
            println!("{:<24}{:<20}without: {}", mutant.name, mutant.scenario, mutant.removes()?);
        }
        return Ok(true);
    }
    let guest = Guest::prepare_system().context("prepare the guest")?;
    let nursery = Nursery::open(&guest.folder().join("mutants"))?;
    let mut controls = Controls::new();
    let healthy = Arc::new(guest.clone().with_programs(&nursery.programs(None)?));
    for mutant in &chosen {
        if !controls.contains_key(mutant.scenario) {
            let started = Instant::now();
            let failure = play_without(mutant, "control", args.seed, &healthy)?;
            let word = if failure.is_none() { "ok" } else { "FAIL" };
            println!("{word:<5}{:<24}{:<20}{:6.1} s", "control", mutant.scenario, started.elapsed().as_secs_f64());
            controls.insert(mutant.scenario, failure);
        }
    }
    let mut failed = 0;
    for mutant in &chosen {
        let started = Instant::now();
        let (proven, words) = judge(mutant, args.seed, &guest, &nursery, &controls)?;
        let word = if proven { "ok" } else { "FAIL" };
        println!("{word:<5}{:<24}{:<20}{:6.1} s", mutant.name, mutant.scenario, started.elapsed().as_secs_f64());
        println!("     {words}");
        failed += usize::from(!proven);
    }
    println!("\n{} passed, {failed} failed", chosen.len() - failed);
    Ok(failed == 0)
}

/// Whether this mutant proves that its story bites, and what was said.
fn judge(mutant: &Mutant, seed: u64, guest: &Guest, nursery: &Nursery, controls: &Controls) -> Result<(bool, String)> {
    if let Some(Some(failure)) = controls.get(mutant.scenario) {
        return Ok((false, format!("the story fails without it too: {failure}")));
    }
    let mutated = match nursery.programs(Some(mutant)) {
        Ok(programs) => guest.clone().with_programs(&programs),
        Err(error) => return Ok((false, format!("{error:#}"))),
    };
    let mutated = match mutant.change {
        Change::Patch => mutated,
        Change::Setting(setting) => mutated.with_setting(setting),
    };
    let Some(failure) = play_without(mutant, mutant.name, seed, &Arc::new(mutated))? else {
        return Ok((false, format!("the story does not miss it: {}", mutant.removes()?)));
    };
    Ok(match mutant.reason(&failure) {
        Some(words) => (true, format!("says: {words}")),
        None => (false, format!("it failed, but not with {:?}: {failure}", mutant.says)),
    })
}

/// Plays a mutant's story with this guest; what it says when it fails. Artifacts are kept for a failure that is not the
/// expected one.
fn play_without(mutant: &Mutant, who: &str, seed: u64, guest: &Arc<Guest>) -> Result<Option<String>> {
    let scenario = mutant.story()?;
    let mut lab = Lab::new(&format!("{who}-{}", scenario.name), seed, guest, Visitor::Nobody)?;
    let again = format!("#!/bin/sh\nexec cargo hil mutants {} --seed {seed}\n", mutant.name);
    std::fs::write(lab.path("repro.sh"), again).context("write repro.sh")?;
    let result = (scenario.play)(&mut lab);
    let dir = lab.path("");
    let failure = lab.end(result, false).err().map(|error| format!("{error:#}"));
    if who != "control" && failure.as_ref().is_some_and(|failure| mutant.reason(failure).is_some()) {
        std::fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    Ok(failure)
}

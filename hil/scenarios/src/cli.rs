// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo hil`: the command line as data. It decides nothing.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Plays stories on QEMU machines: backups, pulled disks, cut power, lost networks.
#[derive(Debug, Parser)]
#[command(name = "cargo hil", bin_name = "cargo hil", term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the scenarios with what each shows
    List,
    /// Fetch the kernel, build the programs and the guest; `run` does it too
    Prepare,
    /// Run scenarios
    Run(Run),
    /// Remove one protection after the other; the story of each must fail
    Mutants(Mutants),
}

/// Remove protections one after the other.
#[derive(Debug, Args)]
pub struct Mutants {
    /// Their names; none for all
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Only say which there are
    #[arg(long)]
    pub list: bool,
    /// The seed of everything that is random in a scenario
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Run scenarios.
#[derive(Debug, Args)]
pub struct Run {
    /// Their names, or parts of them; none for the fast set
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Run the slow ones too
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    /// The seed of everything that is random in a scenario
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Run each so many times, with this seed, the next, and so on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub repeat: u32,
    /// Keep the artifacts of scenarios that pass too
    #[arg(long)]
    pub keep: bool,
    /// Stop at the end of the scenario, or where it fails, with a shell on the machine's console
    #[arg(long)]
    pub interactive: bool,
    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}

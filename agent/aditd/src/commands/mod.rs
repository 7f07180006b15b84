// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One file per command: reads arguments and files, calls the engines, prints. Facts go to standard output, everything a
//! person should read beside them to standard error.

mod check;
mod forget;
mod id;
mod pair;
mod peers;
mod run;
mod token;
mod verify;

use crate::cli::{Cli, Command};
use crate::config::{Config, ConfigError};
use crate::report::{Exit, Failure};
use crate::state::{State, StateError};
use std::path::Path;

/// Does what the command line says.
///
/// # Errors
/// What to tell the person, and how to exit.
pub fn run(cli: Cli) -> Result<(), Failure> {
    // Files made by anything below are this user's alone.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    if cli.read_only {
        return run::read_only(&cli.store.unwrap_or_default(), &cli.listen.unwrap_or_default());
    }
    let config = || load(&cli.config);
    match cli.command {
        _ if cli.check => check::run(&cli.config, &config()?),
        None => run::foreground(config()?),
        Some(Command::Token(args)) => token::run(&config()?, &args),
        Some(Command::Pair(args)) => pair::run(&config()?, &args),
        Some(Command::Id) => id::run(&config()?),
        Some(Command::Forget(args)) => forget::run(&config()?, &args),
        Some(Command::Peers(command)) => peers::run(&config()?, &command),
        Some(Command::Verify(args)) => match &args.store {
            Some(store) => verify::run(store, &args),
            None => {
                let store = config()?.store.ok_or_else(|| {
                    Failure::new(Exit::Usage, "this machine is no box: its configuration has no store")
                        .advise("name a store by --store DIR")
                })?;
                verify::run(&store, &args)
            }
        },
    }
}

fn load(path: &Path) -> Result<Config, Failure> {
    Config::load(path).map_err(|error| load_failure(path, &error))
}

fn load_failure(path: &Path, error: &ConfigError) -> Failure {
    if let ConfigError::Read(error) = error {
        if error.is_absent() {
            let text = format!("there is no configuration {}", path.display());
            return Failure::new(Exit::Usage, text).advise(
                "name one by --config FILE; a box needs: listen = \"[::]:11713\", state = \"/var/lib/adit\", [box] store = \"/srv/adit\"",
            );
        }
        if error.is_denied() {
            let text = format!("this user may not read {}", path.display());
            return Failure::new(Exit::Usage, text).advise("run it as root");
        }
    }
    Failure::new(Exit::Usage, format!("{}: {}", path.display(), crate::report::chain(error)))
}

fn state(config: &Config) -> Result<State, Failure> {
    State::open(&config.state).map_err(|error| state_failure(&error))
}

fn state_failure(error: &StateError) -> Failure {
    let failure = Failure::of(Exit::State, error);
    match error.advice() {
        Some(advice) => failure.advise(advice),
        None => failure,
    }
}

fn file_failure(error: crate::files::FileError) -> Failure {
    state_failure(&StateError::from(error))
}

/// Prints a fact.
#[expect(clippy::print_stdout, reason = "facts go to standard output, and only here")]
fn say(line: impl std::fmt::Display) {
    println!("{line}");
}

/// Prints what a person should read.
#[expect(clippy::print_stderr, reason = "words for a person go to standard error, and only here")]
fn tell(line: impl std::fmt::Display) {
    eprintln!("{line}");
}

/// A runtime for one command or the agent: one thread for all connections.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Health is collected and names are resolved there.
        .max_blocking_threads(4)
        .build()
        .map_err(|error| Failure::of(Exit::Failed, &error))
}

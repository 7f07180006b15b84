// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line: one tree, one file per command. Parsing and help live here and in the command files; what a
//! command does beyond a screenful lives in the modules beside `cli`.

use crate::exit::Exit;
use crate::failure::Failure;
use crate::state::{STATE_DEFAULT, StateDir};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;

mod backup;
mod box_lock;
mod box_machine;
mod box_peers;
mod box_store;
mod certificate;
mod certify;
mod check;
mod doctor;
mod drill;
mod health;
mod id;
mod init;
mod keygen;
mod ls;
mod pair;
mod recover;
mod request;
mod restore;
mod sheet;
mod snapshots;
mod status;
mod unpair;
mod verify;

/// Encrypted, deduplicated backups to a box in somebody's cellar that can't read them.
#[derive(Debug, Parser)]
#[command(name = "adit", version, max_term_width = 100, disable_help_subcommand = true)]
struct Arguments {
    /// The state directory of this source (or of this admin's identity).
    #[arg(long, global = true, value_name = "DIR", default_value = STATE_DEFAULT)]
    state: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a recovery key: 24 words, a sealed file, and a public file for servers.
    Keygen(keygen::Keygen),
    /// Sign the certificate requests of sources with the recovery key.
    Certify(certify::Certify),
    /// Set this machine up as a source.
    Init(init::Init),
    /// Write this source's certificate request, for `adit certify`.
    Request(request::Request),
    /// Install or show this source's certificate.
    Certificate(certificate::Certificate),
    /// Pair with a box by a one-time token.
    Pair(pair::Pair),
    /// Give the pairing up.
    Unpair(unpair::Unpair),
    /// Print this machine's public key.
    Id(id::Id),
    /// Back up files and directories.
    Backup(backup::Backup),
    /// List the snapshots on the box.
    Snapshots(snapshots::Snapshots),
    /// List the files of a snapshot.
    Ls(ls::Ls),
    /// Restore a snapshot, or a part of it.
    Restore(restore::Restore),
    /// Let the box read and check everything it stores, without a key.
    Verify(verify::Verify),
    /// Restore random files from the newest snapshot and compare them with the disk.
    Drill(drill::Drill),
    /// Show how this machine is, or the box.
    Health(health::Health),
    /// Show this source's own state: pairing, newest snapshot, last runs.
    Status(status::Status),
    /// Print the recovery sheet: keep it with the recovery words.
    Sheet(sheet::Sheet),
    /// Restore on a machine that knows nothing but the recovery key and the sheet.
    Recover(recover::Recover),
    /// Find out which hop on the way to the box fails, and what to do.
    Doctor(doctor::Doctor),
    /// Administer a box.
    #[command(name = "box")]
    Box(box_peers::BoxCommand),
    #[command(hide = true)]
    Check(check::Check),
}

/// Parses the command line, runs the command, prints its failure; answers the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let parsed = command().try_get_matches_from(arguments).and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed stdout or stderr leaves nobody to tell.
            let _ignored = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    env_logger::Builder::new().filter_level(log::LevelFilter::Warn).parse_default_env().format_timestamp(None).init();
    match run(arguments) {
        Ok(exit) => exit,
        Err(failure) => {
            let _ignored = io::stderr().write_all(failure.render().as_bytes());
            failure.exit
        }
    }
}

/// The whole tree, with the exit codes under it.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command().after_help(Exit::help())
}

fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let state = StateDir::new(arguments.state);
    match arguments.command {
        Command::Keygen(command) => command.run(),
        Command::Certify(command) => command.run(),
        Command::Init(command) => command.run(&state),
        Command::Request(command) => command.run(&state),
        Command::Certificate(command) => command.run(&state),
        Command::Pair(command) => command.run(&state),
        Command::Unpair(command) => command.run(&state),
        Command::Id(command) => command.run(&state),
        Command::Backup(command) => command.run(&state),
        Command::Snapshots(command) => command.run(&state),
        Command::Ls(command) => command.run(&state),
        Command::Restore(command) => command.run(&state),
        Command::Verify(command) => command.run(&state),
        Command::Drill(command) => command.run(&state),
        Command::Health(command) => command.run(&state),
        Command::Status(command) => command.run(&state),
        Command::Sheet(command) => command.run(&state),
        Command::Recover(command) => command.run(&state),
        Command::Doctor(command) => command.run(&state),
        Command::Box(command) => command.run(&state),
        Command::Check(command) => command.run(),
    }
}

/// Writes lines to stdout; a closed pipe is not an error worth telling.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::io("write to", std::path::Path::new("standard output"), &error)),
    }
}

/// Writes one JSON object as one line to stdout.
pub(crate) fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    print(&format!("{value}\n"))
}

/// Writes lines for a person to stderr.
pub(crate) fn say(text: &str) {
    let _ignored = writeln!(io::stderr().lock(), "{text}");
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit-image`: builds, inspects, signs and writes the appliance's images. Each subcommand is a file in `command`; the work
//! is done by the library. Runs as an ordinary user, but for `write`, which needs the device it is to write.

mod command;

use clap::Parser;
use std::io::Write as _;
use std::process::ExitCode;

/// Builds, inspects, signs and writes images of an adit box.
#[derive(Debug, Parser)]
#[command(name = "adit-image")]
struct Cli {
    #[command(subcommand)]
    command: command::Command,
}

fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A terminal that is gone hears nothing either way.
            let _said = writeln!(std::io::stderr(), "adit-image: {error:#}").is_ok();
            ExitCode::FAILURE
        }
    }
}

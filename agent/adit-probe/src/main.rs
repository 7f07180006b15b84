// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The entry: arguments in, exit code out. Everything else is in the library.

use adit_probe::cli::{Cli, run};
use clap::Parser as _;
use std::error::Error;
use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "the edge: where a failure reaches a person")]
fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli, &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = format!("adit-probe: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                text.push_str(": ");
                text.push_str(&error.to_string());
                cause = error.source();
            }
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

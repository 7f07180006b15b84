// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The `aditd` program: command line in, exit code out. Everything else is in the library, where tests reach it.
#![forbid(unsafe_code)]

use clap::Parser as _;
use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "the one place that tells a failure to a person")]
fn main() -> ExitCode {
    match aditd::run(aditd::cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit as u8)
        }
    }
}

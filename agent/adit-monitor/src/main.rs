// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The `adit-monitor` program: command line in, exit code out. Everything else is in the library, where tests reach it.
#![forbid(unsafe_code)]

use clap::Parser as _;
use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "the one place that tells a failure to a person")]
fn main() -> ExitCode {
    match adit_monitor::run(adit_monitor::cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("adit-monitor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The `adit` binary: nothing but the door to the library, so that tests and other tools can call the same code.

use std::process::ExitCode;

fn main() -> ExitCode {
    adit::cli::main(std::env::args_os()).into()
}

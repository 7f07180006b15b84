// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The `adit` binary: and `check_adit`, its second name: nothing but the door to the library, so that tests and other tools can call the same code.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    if Path::new(&called).file_name().is_some_and(|name| name == adit::health::plugin::NAME) {
        return adit::health::plugin::main(std::env::args_os());
    }
    adit::cli::main(std::env::args_os()).into()
}

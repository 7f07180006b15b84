// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `make demo`: the main job on this machine, told as it happens. A box on [::1], a source, a real directory; two
//! backups, a verification without a key, one flipped byte, a poll of the health, and a recovery from nothing but the
//! recovery file and the printed sheet. It needs no root, sends nothing off this machine and leaves nothing running.
#![expect(clippy::print_stdout, reason = "the demo talks to a person")]

mod compare;
mod damage;
mod stage;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    stage::stop_on_signals();
    let told = std::env::args_os().nth(1).map(PathBuf::from);
    match story::tell(told) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nthe demo stopped: {error:#}");
            ExitCode::FAILURE
        }
    }
}

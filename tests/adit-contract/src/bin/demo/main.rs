// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `make demo`: the main job on this machine, told as it happens. A box on [::1], a source, a real directory; two
//! backups, a verification without a key, one flipped byte, a poll of the health, and a recovery from nothing but the
//! recovery file and the printed sheet. It needs no root, sends nothing off this machine and leaves nothing running.
//! Arguments: the directory to save, and where the demo keeps its files; both may be left out.
#![expect(clippy::print_stdout, reason = "the demo talks to a person")]

mod compare;
mod damage;
mod stage;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    stage::stop_on_signals();
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (data, place) = (arguments.next(), arguments.next());
    match story::tell(data, place) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nthe demo stopped: {error:#}");
            ExitCode::FAILURE
        }
    }
}

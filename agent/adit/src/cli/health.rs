// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit health`: how this machine is, or the box, as a person reads it or as JSON; with `--watch` again and again.

use super::{print, print_json};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::health::table::{self, Style, WIDTH_DEFAULT};
use crate::health::{self, Whom};
use crate::state::StateDir;
use crate::text;
use adit_link::serial::local;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::Duration;

/// How often `--watch` asks.
const WATCH_EVERY: Duration = Duration::from_secs(5);
/// Clears the screen and the lines above it, and goes home.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// Ask how this machine is, or the box.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The exit code is 0 however the machine is: it says that the question was answered. `check_adit` is \
the plugin whose exit code follows the verdict."
)]
pub(super) struct Health {
    /// Ask the paired box: its name, or `box`; without it this machine's own agent is asked.
    #[arg(value_name = "HOST")]
    host: Option<String>,
    /// Show everything, not only what is unwell.
    #[arg(long)]
    all: bool,
    /// Ask again every few seconds until interrupted.
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Where this machine's agent answers.
    #[arg(long, value_name = "PATH", default_value = local::PATH)]
    socket: PathBuf,
}

impl Health {
    pub(super) fn run(self, state: &StateDir) -> Result<Exit, Failure> {
        let whom = self.host.map_or(Whom::Here(self.socket), Whom::Box);
        let terminal = io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        loop {
            let asked = health::ask(&whom, state);
            if self.json {
                return print_json(&table::json(&asked?)).map(|()| Exit::Done);
            }
            let style = Style { colour, width: width(), all: self.all };
            let shown = match (asked, self.watch) {
                (Ok(report), _) => table::table(&report, text::now_s(), style),
                // A watcher waits for an agent that is started again.
                (Err(failure), true) => failure.render(),
                (Err(failure), false) => return Err(failure),
            };
            if !self.watch {
                return print(&shown).map(|()| Exit::Done);
            }
            print(&format!("{}{shown}", if terminal { CLEAR } else { "" }))?;
            std::thread::sleep(WATCH_EVERY);
        }
    }
}

/// Columns of the terminal.
fn width() -> usize {
    rustix::termios::tcgetwinsize(io::stdout())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|width| *width >= 40)
        .unwrap_or(WIDTH_DEFAULT)
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `aditd --check`: the configuration in resolved form, or why it is refused. Touches neither state nor store.

use super::say;
use crate::config::Config;
use crate::report::Failure;
use std::path::Path;

#[expect(clippy::unnecessary_wraps, reason = "every command answers alike")]
pub(super) fn run(path: &Path, config: &Config) -> Result<(), Failure> {
    say(format_args!("{} is valid", path.display()));
    match config.listen {
        Some(listen) => say(format_args!("listen  {listen}")),
        None => say("listen  nowhere; monitors are dialled"),
    }
    say(format_args!("state   {}", config.state.display()));
    say(format_args!("name    {}", config.machine_name()));
    for address in &config.addresses {
        say(format_args!("address {address}"));
    }
    if let Some(store) = &config.store {
        say(format_args!("store   {}", store.display()));
    }
    for backups in &config.backups {
        say(format_args!("backups {}", backups.display()));
    }
    if let Some(console) = &config.console {
        say(format_args!("console {}", console.display()));
    }
    Ok(())
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One file per kind of command: those that change files of the state, and those that ask the running monitor. Facts go to
//! standard output, words for a person to standard error.

mod ask;
mod files;
mod show;

use crate::cli::{Agents, Cli, Command};
use crate::config::Config;
use crate::daemon::Monitor;
use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sd_notify::NotifyState;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Files that may be open: a connection for each agent, and some.
const FILES_MAX: u64 = 32_768;

/// Does what the command line says.
///
/// # Errors
/// What failed, for a person.
pub fn run(cli: Cli) -> Result<ExitCode> {
    // Files made by anything below are this user's alone.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let path = cli.config.clone();
    let config = || Config::load(&path).with_context(|| path.display().to_string());
    let done = match cli.command {
        None => return foreground(config()?, path.clone()),
        Some(Command::Verify) => config().map(|_| say("the configuration is right")),
        Some(Command::Token(args)) => files::token(&config()?, &args),
        Some(Command::Pair(args)) => files::pair(&config()?, &args),
        Some(Command::Id) => files::id(&config()?),
        Some(Command::Agents(Agents::List)) => files::list(&config()?),
        Some(Command::Agents(Agents::Rename { from, to })) => files::rename(&config()?, &from, &to),
        Some(Command::Agents(Agents::Revoke { name })) => files::revoke(&config()?, &name),
        Some(Command::Status(args)) => show::status(&config()?, &args),
        Some(Command::Check(args)) => return show::check(&args, config),
        Some(Command::Ack(args)) => show::ack(&config()?, args),
        Some(Command::Maintenance(args)) => show::maintenance(&config()?, args),
        Some(Command::TestAlert(args)) => show::test_alert(&config()?, &args),
        Some(Command::Log(args)) => show::log(&config()?, &args),
        Some(Command::Export(args)) => show::export(&config()?, &args),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn foreground(config: Config, path: PathBuf) -> Result<ExitCode> {
    // Only a test that runs several monitors in one process has a logger already.
    let _already = env_logger::Builder::new()
        .filter_level(config.log)
        .format_timestamp(None)
        .target(env_logger::Target::Stderr)
        .try_init();
    limit_process();
    runtime()?.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = CancellationToken::new();
        let monitor = Monitor::start(config, Some(path), stop.clone()).await?;
        notify(NotifyState::Ready);
        let running = tokio::spawn(monitor.run());
        let watchdog = tokio::spawn(feed_watchdog());
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        notify(NotifyState::Stopping);
        stop.cancel();
        watchdog.abort();
        running.await.context("stop")?;
        Ok(ExitCode::SUCCESS)
    })
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::debug!("systemd is not told: {error}");
    }
}

/// The watchdog is fed by the thread that polls, so that a hang of it is noticed.
async fn feed_watchdog() {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let mut tick = tokio::time::interval(period / 3);
    loop {
        tick.tick().await;
        notify(NotifyState::Watchdog);
    }
}

/// No core file shows the key, and connections don't run out of descriptors.
fn limit_process() {
    let core = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let files = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| setrlimit(Resource::RLIMIT_NOFILE, soft.max(FILES_MAX.min(hard)), hard));
    for outcome in [core, files] {
        if let Err(error) = outcome {
            log::debug!("resource limits stay as they are: {error}");
        }
    }
}

/// One thread for all connections.
fn runtime() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    // Names are resolved, history read and web services called there.
    builder.enable_all().max_blocking_threads(16).build().context("start")
}

/// Prints a fact.
#[expect(clippy::print_stdout, reason = "facts go to standard output, and only here")]
fn say(line: impl std::fmt::Display) {
    println!("{line}");
}

/// Prints what a person should read.
#[expect(clippy::print_stderr, reason = "words for a person go to standard error, and only here")]
fn tell(line: impl std::fmt::Display) {
    eprintln!("{line}");
}

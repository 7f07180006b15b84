// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `aditd` without a command: the agent in the foreground, under systemd or a shell. Sets the process up, starts the agent,
//! and turns signals into an orderly stop.

use super::verify::store_failure;
use super::{runtime, say, state_failure};
use crate::agent::{Agent, StartError};
use crate::config::{Config, parse_listen};
use crate::event::Event;
use crate::report::{Exit, Failure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use sd_notify::NotifyState;
use std::future::Future;
use std::path::Path;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Files that may be open: connections, segments and what the kernel is asked.
const FILES_MAX: u64 = 4_096;

pub(super) fn foreground(config: Config) -> Result<(), Failure> {
    log_to_stderr(config.log);
    let stop = CancellationToken::new();
    serve(stop.clone(), Agent::start(config, stop), false)
}

pub(super) fn read_only(store: &Path, listen: &str) -> Result<(), Failure> {
    log_to_stderr(log::LevelFilter::Info);
    let listen = parse_listen("--listen", listen).map_err(|error| Failure::of(Exit::Usage, &error))?;
    let stop = CancellationToken::new();
    serve(stop.clone(), Agent::start_read_only(store, listen, stop), true)
}

fn serve(
    stop: CancellationToken,
    start: impl Future<Output = Result<Agent, StartError>>,
    print_key: bool,
) -> Result<(), Failure> {
    limit_process();
    runtime()?.block_on(async {
        // Signals are caught before anything is opened, so that none is lost.
        let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
        let [Ok(mut terminate), Ok(mut interrupt)] = signals else {
            return Err(Failure::new(Exit::Failed, "catch signals"));
        };
        // A limit of file size would kill the process; caught, the write fails and the store says that it is full.
        let _too_large = signal(SignalKind::from_raw(Signal::SIGXFSZ as i32));
        let patience = Patience::ask();
        let agent = start.await.map_err(|error| start_failure(&error))?;
        drop(patience);
        if print_key {
            say(format_args!("key {}", agent.key()));
            if let Some(address) = agent.address() {
                say(format_args!("listening {address}"));
                say(format_args!("adit recover --box {address} --box-key {} --recovery-file FILE --list", agent.key()));
            }
        }
        let events = agent.events();
        notify(&[NotifyState::Ready]);
        let watchdog = tokio::spawn(feed_watchdog());
        let running = tokio::spawn(agent.run());
        tokio::select! {
            _ = terminate.recv() => events.record(&Event::Stopping { why: "SIGTERM" }),
            _ = interrupt.recv() => events.record(&Event::Stopping { why: "SIGINT" }),
            () = stop.cancelled() => {}
        }
        notify(&[NotifyState::Stopping]);
        stop.cancel();
        watchdog.abort();
        running.await.map_err(|error| Failure::of(Exit::Failed, &error))
    })
}

/// Asks systemd for more time while a large store is opened after a power cut.
struct Patience(Option<(std::sync::mpsc::Sender<()>, std::thread::JoinHandle<()>)>);

impl Patience {
    fn ask() -> Self {
        const EVERY: Duration = Duration::from_secs(30);
        const MORE_US: u32 = 120_000_000;
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let asking = std::thread::Builder::new().name("patience".to_owned()).spawn(move || {
            while wait.recv_timeout(EVERY) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                notify(&[NotifyState::ExtendTimeoutUsec(MORE_US)]);
            }
        });
        Self(asking.ok().map(|asking| (done, asking)))
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        if let Some((done, asking)) = self.0.take() {
            drop(done);
            // It only ever sends; a panic in it is told by itself.
            let _told = asking.join();
        }
    }
}

/// Tells systemd, if it listens.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("systemd is not told: {error}");
    }
}

/// The watchdog is fed by the thread that serves, so that a hang of it is noticed.
async fn feed_watchdog() {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let mut tick = tokio::time::interval(period / 3);
    loop {
        tick.tick().await;
        notify(&[NotifyState::Watchdog]);
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

/// Lines for the journal have no time, it knows better; a terminal gets one.
fn log_to_stderr(level: log::LevelFilter) {
    use std::io::{IsTerminal as _, Write as _};
    let mut builder = env_logger::Builder::new();
    builder.filter_level(level).target(env_logger::Target::Stderr);
    if !std::io::stderr().is_terminal() {
        builder.format(|out, record| {
            let priority = match record.level() {
                log::Level::Error => 3,
                log::Level::Warn => 4,
                log::Level::Info => 6,
                log::Level::Debug | log::Level::Trace => 7,
            };
            if std::env::var_os("JOURNAL_STREAM").is_some() {
                write!(out, "<{priority}>")?;
            }
            writeln!(out, "{}: {}", record.level().as_str().to_ascii_lowercase(), record.args())
        });
    }
    // Only a test that runs several agents in one process has a logger already.
    let _already = builder.try_init();
}

fn start_failure(error: &StartError) -> Failure {
    match error {
        StartError::State(error) => state_failure(error),
        StartError::Store(error) => store_failure(error),
        StartError::Listen(error) => Failure::of(Exit::State, error).advise(
            "another program may use this port, or the address may not be this machine's; look with: ss -ltn; then change `listen` in the configuration",
        ),
    }
}

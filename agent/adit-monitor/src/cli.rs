// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line of `adit-monitor`, as data: clap makes parser and help of it. It decides nothing.

use crate::config::PATH_DEFAULT;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// The central monitor of adit: polls every paired agent, remembers, alerts, and feeds Prometheus and Icinga.
#[derive(Debug, Parser)]
#[command(name = "adit-monitor", version, disable_help_subcommand = true, term_width = 100)]
pub struct Cli {
    /// The configuration
    #[arg(long, global = true, value_name = "FILE", default_value = PATH_DEFAULT)]
    pub config: PathBuf,
    /// Without a command, the monitor runs in the foreground
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of running.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make one-time tokens with which agents join: aditd pair TOKEN
    Token(Token),
    /// Join an agent with a token it made: aditd token --role monitor
    Pair(Pair),
    /// Print this monitor's key, for peer files of agents
    Id,
    /// List, rename and revoke agents
    #[command(subcommand)]
    Agents(Agents),
    /// Show the fleet, worst first
    Status(Status),
    /// Answer as a plugin of Icinga or Nagios: one line, perfdata, exit code 0 to 3
    Check(Check),
    /// Say that somebody knows of open incidents: nobody is told until they change, or the time is over
    Ack(Ack),
    /// Tell nobody about a host, a site or everything for a while
    Maintenance(Maintenance),
    /// Send a test message through every channel, or one
    TestAlert(TestAlert),
    /// Print what happened lately
    Log(Log),
    /// Print the history of a host
    Export(Export),
    /// Check the configuration and exit
    Verify,
}

/// Make tokens.
#[derive(Debug, Args)]
pub struct Token {
    /// The name under which the agent is registered; without one it names itself
    #[arg(long)]
    pub name: Option<String>,
    /// How long a token can be used: 90s, 15m, 2h or 7d; at most 14d
    #[arg(long, value_name = "TIME", default_value = "15m")]
    pub lifetime: String,
    /// Make so many tokens, one a line, for a whole fleet
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub count: u32,
}

/// Join an agent.
#[derive(Debug, Args)]
pub struct Pair {
    /// The token, or - to read it from standard input
    pub token: String,
    /// The agent's name here; its own name when left out
    #[arg(long)]
    pub name: Option<String>,
}

/// Agents of this monitor.
#[derive(Debug, Subcommand)]
pub enum Agents {
    /// List all agents
    List,
    /// Give an agent another name
    Rename {
        /// The present name
        from: String,
        /// The new name
        to: String,
    },
    /// Remove an agent: its connections are cut, its incidents end, its history stays on disk
    Revoke {
        /// Its name
        name: String,
    },
}

/// Show the fleet.
#[derive(Debug, Args)]
pub struct Status {
    /// Only this host, with everything that is known of it
    pub host: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Answer as a plugin.
#[derive(Debug, Args)]
pub struct Check {
    /// The agent's name
    #[arg(short = 'H', long = "host")]
    pub host: String,
    /// Only this check, such as disk.status, or all whose name begins so, such as disk
    #[arg(short = 'C', long = "check")]
    pub check: Option<String>,
    /// Take what is acknowledged for well
    #[arg(long)]
    pub acked_ok: bool,
    /// The monitor's socket, when its configuration cannot be read here
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// Acknowledge.
#[derive(Debug, Args)]
pub struct Ack {
    /// A host, host/component or host/component/check, as status --json shows it
    pub what: String,
    /// Why nobody needs to be told
    #[arg(long)]
    pub reason: String,
    /// For how long: 90s, 15m, 2h or 7d, at most 14d
    #[arg(long = "for", value_name = "TIME", default_value = "7d")]
    pub lasts: String,
    /// Who says so; the user's name when left out
    #[arg(long)]
    pub by: Option<String>,
}

/// A maintenance window.
#[derive(Debug, Args)]
pub struct Maintenance {
    /// A host, site:NAME, or * for everything
    pub scope: String,
    /// Why
    #[arg(long)]
    pub reason: String,
    /// For how long: 90s, 15m, 2h or 7d, at most 14d
    #[arg(long = "for", value_name = "TIME", default_value = "2h")]
    pub lasts: String,
    /// Begin after this time instead of now
    #[arg(long = "in", value_name = "TIME")]
    pub begins: Option<String>,
    /// Who says so; the user's name when left out
    #[arg(long)]
    pub by: Option<String>,
}

/// Send a test message.
#[derive(Debug, Args)]
pub struct TestAlert {
    /// Only this channel
    #[arg(long)]
    pub channel: Option<String>,
    /// Wait so long for the delivery, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub wait: u64,
}

/// What happened lately.
#[derive(Debug, Args)]
pub struct Log {
    /// So many lines
    #[arg(long, default_value_t = 50)]
    pub count: u32,
}

/// Print history.
#[derive(Debug, Args)]
pub struct Export {
    /// The agent's name
    pub host: String,
    /// From so many days ago
    #[arg(long, default_value_t = 1)]
    pub days: u64,
    /// In which form
    #[arg(long, value_enum, default_value_t = ExportForm::Csv)]
    pub format: ExportForm,
}

/// A form of history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportForm {
    /// Comma-separated values
    Csv,
    /// Text for promtool
    Openmetrics,
}

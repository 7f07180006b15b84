// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line of `aditd`, as data: clap makes parser and help of it. It decides nothing.

use crate::config::PATH_DEFAULT;
use crate::report::EXIT_CODES;
use clap::{ArgGroup, Args, Parser, Subcommand};
use std::path::PathBuf;

/// The agent of adit: reports this machine's health and, where a store is configured, keeps other machines' backups.
#[derive(Debug, Parser)]
#[command(
    name = "aditd",
    version,
    after_help = EXIT_CODES,
    args_conflicts_with_subcommands = false,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    term_width = 100,
    group(ArgGroup::new("mode").args(["check", "read_only"]))
)]
pub struct Cli {
    /// The configuration
    #[arg(long, global = true, value_name = "FILE", default_value = PATH_DEFAULT)]
    pub config: PathBuf,
    /// Check the configuration and exit
    #[arg(long)]
    pub check: bool,
    /// Serve a carried store for reading: no configuration, no state, a throwaway key; needs --store and --listen
    #[arg(long, requires = "store", requires = "listen")]
    pub read_only: bool,
    /// The store to serve with --read-only
    #[arg(long, value_name = "DIR", requires = "read_only")]
    pub store: Option<PathBuf>,
    /// The address to listen on with --read-only
    #[arg(long, value_name = "[ADDR]:PORT", requires = "read_only")]
    pub listen: Option<String>,
    /// Without a command, aditd runs in the foreground
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of running.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a one-time token with which another machine pairs
    Token(Token),
    /// Join a monitor with a token it made
    Pair(Pair),
    /// Print this machine's key
    Id,
    /// List, rename and revoke peers
    #[command(subcommand)]
    Peers(Peers),
    /// Read the whole store and check every hash; the agent must not be running
    Verify(Verify),
    /// Stop missing a thing that was taken out for good, such as a replaced disk
    Forget(Forget),
}

/// Retire a component.
#[derive(Debug, Args)]
pub struct Forget {
    /// Its id, as `adit health --json` shows it
    pub id: String,
}

/// Make a one-time token.
#[derive(Debug, Args)]
pub struct Token {
    /// What the machine becomes that redeems it
    #[arg(long, value_parser = ["source", "monitor", "admin", "replica"])]
    pub role: String,
    /// The name under which that machine is registered
    #[arg(long, required_unless_present = "rejoin")]
    pub name: Option<String>,
    /// How long the token can be used: 90s, 15m, 2h or 7d; at most 14d
    #[arg(long, value_name = "TIME", default_value = "15m")]
    pub lifetime: String,
    /// Make so many tokens, for NAME-1, NAME-2 and so on
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub count: u32,
    /// Let the known source of this name come back with another key
    #[arg(long, value_name = "NAME", conflicts_with_all = ["name", "count"])]
    pub rejoin: Option<String>,
    /// Print one JSON object per token
    #[arg(long)]
    pub json: bool,
}

/// Join a monitor.
#[derive(Debug, Args)]
pub struct Pair {
    /// The token, or - to read it from standard input
    #[arg(value_name = "TOKEN", required_unless_present = "token_file")]
    pub token: Option<String>,
    /// Read the token from a file
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// The monitor's name here; its own name when left out
    #[arg(long)]
    pub name: Option<String>,
}

/// Peers on this machine.
#[derive(Debug, Subcommand)]
pub enum Peers {
    /// List all peers
    List {
        /// Print one JSON object per peer
        #[arg(long)]
        json: bool,
    },
    /// Give a peer another name
    Rename {
        /// The present name
        from: String,
        /// The new name
        to: String,
    },
    /// Remove a peer: its connections are cut, its history stays
    Revoke {
        /// Its name
        name: String,
    },
}

/// Read the whole store.
#[derive(Debug, Args)]
pub struct Verify {
    /// The store, when it isn't the configured one; nothing in it is changed
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

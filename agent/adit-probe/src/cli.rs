// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line. The help text is the manual.

use crate::confine::{confine, lacks};
use crate::discover::{Roots, discover};
use crate::look::Nodes;
use crate::record::record;
use crate::rounds::Rounds;
use crate::serve::{ProbeError, serve};
use adit_device::standby::StandbyPolicy;
use clap::{Args, Parser, Subcommand};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

const DAY_S: u64 = 86_400;

const ABOUT: &str = "Asks disks, controllers and the BMC of this machine how they are";

const LONG_ABOUT: &str = "\
Opens device nodes and asks disks, HP Smart Array controllers, a BMC and device-mapper volumes how they are, by a fixed \
list of commands that only read. It keeps CAP_SYS_RAWIO and CAP_SYS_ADMIN, has no network and starts no program. A disk \
that sleeps is left alone.";

const AFTER: &str = "\
Exit codes: 0 done, 1 failed, 2 usage

Files:
  /run/adit/probe.sock   where aditd asks; made by adit-probe.socket
  /sys                   where devices are found";

/// The program's arguments.
#[derive(Debug, Parser)]
#[command(name = "adit-probe", version, about = ABOUT, long_about = LONG_ABOUT, after_help = AFTER)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer at a socket: the one that the service manager hands over, or --socket
    Serve(Serve),
    /// Look once and print what the devices say, as JSON
    Read(Common),
    /// Look once and write down what was asked and answered, without serial numbers, to send it in as a test case
    Record(Record),
}

#[derive(Debug, Args)]
struct Common {
    /// Look for sys and dev below this directory
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Wake a sleeping disk when it was not read for this many days (default: never)
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=365))]
    wake_days: Option<u64>,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    common: Common,
    /// Listen here when the service manager hands over no socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Record {
    #[command(flatten)]
    common: Common,
    /// The file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// How long `read` waits for devices: a BMC with many sensors takes some seconds the first time.
const READ_WAIT: Duration = Duration::from_secs(30);

impl Common {
    fn policy(&self) -> StandbyPolicy {
        StandbyPolicy { wake_every_s: self.wake_days.map(|days| days * DAY_S), ..StandbyPolicy::default() }
    }
}

/// Does what the arguments say.
pub fn run(cli: &Cli, out: &mut dyn std::io::Write) -> Result<(), ProbeError> {
    match &cli.command {
        Command::Serve(arguments) => {
            let common = &arguments.common;
            serve(arguments.socket.as_deref(), &Roots::below(&common.root), common.policy())
        }
        Command::Record(arguments) => {
            let failed = |error| ProbeError::Write(arguments.file.clone(), error);
            // Before the filter, which lets no file be made.
            let mut file = std::fs::File::create(&arguments.file).map_err(failed)?;
            confine()?;
            let common = &arguments.common;
            file.write_all(record(&Roots::below(&common.root), &common.policy()).as_bytes()).map_err(failed)
        }
        Command::Read(common) => {
            confine()?;
            let found = discover(&Roots::below(&common.root));
            let answer = Rounds::new(Nodes, common.policy()).round(&found, lacks(&found), 0, READ_WAIT);
            serde_json::to_writer_pretty(&mut *out, &answer)?;
            writeln!(out).map_err(|error| ProbeError::Write("standard output".into(), error))
        }
    }
}

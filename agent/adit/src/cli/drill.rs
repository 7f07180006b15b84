// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit drill`: a backup that was never restored is a hope. Random files of the newest snapshot come back for real and
//! are compared with what is on the disk.

use super::{print, print_json};
use crate::bring::OpenSource;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::prompt::KeyArgs;
use crate::state::StateDir;
use crate::text::{self, Lines as _};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// Restore random files from the newest snapshot and compare them with the disk.
#[derive(Debug, clap::Args)]
pub(super) struct Drill {
    /// How many files.
    #[arg(long, default_value_t = 100)]
    files: usize,
    #[command(flatten)]
    key: KeyArgs,
    /// Where the files come back before they are compared; a directory of that name is made and removed.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// A directory that goes away with its content.
struct Scratch(PathBuf);

impl Scratch {
    fn new(path: PathBuf) -> Result<Self, Failure> {
        fs::create_dir(&path).map_err(|error| Failure::io("create", &path, &error))?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            log::warn!("could not remove {}: {error}", self.0.display());
        }
    }
}

impl Drill {
    pub(super) fn run(self, state: &StateDir) -> Result<Exit, Failure> {
        let opened = OpenSource::paired(state, &self.key)?;
        let reading = opened.reading();
        let item = reading.history.find("latest")?.clone();
        let default = || state.path().join(format!("drill-{}", std::process::id()));
        let scratch = Scratch::new(self.scratch.unwrap_or_else(default))?;
        let report = reading.drill(&item, self.files, scratch.path())?;
        drop(scratch);
        opened.close();
        let exit = if report.failed.is_empty() { Exit::Done } else { Exit::Damaged };
        let failed: Vec<String> = report.failed.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
        if self.json {
            print_json(&json!({
                "snapshot": item.head.to_string(),
                "seq": item.snapshot.seq,
                "drawn": report.drawn,
                "equal": report.equal,
                "whole": report.whole,
                "failed": failed,
            }))?;
            return Ok(exit);
        }
        let mut lines = String::new();
        lines.line(format_args!(
            "drill on snapshot {} ({}): {} files came back; {} equal the disk, {} are whole but changed on the disk \
             since, {} failed",
            text::short(&item.head),
            item.snapshot.seq,
            report.drawn - failed.len() as u64,
            report.equal,
            report.whole,
            failed.len(),
        ));
        for path in &failed {
            lines.line(format_args!("FAILED {path}"));
        }
        print(&lines)?;
        Ok(exit)
    }
}

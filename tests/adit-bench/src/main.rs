// SPDX-License-Identifier: Apache-2.0 OR MIT
//! adit beside restic, rustic and borg: the same data, the same machine, one run. Four rows: the first backup, one with
//! nothing changed, one after a small change, a restore. Four figures each: wall time, processor time with every process
//! that took part, peak memory, bytes stored. It compares and never judges; a program that is missing is skipped with a
//! word. With --health it compares what health costs instead. adit sends over [::1] to a box with its own process; the others write to the local disk.
#![expect(clippy::print_stdout, reason = "the table is the product of this program")]

mod adit;
mod data;
mod health;
mod measure;
mod peers;
mod table;

use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Rounds unless ROUNDS says otherwise; the order of the programs turns round each time.
const ROUNDS_DEFAULT: usize = 2;

/// One of the four rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Row {
    Initial,
    Unchanged,
    Changed,
    Restore,
}

/// A program that backs up and restores.
trait Program {
    /// What people call it, with its version.
    fn name(&self) -> &str;
    /// Makes an empty repository below `dir`, removing what was there.
    fn prepare(&mut self, dir: &Path) -> Result<()>;
    /// Backs `data` up.
    fn back_up(&mut self, data: &Path) -> Result<measure::Cost>;
    /// Restores the newest snapshot into `to`.
    fn restore(&mut self, data: &Path, to: &Path) -> Result<measure::Cost>;
    /// Where its repository lies.
    fn repository(&self) -> PathBuf;
    /// Stops what runs beside.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == measure::HELPER) {
        return measure::helper(&arguments[1..]);
    }
    let compared = match arguments.first() {
        Some(first) if first == health::HEALTH => target().and_then(|target| health::compare(&target)),
        first => bench(first.map(PathBuf::from)),
    };
    match compared {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("the comparison stopped: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The build's directory.
fn target() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("find this program")?;
    exe.ancestors().nth(2).map(Path::to_path_buf).context("this program lies in target/release")
}

fn bench(told: Option<PathBuf>) -> Result<()> {
    let target = target()?;
    let place = target.join("bench");
    let source = told.unwrap_or_else(|| PathBuf::from("/usr/share"));
    let rounds = std::env::var("ROUNDS").ok().map_or(Ok(ROUNDS_DEFAULT), |text| text.parse()).context("read ROUNDS")?;
    ensure!(rounds > 0, "ROUNDS must be at least 1");
    println!("copying {} to {} …", source.display(), place.display());
    let data = data::Data::copy(&source, &place.join("data"))?;
    println!("{} files, {} MB; {rounds} rounds, the order turning", data.files(), data.bytes() / 1_000_000);

    let mut programs = peers::all(&target.join("peers/bin"), &place);
    let peers = programs.len();
    programs.insert(0, Box::new(adit::Adit::new(&target.join("release"))));
    ensure!(
        peers > 0,
        "no peer is there: `make bench-peers` fetches restic and borg, `make bench-rustic` builds rustic"
    );
    let mut results = table::Table::default();
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..programs.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let program = programs[index].as_mut();
            println!("round {} of {rounds}: {}", round + 1, program.name());
            measure_one(program, index, &data, &place, &mut results)?;
        }
    }
    let names: Vec<&str> = programs.iter().map(|program| program.name()).collect();
    print!("{}", results.render(&names));
    let file = place.join("result.json");
    std::fs::write(&file, results.json(&names).to_string()).context("write the result")?;
    println!("also in {}", file.display());
    Ok(())
}

fn measure_one(
    program: &mut dyn Program,
    index: usize,
    data: &data::Data,
    place: &Path,
    results: &mut table::Table,
) -> Result<()> {
    let dir = place.join("repository");
    let to = place.join("restored");
    for dir in [&dir, &to] {
        if dir.exists() {
            std::fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
        }
        std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    }
    program.prepare(&dir)?;
    for row in [Row::Initial, Row::Unchanged, Row::Changed] {
        if row == Row::Changed {
            data.change()?;
        }
        let cost = program.back_up(data.dir()).with_context(|| format!("{row:?}"))?;
        results.add(index, row, cost, data::size(&program.repository())?);
    }
    let cost = program.restore(data.dir(), &to).context("restore")?;
    let (files, bytes) = data::extent(&to)?;
    let (files_expected, bytes_expected) = data::extent(data.dir())?;
    ensure!(
        (files, bytes) == (files_expected, bytes_expected),
        "the restore brought {files} files, {bytes} B; expected {files_expected}, {bytes_expected} B"
    );
    results.add(index, Row::Restore, cost, data::size(&program.repository())?);
    program.finish()?;
    data.revert()
}

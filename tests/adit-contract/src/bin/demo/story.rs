// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the demo tells, step by step.

use crate::compare::{Comparison, compare};
use crate::damage::Flip;
use crate::stage::{BoxProcess, Stage, count, record_bytes, result, say, size};
use adit_contract::lab::{free_port, peak_memory};
use adit_contract::tree::restored;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::fs;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Directories that every Debian machine has; the first that is large enough is saved.
const CANDIDATES: [&str; 3] = ["/usr/share", "/usr/lib", "/usr"];
/// What is large enough: files, or bytes.
const FILES_MIN: u64 = 20_000;
const BYTES_MIN: u64 = 1_000_000_000;
/// Exit codes of `adit` that the demo expects in places.
const EXIT_PARTIAL: i32 = 6;
const EXIT_DAMAGED: i32 = 7;
/// The source's name on the box.
const NAME: &str = "demo";

/// Tells the whole story. `told` is the directory to save and `place` where the files go, when a person named them.
pub(crate) fn tell(told: Option<PathBuf>, place: Option<PathBuf>) -> Result<()> {
    let data = match told {
        Some(dir) => fs::canonicalize(&dir).with_context(|| format!("find {}", dir.display()))?,
        None => candidate()?,
    };
    let start = Instant::now();
    let mut stage = Stage::new(place.map_or_else(place_default, Ok)?)?;
    let (files, bytes) = extent(&data);
    say("adit, the main job on one machine. Nothing leaves [::1], nothing needs root.");
    say(&format!("saving  {}: {} files, {}", data.display(), count(files), size(bytes)));
    say(&format!("working in {}", stage.path("").display()));

    let agent = start_box(&mut stage)?;
    make_keys_and_pair(&mut stage)?;
    let first = back_up(&mut stage, &data)?;
    let second = back_up_a_change(&mut stage, &data)?;
    verify_and_damage(&mut stage, &data)?;
    poll_health(&mut stage)?;
    let comparison = lose_and_recover(&mut stage, &data)?;
    let memory = peak_memory(agent.id()).unwrap_or(0);
    agent.stop()?;
    close(&stage, start, [&first, &second], &comparison, memory)
}

fn place_default() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("find this program")?;
    let target = exe.ancestors().nth(2).context("this program lies in target/PROFILE")?;
    Ok(target.join("demo"))
}

fn candidate() -> Result<PathBuf> {
    for dir in CANDIDATES.map(Path::new) {
        let (files, bytes) = extent(dir);
        if files >= FILES_MIN || bytes >= BYTES_MIN {
            return Ok(dir.to_owned());
        }
    }
    bail!("no directory of 20,000 files or 1 GB found; name one: make demo DIR=…")
}

/// Regular files and their bytes below a directory, as far as it can be read.
fn extent(dir: &Path) -> (u64, u64) {
    let Ok(entries) = fs::read_dir(dir) else { return (0, 0) };
    entries.filter_map(Result::ok).fold((0, 0), |(files, bytes), entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => {
            let (more_files, more_bytes) = extent(&entry.path());
            (files + more_files, bytes + more_bytes)
        }
        Ok(metadata) if metadata.is_file() => (files + 1, bytes + metadata.len()),
        _ => (files, bytes),
    })
}

fn start_box(stage: &mut Stage) -> Result<BoxProcess> {
    stage.step("A box starts. Three lines of configuration make one.");
    let address = SocketAddrV6::new(Ipv6Addr::LOCALHOST, free_port(), 0, 0);
    let (state, store) = (stage.path("box/state"), stage.path("box/store"));
    fs::create_dir_all(stage.path("box")).context("make a directory for the box")?;
    let config = format!("listen = \"{address}\"\nstate = {state:?}\n[box]\nstore = {store:?}\n");
    fs::write(stage.path("box/aditd.toml"), config).context("write the configuration")?;
    let agent = stage.start_box("box/aditd.toml", address)?;
    result(&format!("answers on {address}"));
    Ok(agent)
}

fn make_keys_and_pair(stage: &mut Stage) -> Result<()> {
    stage.step("The admin makes a recovery key. It stays with the admin; no server needs it.");
    fs::create_dir_all(stage.path("admin")).context("make a directory for the admin")?;
    stage.run("adit", &["keygen", "--recovery-file", "admin/recovery.key", "--public", "admin/recovery.pub"])?;

    stage.step("A source is set up, and paired by a token that works once.");
    stage.run("adit", &["--state", "source", "init", "--name", NAME, "--recovery-file", "admin/recovery.key"])?;
    let token =
        stage.run_hushed("aditd", &["token", "--config", "box/aditd.toml", "--role", "source", "--name", NAME])?.stdout;
    result("on a terminal also as a QR code; here the token goes straight to the source");
    stage.run("adit", &["--state", "source", "pair", token.trim()])?;
    Ok(())
}

fn back_up(stage: &mut Stage, data: &Path) -> Result<Value> {
    stage.step("The first backup.");
    fs::create_dir_all(stage.path("notes")).context("make a directory for notes")?;
    for number in 0..20u8 {
        fs::write(stage.path(&format!("notes/{number}.txt")), format!("note {number}\n").repeat(200))
            .context("write a note")?;
    }
    run_backup(stage, data)
}

fn back_up_a_change(stage: &mut Stage, data: &Path) -> Result<Value> {
    stage.step("One line is added to one of the notes; the second backup.");
    let note = stage.path("notes/7.txt");
    let text = fs::read_to_string(&note).context("read a note")? + "one more line\n";
    fs::write(note, text).context("change a note")?;
    run_backup(stage, data)
}

fn run_backup(stage: &Stage, data: &Path) -> Result<Value> {
    let notes = stage.path("notes");
    let (data, notes) =
        (data.to_str().context("a path that is UTF-8")?, notes.to_str().context("a path that is UTF-8")?);
    let outcome = stage.run_any("adit", &["--state", "source", "backup", "--json", data, notes])?;
    ensure!([0, EXIT_PARTIAL].contains(&outcome.code), "the backup ended with {}", outcome.code);
    let report = outcome.json()?;
    let number = |name: &str| report[name].as_u64().unwrap_or(0);
    result(&format!(
        "{} files; {} read, {} sent, {} round trips, {:.1} s; the records on the box now take {}",
        count(number("files")),
        size(number("bytes_read")),
        size(number("bytes_sent")),
        number("round_trips"),
        report["seconds"].as_f64().unwrap_or(0.0),
        size(record_bytes(&stage.path("box/store")))
    ));
    if outcome.code == EXIT_PARTIAL {
        result("some files were skipped, because this user cannot read them; the run says so by its exit code");
    }
    Ok(report)
}

fn verify_and_damage(stage: &mut Stage, data: &Path) -> Result<()> {
    stage.step("The box checks every byte it stores. It has no key for that, nor for anything else.");
    let verified = stage.run("adit", &["--state", "source", "verify"])?;
    result(&verified.stdout);

    stage.step("One bit flips on the box's disk, silently.");
    let flip = Flip::in_largest(&stage.path("box/store/seg"))?;
    let shown = flip.file.strip_prefix(stage.path("")).unwrap_or(&flip.file).display().to_string();
    result(&format!("bit 4 of byte {} of {shown}", count(flip.offset)));
    let found = stage.run_any("adit", &["--state", "source", "verify"])?;
    result(&found.stdout);
    ensure!(found.code == EXIT_DAMAGED, "the damage was not found: verify ended with {}", found.code);

    stage.step("The source still has what was lost. The next backup notices, and sends it again.");
    run_backup(stage, data)?;
    let healed = stage.run_any("adit", &["--state", "source", "verify", "--json"])?.json()?;
    let (all, incomplete) = (healed["snapshots"].as_u64(), healed["snapshots_incomplete"].as_u64());
    let (Some(all), Some(incomplete)) = (all, incomplete) else { bail!("verify tells no snapshots: {healed}") };
    ensure!(incomplete < all, "no snapshot is whole again: {healed}");
    result(&match incomplete {
        0 => format!("all {all} snapshots are whole again"),
        _ => format!("of {all} snapshots {incomplete} still miss the lost bytes; the newest is whole again"),
    });
    Ok(())
}

fn poll_health(stage: &mut Stage) -> Result<()> {
    stage.step("Over the same protocol the machine tells how it is.");
    let health = stage.run_any("adit", &["--state", "source", "health", "box"])?;
    ensure!(!health.stdout.trim().is_empty(), "the health report is empty; adit ended with {}", health.code);
    result(&health.stdout);
    Ok(())
}

fn lose_and_recover(stage: &mut Stage, data: &Path) -> Result<Comparison> {
    stage.step("The recovery sheet: printed once, kept with the recovery key.");
    let sheet = stage.run("adit", &["--state", "source", "sheet"])?.stdout;
    fs::write(stage.path("admin/sheet.txt"), &sheet).context("keep the sheet")?;
    result(sheet.split("The second command").next().unwrap_or(&sheet));

    stage.step("The server burns down.");
    say("    $ rm -r source");
    fs::remove_dir_all(stage.path("source")).context("remove the source's state")?;

    stage.step("On a new machine, from the recovery file and the sheet alone:");
    let field = |option: &str| {
        let mut words = sheet.split_whitespace();
        words
            .find(|word| *word == option)
            .and_then(|_| words.next())
            .with_context(|| format!("the sheet has no {option}"))
    };
    let (address, key) = (field("--box")?, field("--box-key")?);
    let arguments = ["recover", "--box", address, "--box-key", key, "--recovery-file", "admin/recovery.key"];
    let outcome = stage.run_any("adit", &[&arguments[..], &["--source", NAME, "--to", "recovered"]].concat())?;
    // What this user could not read when it was saved is partial on the way back, too; the comparison names it.
    ensure!([0, EXIT_PARTIAL].contains(&outcome.code), "the recovery ended with {}", outcome.code);

    stage.step("Compared file by file: content, type, mode, owner, time, links, extended attributes.");
    let mut comparison = compare(data, &restored(&stage.path("recovered"), data))?;
    let notes = stage.path("notes");
    comparison.differences.extend(compare(&notes, &restored(&stage.path("recovered"), &notes))?.differences);
    for difference in comparison.differences.iter().take(10) {
        result(difference);
    }
    ensure!(comparison.differences.is_empty(), "{} entries differ", comparison.differences.len());
    result(&format!(
        "{} entries equal, {} of them files with {}",
        count(comparison.equal),
        count(comparison.files),
        size(comparison.bytes)
    ));
    if comparison.unreadable > 0 {
        result(&format!("{} entries cannot be read by this user and were not saved", count(comparison.unreadable)));
    }
    if !rustix::process::geteuid().is_root() {
        result("owners, set-id bits and privileged attributes are saved, but only root could set them back");
    }
    Ok(comparison)
}

fn close(stage: &Stage, start: Instant, runs: [&Value; 2], comparison: &Comparison, memory: u64) -> Result<()> {
    let [first, second] = runs.map(|run| run["bytes_sent"].as_u64().unwrap_or(0));
    ensure!(comparison.equal > 0, "nothing was compared");
    say(&format!(
        "\nDone in {:.0} s: {} sent at first, {} after a small change, {} entries back as they were; the box took {} of memory.",
        start.elapsed().as_secs_f64(),
        size(first),
        size(second),
        count(comparison.equal),
        size(memory)
    ));
    say(&format!(
        "Nothing runs any more. Everything lies in {}; the next demo starts afresh.",
        stage.path("").display()
    ));
    say("
The same between two machines (`make deb` builds the package for both):
    box$    aditd --config /etc/adit/aditd.toml            # listen = \"[::]:11713\", state, [box] store; open TCP port 11713
    box$    aditd token --config /etc/adit/aditd.toml --role source --name web1
    admin$  adit keygen --recovery-file recovery.key --public recovery.pub
    server$ adit init --recipient recovery.pub
    server$ adit pair TOKEN
    server$ adit backup /etc /home /var
    server$ adit sheet                                     # print it, keep it with the recovery key
    server$ systemctl enable --now adit-backup.timer       # every three hours from now on");
    Ok(())
}

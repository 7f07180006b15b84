// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit box show|update|restart|disk|unlock|share …`: the machine below the agent, where it runs from an image of adit's own.

use super::box_lock::{ShareArgs, UnlockArgs};
use super::{print, print_json, say};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::net::{self, Way};
use crate::progress::Meter;
use crate::prompt;
use crate::share;
use crate::state::{StateDir, names};
use crate::text::{self, Lines as _};
use adit_link::{Door, Link, LinkError};
use adit_wire::appliance::{
    Activate, Disk, Disks, DisksListed, EncryptDisk, LOCATE_S_MAX, LocateDisk, Look, Looked, Progress, ReplaceDisk,
    Restart, RetireDisk, Slot, Staged, UPDATE_PART_BYTES_MAX, UPDATE_PARTS_AHEAD, Update, UpdateAt, UpdatePart,
    UseDisk, Version,
};
use adit_wire::frame::Message;
use serde_json::json;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an update may take from its restart until the box has judged it: three tries of five minutes, and the way back.
const JUDGED_WITHIN: Duration = Duration::from_secs(20 * 60);
/// How often the box is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long a disk's light blinks unless told otherwise, seconds.
const LOCATE_S: u16 = 60;

/// What can be asked of the machine.
#[derive(Debug, clap::Subcommand)]
pub(super) enum MachineVerb {
    /// Which version runs, what it can go back to, and how it started.
    Show {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Send a signed update, let the box restart into it, and wait for its judgement.
    Update {
        /// The update file (.adit).
        file: PathBuf,
        /// Only send and check it; activate it with a later `adit box update` of the same file.
        #[arg(long)]
        stage_only: bool,
    },
    /// Restart the box.
    Restart {
        /// Go back to the other good version.
        #[arg(long)]
        back: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// The box's disks.
    #[command(subcommand)]
    Disk(DiskVerb),
    /// Open the box's encrypted data after a restart: shows address, network and outage, and asks.
    Unlock(UnlockArgs),
    /// Make a share of the key of the box's data for another peer, and print it.
    Share(ShareArgs),
}

/// What can be asked of disks.
#[derive(Debug, clap::Subcommand)]
pub(super) enum DiskVerb {
    /// List them.
    List {
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Take a blank disk for the data, or two as a mirror.
    Use {
        /// Serial number of the disk.
        serial: String,
        /// Serial number of the second disk of a mirror.
        #[arg(long, value_name = "SERIAL")]
        mirror: Option<String>,
        /// Encrypt the data: after each restart `adit box unlock` here has to open them.
        #[arg(long)]
        encrypt: bool,
        /// The serial number once more, instead of typing it when asked.
        #[arg(long, value_name = "SERIAL")]
        confirm: Option<String>,
    },
    /// Put a blank disk into the mirror in place of one that failed or is gone.
    Replace {
        /// Serial number of the disk that leaves.
        old: String,
        /// Serial number of the blank one.
        new: String,
        /// The new serial number once more, instead of typing it when asked.
        #[arg(long, value_name = "SERIAL")]
        confirm: Option<String>,
    },
    /// Let a disk's light blink.
    Locate {
        /// Its serial number.
        serial: String,
        /// How long.
        #[arg(long, default_value_t = LOCATE_S, value_parser = clap::value_parser!(u16).range(1..=i64::from(LOCATE_S_MAX)))]
        seconds: u16,
    },
    /// Take a healthy disk out of the mirror.
    Retire {
        /// Its serial number.
        serial: String,
        /// The serial number once more, instead of typing it when asked.
        #[arg(long, value_name = "SERIAL")]
        confirm: Option<String>,
    },
}

impl MachineVerb {
    /// Does it, over a link to the box.
    pub(super) async fn run(&self, way: &Way, state: &StateDir) -> Result<Exit, Failure> {
        match self {
            Self::Unlock(unlock) => return unlock.run(way, state).await,
            Self::Share(share) => return share.run(way, state).await,
            Self::Show { .. } | Self::Update { .. } | Self::Restart { .. } | Self::Disk(_) => self.confirmed()?,
        }
        let link = way.connect(Door::Main).await?;
        let exit = match self {
            Self::Show { json } => show(&link, *json).await?,
            Self::Update { file, stage_only } => return update(way, link, file, *stage_only).await,
            Self::Restart { back, .. } => {
                drop(net::ask(&link, &Restart { back: *back }).await?);
                say("the box restarts");
                Exit::Done
            }
            Self::Disk(verb) => disk(&link, verb, way, state).await?,
            Self::Unlock(_) | Self::Share(_) => Exit::Done,
        };
        link.close(None).await;
        Ok(exit)
    }

    /// Asks a person where it cannot be undone. No link waits for the answer.
    fn confirmed(&self) -> Result<(), Failure> {
        let over = |serial: &str| format!("the serial number of the disk that is to be written over ({serial})");
        match self {
            Self::Restart { yes: false, .. } => confirm("the word restart", "restart", None, "--yes"),
            Self::Disk(
                DiskVerb::Use { serial, confirm: typed, .. } | DiskVerb::Replace { new: serial, confirm: typed, .. },
            ) => confirm(&over(serial), serial, typed.as_deref(), "--confirm SERIAL"),
            Self::Disk(DiskVerb::Retire { serial, confirm: typed }) => {
                let what = format!("the serial number of the disk that leaves the mirror ({serial})");
                confirm(&what, serial, typed.as_deref(), "--confirm SERIAL")
            }
            Self::Show { .. }
            | Self::Update { .. }
            | Self::Restart { yes: true, .. }
            | Self::Unlock(_)
            | Self::Share(_)
            | Self::Disk(DiskVerb::List { .. } | DiskVerb::Locate { .. }) => Ok(()),
        }
    }
}

/// What runs on the box, owned.
struct Runs {
    version: Version,
    floor: Version,
    start: String,
    reset: String,
    data: String,
    watchdog: String,
    uptime_s: u64,
    slots: Vec<Place>,
}

struct Place {
    version: Version,
    state: String,
    tries_left: u8,
    runs: bool,
    reason: String,
}

async fn look(link: &Link) -> Result<Runs, Failure> {
    let frame = net::ask(link, &Look {}).await?;
    let looked: Looked<'_> = net::read(&frame)?;
    let mut slots = Vec::new();
    for slot in looked.slots.iter() {
        let Slot { version, state, tries_left, runs, reason } = slot.map_err(newer)?;
        slots.push(Place { version, state: state.to_owned(), tries_left, runs, reason: reason.to_owned() });
    }
    Ok(Runs {
        version: looked.version,
        floor: looked.floor,
        start: looked.start.to_owned(),
        reset: looked.reset.to_owned(),
        data: looked.data.to_owned(),
        watchdog: looked.watchdog.to_owned(),
        uptime_s: looked.uptime_s,
        slots,
    })
}

fn newer(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Refused, error.to_string(), "update adit")
}

fn name((major, minor, patch): Version) -> String {
    format!("{major}.{minor}.{patch}")
}

async fn show(link: &Link, as_json: bool) -> Result<Exit, Failure> {
    let runs = look(link).await?;
    if as_json {
        let slot = |slot: &Place| {
            json!({
                "version": name(slot.version), "state": slot.state, "tries_left": slot.tries_left, "runs": slot.runs,
                "reason": slot.reason,
            })
        };
        let slots: Vec<_> = runs.slots.iter().map(slot).collect();
        let value = json!({
            "version": name(runs.version), "floor": name(runs.floor), "start": runs.start, "last_start": runs.reset,
            "data": runs.data, "watchdog": runs.watchdog, "uptime_s": runs.uptime_s, "slots": slots,
        });
        print_json(&value)?;
        return Ok(Exit::Done);
    }
    let mut lines = format!("version     {} (start: {})\n", name(runs.version), runs.start);
    for slot in runs.slots.iter().filter(|slot| slot.state != "empty") {
        let note = match (slot.runs, slot.reason.as_str()) {
            (true, _) if slot.tries_left > 0 => format!(", runs, {} more tries", slot.tries_left),
            (true, _) => ", runs".to_owned(),
            (false, "") => String::new(),
            (false, reason) => format!(": {reason}"),
        };
        lines.line(format_args!("slot        {} is {}{note}", name(slot.version), slot.state));
    }
    lines.line(format_args!("floor       {}", name(runs.floor)));
    lines.line(format_args!("last start  {}", runs.reset));
    lines.line(format_args!("up for      {}", text::duration(Duration::from_secs(runs.uptime_s))));
    lines.line(format_args!("data        {}", runs.data));
    lines.line(format_args!("watchdog    {}", if runs.watchdog.is_empty() { "none" } else { &runs.watchdog }));
    print(&lines)?;
    Ok(Exit::Done)
}

/// Sends the file, activates it, and waits until the box has judged it.
async fn update(way: &Way, link: Link, file: &Path, stage_only: bool) -> Result<Exit, Failure> {
    let before = look(&link).await?;
    let version = send(&link, file).await?;
    if stage_only {
        say(&format!("version {} is staged; nothing boots it yet", name(version)));
        link.close(None).await;
        return Ok(Exit::Done);
    }
    drop(net::ask(&link, &Activate { version }).await?);
    link.close(None).await;
    say(&format!(
        "the box restarts into version {}; version {} stays to go back to",
        name(version),
        name(before.version)
    ));
    judged(way, version).await
}

async fn send(link: &Link, path: &Path) -> Result<Version, Failure> {
    let failed = |error: LinkError| net::link_failure(&error);
    let unreadable = |error: std::io::Error| Failure::io("read", path, &error);
    let mut file = File::open(path).map_err(unreadable)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&mut file).map_err(unreadable)?;
    let bytes = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
    let conversation = link.open().map_err(failed)?;
    conversation.send(&Update { bytes, hash: *hasher.finalize().as_bytes() }, false).await.map_err(failed)?;
    let meter = Meter::bytes("update");
    let mut wanted = at(&net::answer(&conversation).await?)?;
    let mut sent = wanted;
    file.seek(SeekFrom::Start(sent)).map_err(unreadable)?;
    let part_bytes = u64::try_from(UPDATE_PART_BYTES_MAX).unwrap_or(u64::MAX);
    let mut buffer = vec![0; UPDATE_PART_BYTES_MAX];
    while wanted < bytes {
        while sent < bytes && sent - wanted < UPDATE_PARTS_AHEAD * part_bytes {
            let length = usize::try_from(part_bytes.min(bytes - sent)).unwrap_or(UPDATE_PART_BYTES_MAX);
            let part = &mut buffer[..length];
            file.read_exact(part).map_err(unreadable)?;
            conversation.send(&UpdatePart { offset: sent, bytes: part }, false).await.map_err(failed)?;
            sent += length as u64;
        }
        wanted = at(&net::answer(&conversation).await?)?;
        meter.set(wanted, bytes);
    }
    meter.note("the box checks the update and writes it to its other slot");
    let frame = conversation.recv_within(JUDGED_WITHIN).await.map_err(failed)?;
    let frame = frame.ok_or_else(|| failed(LinkError::Protocol("the answer is missing")))?;
    let Staged { version } = net::read(&frame)?;
    meter.finish();
    Ok(version)
}

fn at(frame: &adit_link::Frame) -> Result<u64, Failure> {
    net::read::<UpdateAt>(frame).map(|at| at.offset)
}

/// Asks until the box says how it went. A box that restarts does not answer for a while.
async fn judged(way: &Way, version: Version) -> Result<Exit, Failure> {
    let until = Instant::now() + JUDGED_WITHIN;
    let mut told = String::new();
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        if Instant::now() > until {
            let words =
                format!("the box did not say within {} minutes how the update went", JUDGED_WITHIN.as_secs() / 60);
            return Err(Failure::new(
                Exit::Unreachable,
                words,
                "look at its console; `adit box show` tells which version runs",
            ));
        }
        let Ok(link) = way.dial(Door::Main).await else { continue };
        let looked = look(&link).await;
        link.close(None).await;
        let Ok(runs) = looked else { continue };
        let Some(slot) = runs.slots.iter().find(|slot| slot.version == version) else { continue };
        match (slot.runs, slot.state.as_str()) {
            (true, "good") => {
                say(&format!("version {} runs and is confirmed", name(version)));
                return Ok(Exit::Done);
            }
            (true, _) => {
                let words = format!("version {} runs on trial; the box looks whether all is as it was", name(version));
                if words != told {
                    say(&words);
                    told = words;
                }
            }
            (false, "bad") => {
                let words = format!("the box went back to version {}: {}", name(runs.version), slot.reason);
                return Err(Failure::new(Exit::Refused, words, "this update is not taken again; make another one"));
            }
            (false, _) => {}
        }
    }
}

async fn disk(link: &Link, verb: &DiskVerb, way: &Way, state: &StateDir) -> Result<Exit, Failure> {
    match verb {
        DiskVerb::List { json } => list(link, *json).await?,
        DiskVerb::Use { serial, mirror, encrypt: true, .. } => {
            // Kept before it is sent: whatever is cut off, no data lie behind a share that nobody has.
            let secret = share::new();
            state.write(names::SHARE_NEW, &secret[..])?;
            let mirror = mirror.as_deref().unwrap_or_default();
            let (holder, share) = (way.identity.public_key(), share::message(&secret));
            watch(link, &EncryptDisk { serial, mirror, holder, share }).await?;
            share::keep(state, &secret)?;
            say("the disk is taken; its data are encrypted, and after each restart `adit box unlock` here opens them");
            say("let another peer hold a share too (`adit box share NAME`): without any share the data are lost");
        }
        DiskVerb::Use { serial, mirror, encrypt: false, .. } => {
            let mirror = mirror.as_deref().unwrap_or_default();
            watch(link, &UseDisk { serial, mirror }).await?;
            say("the disk is taken; backups go to it from now on");
        }
        DiskVerb::Replace { old, new, .. } => {
            watch(link, &ReplaceDisk { old, new }).await?;
            say("the mirror is being filled; `adit health` shows how far it is");
        }
        DiskVerb::Locate { serial, seconds } => {
            watch(link, &LocateDisk { serial, seconds: *seconds }).await?;
            say(&format!("the light of {serial} blinks for {seconds} s"));
        }
        DiskVerb::Retire { serial, .. } => {
            watch(link, &RetireDisk { serial }).await?;
            say(&format!("{serial} has left the mirror; it may be taken out"));
        }
    }
    Ok(Exit::Done)
}

/// Asks for something that takes a while, and says what the box is at.
async fn watch<'a, M: Message<'a>>(link: &Link, order: &M) -> Result<(), Failure> {
    let failed = |error: LinkError| net::link_failure(&error);
    let conversation = link.open().map_err(failed)?;
    conversation.send(order, true).await.map_err(failed)?;
    loop {
        let frame = net::answer(&conversation).await?;
        if frame.kind != <Progress<'_> as Message<'_>>::KIND {
            return Ok(());
        }
        say(&format!("the box {}", net::read::<Progress<'_>>(&frame)?.doing));
    }
}

async fn list(link: &Link, as_json: bool) -> Result<(), Failure> {
    let frame = net::ask(link, &Disks {}).await?;
    let listed: DisksListed<'_> = net::read(&frame)?;
    let disks: Vec<Disk<'_>> = listed.disks.iter().collect::<Result<_, _>>().map_err(newer)?;
    if as_json {
        let array: Vec<_> = disks
            .iter()
            .map(|disk| {
                json!({
                    "serial": disk.serial, "model": disk.model, "node": disk.node, "bytes": disk.bytes,
                    "part": disk.part, "holds": disk.holds,
                })
            })
            .collect();
        return print_json(&json!(array));
    }
    let mut lines = format!("{:<22}{:<26}{:<10}{:<14}{}\n", "SERIAL", "MODEL", "SIZE", "IS", "HOLDS");
    for disk in &disks {
        let size = text::bytes(disk.bytes);
        lines.line(format_args!("{:<22}{:<26}{size:<10}{:<14}{}", disk.serial, disk.model, disk.part, disk.holds));
    }
    print(&lines)
}

/// A person types what is meant, or gave it on the command line by `option`.
pub(super) fn confirm(what: &str, meant: &str, given: Option<&str>, option: &str) -> Result<(), Failure> {
    let typed = match given {
        Some(given) => given.to_owned(),
        None if prompt::on_terminal() => prompt::line(&format!("type {what}: "))?,
        None => {
            let next = format!("run it on a terminal, or give {option}");
            return Err(Failure::new(Exit::Usage, "nobody is there to confirm", next));
        }
    };
    if typed == meant {
        return Ok(());
    }
    let next = format!("run it again and confirm by {what}");
    Err(Failure::new(Exit::Usage, format!("{typed:?} is not {meant:?}; nothing was done"), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_serial_number_confirms_nothing() {
        let (meant, typed) = ("WD-1".to_owned(), |serial: &str| Some(serial.to_owned()));
        let verbs = |confirm: Option<String>| {
            [
                DiskVerb::Use { serial: meant.clone(), mirror: typed("WD-2"), encrypt: true, confirm: confirm.clone() },
                DiskVerb::Replace { old: "WD-2".to_owned(), new: meant.clone(), confirm: confirm.clone() },
                DiskVerb::Retire { serial: meant.clone(), confirm },
            ]
        };
        for verb in verbs(typed("WD-1")) {
            assert_eq!(MachineVerb::Disk(verb).confirmed(), Ok(()));
        }
        for verb in verbs(typed("WD-2")) {
            let failure = MachineVerb::Disk(verb).confirmed().unwrap_err();
            assert_eq!(
                (failure.exit, failure.what.as_str()),
                (Exit::Usage, "\"WD-2\" is not \"WD-1\"; nothing was done")
            );
            assert!(failure.next.contains("WD-1"), "{}", failure.next);
        }
    }
}

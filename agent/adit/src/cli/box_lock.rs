// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit box unlock` and `adit box share`: the box's encrypted data are opened by those who hold a share of their key. A
//! person is shown where the box is and how long it was away before anything goes to it.

use super::box_machine::confirm;
use super::{print, say};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::net::{self, Way};
use crate::prompt;
use crate::share::{self, Secret, Seen};
use crate::state::{StateDir, names};
use crate::text::{self, now_s};
use adit_link::{Door, Link, LinkError};
use adit_wire::admin::{Peers, PeersListed};
use adit_wire::appliance::{AddShare, Doing, LockSeen, LookAtLock, Unlock};
use adit_wire::ids::PublicKey;
use adit_wire::refusal::Code;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How long a box may take to mount what was opened: a large file system is checked first.
const OPEN_WITHIN: Duration = Duration::from_secs(10 * 60);
/// How often it is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// `adit box unlock`.
#[derive(Debug, clap::Args)]
pub(super) struct UnlockArgs {
    /// Open the data without asking, but only if this machine saw them open at most 15 minutes ago in the same /56; run it
    /// from a timer every few minutes.
    #[arg(long, conflicts_with = "yes")]
    auto: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Keep the share in FILE (- for standard input), which another admin made for this machine by `adit box share`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["auto", "yes", "forget"])]
    keep: Option<PathBuf>,
    /// Delete this machine's share: the box was stolen. What no other share opens is lost.
    #[arg(long, conflicts_with = "auto")]
    forget: bool,
}

impl UnlockArgs {
    pub(super) async fn run(&self, way: &Way, state: &StateDir) -> Result<Exit, Failure> {
        if self.forget {
            if !self.yes {
                confirm("the word forget", "forget", None, "--yes")?;
            }
            state.remove(names::SHARE_NEW)?;
            state.remove(names::SHARE)?;
            say("the share is deleted here; this machine opens the box's data no more");
            return Ok(Exit::Done);
        }
        if let Some(path) = &self.keep {
            return keep(way, state, path).await;
        }
        let (seen, here) = look(way, state).await?;
        if !seen.encrypted {
            return Err(Failure::refused(Code::NotEncrypted as u16, ""));
        }
        if seen.open {
            // A timer asks every few minutes; nothing new is not told.
            if !self.auto {
                say_open(way, &seen);
            }
            return Ok(Exit::Done);
        }
        let shares = share::kept(state)?;
        let known = Seen::read(state)?;
        describe(way, &seen, known.as_ref(), here);
        if self.auto
            && let Some(why) = share::needs_person(known.as_ref(), now_s(), here)
        {
            let what = format!("the data of {} stay locked: {why}", way.called);
            let next = "run `adit box unlock`, look at address and outage, and ask the member if in doubt";
            return Err(Failure::new(Exit::Refused, what, next));
        }
        if !(self.auto || self.yes) {
            confirm("the word unlock", "unlock", None, "--yes")?;
        }
        let link = way.connect(Door::Main).await?;
        // The answer of a moment ago is of another connection.
        if share::network(*link.remote().ip()) != share::network(here) {
            let what = format!("{} is at another address now", way.called);
            return Err(Failure::new(Exit::Refused, what, "run the command again and look at the address"));
        }
        open(&link, state, &shares).await?;
        link.close(None).await;
        opened(way, state).await
    }
}

/// `adit box share`.
#[derive(Debug, clap::Args)]
pub(super) struct ShareArgs {
    /// The peer of the box that is to hold a share too.
    name: String,
}

impl ShareArgs {
    pub(super) async fn run(&self, way: &Way, state: &StateDir) -> Result<Exit, Failure> {
        let shares = share::kept(state)?;
        let link = way.connect(Door::Main).await?;
        let holder = key_of(&link, &self.name).await?;
        let new = share::new();
        let own = open(&link, state, &shares).await?;
        let order = AddShare { share: share::message(&own), new_share: share::message(&new), holder };
        net::read::<Doing>(&net::ask(&link, &order).await?)?;
        link.close(None).await;
        let words = Zeroizing::new(format!("{}\n", text::to_hex(&new[..])));
        print(&words)?;
        say(&format!("a secret for {}: there, `adit box unlock --keep -` takes it; keep no copy", self.name));
        Ok(Exit::Done)
    }
}

/// Asks how the lock is. Open data are written down with the address.
async fn look(way: &Way, state: &StateDir) -> Result<(LockSeen, Ipv6Addr), Failure> {
    let link = way.connect(Door::Main).await?;
    let here = *link.remote().ip();
    let seen: LockSeen = net::read(&net::ask(&link, &LookAtLock {}).await?)?;
    link.close(None).await;
    if seen.encrypted && seen.open {
        Seen { seen_s: now_s(), address: here }.write(state)?;
    }
    Ok((seen, here))
}

fn describe(way: &Way, seen: &LockSeen, known: Option<&Seen>, here: Ipv6Addr) {
    say(&format!("{} is reached at [{here}], network {}", way.called, share::network(here)));
    match known {
        Some(known) => say(&known.words(now_s(), here)),
        None => say("this machine never saw its data open"),
    }
    let off = match seen.off_s {
        0 => "does not know how long it was off".to_owned(),
        off_s => format!("was off for {} or less", text::duration(Duration::from_secs(off_s))),
    };
    let up = text::duration(Duration::from_secs(seen.uptime_s));
    say(&format!("it says of itself that it started {up} ago and {off}"));
}

fn say_open(way: &Way, seen: &LockSeen) {
    let hold = if seen.holders == 1 { "1 machine holds".to_owned() } else { format!("{} machines hold", seen.holders) };
    say(&format!("the data of {} are open; {hold} a share of their key", way.called));
}

/// Opens the data with one of the shares, and keeps the one that fits.
async fn open(link: &Link, state: &StateDir, shares: &[Secret]) -> Result<Secret, Failure> {
    let failed = |error: LinkError| net::link_failure(&error);
    for share in shares {
        let conversation = link.open().map_err(failed)?;
        conversation.send(&Unlock { share: share::message(share) }, true).await.map_err(failed)?;
        match conversation.recv().await {
            Ok(Some(frame)) => {
                net::read::<Doing>(&frame)?;
                share::keep(state, share)?;
                return Ok(share.clone());
            }
            Err(LinkError::Refused(refusal)) if refusal.code == Some(Code::ShareWrong) => {}
            Ok(None) => return Err(failed(LinkError::Protocol("the answer is missing"))),
            Err(error) => return Err(failed(error)),
        }
    }
    Err(Failure::refused(Code::ShareWrong as u16, ""))
}

/// Waits until the data are mounted. The agent starts again with its store, so it does not answer for a while.
async fn opened(way: &Way, state: &StateDir) -> Result<Exit, Failure> {
    let until = Instant::now() + OPEN_WITHIN;
    while Instant::now() < until {
        if let Ok((seen, _)) = look(way, state).await
            && seen.open
        {
            say_open(way, &seen);
            return Ok(Exit::Done);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    let what = format!("the data of {} were unlocked but are not mounted", way.called);
    Err(Failure::new(Exit::Refused, what, "`adit box show` says why"))
}

/// Keeps a share that another holder made, and tries it where the data are open.
async fn keep(way: &Way, state: &StateDir, path: &Path) -> Result<Exit, Failure> {
    let text = prompt::read_text((path != Path::new("-")).then_some(path))?;
    let bytes = text::hex(text.trim()).map(Zeroizing::new);
    let secret: Option<Secret> = bytes.and_then(|bytes| Some(Secret::new(bytes.as_slice().try_into().ok()?)));
    let wrong = || Failure::new(Exit::Usage, "this is no share", "copy the line that `adit box share` printed, whole");
    let secret = secret.ok_or_else(wrong)?;
    state.write(names::SHARE_NEW, &secret[..])?;
    let (seen, _) = look(way, state).await?;
    if !seen.open {
        say("the share is kept; whether it fits shows when the data are unlocked");
        return Ok(Exit::Done);
    }
    let link = way.connect(Door::Main).await?;
    open(&link, state, &[secret]).await?;
    link.close(None).await;
    say("the share fits and is kept");
    Ok(Exit::Done)
}

/// The key of a peer of the box.
async fn key_of(link: &Link, name: &str) -> Result<PublicKey, Failure> {
    let mut skip = 0;
    loop {
        let frame = net::ask(link, &Peers { skip }).await?;
        let listed: PeersListed<'_> = net::read(&frame)?;
        let before = skip;
        for peer in listed.peers.iter() {
            let peer = peer.map_err(|error| Failure::new(Exit::Refused, error.to_string(), "update adit"))?;
            if peer.name == name {
                return Ok(peer.key);
            }
            skip += 1;
        }
        if !listed.more || skip == before {
            let what = format!("the box has no peer {name}");
            return Err(Failure::new(Exit::Refused, what, "`adit box peers list` names them"));
        }
    }
}

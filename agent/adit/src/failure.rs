// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a person reads when a command fails: one sentence that says what happened, one that says what to do next, and
//! the exit code. Library errors become sentences here and nowhere else; the golden tests below hold the words.

use crate::exit::Exit;
use adit_wire::refusal::{Blame, Code};
use std::fmt;
use std::io;
use std::path::Path;

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened: a fragment without a full stop.
    pub what: String,
    /// What to do next; empty when nothing helps.
    pub next: String,
}

impl Failure {
    /// A failure with its next step.
    pub fn new(exit: Exit, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { exit, what: what.into(), next: next.into() }
    }

    /// A mistake in this program.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::new(Exit::Internal, what, "this is a mistake in adit; please report it with the command that you typed")
    }

    /// A local file or directory gave an error; `doing` fits before the path: "read", "write to".
    #[expect(clippy::wildcard_enum_match_arm, reason = "the system has many errors; six have a next step of their own")]
    pub fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        let (why, next) = match error.kind() {
            io::ErrorKind::NotFound => ("there is no such file or directory".to_owned(), "check the path"),
            io::ErrorKind::PermissionDenied => {
                ("permission denied".to_owned(), "run the command as the user who may, or as root")
            }
            io::ErrorKind::StorageFull => {
                ("the disk is full".to_owned(), "free some space there and run the command again; the box lost nothing")
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                ("the file system is read-only".to_owned(), "make it writable, or choose another directory")
            }
            io::ErrorKind::AlreadyExists => {
                ("it exists already".to_owned(), "choose another path, or move the old file away")
            }
            _ => (error.to_string(), "the kernel's log (dmesg) may say more"),
        };
        Self::new(Exit::LocalIo, format!("could not {doing} {}: {why}", path.display()), next)
    }

    /// A file in the state directory does not hold what it should.
    pub fn state(path: &Path, why: impl fmt::Display) -> Self {
        Self::new(
            Exit::LocalIo,
            format!("{} is not usable: {why}", path.display()),
            "put it back from a copy, or recover this source with `adit recover … --adopt --state DIR`",
        )
    }

    /// The state directory holds no source.
    pub fn not_set_up(state: &Path) -> Self {
        Self::new(
            Exit::NotPaired,
            format!("{} is not set up", state.display()),
            format!("run `adit --state {} init --recipient FILE.pub` first", state.display()),
        )
    }

    /// The state directory has no pinned box.
    pub fn not_paired(state: &Path) -> Self {
        Self::new(
            Exit::NotPaired,
            "this machine is not paired with a box",
            format!(
                "make a token on the box (`aditd token --role source --name NAME`), then `adit --state {} pair TOKEN`",
                state.display()
            ),
        )
    }

    /// The box answered no.
    #[must_use]
    pub fn refused(code: u16, detail: &str) -> Self {
        let known = Code::from_number(code);
        let text = known.map_or("for a reason that is newer than this program; update it", Code::text);
        let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
        Self::new(refusal_exit(known), format!("the box refused: {text}{detail}"), refusal_advice(known))
    }

    /// The recovery file, words or passphrase do not open this source.
    #[must_use]
    pub fn wrong_recovery_key() -> Self {
        Self::new(
            Exit::WrongKey,
            "this recovery key does not open this source",
            "use the recovery file or words that were made when the source was set up (the sheet names the source)",
        )
    }

    /// Something stored is newer than this program reads.
    pub fn newer(what: impl fmt::Display) -> Self {
        Self::new(
            Exit::Damaged,
            format!("{what} was written by a newer version of adit"),
            "install that version or a later one; nothing is lost",
        )
    }

    /// The lines for stderr.
    #[must_use]
    pub fn render(&self) -> String {
        if self.next.is_empty() {
            format!("adit: {}\n", self.what)
        } else {
            format!("adit: {}\n  next: {}\n", self.what, self.next)
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

/// The exit code of a refusal.
#[must_use]
pub fn refusal_exit(code: Option<Code>) -> Exit {
    match code {
        Some(Code::Damaged) => Exit::Damaged,
        Some(Code::ProofNeeded | Code::RecoveryUnknown) => Exit::WrongKey,
        Some(code) if code.blame() == Blame::Us => Exit::Refused,
        Some(_) | None => Exit::Refused,
    }
}

fn refusal_advice(code: Option<Code>) -> &'static str {
    let Some(code) = code else {
        return "install the newest version of adit on this machine";
    };
    match code {
        Code::TokenUnknown | Code::TokenBurnt | Code::TokenExpired | Code::TokenLocked => {
            "make a new token on the box: `aditd token --role source --name NAME`"
        }
        Code::TokenRole => "make a token with the right `--role`, or pair with the role that the token was made for",
        Code::NameTaken => {
            "choose another name, or `adit box peers rename` the old peer; a source that comes back needs a token with --rejoin"
        }
        Code::SourceKnown => "take the source over with `adit recover … --adopt`, or make a token with --rejoin NAME",
        Code::KeyKnown => "nothing needs to be done if this is the same machine; else `adit unpair` first",
        Code::Stale => {
            "make sure that no copy of this machine runs; if the box went back in time, look at its disks before the next run"
        }
        Code::Adopted => "this machine may no longer send; `adit recover … --adopt` here takes the source back",
        Code::Quota => "raise the quota on the box, or exclude something",
        Code::DiskFull => "free space on the box or give it a larger disk; what is stored stays readable",
        Code::ReadOnly => "look at the box's disk: `adit health` and the log of aditd say why",
        Code::ProofNeeded => "give --recovery-file FILE",
        Code::NotFound | Code::ShareRefused => "`adit snapshots` lists the snapshots, `adit box peers list` the peers",
        Code::Damaged => "`adit verify` says how much is damaged; the next backup sends it again where it can",
        Code::RecoveryUnknown => "check that the words or the file belong to this box's source",
        Code::EpochOld => "run the command again; another machine adopted the source meanwhile",
        Code::UnknownMethod => "update the older one of the two programs",
        Code::Busy | Code::Stopping | Code::Deadline => "run the command again in a minute",
        Code::NotAllowed => "pair this machine with the role that the command needs",
        Code::NotServed => "check that the address belongs to the box",
        Code::Internal => "look at the log of aditd on the box",
        Code::NoAppliance => "use its own tools there: `apt upgrade` for updates, `mdadm` for disks",
        Code::UpdateFormat | Code::UpdateTruncated | Code::UpdateDigest => {
            "fetch the update file again and compare it with SHA256SUMS"
        }
        Code::UpdateSignature | Code::UpdateKey | Code::UpdateKeySet => {
            "do not use this file unless you know who made it; the box trusts the keys of its image alone"
        }
        Code::UpdateProduct | Code::UpdateArch | Code::UpdateFlavour => {
            "choose the file for this box; `adit-image inspect FILE` says what one is for"
        }
        Code::UpdateFloor | Code::UpdateNotNewer | Code::UpdateStep | Code::UpdateDenied => {
            "`adit box show` says what runs and which versions it takes"
        }
        Code::UpdateTooLarge => "build a smaller image",
        Code::UpdateOnTrial | Code::NotStaged | Code::NothingBack => "`adit box show` says what each slot holds",
        Code::BootFull | Code::BootUnusable => {
            "`adit box show` and the box's console say more; write the image anew if need be"
        }
        Code::DiskHolds => "take another disk, or empty it at the box: `d` and Enter on its console says how",
        Code::DiskUnknown | Code::DiskInUse | Code::DiskTooSmall | Code::DiskNoPlace | Code::DiskLast => {
            "`adit box disk list` says what each disk is and holds"
        }
        Code::NoEncryption | Code::NotEncrypted => {
            "the hardware image encrypts a blank disk: `adit box disk use SERIAL --encrypt`, before the first backup"
        }
        Code::ShareWrong => "use the share that was made for this disk; without any share its data are lost",
        Code::DiskFailed => "try another disk; `adit health` tells of this one",
        Code::Protocol
        | Code::KeyIdUsed
        | Code::CounterWentBack
        | Code::Signature
        | Code::ChildMissing
        | Code::PriorHead
        | Code::Repeats
        | Code::TooManyRounds => {
            "run the command again; if it fails again, please report it with the log of both sides"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(failure: &Failure, expected: &str) {
        assert_eq!(failure.render().trim_end(), expected);
    }

    #[test]
    fn files() {
        let path = Path::new("/srv/x");
        check(
            &Failure::io("write to", path, &io::ErrorKind::StorageFull.into()),
            "adit: could not write to /srv/x: the disk is full\n  next: free some space there and run the command again; the box lost nothing",
        );
        check(
            &Failure::io("read", path, &io::ErrorKind::PermissionDenied.into()),
            "adit: could not read /srv/x: permission denied\n  next: run the command as the user who may, or as root",
        );
    }

    #[test]
    fn pairing() {
        check(
            &Failure::not_paired(Path::new("/s")),
            "adit: this machine is not paired with a box\n  next: make a token on the box (`aditd token --role source --name NAME`), then `adit --state /s pair TOKEN`",
        );
        check(
            &Failure::not_set_up(Path::new("/s")),
            "adit: /s is not set up\n  next: run `adit --state /s init --recipient FILE.pub` first",
        );
        check(
            &Failure::refused(Code::TokenUnknown as u16, ""),
            "adit: the box refused: the token is not valid here; make a new one\n  next: make a new token on the box: `aditd token --role source --name NAME`",
        );
        check(
            &Failure::refused(Code::TokenExpired as u16, "it ended 5 min ago"),
            "adit: the box refused: the token has expired; make a new one (it ended 5 min ago)\n  next: make a new token on the box: `aditd token --role source --name NAME`",
        );
    }

    #[test]
    fn the_box_says_no() {
        check(
            &Failure::refused(Code::DiskFull as u16, ""),
            "adit: the box refused: the box's disk is full; nothing stored is lost\n  next: free space on the box or give it a larger disk; what is stored stays readable",
        );
        check(
            &Failure::refused(60_000, ""),
            "adit: the box refused: for a reason that is newer than this program; update it\n  next: install the newest version of adit on this machine",
        );
    }

    #[test]
    fn keys_and_versions() {
        check(
            &Failure::wrong_recovery_key(),
            "adit: this recovery key does not open this source\n  next: use the recovery file or words that were made when the source was set up (the sheet names the source)",
        );
        check(
            &Failure::newer("the recovery file /k"),
            "adit: the recovery file /k was written by a newer version of adit\n  next: install that version or a later one; nothing is lost",
        );
    }

    #[test]
    fn every_refusal_has_a_next_step() {
        for code in Code::ALL {
            assert!(!refusal_advice(Some(*code)).is_empty(), "{code:?}");
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Recovery keys at the edge: files and words become a key, and what goes wrong becomes a sentence. The formats belong
//! to the archive crate.

use crate::exit::Exit;
use crate::failure::Failure;
use crate::prompt::{KeyArgs, ask_secret, on_terminal, read_secret_file, read_text};
use crate::text::{Lines as _, fill_random};
use adit_archive::keys::{self, FileError, Kdf, Protection, RecoveryKey, RecoveryPublic};
use std::fs;
use std::path::Path;
use zeroize::Zeroizing;

/// Memory below which a recovery file is sealed at the smaller cost, KiB.
const SMALL_MACHINE_KIB: u64 = 1 << 20;

/// The recovery key that the arguments name; asks for the words on a terminal when they name none.
///
/// # Errors
/// When there is none, or it does not open.
pub fn open(arguments: &KeyArgs) -> Result<RecoveryKey, Failure> {
    match &arguments.recovery_file {
        Some(path) => read(path, arguments.passphrase_file.as_deref()),
        None if arguments.words || on_terminal() => words(),
        None => Err(Failure::new(
            Exit::Usage,
            "reading a backup needs the recovery key",
            "give --recovery-file FILE, or --words and the 24 words on standard input",
        )),
    }
}

/// The key of a recovery file; asks for its passphrase when it has one.
///
/// # Errors
/// When the file is unreadable or the passphrase wrong.
pub fn read(path: &Path, passphrase_file: Option<&Path>) -> Result<RecoveryKey, Failure> {
    let fail = |error: FileError| file_failure(path, &error);
    if !keys::peek_file(path).map_err(fail)?.sealed {
        return keys::read_file(path, None).map_err(fail);
    }
    let passphrase = match passphrase_file {
        Some(file) => read_secret_file(file)?,
        None if on_terminal() => ask_secret(&format!("Passphrase of {}: ", path.display()))?,
        None => return Err(file_failure(path, &FileError::PassphraseNeeded)),
    };
    keys::read_file(path, Some(&passphrase)).map_err(fail)
}

fn words() -> Result<RecoveryKey, Failure> {
    let text = if on_terminal() { ask_secret("The 24 recovery words: ")? } else { read_text(None)? };
    RecoveryKey::from_words(&text)
        .map_err(|error| Failure::new(Exit::WrongKey, error.to_string(), "compare with the paper, word by word"))
}

/// Writes a recovery file of mode 0600, sealed when there is a passphrase; an existing file is never overwritten.
///
/// # Errors
/// When it exists or can't be written.
pub fn write(key: &RecoveryKey, path: &Path, passphrase: Option<&str>) -> Result<(), Failure> {
    let protection = passphrase.map_or(Protection::None, |passphrase| Protection::Passphrase(passphrase, kdf()));
    keys::write_file(path, key, protection, &mut fill_random).map_err(|error| file_failure(path, &error))
}

fn kdf() -> Kdf {
    let total_kib = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok())
    });
    if total_kib.is_some_and(|kib| kib < SMALL_MACHINE_KIB) { Kdf::SMALL } else { Kdf::DEFAULT }
}

/// Reads a public recovery file.
///
/// # Errors
/// When it is unreadable or no such file.
pub fn read_public(path: &Path) -> Result<RecoveryPublic, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::io("read", path, &error))?;
    RecoveryPublic::from_text(&text).map_err(|error| {
        Failure::new(
            Exit::WrongKey,
            format!("{}: {error}", path.display()),
            "give the file that `adit keygen --public` made; copy it again if it was damaged on its way",
        )
    })
}

/// The words in four columns, numbered, for paper.
#[must_use]
pub fn words_table(key: &RecoveryKey) -> Zeroizing<String> {
    let words = key.words();
    let mut text = Zeroizing::new(String::with_capacity(1024));
    text.push_str("\nRecovery words. Write them down and keep them where this machine is not:\n\n");
    for (index, word) in words.split(' ').enumerate() {
        text.add(format_args!("  {:>2}. {word:<10}", index + 1));
        if index % 4 == 3 {
            text.push('\n');
        }
    }
    text.push('\n');
    text
}

fn file_failure(path: &Path, error: &FileError) -> Failure {
    let place = path.display();
    match error {
        FileError::Write { source, .. } => Failure::io("write", path, source),
        FileError::Read { source, .. } => Failure::io("read", path, source),
        FileError::Version(_) => Failure::newer(format!("the recovery file {place}")),
        FileError::PassphraseNeeded => Failure::new(
            Exit::WrongKey,
            format!("{place} is sealed by a passphrase"),
            "give --passphrase-file FILE, or run the command on a terminal",
        ),
        FileError::WrongPassphrase => Failure::new(
            Exit::WrongKey,
            format!("the passphrase does not open {place}"),
            "try again; the 24 words open the backup without file and passphrase (--words)",
        ),
        FileError::NotOurs => Failure::new(
            Exit::WrongKey,
            format!("{place} is no recovery file"),
            "give the private file that `adit keygen --recovery-file` made (not the .pub file)",
        ),
        FileError::EmptyPassphrase => Failure::new(Exit::Usage, "the passphrase is empty", "give another one"),
        FileError::Missing(_) | FileError::Field(_) | FileError::Damaged | FileError::OtherKey | FileError::Cost(_) => {
            Failure::new(
                Exit::WrongKey,
                format!("{place}: {error}"),
                "use another copy of the file, or the 24 words (--words)",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> RecoveryKey {
        RecoveryKey::generate(&mut |buffer| buffer.fill(7))
    }

    #[test]
    fn an_unprotected_file_reads_back_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.key");
        write(&key(), &path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&path, None).unwrap().signing().public(), key().signing().public());
        let again = write(&key(), &path, None).unwrap_err();
        assert_eq!(again.exit, Exit::LocalIo);
        assert!(again.what.ends_with("it exists already"), "{again:?}");
    }

    #[test]
    fn the_wrong_passphrase_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (path, passphrase) = (dir.path().join("r.key"), dir.path().join("p"));
        let cheap = Kdf { memory_kib: 64, passes: 1, lanes: 1 };
        keys::write_file(&path, &key(), Protection::Passphrase("right", cheap), &mut |b| b.fill(1)).unwrap();
        fs::write(&passphrase, "wrong\n").unwrap();
        let failure = read(&path, Some(&passphrase)).unwrap_err();
        assert_eq!(failure.exit, Exit::WrongKey);
        assert_eq!(failure.what, format!("the passphrase does not open {}", path.display()));
        fs::write(&passphrase, "right\n").unwrap();
        read(&path, Some(&passphrase)).unwrap();
    }

    #[test]
    fn a_public_file_is_no_recovery_file_and_the_reverse() {
        let dir = tempfile::tempdir().unwrap();
        let (private, public) = (dir.path().join("r.key"), dir.path().join("r.pub"));
        write(&key(), &private, None).unwrap();
        fs::write(&public, key().public().to_text()).unwrap();
        assert!(read(&public, None).unwrap_err().what.ends_with("is no recovery file"));
        assert_eq!(read_public(&private).unwrap_err().exit, Exit::WrongKey);
        assert_eq!(read_public(&public).unwrap(), key().public());
    }

    #[test]
    fn a_newer_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.key");
        fs::write(&path, "adit recovery key, version 2\n").unwrap();
        let failure = read(&path, None).unwrap_err();
        assert_eq!(
            failure.what,
            format!("the recovery file {} was written by a newer version of adit", path.display())
        );
    }

    #[test]
    fn the_table_holds_every_word_with_its_number() {
        let table = words_table(&key());
        assert_eq!(
            RecoveryKey::from_words(table.split_once(":\n").unwrap().1).unwrap().signing().public(),
            key().signing().public()
        );
    }
}

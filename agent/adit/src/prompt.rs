// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Secrets from a person: a passphrase from a file or from the terminal without echo, recovery words, a token from a
//! file or standard input. Nothing that is secret is ever taken from the environment, and none of it is printed back.

use crate::exit::Exit;
use crate::failure::Failure;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest secret that is read, bytes.
const SECRET_BYTES_MAX: u64 = 4096;
/// Longest other text that is read, bytes.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// Where the recovery key of a command comes from.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct KeyArgs {
    /// The recovery file that `adit keygen` or `adit init` made.
    #[arg(long, value_name = "FILE")]
    pub recovery_file: Option<PathBuf>,
    /// Read the passphrase of the recovery file from the first line of FILE instead of asking.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Read the 24 recovery words from standard input (or ask for them) instead of a file.
    #[arg(long, conflicts_with = "recovery_file")]
    pub words: bool,
}

/// Asks a question on the terminal and takes one line, with what is typed shown.
///
/// # Errors
/// When the terminal is gone.
pub fn line(question: &str) -> Result<String, Failure> {
    let gone = |error: io::Error| Failure::io("read", Path::new("the terminal"), &error);
    let mut stderr = io::stderr().lock();
    stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush()).map_err(gone)?;
    let mut typed = String::new();
    io::stdin().lock().take(TEXT_BYTES_MAX).read_line(&mut typed).map_err(gone)?;
    Ok(typed.trim_end_matches(['\r', '\n']).to_owned())
}

/// Whether a person sits before standard input.
#[must_use]
pub fn on_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// The first line of a secret file, without its line end.
///
/// # Errors
/// When it can't be read or is empty.
pub fn read_secret_file(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    File::open(path)
        .and_then(|file| file.take(SECRET_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| Failure::io("read", path, &error))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            format!("{} is empty", path.display()),
            "put the secret on its first line",
        ));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// All of standard input or of a file, as one line of words.
///
/// # Errors
/// When it can't be read.
pub fn read_text(path: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    match path {
        Some(path) => File::open(path).and_then(|file| file.take(SECRET_BYTES_MAX).read_to_string(&mut text)),
        None => io::stdin().lock().take(SECRET_BYTES_MAX).read_to_string(&mut text),
    }
    .map_err(|error| Failure::io("read", path.unwrap_or_else(|| Path::new("standard input")), &error))?;
    Ok(text)
}

/// All of standard input or of a file that holds no secret.
///
/// # Errors
/// When it can't be read.
pub fn read_text_file(path: Option<&Path>) -> Result<String, Failure> {
    let mut text = String::new();
    match path {
        Some(path) => File::open(path).and_then(|file| file.take(TEXT_BYTES_MAX).read_to_string(&mut text)),
        None => io::stdin().lock().take(TEXT_BYTES_MAX).read_to_string(&mut text),
    }
    .map_err(|error| Failure::io("read", path.unwrap_or_else(|| Path::new("standard input")), &error))?;
    Ok(text)
}

/// Asks on the terminal without echo.
///
/// # Errors
/// When there is no terminal.
pub fn ask_secret(question: &str) -> Result<Zeroizing<String>, Failure> {
    let fail = |error: io::Error| Failure::io("ask on", Path::new("the terminal"), &error);
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(fail)?;
    let before = tcgetattr(terminal.as_fd()).map_err(|errno| fail(errno.into()))?;
    let mut quiet = before.clone();
    quiet.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(terminal.as_fd(), SetArg::TCSAFLUSH, &quiet).map_err(|errno| fail(errno.into()))?;
    let answer = (|| {
        (&terminal).write_all(question.as_bytes())?;
        let mut line = Zeroizing::new(String::new());
        BufReader::new(&terminal).take(SECRET_BYTES_MAX).read_line(&mut line)?;
        (&terminal).write_all(b"\n")?;
        Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
    })();
    // Echo comes back whatever happened; a terminal that is gone needs none.
    let _ignored = tcsetattr(terminal.as_fd(), SetArg::TCSAFLUSH, &before);
    answer.map_err(fail)
}

/// A new passphrase: from a file, or asked twice on a terminal. `None` means that the file will be unprotected: there
/// is no terminal and no passphrase file, or the person pressed Enter.
///
/// # Errors
/// When it can't be read, or the two answers differ.
pub fn new_passphrase(file: Option<&Path>) -> Result<Option<Zeroizing<String>>, Failure> {
    if let Some(file) = file {
        return read_secret_file(file).map(Some);
    }
    if !on_terminal() {
        return Ok(None);
    }
    let first = ask_secret("Passphrase for the recovery file (Enter for none): ")?;
    let second = ask_secret("The same again: ")?;
    if *first != *second {
        return Err(Failure::new(Exit::Usage, "the two passphrases differ", "run the command again"));
    }
    Ok(Some(first).filter(|passphrase| !passphrase.is_empty()))
}

/// Whether `path` exists; used to refuse before any question is asked.
///
/// # Errors
/// When it exists.
pub fn must_be_new(path: &Path) -> Result<(), Failure> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(Failure::io("write", path, &io::ErrorKind::AlreadyExists.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_line_of_a_passphrase_file_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        fs::write(&path, "correct horse\nsecond line\n").unwrap();
        assert_eq!(&**read_secret_file(&path).unwrap(), "correct horse");
        fs::write(&path, "\n").unwrap();
        assert_eq!(read_secret_file(&path).unwrap_err().exit, Exit::Usage);
        assert_eq!(read_secret_file(&dir.path().join("none")).unwrap_err().exit, Exit::LocalIo);
    }
}

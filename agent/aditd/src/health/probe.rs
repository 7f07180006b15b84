// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Asks adit-probe what the machine's devices say.
//!
//! It blocks until its deadline, so it belongs on a thread of its own. What the helper says is taken as a claim: bounded,
//! decoded, never trusted with a length.

use adit_device::pipe::{Answer, LENGTH_BYTES, PipeError, VERSION};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an answer may take. The helper itself answers within 2 s of what it waits for.
pub(super) const PROBE_WAIT: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// Nobody listens: the helper is not installed, or not started.
    #[error("ask adit-probe at {0}")]
    Connect(PathBuf, #[source] io::Error),
    /// It hung up, or was silent for too long.
    #[error("hear adit-probe")]
    Talk(#[source] io::Error),
    /// It said something else.
    #[error("understand adit-probe")]
    Pipe(#[from] PipeError),
}

impl AskError {
    /// Nobody is there to be asked, as on a machine without the helper; anything else is a helper that fails.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Connect(_, error) if error.kind() == ErrorKind::NotFound)
    }
}

/// Asks once; gives up after `wait`.
///
/// # Errors
/// When nobody answers in time, or not in our words.
pub(super) fn ask(path: &Path, wait: Duration) -> Result<Answer, AskError> {
    let end = Instant::now() + wait;
    let mut stream = UnixStream::connect(path).map_err(|error| AskError::Connect(path.to_owned(), error))?;
    stream.set_write_timeout(Some(wait)).map_err(AskError::Talk)?;
    stream.write_all(&[VERSION]).map_err(AskError::Talk)?;
    let mut length = [0; LENGTH_BYTES];
    fill(&mut stream, &mut length, end)?;
    let mut body = vec![0; Answer::length(length)?];
    fill(&mut stream, &mut body, end)?;
    Ok(Answer::decode(&body)?)
}

/// Reads all of a buffer before `end`, however slowly it drips.
fn fill(stream: &mut UnixStream, mut buffer: &mut [u8], end: Instant) -> Result<(), AskError> {
    while !buffer.is_empty() {
        let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        let late = || AskError::Talk(ErrorKind::TimedOut.into());
        stream.set_read_timeout(Some(left.ok_or_else(late)?)).map_err(AskError::Talk)?;
        match stream.read(buffer) {
            Ok(0) => return Err(AskError::Talk(ErrorKind::UnexpectedEof.into())),
            Ok(count) => buffer = &mut buffer[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(late()),
            Err(error) => return Err(AskError::Talk(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_device::PowerState;
    use adit_device::pipe::{DeviceReport, Said};
    use std::os::unix::net::UnixListener;
    use std::thread::JoinHandle;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(50);

    fn answer() -> Answer {
        let device = DeviceReport {
            name: "sda".to_owned(),
            power: PowerState::Active,
            said: Some(Said::Volumes(Vec::new())),
            age_s: 3,
            waiting_s: Some(4),
            trouble: None,
        };
        Answer { version: VERSION, devices: vec![device], ..Answer::default() }
    }

    /// Gives each client the next of these bytes and hangs up, but for the last: that one is held until the test ends.
    fn helper(path: &Path, say: Vec<Vec<u8>>) -> JoinHandle<()> {
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for bytes in say {
                held.clear();
                let (mut client, _) = listener.accept().unwrap();
                client.read_exact(&mut [0]).unwrap();
                client.write_all(&bytes).unwrap();
                held.push(client);
            }
            drop(held.into_iter().map(|mut client| client.read(&mut [0])).collect::<Vec<_>>());
        })
    }

    #[test]
    fn whole_answers_are_taken_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe.sock");
        assert!(ask(&path, LONG).unwrap_err().is_absent());
        let frame = answer().encode().unwrap();
        let thread = helper(&path, vec![frame.clone(), frame[..7].to_vec(), vec![0xff; 4]]);
        assert_eq!(ask(&path, LONG).unwrap(), answer());
        let cut = ask(&path, LONG).unwrap_err();
        assert!(matches!(&cut, AskError::Talk(error) if error.kind() == ErrorKind::UnexpectedEof) && !cut.is_absent());
        assert!(matches!(ask(&path, LONG), Err(AskError::Pipe(PipeError::TooLong(_)))));
        thread.join().unwrap();
    }

    #[test]
    fn a_helper_that_says_nothing_or_drips_is_left_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe.sock");
        let thread = helper(&path, vec![answer().encode().unwrap()[..9].to_vec()]);
        let began = Instant::now();
        let error = ask(&path, SHORT).unwrap_err();
        assert!(matches!(&error, AskError::Talk(error) if error.kind() == ErrorKind::TimedOut), "{error:?}");
        assert!(began.elapsed() < LONG);
        thread.join().unwrap();
    }
}

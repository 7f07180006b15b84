// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Asks adit-probe what the machine's devices say, and keeps the newest answer with its age while the helper is silent.
//!
//! It blocks until its deadline, so it belongs on a thread of its own. What the helper says is taken as a claim: bounded,
//! decoded, never trusted with a length.

use adit_device::pipe::{Answer, LENGTH_BYTES, PipeError, VERSION};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an answer may take. The helper itself answers within 2 s of what it waits for.
pub const PROBE_WAIT: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
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
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Connect(_, error) if error.kind() == ErrorKind::NotFound)
    }
}

/// Asks once; gives up after `wait`.
///
/// # Errors
/// When nobody answers in time, or not in our words.
pub fn ask(path: &Path, wait: Duration) -> Result<Answer, AskError> {
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

/// The helper and the newest that it said.
#[derive(Debug)]
pub struct Probe {
    path: PathBuf,
    wait: Duration,
    newest: Option<(Answer, Instant)>,
    silent_since: Option<Instant>,
    misses: u64,
    trouble: Option<AskError>,
}

impl Probe {
    /// The helper at `path`; it was not asked yet.
    #[must_use]
    pub const fn new(path: PathBuf, wait: Duration) -> Self {
        Self { path, wait, newest: None, silent_since: None, misses: 0, trouble: None }
    }

    /// Asks again; an answer replaces the one before, anything else leaves it and is counted.
    pub fn ask(&mut self) {
        match ask(&self.path, self.wait) {
            Ok(answer) => {
                self.newest = Some((answer, Instant::now()));
                (self.silent_since, self.trouble) = (None, None);
            }
            Err(error) => {
                self.misses = self.misses.saturating_add(1);
                self.silent_since.get_or_insert_with(Instant::now);
                self.trouble = Some(error);
            }
        }
    }

    /// The newest answer, its ages counted up to now; `None` when there never was one.
    #[must_use]
    pub fn newest(&self) -> Option<Answer> {
        let (answer, at) = self.newest.as_ref()?;
        Some(answer.clone().aged(at.elapsed().as_secs()))
    }

    /// For how long it has not answered; `None` while it does, or before it was asked.
    #[must_use]
    pub fn silent(&self) -> Option<Duration> {
        self.silent_since.map(|since| since.elapsed())
    }

    /// How often it did not answer, since the agent's start.
    #[must_use]
    pub const fn misses(&self) -> u64 {
        self.misses
    }

    /// Why it did not answer when it was last asked.
    #[must_use]
    pub const fn trouble(&self) -> Option<&AskError> {
        self.trouble.as_ref()
    }
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
    fn the_newest_answer_outlives_the_helper() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe.sock");
        let mut probe = Probe::new(path.clone(), LONG);
        probe.ask();
        assert!(probe.trouble().is_some_and(AskError::is_absent) && probe.newest().is_none());
        let frame = answer().encode().unwrap();
        let thread = helper(&path, vec![frame.clone(), frame[..7].to_vec(), vec![0xff; 4]]);
        probe.ask();
        assert_eq!((probe.newest().unwrap().devices[0].age_s, probe.silent()), (3, None));
        probe.ask();
        assert!(matches!(probe.trouble(), Some(AskError::Talk(error)) if error.kind() == ErrorKind::UnexpectedEof));
        probe.ask();
        assert!(matches!(probe.trouble(), Some(AskError::Pipe(PipeError::TooLong(_)))));
        assert!(probe.newest().is_some() && probe.silent().is_some() && !probe.trouble().unwrap().is_absent());
        assert_eq!(probe.misses(), 3);
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

    #[test]
    fn ages_count_on() {
        let aged = answer().aged(10);
        assert_eq!((aged.devices[0].age_s, aged.devices[0].waiting_s), (13, Some(14)));
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The socket: a client sends one byte and gets one frame. One client at a time, each with a deadline; who may connect is
//! the socket's mode.

use crate::confine::{ConfineError, confine, lacks};
use crate::discover::{Roots, discover};
use crate::look::Nodes;
use crate::rounds::Rounds;
use adit_device::pipe::{Answer, PipeError};
use adit_device::standby::StandbyPolicy;
use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an answer may wait for devices.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// How long a client may take to ask or to listen.
const CLIENT_WAIT: Duration = Duration::from_secs(5);
/// Who may connect to a socket that this program makes: its own user and group.
const SOCKET_MODE: u32 = 0o660;

/// Why the program cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The service manager handed over something else.
    #[error("take the socket of the service manager")]
    Inherited(#[source] io::Error),
    /// No socket was handed over and none was named.
    #[error("find a socket: none was handed over, and --socket names none")]
    NoSocket,
    /// The socket cannot be made.
    #[error("listen at {0}")]
    Listen(PathBuf, #[source] io::Error),
    /// Rights could not be given up.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// A file cannot be written.
    #[error("write {0}")]
    Write(PathBuf, #[source] io::Error),
    /// What is known does not fit an answer.
    #[error(transparent)]
    Pipe(#[from] PipeError),
    /// Clients cannot be heard any more.
    #[error("accept a client")]
    Accept(#[source] io::Error),
    /// JSON could not be made.
    #[error("write JSON")]
    Json(#[from] serde_json::Error),
}

/// Listens at the socket that was handed over, or at `path`; gives up rights; answers for ever.
pub fn serve(path: Option<&Path>, roots: &Roots, policy: StandbyPolicy) -> Result<(), ProbeError> {
    let listener = match adit_sys::listener().map_err(ProbeError::Inherited)? {
        Some(listener) => listener,
        None => listen(path.ok_or(ProbeError::NoSocket)?)?,
    };
    confine()?;
    let mut rounds = Rounds::new(Nodes, policy);
    let start = Instant::now();
    loop {
        let mut client = match listener.accept() {
            Ok((client, _)) => client,
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => continue,
            Err(error) => return Err(ProbeError::Accept(error)),
        };
        // A client that hangs up, or is not the agent at all, is its own trouble.
        drop(answer(&mut client, || {
            let found = discover(roots);
            rounds.round(&found, lacks(&found), start.elapsed().as_secs(), ANSWER_WAIT)
        }));
    }
}

fn listen(path: &Path) -> Result<UnixListener, ProbeError> {
    let failed = |error| ProbeError::Listen(path.to_owned(), error);
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
    Ok(listener)
}

/// Any byte is a request: an agent of another release is answered too, and reads our version in the answer.
fn answer(client: &mut UnixStream, know: impl FnOnce() -> Answer) -> io::Result<()> {
    client.set_read_timeout(Some(CLIENT_WAIT))?;
    client.set_write_timeout(Some(CLIENT_WAIT))?;
    client.read_exact(&mut [0])?;
    let mut answer = know();
    let frame = answer.encode().or_else(|_| {
        // Beyond the limit: the devices are told without what they said, rather than not at all.
        answer.devices.iter_mut().for_each(|device| device.said = None);
        answer.encode()
    });
    client.write_all(&frame.map_err(io::Error::other)?)
}

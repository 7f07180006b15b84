// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The same frames over a socket of this machine's file system: programs on the machine ask its agent how it is. Who may is
//! the file's mode; the agent gives no more than on its serial console.

use super::{SerialClient, SerialLine};
use embedded_io_adapters::std::FromStd;
use embedded_io_adapters::tokio_1::FromTokio;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the agent of a machine answers unless told otherwise.
pub const PATH: &str = "/run/adit/health.sock";
/// Owner and group may ask.
const MODE: u32 = 0o660;

/// The agent's side. The file goes when this is dropped.
#[derive(Debug)]
pub struct LocalListener {
    listener: tokio::net::UnixListener,
    path: PathBuf,
}

/// The agent's side of one caller.
pub type LocalLine = SerialLine<FromTokio<tokio::net::UnixStream>>;

impl LocalListener {
    /// Takes the path. What an agent that died left there is replaced; one that lives keeps it.
    ///
    /// # Errors
    /// When another program answers there, or the path cannot be made.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another agent answers there"));
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = tokio::net::UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// The next caller.
    ///
    /// # Errors
    /// When the system has no place for one more.
    pub async fn accept(&self) -> io::Result<LocalLine> {
        let (stream, _unnamed) = self.listener.accept().await?;
        Ok(SerialLine::new(FromTokio::new(stream)))
    }
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        // One that cannot be removed is replaced at the next start.
        let _left = std::fs::remove_file(&self.path);
    }
}

/// Reaches the agent of this machine; each answer must come `within` that time.
///
/// # Errors
/// When nobody listens there, or this user may not ask.
pub fn reach(path: &Path, within: Duration) -> io::Result<SerialClient<FromStd<UnixStream>>> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(within))?;
    stream.set_write_timeout(Some(within))?;
    Ok(SerialClient::new(FromStd::new(stream), within))
}

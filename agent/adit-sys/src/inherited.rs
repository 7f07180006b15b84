// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The listening socket that a service manager hands over (sd_listen_fds(3)): descriptor 3, announced by LISTEN_PID and
//! LISTEN_FDS.

use rustix::io::FdFlags;
use rustix::net::sockopt::socket_acceptconn;
use std::io::{Error, ErrorKind};
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

/// SD_LISTEN_FDS_START.
const FIRST: RawFd = 3;
/// The descriptor is taken once; a second owner would close it under the first.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The socket that was handed over to this process, or `None` when there is none. The second call gives `None`.
///
/// # Errors
/// When something was announced that is not exactly one listening unix socket.
pub fn listener() -> Result<Option<UnixListener>, Error> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(None);
    }
    match number("LISTEN_FDS") {
        None | Some(0) => return Ok(None),
        Some(1) => {}
        Some(more) => return Err(Error::new(ErrorKind::InvalidInput, format!("{more} sockets instead of one"))),
    }
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(None);
    }
    // SAFETY: the borrow lasts for the two calls below, which ask the kernel and fail with EBADF when nothing is open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(FIRST) };
    rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    if !socket_acceptconn(borrowed)? {
        return Err(Error::new(ErrorKind::InvalidInput, "descriptor 3 does not listen"));
    }
    // SAFETY: descriptor 3 is open (just asked), was handed to this process by its environment and is taken once, so
    // nothing else in this process owns it.
    let owned = unsafe { OwnedFd::from_raw_fd(FIRST) };
    Ok(Some(UnixListener::from(owned)))
}

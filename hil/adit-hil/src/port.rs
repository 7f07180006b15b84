// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A unix socket behind a device of a machine: QEMU connects to it, one machine after the other, and a thread answers.
//! It knows no protocol.

use anyhow::{Context, Result, ensure};
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// A socket that listens. Dropping it ends its thread and removes its file.
#[derive(Debug)]
pub(crate) struct Port {
    path: PathBuf,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    link: Option<UnixStream>,
}

/// Waits for a lock that no panic can leave half-changed.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Port {
    /// Listens at `path`; `serve` talks with one machine until its end. A link that breaks is a machine that ended.
    pub(crate) fn start(
        path: &Path,
        name: &str,
        mut serve: impl FnMut(UnixStream) -> std::io::Result<()> + Send + 'static,
    ) -> Result<Self> {
        let plain = path.to_str().is_some_and(|path| !path.contains(','));
        ensure!(plain, "QEMU's arguments cannot say the path {}", path.display());
        let listener = UnixListener::bind(path).with_context(|| format!("listen at {}", path.display()))?;
        let state = Arc::new(Mutex::new(State::default()));
        let of_thread = Arc::clone(&state);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Ok((link, _)) = listener.accept() {
                {
                    let mut state = locked(&of_thread);
                    if state.stopped {
                        return;
                    }
                    state.link = link.try_clone().ok();
                }
                drop(serve(link));
            }
        })?;
        Ok(Self { path: path.to_owned(), state, thread: Some(thread) })
    }

    /// QEMU's `-chardev` for it; QEMU connects again by itself after one second.
    pub(crate) fn chardev(&self, id: &str) -> [String; 2] {
        ["-chardev".to_owned(), format!("socket,id={id},path={},reconnect=1", self.path.display())]
    }

    /// Says something unasked, if a machine is there.
    pub(crate) fn say(&self, bytes: &[u8]) {
        if let Some(link) = &mut locked(&self.state).link {
            drop(link.write_all(bytes));
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        {
            let mut state = locked(&self.state);
            state.stopped = true;
            if let Some(link) = &state.link {
                drop(link.shutdown(Shutdown::Both));
            }
        }
        // Wakes the thread if it waits for a machine.
        drop(UnixStream::connect(&self.path));
        drop(self.thread.take().map(JoinHandle::join));
        drop(std::fs::remove_file(&self.path));
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The port for a QEMU machine: a unix socket on which QEMU's `-netdev stream` connects; every frame has its length in
//! four bytes before it. A machine may end and another take its place at the same socket.

use super::frame::FRAME_BYTES_MAX;
use anyhow::{Context, Result};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Bytes that wait for a machine to read; frames on top are dropped.
pub const QEMU_QUEUE_BYTES_MAX: usize = 4 << 20;

const READ_BYTES: usize = 64 << 10;
const LENGTH_BYTES: usize = 4;

#[derive(Debug)]
pub(crate) struct QemuPort {
    listener: UnixListener,
    machine: Option<UnixStream>,
    received: Vec<u8>,
    queued: VecDeque<u8>,
    chunk: Vec<u8>,
}

impl QemuPort {
    pub(crate) fn listen(path: &Path) -> Result<Self> {
        let listener = UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, machine: None, received: Vec::new(), queued: VecDeque::new(), chunk: vec![0; READ_BYTES] })
    }

    pub(crate) fn connected(&self) -> bool {
        self.machine.is_some()
    }

    /// What to wait for: always a new machine; the present one's frames; room to send if something waits.
    pub(crate) fn interests(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool, bool)> {
        let machine = self.machine.as_ref().map(|machine| (machine.as_fd(), true, !self.queued.is_empty()));
        [(self.listener.as_fd(), true, false)].into_iter().chain(machine)
    }

    /// Queues a frame; false if the machine reads too slowly. Without a machine it is gone, as on an unplugged cable.
    pub(crate) fn send(&mut self, frame: &[u8]) -> bool {
        if self.machine.is_none() {
            return true;
        }
        let Some(length) = u32::try_from(frame.len()).ok().filter(|_| self.queued.len() < QEMU_QUEUE_BYTES_MAX) else {
            return false;
        };
        self.queued.extend(length.to_be_bytes());
        self.queued.extend(frame);
        true
    }

    /// Reads and writes what is possible; returns the frames that came.
    pub(crate) fn work(&mut self) -> Vec<Vec<u8>> {
        if let Ok((machine, _)) = self.listener.accept() {
            self.unplug();
            // A blocking stream would stop the whole network; then rather no machine.
            self.machine = machine.set_nonblocking(true).is_ok().then_some(machine);
        }
        let mut frames = Vec::new();
        if self.read().is_err() {
            self.unplug();
        }
        let mut at = 0;
        loop {
            match next_frame(&self.received[at..]) {
                Ok(Some(frame)) => {
                    at += LENGTH_BYTES + frame.len();
                    frames.push(frame.to_vec());
                }
                Ok(None) => break,
                Err(TooLong) => {
                    self.unplug();
                    at = 0;
                }
            }
        }
        self.received.drain(..at);
        if self.flush().is_err() {
            self.unplug();
        }
        frames
    }

    fn unplug(&mut self) {
        self.machine = None;
        self.received.clear();
        self.queued.clear();
    }

    /// One read: what is left comes in the next round, so that one machine cannot starve the others.
    fn read(&mut self) -> std::io::Result<()> {
        let Some(machine) = &mut self.machine else { return Ok(()) };
        match machine.read(&mut self.chunk) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.received.extend(&self.chunk[..count]);
                Ok(())
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let Some(machine) = &mut self.machine else { return Ok(()) };
        while !self.queued.is_empty() {
            match machine.write(self.queued.as_slices().0) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => drop(self.queued.drain(..count)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

fn next_frame(bytes: &[u8]) -> std::result::Result<Option<&[u8]>, TooLong> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Err(TooLong);
    }
    Ok(bytes.get(LENGTH_BYTES..LENGTH_BYTES + length))
}

/// No Ethernet frame is this long: the other end does not speak QEMU's stream.
#[derive(Debug)]
struct TooLong;

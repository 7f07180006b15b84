// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The harness's end of the hand: one call, one request, over any stream. It blocks; a stream with a read timeout bounds
//! every wait. Requests can also be sent first and waited for later, so that a long one does not hold up the others.

use crate::frame::{self, FrameError};
use crate::words::{
    Address, Answer, Ask, End, Ending, FILE_PART_BYTES_MAX, Failure, MountFlag, Program, Ran, Reply, Request, Vitals,
};
use std::collections::BTreeMap;
use std::io::{Read, Write};

/// Why a call did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum HandError {
    /// The port: the machine is gone, hangs, or was built from another source.
    #[error("speak with the machine")]
    Port(#[from] FrameError),
    /// The machine could not do it.
    #[error("machine failed to {0}")]
    Guest(Failure),
    /// An answer of another kind than the request has.
    #[error("machine gave an answer of another kind")]
    Kind,
    /// A file above the limit of the caller.
    #[error("{path} has more than {bytes_max} bytes")]
    TooLarge {
        /// The file.
        path: String,
        /// The limit.
        bytes_max: u64,
    },
}

/// A request that was sent; give it to [`Hand::wait_for`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an answer that nobody takes is kept for ever"]
pub struct Asked(u32);

/// The harness's end, over a stream such as a Unix socket that is QEMU's chardev of the port.
#[derive(Debug)]
pub struct Hand<S> {
    stream: S,
    /// Number of the last request; answers to requests up to `forgotten` are for nobody.
    last: u32,
    forgotten: u32,
    early: BTreeMap<u32, Result<Answer, Failure>>,
}

impl<S: Read + Write> Hand<S> {
    /// Takes a connected stream. The machine need not be up: what is sent waits in the port.
    pub fn new(stream: S) -> Self {
        Self { stream, last: 0, forgotten: 0, early: BTreeMap::new() }
    }

    /// Goes on over a new connection to the same port. Answers that were still under way are dropped.
    #[must_use]
    pub fn reconnected(self, stream: S) -> Self {
        Self { stream, last: self.last, forgotten: self.last, early: BTreeMap::new() }
    }

    /// The stream, to change its timeouts.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Sends a request and does not wait.
    pub fn ask(&mut self, ask: Ask) -> Result<Asked, HandError> {
        self.last += 1;
        frame::send(&mut self.stream, &Request { id: self.last, ask })?;
        Ok(Asked(self.last))
    }

    /// Waits for the answer to a request. Others that come first are kept for their own wait.
    pub fn wait_for(&mut self, asked: Asked) -> Result<Answer, HandError> {
        loop {
            if let Some(answer) = self.early.remove(&asked.0) {
                return answer.map_err(HandError::Guest);
            }
            let reply: Reply = frame::receive(&mut self.stream)?;
            if reply.id > self.forgotten {
                self.early.insert(reply.id, reply.answer);
            }
        }
    }

    fn call(&mut self, ask: Ask) -> Result<Answer, HandError> {
        let asked = self.ask(ask)?;
        self.wait_for(asked)
    }

    fn done(&mut self, ask: Ask) -> Result<(), HandError> {
        if self.call(ask)? == Answer::Done { Ok(()) } else { Err(HandError::Kind) }
    }

    /// Runs a program to its end. A program that fails is no error here: look at [`Ran::end`].
    pub fn run(&mut self, program: Program, stdin: &[u8], deadline_ms: u32) -> Result<Ran, HandError> {
        let Answer::Ran(ran) = self.call(Ask::Run { program, stdin: stdin.to_vec(), deadline_ms })? else {
            return Err(HandError::Kind);
        };
        Ok(ran)
    }

    /// Starts a program that stays; its number, which is its process group too.
    pub fn spawn(&mut self, program: Program, log: &str) -> Result<u32, HandError> {
        let Answer::Process(process) = self.call(Ask::Spawn { program, log: log.to_owned() })? else {
            return Err(HandError::Kind);
        };
        Ok(process)
    }

    /// Sends a signal by number; a negative process means the group.
    pub fn signal(&mut self, process: i32, signal: i32) -> Result<(), HandError> {
        self.done(Ask::Signal { process, signal })
    }

    /// Waits for the end of a started program.
    pub fn wait(&mut self, process: u32, deadline_ms: u32) -> Result<End, HandError> {
        let Answer::Ended(end) = self.call(Ask::Wait { process, deadline_ms })? else { return Err(HandError::Kind) };
        Ok(end)
    }

    /// Whether a started program still runs.
    pub fn alive(&mut self, process: u32) -> Result<bool, HandError> {
        self.wait(process, 0).map(|end| end == End::Running)
    }

    /// Writes a file of any size.
    pub fn write_file(&mut self, path: &str, permissions: u32, bytes: &[u8]) -> Result<(), HandError> {
        let mut append = false;
        let mut parts = bytes.chunks(FILE_PART_BYTES_MAX);
        loop {
            let part = parts.next();
            if part.is_none() && append {
                return Ok(());
            }
            let bytes = part.unwrap_or_default().to_vec();
            self.done(Ask::WriteFile { path: path.to_owned(), permissions, append, bytes })?;
            append = true;
        }
    }

    /// Reads a whole file of at most so many bytes.
    pub fn read_file(&mut self, path: &str, bytes_max: u64) -> Result<Vec<u8>, HandError> {
        let mut bytes = Vec::new();
        loop {
            let ask = Ask::ReadFile { path: path.to_owned(), offset: bytes.len() as u64, bytes_max: u32::MAX };
            let Answer::Bytes(part) = self.call(ask)? else { return Err(HandError::Kind) };
            if part.is_empty() {
                return Ok(bytes);
            }
            bytes.extend(part);
            if bytes.len() as u64 > bytes_max {
                return Err(HandError::TooLarge { path: path.to_owned(), bytes_max });
            }
        }
    }

    /// Makes a folder and its parents.
    pub fn make_directory(&mut self, path: &str) -> Result<(), HandError> {
        self.done(Ask::MakeDirectory { path: path.to_owned() })
    }

    /// Mounts a file system; the folder is made when missing.
    pub fn mount(
        &mut self,
        source: &str,
        target: &str,
        kind: &str,
        flags: &[MountFlag],
        options: &str,
    ) -> Result<(), HandError> {
        self.done(Ask::Mount {
            source: source.to_owned(),
            target: target.to_owned(),
            kind: kind.to_owned(),
            flags: flags.to_vec(),
            options: options.to_owned(),
        })
    }

    /// Unmounts a folder.
    pub fn unmount(&mut self, target: &str) -> Result<(), HandError> {
        self.done(Ask::Unmount { target: target.to_owned() })
    }

    /// Sets the wall clock.
    pub fn set_time(&mut self, unix_s: i64, nanoseconds: u32) -> Result<(), HandError> {
        self.done(Ask::SetTime { unix_s, nanoseconds })
    }

    /// Clocks and memory.
    pub fn vitals(&mut self) -> Result<Vitals, HandError> {
        let Answer::Vitals(vitals) = self.call(Ask::Vitals)? else { return Err(HandError::Kind) };
        Ok(vitals)
    }

    /// All IPv6 addresses.
    pub fn addresses(&mut self) -> Result<Vec<Address>, HandError> {
        let Answer::Addresses(addresses) = self.call(Ask::Addresses)? else { return Err(HandError::Kind) };
        Ok(addresses)
    }

    /// The device file of the disk with this serial number.
    pub fn disk(&mut self, serial: &str, deadline_ms: u32) -> Result<String, HandError> {
        let Answer::Path(path) = self.call(Ask::Disk { serial: serial.to_owned(), deadline_ms })? else {
            return Err(HandError::Kind);
        };
        Ok(path)
    }

    /// Everything in the kernel's log.
    pub fn kernel_log(&mut self) -> Result<String, HandError> {
        let Answer::Bytes(bytes) = self.call(Ask::KernelLog)? else { return Err(HandError::Kind) };
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Loads a module that is in the first file system.
    pub fn load_module(&mut self, name: &str, parameters: &str) -> Result<(), HandError> {
        self.done(Ask::LoadModule { name: name.to_owned(), parameters: parameters.to_owned() })
    }

    /// Writes everything to the disks.
    pub fn sync(&mut self) -> Result<(), HandError> {
        self.done(Ask::Sync)
    }

    /// Chooses what the power button does; how often it was pressed until now.
    pub fn power_button(&mut self, powers_off: bool) -> Result<u32, HandError> {
        let Answer::Presses(presses) = self.call(Ask::PowerButton { powers_off })? else { return Err(HandError::Kind) };
        Ok(presses)
    }

    /// Ends the machine. It has understood when this comes back; the end itself shows elsewhere.
    pub fn end(&mut self, how: Ending) -> Result<(), HandError> {
        self.done(Ask::End { how })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn answers_find_their_request_in_any_order() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut hand = Hand::new(ours);
        let slow = hand.ask(Ask::Sync).unwrap();
        let quick = hand.ask(Ask::Vitals).unwrap();
        let asked: Vec<Request> = (0..2).map(|_| frame::receive(&mut theirs).unwrap()).collect();
        assert_eq!(asked[0].ask, Ask::Sync);
        let failure = Failure { doing: "look".to_owned(), why: "no".to_owned(), errno: Some(5) };
        for (request, answer) in asked.iter().rev().zip([Err(failure), Ok(Answer::Done)]) {
            frame::send(&mut theirs, &Reply { id: request.id, answer }).unwrap();
        }
        assert_eq!(hand.wait_for(slow).unwrap(), Answer::Done);
        assert_eq!(hand.wait_for(quick).unwrap_err().to_string(), "machine failed to look: no");
        drop(theirs);
        assert!(hand.sync().is_err());

        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut hand = hand.reconnected(ours);
        let asked = hand.ask(Ask::Sync).unwrap();
        let request: Request = frame::receive(&mut theirs).unwrap();
        for (id, answer) in [(1, Answer::Presses(1)), (request.id, Answer::Done)] {
            frame::send(&mut theirs, &Reply { id, answer: Ok(answer) }).unwrap();
        }
        assert_eq!(hand.wait_for(asked).unwrap(), Answer::Done);
        assert_eq!(hand.early, BTreeMap::new(), "a late answer was kept");
    }
}

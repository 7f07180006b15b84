// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the thread of a network owns: the switch, the stations behind its ports, and the loop that moves frames between
//! them and waits for descriptors, times and commands.

use super::gateway::Gateway;
use super::host::Host;
use super::qemu::QemuPort;
use super::switch::{PortId, Switch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::time::{Duration, Instant};

/// Commands, packets from joined networks among them, that wait for a network's thread; packets on top are dropped.
pub const INBOX_MAX: usize = 8192;

/// Turns of the stations before descriptors are looked at again.
const TURNS_MAX: usize = 64;

/// What is behind a port.
#[derive(Debug)]
pub(crate) enum Station {
    Qemu(QemuPort),
    Host(Box<Host>),
    Gateway(Box<Gateway>),
}

/// What a network's thread is asked to do.
pub(crate) enum Command {
    /// Runs between two turns.
    Call(Box<dyn FnOnce(&mut World) + Send>),
    /// Runs after every turn until it is true, or its time is over.
    Watch { check: Box<dyn FnMut(&World) -> bool + Send>, until: Instant },
    /// A packet that came through a join.
    Pass { port: PortId, join: usize, frame: Vec<u8> },
    /// The last handle is gone.
    Stop,
}

/// The way to a network's thread.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    commands: SyncSender<Command>,
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Bell {
    socket: UnixStream,
    rung: AtomicBool,
}

impl Inbox {
    pub(crate) fn new(commands: SyncSender<Command>, socket: UnixStream) -> Self {
        Self { commands, bell: Arc::new(Bell { socket, rung: AtomicBool::new(false) }) }
    }

    /// Waits for room; false if the network is gone.
    pub(crate) fn send(&self, command: Command) -> bool {
        let sent = self.commands.send(command).is_ok();
        self.ring();
        sent
    }

    /// Does not wait: false if the network is too busy. A network that is gone takes everything.
    fn try_send(&self, command: Command) -> bool {
        let sent = !matches!(self.commands.try_send(command), Err(TrySendError::Full(_)));
        self.ring();
        sent
    }

    fn ring(&self) {
        if !self.bell.rung.swap(true, Ordering::AcqRel) {
            // A full socket rings as well as one more byte.
            drop((&self.bell.socket).write(&[1]));
        }
    }
}

/// Everything behind one network.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) switch: Switch,
    pub(crate) stations: Vec<Station>,
    /// Where a gateway's joins lead: the other network, its port and the join's number there.
    pub(crate) joins: HashMap<(PortId, usize), (Inbox, PortId, usize)>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self { switch: Switch::new(seed), stations: Vec::new(), joins: HashMap::new() }
    }

    pub(crate) fn plug(&mut self, name: &str, station: Station) -> PortId {
        self.stations.push(station);
        self.switch.add(name)
    }

    /// Serves until `Stop`.
    pub(crate) fn run(mut self, inbox: &Inbox, commands: &Receiver<Command>, mut bell: UnixStream) {
        let mut watches = Vec::new();
        loop {
            inbox.bell.rung.store(false, Ordering::Release);
            loop {
                match commands.try_recv() {
                    Ok(Command::Call(call)) => call(&mut self),
                    Ok(Command::Watch { check, until }) => watches.push((check, until)),
                    Ok(Command::Pass { port, join, frame }) => {
                        if let Station::Gateway(gateway) = &mut self.stations[port] {
                            gateway.pass(join, frame, Instant::now());
                        }
                    }
                    Ok(Command::Stop) => return,
                    Err(_) => break,
                }
            }
            let next = self.turn();
            let now = Instant::now();
            watches.retain_mut(|(check, until)| !check(&self) && *until > now);
            self.wait(&mut bell, next);
        }
    }

    /// Moves frames until nothing is left to do now; returns when there will be.
    fn turn(&mut self) -> Option<Instant> {
        let mut next = None;
        for _ in 0..TURNS_MAX {
            let now = Instant::now();
            while let Some((to, frame)) = self.switch.pop_due(now) {
                self.deliver(to, frame, now);
            }
            next = None;
            for port in 0..self.stations.len() {
                let again = self.poll(port, now);
                next = [next, again].into_iter().flatten().min();
            }
            next = [next, self.switch.next_due()].into_iter().flatten().min();
            if next.is_none_or(|at| at > now) {
                break;
            }
        }
        next
    }

    fn deliver(&mut self, to: PortId, frame: Arc<Vec<u8>>, now: Instant) {
        let taken = match &mut self.stations[to] {
            Station::Qemu(qemu) => qemu.send(&frame),
            Station::Host(host) => host.frame(frame, now),
            Station::Gateway(gateway) => {
                gateway.frame(&frame, now);
                true
            }
        };
        self.switch.count(to, |counters| if taken { counters.delivered += 1 } else { counters.queue_full += 1 });
    }

    fn poll(&mut self, port: PortId, now: Instant) -> Option<Instant> {
        let (frames, next) = match &mut self.stations[port] {
            Station::Qemu(qemu) => (qemu.work(), None),
            Station::Host(host) => host.poll(now),
            Station::Gateway(gateway) => {
                let next = gateway.poll(now);
                let (frames, through) = gateway.take();
                for (join, frame) in through {
                    let Some((inbox, to, number)) = self.joins.get(&(port, join)) else { continue };
                    if !inbox.try_send(Command::Pass { port: *to, join: *number, frame }) {
                        self.switch.count(port, |counters| counters.queue_full += 1);
                    }
                }
                (frames, next)
            }
        };
        for frame in frames {
            self.switch.ingress(port, frame, now);
        }
        next
    }

    /// Sleeps until a descriptor is ready, the bell rings, or it is time.
    fn wait(&mut self, bell: &mut UnixStream, next: Option<Instant>) {
        let ready = self.ready(bell.as_fd(), next);
        for (port, slot, flags) in ready {
            let broken = flags.intersects(PollFlags::ERR | PollFlags::HUP);
            if let Station::Host(host) = &mut self.stations[port] {
                host.ready(slot, broken || flags.contains(PollFlags::IN), broken || flags.contains(PollFlags::OUT));
            }
        }
        let mut rings = [0; 64];
        // The bell does not block, and its bytes say nothing.
        drop(bell.read(&mut rings));
    }

    fn ready(&self, bell: BorrowedFd<'_>, next: Option<Instant>) -> Vec<(PortId, usize, PollFlags)> {
        let mut owners = Vec::new();
        let mut waiting = vec![PollFd::from_borrowed_fd(bell, PollFlags::IN)];
        for (port, station) in self.stations.iter().enumerate() {
            let mut wait = |fd, slot, read, write| {
                let mut flags = PollFlags::empty();
                flags.set(PollFlags::IN, read);
                flags.set(PollFlags::OUT, write);
                owners.push((port, slot));
                waiting.push(PollFd::from_borrowed_fd(fd, flags));
            };
            match station {
                Station::Qemu(qemu) => qemu.interests().for_each(|(fd, read, write)| wait(fd, 0, read, write)),
                Station::Host(host) => host.interests().for_each(|i| wait(i.fd, i.slot, i.read, i.write)),
                Station::Gateway(_) => {}
            }
        }
        let left = next.map(|at| at.saturating_duration_since(Instant::now()).min(Duration::from_secs(3600)));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        if poll(&mut waiting, left.as_ref()).is_err() {
            return Vec::new(); // interrupted: the next turn asks again
        }
        let flags = waiting.iter().skip(1).map(PollFd::revents);
        owners.into_iter().zip(flags).map(|((port, slot), flags)| (port, slot, flags)).collect()
    }
}

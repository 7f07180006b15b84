// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A host of the network that lives in this process: a TCP/IP stack in user space (smoltcp) behind which real programs on
//! `[::1]` stand. `forward` carries connections of such programs into the network, `expose` carries connections from the
//! network to them. Bytes go straight between the real socket and the stack's windows, so back-pressure, half-close and
//! reset pass in both directions.

use super::frame::{self, ALL_NODES, ALL_ROUTERS, ETHERNET_BYTES, Envelope, MTU_MIN, Mac, Packet, TCP, icmp, u16_at};
use super::slaac::Slaac;
use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr, Ipv6Cidr};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Window and send buffer of a connection, in bytes each: 100 ms of 40 Mbit/s.
pub const WINDOW_BYTES: usize = 512 << 10;
/// Connections of one host, those included that wait for their last packets.
pub const CONNECTIONS_MAX: usize = 256;
/// Sockets that listen at an exposed port; each is replaced as soon as a connection begins.
pub const BACKLOG: usize = 2;
/// Frames that wait for the stack, without the parts of the last acknowledgement.
pub const RECEIVE_FRAMES_MAX: usize = 4096;
/// How long a connection stays without an answer from the network before it is reset, as Linux does by default.
pub const SILENCE_MAX: Duration = Duration::from_secs(15 * 60);

/// Router solicitations of a host without a router (RFC 4861, section 10), and the pause between them.
const SOLICITS_MAX: u8 = 3;
const SOLICIT_PAUSE: Duration = Duration::from_secs(1);
/// Bytes of a TCP header without options.
const TCP_BYTES: usize = 20;
/// The MTU of Ethernet.
const MTU: usize = 1500;
/// Rounds of stack and sockets before other ports of the network have their turn.
const ROUNDS_MAX: usize = 16;
/// How long a host waits for an acknowledgement at least before it sends again: what Linux does.
pub const RETRANSMIT_AFTER: Duration = Duration::from_millis(200);
const PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;

/// A connection between a real socket and the stack.
#[derive(Debug)]
struct Flow {
    handle: SocketHandle,
    /// Gone once both directions are closed; the stack may still wait for its last acknowledgement.
    stream: Option<TcpStream>,
    /// The real socket may have bytes, or room. False after it said "would block", until poll says otherwise.
    readable: bool,
    writable: bool,
    /// The far address, with its port and ours, once the handshake is over.
    ends: Option<(Ipv6Addr, (u16, u16))>,
    /// What the far end has acknowledged last.
    acknowledged: Option<u32>,
    /// The program has closed its side, and the stack was told.
    program_done: bool,
    /// The far end has closed its side.
    peer_done: bool,
    /// … and the program was told.
    told: bool,
    /// Bytes for the program from a stack that is about to forget the connection (`TimeWait`); at most a window.
    rest: VecDeque<u8>,
}

#[derive(Debug)]
struct Forward {
    listener: TcpListener,
    to: SocketAddrV6,
}

#[derive(Debug)]
struct Expose {
    port: u16,
    to: SocketAddrV6,
    /// Sockets that listen or shake hands.
    waiting: Vec<SocketHandle>,
}

/// The stack's Ethernet card: queues of frames.
#[derive(Debug)]
struct Card {
    received: VecDeque<Arc<Vec<u8>>>,
    sent: Vec<Vec<u8>>,
    mtu: usize,
}

pub(crate) struct Host {
    mac: Mac,
    seed: u64,
    clock: Clock,
    slaac: Slaac,
    /// The least MTU that "Packet Too Big" told, for all destinations and for good.
    path_mtu: usize,
    solicits: (u8, Instant),
    card: Card,
    interface: Interface,
    sockets: SocketSet<'static>,
    flows: Vec<Flow>,
    forwards: Vec<Forward>,
    exposes: Vec<Expose>,
    next_port: u16,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("mac", &self.mac).field("slaac", &self.slaac).finish_non_exhaustive()
    }
}

/// A descriptor of a host, for poll: what it belongs to, and whether to wait for bytes and for room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interest<'h> {
    pub(crate) fd: BorrowedFd<'h>,
    pub(crate) slot: usize,
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Host {
    pub(crate) fn new(name: &str, seed: u64, now: Instant) -> Self {
        let mac = frame::mac_of(name);
        let clock = Clock { since: now, passed: Duration::ZERO, second: RETRANSMIT_AFTER };
        let mut card = Card { received: VecDeque::new(), sent: Vec::new(), mtu: MTU };
        let interface = interface(mac, seed, &mut card, clock.now(now));
        let mut host = Self {
            mac,
            seed,
            clock,
            slaac: Slaac::new(frame::interface_id(mac)),
            path_mtu: usize::MAX,
            solicits: (0, now),
            card,
            interface,
            sockets: SocketSet::new(Vec::new()),
            flows: Vec::new(),
            forwards: Vec::new(),
            exposes: Vec::new(),
            next_port: *PORTS.start(),
        };
        host.configure(now);
        host
    }

    pub(crate) fn fix(&mut self, address: Ipv6Addr, now: Instant) {
        self.slaac.fix(address, now);
        self.configure(now);
    }

    pub(crate) fn retransmit_after(&mut self, least: Duration, now: Instant) -> Result<()> {
        let range = Duration::from_millis(5)..=Duration::from_secs(1);
        ensure!(range.contains(&least), "a host retransmits after {range:?}, not after {least:?}");
        self.clock.set(least, now);
        Ok(())
    }

    pub(crate) fn preferred(&self, now: Instant) -> Vec<Ipv6Addr> {
        self.slaac.preferred(now)
    }

    /// The MTU in use, in bytes of an IPv6 packet.
    pub(crate) fn mtu(&self) -> usize {
        self.card.mtu
    }

    /// Listens on `[::1]` for programs that want to reach `to`.
    pub(crate) fn forward(&mut self, to: SocketAddrV6) -> Result<SocketAddrV6> {
        let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).context("listen on [::1]")?;
        listener.set_nonblocking(true).context("listen on [::1]")?;
        let SocketAddr::V6(at) = listener.local_addr()? else { anyhow::bail!("[::1] is no IPv6 address") };
        self.forwards.push(Forward { listener, to });
        Ok(at)
    }

    /// Listens in the network for connections to a program at `to`.
    pub(crate) fn expose(&mut self, port: u16, to: SocketAddrV6) -> Result<()> {
        ensure!(port > 0 && self.exposes.iter().all(|expose| expose.port != port), "port {port} cannot be exposed");
        ensure!(to.ip().is_loopback(), "a host exposes programs on [::1], not at {to}");
        self.exposes.push(Expose { port, to, waiting: Vec::new() });
        self.listen();
        Ok(())
    }

    /// Takes a frame; false if too many wait.
    pub(crate) fn frame(&mut self, frame: Arc<Vec<u8>>, now: Instant) -> bool {
        if let Some(packet) = Packet::parse(&frame) {
            let multicast = packet.to_mac[0] & 1 != 0;
            if packet.to_mac != self.mac && !multicast {
                return true;
            }
            self.overhear(&packet, now);
            self.divide(&packet);
        }
        let fits = self.card.received.len() < RECEIVE_FRAMES_MAX;
        if fits {
            self.card.received.push_back(frame);
        }
        fits
    }

    /// Puts an acknowledgement of many segments into the queue as one for each, and keeps the last for the caller. smoltcp
    /// opens its congestion window by a segment for each acknowledgement, not by what it acknowledges (RFC 3465); Linux
    /// sends one for a whole train, so that the window would grow by one segment in a round trip.
    fn divide(&mut self, packet: &Packet<'_>) {
        let Some((ports, number)) = acknowledgement(packet) else { return };
        let segment = self.card.mtu - frame::IPV6_BYTES - TCP_BYTES;
        let mine = |flow: &&mut Flow| flow.ends == Some((packet.source, ports));
        let Some(flow) = self.flows.iter_mut().find(mine) else { return };
        let before = *flow.acknowledged.get_or_insert(number);
        let advance = usize::try_from(number.wrapping_sub(before)).unwrap_or(usize::MAX);
        if advance > WINDOW_BYTES || self.card.received.len() >= RECEIVE_FRAMES_MAX {
            return; // an old one, which moves nothing, or no room
        }
        flow.acknowledged = Some(number);
        for part in (1..advance.div_ceil(segment)).filter_map(|count| u32::try_from(count * segment).ok()) {
            let envelope = Envelope {
                to_mac: packet.to_mac,
                from_mac: packet.from_mac,
                source: packet.source,
                destination: packet.destination,
                hop_limit: packet.hop_limit,
            };
            let mut header = packet.payload.to_vec();
            header[8..12].copy_from_slice(&before.wrapping_add(part).to_be_bytes());
            header[16..18].fill(0);
            let sum = frame::checksum(packet.source, packet.destination, TCP, &header);
            header[16..18].copy_from_slice(&sum.to_be_bytes());
            self.card.received.push_back(Arc::new(envelope.seal(TCP, &header)));
        }
    }

    /// What smoltcp does not act on: advertisements, "Packet Too Big" and "unreachable".
    fn overhear(&mut self, packet: &Packet<'_>, now: Instant) {
        match packet.icmp() {
            Some((icmp::ROUTER_ADVERT, 0, body))
                if packet.hop_limit == 255
                    && packet.source.is_unicast_link_local()
                    && packet.destination == ALL_NODES =>
            {
                self.slaac.advertisement(packet.source, body, now);
                self.configure(now);
            }
            Some((icmp::TOO_BIG, _, body)) => {
                let told = frame::u32_at(body, 0).and_then(|mtu| usize::try_from(mtu).ok());
                if let Some(mtu) = told.filter(|mtu| *mtu < self.path_mtu) {
                    self.path_mtu = mtu.max(MTU_MIN);
                    self.configure(now);
                }
            }
            Some((icmp::UNREACHABLE, _, body)) => self.refused(body),
            _ => {}
        }
    }

    /// Gives up a connection attempt that the network refuses. Established ones go on trying (RFC 5461, section 4.2).
    fn refused(&mut self, body: &[u8]) {
        let Some((_, to, TCP, start)) = frame::quoted(body) else { return };
        let (from_port, to_port) = (u16_at(start, 0), u16_at(start, 2));
        for flow in &self.flows {
            let socket = self.sockets.get_mut::<Socket<'_>>(flow.handle);
            let from_here = socket.local_endpoint().map(|end| end.port) == from_port;
            let to_there = socket.remote_endpoint().map(|end| (end.addr, Some(end.port)));
            if socket.state() == State::SynSent && from_here && to_there == Some((IpAddress::Ipv6(to), to_port)) {
                socket.abort();
            }
        }
    }

    /// Brings the stack's addresses, routes and MTU to what the network says.
    fn configure(&mut self, now: Instant) {
        let announced = self.slaac.mtu().and_then(|mtu| usize::try_from(mtu).ok()).unwrap_or(MTU);
        let mtu = announced.clamp(MTU_MIN, MTU).min(self.path_mtu);
        if mtu != self.card.mtu {
            // smoltcp reads a card's MTU once; sockets live outside of the interface and go on.
            self.card.mtu = mtu;
            self.interface = interface(self.mac, self.seed, &mut self.card, self.clock.now(now));
        }
        let held = [frame::link_local(self.mac)].into_iter().chain(self.slaac.held());
        let wanted: Vec<_> = held.map(|address| IpCidr::Ipv6(Ipv6Cidr::new(address, 64))).collect();
        if self.interface.ip_addrs() != wanted {
            self.interface.update_ip_addrs(|addresses| {
                addresses.clear();
                // More than the stack takes cannot come: `slaac` holds fewer.
                addresses.extend(wanted);
            });
        }
        let routes = self.interface.routes_mut();
        match self.slaac.router() {
            // The table has room for one: the old default route is replaced.
            Some(router) => drop(routes.add_default_ipv6_route(router)),
            None => drop(routes.remove_default_ipv6_route()),
        }
    }

    /// Descriptors to wait for.
    pub(crate) fn interests(&self) -> impl Iterator<Item = Interest<'_>> {
        let room = self.flows.len() < CONNECTIONS_MAX;
        let listeners = self.forwards.iter().filter(move |_| room).map(|forward| Interest {
            fd: forward.listener.as_fd(),
            slot: usize::MAX,
            read: true,
            write: false,
        });
        let flows = self.flows.iter().enumerate().filter_map(|(slot, flow)| {
            let socket = self.sockets.get::<Socket<'_>>(flow.handle);
            let read = !flow.readable && !flow.program_done && socket.can_send();
            let write = !flow.writable && (socket.can_recv() || !flow.rest.is_empty());
            let fd = flow.stream.as_ref()?.as_fd();
            (read || write).then_some(Interest { fd, slot, read, write })
        });
        listeners.chain(flows)
    }

    /// Notes what poll said about a descriptor.
    pub(crate) fn ready(&mut self, slot: usize, read: bool, write: bool) {
        if let Some(flow) = self.flows.get_mut(slot) {
            flow.readable |= read;
            flow.writable |= write;
        }
    }

    /// Moves frames and bytes as far as they go; returns the frames to send and when to come again.
    pub(crate) fn poll(&mut self, now: Instant) -> (Vec<Vec<u8>>, Option<Instant>) {
        if self.slaac.next_change().is_some_and(|at| at <= now) {
            self.slaac.expire(now);
            self.configure(now);
        }
        self.solicit(now);
        self.accept(now);
        let stack_now = self.clock.now(now);
        let mut again = None;
        for _ in 0..ROUNDS_MAX {
            self.interface.poll_maintenance(stack_now);
            self.receive(stack_now);
            while self.interface.poll_egress(stack_now, &mut self.card, &mut self.sockets) != PollResult::None {}
            self.arrivals();
            let moved = (0..self.flows.len()).map(|slot| self.pump(slot)).filter(|moved| *moved).count();
            again = self.interface.poll_delay(stack_now, &self.sockets);
            if moved == 0 && again != Some(smoltcp::time::Duration::ZERO) {
                break;
            }
        }
        self.bury();
        let stack = again.map(|delay| now + self.clock.real(delay));
        let solicit = (self.soliciting()).then_some(self.solicits.1);
        let next = [stack, solicit, self.slaac.next_change()].into_iter().flatten().min();
        (std::mem::take(&mut self.card.sent), next)
    }

    fn soliciting(&self) -> bool {
        self.solicits.0 < SOLICITS_MAX && self.slaac.router().is_none()
    }

    fn solicit(&mut self, now: Instant) {
        if !self.soliciting() || self.solicits.1 > now {
            return;
        }
        self.solicits = (self.solicits.0 + 1, now + SOLICIT_PAUSE);
        let envelope = Envelope {
            to_mac: frame::multicast_mac(ALL_ROUTERS),
            from_mac: self.mac,
            source: frame::link_local(self.mac),
            destination: ALL_ROUTERS,
            hop_limit: 255,
        };
        let mut body = vec![0, 0, 0, 0, 1, 1];
        body.extend(self.mac);
        self.card.sent.push(envelope.icmp(icmp::ROUTER_SOLICIT, 0, &body));
    }

    /// Takes programs that connected to a forward, and dials for them.
    fn accept(&mut self, now: Instant) {
        for number in 0..self.forwards.len() {
            while self.flows.len() < CONNECTIONS_MAX {
                let Ok((stream, _)) = self.forwards[number].listener.accept() else { break };
                let to = self.forwards[number].to;
                match self.dial(to, now).filter(|_| prepare(&stream)) {
                    Some(handle) => self.flows.push(Flow::new(handle, stream)),
                    None => reset(&stream),
                }
            }
        }
    }

    fn dial(&mut self, to: SocketAddrV6, now: Instant) -> Option<SocketHandle> {
        let from = if to.ip().is_unicast_link_local() {
            frame::link_local(self.mac)
        } else {
            self.slaac.source_for(*to.ip(), now)?
        };
        let mut socket = new_socket(&self.clock);
        let remote = (IpAddress::Ipv6(*to.ip()), to.port());
        let port = self.free_port()?;
        socket.connect(self.interface.context(), remote, (IpAddress::Ipv6(from), port)).ok()?;
        Some(self.sockets.add(socket))
    }

    fn free_port(&mut self) -> Option<u16> {
        let taken: Vec<u16> = self
            .flows
            .iter()
            .filter_map(|flow| self.sockets.get::<Socket<'_>>(flow.handle).local_endpoint())
            .map(|end| end.port)
            .chain(self.exposes.iter().map(|expose| expose.port))
            .collect();
        PORTS.into_iter().find_map(|_| {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(*PORTS.start());
            (!taken.contains(&port)).then_some(port)
        })
    }

    /// Gives the stack the frames that wait, and a fresh listening socket for every connection that begins: smoltcp has
    /// no backlog and would reset a burst of them.
    fn receive(&mut self, stack_now: smoltcp::time::Instant) {
        while let Some(begins) = self.card.received.front().map(|frame| begins_connection(frame)) {
            self.interface.poll_ingress_single(stack_now, &mut self.card, &mut self.sockets);
            if begins {
                self.listen();
            }
        }
    }

    /// Keeps `BACKLOG` sockets listening for every exposed port.
    fn listen(&mut self) {
        let waiting: usize = self.exposes.iter().map(|expose| expose.waiting.len()).sum();
        let mut room = CONNECTIONS_MAX.saturating_sub(self.flows.len() + waiting);
        for expose in &mut self.exposes {
            let listening = |handle: &&SocketHandle| self.sockets.get::<Socket<'_>>(**handle).state() == State::Listen;
            let mut ready = expose.waiting.iter().filter(listening).count();
            while ready < BACKLOG && room > 0 {
                let mut socket = new_socket(&self.clock);
                if socket.listen(expose.port).is_err() {
                    break;
                }
                expose.waiting.push(self.sockets.add(socket));
                (room, ready) = (room - 1, ready + 1);
            }
        }
    }

    /// Connects the program to what has arrived at an exposed port.
    fn arrivals(&mut self) {
        let mut arrived = Vec::new();
        for expose in &mut self.exposes {
            let to = expose.to;
            expose.waiting.retain(|handle| {
                let state = self.sockets.get::<Socket<'_>>(*handle).state();
                let waits = matches!(state, State::Listen | State::SynReceived);
                if !waits {
                    arrived.push((*handle, to));
                }
                waits
            });
        }
        for (handle, to) in &arrived {
            match connect(*to) {
                Ok(stream) => self.flows.push(Flow::new(*handle, stream)),
                Err(_) => {
                    self.sockets.get_mut::<Socket<'_>>(*handle).abort();
                    self.flows.push(Flow::done(*handle));
                }
            }
        }
        if !arrived.is_empty() {
            self.listen();
        }
    }

    /// Moves bytes of one connection in both directions; true if something moved.
    fn pump(&mut self, slot: usize) -> bool {
        let Self { flows, sockets, .. } = self;
        let Some(flow) = flows.get_mut(slot) else { return false };
        let socket = sockets.get_mut::<Socket<'_>>(flow.handle);
        let Some(stream) = &mut flow.stream else { return false };
        let mut moved = false;
        if flow.ends.is_none() && socket.state() == State::Established {
            // Only now: a handshake that outlasts the first timeout would end Reno's slow start before it began.
            socket.set_congestion_control(CongestionControl::Reno);
            flow.ends = ends(socket);
        }
        while flow.readable && !flow.program_done && socket.can_send() {
            match socket.send(|room| take(stream.read(room))) {
                Ok(Moved::Bytes) => moved = true,
                Ok(Moved::Blocked) => flow.readable = false,
                Ok(Moved::End) => {
                    socket.close();
                    (flow.program_done, moved) = (true, true);
                }
                Ok(Moved::Broken) | Err(_) => return flow.break_off(socket),
            }
        }
        // `can_send` is false once the far end is gone, so a reset must not wait for it.
        flow.peer_done |=
            matches!(socket.state(), State::CloseWait | State::LastAck | State::Closing | State::TimeWait);
        if socket.state() == State::TimeWait && socket.can_recv() {
            // The stack forgets what is unread when this state ends; a slow program still wants it.
            moved |= socket.recv(|bytes| (bytes.len(), flow.rest.extend(&*bytes))).is_ok();
        }
        while flow.writable && !flow.rest.is_empty() {
            match take(stream.write(flow.rest.as_slices().0)) {
                (count, Moved::Bytes) => drop(flow.rest.drain(..count)),
                (_, Moved::Blocked) => flow.writable = false,
                (_, Moved::End | Moved::Broken) => return flow.break_off(socket),
            }
        }
        while flow.writable && flow.rest.is_empty() && socket.can_recv() {
            match socket.recv(|bytes| take(stream.write(bytes))) {
                Ok(Moved::Bytes) => moved = true,
                Ok(Moved::Blocked) => flow.writable = false,
                Ok(Moved::End | Moved::Broken) | Err(_) => return flow.break_off(socket),
            }
        }
        if flow.peer_done && !flow.told && flow.rest.is_empty() && !socket.can_recv() {
            flow.told = true;
            // The program may be gone already; its own end shows that.
            drop(stream.shutdown(Shutdown::Write));
            moved = true;
        }
        if flow.told && flow.program_done {
            flow.stream = None;
        } else if socket.state() == State::Closed && !(flow.peer_done && flow.program_done) {
            reset(stream);
            flow.stream = None;
        }
        moved
    }

    /// Forgets connections that both ends have forgotten.
    fn bury(&mut self) {
        let before = self.flows.len();
        self.flows.retain(|flow| {
            // A reset that was not yet sent keeps its socket: it still knows its far end.
            let socket = self.sockets.get::<Socket<'_>>(flow.handle);
            let gone = flow.stream.is_none() && socket.state() == State::Closed && socket.remote_endpoint().is_none();
            if gone {
                self.sockets.remove(flow.handle);
            }
            !gone
        });
        if self.flows.len() < before {
            self.listen();
        }
    }
}

impl Flow {
    fn new(handle: SocketHandle, stream: TcpStream) -> Self {
        Self {
            handle,
            stream: Some(stream),
            ends: None,
            acknowledged: None,
            readable: true,
            writable: true,
            program_done: false,
            peer_done: false,
            told: false,
            rest: VecDeque::new(),
        }
    }

    /// A connection that only waits for its reset to leave.
    fn done(handle: SocketHandle) -> Self {
        Self {
            handle,
            stream: None,
            ends: None,
            acknowledged: None,
            readable: false,
            writable: false,
            program_done: true,
            peer_done: true,
            told: true,
            rest: VecDeque::new(),
        }
    }

    /// The program is gone: the far end learns it by a reset.
    fn break_off(&mut self, socket: &mut Socket<'_>) -> bool {
        socket.abort();
        self.stream = None;
        true
    }
}

/// Both ports and the number of a segment that only acknowledges, without options.
fn acknowledgement(packet: &Packet<'_>) -> Option<((u16, u16), u32)> {
    let header = packet.payload;
    let plain = packet.next_header == TCP && header.len() == TCP_BYTES && header[12] >> 4 == 5 && header[13] == 0x10;
    plain.then(|| Some(((u16_at(header, 0)?, u16_at(header, 2)?), frame::u32_at(header, 8)?)))?
}

fn ends(socket: &Socket<'_>) -> Option<(Ipv6Addr, (u16, u16))> {
    let (far, near) = (socket.remote_endpoint()?, socket.local_endpoint()?);
    let IpAddress::Ipv6(address) = far.addr;
    Some((address, (far.port, near.port)))
}

/// Whether a frame holds a TCP segment with SYN and without ACK.
fn begins_connection(frame: &[u8]) -> bool {
    let segment = Packet::parse(frame).filter(|packet| packet.next_header == TCP);
    segment.and_then(|packet| packet.payload.get(13)).is_some_and(|flags| flags & 0x12 == 0x02)
}

/// What one call to a real socket did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    Bytes,
    Blocked,
    End,
    Broken,
}

/// Bytes moved, for the stack, and what that means.
fn take(result: std::io::Result<usize>) -> (usize, Moved) {
    match result {
        Ok(0) => (0, Moved::End),
        Ok(count) => (count, Moved::Bytes),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => (0, Moved::Blocked),
        Err(_) => (0, Moved::Broken),
    }
}

fn prepare(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).is_ok()
}

/// Begins a connection to a real program without waiting for it; reads and writes block until it stands.
fn connect(to: SocketAddrV6) -> std::io::Result<TcpStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(AddressFamily::INET6, SocketType::STREAM, flags, None)?;
    match net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(e) => return Err(e.into()),
    }
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Makes the kernel send a reset when the stream is dropped.
fn reset(stream: &TcpStream) {
    // If the kernel refuses, the program sees a plain end instead.
    net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).ok();
}

fn new_socket(clock: &Clock) -> Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; WINDOW_BYTES]);
    let mut socket = Socket::new(buffer(), buffer());
    socket.set_nagle_enabled(false);
    socket.set_timeout(Some(clock.stack(SILENCE_MAX).into()));
    socket
}

/// The stack's clock. smoltcp retransmits after one second at the earliest; so its seconds are made as short as the least
/// retransmission timeout that is wanted.
#[derive(Clone, Copy, Debug)]
struct Clock {
    since: Instant,
    /// Seconds of the stack until `since`.
    passed: Duration,
    second: Duration,
}

impl Clock {
    fn now(&self, now: Instant) -> smoltcp::time::Instant {
        let micros = (self.passed + self.stack(now.saturating_duration_since(self.since))).as_micros();
        smoltcp::time::Instant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    /// How long a time is for the stack.
    fn stack(&self, time: Duration) -> Duration {
        time.div_f64(self.second.as_secs_f64())
    }

    /// How long a time of the stack is.
    fn real(&self, time: smoltcp::time::Duration) -> Duration {
        Duration::from_micros(time.total_micros()).mul_f64(self.second.as_secs_f64())
    }

    fn set(&mut self, second: Duration, now: Instant) {
        let passed = self.passed + self.stack(now.saturating_duration_since(self.since));
        *self = Self { since: now, passed, second };
    }
}

fn interface(mac: Mac, seed: u64, card: &mut Card, now: smoltcp::time::Instant) -> Interface {
    let mut config = Config::new(EthernetAddress(mac).into());
    config.random_seed = seed ^ card.mtu as u64;
    Interface::new(config, card, now)
}

impl Device for Card {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received, Sending<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Received(frame), Sending(&mut self.sent)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + ETHERNET_BYTES;
        capabilities
    }
}

#[derive(Debug)]
struct Received(Arc<Vec<u8>>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

#[derive(Debug)]
struct Sending<'c>(&'c mut Vec<Vec<u8>>);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; length];
        let result = write(&mut frame);
        self.0.push(frame);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xad17, 0, 0, 0, 0, 0, 5);

    fn acknowledge(host: &Host, number: u32) -> Vec<u8> {
        let mut header = vec![0x11, 0x51, 0xc0, 0x00, 0, 0, 0, 1];
        header.extend(number.to_be_bytes());
        header.extend([0x50, 0x10, 0x80, 0, 0, 0, 0, 0]);
        let envelope = Envelope {
            to_mac: host.mac,
            from_mac: [2; 6],
            source: PEER,
            destination: frame::link_local(host.mac),
            hop_limit: 64,
        };
        envelope.seal(TCP, &header)
    }

    #[test]
    fn an_acknowledgement_of_many_segments_becomes_one_for_each() {
        let now = Instant::now();
        let mut host = Host::new("admin", 1, now);
        let listener = TcpListener::bind("[::1]:0").expect("listen");
        let stream = TcpStream::connect(listener.local_addr().expect("address")).expect("dial");
        let handle = host.sockets.add(new_socket(&host.clock));
        let mut flow = Flow::new(handle, stream);
        flow.ends = Some((PEER, (0x1151, 0xc000)));
        host.flows.push(flow);
        let mut numbers = |number| {
            let last = Arc::new(acknowledge(&host, number));
            assert!(host.frame(Arc::clone(&last), now));
            let number_of = |frame: Arc<Vec<u8>>| {
                let packet = Packet::parse(&frame).expect("packet");
                assert!(frame::checksum(packet.source, packet.destination, TCP, packet.payload) == 0 || frame == last);
                acknowledgement(&packet).expect("acknowledgement").1
            };
            host.card.received.drain(..).map(number_of).collect::<Vec<_>>()
        };
        assert_eq!(numbers(u32::MAX - 1439), [u32::MAX - 1439], "the first has nothing to be measured by");
        assert_eq!(numbers(1440 * 2 + 7), [0, 1440, 2880, 2887], "also over the end of the numbers");
        assert_eq!(numbers(2887), [2887], "a duplicate stays one");
        assert_eq!(numbers(1440), [1440], "and so does an old one");
        assert_eq!(numbers(2887 + 1440), [4327]);
    }

    #[test]
    fn the_clock_keeps_its_time_when_its_speed_changes() {
        let start = Instant::now();
        let mut clock = Clock { since: start, passed: Duration::ZERO, second: Duration::from_millis(200) };
        let later = start + Duration::from_secs(1);
        assert_eq!(clock.now(later).total_millis(), 5000);
        clock.set(Duration::from_millis(20), later);
        assert_eq!(clock.now(later).total_millis(), 5000);
        assert_eq!(clock.now(later + Duration::from_secs(1)).total_millis(), 55_000);
        assert_eq!(clock.real(smoltcp::time::Duration::from_secs(1)), Duration::from_millis(20));
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The handles of a network, as a scenario holds them: `Lan` and, within it, ports, hosts and gateways. They are cheap to
//! clone; when the last is gone, the network's thread ends and its sockets are removed.

use super::advertise::{Announcement, DOMAINS_MAX, parse_network};
use super::capture::{CAPTURE_BYTES_MAX, Capture};
use super::dns::Zone;
use super::fault::{Counters, Faults};
use super::gateway;
use super::host;
use super::qemu::QemuPort;
use super::router::{Core, Side};
use super::switch::PortId;
pub use super::world::INBOX_MAX;
use super::world::{Command, Inbox, Station, World};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::fs::{DirBuilder, remove_dir_all};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a network's thread may take to answer, and a host to get its first address.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Bytes of a network's or a port's name: it is part of a socket's path, which is short.
pub const PORT_NAME_BYTES_MAX: usize = 24;

/// Sets the directories of several networks of one process apart.
static DIRECTORIES: AtomicU64 = AtomicU64::new(0);

/// One network.
#[derive(Clone, Debug)]
pub struct Lan {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    seed: u64,
    inbox: Inbox,
    directory: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.inbox.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has shown itself already: every call to it failed.
            drop(thread.join());
        }
        // What is left of a directory is found by the next person; nothing depends on it.
        drop(remove_dir_all(&self.directory));
    }
}

impl Lan {
    /// Makes a network and its thread. All chance in it comes from `seed`.
    ///
    /// # Errors
    /// The name is not one, or there is no room for sockets in the directory of temporary files.
    pub fn new(name: &str, seed: u64) -> Result<Self> {
        check_name(name)?;
        let number = DIRECTORIES.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("adit-net-{}-{number}-{name}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&directory).with_context(|| format!("make {}", directory.display()))?;
        let (commands, receiver) = sync_channel(INBOX_MAX);
        let (bell, ringer) = UnixStream::pair().context("make a bell")?;
        bell.set_nonblocking(true)?;
        ringer.set_nonblocking(true)?;
        let inbox = Inbox::new(commands, ringer);
        let of_thread = inbox.clone();
        let thread = std::thread::Builder::new()
            .name(format!("net {name}"))
            .spawn(move || World::new(seed).run(&of_thread, &receiver, bell))
            .context("start the network's thread")?;
        let name = name.to_owned();
        Ok(Self { shared: Arc::new(Shared { name, seed, inbox, directory, thread: Some(thread) }) })
    }

    /// The seed of all chance in this network; printed with a failure it repeats it.
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// Begins a router of this network: `prefix`, `rdnss` and the others say what it announces, `start` starts it.
    pub fn router(&self) -> Announce {
        Announce {
            lan: self.clone(),
            name: "router".to_owned(),
            networks: Vec::new(),
            names: Vec::new(),
            announcement: Announcement::default(),
        }
    }

    /// Makes a port for a QEMU machine; the path is for `-netdev stream,id=n0,server=off,addr.type=unix,addr.path=…`.
    ///
    /// # Errors
    /// The name is taken, or the socket cannot be made.
    pub fn qemu_port(&self, name: &str) -> Result<PathBuf> {
        check_name(name)?;
        let path = self.shared.directory.join(format!("{name}.sock"));
        let station = Station::Qemu(QemuPort::listen(&path)?);
        self.plug(name, station)?;
        Ok(path)
    }

    /// Makes a host in this process whose address comes from router advertisements.
    ///
    /// # Errors
    /// The name is taken.
    pub fn host(&self, name: &str) -> Result<Host> {
        check_name(name)?;
        let seed = self.shared.seed ^ super::fault::hash(name);
        let host = host::Host::new(name, seed, Instant::now());
        let port = self.plug(name, Station::Host(Box::new(host)))?;
        Ok(Host { lan: self.clone(), port })
    }

    /// The handle of a port by its name; a router's port is `router` unless it was named.
    ///
    /// # Errors
    /// There is no such port.
    pub fn port(&self, name: &str) -> Result<Port> {
        let wanted = name.to_owned();
        let found = self.call(move |world| {
            let names = || world.switch.ports.iter().map(|port| port.name.clone()).collect::<Vec<_>>();
            world.switch.find(&wanted).ok_or_else(names)
        })?;
        let id = found.map_err(|names| anyhow!("no port {name} in {}, only {names:?}", self.shared.name))?;
        Ok(Port { lan: self.clone(), id })
    }

    /// Changes the faults between every two ports; each port's own come on top.
    ///
    /// # Errors
    /// The network's thread is gone.
    pub fn faults(&self, change: impl FnOnce(&mut Faults) + Send + 'static) -> Result<()> {
        self.call(|world| change(&mut world.switch.faults))
    }

    /// Parts two ports from each other; both still reach the others.
    ///
    /// # Errors
    /// There is no such port.
    pub fn part(&self, one: &str, other: &str) -> Result<()> {
        let (one, other) = (self.port(one)?.id, self.port(other)?.id);
        self.call(move |world| world.switch.part(one, other, true))
    }

    /// Joins two ports again.
    ///
    /// # Errors
    /// There is no such port.
    pub fn heal(&self, one: &str, other: &str) -> Result<()> {
        let (one, other) = (self.port(one)?.id, self.port(other)?.id);
        self.call(move |world| world.switch.part(one, other, false))
    }

    /// What became of the frames of all ports.
    ///
    /// # Errors
    /// The network's thread is gone.
    pub fn counters(&self) -> Result<Counters> {
        self.call(|world| world.switch.counters)
    }

    /// Waits until the counters satisfy `check`.
    ///
    /// # Errors
    /// They do not within `within`; `what` names the event in the message.
    pub fn wait(&self, what: &str, within: Duration, check: impl Fn(&Counters) -> bool + Send + 'static) -> Result<()> {
        self.watch(what, within, move |world| check(&world.switch.counters).then_some(()))
    }

    /// Writes every frame to a file from now on, up to `CAPTURE_BYTES_MAX`. It is complete when the network is gone, or
    /// another capture began.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn capture(&self, path: &Path) -> Result<()> {
        let capture = Capture::create(path, CAPTURE_BYTES_MAX)?;
        self.call(|world| world.switch.capture = Some(capture))
    }

    fn plug(&self, name: &str, station: Station) -> Result<PortId> {
        let owned = name.to_owned();
        let port = self.call(move |world| {
            let free = world.switch.find(&owned).is_none();
            free.then(|| world.plug(&owned, station))
        })?;
        port.with_context(|| format!("{} has a port {name} already", self.shared.name))
    }

    /// Has the network's thread run `call`, and waits for its result.
    fn call<T: Send + 'static>(&self, call: impl FnOnce(&mut World) -> T + Send + 'static) -> Result<T> {
        let (answer, answers) = sync_channel(1);
        self.shared.inbox.send(Command::Call(Box::new(move |world| {
            // Who stopped waiting needs no answer.
            drop(answer.send(call(world)));
        })));
        answers.recv_timeout(ANSWER_MAX).with_context(|| format!("ask network {}", self.shared.name))
    }

    /// Has the network's thread ask `check` after each turn, until it has a value.
    fn watch<T: Send + 'static>(
        &self,
        what: &str,
        within: Duration,
        check: impl Fn(&World) -> Option<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answers) = sync_channel(1);
        let check = Box::new(move |world: &World| {
            let value = check(world);
            let seen = value.is_some();
            // Who stopped waiting needs no answer.
            drop(value.map(|value| answer.send(value)));
            seen
        });
        self.shared.inbox.send(Command::Watch { check, until: Instant::now() + within });
        let within_text = || format!("wait in network {} for {what}, at most {within:?}", self.shared.name);
        answers.recv_timeout(within).with_context(within_text)
    }
}

fn check_name(name: &str) -> Result<()> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    ensure!(plain && (1..=PORT_NAME_BYTES_MAX).contains(&name.len()), "{name:?} is no name of a network or a port");
    Ok(())
}

/// One port of a network.
#[derive(Clone, Debug)]
pub struct Port {
    lan: Lan,
    id: PortId,
}

impl Port {
    /// Pulls the cable: what is sent by or to the port, or under way to it, is lost. A guest does not see its carrier go.
    ///
    /// # Errors
    /// The network's thread is gone.
    pub fn down(&self) -> Result<()> {
        self.set(false)
    }

    /// Plugs the cable in again.
    ///
    /// # Errors
    /// The network's thread is gone.
    pub fn up(&self) -> Result<()> {
        self.set(true)
    }

    fn set(&self, up: bool) -> Result<()> {
        let id = self.id;
        self.lan.call(move |world| world.switch.ports[id].up = up)
    }

    /// Changes the faults of this port's cable, in both directions.
    ///
    /// # Errors
    /// The network's thread is gone.
    pub fn faults(&self, change: impl FnOnce(&mut Faults) + Send + 'static) -> Result<()> {
        let id = self.id;
        self.lan.call(move |world| change(&mut world.switch.ports[id].faults))
    }

    /// What became of the frames of this port: of those it sent until they left its cable, of the others on their way to it.
    ///
    /// # Errors
    /// The network's thread is gone.
    pub fn counters(&self) -> Result<Counters> {
        let id = self.id;
        self.lan.call(move |world| world.switch.ports[id].counters)
    }

    /// Waits until a machine has connected to this QEMU port.
    ///
    /// # Errors
    /// None does within `within`, or it is a port of another kind.
    pub fn wait_machine(&self, within: Duration) -> Result<()> {
        let id = self.id;
        let connected = move |world: &World| match &world.stations[id] {
            Station::Qemu(qemu) => qemu.connected().then_some(()),
            Station::Host(_) | Station::Gateway(_) => None,
        };
        self.lan.watch("a machine at its port", within, connected)
    }
}

/// A host in this process. Programs of this machine take part in the network through it.
#[derive(Clone, Debug)]
pub struct Host {
    lan: Lan,
    port: PortId,
}

impl Host {
    /// Gives the host one more address, for ever; its network is the 64 bits before.
    ///
    /// # Errors
    /// The address is not one of a single host.
    pub fn fixed(&self, address: Ipv6Addr) -> Result<()> {
        let single = !address.is_multicast() && !address.is_unspecified() && !address.is_loopback();
        ensure!(single, "{address} cannot be a host's address");
        self.call(move |host| host.fix(address, Instant::now()))
    }

    /// The newest address that is not deprecated, waiting for the first.
    ///
    /// # Errors
    /// None comes within `ANSWER_MAX`.
    pub fn address(&self) -> Result<Ipv6Addr> {
        self.wait_address("an address", ANSWER_MAX, |addresses| addresses.first().copied())
    }

    /// An address in this network of 64 bits, waiting for it.
    ///
    /// # Errors
    /// None comes within `within`.
    pub fn address_in(&self, network: &str, within: Duration) -> Result<Ipv6Addr> {
        let wanted = u128::from(parse_network(network)?) >> 64;
        self.wait_address(network, within, move |addresses| {
            addresses.iter().copied().find(|address| u128::from(*address) >> 64 == wanted)
        })
    }

    /// All addresses that are not deprecated, newest first, without the link-local one.
    ///
    /// # Errors
    /// The network's thread is gone.
    pub fn addresses(&self) -> Result<Vec<Ipv6Addr>> {
        self.call(|host| host.preferred(Instant::now()))
    }

    /// The MTU that the host uses, from advertisements and "Packet Too Big", in bytes of a packet.
    ///
    /// # Errors
    /// The network's thread is gone.
    pub fn mtu(&self) -> Result<usize> {
        self.call(|host| host.mtu())
    }

    /// How long the host waits at least before it sends again; `RETRANSMIT_AFTER` by default, 5 ms to 1 s. It must be
    /// longer than a round trip. The host's TCP has no selective acknowledgement: where many packets are lost on a fast
    /// network, a short wait makes up for it.
    ///
    /// # Errors
    /// It is outside of the range.
    pub fn retransmit_after(&self, least: Duration) -> Result<()> {
        self.call(move |host| host.retransmit_after(least, Instant::now()))?
    }

    /// A listener on `[::1]` whose connections are carried to `to` in the network. It accepts at once; a connection that
    /// the network refuses is reset afterwards.
    ///
    /// # Errors
    /// No port of `[::1]` is free.
    pub fn forward(&self, to: SocketAddrV6) -> Result<SocketAddrV6> {
        self.call(move |host| host.forward(to))?
    }

    /// Carries connections to this port of the host to a program at `to` on `[::1]`.
    ///
    /// # Errors
    /// The port is exposed already, or `to` is not on `[::1]`.
    pub fn expose(&self, port: u16, to: SocketAddrV6) -> Result<()> {
        self.call(move |host| host.expose(port, to))?
    }

    fn wait_address(
        &self,
        what: &str,
        within: Duration,
        pick: impl Fn(&[Ipv6Addr]) -> Option<Ipv6Addr> + Send + 'static,
    ) -> Result<Ipv6Addr> {
        let port = self.port;
        self.lan.watch(what, within, move |world| match &world.stations[port] {
            Station::Host(host) => pick(&host.preferred(Instant::now())),
            Station::Qemu(_) | Station::Gateway(_) => None,
        })
    }

    fn call<T: Send + 'static>(&self, call: impl FnOnce(&mut host::Host) -> T + Send + 'static) -> Result<T> {
        let port = self.port;
        let answer = self.lan.call(move |world| match &mut world.stations[port] {
            Station::Host(host) => Some(call(host)),
            Station::Qemu(_) | Station::Gateway(_) => None,
        })?;
        answer.context("the port is not a host's")
    }
}

/// A router that is being described.
#[derive(Clone, Debug)]
#[must_use = "a router advertises once it is started"]
pub struct Announce {
    lan: Lan,
    name: String,
    networks: Vec<String>,
    names: Vec<(String, Ipv6Addr)>,
    announcement: Announcement,
}

impl Announce {
    /// The port's name, `router` by default. A second router needs another.
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Announces a network of 64 bits, such as `fd00:ad17::/64`.
    pub fn prefix(mut self, network: &str) -> Self {
        self.networks.push(network.to_owned());
        self
    }

    /// Lifetimes of the networks in seconds: valid, and preferred.
    pub fn lifetimes(mut self, valid: u32, preferred: u32) -> Self {
        self.announcement.lifetimes = (valid, preferred);
        self
    }

    /// How long the router may be used, in seconds; 0 announces networks without a way out.
    pub fn router_lifetime(mut self, seconds: u16) -> Self {
        self.announcement.router_lifetime = seconds;
        self
    }

    /// Announces the router as name server.
    pub fn rdnss(mut self) -> Self {
        self.announcement.rdnss = true;
        self
    }

    /// Announces a search domain.
    pub fn dnssl(mut self, domain: &str) -> Self {
        self.announcement.domains.push(domain.to_owned());
        self
    }

    /// Announces an MTU, in bytes; it is the router's own as well.
    pub fn mtu(mut self, bytes: u32) -> Self {
        self.announcement.mtu = Some(bytes);
        self
    }

    /// How often it advertises unasked.
    pub fn every(mut self, interval: Duration) -> Self {
        self.announcement.interval = interval;
        self
    }

    /// Answers DNS questions about a name.
    pub fn name(mut self, name: &str, address: Ipv6Addr) -> Self {
        self.names.push((name.to_owned(), address));
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// A network, a name or a domain is not one, there are too many, or the port's name is taken.
    pub fn start(self) -> Result<Gateway> {
        let Self { lan, name, networks, names, mut announcement } = self;
        check_name(&name)?;
        for network in &networks {
            announcement.add(parse_network(network)?)?;
        }
        let domains = &announcement.domains;
        ensure!(domains.len() <= DOMAINS_MAX, "a router announces {DOMAINS_MAX} domains at most");
        let bad = domains.iter().find(|domain| super::dns::labels(domain).is_none());
        ensure!(bad.is_none(), "{bad:?} is no domain");
        let mut zone = Zone::default();
        for (name, address) in names {
            ensure!(zone.set(&name, address), "the name server cannot take {name:?}");
        }
        let seed = lan.shared.seed ^ super::fault::hash(&name);
        let gateway = gateway::Gateway::new(&name, seed, announcement, zone, Instant::now());
        let port = lan.plug(&name, Station::Gateway(Box::new(gateway)))?;
        Ok(Gateway { lan, port })
    }
}

/// A router's foot in a network: what it announces can be changed while it runs.
#[derive(Clone, Debug)]
pub struct Gateway {
    lan: Lan,
    port: PortId,
}

impl Gateway {
    /// The address at which it answers DNS: in the newest network, or its link-local one.
    ///
    /// # Errors
    /// The network's thread is gone.
    pub fn address(&self) -> Result<Ipv6Addr> {
        self.call(|gateway| gateway.address())
    }

    /// Its link-local address.
    ///
    /// # Errors
    /// The network's thread is gone.
    pub fn link_local(&self) -> Result<Ipv6Addr> {
        self.call(|gateway| gateway.link_local())
    }

    /// The provider gives another network: `old` is told to be over, `new` is announced. Packets to `old` are no longer
    /// routed.
    ///
    /// # Errors
    /// `old` is not announced, or `new` is not a network.
    pub fn renumber(&self, old: &str, new: &str) -> Result<()> {
        let (old, new) = (parse_network(old)?, parse_network(new)?);
        self.change(move |gateway| {
            gateway.announcement.retire(old)?;
            gateway.announcement.add(new)
        })
    }

    /// Takes a network back without another.
    ///
    /// # Errors
    /// It is not announced.
    pub fn withdraw(&self, network: &str) -> Result<()> {
        let network = parse_network(network)?;
        self.change(move |gateway| gateway.announcement.retire(network))
    }

    /// Says how long the router may be used from now on, in seconds; 0 takes the default route away.
    ///
    /// # Errors
    /// The network's thread is gone.
    pub fn router_lifetime(&self, seconds: u16) -> Result<()> {
        self.change(move |gateway| {
            gateway.announcement.router_lifetime = seconds;
            Ok(())
        })
    }

    /// Announces another MTU.
    ///
    /// # Errors
    /// The network's thread is gone.
    pub fn mtu(&self, bytes: u32) -> Result<()> {
        self.change(move |gateway| {
            gateway.announcement.mtu = Some(bytes);
            Ok(())
        })
    }

    /// Whether the router opens ports for the machines of its home when they ask (RFC 6887); none: it does not answer.
    ///
    /// # Errors
    /// The network's thread is gone.
    pub fn opens_ports(&self, opens: Option<bool>) -> Result<()> {
        self.call(move |gateway| gateway.opens_ports = opens)
    }

    /// Moves a name, or removes it.
    ///
    /// # Errors
    /// It is not a name, or there are too many.
    pub fn resolve(&self, name: &str, address: Option<Ipv6Addr>) -> Result<()> {
        let name = name.to_owned();
        self.change(move |gateway| {
            match address {
                Some(address) => ensure!(gateway.zone.set(&name, address), "the name server cannot take {name:?}"),
                None => gateway.zone.remove(&name),
            }
            Ok(())
        })
    }

    /// Sends `count` advertisements, each from another router about another network, and waits until the last has left.
    ///
    /// # Errors
    /// They have not left within `within`.
    pub fn flood(&self, count: u64, within: Duration) -> Result<()> {
        self.call(move |gateway| gateway.flood(count, Instant::now()))?;
        let port = self.port;
        self.lan.watch("the end of the flood", within, move |world| match &world.stations[port] {
            Station::Gateway(gateway) => (gateway.flood_left() == 0).then_some(()),
            Station::Qemu(_) | Station::Host(_) => None,
        })
    }

    pub(crate) fn same_lan(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.lan.shared, &other.lan.shared)
    }

    /// Joins two networks; both learn where the join leads before either uses it.
    pub(crate) fn join(home: &Self, internet: &Self, core: &Arc<Mutex<Core>>) -> Result<()> {
        let join = |gateway: &Self, side| {
            let core = Arc::clone(core);
            gateway.call(move |gateway| gateway.join(core, side, Instant::now()))
        };
        let inside = join(home, Side::Inside)?;
        let outside = join(internet, Side::Outside)?;
        for (gateway, number, other, other_number) in
            [(home, inside, internet, outside), (internet, outside, home, inside)]
        {
            let (port, to) = (gateway.port, (other.lan.shared.inbox.clone(), other.port, other_number));
            gateway.lan.call(move |world| world.joins.insert((port, number), to)).map(drop)?;
        }
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut gateway::Gateway) -> Result<()> + Send + 'static) -> Result<()> {
        self.call(move |gateway| {
            let changed = change(gateway);
            gateway.announce(Instant::now());
            changed
        })?
    }

    fn call<T: Send + 'static>(&self, call: impl FnOnce(&mut gateway::Gateway) -> T + Send + 'static) -> Result<T> {
        let port = self.port;
        let answer = self.lan.call(move |world| match &mut world.stations[port] {
            Station::Gateway(gateway) => Some(call(gateway)),
            Station::Qemu(_) | Station::Host(_) => None,
        })?;
        let Some(answer) = answer else { bail!("the port is not a router's") };
        Ok(answer)
    }
}

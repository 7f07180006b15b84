// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The harness's network as scenarios use it: real programs on `[::1]` at both ends, every fault shown by its counter and
//! by what the programs feel. Every wait has a deadline.

use adit_hil::net::{Counters, Faults, Gateway, Host, Lan, Refusal, Router, TooBig};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PREFIX: &str = "fd00:ad17::/64";
const PORT: u16 = 4433;
/// No step of a test may take longer.
const DEADLINE: Duration = Duration::from_secs(50);
/// Long enough to see that nothing comes.
const NOTHING: Duration = Duration::from_millis(600);

/// Bytes that no chance repeats.
fn pattern(length: usize) -> Vec<u8> {
    let mut word = 0x9e37_79b9_u32;
    let step = |_| {
        word ^= word << 13;
        word ^= word >> 17;
        word ^= word << 5;
        word.to_le_bytes()
    };
    (0..length / 4).flat_map(step).collect()
}

/// A program on `[::1]` that receives until the end, one connection after the other, and then answers with the count.
struct Sink {
    at: SocketAddrV6,
    received: Receiver<Vec<u8>>,
}

impl Sink {
    fn start() -> Self {
        let listener = TcpListener::bind("[::1]:0").expect("listen");
        let at = v6(listener.local_addr().expect("address"));
        let (sender, received) = channel();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    let mut bytes = Vec::new();
                    if stream.read_to_end(&mut bytes).is_ok() {
                        let answered = stream.write_all(&bytes.len().to_be_bytes());
                        answered.and_then(|()| sender.send(bytes).map_err(std::io::Error::other))
                    } else {
                        Ok(())
                    }
                });
            }
        });
        Self { at, received }
    }

    fn received(&self) -> Vec<u8> {
        self.received.recv_timeout(DEADLINE).expect("a whole stream in time")
    }
}

fn v6(address: SocketAddr) -> SocketAddrV6 {
    let SocketAddr::V6(address) = address else { panic!("{address} is not IPv6") };
    address
}

fn dial(at: SocketAddrV6) -> TcpStream {
    let stream = TcpStream::connect(at).expect("dial [::1]");
    stream.set_read_timeout(Some(DEADLINE)).expect("deadline");
    stream.set_write_timeout(Some(DEADLINE)).expect("deadline");
    stream
}

/// Sends everything from another thread, ends its side, and returns what came back.
fn send(at: SocketAddrV6, bytes: Vec<u8>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut stream = dial(at);
        stream.write_all(&bytes).expect("send");
        stream.shutdown(Shutdown::Write).expect("end");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("answer");
        answer
    })
}

/// Two hosts in one network: what `admin` dials at `at` reaches `sink` behind `box`.
struct Home {
    lan: Lan,
    gateway: Gateway,
    admin: Host,
    target: Host,
    sink: Sink,
    at: SocketAddrV6,
}

impl Home {
    fn new(seed: u64) -> Self {
        let lan = Lan::new("home", seed).expect("network");
        let gateway = lan.router().prefix(PREFIX).rdnss().start().expect("router");
        let (admin, target) = (lan.host("admin").expect("admin"), lan.host("box").expect("box"));
        let sink = Sink::start();
        target.expose(PORT, sink.at).expect("expose");
        let address = target.address().expect("address");
        admin.address().expect("address");
        let at = admin.forward(SocketAddrV6::new(address, PORT, 0, 0)).expect("forward");
        Self { lan, gateway, admin, target, sink, at }
    }

    fn faults(&self, change: impl FnOnce(&mut Faults) + Send + 'static) {
        self.lan.faults(change).expect("faults");
    }

    fn counters(&self) -> Counters {
        self.lan.counters().expect("counters")
    }

    /// Carries a megabyte or so through, and says how long it took.
    fn carry(&self, length: usize) -> Duration {
        let (bytes, start) = (pattern(length), Instant::now());
        let sender = send(self.at, bytes.clone());
        assert!(self.sink.received() == bytes, "seed {}: the bytes changed on their way", self.lan.seed());
        let taken = start.elapsed();
        let answer = sender.join().expect("sender");
        assert_eq!(answer, bytes.len().to_be_bytes(), "the other direction outlives the first's end");
        taken
    }
}

#[test]
fn streams_pass_whole_and_fast() {
    let home = Home::new(1);
    home.carry(1 << 20);
    let length = 64 << 20;
    let taken = home.carry(length);
    let mbits = length as f64 * 8.0 / 1e6 / taken.as_secs_f64();
    println!("{mbits:.0} Mbit/s");
    let least = if cfg!(debug_assertions) { 50.0 } else { 200.0 };
    assert!(mbits > least, "{mbits:.0} Mbit/s, at least {least} expected");
    let counters = home.counters();
    assert_eq!(Counters { delivered: 0, ..counters }, Counters::default());
    assert!(counters.delivered > length as u64 / 1500);
}

#[test]
fn many_connections_at_once() {
    let home = Home::new(2);
    let senders: Vec<_> = (1..=40).map(|number| send(home.at, pattern(number * 4096))).collect();
    let mut lengths: Vec<_> = senders.iter().map(|_| home.sink.received().len()).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, (1..=40).map(|number| number * 4096).collect::<Vec<_>>());
    for sender in senders {
        sender.join().expect("sender");
    }
}

#[test]
fn loss_at_a_small_mtu_costs_time_but_no_byte() {
    let home = Home::new(3);
    for host in [&home.admin, &home.target] {
        host.retransmit_after(Duration::from_millis(20)).expect("patience");
        host.retransmit_after(Duration::ZERO).expect_err("no patience");
    }
    home.faults(|faults| {
        faults.loss = 0.05;
        faults.mtu = 1280;
    });
    println!("{:?} for 4 MiB", home.carry(4 << 20));
    let counters = home.counters();
    assert!(counters.lost > 100 && counters.too_big > 0, "{counters:?}");
    assert_eq!(home.admin.mtu().expect("mtu"), 1280, "Packet Too Big was heeded");
}

#[test]
fn duplicates_and_reordering_change_no_byte() {
    let home = Home::new(4);
    home.faults(|faults| {
        faults.duplicate = 0.05;
        faults.reorder = 0.02;
    });
    home.carry(2 << 20);
    let counters = home.counters();
    assert!(counters.duplicated > 50 && counters.reordered > 20 && counters.lost == 0, "{counters:?}");
}

#[test]
fn latency_and_jitter_are_felt_and_the_windows_hold() {
    let home = Home::new(5);
    home.carry(4);
    home.faults(|faults| {
        faults.latency = Duration::from_millis(50);
        faults.jitter = Duration::from_millis(10);
    });
    let small = home.carry(4);
    // A connection, its bytes and their end: at least one and a half round trips of 100 ms.
    assert!(small >= Duration::from_millis(150), "{small:?}");
    let taken = home.carry(8 << 20);
    println!("{taken:?} for 8 MiB at a round trip of 110 ms");
    assert!(taken < Duration::from_secs(10), "{taken:?}");
}

#[test]
fn a_rate_is_kept_and_its_queue_overflows() {
    let home = Home::new(6);
    let port = home.lan.port("box").expect("port");
    let change = |faults: &mut Faults| (faults.rate, faults.queue_bytes) = (Some(2_000_000), 1 << 20);
    port.faults(change).expect("faults");
    let length = 8 << 20;
    let taken = home.carry(length);
    let rate = length as f64 / taken.as_secs_f64();
    println!("{rate:.0} bytes/s of 2000000");
    assert!((1_600_000.0..2_400_000.0).contains(&rate), "{rate:.0} bytes/s of 2000000");
    port.faults(|faults| faults.queue_bytes = 4 << 10).expect("faults");
    home.carry(1 << 20);
    assert!(home.counters().queue_full > 0, "{:?}", home.counters());
}

#[test]
fn a_black_hole_stalls_until_the_mtu_is_raised() {
    let home = Home::new(7);
    home.faults(|faults| {
        faults.mtu = 1400;
        faults.too_big = TooBig::Silent;
    });
    let bytes = pattern(1 << 20);
    let sender = send(home.at, bytes.clone());
    home.lan.wait("a swallowed packet", DEADLINE, |counters| counters.too_big > 0).expect("swallowed");
    home.sink.received.recv_timeout(NOTHING).expect_err("a black hole lets nothing through");
    assert_eq!(home.admin.mtu().expect("mtu"), 1500, "nobody was told");
    home.faults(|faults| faults.mtu = 1500);
    assert!(home.sink.received() == bytes);
    sender.join().expect("sender");
}

#[test]
fn a_partition_heals_and_the_stream_goes_on() {
    let home = Home::new(8);
    home.faults(|faults| faults.rate = Some(4_000_000));
    let bytes = pattern(4 << 20);
    let sender = send(home.at, bytes.clone());
    let before = home.counters().delivered;
    home.lan.wait("some packets", DEADLINE, move |counters| counters.delivered > before + 200).expect("begun");
    home.lan.part("admin", "box").expect("part");
    home.lan.wait("a parted packet", DEADLINE, |counters| counters.parted > 0).expect("parted");
    home.sink.received.recv_timeout(NOTHING).expect_err("the stream stands");
    home.lan.heal("admin", "box").expect("heal");
    assert!(home.sink.received() == bytes);
    sender.join().expect("sender");
}

#[test]
fn a_port_goes_down_and_up() {
    let home = Home::new(9);
    let port = home.lan.port("box").expect("port");
    port.down().expect("down");
    let sender = send(home.at, pattern(4096));
    home.lan.wait("a packet to the port", DEADLINE, |counters| counters.down > 0).expect("lost");
    home.sink.received.recv_timeout(NOTHING).expect_err("the cable is out");
    port.up().expect("up");
    assert_eq!(home.sink.received(), pattern(4096));
    sender.join().expect("sender");
    assert!(port.counters().expect("counters").down > 0);
}

#[test]
fn a_reset_passes_both_ways() {
    let home = Home::new(10);
    let nobody = home.admin.forward(SocketAddrV6::new(home.target.address().expect("address"), 9, 0, 0));
    let mut stream = dial(nobody.expect("forward"));
    let error = stream.read(&mut [0; 8]).expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let listener = TcpListener::bind("[::1]:0").expect("listen");
    home.target.expose(77, v6(listener.local_addr().expect("address"))).expect("expose");
    let to = SocketAddrV6::new(home.target.address().expect("address"), 77, 0, 0);
    let mut stream = dial(home.admin.forward(to).expect("forward"));
    stream.write_all(b"unread").expect("send");
    let (mut accepted, _) = listener.accept().expect("accept");
    accepted.read_exact(&mut [0; 2]).expect("two bytes");
    drop(accepted); // with bytes unread, the kernel resets
    let error = stream.read(&mut [0; 8]).expect_err("reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn who_does_not_read_is_not_buried_in_bytes() {
    let home = Home::new(11);
    let listener = TcpListener::bind("[::1]:0").expect("listen");
    home.target.expose(78, v6(listener.local_addr().expect("address"))).expect("expose");
    let to = SocketAddrV6::new(home.target.address().expect("address"), 78, 0, 0);
    let mut stream = dial(home.admin.forward(to).expect("forward"));
    stream.set_write_timeout(Some(NOTHING)).expect("deadline");
    let (mut accepted, _) = listener.accept().expect("accept");
    let chunk = pattern(1 << 20);
    let mut sent = 0;
    let stopped = loop {
        match stream.write(&chunk[sent % chunk.len()..]) {
            Ok(count) => sent += count,
            Err(e) => break e.kind(),
        }
        assert!(sent < 64 << 20, "64 MiB vanished into buffers");
    };
    assert_eq!(stopped, ErrorKind::WouldBlock);
    stream.shutdown(Shutdown::Write).expect("end");
    let mut bytes = Vec::new();
    accepted.set_read_timeout(Some(DEADLINE)).expect("deadline");
    accepted.read_to_end(&mut bytes).expect("the rest");
    assert!(bytes.len() == sent && bytes.iter().eq(chunk.iter().cycle().take(sent)));
}

#[test]
fn a_renumbered_network_gives_new_addresses_and_old_streams_go_on() {
    let home = Home::new(12);
    let old = home.admin.address().expect("address");
    let mut stream = dial(home.at);
    stream.write_all(b"before ").expect("send");
    home.gateway.renumber(PREFIX, "fd00:ad18::/64").expect("renumber");
    let new = home.admin.address_in("fd00:ad18::/64", DEADLINE).expect("a new address");
    assert_eq!(old.segments()[4..], new.segments()[4..], "the interface id stays");
    assert_eq!(home.admin.addresses().expect("addresses"), [new], "the old one is deprecated");
    stream.write_all(b"after").expect("send");
    stream.shutdown(Shutdown::Write).expect("end");
    assert_eq!(home.sink.received(), b"before after");
    let to = home.target.address_in("fd00:ad18::/64", DEADLINE).expect("a new address");
    let sender = send(home.admin.forward(SocketAddrV6::new(to, PORT, 0, 0)).expect("forward"), pattern(4096));
    assert_eq!(home.sink.received(), pattern(4096));
    sender.join().expect("sender");
    home.gateway.withdraw("fd00:ad18::/64").expect("withdraw");
    home.gateway.withdraw("fd00:ad18::/64").expect_err("withdrawn already");
}

#[test]
fn a_rogue_router_and_a_flood_leave_the_stream_alone() {
    let home = Home::new(13);
    let mut stream = dial(home.at);
    stream.write_all(b"before ").expect("send");
    let rogue = home.lan.router().named("rogue").prefix("fd00:bad::/64").start().expect("rogue");
    home.admin.address_in("fd00:bad::/64", DEADLINE).expect("hosts believe anybody");
    rogue.flood(5000, DEADLINE).expect("flood");
    assert!(home.admin.addresses().expect("addresses").len() <= adit_hil::net::ADDRESSES_MAX);
    stream.write_all(b"after").expect("send");
    stream.shutdown(Shutdown::Write).expect("end");
    assert_eq!(home.sink.received(), b"before after");
    home.carry(1 << 20);
}

#[test]
fn the_same_seed_loses_the_same_frames() {
    let lost_at = |seed| {
        let lan = Lan::new("dice", seed).expect("network");
        lan.faults(|faults| faults.loss = 0.3).expect("faults");
        // Advertisements are the only frames, so the order in which frames meet the dice is the same in every run.
        lan.qemu_port("box").expect("port");
        let gateway = lan.router().prefix(PREFIX).every(Duration::from_secs(3600)).start().expect("router");
        gateway.flood(1000, DEADLINE).expect("flood");
        let all = |counters: &Counters| counters.delivered + counters.lost >= 1001;
        lan.wait("the last frame", DEADLINE, all).expect("all");
        let counters = lan.counters().expect("counters");
        assert!((250..350).contains(&counters.lost), "{counters:?}");
        counters.lost
    };
    assert_eq!(lost_at(21), lost_at(21));
    assert_ne!([lost_at(21), lost_at(21)], [lost_at(22), lost_at(23)]);
}

/// A home behind a router, and a host on the Internet.
struct Joined {
    inside: Home,
    router: Router,
    outside: Lan,
    gateway: Gateway,
    peer: Host,
}

const OUTSIDE: &str = "2001:db8:1::/64";

impl Joined {
    fn new(seed: u64) -> Self {
        let inside = Home::new(seed);
        let outside = Lan::new("internet", seed).expect("network");
        let gateway = outside.router().prefix(OUTSIDE).mtu(1400).start().expect("router");
        let router = Router::join(&inside.gateway, &gateway).expect("join");
        let peer = outside.host("peer").expect("peer");
        peer.address().expect("address");
        Self { inside, router, outside, gateway, peer }
    }

    fn target(&self) -> Ipv6Addr {
        self.inside.target.address().expect("address")
    }

    /// Where the peer dials to reach the box at its address now.
    fn at(&self, address: Ipv6Addr) -> SocketAddrV6 {
        self.peer.forward(SocketAddrV6::new(address, PORT, 0, 0)).expect("forward")
    }
}

#[test]
fn what_goes_out_comes_back_and_a_smaller_mtu_is_told() {
    let joined = Joined::new(14);
    let sink = Sink::start();
    joined.peer.expose(PORT, sink.at).expect("expose");
    let to = SocketAddrV6::new(joined.peer.address().expect("address"), PORT, 0, 0);
    let before = joined.outside.counters().expect("counters").delivered;
    let mut stream = dial(joined.inside.admin.forward(to).expect("forward"));
    stream.write_all(b"small").expect("send");
    let outward = joined.inside.lan.port("router").expect("port");
    // Handshake and the small packet: three times outwards.
    joined.outside.wait("the small packet", DEADLINE, move |counters| counters.delivered > before + 5).expect("sent");
    // The way narrows after both ends have agreed on a segment size; only the router knows.
    joined.gateway.mtu(1300).expect("mtu");
    let bytes = pattern(1 << 20);
    stream.write_all(&bytes).expect("send");
    stream.shutdown(Shutdown::Write).expect("end");
    assert!(sink.received().strip_prefix(b"small") == Some(&bytes));
    assert_eq!(joined.inside.admin.mtu().expect("mtu"), 1300);
    assert!(outward.counters().expect("counters").delivered > 700);
    let forwarded = joined.router.forwarded();
    assert!(
        forwarded.outward > 700 && forwarded.inward > 20 && forwarded.too_big > 0 && forwarded.denied == 0,
        "{forwarded:?}"
    );
    assert!(joined.outside.counters().expect("counters").delivered > 700);
}

#[test]
fn no_pinhole_no_way_in_and_a_pinhole_outlives_the_prefix() {
    let joined = Joined::new(15);
    joined.router.refuse_by(Refusal::Reject);
    let error = dial(joined.at(joined.target())).read(&mut [0; 8]).expect_err("rejected");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the router said so at once");
    assert!(joined.router.forwarded().denied > 0);

    let listener = TcpListener::bind("[::1]:0").expect("listen");
    joined.inside.target.expose(79, v6(listener.local_addr().expect("address"))).expect("expose");
    joined.router.pinhole(joined.target(), 79).expect("pinhole");
    let to = SocketAddrV6::new(joined.target(), 79, 0, 0);
    let mut stream = dial(joined.peer.forward(to).expect("forward"));
    stream.write_all(b"before ").expect("send");
    let (mut accepted, _) = listener.accept().expect("accept");
    accepted.set_read_timeout(Some(DEADLINE)).expect("deadline");
    accepted.read_exact(&mut [0; 7]).expect("through the pinhole");
    joined.router.close(joined.target(), 79);
    stream.write_all(b"after").expect("send");
    accepted.read_exact(&mut [0; 5]).expect("an established flow goes on");
    let error = dial(joined.peer.forward(to).expect("forward")).read(&mut [0; 8]).expect_err("closed again");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    joined.router.pinhole(joined.target(), PORT).expect("pinhole");
    joined.inside.gateway.renumber(PREFIX, "fd00:ad18::/64").expect("renumber");
    let moved = joined.inside.target.address_in("fd00:ad18::/64", DEADLINE).expect("a new address");
    let sender = send(joined.at(moved), pattern(4096));
    assert_eq!(joined.inside.sink.received(), pattern(4096));
    sender.join().expect("sender");
}

#[test]
fn a_dropping_firewall_says_nothing() {
    let joined = Joined::new(16);
    let stream = dial(joined.at(joined.target()));
    stream.set_read_timeout(Some(NOTHING)).expect("deadline");
    let error = (&stream).read(&mut [0; 8]).expect_err("nothing comes");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(joined.router.forwarded().denied > 0);
}

#[test]
fn a_machine_at_its_socket_may_end_and_come_again() {
    use std::os::unix::net::UnixStream;
    let lan = Lan::new("home", 17).expect("network");
    let path = lan.qemu_port("box").expect("port");
    let port = lan.port("box").expect("port");
    let listen = |machine: &mut UnixStream| {
        machine.set_read_timeout(Some(DEADLINE)).expect("deadline");
        let mut length = [0; 4];
        machine.read_exact(&mut length).expect("length");
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        machine.read_exact(&mut frame).expect("frame");
        frame
    };
    let gateway = lan.router().prefix(PREFIX).rdnss().name("box.test", Ipv6Addr::LOCALHOST).start().expect("router");
    for _ in 0..3 {
        let mut machine = UnixStream::connect(&path).expect("connect");
        port.wait_machine(DEADLINE).expect("seen");
        let advertisement = listen(&mut machine);
        assert_eq!((&advertisement[12..14], advertisement[54]), (&[0x86, 0xdd][..], 134));
        // ARP goes nowhere; the counter shows that it was seen.
        let before = lan.counters().expect("counters").not_ipv6;
        let mut arp = vec![0xff; 12];
        arp.extend([8, 6]);
        arp.extend([0; 46]);
        machine.write_all(&60_u32.to_be_bytes()).expect("send");
        machine.write_all(&arp).expect("send");
        lan.wait("the ARP frame", DEADLINE, move |counters| counters.not_ipv6 == before + 1).expect("counted");
    }
    let mut nonsense = UnixStream::connect(&path).expect("connect");
    port.wait_machine(DEADLINE).expect("seen");
    nonsense.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("send");
    nonsense.set_read_timeout(Some(DEADLINE)).expect("deadline");
    let mut rest = Vec::new();
    drop(nonsense.read_to_end(&mut rest)); // closed, perhaps with a reset: what counts is that it ends
    drop((gateway, port, lan));
    assert!(!path.exists(), "the socket goes with its network");
}

#[test]
fn names_ports_and_captures() {
    let home = Home::new(18);
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("home.pcap");
    home.lan.capture(&path).expect("capture");
    home.carry(64 << 10);
    let Home { lan, gateway, admin, target, .. } = home;
    assert!(lan.port("nobody").expect_err("no such port").to_string().contains("admin"));
    lan.host("admin").expect_err("taken");
    lan.host("../admin").expect_err("no name");
    lan.router().named("second").prefix("fd00::/48").start().expect_err("no network of 64 bits");
    drop((lan, gateway, admin, target));
    let captured = std::fs::metadata(&path).expect("capture").len();
    assert!(captured > 64 << 10, "{captured} bytes");
}

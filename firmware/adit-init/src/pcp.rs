// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Asks the home's router to let others in to the agent's port: the Port Control Protocol (RFC 6887), opcode MAP. For IPv6
//! the router translates nothing; it opens its firewall for this box's own address. A router that does not speak it costs a
//! datagram now and then, and the screen says that a person has to open the port.

use crate::network::{self, AGENT_PORT, Address};
use anyhow::{Context as _, Result};
use std::fmt::Display;
use std::fs;
use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Where a router listens (section 19.1).
const PORT: u16 = 5351;
const VERSION: u8 = 2;
const MAP: u8 = 1;
const RESPONSE: u8 = 0x80;
const TCP: u8 = 6;
/// A request or answer with opcode MAP and no option, bytes (sections 7.1 and 11.1).
const BYTES: usize = 60;
/// The longest message there is, bytes (section 7).
const BYTES_MAX: usize = 1_100;
/// How long the port shall stay open without being asked for again, seconds.
const LIFETIME_S: u32 = 7_200;
/// The first pause between two requests without an answer, and the longest (section 8.1.1).
const PAUSE_MIN: Duration = Duration::from_secs(3);
const PAUSE_MAX: Duration = Duration::from_secs(1_024);
/// An open port is asked for again after so long at most, seconds: a router that was off has forgotten it.
const AGAIN_MAX_S: u32 = 600;
/// A refusal counts at least and at most so long, whatever it says.
const REFUSED_MIN_S: u32 = 60;
const REFUSED_MAX_S: u32 = 3_600;
/// How often address and router are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const NONCE_BYTES: usize = 12;

/// Names one mapping; who does not know it cannot end it.
type Nonce = [u8; NONCE_BYTES];

/// What the router says about the port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Said {
    /// It was not asked: this box has no address of the world's, or no router.
    #[default]
    NotAsked,
    /// Nothing so far.
    Nothing,
    /// It is open.
    Open,
    /// It is not opened; the result code (section 7.4).
    Refused(u8),
}

impl Display for Said {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotAsked => Ok(()),
            Self::Nothing => write!(to, "the router does not answer; open TCP {AGENT_PORT} there by hand"),
            Self::Open => write!(to, "the router has opened TCP {AGENT_PORT}"),
            Self::Refused(code) => {
                let why = match code {
                    1 | 4 => "it speaks another version",
                    2 => "it is told not to",
                    8 => "it has no room for one more",
                    _ => "it could not",
                };
                write!(to, "the router does not open TCP {AGENT_PORT} ({why}); open it there by hand")
            }
        }
    }
}

/// One mapping: what to send when, and what became of it.
#[derive(Debug)]
struct Mapping {
    nonce: Nonce,
    address: Ipv6Addr,
    said: Said,
    /// When the next request is due.
    due: Instant,
    /// Until when the port is open.
    until: Instant,
    pause: Duration,
}

impl Mapping {
    fn new(nonce: Nonce, address: Ipv6Addr, now: Instant) -> Self {
        Self { nonce, address, said: Said::Nothing, due: now, until: now, pause: PAUSE_MIN }
    }

    /// The request that is due now, if one is.
    fn request(&mut self, now: Instant) -> Option<[u8; BYTES]> {
        if self.said == Said::Open && now >= self.until {
            self.said = Said::Nothing;
        }
        if now < self.due {
            return None;
        }
        self.due = now + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        let mut bytes = [0; BYTES];
        bytes[..2].copy_from_slice(&[VERSION, MAP]);
        bytes[4..8].copy_from_slice(&LIFETIME_S.to_be_bytes());
        bytes[8..24].copy_from_slice(&self.address.octets());
        bytes[24..36].copy_from_slice(&self.nonce);
        bytes[36] = TCP;
        bytes[40..42].copy_from_slice(&AGENT_PORT.to_be_bytes());
        bytes[42..44].copy_from_slice(&AGENT_PORT.to_be_bytes());
        bytes[44..60].copy_from_slice(&self.address.octets());
        Some(bytes)
    }

    /// Takes what the router answered; what is no answer to this is left alone (section 11.4).
    fn heard(&mut self, bytes: &[u8], now: Instant) {
        let Some(answer) = Answer::parse(bytes).filter(|answer| answer.nonce.is_none_or(|nonce| nonce == self.nonce))
        else {
            return;
        };
        let after = |seconds: u32| now + Duration::from_secs(u64::from(seconds));
        if answer.code == 0 {
            self.said = Said::Open;
            self.pause = PAUSE_MIN;
            // Half of it is over then; what is lost on the way is asked for again in time.
            (self.due, self.until) = (after((answer.lifetime_s / 2).clamp(1, AGAIN_MAX_S)), after(answer.lifetime_s));
        } else {
            self.said = Said::Refused(answer.code);
            self.due = after(answer.lifetime_s.clamp(REFUSED_MIN_S, REFUSED_MAX_S));
        }
    }
}

/// An answer of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    code: u8,
    lifetime_s: u32,
    /// None where a router of another version cannot know our form.
    nonce: Option<Nonce>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let [_, opcode, _, code, ..] = *bytes else { return None };
        if bytes.len() > BYTES_MAX || opcode & RESPONSE == 0 {
            return None;
        }
        let mut answer = Self { code, lifetime_s: word(4)?, nonce: None };
        // NAT-PMP, the version before, answers in its own form that it is another version (section 9).
        if bytes[0] != VERSION {
            return Some(Self { code: code.max(1), lifetime_s: REFUSED_MAX_S, ..answer });
        }
        if opcode != RESPONSE | MAP || bytes.len() < BYTES {
            return None;
        }
        answer.nonce = Some(*bytes.get(24..)?.first_chunk()?);
        Some(answer)
    }
}

/// The router's link-local address and its interface, out of the kernel's table of routes: destination and its length,
/// source and its length, next hop, metric, references, uses, flags, interface.
fn default_router(table: &str) -> Option<(Ipv6Addr, String)> {
    const UP_AND_GATEWAY: u32 = 3;
    let mut routers: Vec<(u32, Ipv6Addr, String)> = table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let [destination, "00", _, _, hop, metric, _, _, flags, interface] = fields.as_slice() else { return None };
            let flags = u32::from_str_radix(flags, 16).ok()?;
            let is_default = destination.bytes().all(|digit| digit == b'0') && flags & UP_AND_GATEWAY == UP_AND_GATEWAY;
            let hop = Ipv6Addr::from(u128::from_str_radix(hop, 16).ok()?);
            is_default.then(|| (u32::from_str_radix(metric, 16).unwrap_or(u32::MAX), hop, (*interface).to_owned()))
        })
        .collect();
    routers.sort();
    routers.into_iter().next().map(|(_, hop, interface)| (hop, interface))
}

/// The address that others know the box by: the first worldwide one on that interface.
fn own_address(addresses: &[Address], interface: &str) -> Option<Ipv6Addr> {
    addresses
        .iter()
        .find(|found| found.interface == interface && network::is_worldwide(found))
        .map(|found| found.address)
}

/// Asks for ever, in a thread of its own; what is said last is read from the handle.
pub(crate) fn start() -> Result<Arc<Mutex<Said>>> {
    let said = Arc::new(Mutex::new(Said::default()));
    let told = Arc::clone(&said);
    let ask = move || {
        let mut mapping: Option<Mapping> = None;
        loop {
            let table = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
            let place = default_router(&table).and_then(|(router, interface)| {
                Some((router, own_address(&network::addresses(), &interface)?, interface))
            });
            let Some((router, address, interface)) = place else {
                thread::sleep(LOOK_EVERY);
                continue;
            };
            if mapping.as_ref().is_none_or(|mapping| mapping.address != address) {
                mapping = nonce().map(|nonce| Mapping::new(nonce, address, Instant::now()));
            }
            if let Some(mapping) = &mut mapping {
                let scope = network::index_of(&interface).unwrap_or_default();
                if let Err(error) = turn(mapping, SocketAddrV6::new(router, PORT, 0, scope)) {
                    log::debug!("ask the router to open a port: {error:#}");
                }
                *told.lock().unwrap_or_else(PoisonError::into_inner) = mapping.said;
            }
            thread::sleep(LOOK_EVERY);
        }
    };
    drop(thread::Builder::new().name("port".to_owned()).spawn(ask).context("start a thread")?);
    Ok(said)
}

fn nonce() -> Option<Nonce> {
    let mut nonce = Nonce::default();
    aws_lc_rs::rand::fill(&mut nonce).ok()?;
    Some(nonce)
}

/// Sends what is due and hears the answer to it.
fn turn(mapping: &mut Mapping, router: SocketAddrV6) -> Result<()> {
    let Some(request) = mapping.request(Instant::now()) else { return Ok(()) };
    // The router opens for the sender, so the request leaves from the address that it is about.
    let socket = UdpSocket::bind((mapping.address, 0)).context("bind")?;
    socket.connect(router).with_context(|| format!("find the way to {router}"))?;
    socket.set_read_timeout(Some(LOOK_EVERY))?;
    socket.send(&request).context("send")?;
    let mut answer = [0; BYTES_MAX];
    let length = socket.recv(&mut answer).context("hear")?;
    mapping.heard(&answer[..length], Instant::now());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0xad17, 1, 2, 3);

    fn answer(request: &[u8; BYTES], code: u8, lifetime_s: u32) -> Vec<u8> {
        let mut bytes = request.to_vec();
        bytes[1] |= RESPONSE;
        bytes[3] = code;
        bytes[4..8].copy_from_slice(&lifetime_s.to_be_bytes());
        bytes[8..24].fill(0);
        bytes
    }

    #[test]
    fn a_request_has_the_form_of_the_standard() {
        let mut mapping = Mapping::new([7; NONCE_BYTES], ADDRESS, Instant::now());
        let request = mapping.request(Instant::now()).expect("due");
        let hex: String = request.iter().map(|byte| format!("{byte:02x}")).collect();
        let address = "20010db800000000ad17000100020003";
        let expected = format!("0201000000001c20{address}{}060000002dc12dc1{address}", "07".repeat(NONCE_BYTES));
        assert_eq!(hex, expected);
    }

    #[test]
    fn silence_is_asked_ever_more_rarely() {
        let start = Instant::now();
        let mut mapping = Mapping::new([7; NONCE_BYTES], ADDRESS, start);
        let sent = (0..86_400).filter(|second| mapping.request(start + Duration::from_secs(*second)).is_some()).count();
        assert!((80..=100).contains(&sent), "{sent} requests in a day");
        assert_eq!(mapping.said, Said::Nothing);
    }

    #[test]
    fn an_open_port_is_asked_for_again_when_half_of_its_time_is_over() {
        let start = Instant::now();
        let mut mapping = Mapping::new([7; NONCE_BYTES], ADDRESS, start);
        let request = mapping.request(start).expect("due");
        mapping.heard(&answer(&request, 0, 600), start);
        assert_eq!(mapping.said, Said::Open);
        assert_eq!(mapping.request(start + Duration::from_secs(299)), None);
        assert!(mapping.request(start + Duration::from_secs(300)).is_some());
        // Lost on the way: asked for again long before the end.
        assert!(mapping.request(start + Duration::from_secs(303)).is_some());
        // However long the router means to keep it.
        mapping.heard(&answer(&request, 0, u32::MAX), start);
        assert_eq!(mapping.request(start + Duration::from_secs(599)), None);
        assert!(mapping.request(start + Duration::from_secs(600)).is_some());
    }

    #[test]
    fn a_port_that_nobody_renewed_is_not_called_open() {
        let start = Instant::now();
        let mut mapping = Mapping::new([7; NONCE_BYTES], ADDRESS, start);
        let request = mapping.request(start).expect("due");
        mapping.heard(&answer(&request, 0, 600), start);
        for (second, said) in [(300, Said::Open), (599, Said::Open), (600, Said::Nothing)] {
            let _sent = mapping.request(start + Duration::from_secs(second));
            assert_eq!(mapping.said, said, "after {second} s");
        }
    }

    #[test]
    fn refusals_are_told_and_not_begged_against() {
        let start = Instant::now();
        for (code, lifetime_s, again_s) in [(2, 30, 60), (8, 900, 900), (3, u32::MAX, 3_600)] {
            let mut mapping = Mapping::new([7; NONCE_BYTES], ADDRESS, start);
            let request = mapping.request(start).expect("due");
            mapping.heard(&answer(&request, code, lifetime_s), start);
            assert_eq!(mapping.said, Said::Refused(code));
            assert!(mapping.said.to_string().contains("by hand"));
            assert_eq!(mapping.request(start + Duration::from_secs(again_s - 1)), None);
            assert!(mapping.request(start + Duration::from_secs(again_s)).is_some());
        }
        // An old router that speaks NAT-PMP alone.
        let mut mapping = Mapping::new([7; NONCE_BYTES], ADDRESS, start);
        mapping.heard(&[0, 0x80, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], start);
        assert_eq!(mapping.said, Said::Refused(1));
    }

    #[test]
    fn strangers_answers_change_nothing() {
        let start = Instant::now();
        let mut mapping = Mapping::new([7; NONCE_BYTES], ADDRESS, start);
        let request = mapping.request(start).expect("due");
        let mut of_another = answer(&request, 0, 600);
        of_another[24] ^= 1;
        let good = answer(&request, 0, 600);
        for bytes in [&of_another, &request.to_vec(), &good[..59].to_vec(), &Vec::new(), &vec![0x82; 2_000]] {
            mapping.heard(bytes, start);
            assert_eq!(mapping.said, Said::Nothing, "{bytes:02x?}");
        }
        for length in 0..good.len() {
            mapping.heard(&good[..length], start);
        }
        assert_eq!(mapping.said, Said::Nothing);
    }

    #[test]
    fn the_router_is_read_from_the_kernels_table() {
        let zeros = "0".repeat(32);
        let hop = "fe800000000000000000000000000001";
        let table = format!(
            "fd00ad17000000000000000000000000 40 {zeros} 00 {zeros} 00000100 00000001 00000000 00000001 eth0\n\
             {zeros} 00 {zeros} 00 {hop} 00000400 00000001 00000000 00450003 eth0\n\
             {zeros} 00 {zeros} 00 {zeros} ffffffff 00000001 00000000 00200200 lo\n"
        );
        let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        assert_eq!(default_router(&table), Some((router, "eth0".to_owned())));
        assert_eq!(default_router(""), None);
    }
}

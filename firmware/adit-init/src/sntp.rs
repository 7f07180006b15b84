// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The time from time servers: SNTP (RFC 5905, section 14), over IPv6. Names and logs use it, nothing of a backup does, so
//! several servers' median is proof enough; what is not plausible for this image is not believed.

use crate::clock;
use adit_slots::preseed::TIME_SERVER_DEFAULT;
use anyhow::{Context as _, Result, ensure};
use std::net::{SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

const PORT: u16 = 123;
const BYTES: usize = 48;
/// No leap warning, version 4, mode client; and the mode of a server.
const ASK: u8 = 0x23;
const MODE: u8 = 0x07;
const SERVER: u8 = 4;
const LEAP_UNKNOWN: u8 = 0xc0;
const STRATUM_MAX: u8 = 15;
/// Seconds from 1900, where NTP counts from, to 1970; it counts 32 bits and begins again in 2036.
const TO_1970_S: u64 = 2_208_988_800;
const ERA_S: u64 = 1 << 32;
/// Parts of a second in which NTP gives a fraction, 2^32.
const FRACTION: f64 = 4_294_967_296.0;
/// Servers that are asked at a time.
const SERVERS_MAX: usize = 4;
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// How often the servers are asked, and how soon again when none answered: the kernel calls a clock kept for eight hours.
const EVERY: Duration = Duration::from_secs(3_600);
const AGAIN_MIN: Duration = Duration::from_secs(8);
const AGAIN_MAX: Duration = Duration::from_secs(1_024);
/// A clock that is off by less is left alone, seconds.
const OFF_MAX_S: f64 = 0.1;

/// Keeps the clock, in a thread of its own.
pub(crate) fn start(servers: Vec<String>) -> Result<()> {
    let servers = if servers.is_empty() { vec![TIME_SERVER_DEFAULT.to_owned()] } else { servers };
    let keep = move || {
        let mut again = AGAIN_MIN;
        loop {
            match ask_all(&servers).and_then(set) {
                Ok(()) => {
                    again = AGAIN_MIN;
                    thread::sleep(EVERY);
                }
                Err(error) => {
                    log::info!("the time from {}: {error:#}", servers.join(", "));
                    thread::sleep(again);
                    again = (again * 2).min(AGAIN_MAX);
                }
            }
        }
    };
    drop(thread::Builder::new().name("time".to_owned()).spawn(keep).context("start a thread")?);
    Ok(())
}

/// What one server said: its time, seconds since 1970, and when that was true here.
#[derive(Clone, Copy, Debug)]
struct Told {
    time_s: f64,
    at: Instant,
}

/// The median of what the servers say.
fn ask_all(servers: &[String]) -> Result<Told> {
    let addresses = |name: &String| (name.as_str(), PORT).to_socket_addrs().into_iter().flatten();
    let found: Vec<SocketAddr> = servers.iter().flat_map(addresses).filter(SocketAddr::is_ipv6).collect();
    ensure!(!found.is_empty(), "no server's name leads to an IPv6 address");
    let asked = found.into_iter().take(SERVERS_MAX);
    let mut told: Vec<Told> = asked.filter_map(|address| ask(address).ok()).collect();
    let first = told.first().context("no server answers")?.at;
    let now_s = |told: &Told| told.time_s - told.at.duration_since(first).as_secs_f64();
    told.sort_by(|one, other| now_s(one).total_cmp(&now_s(other)));
    Ok(told[(told.len() - 1) / 2])
}

fn ask(server: SocketAddr) -> Result<Told> {
    let socket = UdpSocket::bind("[::]:0").context("bind")?;
    socket.set_read_timeout(Some(ANSWERS_WITHIN))?;
    socket.connect(server)?;
    // Instead of our time, which is nobody's business, the server gives back a number that only it has seen.
    let mut nonce = [0; 8];
    aws_lc_rs::rand::fill(&mut nonce).context("draw a number")?;
    let mut request = [0; BYTES];
    request[0] = ASK;
    request[40..48].copy_from_slice(&nonce);
    let sent = Instant::now();
    socket.send(&request).context("send")?;
    let mut answer = [0; BYTES + 1];
    let length = socket.recv(&mut answer).context("hear")?;
    let at = Instant::now();
    let time_s = read(&answer[..length], nonce).context("this is no answer of a time server")?;
    Ok(Told { time_s: time_s + at.duration_since(sent).as_secs_f64() / 2.0, at })
}

/// The time in an answer, seconds since 1970, from 1968 to 2104.
fn read(bytes: &[u8], nonce: [u8; 8]) -> Option<f64> {
    let bytes: &[u8; BYTES] = bytes.first_chunk()?;
    let knows = bytes[0] & LEAP_UNKNOWN != LEAP_UNKNOWN && (1..=STRATUM_MAX).contains(&bytes[1]);
    if bytes[0] & MODE != SERVER || !knows || bytes[24..32] != nonce {
        return None;
    }
    let seconds = u64::from(u32::from_be_bytes(*bytes[40..].first_chunk()?));
    let fraction = u32::from_be_bytes(*bytes[44..].first_chunk()?);
    let since_1900_s = if seconds >> 31 == 0 { seconds + ERA_S } else { seconds };
    let since_1970_s = since_1900_s.checked_sub(TO_1970_S)?;
    #[expect(clippy::cast_precision_loss, reason = "33 bits of seconds fit")]
    let whole = since_1970_s as f64;
    (seconds != 0).then(|| whole + f64::from(fraction) / FRACTION)
}

/// Sets the clock where it is off, and tells the kernel that it is kept.
fn set(told: Told) -> Result<()> {
    let true_s = told.time_s + told.at.elapsed().as_secs_f64();
    clock::server_says(true_s, OFF_MAX_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

    fn answer(seconds: u32, fraction: u32) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[0] = 0x24;
        bytes[1] = 2;
        bytes[24..32].copy_from_slice(&NONCE);
        bytes[40..44].copy_from_slice(&seconds.to_be_bytes());
        bytes[44..48].copy_from_slice(&fraction.to_be_bytes());
        bytes
    }

    #[test]
    fn times_of_both_eras_are_read() {
        // 2026-11-22 00:00:00, and 2040-01-01, which NTP counts from 2036-02-07 06:28:16 on.
        for (seconds, time_s) in [(4_004_294_400_u32, 1_795_305_600.0), (123_010_304, 2_208_988_800.0)] {
            assert_eq!(read(&answer(seconds, 1 << 31), NONCE), Some(time_s + 0.5));
        }
    }

    #[test]
    fn what_is_no_answer_is_not_believed() {
        let good = answer(4_004_294_400, 0);
        let with = |at: usize, value: u8| {
            let mut bytes = good;
            bytes[at] = value;
            read(&bytes, NONCE)
        };
        assert!(read(&good, NONCE).is_some());
        assert_eq!(with(0, 0x23), None, "a client's");
        assert_eq!(with(0, 0xe4), None, "a server that is not kept itself");
        assert_eq!(with(1, 0), None, "a kiss of death");
        assert_eq!(with(1, 16), None, "not kept");
        assert_eq!(with(24, 0), None, "another's number");
        assert_eq!(read(&good[..47], NONCE), None);
        assert_eq!(read(&answer(0, 1), NONCE), None);
    }

    #[test]
    fn a_server_on_this_machine_is_asked() {
        let server = UdpSocket::bind("[::1]:0").unwrap();
        let address = server.local_addr().unwrap();
        let serve = thread::spawn(move || {
            let mut request = [0; BYTES];
            let (_, from) = server.recv_from(&mut request).unwrap();
            let mut bytes = answer(4_004_294_400, 0);
            bytes[24..32].copy_from_slice(&request[40..48]);
            server.send_to(&bytes, from).unwrap();
        });
        let told = ask(address).unwrap();
        serve.join().unwrap();
        assert!((1_795_305_600.0..1_795_305_604.0).contains(&told.time_s), "{told:?}");
    }
}

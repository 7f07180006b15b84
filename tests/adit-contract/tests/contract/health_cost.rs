// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What health costs the machine that it watches: memory of the agent after thousands of polls, processor time of one look
//! and of a minute in which nothing is asked but once. The agent here has health and nothing else, and is built as tests
//! are, which is larger and slower than what is shipped.

use adit_contract::lab::{Lab, Process, processor_time, resident_memory, thread_time};
use adit_link::serial::{Polled, local};
use adit_wire::health::Poll;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const AGENT_BYTES_MAX: u64 = 12 << 20;
/// Room for a report made anew and pages touched late; a leak of 40 bytes a poll would not fit.
const GROWTH_BYTES_MAX: u64 = 192 << 10;
/// Polls after which memory is looked at, and after as many again.
const POLLS: usize = 5_000;
/// Two looks a minute, each within this, are 0.1 % of a processor.
const LOOK_CPU_MAX: Duration = Duration::from_millis(30);
/// 0.1 % of a processor, of a minute.
const MINUTE_CPU_MAX: Duration = Duration::from_millis(60);
const MINUTE: Duration = Duration::from_secs(60);
const WITHIN: Duration = Duration::from_secs(30);
/// Pollers come and go: so many polls each.
const POLLS_PER_CALLER: usize = 50;

/// An agent with the health role alone.
struct Agent {
    process: Process,
    socket: PathBuf,
    /// What the newest answer had, as a monitor remembers it.
    known: Poll,
    polls: usize,
}

impl Agent {
    fn start(lab: &Lab) -> Self {
        let (config, socket) = (lab.path("aditd.toml"), lab.path("health.sock"));
        let text = format!(
            "state = {:?}\n\n[health]\nsocket = {socket:?}\nprobe = {:?}\n",
            lab.path("state"),
            lab.path("no-probe")
        );
        fs::write(&config, text).unwrap();
        let mut process = Process::start("aditd", ["--config".as_ref(), config.as_os_str()]);
        process.wait_until("its socket", || local::reach(&socket, WITHIN).is_ok());
        let mut agent = Self { process, socket, known: Poll { inventory: 0, report: 0 }, polls: 0 };
        agent.poll(1);
        agent
    }

    /// Polls so often, by callers that come and go: whole reports, and whether there is a newer one.
    fn poll(&mut self, times: usize) {
        let mut left = times;
        while left > 0 {
            let mut caller = local::reach(&self.socket, WITHIN).unwrap();
            caller.hello("soak").unwrap();
            for _ in 0..left.min(POLLS_PER_CALLER) {
                let all = self.polls.is_multiple_of(2);
                let poll = if all { Poll { inventory: 0, report: 0 } } else { self.known };
                if let Polled::Full { report, inventory, snapshot, .. } = caller.poll(poll).unwrap() {
                    assert!(!snapshot.is_empty());
                    self.known = Poll { inventory, report };
                } else {
                    assert!(!all, "a caller that has nothing is told nothing");
                }
                self.polls += 1;
                left -= 1;
            }
        }
    }

    fn resident(&self) -> u64 {
        resident_memory(self.process.id()).unwrap()
    }

    fn cpu(&self) -> Duration {
        processor_time(self.process.id()).unwrap()
    }
}

#[test]
fn ten_thousand_polls_cost_no_memory() {
    let lab = Lab::new();
    let mut agent = Agent::start(&lab);
    agent.poll(POLLS);
    let (half, cpu) = (agent.resident(), agent.cpu());
    agent.poll(POLLS);
    let (all, cpu) = (agent.resident(), agent.cpu() - cpu);
    println!(
        "{} polls: {} KiB, before {} KiB; {:?} of processor time a poll",
        agent.polls,
        all >> 10,
        half >> 10,
        cpu / 5_000
    );
    assert!(agent.polls > 2 * POLLS && all <= AGENT_BYTES_MAX, "{} KiB after {} polls", all >> 10, agent.polls);
    assert!(all.saturating_sub(half) <= GROWTH_BYTES_MAX, "from {} to {} KiB in 5,000 polls", half >> 10, all >> 10);
}

/// The first look is the dearest: nothing is in a cache, everything that is remembered is new.
#[test]
fn a_look_costs_little_processor_time() {
    let lab = Lab::new();
    let agent = Agent::start(&lab);
    let look = thread_time(agent.process.id(), "health").unwrap();
    println!("the first look: {look:?}");
    assert!(look > Duration::ZERO && look <= LOOK_CPU_MAX, "{look:?}");
}

/// MINUTES=10 unless told otherwise: the first half with one poll a minute, then ten thousand polls in each half of the rest.
#[test]
fn soak_health_costs_little_for_long() {
    let minutes: u32 = std::env::var("MINUTES").map_or(10, |text| text.parse().unwrap());
    assert!(minutes >= 4, "MINUTES must be at least 4");
    let lab = Lab::new();
    let mut agent = Agent::start(&lab);
    let quiet = minutes / 2;
    let mut dearest = Duration::ZERO;
    let before = agent.cpu();
    for _ in 0..quiet {
        let minute = agent.cpu();
        wait_until(Instant::now() + MINUTE);
        agent.poll(1);
        dearest = dearest.max(agent.cpu() - minute);
    }
    let mean = (agent.cpu() - before) / quiet;
    println!("{quiet} min, one poll each: {mean:?} of processor time a minute, at most {dearest:?}");
    let mut resident = Vec::new();
    for _ in 0..2 {
        let end = Instant::now() + MINUTE * (minutes - quiet) / 2;
        let (pause, from) = (MINUTE * (minutes - quiet) / 2 / 200, agent.polls);
        while Instant::now() < end || agent.polls - from < 2 * POLLS {
            agent.poll(POLLS_PER_CALLER);
            wait_until(end.min(Instant::now() + pause));
        }
        resident.push(agent.resident());
        println!("{} polls: {} KiB", agent.polls, agent.resident() >> 10);
    }
    assert!(mean <= MINUTE_CPU_MAX, "{mean:?} of processor time a minute");
    assert!(resident[1] <= AGENT_BYTES_MAX, "{} KiB after {} polls", resident[1] >> 10, agent.polls);
    assert!(resident[1].saturating_sub(resident[0]) <= GROWTH_BYTES_MAX, "it grows: {resident:?} bytes");
}

fn wait_until(then: Instant) {
    while let Some(left) = then.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The thread that looks at the machine. A file of the kernel or a file system on a dead disk may keep it for ever; so it is
//! one thread of its own, its rounds are asked for one at a time, and whoever asks may stop waiting.

use adit_health::expect::Expected;
use adit_health::{Collector, Gathered, Limits, Memory, Report, Surroundings};
use std::io;
use std::sync::mpsc;
use tokio::sync::oneshot;

/// What to look at.
pub(super) struct Look {
    /// The wall clock, seconds since 1970.
    pub(super) now_s: u64,
    /// What others told.
    pub(super) gathered: Gathered,
    /// Ids of things that a person retired.
    pub(super) forget: Vec<String>,
}

/// What was seen.
pub(super) struct Seen {
    pub(super) report: Report,
    /// What to store now.
    pub(super) remembered: Remembered,
}

/// What health remembers from one run of the agent to the next, encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remembered {
    /// What the rules remember.
    pub(crate) memory: Vec<u8>,
    /// What belongs to this machine.
    pub(crate) expected: Vec<u8>,
}

pub(super) struct Looker {
    orders: mpsc::Sender<(Look, oneshot::Sender<Seen>)>,
}

impl Looker {
    /// Starts the thread. It ends when this is dropped and its round is over.
    pub(super) fn start(surroundings: Surroundings, limits: Limits, remembered: &Remembered) -> io::Result<Self> {
        let (orders, rounds) = mpsc::channel::<(Look, oneshot::Sender<Seen>)>();
        let mut collector = Collector::new(surroundings, limits, Memory::decode(&remembered.memory))
            .expecting(Expected::decode(&remembered.expected));
        let _detached = std::thread::Builder::new().name("health".to_owned()).spawn(move || {
            while let Ok((look, answer)) = rounds.recv() {
                for id in &look.forget {
                    collector.forget(id);
                }
                let report = collector.collect(look.now_s, &look.gathered);
                let remembered =
                    Remembered { memory: collector.memory().encode(), expected: collector.expected().encode() };
                // Whoever asked may have been stopped meanwhile.
                let _unheard = answer.send(Seen { report, remembered });
            }
        })?;
        Ok(Self { orders })
    }

    /// Asks for a round. The answer ends without a value when the thread is gone.
    pub(super) fn look(&self, look: Look) -> oneshot::Receiver<Seen> {
        let (answer, seen) = oneshot::channel();
        // A thread that is gone drops the order, and with it the answer.
        let _gone = self.orders.send((look, answer));
        seen
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The way to the box: one thread that runs the network, dialling by the pin, and what a failed hop is called.
//!
//! The rest of the program blocks; this thread never does, so that a link stays alive (it answers PING) while files are
//! read, written or asked for. It decides nothing about trust: the link checks the pinned key.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "hops and link errors may grow; a new one gets the general sentence"
)]

use crate::exit::Exit;
use crate::failure::Failure;
use crate::pin::Pin;
use crate::state::StateDir;
use adit_link::{About, Conversation, Deadlines, DialError, Door, Frame, Identity, Link, LinkError, Target, Tried};
use adit_wire::frame::Message;
use adit_wire::ids::PublicKey;
use adit_wire::refusal::Code;
use std::future::Future;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// What this program calls itself in a Greeting.
pub const SOFTWARE: &str = concat!("adit ", env!("CARGO_PKG_VERSION"));

/// First pause before a busy box is dialled again; doubles up to [`BUSY_PAUSE_MAX`].
const BUSY_PAUSE_FIRST: Duration = Duration::from_millis(200);
/// Longest pause before a busy box is given up.
const BUSY_PAUSE_MAX: Duration = Duration::from_secs(8);

/// The network thread. Dropping it ends every link.
#[derive(Debug)]
pub struct Net {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Net {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread or event queue.
    pub fn start() -> Result<Self, Failure> {
        let fail = |error: std::io::Error| Failure::internal(format!("the network thread did not start: {error}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(fail)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("adit-net".to_owned())
            .spawn(move || {
                // An error means that the sender is gone: time to stop as well.
                let _ignored = runtime.block_on(stopped);
            })
            .map_err(fail)?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Runs a future to its end while the caller waits.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        self.handle.block_on(future)
    }

    /// A handle for whoever spawns or blocks elsewhere.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has printed itself.
            let _ignored = thread.join();
        }
    }
}

/// Whom to dial, as whom.
#[derive(Clone, Debug)]
pub struct Way {
    /// This machine's key.
    pub identity: Identity,
    /// The box's key.
    pub expected: PublicKey,
    /// "the box cellar".
    pub called: String,
    targets: Arc<Mutex<Vec<Target>>>,
}

impl Way {
    /// A way that a person typed or a token names.
    #[must_use]
    pub fn new(identity: Identity, expected: PublicKey, called: String, targets: Vec<Target>) -> Self {
        Self { identity, expected, called, targets: Arc::new(Mutex::new(targets)) }
    }

    /// The way of a paired state directory.
    ///
    /// # Errors
    /// When it is not paired or a file is damaged.
    pub fn paired(state: &StateDir) -> Result<(Self, Pin), Failure> {
        let pin = Pin::need(state)?;
        let identity = state.identity()?.ok_or_else(|| Failure::not_paired(state.path()))?;
        let way = Self::new(identity, pin.public_key(state)?, pin.called(), pin.targets(state)?);
        Ok((way, pin))
    }

    /// The addresses that the next dial tries.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        self.targets.lock().map(|targets| targets.clone()).unwrap_or_default()
    }

    /// Replaces the addresses: a newer record of the box came.
    pub fn set_targets(&self, new: Vec<Target>) {
        if let Ok(mut targets) = self.targets.lock() {
            *targets = new;
        }
    }

    /// Dials once.
    ///
    /// # Errors
    /// The hop that failed.
    pub async fn dial(&self, door: Door) -> Result<Link, DialError> {
        let about = About { software: SOFTWARE.to_owned(), address_record: Vec::new() };
        adit_link::dial(&self.targets(), door, &self.identity, self.expected, &about, Deadlines::default()).await
    }

    /// Dials; a box that is busy with others at its door is tried again for some seconds. The failure is a sentence.
    ///
    /// # Errors
    /// The hop that failed, and the next step.
    pub async fn connect(&self, door: Door) -> Result<Link, Failure> {
        let mut pause = BUSY_PAUSE_FIRST;
        loop {
            match self.dial(door).await {
                Err(error) if is_busy(&error) && pause <= BUSY_PAUSE_MAX => log::info!("dial: {error}; again soon"),
                other => return other.map_err(|error| self.dial_failure(&error)),
            }
            // Machines that started at the same moment must not come back at the same moment.
            tokio::time::sleep(pause.mul_f64(random_share())).await;
            pause *= 2;
        }
    }

    /// The sentence of a failed dial.
    #[must_use]
    pub fn dial_failure(&self, error: &DialError) -> Failure {
        // Where there was one address only, the link does not name it.
        match (error, self.targets().as_slice()) {
            (DialError::All(_), _) => dial_failure(&self.called, error),
            (single, [target]) => {
                let address = if let Target::Address(address) = target { Some(*address) } else { None };
                let tried = Tried { target: target.to_string(), address, error: single.clone() };
                dial_failure(&self.called, &DialError::All(vec![tried]))
            }
            (other, _) => dial_failure(&self.called, other),
        }
    }
}

/// Keeps the box's newest signed address record, if the Greeting brought one.
///
/// # Errors
/// When the link ended before the Greeting or the pin can't be written.
pub async fn keep_addresses(state: &StateDir, way: &Way, pin: &mut Pin, link: &Link) -> Result<(), Failure> {
    let greeting = link.greeted().await.map_err(|error| link_failure(&error))?;
    if pin.accept_record(&greeting.address_record) {
        pin.write(state)?;
        way.set_targets(pin.targets(state)?);
    }
    Ok(())
}

/// Sends one request and waits for the one answer that ends the conversation.
///
/// # Errors
/// When the link ends or the box refuses.
pub async fn ask<'a, M: Message<'a>>(link: &Link, request: &M) -> Result<Frame, Failure> {
    let conversation = link.open().map_err(|error| link_failure(&error))?;
    conversation.send(request, true).await.map_err(|error| link_failure(&error))?;
    answer(&conversation).await
}

/// The next frame of a conversation.
///
/// # Errors
/// When the link ends, the box refuses, or nothing more comes.
pub async fn answer(conversation: &Conversation) -> Result<Frame, Failure> {
    let frame = conversation.recv().await.map_err(|error| link_failure(&error))?;
    frame.ok_or_else(|| link_failure(&LinkError::Protocol("the answer is missing")))
}

/// Reads a message out of a frame.
///
/// # Errors
/// When it is another message or malformed.
pub fn read<'a, M: Message<'a>>(frame: &'a Frame) -> Result<M, Failure> {
    frame.message().map_err(|error| link_failure(&error))
}

/// Whether dialling again may help.
#[must_use]
pub fn is_lost(error: &LinkError) -> bool {
    match error {
        LinkError::Broken(_) | LinkError::Cut | LinkError::Dead | LinkError::Deadline(_) | LinkError::Closed => true,
        LinkError::Goodbye(code) => code.is_none_or(passes),
        LinkError::Refused(refusal) => refusal.code.is_some_and(passes),
        _ => false,
    }
}

/// Whether what the box said passes by itself. A deadline too: where only the way there is dead, the box gives up a silent
/// source and its last word still arrives.
#[must_use]
pub const fn passes(code: Code) -> bool {
    matches!(code, Code::Stopping | Code::Busy | Code::Deadline)
}

/// Whether dialling the same box again may help: every hop can heal, a missing pairing can't.
#[must_use]
pub fn may_heal(error: &DialError) -> bool {
    match error {
        DialError::NotPaired => false,
        DialError::All(tried) => tried.iter().all(|tried| may_heal(&tried.error)),
        _ => true,
    }
}

/// Whether the box closed the door at once: too many knocked at the same time.
fn is_busy(error: &DialError) -> bool {
    match error {
        DialError::Closed => true,
        DialError::All(tried) => tried.iter().any(|tried| is_busy(&tried.error)),
        _ => false,
    }
}

/// Between a half and one and a half.
fn random_share() -> f64 {
    let mut bytes = [0u8; 2];
    crate::text::fill_random(&mut bytes);
    0.5 + f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX)
}

/// The sentence of a link that ended.
#[must_use]
pub fn link_failure(error: &LinkError) -> Failure {
    match error {
        LinkError::Refused(refusal) => Failure::refused(refusal.number, &refusal.detail),
        LinkError::NotPaired => not_known_there("the box"),
        LinkError::Goodbye(Some(code)) if !is_lost(error) => Failure::refused(*code as u16, ""),
        LinkError::Version { .. } => {
            Failure::new(Exit::Refused, error.to_string(), "update the older one of the two programs")
        }
        lost if is_lost(lost) => Failure::new(
            Exit::Unreachable,
            format!("the connection to the box broke: {lost}"),
            "run the command again; what arrived is kept (`adit doctor` tests the way)",
        ),
        other => Failure::new(
            Exit::Refused,
            format!("the box did not answer as expected: {other}"),
            "update both programs; if it stays, please report it with the log of both sides",
        ),
    }
}

fn not_known_there(called: &str) -> Failure {
    Failure::new(
        Exit::NotPaired,
        format!("{called} does not know this machine's key"),
        "it was unpaired, revoked or adopted by another machine: `adit unpair --forget`, then pair with a new token",
    )
}

/// The sentence of a failed dial: the hop and the next step.
#[must_use]
pub fn dial_failure(called: &str, error: &DialError) -> Failure {
    let (hop, place) = match error {
        DialError::All(tried) => match tried.iter().max_by_key(|tried| telling(&tried.error)) {
            Some(tried) => (&tried.error, tried.address.map_or_else(|| tried.target.clone(), |a| a.to_string())),
            None => (&DialError::NoTarget, String::new()),
        },
        other => (other, String::new()),
    };
    if *hop == DialError::NotPaired {
        return not_known_there(called);
    }
    if *hop == DialError::PairingClosed {
        return Failure::new(
            Exit::Refused,
            format!("{called} waits for no pairing: the token was used before or has expired"),
            "make a new token on the box: `aditd token --role source --name NAME`",
        );
    }
    let place = if place.is_empty() { String::new() } else { format!(" at {place}") };
    Failure::new(Exit::Unreachable, format!("{called} is unreachable{place}: {hop}"), advice(hop, error))
}

/// Which of several failures says most: how far it came.
const fn telling(error: &DialError) -> u8 {
    match error {
        DialError::NoTarget | DialError::Local(_) => 0,
        DialError::Resolve(_) => 1,
        DialError::OnlyIpv4 => 2,
        DialError::NoRoute => 3,
        DialError::NoGlobalIpv6 => 4,
        DialError::TimedOut => 5,
        DialError::Refused => 6,
        DialError::Closed | DialError::NotAdit(_) => 7,
        DialError::Stalled => 8,
        DialError::WrongKey { .. } => 9,
        _ => 10,
    }
}

fn advice(hop: &DialError, whole: &DialError) -> String {
    match hop {
        DialError::NoTarget => "pair again, or write `addresses = [\"[IPv6]:port\"]` into box.toml".to_owned(),
        DialError::NoGlobalIpv6 => {
            "ask the provider for IPv6 or set a tunnel up; `ip -6 addr` shows what this machine has".to_owned()
        }
        DialError::Resolve(_) => "check the name and this machine's resolver; the sheet has the box's addresses".to_owned(),
        DialError::OnlyIpv4 => "give the name an AAAA record with the box's IPv6 address".to_owned(),
        DialError::NoRoute => "check the router: `ip -6 route` shows where IPv6 packets go".to_owned(),
        DialError::Refused => "start aditd on the box, or check the port in its `listen`".to_owned(),
        DialError::TimedOut => timed_out_advice(whole),
        DialError::Stalled => {
            "let ICMPv6 \"packet too big\" through the firewalls on the way, or lower the MTU of this machine to 1280"
                .to_owned()
        }
        DialError::WrongKey { .. } => {
            "compare the box's key with the sheet or with `aditd id` on the box; if it was installed anew: `adit unpair \
             --forget`, then pair with a new token; if not, another machine has its address"
                .to_owned()
        }
        DialError::NotAdit(_) => "check the port: another program listens there".to_owned(),
        DialError::Closed => "try again in a minute; the log of aditd on the box says why it closed".to_owned(),
        DialError::RecoveryClosed => "check that the address belongs to a box that holds backups".to_owned(),
        _ => "`adit doctor` tests every hop".to_owned(),
    }
}

/// Home routers open a port for an interface id, the part of the address that a changed prefix leaves alone.
fn timed_out_advice(error: &DialError) -> String {
    let address = match error {
        DialError::All(tried) => {
            tried.iter().find(|tried| tried.error == DialError::TimedOut).and_then(|tried| tried.address)
        }
        _ => None,
    };
    address.map_or_else(
        || "switch the box on, or open its port in its router's IPv6 firewall".to_owned(),
        |address| {
            format!(
                "switch the box on, or open TCP port {} in its router's IPv6 firewall for interface id {}",
                address.port(),
                interface_id(address.ip())
            )
        },
    )
}

/// The lower half of an address, as routers show it.
#[must_use]
pub fn interface_id(address: &Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & u128::from(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(error: DialError) -> DialError {
        let address = "[2001:db8::a:b:c:d]:11713".parse().ok();
        DialError::All(vec![
            Tried {
                target: "box.example:11713".to_owned(),
                address: None,
                error: DialError::Resolve("gone".to_owned()),
            },
            Tried { target: "[2001:db8::a:b:c:d]:11713".to_owned(), address, error },
        ])
    }

    fn check(error: &DialError, exit: Exit, expected: &str) {
        let failure = dial_failure("the box cellar", error);
        assert_eq!((failure.exit, failure.render().trim_end()), (exit, expected));
    }

    #[test]
    fn every_hop_has_its_sentence() {
        check(
            &tried(DialError::Refused),
            Exit::Unreachable,
            "adit: the box cellar is unreachable at [2001:db8::a:b:c:d]:11713: the machine answers, but nothing listens on this port\n  next: start aditd on the box, or check the port in its `listen`",
        );
        check(
            &tried(DialError::TimedOut),
            Exit::Unreachable,
            "adit: the box cellar is unreachable at [2001:db8::a:b:c:d]:11713: no answer: a firewall drops the packets, or the machine is off\n  next: switch the box on, or open TCP port 11713 in its router's IPv6 firewall for interface id ::a:b:c:d",
        );
        check(
            &DialError::NoGlobalIpv6,
            Exit::Unreachable,
            "adit: the box cellar is unreachable: this machine has no global IPv6 address\n  next: ask the provider for IPv6 or set a tunnel up; `ip -6 addr` shows what this machine has",
        );
        check(
            &DialError::NotPaired,
            Exit::NotPaired,
            "adit: the box cellar does not know this machine's key\n  next: it was unpaired, revoked or adopted by another machine: `adit unpair --forget`, then pair with a new token",
        );
        check(
            &DialError::PairingClosed,
            Exit::Refused,
            "adit: the box cellar waits for no pairing: the token was used before or has expired\n  next: make a new token on the box: `aditd token --role source --name NAME`",
        );
        check(
            &DialError::Stalled,
            Exit::Unreachable,
            "adit: the box cellar is unreachable: connects, then stalls: a hop on the way drops large packets without a word (path MTU), or the program hangs\n  next: let ICMPv6 \"packet too big\" through the firewalls on the way, or lower the MTU of this machine to 1280",
        );
    }

    #[test]
    fn what_can_heal_is_dialled_again() {
        assert!(may_heal(&tried(DialError::TimedOut)));
        assert!(may_heal(&tried(DialError::WrongKey { found: PublicKey([1; 32]) })));
        assert!(!may_heal(&tried(DialError::NotPaired)));
        assert!(is_busy(&tried(DialError::Closed)) && !is_busy(&tried(DialError::Refused)));
        assert!((0.5..=1.5).contains(&random_share()));
        assert!(is_lost(&LinkError::Cut));
        assert!(is_lost(&LinkError::Goodbye(Some(Code::Deadline))));
        assert!(!is_lost(&LinkError::NotPaired));
        assert!(!is_lost(&LinkError::Protocol("x")));
    }
}

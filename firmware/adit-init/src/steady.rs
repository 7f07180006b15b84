// SPDX-License-Identifier: Apache-2.0 OR MIT
//! After the start: events are answered, the agent is guarded, the start is judged, the screen is kept true, and the
//! machine ends in order when it is to end.

use crate::appliance::{Appliance, Event, has_peer, peer_keys};
use crate::boot::{self, Machine};
use crate::disks;
use crate::gate::{Gate, Judgement, Seen};
use crate::panel::Panel;
use crate::pcp::Said;
use crate::{children, clock, data, member, modules, network, power, preseed, start, words};
use adit_slots::decide::{self, Start};
use adit_slots::record::{Reset, SlotState};
use adit_slots::watchdog::Phase;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often the loop turns when nothing happens.
const TICK: Duration = Duration::from_secs(1);
/// How often the time and what ran are written down.
const REMEMBER_EVERY: Duration = Duration::from_secs(600);
/// How often disks are looked at for the screen, and orphans laid to rest.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often the boot disk is asked for a sign of life.
const STORAGE_EVERY: Duration = Duration::from_secs(10);
/// How long a token or a page stays on the screen.
const MORE_FOR: Duration = Duration::from_secs(300);
/// How long an admin token from the console is good.
const TOKEN_LIFETIME: &str = "15m";

/// Serves until the machine ends.
pub(crate) fn run(machine: &mut Machine) -> ! {
    machine.appliance.progress.step(Phase::Steady);
    watch_storage(machine);
    modules::watch(&machine.modules, machine.appliance.events());
    let mut steady = Steady::new(machine);
    loop {
        steady.machine.appliance.progress.loop_turns();
        match steady.machine.events.recv_timeout(TICK) {
            Ok(event) => steady.take(event),
            Err(RecvTimeoutError::Timeout) => {}
            // The machine itself holds one end.
            Err(RecvTimeoutError::Disconnected) => thread::sleep(TICK),
        }
        steady.tick();
    }
}

/// Asks the boot disk on a thread of its own, which may hang.
fn watch_storage(machine: &Machine) {
    let appliance = Arc::clone(&machine.appliance);
    let watch = move || {
        loop {
            if appliance.storage_answers() {
                appliance.progress.storage_answers();
            }
            thread::sleep(STORAGE_EVERY);
        }
    };
    drop(thread::Builder::new().name("storage".to_owned()).spawn(watch));
}

struct Steady<'a> {
    machine: &'a mut Machine,
    gate: Gate,
    judged: bool,
    ready_since: Option<Instant>,
    network_was: bool,
    contact_expected: bool,
    remembered: Instant,
    looked: Option<Instant>,
    /// Read when disks come or go, and at no other time: looking wakes one that sleeps.
    disks: String,
    /// Something came or went since; and whether somebody looks just now: one disk tells of itself many times.
    disks_due: bool,
    looks: bool,
    /// Key slots of revoked peers are being wiped.
    sweeps: bool,
    mirror: String,
    has_admin: bool,
    drawn: Option<Panel>,
    more: Option<(Instant, String)>,
    outside: bool,
}

impl<'a> Steady<'a> {
    fn new(machine: &'a mut Machine) -> Self {
        let seconds = |key| start::word(key).and_then(|text| text.parse().ok());
        let record = machine.appliance.record();
        let day_ago = clock::kept_s().saturating_sub(86_400);
        Self {
            gate: Gate::new(seconds("adit.gate_s"), seconds("adit.gate_max_s")),
            judged: false,
            ready_since: None,
            network_was: false,
            contact_expected: record.contact_s > day_ago,
            remembered: Instant::now(),
            looked: None,
            disks: String::new(),
            disks_due: true,
            looks: false,
            sweeps: false,
            mirror: String::new(),
            has_admin: has_peer("admin"),
            drawn: None,
            more: None,
            outside: false,
            machine,
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Network => self.network_changed(),
            Event::AgentSpoke => self.agent_spoke(),
            Event::AgentEnded => {
                self.ready_since = None;
                if let Some(heard) = &self.machine.heard {
                    heard.forget();
                }
                if std::path::Path::new("/run/adit/poweroff").exists() {
                    self.end(power::Ending::Off, Reset::Ups);
                }
            }
            Event::Data(data, on_boot_disk) => {
                let came = data.is_mounted();
                self.machine.data_came(data, on_boot_disk);
                self.disks_due = true;
                if let Some(agent) = self.machine.agent.as_ref().filter(|_| came) {
                    // It opens the store as it starts.
                    agent.restart();
                }
            }
            Event::DataChanged => boot::look_for_data(self.machine),
            Event::Disks => self.disks_due = true,
            Event::DisksSeen(words) => (self.disks, self.looks) = (words, false),
            // What failed is tried again after a restart.
            Event::Swept(done) => self.sweeps = !done,
            Event::Answer(more) => {
                self.more = (!more.is_empty()).then(|| (Instant::now(), more));
                // A person who typed wants to see the answer, and the typing left its traces.
                self.drawn = None;
            }
            Event::Restart => self.end(power::Ending::Restart, Reset::Unknown),
            Event::Button => self.end(power::Ending::Off, Reset::PowerButton),
            Event::Line(line) => self.line(&line),
        }
    }

    fn network_changed(&mut self) {
        let there = network::addresses().iter().any(network::is_routed);
        if there != self.network_was {
            self.network_was = there;
            let words = if there { "reachable" } else { "no address beyond this link" };
            log::info!("network: {words}");
        }
    }

    fn agent_spoke(&mut self) {
        let ready = self.machine.heard.as_ref().is_some_and(|heard| heard.is_ready());
        match (ready, self.ready_since) {
            (true, None) => {
                self.ready_since = Some(Instant::now());
                let line = format!("adit-init: {:.2} s: the agent serves", start::uptime().as_secs_f64());
                crate::panel::say(&line);
            }
            (false, Some(_)) => self.ready_since = None,
            _ => {}
        }
    }

    fn tick(&mut self) {
        if !self.judged {
            self.judge();
        }
        if self.remembered.elapsed() >= REMEMBER_EVERY && self.machine.appliance.is_free() {
            self.remember();
        }
        if self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            self.looked = Some(Instant::now());
            children::reap_orphans();
            self.mirror = data::mirror_words();
            self.has_admin = has_peer("admin");
            self.outside |= network::heard_from_outside();
            self.network_changed();
            self.sweep_shares();
        }
        if self.disks_due && !self.looks {
            (self.disks_due, self.looks) = (false, true);
            self.look_at_disks();
        }
        if self.more.as_ref().is_some_and(|(since, _)| since.elapsed() > MORE_FOR) {
            self.more = None;
        }
        let panel = self.panel();
        if self.drawn.as_ref() != Some(&panel) {
            panel.draw();
            self.drawn = Some(panel);
        }
    }

    fn judge(&mut self) {
        let (data, _) = self.machine.appliance.data();
        let record = self.machine.appliance.record();
        // A version that proved itself is not at fault when a disk dies or the line is down: only one on trial has to find all
        // as it was.
        let on_trial = record.running_slot().state != SlotState::Good;
        let seen = Seen {
            uptime: start::uptime(),
            serves: self.ready_since.map(|since| since.elapsed()),
            silent: self.machine.heard.as_ref().and_then(|heard| heard.silent_for()),
            data_expected: on_trial && record.data_expected,
            // Whether locked data open is no question of the version.
            data_there: data.is_there(),
            contact_expected: on_trial && self.contact_expected,
            network_there: self.network_was,
        };
        match self.gate.judge(&seen) {
            Judgement::Wait => {}
            Judgement::Good => {
                self.judged = true;
                match self.machine.appliance.confirm(data.is_there()) {
                    Ok(()) => crate::panel::say(&format!(
                        "adit-init: {:.2} s: version {} is confirmed",
                        start::uptime().as_secs_f64(),
                        self.machine.appliance.image.version
                    )),
                    Err(error) => self.machine.appliance.trouble(format!("confirm this version: {error:#}")),
                }
            }
            Judgement::Bad(why) => {
                self.judged = true;
                self.machine.appliance.trouble(format!("this start is not healthy: {why}"));
                // A good version is left only where another one may do better; else a person can reach what there is. A
                // start as a last resort is confirmed if it is healthy, and never ended: that would be a loop.
                let last_resort = self.machine.appliance.start == Start::Recovery;
                if !last_resort && (on_trial || record.other_slot().state == SlotState::Good) {
                    self.end(power::Ending::Restart, Reset::Health);
                }
            }
        }
    }

    fn remember(&mut self) {
        let ran_s = self.remembered.elapsed().as_secs();
        self.remembered = Instant::now();
        let now_s = clock::kept_s();
        let contact_s = if network::peers_connected() { now_s } else { 0 };
        self.machine.appliance.remember(|record| decide::tick(record, ran_s, now_s, contact_s));
    }

    /// A peer that was revoked holds no share any more.
    fn sweep_shares(&mut self) {
        if self.sweeps || self.machine.appliance.lock.holders().is_none() {
            return;
        }
        let Some(peers) = peer_keys().filter(|peers| self.machine.appliance.lock.needs_sweep(peers)) else { return };
        self.sweeps = true;
        let appliance = Arc::clone(&self.machine.appliance);
        self.machine.appliance.aside("shares", move || {
            let swept = appliance.lock.sweep(&peers);
            match &swept {
                Ok(()) => log::info!("the share of a peer that was revoked opens nothing any more"),
                Err(refused) => {
                    appliance.trouble(format!("take back a share: {} {}", refused.code.text(), refused.detail));
                }
            }
            Event::Swept(swept.is_ok())
        });
    }

    /// Takes back what returned, and reads what each disk is.
    fn look_at_disks(&self) {
        let appliance = Arc::clone(&self.machine.appliance);
        self.machine.appliance.aside("disks", move || {
            if let Err(error) = data::add_back() {
                appliance.trouble(format!("{error:#}"));
            }
            Event::DisksSeen(disks_in_words())
        });
    }

    /// A person at the box typed a line.
    fn line(&self, line: &str) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let hostname = self.machine.hostname.clone();
        if let [verb, name] = words.as_slice()
            && verb == "factory-reset"
            && *name == hostname
        {
            self.machine.appliance.begin_factory_reset();
            self.end(power::Ending::Restart, Reset::FactoryReset);
        }
        if let [verb, name] = words.as_slice()
            && verb == "give-up-data"
            && *name == hostname
        {
            let appliance = Arc::clone(&self.machine.appliance);
            self.machine.appliance.aside("line", move || Event::Answer(give_up(&appliance)));
            return;
        }
        let (key, contact) = (self.machine.key.clone(), self.machine.settings.contact.clone());
        self.machine.appliance.aside("line", move || {
            Event::Answer(match words.as_slice() {
                [one] if one.eq_ignore_ascii_case("p") => member::page(&hostname, contact.as_deref()),
                _ => answer(&words, &hostname, &key),
            })
        });
    }

    fn panel(&self) -> Panel {
        let appliance = &self.machine.appliance;
        let record = appliance.record();
        let (data, _) = appliance.data();
        let other = record.other_slot();
        let version = match other.state {
            SlotState::Empty | SlotState::Writing => String::new(),
            SlotState::Staged => format!("; {} waits to be activated", other.version),
            SlotState::Trying => format!("; {} is tried next", other.version),
            SlotState::Good => format!("; {} is kept to go back to", other.version),
            SlotState::Bad(why) => format!("; {} failed: {}", other.version, words::reset(why)),
        };
        let running = match appliance.start {
            Start::Trying { left } if !self.judged => format!("on trial, {left} more tries"),
            Start::Recovery => "started as a last resort".to_owned(),
            Start::Normal | Start::Trying { .. } | Start::Leave | Start::FactoryReset => "good".to_owned(),
        };
        let agent = match (self.ready_since, &self.machine.agent) {
            (Some(_), _) => "serves".to_owned(),
            (None, Some(agent)) if agent.starts() > 1 => format!("is being started (time {})", agent.starts()),
            (None, Some(_)) => "is being started".to_owned(),
            (None, None) => "cannot be started".to_owned(),
        };
        let mut keys =
            vec![('p', "a page for your phone"), ('a', "show this box's key"), ('d', "disks, factory reset")];
        if !self.has_admin {
            keys.insert(0, ('t', "make a token for the first admin"));
        }
        Panel {
            title: format!("{}   {}", preseed::title(appliance.image.version), self.machine.hostname),
            rows: vec![
                ("version", format!("{} is {running}{version}", appliance.image.version)),
                ("addresses", addresses_in_words()),
                ("outside", self.outside_in_words()),
                ("agent", agent),
                (
                    "data",
                    [data.words(), self.mirror.clone()]
                        .into_iter()
                        .filter(|words| !words.is_empty())
                        .collect::<Vec<_>>()
                        .join("; "),
                ),
                ("disks", self.disks.clone()),
                ("key", self.machine.key.clone()),
                (
                    "watchdog",
                    if appliance.watchdog.is_empty() { "none".to_owned() } else { appliance.watchdog.clone() },
                ),
                ("last start", words::reset(record.reset).to_owned()),
                ("to stop", member::STOP.to_owned()),
                (
                    "questions",
                    self.machine.settings.contact.clone().unwrap_or_else(|| "the admin of this box".to_owned()),
                ),
            ],
            trouble: appliance.last_trouble(),
            more: self.more.as_ref().map(|(_, text)| text.clone()).unwrap_or_default(),
            keys,
        }
    }

    fn outside_in_words(&self) -> String {
        let seen = if self.outside { "others have reached this box" } else { "nobody has reached this box yet" };
        let port = self.machine.port.as_ref().map(|port| *port.lock().unwrap_or_else(PoisonError::into_inner));
        match port {
            None | Some(Said::NotAsked) => seen.to_owned(),
            Some(port) => format!("{seen}; {port}"),
        }
    }

    /// Ends the machine: programs first, then file systems, then off or again.
    fn end(&self, how: power::Ending, why: Reset) -> ! {
        let progress = self.machine.appliance.progress.clone();
        progress.step(Phase::Stopping);
        if why != Reset::Unknown {
            self.machine.appliance.remember(|record| decide::stop(record, why, clock::kept_s()));
        }
        // Whoever asked for it may have written down why.
        crate::panel::say(&format!("\r\nadit-init: ends: {}", words::reset(self.machine.appliance.record().stop)));
        if let Some(agent) = &self.machine.agent {
            agent.release();
        }
        power::stop_programs();
        progress.step(Phase::Stopping);
        if let Err(error) = power::unmount() {
            log::error!("unmount: {error:#}");
        }
        data::stop();
        power::now(how);
    }
}

/// A person at the box gives encrypted data up that no share opens any more.
fn give_up(appliance: &Appliance) -> String {
    if appliance.data().0.is_mounted() {
        return "The data are open; nothing is given up.\n".to_owned();
    }
    match appliance.lock.forget().and_then(|()| data::forget_place()) {
        Ok(()) => "The encrypted data are given up; `empty` and `adit box disk use` take a disk anew.\n".to_owned(),
        Err(error) => format!("{error:#}\n"),
    }
}

/// What a line gets as an answer.
fn answer(words: &[String], hostname: &str, key: &str) -> String {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["t" | "T"] if !has_peer("admin") => {
            let token = ["token", "--role", "admin", "--name", "admin", "--lifetime", TOKEN_LIFETIME];
            boot::ask_agent(&token).unwrap_or_else(|error| format!("{error:#}"))
        }
        ["a" | "A"] => format!("The key of this box, by which an admin knows it:\n{key}\n"),
        ["d" | "D"] => disks_page(hostname),
        ["empty", serial, again] if serial == again => match disks::empty(serial) {
            Ok(()) => format!("{serial} is blank now.\n"),
            Err(refused) => format!("{}: {}\n", refused.code.text(), refused.detail),
        },
        [] => String::new(),
        _ => "This is no command here; the line below names those that are.\n".to_owned(),
    }
}

/// What a person at the box can do to disks, and nobody from afar.
fn disks_page(hostname: &str) -> String {
    let mut page = "The disks of this box:\n".to_owned();
    for known in disks::list() {
        let holds = if known.holds.is_empty() { "nothing" } else { &known.holds };
        page.push_str(&format_args!("  {}  is {}, holds {holds}\n", known.disk.title(), known.part.word()).to_string());
    }
    page.push_str("To empty one that is not in use, type: empty SERIAL SERIAL\n");
    page.push_str("To give up encrypted data whose shares or disks are lost, type: give-up-data ");
    page.push_str(hostname);
    page.push('\n');
    page.push_str("To erase everything that this box holds, type: factory-reset ");
    page.push_str(hostname);
    page.push('\n');
    page
}

fn addresses_in_words() -> String {
    let addresses = network::addresses();
    let usable: Vec<String> = addresses
        .iter()
        .filter(|address| network::is_routed(address))
        .map(|address| address.address.to_string())
        .collect();
    match (usable.is_empty(), network::carrier()) {
        (false, _) => usable.join(" "),
        (true, None) => "this machine has no network card that is known here".to_owned(),
        (true, Some(false)) => "none: no network cable is plugged in".to_owned(),
        (true, Some(true)) => "none: the network has no IPv6 router (no router announcement was heard)".to_owned(),
    }
}

fn disks_in_words() -> String {
    let known = disks::list();
    let words: Vec<String> =
        known.iter().map(|known| format!("{}: {}", known.disk.title(), known.part.word())).collect();
    words.join(", ")
}

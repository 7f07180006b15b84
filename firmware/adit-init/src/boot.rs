// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The start, step by step: each says one line on the console and counts as progress for the watchdog.

use crate::appliance::{Appliance, Event};
use crate::block::{self, Disk};
use crate::data::{self, Data};
use crate::image::Image;
use crate::lock::Lock;
use crate::modules::{self, Modules};
use crate::preseed::{self, Preseed};
use crate::services::{self, AGENT_CONFIG, Heard, Service};
use crate::slots::Slots;
use crate::watchdog::{self, Progress};
use crate::{children, clock, logger, network, orders, panel, power, reset, start};
use adit_slots::decide::Start;
use adit_slots::layout::{ESP_TYPE, STATE_TYPE, VAR_NAME, VAR_TYPE};
use adit_slots::record::Reset;
use adit_slots::version::Version;
use adit_slots::watchdog::Phase;
use anyhow::{Context as _, Result};
use std::fs;
use std::net::Ipv6Addr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// How long the boot disk may take to appear.
const DISK_WAIT: Duration = Duration::from_secs(10);
/// How long the agent waits for the data before it starts without them.
const DATA_WAIT: Duration = Duration::from_secs(2);
/// How often a preseeded monitor is tried, with a growing wait: an hour in all.
const JOIN_TRIES: u32 = 26;
const JOIN_EVERY: Duration = Duration::from_secs(10);
/// Modules that no device asks for.
const MODULES: [&str; 7] = ["efivarfs", "efi_pstore", "ext4", "raid1", "evdev", "button", "virtio_console"];
/// The box's own state: the agent's, and the first process's beside it.
const VAR: &str = "/var/lib";
const AGENT_STATE: &str = "/var/lib/adit";
const OWN_STATE: &str = "/var/lib/adit-init";
const SETTINGS: &str = "/var/lib/adit-init/adit.toml";
/// The boot loader's variable with the partition it came from (systemd's Boot Loader Interface).
const LOADER_PARTITION: &str = "/sys/firmware/efi/efivars/LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// A started machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) appliance: Arc<Appliance>,
    pub(crate) events: Receiver<Event>,
    pub(crate) modules: Arc<std::sync::Mutex<Modules>>,
    pub(crate) settings: Preseed,
    pub(crate) console: Option<String>,
    pub(crate) key: String,
    pub(crate) hostname: String,
    /// What the router says about the agent's port; none where it is not asked.
    pub(crate) port: Option<Arc<std::sync::Mutex<crate::pcp::Said>>>,
    pub(crate) heard: Option<Arc<Heard>>,
    pub(crate) agent: Option<Arc<Service>>,
}

/// Says a step on the console and in the log.
fn step(progress: &Progress, words: &str) {
    progress.step(Phase::Boot);
    let line = format!("adit-init: {:.2} s: {words}", start::uptime().as_secs_f64());
    log::info!("{words}");
    panel::say(&line);
}

/// Tells what could not be done; the start goes on.
fn note<T>(outcome: Result<T>, trouble: &mut Vec<String>) -> Option<T> {
    outcome.map_err(|error| trouble.push(format!("{error:#}"))).ok()
}

/// Starts the machine.
pub(crate) fn boot() -> Machine {
    let mut trouble = start::mounts();
    logger::start();
    let progress = Progress::new();
    let image = Image::read().unwrap_or_else(|error| {
        // Nothing in this image can be relied on: the panic ends this try, and the boot loader counts it.
        panic!("the image does not say what it is: {error:#}")
    });
    let (mut modules, watchdogs) = load_drivers(image.version, &progress, &mut trouble);

    let found = reset::told();
    let disk = find_boot_disk(&mut modules, &progress);
    let (slots, decided, fresh) = open_slots(disk.as_ref(), &image, found, &mut trouble);
    let reset = crate::words::reset(slots.record().reset);
    step(&progress, &format!("start: {} ({reset})", crate::words::start(decided)));
    let slots = leave_or_reset(slots, decided, disk.as_ref(), &progress);

    let (sender, events) = mpsc::channel();
    let lock = note(Lock::new(disk.as_ref()), &mut trouble).unwrap_or_else(|| Lock::unreadable(disk.as_ref()));
    let watchdogs = watchdogs.join(", ");
    let appliance = Arc::new(Appliance::new(image, decided, watchdogs, progress.clone(), lock, slots, sender.clone()));
    let has_state = disk.as_ref().is_some_and(|disk| note(mount_state(disk, fresh), &mut trouble).is_some());
    let settings = note(read_settings(&appliance), &mut trouble).unwrap_or_default();
    let console = agent_console();
    note(services::folders(), &mut trouble);
    note(write_config(&settings, None, console.as_deref()), &mut trouble);
    let key = if has_state { note(agent_key(), &mut trouble).unwrap_or_default() } else { String::new() };
    let hostname = settings.hostname.clone().unwrap_or_else(|| preseed::default_hostname(key.as_bytes()));
    note(nix::unistd::sethostname(&hostname).map_err(Into::into), &mut trouble);
    note(start_network(&settings, &key, &sender), &mut trouble);
    note(crate::sntp::start(settings.ntp.clone()), &mut trouble);
    let port = if settings.port_by_hand { None } else { note(crate::pcp::start(), &mut trouble) };
    step(&progress, &format!("{hostname} is on the network"));

    let mut machine = Machine {
        appliance: Arc::clone(&appliance),
        events,
        modules: Arc::new(std::sync::Mutex::new(modules)),
        settings,
        console,
        key,
        hostname,
        port,
        heard: None,
        agent: None,
    };
    if has_state {
        note(pin_preseed(&machine), &mut trouble);
        if let Some(monitor) = machine.settings.monitor.take() {
            note(join_monitor(&appliance, monitor), &mut trouble);
        }
        start_services(&mut machine, &mut trouble);
    } else {
        trouble.push("no disk with this box's own state was found: nobody can reach the agent".to_owned());
    }
    note(orders::serve(&appliance), &mut trouble);
    panel::hear(&sender, Event::Line);
    power::watch_button(&sender, &Event::Button);
    for words in trouble {
        appliance.trouble(words);
    }
    step(&progress, "started");
    machine
}

/// Arms a watchdog and loads what the devices ask for. Answers what else may be loaded, and which watchdogs are armed: one
/// that the firmware left running counts from the first moment, one on a bus as soon as its driver is there.
fn load_drivers(version: Version, progress: &Progress, trouble: &mut Vec<String>) -> (Modules, Vec<String>) {
    let mut armed = Vec::new();
    let mut watchdogs = watchdog::arm(progress, &mut armed);
    step(progress, &format!("{} starts", preseed::title(version)));
    trouble.extend(network::defaults());
    let mut modules = Modules::read();
    trouble.extend(modules.for_devices());
    trouble.extend(MODULES.iter().filter_map(|name| modules.load(name).err()).map(|error| format!("{error:#}")));
    start::mount_late("efivarfs");
    start::mount_late("pstore");
    watchdogs.extend(watchdog::arm(progress, &mut armed));
    for driver in modules::present(&watchdog::DRIVERS) {
        if watchdogs.is_empty() && modules.load(driver).is_ok() {
            watchdogs.extend(watchdog::arm(progress, &mut armed));
        }
    }
    let names = if watchdogs.is_empty() { "none".to_owned() } else { watchdogs.join(", ") };
    step(progress, &format!("watchdog: {names}"));
    (modules, watchdogs)
}

/// A version that has failed is left at once, and a factory reset goes on; every other start comes back with its slots.
fn leave_or_reset(slots: Slots, decided: Start, disk: Option<&Disk>, progress: &Progress) -> Slots {
    if slots.record().reset == Reset::Panic {
        reset::harvest();
    }
    match (decided, disk) {
        (Start::Leave, _) => {
            panel::say("adit-init: this version has failed; the other one is started");
            power::now(power::Ending::Restart)
        }
        (Start::FactoryReset, Some(disk)) => {
            crate::slots::factory_reset(slots, disk, progress, |words| step(progress, words))
        }
        _ => slots,
    }
}

/// The disk that this image was booted from: the one the boot loader names, else the only one that looks like it.
fn find_boot_disk(modules: &mut Modules, progress: &Progress) -> Option<Disk> {
    let named = loader_partition();
    let until = Instant::now() + DISK_WAIT;
    loop {
        let all = block::disks();
        let ours: Vec<&Disk> = all.iter().filter(|disk| disk.partition(STATE_TYPE).is_some()).collect();
        let is_named = |disk: &&&Disk| disk.partition(ESP_TYPE).is_some_and(|esp| Some(&esp.uuid) == named.as_ref());
        let found = ours.iter().find(is_named).copied().or_else(|| match ours.as_slice() {
            [one] if named.is_none() || Instant::now() >= until => Some(*one),
            _ => None,
        });
        if let Some(disk) = found {
            step(progress, &format!("boot disk: {}", disk.title()));
            return Some(grown(disk.clone()));
        }
        if Instant::now() >= until {
            step(progress, "boot disk: none");
            return None;
        }
        thread::sleep(Duration::from_millis(50));
        // A disk on USB takes seconds to show itself, and asks for its module then.
        drop(modules.for_devices());
    }
}

/// The GUID of the partition with the boot loader: four bytes of attributes, then UTF-16.
fn loader_partition() -> Option<String> {
    let bytes = fs::read(LOADER_PARTITION).ok()?;
    let units = bytes
        .get(4..)?
        .chunks_exact(2)
        .filter_map(|pair| pair.first_chunk::<2>().map(|unit| u16::from_le_bytes(*unit)));
    let text = String::from_utf16(&units.take_while(|unit| *unit != 0).collect::<Vec<_>>()).ok()?;
    Some(text.to_lowercase())
}

/// The disk with its last partition grown to its end.
fn grown(disk: Disk) -> Disk {
    match disk.grow_last() {
        Ok(true) => {
            log::info!("the last partition of {} was grown", disk.node);
            block::disks().into_iter().find(|now| now.node == disk.node).unwrap_or(disk)
        }
        Ok(false) => disk,
        Err(error) => {
            log::error!("let the last partition fill {}: {error:#}", disk.node);
            disk
        }
    }
}

/// The slots, how this start goes on, and whether this is the very first one.
fn open_slots(disk: Option<&Disk>, image: &Image, found: Reset, trouble: &mut Vec<String>) -> (Slots, Start, bool) {
    let paths =
        disk.and_then(|disk| Some((disk.partition(ESP_TYPE)?.path.clone(), disk.partition(STATE_TYPE)?.path.clone())));
    let (mut slots, fresh) = Slots::open(paths);
    clock::set_floor(image.built_s, slots.record().time_s);
    let decided = slots.start(image, found);
    trouble.extend(slots.take_trouble());
    (slots, decided, fresh)
}

/// Mounts the box's own state. It is made at the very first start; a broken one is made again only as long as nothing can
/// have been in it.
fn mount_state(disk: &Disk, fresh: bool) -> Result<()> {
    let partition = disk.partition(VAR_TYPE).context("the boot disk has no partition for the box's own state")?;
    let path = &partition.path;
    if fresh && block::content(path) != format!("ext4 \"{VAR_NAME}\"") || block::content(path) == "blank" {
        data::format(path, VAR_NAME)?;
    }
    let mounted = data::check(path).and_then(|()| data::mount_ext4(path, VAR));
    match mounted {
        Err(error) if fresh => {
            log::warn!("the box's own state is made anew: {error:#}");
            data::format(path, VAR_NAME)?;
            data::mount_ext4(path, VAR)?;
        }
        other => other?,
    }
    for folder in [AGENT_STATE, OWN_STATE] {
        fs::create_dir_all(folder)?;
    }
    services::give(Path::new(AGENT_STATE))
}

/// The settings that were kept; at the first start those on the stick, which are kept then. A monitor's one-time token stays
/// on the stick until it was used, and never lies on the box's own disk.
fn read_settings(appliance: &Appliance) -> Result<Preseed> {
    let _linked = std::os::unix::fs::symlink("/run/resolv.conf", "/etc/resolv.conf");
    let stick = appliance.preseed_of_stick();
    if let Ok(kept) = fs::read_to_string(SETTINGS) {
        let mut settings = Preseed::parse(&kept)?;
        settings.monitor = stick.and_then(|text| Preseed::parse(&text).ok()).and_then(|stick| stick.monitor);
        return Ok(settings);
    }
    let Some(text) = stick else { return Ok(Preseed::default()) };
    let settings = Preseed::parse(&text).context("adit.toml on the boot partition")?;
    if Path::new(OWN_STATE).exists() {
        write_durably(Path::new(SETTINGS), preseed::without_token(&text)?.as_bytes())?;
        if settings.monitor.is_none() {
            appliance.forget_preseed();
        }
    }
    Ok(settings)
}

/// Joins the monitor that was preseeded, on a thread of its own: the network may take its time. The token goes when it was
/// used, or can be used no more.
fn join_monitor(appliance: &Arc<Appliance>, monitor: preseed::Monitor) -> Result<()> {
    let appliance = Arc::clone(appliance);
    let join = move || {
        let name = monitor.name;
        for wait in (1..=JOIN_TRIES).map(|tries| JOIN_EVERY * tries) {
            match ask_agent(&["pair", &monitor.token, "--name", &name]) {
                Ok(_) => {
                    log::info!("paired with the monitor {name}");
                    return appliance.forget_preseed();
                }
                Err(error) => log::warn!("pair with the monitor {name}: {error:#}"),
            }
            thread::sleep(wait);
        }
        appliance.trouble(format!("the monitor {name} could not be paired with; make a new token"));
        appliance.forget_preseed();
    };
    drop(thread::Builder::new().name("monitor".to_owned()).spawn(join)?);
    Ok(())
}

pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    fs::File::open(&new)?.sync_all()?;
    fs::rename(&new, path)?;
    if let Some(folder) = path.parent() {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Writes the agent's configuration.
pub(crate) fn write_config(settings: &Preseed, store: Option<&str>, console: Option<&str>) -> Result<()> {
    fs::write(AGENT_CONFIG, settings.agent_config(store, console)?).context("write the agent's configuration")
}

/// The serial line that is the agent's: a virtio port of that name, where there is one.
fn agent_console() -> Option<String> {
    let named = |entry: fs::DirEntry| {
        let name = fs::read_to_string(entry.path().join("name")).ok()?;
        (name.trim() == "adit.console").then(|| PathBuf::from("/dev").join(entry.file_name()))
    };
    let port = fs::read_dir("/sys/class/virtio-ports").into_iter().flatten().flatten().find_map(named)?;
    services::give(&port).ok()?;
    port.to_str().map(str::to_owned)
}

/// Runs the agent's program for one answer, as its own user.
pub(crate) fn ask_agent(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("/usr/bin/aditd");
    command.args(["--config", AGENT_CONFIG]).args(arguments).uid(services::AGENT_ID).gid(services::AGENT_ID);
    command.env("HOME", AGENT_STATE).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = children::spawn(&mut command)?;
    let id = child.id();
    let output = child.wait_with_output();
    children::forget(id);
    let output = output?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Only the verb: what follows it may be a token.
    let verb = arguments.first().copied().unwrap_or_default();
    anyhow::ensure!(output.status.success(), "aditd {verb}: {}", children::last(&said));
    Ok(format!("{}{said}", String::from_utf8_lossy(&output.stdout)))
}

fn agent_key() -> Result<String> {
    ask_agent(&["id"]).map(|said| said.lines().next().unwrap_or_default().to_owned())
}

fn start_network(settings: &Preseed, key: &str, sender: &Sender<Event>) -> Result<()> {
    let token: Ipv6Addr = network::token(key.as_bytes());
    let fixed = settings.fixed()?;
    network::watch(token, fixed.clone(), sender.clone(), Event::Network)?;
    for words in network::up(token, fixed.as_ref())? {
        log::warn!("{words}");
    }
    Ok(())
}

/// Pins an admin's key that was preseeded, and dials the monitor that was: both at the very first start only.
fn pin_preseed(machine: &Machine) -> Result<()> {
    let Some(admin) = &machine.settings.admin else { return Ok(()) };
    let done = Path::new(OWN_STATE).join("admin-pinned");
    if done.exists() {
        return Ok(());
    }
    let table = toml::Table::from_iter([
        ("role".to_owned(), toml::Value::String("admin".to_owned())),
        ("key".to_owned(), toml::Value::String(admin.key.clone())),
    ]);
    let folder = Path::new(AGENT_STATE).join("peers");
    fs::create_dir_all(&folder)?;
    services::give(&folder)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    anyhow::ensure!(
        !admin.name.is_empty() && admin.name.chars().all(fits),
        "admin.name = {:?}: use letters, digits, dashes",
        admin.name
    );
    let path = folder.join(format!("{}.toml", admin.name));
    write_durably(&path, toml::to_string(&table)?.as_bytes())?;
    services::give(&path)?;
    write_durably(&done, b"")
}

/// Starts the agent, with the data if they come in time, without them otherwise.
fn start_services(machine: &mut Machine, trouble: &mut Vec<String>) {
    let events = machine.appliance.events();
    look_for_data(machine);
    drop(note(services::start_probe(events.clone(), || Event::Network), trouble));
    let until = Instant::now() + DATA_WAIT;
    let mut kept = Vec::new();
    while let Ok(event) = machine.events.recv_timeout(until.saturating_duration_since(Instant::now())) {
        if let Event::Data(data, on_boot_disk) = event {
            machine.data_came(data, on_boot_disk);
            break;
        }
        kept.push(event);
    }
    kept.into_iter().for_each(|event| machine.appliance.tell(event));
    machine.heard = note(services::hear(&machine.appliance.progress, events.clone(), || Event::AgentSpoke), trouble);
    machine.agent = note(services::start_agent(events, || Event::AgentEnded), trouble);
}

/// Looks for the data aside: a disk may take long, or for ever.
pub(crate) fn look_for_data(machine: &Machine) {
    let appliance = Arc::clone(&machine.appliance);
    machine.appliance.aside("data", move || {
        let (data, on_boot_disk) = data::bring_up(&appliance.lock);
        Event::Data(data, on_boot_disk)
    });
}

impl Machine {
    /// The data are there, or cannot be: the agent's configuration says so from now on.
    pub(crate) fn data_came(&self, data: Data, on_boot_disk: bool) {
        let store = data.is_mounted().then_some(data::STORE);
        if let Err(error) = write_config(&self.settings, store, self.console.as_deref()) {
            self.appliance.trouble(format!("{error:#}"));
        }
        log::info!("data: {}", data.words());
        self.appliance.set_data(data, on_boot_disk);
    }
}

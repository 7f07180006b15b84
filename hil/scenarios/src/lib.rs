// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The stories, one file each. A scenario reads as what happens to a machine; how it is made to happen is in adit-hil.

use adit_hil::Lab;
use anyhow::Result;

pub mod cli;
pub mod junit;
pub mod mutants;

/// One story.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name: of its file and on the command line.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    /// When it is played.
    pub set: Set,
    /// The story.
    pub play: fn(&mut Lab) -> Result<()>,
}

/// When a story is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// In every `make test`.
    Fast,
    /// By `cargo hil run --all`.
    Slow,
}

macro_rules! scenarios {
    ($($set:ident $name:ident = $module:ident::$play:ident $about:literal)*) => {
        /// All stories in the order in which they are listed.
        pub const ALL: &[Scenario] = &[$(Scenario {
            name: stringify!($name),
            about: $about,
            set: Set::$set,
            play: $module::$play,
        }),*];
    };
}

mod appliance_bad_update;
mod appliance_behind_router;
mod appliance_boots;
mod appliance_buses;
mod appliance_clock;
mod appliance_corrupt;
mod appliance_disks;
mod appliance_full;
mod appliance_grows;
mod appliance_hangs;
mod appliance_keys;
mod appliance_last_resort;
mod appliance_locked;
mod appliance_no_router;
mod appliance_power_cuts;
mod appliance_refuses;
mod appliance_reset;
mod appliance_resumes;
mod appliance_stolen;
mod appliance_updates;
mod bad_sector;
mod bmc_fan_and_heat;
mod boots_quickly;
mod disk_full;
mod ext4_errors;
mod first_backup;
mod idle_day;
mod loss_and_small_mtu;
mod member_fails;
mod nvme_warning;
mod out_of_memory;
mod partition;
mod plain_machine;
mod power_cut;
mod raid_disk_pulled;
mod read_errors;
mod renumbered;
mod rotten_bit;
mod silent_corruption;
mod silent_probe;
mod small_machine;
mod stalled_disk;
mod ups_on_battery;
mod values_equal_smartctl;
mod watchdog_and_button;
mod wrong_clock;

scenarios! {
    Fast first_backup = first_backup::play "pair over the network, back up, verify, restore, compare"
    Fast boots_quickly = boots_quickly::play "an answering agent beside an empty machine; a saved machine answers"
    Fast renumbered = renumbered::play "the box's home gets another prefix in the middle of a backup"
    Fast partition = partition::play "the way to the box is dead for an hour in the middle of a backup"
    Fast small_machine = small_machine::play "a virtual machine with 64 MiB"
    Fast loss_and_small_mtu = loss_and_small_mtu::play "5 % of all frames lost, MTU 1280: slow and right"
    Fast disk_full = disk_full::play "the box's disk is full: told, and nothing acknowledged is lost"
    Fast bad_sector = bad_sector::play "a sector cannot be read: verification finds it, the box serves on"
    Fast rotten_bit = rotten_bit::play "the disk lies: verification finds it, the next backup heals it"
    Fast raid_disk_pulled = raid_disk_pulled::play "one of two mirrored disks is pulled under a running backup, and told"
    Fast stalled_disk = stalled_disk::play "the disk stops answering: the agent does not, the backup goes on"
    Fast wrong_clock = wrong_clock::play "the clock says 1970, then 2099: nothing depends on it"
    Fast watchdog_and_button = watchdog_and_button::play "the watchdog bites, somebody presses the power button"
    Fast power_cut = power_cut::few "states a forgetful disk can be left in by a power cut, five of them booted"
    Fast plain_machine = plain_machine::play "a virtual machine with one disk: nothing unknown, a small report"
    Fast values_equal_smartctl = values_equal_smartctl::play "three kinds of disks: what smartctl tells is what we tell"
    Fast nvme_warning = nvme_warning::play "NVMe disks warn in five ways: each is told, and taken back"
    Fast member_fails = member_fails::play "a mirrored disk fails and is replaced: told, and well again"
    Fast read_errors = read_errors::play "a sector cannot be read: told for two days"
    Fast silent_corruption = silent_corruption::play "a btrfs mirror repairs what one disk got wrong: told"
    Fast ext4_errors = ext4_errors::play "a file system finds an error in itself: told until e2fsck has run"
    Fast out_of_memory = out_of_memory::play "the kernel kills for want of memory: told for two days"
    Fast bmc_fan_and_heat = bmc_fan_and_heat::play "a fan stops, a processor is hot, a supply fails: the BMC tells, we tell"
    Fast ups_on_battery = ups_on_battery::play "mains fail, a battery ends, a supply falls silent: told, and back"
    Fast silent_probe = silent_probe::play "the device helper hangs: told, and what it said last grows old"
    Fast appliance_boots = appliance_boots::play "the image boots by firmware, an admin pairs at its console"
    Fast appliance_updates = appliance_updates::play "an update is tried and confirmed, boots cold, and is gone back from"
    Fast appliance_panics = appliance_bad_update::panics "an update panics: three tries, then the old version, and why"
    Slow appliance_no_agent = appliance_bad_update::no_agent "an update's agent does not run: three tries, then the old version"
    Fast appliance_refuses = appliance_refuses::play "thirteen updates that are not right: each refused with its own words"
    Slow appliance_disks = appliance_disks::play "two blank disks become a mirror, one is pulled and replaced, others stay untouched"
    Slow appliance_grows = appliance_grows::play "the boot disk becomes larger: the data fill it, and are there"
    Slow appliance_locked = appliance_locked::play "encrypted data: locked after a power cut, told, opened by holders of a share"
    Slow appliance_stolen = appliance_stolen::play "a box started later or elsewhere stays locked; its admin opens it, a larger disk is filled"
    Slow appliance_reset = appliance_reset::play "a factory reset at the box, cut in the middle: nothing is left"
    Slow appliance_behind_router = appliance_behind_router::play "behind a closed router: told, and opened as soon as the router lets it"
    Slow appliance_buses = appliance_buses::play "the image for real machines boots from NVMe, SATA and USB"
    Slow appliance_hangs = appliance_hangs::play "an update hangs with interrupts off: the watchdog bites three times, then the old version"
    Slow appliance_corrupt = appliance_corrupt::play "the data's file system is damaged: reachable, told, nothing made anew"
    Slow appliance_clock = appliance_clock::play "the clock says 1970, then 2099: pairing and an update do not depend on it"
    Fast appliance_no_router = appliance_no_router::play "no router at the start: told, and an address seconds after it is back"
    Slow appliance_keys = appliance_keys::play "the keys that sign updates change: the old one signs nothing any more"
    Slow appliance_resumes = appliance_resumes::play "the line breaks in the middle of an update, twice: it goes on where it was"
    Slow appliance_full = appliance_full::play "the boot partition is full: an update is refused, nothing is lost"
    Slow appliance_last_resort = appliance_last_resort::play "what both versions need is broken: one is left, the other stays up and says why"
    Fast appliance_power_cuts = appliance_power_cuts::few "power cuts in an update: every state is judged, two are booted"
    Slow power_cuts = power_cut::many "the same, fifty of them booted"
    Slow appliance_power_cuts_many = appliance_power_cuts::many "the same with more states, twenty of them booted"
    Slow idle_day = idle_day::play "a day without work, skipped: the agent does not grow"
}

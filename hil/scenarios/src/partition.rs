// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The way to the box is dead for an hour in the middle of a backup: nothing comes back, no error either. When it is there
//! again, what was received goes on from where it was. Box and source share one machine with two network stacks, so that its
//! idle time can be skipped: the hour takes seconds.

use adit_guest::words::{End, Program};
use adit_hil::program::Ran;
use adit_hil::{Lab, Pace, Parts};
use anyhow::{Result, ensure};

const HOUR_MS: u32 = 3_600_000;
/// The most that may be sent twice, bytes: what the box had not made durable.
const RESENT_BYTES_MAX: u64 = 16 << 20;
/// Two network stacks with a cable between them, and a box in the far one.
const BEFORE: [&str; 8] = [
    "ip netns add far",
    "ip link add near type veth peer name end netns far",
    "ip -6 addr add fd00:ad17::1/64 dev near nodad",
    "ip -n far -6 addr add fd00:ad17::2/64 dev end nodad",
    "ip link set near up",
    "ip -n far link set end up",
    "ip -n far link set lo up",
    "adit keygen --recovery-file /root/key --public /root/key.pub",
];
const CONFIG: &str = "listen = \"[fd00:ad17::2]:11713\"\nstate = \"/srv/state\"\n[box]\nstore = \"/srv/store\"\n";

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let mut parts = Parts::new("both");
    parts.memory_mib = 512;
    parts.pace = Pace::Warp;
    parts.inside = parts.inside.modules(&["veth"]).ours(&["aditd", "adit"]).debian("iproute2", &["bin/ip"]);
    let mut both = lab.machine(parts)?;
    both.boot()?;
    let hand = both.hand()?;
    hand.write_file("/etc/aditd.toml", 0o644, CONFIG.as_bytes())?;
    hand.write_file("/root/data/noise", 0o644, &lab.noise(24 << 20))?;
    both.run_lines(&BEFORE)?;
    let agent = Program::new(&["/bin/ip", "netns", "exec", "far", "/usr/bin/aditd", "--config", "/etc/aditd.toml"]);
    both.hand()?.spawn(agent, "/run/aditd.log")?;
    both.wait_file("/srv/state/identity", 0)?;
    let token = "aditd token --config /etc/aditd.toml --role source --name web1";
    let token = both.run_lines(&[token])?.stdout.trim().to_owned();
    both.run_lines(&[
        "adit --state /root/state init --recipient /root/key.pub",
        &format!("adit --state /root/state pair {token}"),
    ])?;
    let backup = Program::new(&[
        "/usr/bin/adit",
        "--state",
        "/root/state",
        "backup",
        "--json",
        "--patience",
        "2h",
        "/root/data",
    ]);
    let backup = both.hand()?.spawn(backup, "/run/backup.log")?;
    both.wait_file("/srv/store/seg/00000000.adt", 6 << 20)?;

    // Frames go to a card that nobody has: no carrier is lost and nobody is told.
    both.run_lines(&["ip -6 neigh replace fd00:ad17::2 lladdr 02:00:00:00:00:99 dev near nud permanent"])?;
    let end = both.hand()?.wait(backup, HOUR_MS)?;
    ensure!(
        end == End::Running,
        "the backup did not wait for the way: {end:?}, {}",
        both.read_text("/run/backup.log")?
    );
    both.run_lines(&["ip -6 neigh del fd00:ad17::2 dev near"])?;
    let end = both.hand()?.wait(backup, HOUR_MS)?;
    let words = both.read_text("/run/backup.log")?;
    ensure!(end == End::Exit(0), "the backup ended as {end:?}: {words}");
    lab.tell(&words)?;
    let ran = Ran { line: "adit backup".to_owned(), code: 0, stdout: words, stderr: String::new() }.json()?;
    ensure!(ran["reconnects"] != 0, "the fault did not bite: the line was never lost");
    let resent = ran["bytes_resent"].as_u64();
    ensure!(resent.is_some_and(|bytes| bytes <= RESENT_BYTES_MAX), "{resent:?} bytes were sent twice");
    Ok(())
}

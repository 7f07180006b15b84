// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What ZFS says of its pools, by the zpool command: JSON where it has that (2.3 and later), else its text (2.1, 2.2).
//! The kernel's own word for a pool's state is read without the command, in adit-health; this one adds devices, errors and
//! scrubs. It waits on locks that a hung pool holds, so it runs in a child that can be left behind.

use crate::child::{Job, Output, Program};
use crate::error::AskError;
use crate::nut::days_since_1970;
use crate::words::shortened;
use adit_health::readings::zpool::{ZpoolGroup, ZpoolMember, ZpoolReading, ZpoolScan};
use serde_json::Value;
use std::ffi::OsString;
use std::time::Duration;

/// What the command may print, bytes.
pub const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// Pools, groups of a pool, and members of a group that are kept.
pub const POOLS_MAX: usize = 64;
/// The same for groups.
pub const GROUPS_MAX: usize = 256;
/// The same for members.
pub const MEMBERS_MAX: usize = 256;

const WHOM: &str = "the zpool command";
const DAY_S: u64 = 86_400;

/// Asks about all pools that are imported.
#[derive(Debug)]
pub struct Zpool {
    job: Job,
}

impl Zpool {
    /// `program` is usually `zpool`; each call of it has this deadline.
    #[must_use]
    pub fn new(program: impl Into<OsString>, deadline: Duration) -> Self {
        Self { job: Job::new(Program::new([program.into()]).limits(deadline, OUTPUT_BYTES_MAX)) }
    }

    /// Asks for all pools.
    ///
    /// # Errors
    /// The program is missing or stuck, the modules are not loaded, an answer of no known form.
    pub fn ask(&mut self) -> Result<Vec<ZpoolReading>, AskError> {
        let output = self.job.run(["status", "-j", "--json-int"])?;
        // A version that does not know -j says so and shows its usage.
        if output.code != Some(0) && output.stderr.contains("invalid option") {
            let sizes = text(&self.job.run(["list", "-Hp", "-o", "name,guid,size,allocated"])?)?;
            return Ok(plain(&text(&self.job.run(["status", "-p"])?)?, &sizes));
        }
        json(&text(&output)?)
    }
}

fn text(output: &Output) -> Result<String, AskError> {
    if output.is_cut {
        return Err(AskError::TooLong { whom: WHOM.to_owned(), limit: OUTPUT_BYTES_MAX, unit: "bytes" });
    }
    match output.code {
        Some(0) => Ok(output.text()),
        _ if output.stderr.contains("ermission denied") => Err(AskError::denied(WHOM, &output.stderr)),
        _ => Err(AskError::refused(WHOM, &output.stderr)),
    }
}

/// Readings from `zpool status -j --json-int`.
///
/// # Errors
/// It is no JSON with pools in it.
pub fn json(text: &str) -> Result<Vec<ZpoolReading>, AskError> {
    let json: Value = serde_json::from_str(text).map_err(|error| AskError::malformed(WHOM, error.to_string()))?;
    let pools = json.get("pools").and_then(Value::as_object);
    let pools = pools.ok_or_else(|| AskError::malformed(WHOM, "`pools` were expected"))?;
    Ok(pools.iter().take(POOLS_MAX).map(|(name, pool)| json_pool(name, pool)).collect())
}

fn json_pool(name: &str, pool: &Value) -> ZpoolReading {
    let root = children(pool).next().map_or(&Value::Null, |(_, root)| root);
    // Logs, caches and spares hang beside the root.
    let aside =
        ["logs", "l2cache", "spares", "dedup", "special"].into_iter().filter_map(|kind| pool.get(kind)?.as_object());
    let aside = aside.flatten().map(|(name, device)| (name.as_str(), device));
    let guid = pool.get("pool_guid").or_else(|| pool.get("guid"));
    ZpoolReading {
        name: shortened(name, 255),
        guid: guid.map(|guid| guid.as_str().map_or_else(|| guid.to_string(), str::to_owned)).unwrap_or_default(),
        state: word(pool, "state"),
        size_mib: mib(root, "total_space"),
        used_mib: mib(root, "alloc_space"),
        data_errors: number(pool, "error_count"),
        scan: pool.get("scan_stats").map(json_scan),
        groups: children(root).chain(aside).take(GROUPS_MAX).map(|(name, group)| json_group(name, group)).collect(),
    }
}

fn json_scan(scan: &Value) -> ZpoolScan {
    let is_running = word(scan, "state") == "SCANNING";
    let end_s = Some(number(scan, "end_time")).filter(|end| *end > 0 && !is_running);
    ZpoolScan { is_resilver: word(scan, "function") == "RESILVER", is_running, end_s, errors: number(scan, "errors") }
}

fn json_group(name: &str, group: &Value) -> ZpoolGroup {
    let member = |(name, device): (&str, &Value)| ZpoolMember {
        name: shortened(name, 255),
        state: word(device, "state"),
        read: number(device, "read_errors"),
        write: number(device, "write_errors"),
        checksum: number(device, "checksum_errors"),
    };
    let mut members: Vec<ZpoolMember> = children(group).take(MEMBERS_MAX).map(member).collect();
    let may_lose = may_lose(name, members.len());
    if members.is_empty() {
        members.push(member((name, group)));
    }
    ZpoolGroup { name: shortened(name, 255), state: word(group, "state"), may_lose, members }
}

fn children(device: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let children = device.get("vdevs").and_then(Value::as_object);
    children.into_iter().flatten().map(|(name, child)| (name.as_str(), child))
}

fn word(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).map(|word| shortened(word, 32)).unwrap_or_default()
}

/// A number, or a number in a text as it is without --json-int.
fn number(value: &Value, key: &str) -> u64 {
    let value = value.get(key);
    value.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok())).unwrap_or(0)
}

fn mib(value: &Value, key: &str) -> Option<i64> {
    i64::try_from(value.get(key)?.as_u64()? >> 20).ok()
}

/// How many members a group may lose, by its name: mirror-0, raidz2-1, draid2:4d:11c:1s-0.
fn may_lose(name: &str, members: usize) -> u32 {
    let digit = |rest: &str| rest.chars().next().and_then(|digit| digit.to_digit(10)).unwrap_or(1);
    if name.starts_with("mirror") {
        return u32::try_from(members.saturating_sub(1)).unwrap_or(u32::MAX);
    }
    ["draid", "raidz"].iter().find_map(|kind| name.strip_prefix(kind)).map_or(0, digit)
}

/// Readings from `zpool status -p`, with sizes from `zpool list -Hp -o name,guid,size,allocated`.
#[must_use]
pub fn plain(status: &str, sizes: &str) -> Vec<ZpoolReading> {
    let mut pools: Vec<ZpoolReading> = Vec::new();
    let mut in_config = false;
    for line in status.lines() {
        let (key, value) = line.split_once(':').map_or(("", ""), |(key, value)| (key.trim(), value.trim()));
        if key == "pool" && pools.len() < POOLS_MAX {
            pools.push(ZpoolReading { name: shortened(value, 255), ..ZpoolReading::default() });
        }
        let Some(pool) = pools.last_mut() else { continue };
        match key {
            "state" => pool.state = shortened(value, 32),
            "scan" => pool.scan = plain_scan(value),
            "config" => in_config = true,
            "errors" => {
                in_config = false;
                pool.data_errors = plain_errors(value);
            }
            _ if in_config => plain_device(pool, line.trim_start_matches('\t')),
            _ => {}
        }
    }
    for line in sizes.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, guid, size, used] = fields.as_slice() else { continue };
        let mib = |text: &str| text.parse::<u64>().ok().and_then(|bytes| i64::try_from(bytes >> 20).ok());
        if let Some(pool) = pools.iter_mut().find(|pool| pool.name == *name) {
            (pool.guid, pool.size_mib, pool.used_mib) = (shortened(guid, 32), mib(size), mib(used));
        }
    }
    pools
}

/// A line of the table of devices: by its indent the pool itself (0), a group (2), or a member (4). A heading such as
/// "logs" has no indent and no state; what follows it are groups.
fn plain_device(pool: &mut ZpoolReading, line: &str) {
    let indent = line.len() - line.trim_start_matches(' ').len();
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, state, rest @ ..] = words.as_slice() else { return };
    let count = |index: usize| rest.get(index).and_then(|word| word.parse().ok()).unwrap_or(0);
    let member = ZpoolMember {
        name: shortened(name, 255),
        state: shortened(state, 32),
        read: count(0),
        write: count(1),
        checksum: count(2),
    };
    if indent == 2 && pool.groups.len() < GROUPS_MAX {
        let (name, state) = (member.name.clone(), member.state.clone());
        pool.groups.push(ZpoolGroup { name, state, may_lose: 0, members: vec![member] });
    } else if let Some(group) = pool.groups.last_mut().filter(|group| indent == 4 && group.members.len() < MEMBERS_MAX)
    {
        // The first member shows that the line before it was no device but a group.
        if group.members.first().is_some_and(|first| first.name == group.name) {
            group.members.clear();
        }
        group.members.push(member);
        group.may_lose = may_lose(&group.name, group.members.len());
    }
}

/// From words such as "scrub repaired 0B in 00:00:01 with 0 errors on Sun Nov 15 00:24:02 2026".
fn plain_scan(words: &str) -> Option<ZpoolScan> {
    if words.starts_with("none") {
        return None;
    }
    let is_running = words.contains("in progress");
    let errors = words.split(" with ").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    let end = words.rsplit(" on ").next().filter(|_| !is_running && words.contains(" on "));
    Some(ZpoolScan {
        is_resilver: words.starts_with("resilver"),
        is_running,
        end_s: end.and_then(date_s).filter(|_| !words.contains("canceled")),
        errors: errors.unwrap_or(0),
    })
}

/// Seconds since 1970 of a date such as "Sun Nov 15 00:24:02 2026", to the day: it is in local time, and only days count.
fn date_s(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, month, day, _, year] = words.as_slice() else { return None };
    let month = MONTHS.iter().position(|name| name == month)? + 1;
    let days = days_since_1970(year.parse().ok()?, i64::try_from(month).ok()?, day.parse().ok()?)?;
    Some(u64::try_from(days).ok()? * DAY_S)
}

/// "No known data errors", "3 data errors, use '-v' for a list", "Permanent errors have been detected…".
fn plain_errors(words: &str) -> u64 {
    match words.split_whitespace().next() {
        Some("No") | None => 0,
        Some(first) => first.parse().unwrap_or(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "  pool: tank\n state: DEGRADED\nstatus: One or more devices are faulted.\naction: Replace the device.\n  scan: scrub repaired 0B in 00:10:01 with 2 errors on Sun Nov 15 00:34:02 2026\nconfig:\n\n\tNAME          STATE     READ WRITE CKSUM\n\ttank          DEGRADED     0     0     0\n\t  raidz2-0    DEGRADED     0     0     0\n\t    sda       ONLINE       0     0     0\n\t    sdb       FAULTED      3     4     5  too many errors\n\t    sdc       ONLINE       0     0     0\n\tlogs\t\n\t  nvme0n1p3   ONLINE       0     0     0\n\tspares\n\t  sdd         AVAIL   \n\nerrors: 3 data errors, use '-v' for a list\n\n  pool: single\n state: ONLINE\n  scan: none requested\nconfig:\n\n\tNAME        STATE     READ WRITE CKSUM\n\tsingle      ONLINE       0     0     0\n\t  vda       ONLINE       0     0     0\n\nerrors: No known data errors\n";

    #[test]
    fn the_text_of_older_versions_is_read() {
        let pools = plain(TEXT, "tank\t123\t3145728\t1048576\nsingle\t124\t-\t-\n");
        let tank = &pools[0];
        assert_eq!((tank.state.as_str(), tank.guid.as_str(), tank.data_errors), ("DEGRADED", "123", 3));
        assert_eq!([tank.size_mib, tank.used_mib], [Some(3), Some(1)]);
        let scan = tank.scan.clone().unwrap();
        assert_eq!((scan.errors, scan.is_resilver, scan.is_running), (2, false, false));
        assert_eq!(scan.end_s, days_since_1970(2026, 11, 15).map(|days| u64::try_from(days).unwrap() * DAY_S));
        let groups: Vec<_> = tank.groups.iter().map(|g| (g.name.as_str(), g.may_lose, g.members.len())).collect();
        assert_eq!(groups, [("raidz2-0", 2, 3), ("nvme0n1p3", 0, 1), ("sdd", 0, 1)]);
        let bad = &tank.groups[0].members[1];
        assert_eq!((bad.state.as_str(), bad.read, bad.write, bad.checksum), ("FAULTED", 3, 4, 5));
        assert_eq!((pools[1].scan.clone(), pools[1].groups.len(), pools[1].data_errors), (None, 1, 0));
        assert_eq!(plain("no pools available\n", ""), []);
    }

    #[test]
    fn scans_are_read_in_every_form() {
        for (words, is_resilver, is_running, has_end) in [
            ("scrub in progress since Sun Nov 15 00:24:02 2026", false, true, false),
            ("resilver in progress since Sun Nov 15 00:24:02 2026", true, true, false),
            ("resilvered 1.2G in 00:01:02 with 0 errors on Sun Nov 15 00:24:02 2026", true, false, true),
            ("scrub canceled on Sun Nov 15 00:24:02 2026", false, false, false),
        ] {
            let scan = plain_scan(words).unwrap();
            assert_eq!(
                (scan.is_resilver, scan.is_running, scan.end_s.is_some()),
                (is_resilver, is_running, has_end),
                "{words}"
            );
        }
    }

    /// Keys of cmd/zpool/zpool_main.c in OpenZFS 2.3; values are ours.
    #[test]
    fn json_is_read() {
        let text = r#"{"output_version":{"command":"zpool status","vers_major":0,"vers_minor":1},"pools":{"tank":{"name":"tank",
            "state":"DEGRADED","pool_guid":3920273586464696295,"txg":16597,"scan_stats":{"function":"SCRUB","state":"FINISHED",
            "start_time":1763166242,"end_time":1763166842,"errors":2},"vdevs":{"tank":{"name":"tank","vdev_type":"root","state":"DEGRADED",
            "alloc_space":1048576,"total_space":3145728,"vdevs":{"mirror-0":{"name":"mirror-0","vdev_type":"mirror","state":"DEGRADED",
            "read_errors":0,"vdevs":{"sda":{"name":"sda","vdev_type":"disk","state":"ONLINE","read_errors":0,"write_errors":0,"checksum_errors":0},
            "sdb":{"name":"sdb","state":"FAULTED","read_errors":3,"write_errors":"4","checksum_errors":5}}},
            "vdc":{"name":"vdc","vdev_type":"disk","state":"ONLINE"}}}},"spares":{"sdd":{"name":"sdd","state":"AVAIL"}},"error_count":1}}}"#;
        let pools = json(text).unwrap();
        let tank = &pools[0];
        assert_eq!((tank.state.as_str(), tank.guid.as_str(), tank.data_errors), ("DEGRADED", "3920273586464696295", 1));
        assert_eq!([tank.size_mib, tank.used_mib], [Some(3), Some(1)]);
        assert_eq!(tank.scan.as_ref().map(|scan| (scan.end_s, scan.errors)), Some((Some(1_763_166_842), 2)));
        let groups: Vec<_> = tank.groups.iter().map(|g| (g.name.as_str(), g.may_lose, g.members.len())).collect();
        assert_eq!(groups, [("mirror-0", 1, 2), ("vdc", 0, 1), ("sdd", 0, 1)]);
        assert_eq!(tank.groups[0].members[1].write, 4);
        assert_eq!(json(r#"{"pools":{}}"#).unwrap(), []);
        assert!(json("no pools available").is_err() && json("{}").is_err());
    }

    #[test]
    fn groups_tell_what_they_may_lose() {
        let names = ["mirror-0", "raidz1-0", "raidz2-3", "raidz3-0", "draid2:4d:11c:1s-0", "draid-0", "sda", "raidz-0"];
        assert_eq!(names.map(|name| may_lose(name, 3)), [2, 1, 2, 3, 2, 1, 0, 1]);
    }

    proptest! {
        #[test]
        fn any_text_ends(cut in 0..TEXT.len(), flip in 0..TEXT.len(), byte in any::<u8>(), noise in "\\PC{0,99}") {
            let mut bytes = TEXT.as_bytes().to_vec();
            bytes[flip] = byte;
            bytes.truncate(cut);
            let _read = plain(&String::from_utf8_lossy(&bytes), &noise);
            let _parsed = json(&noise);
        }
    }
}

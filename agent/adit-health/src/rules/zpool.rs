// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ZFS pools: state and redundancy left, errors that grow, scrubs, space. A pool that is ONLINE may still have a mirror with
//! a dead half, so the devices are judged too; the upgrade that every older pool asks for is no news.
//!
//! What to do: `zpool status -v POOL`; replace the named device with `zpool replace POOL OLD NEW`.

use crate::judge::Judge;
use crate::limits::Rule;
use crate::model::{Component, Finding};
use crate::readings::zpool::{ZpoolGroup, ZpoolMember, ZpoolReading};
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

const DAY_S: u64 = 86_400;
/// States of a device that is as it should be; AVAIL and INUSE are spares.
const WELL: [&str; 3] = ["ONLINE", "AVAIL", "INUSE"];

/// Everything about a pool.
#[must_use]
pub fn zpool(judge: &mut Judge<'_>, pool: &ZpoolReading) -> Component {
    // The id of the pool that the kernel's own word makes too: one pool, one component, whoever told.
    let id = pool.name.clone();
    let members = || pool.groups.iter().flat_map(|group| &group.members);
    let sum = |of: fn(&ZpoolMember) -> u64| i64::try_from(members().map(of).sum::<u64>()).unwrap_or(i64::MAX);
    let counts = [sum(|member| member.read), sum(|member| member.write), sum(|member| member.checksum)];
    let scrub = scrubbed(judge, &id, pool);
    let space = space(judge, &id, pool);
    let used = pool.used_mib.zip(pool.size_mib).filter(|(_, size)| *size > 0);
    Component {
        kind: ComponentKind::Pool,
        label: format!("zfs {}", pool.name),
        findings: vec![state(pool), errors(judge, &id, pool, counts), data(pool), scrub, space],
        readings: vec![
            (Quantity::ReadErrors, Some(counts[0])),
            (Quantity::WriteErrors, Some(counts[1])),
            (Quantity::ChecksumErrors, Some(counts[2])),
            (Quantity::SizeMib, pool.size_mib),
            (Quantity::UsedPermille, used.map(|(used, size)| used.saturating_mul(1000) / size)),
            (Quantity::ScrubAgeDays, scrub_age(judge, pool)),
        ],
        id,
    }
}

fn state(pool: &ZpoolReading) -> Finding {
    let found = |verdict, reason| Finding::new(Check::PoolState, verdict, reason);
    if pool.state == "SUSPENDED" {
        return found(Verdict::Critical, Reason::Stalled).with_detail("it waits for its devices");
    }
    if matches!(pool.state.as_str(), "FAULTED" | "UNAVAIL" | "REMOVED") {
        return found(Verdict::Critical, Reason::Broken).with_detail(pool.state.clone());
    }
    let hurt = |group: &&ZpoolGroup| bad(group).next().is_some() || !WELL.contains(&group.state.as_str());
    let left = |group: &&ZpoolGroup| {
        let lost = u32::try_from(bad(group).count()).unwrap_or(u32::MAX);
        group.may_lose.saturating_sub(lost)
    };
    let Some(worst) = pool.groups.iter().filter(hurt).min_by_key(left) else {
        return match pool.state.as_str() {
            "ONLINE" => Finding::ok(Check::PoolState),
            other => found(Verdict::Warning, Reason::Degraded).with_detail(other),
        };
    };
    let which = bad(worst).next().map_or_else(
        || format!("{} {}", worst.name, worst.state),
        |member| format!("{} {}", member.name, member.state),
    );
    let is_resilvering = pool.scan.as_ref().is_some_and(|scan| scan.is_resilver && scan.is_running);
    match left(&worst) {
        _ if pool.state == "ONLINE" => found(Verdict::Warning, Reason::DeviceMissing).with_detail(which),
        0 if is_resilvering => found(Verdict::Critical, Reason::Rebuilding).with_detail("no redundancy left"),
        0 => found(Verdict::Critical, Reason::Degraded).with_detail(format!("no redundancy left: {which}")),
        more if is_resilvering => {
            found(Verdict::Warning, Reason::Rebuilding).with_detail(format!("{more} more may fail"))
        }
        more => found(Verdict::Warning, Reason::Degraded).with_detail(format!("{more} more may fail: {which}")),
    }
}

fn bad(group: &ZpoolGroup) -> impl Iterator<Item = &ZpoolMember> {
    group.members.iter().filter(|member| !WELL.contains(&member.state.as_str()))
}

/// Counters stay until somebody clears them, so only growth is news.
fn errors(judge: &mut Judge<'_>, id: &str, pool: &ZpoolReading, counts: [i64; 3]) -> Finding {
    let quantities = [Quantity::ReadErrors, Quantity::WriteErrors, Quantity::ChecksumErrors];
    let grown = quantities.into_iter().zip(counts).map(|(quantity, count)| judge.counter(id, quantity, count).two_days);
    let grown: i64 = grown.sum();
    let verdict = if grown > 0 { Verdict::Warning } else { Verdict::Ok };
    Finding::judged(Check::PoolErrors, verdict, Reason::DeviceErrors).because(|| {
        let members = pool.groups.iter().flat_map(|group| &group.members);
        let worst = members.max_by_key(|member| member.read + member.write + member.checksum);
        worst.map_or_else(String::new, |m| {
            format!("{}: {} read, {} write, {} checksum", m.name, m.read, m.write, m.checksum)
        })
    })
}

fn data(pool: &ZpoolReading) -> Finding {
    match pool.data_errors {
        0 => Finding::ok(Check::PoolData),
        count => Finding::new(Check::PoolData, Verdict::Critical, Reason::DataDamaged)
            .with_detail(format!("{count} files or objects; see zpool status -v")),
    }
}

fn scrubbed(judge: &mut Judge<'_>, id: &str, pool: &ZpoolReading) -> Finding {
    let is_running = pool.scan.as_ref().is_some_and(|scan| scan.is_running);
    // A pool that was never scrubbed gets its time from the first look on.
    let since_first = judge.since_last(id, Check::PoolScrub, is_running) / DAY_S;
    let days = scrub_age(judge, pool).unwrap_or_else(|| i64::try_from(since_first).unwrap_or(i64::MAX));
    let verdict = judge.level(id, Rule::ScrubAge, if is_running { 0 } else { days });
    match &pool.scan {
        Some(scan) if scan.errors > 0 => Finding::new(Check::PoolScrub, Verdict::Warning, Reason::Uncorrectable)
            .with_detail(format!("{} errors in the last scrub", scan.errors)),
        Some(_) | None => {
            Finding::judged(Check::PoolScrub, verdict, Reason::CheckOld).because(|| format!("{days} days ago"))
        }
    }
}

fn scrub_age(judge: &Judge<'_>, pool: &ZpoolReading) -> Option<i64> {
    let end_s = pool.scan.as_ref().filter(|scan| !scan.is_resilver)?.end_s?;
    i64::try_from(judge.now_s().saturating_sub(end_s) / DAY_S).ok()
}

fn space(judge: &mut Judge<'_>, id: &str, pool: &ZpoolReading) -> Finding {
    let Some((used, size)) = pool.used_mib.zip(pool.size_mib).filter(|(_, size)| *size > 0) else {
        return Finding::ok(Check::Space);
    };
    let free_mib = size - used;
    let verdict = judge.level(id, Rule::Space, free_mib.saturating_mul(1000) / size);
    let reason = if verdict == Verdict::Critical { Reason::SpaceOut } else { Reason::SpaceLow };
    Finding::judged(Check::Space, verdict, reason).because(|| format!("{free_mib} MiB free"))
}

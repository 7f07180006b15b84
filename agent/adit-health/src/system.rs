// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Thin readers of /proc and /sys: each turns files into components. All paths hang below a root, so that a recorded tree
//! of another machine can be read in a test.

use crate::judge::Judge;
use crate::model::{Component, Finding};
use crate::{rules, text};
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};
use std::path::Path;

/// Mains and batteries.
pub(crate) fn power(root: &Path) -> Vec<Component> {
    let dir = root.join("sys/class/power_supply");
    text::names(&dir).into_iter().filter_map(|name| power_supply(&dir.join(&name), &name)).collect()
}

fn power_supply(dir: &Path, name: &str) -> Option<Component> {
    let kind = text::read(&dir.join("type"))?;
    let online = text::number(&dir.join("online"));
    let charge = text::number(&dir.join("capacity")).map(|percent| percent.saturating_mul(10));
    let finding = match (kind.as_str(), online, charge) {
        ("Mains", Some(0), _) => Finding::new(Check::PowerLine, Verdict::Warning, Reason::OnBattery),
        ("Battery", _, Some(charge)) if charge < 100 => {
            Finding::new(Check::PowerLine, Verdict::Critical, Reason::BatteryLow)
        }
        _ => Finding::ok(Check::PowerLine),
    };
    Some(Component {
        kind: ComponentKind::Power,
        id: name.into(),
        label: format!("{name} ({kind})"),
        findings: vec![finding],
        readings: vec![(Quantity::ChargePermille, charge)],
    })
}

/// What the kernel counts of the host as a whole: findings and readings that sysinfo does not give.
pub(crate) fn kernel(root: &Path, judge: &mut Judge<'_>) -> (Vec<Finding>, Vec<(Quantity, Option<i64>)>) {
    let vmstat = text::read(&root.join("proc/vmstat"));
    let oom_kills = vmstat.as_deref().and_then(|text| text::keyed(text, "oom_kill"));
    let tainted = text::number(&root.join("proc/sys/kernel/tainted"));
    let pressure = text::read(&root.join("proc/pressure/memory")).as_deref().and_then(pressure_full_avg300);
    let findings = vec![
        rules::system::oom_kills(judge, oom_kills),
        rules::system::taint(tainted),
        rules::system::memory_pressure(judge, pressure),
    ];
    (findings, vec![(Quantity::OomKills, oom_kills), (Quantity::MemoryPressure, pressure)])
}

/// "full avg10=0.00 avg60=0.00 avg300=1.23 total=…" as hundredths of a per cent.
fn pressure_full_avg300(text: &str) -> Option<i64> {
    let line = text.lines().find(|line| line.starts_with("full "))?;
    let value = line.split(' ').find_map(|field| field.strip_prefix("avg300="))?;
    let (whole, fraction) = value.split_once('.')?;
    Some(whole.parse::<i64>().ok()?.saturating_mul(100).saturating_add(fraction.get(..2)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::memory::Memory;
    use std::fs;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn the_kernel_is_asked_and_missing_answers_are_unknown() {
        let present = tree(&[
            ("proc/vmstat", "nr_free 1\noom_kill 2\n"),
            ("proc/sys/kernel/tainted", "128\n"),
            (
                "proc/pressure/memory",
                "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=7.25 total=9\n",
            ),
        ]);
        let (limits, mut memory) = (Limits::default(), Memory::default());
        let mut judge = Judge::new(0, &limits, &mut memory);
        let (findings, readings) = kernel(present.path(), &mut judge);
        let reasons: Vec<Reason> = findings.iter().map(|finding| finding.reason).collect();
        // Two processes were killed before the first look: that is no news.
        assert_eq!(reasons, [Reason::None, Reason::KernelTainted, Reason::MemoryPressure]);
        assert_eq!(readings, [(Quantity::OomKills, Some(2)), (Quantity::MemoryPressure, Some(725))]);
        let absent = tree(&[]);
        fs::write(present.path().join("proc/vmstat"), "oom_kill 3\n").unwrap();
        assert_eq!(kernel(present.path(), &mut judge).0[0].reason, Reason::OomKilled);
        assert!(kernel(absent.path(), &mut judge).0.iter().all(|finding| finding.verdict == Verdict::Unknown));
    }
}

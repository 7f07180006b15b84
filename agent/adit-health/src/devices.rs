// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Joins what adit-probe was told by devices with what the kernel knows of them. A device that slept, was not to be read or
//! does not answer keeps its place in the report and says which of these it is.

use crate::judge::Judge;
use crate::model::{Component, Finding};
use crate::readings::block::KernelView;
use crate::readings::silence::Silence;
use crate::rules;
use adit_device::PowerState;
use adit_device::pipe::{Answer, ArrayDisk, DeviceReport, Said, Trouble};
use adit_wire::health::codes::{Check, Quantity, Reason, Verdict};

/// A command that is not answered for this long, seconds: drives try for up to two minutes to read a bad sector.
const STUCK_S: u64 = 120;

/// What adit-probe told.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    /// Its newest answer, its ages counted up to now; `None` before the first one and where there is no helper.
    pub answer: Option<Answer>,
    /// Why it does not answer now. Its newest answer stands meanwhile.
    pub silence: Option<Silence>,
}

impl Devices {
    fn reports(&self) -> &[DeviceReport] {
        self.answer.as_ref().map_or(&[], |answer| &answer.devices)
    }
}

/// All disks that the kernel has, each with what it says of itself where that is known.
pub(crate) fn disks(judge: &mut Judge<'_>, views: &[KernelView], told: &Devices) -> Vec<Component> {
    views
        .iter()
        .map(|view| match told.reports().iter().find(|report| is_of(report, view)) {
            Some(report) => disk(judge, view, report),
            None => rules::block::disk(judge, view),
        })
        .collect()
}

/// Whether a report is about this disk. NVMe health belongs to the controller ("nvme0"), the disk is its namespace
/// ("nvme0n1").
fn is_of(report: &DeviceReport, view: &KernelView) -> bool {
    view.names.iter().any(|name| {
        let rest = name.strip_prefix(report.name.as_str());
        rest.is_some_and(|rest| rest.is_empty() || report.name.starts_with("nvme") && rest.starts_with('n'))
    })
}

fn disk(judge: &mut Judge<'_>, view: &KernelView, report: &DeviceReport) -> Component {
    let mut component = match (&report.said, &report.trouble) {
        (Some(Said::Disk(reading)), _) => rules::disk::disk(judge, view, reading),
        (_, Some(Trouble::NeedsCapability(name))) => {
            let mut component = rules::block::disk(judge, view);
            let status = component.findings.iter_mut().find(|finding| finding.check == Check::DiskStatus);
            if let Some(status) = status {
                status.detail = format!("adit-probe lacks {name}");
            }
            component
        }
        // It has no health of its own (a virtual disk, a plain USB stick), or slept whenever it was looked at.
        _ => rules::block::disk(judge, &KernelView { is_virtual: true, ..view.clone() }),
    };
    if view.rotational {
        component.readings.push((Quantity::Asleep, Some(i64::from(report.power == PowerState::Asleep))));
    }
    if let Some(waiting_s) = report.waiting_s.filter(|waiting_s| *waiting_s >= STUCK_S) {
        component.findings.retain(|finding| finding.check != Check::DiskAnswers);
        component.findings.push(
            Finding::new(Check::DiskAnswers, Verdict::Critical, Reason::Stalled)
                .with_detail(format!("a command waits for {} min", waiting_s / 60)),
        );
    }
    component
}

/// What is no disk of the kernel's: BMCs, RAID controllers with the disks behind them, device-mapper volumes; and the agent
/// itself, where its helper does not do what it should.
pub(crate) fn others(judge: &mut Judge<'_>, views: &[KernelView], told: &Devices) -> Vec<Component> {
    let mut components = Vec::new();
    let mut stuck = None;
    for report in told.reports() {
        match &report.said {
            Some(Said::Bmc(reading)) => components.extend(rules::bmc::bmc(judge, &report.name, reading)),
            Some(Said::Controller(reading, disks)) => {
                components.push(rules::controller::controller(judge, reading));
                components.extend(disks.iter().map(|disk| behind_controller(judge, &report.name, disk)));
            }
            Some(Said::Volumes(volumes)) => {
                components.extend(volumes.iter().filter_map(|volume| rules::dm::volume(judge, volume)));
            }
            Some(Said::Disk(_)) | None => {}
        }
        let waits = report.waiting_s.filter(|waiting_s| *waiting_s >= STUCK_S);
        if let Some(for_s) = waits.filter(|_| !views.iter().any(|view| is_of(report, view))) {
            stuck = Some((report.name.as_str(), for_s));
        }
    }
    let lacks = told.answer.as_ref().map(|answer| answer.lacks.as_slice());
    if lacks.is_some() || told.silence.is_some() {
        let finding = rules::system::probe(told.silence.as_ref(), stuck, lacks.unwrap_or_default());
        components.push(rules::system::agent(finding));
    }
    components
}

fn behind_controller(judge: &mut Judge<'_>, controller: &str, disk: &ArrayDisk) -> Component {
    let identity = &disk.reading.identity;
    let id = identity.stable_id().unwrap_or_else(|| format!("{controller}/{}", disk.location));
    let view = KernelView {
        id,
        names: vec![disk.location.clone()],
        model: Some(identity.model.clone()).filter(|model| !model.is_empty()),
        serial: identity.serial.clone(),
        rotational: disk.reading.kind.rotates(),
        paths: 1,
        ..KernelView::default()
    };
    rules::disk::disk(judge, &view, &disk.reading)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::memory::Memory;
    use crate::readings::silence::Why;
    use adit_device::reading::{DiskKind, DiskReading};

    fn view(name: &str) -> KernelView {
        KernelView { id: format!("id-{name}"), names: vec![name.to_owned()], paths: 1, ..KernelView::default() }
    }

    fn report(name: &str, said: Option<DiskReading>, trouble: Option<Trouble>) -> DeviceReport {
        let said = said.map(|reading| Said::Disk(Box::new(reading)));
        DeviceReport { name: name.to_owned(), power: PowerState::Active, said, age_s: 0, waiting_s: None, trouble }
    }

    fn judged(views: &[KernelView], told: &Devices) -> Vec<(Check, Verdict, Reason)> {
        let (limits, mut memory) = (Limits::default(), Memory::default());
        let mut judge = Judge::new(1_795_000_000, &limits, &mut memory);
        let mut components = disks(&mut judge, views, told);
        components.extend(others(&mut judge, views, told));
        let findings = components.into_iter().flat_map(|component| component.findings);
        findings.filter(|f| f.verdict != Verdict::Ok).map(|f| (f.check, f.verdict, f.reason)).collect()
    }

    fn told(devices: Vec<DeviceReport>) -> Devices {
        Devices { answer: Some(Answer { version: 1, devices, ..Answer::default() }), silence: None }
    }

    #[test]
    fn a_namespace_gets_its_controllers_health() {
        let failing = DiskReading { kind: DiskKind::Nvme, critical_warning: Some(1 << 2), ..DiskReading::default() };
        let answer = told(vec![report("nvme0", Some(failing), None)]);
        let found = judged(&[view("nvme0n1"), view("nvme01n1")], &answer);
        assert!(
            found.iter().any(|(check, verdict, _)| (*check, *verdict) == (Check::DiskStatus, Verdict::Critical)),
            "{found:?}"
        );
        let unread = found.iter().filter(|(.., reason)| *reason == Reason::NeedsDeviceAccess).count();
        assert_eq!(unread, 1, "nvme01 is another controller: {found:?}");
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let lacks = report("sda", None, Some(Trouble::NeedsCapability("CAP_SYS_RAWIO".to_owned())));
        assert_eq!(
            judged(&[view("sda")], &told(vec![lacks])),
            [(Check::DiskStatus, Verdict::Unknown, Reason::NeedsDeviceAccess)]
        );
        let plain = report("sda", None, Some(Trouble::NotSupported));
        assert_eq!(judged(&[view("sda")], &told(vec![plain])), []);
        let stuck_report = |name| DeviceReport { waiting_s: Some(STUCK_S), ..report(name, None, None) };
        let stuck = stuck_report("sda");
        assert_eq!(
            judged(&[view("sda")], &told(vec![stuck])),
            [(Check::DiskAnswers, Verdict::Critical, Reason::Stalled)]
        );
        let bmc = DeviceReport { name: "ipmi0".to_owned(), ..stuck_report("sda") };
        assert_eq!(judged(&[], &told(vec![bmc])), [(Check::AgentSelf, Verdict::Warning, Reason::HelperStuck)]);
    }

    #[test]
    fn a_silent_helpers_last_answer_stands() {
        let silence = Some(Silence { why: Why::NotAnswering, words: "hung up".to_owned() });
        let never = Devices { answer: None, silence: silence.clone() };
        assert_eq!(judged(&[], &never), [(Check::AgentSelf, Verdict::Warning, Reason::ProbeSilent)]);
        let failing = DiskReading { kind: DiskKind::Nvme, critical_warning: Some(1 << 2), ..DiskReading::default() };
        let before = Devices { silence, ..told(vec![report("nvme0", Some(failing), None)]) };
        assert_eq!(
            judged(&[view("nvme0n1")], &before),
            [
                (Check::DiskStatus, Verdict::Critical, Reason::FailurePredicted),
                (Check::AgentSelf, Verdict::Warning, Reason::ProbeSilent)
            ]
        );
        assert_eq!(judged(&[], &Devices::default()), [], "a machine without the helper");
    }

    #[test]
    fn a_turning_disk_says_whether_it_sleeps() {
        let (limits, mut memory) = (Limits::default(), Memory::default());
        let mut judge = Judge::new(1_795_000_000, &limits, &mut memory);
        let mut asleep = |power, rotational| {
            let devices = told(vec![DeviceReport { power, ..report("sda", None, None) }]);
            let disk = disks(&mut judge, &[KernelView { rotational, ..view("sda") }], &devices).remove(0);
            disk.readings.iter().find(|(quantity, _)| *quantity == Quantity::Asleep).and_then(|(_, value)| *value)
        };
        assert_eq!(asleep(PowerState::Asleep, true), Some(1));
        assert_eq!(asleep(PowerState::Active, true), Some(0));
        assert_eq!(asleep(PowerState::Unknown, false), None);
    }
}

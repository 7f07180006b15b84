// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The fleet as OpenMetrics text: one scrape for all hosts. Base units, `_total` for counters, `_info` for names; a value that
//! is not known is an absent series, never 0; times are values, so that ages are computed by whoever asks.

use crate::core::View;
use crate::history::export::label;
use adit_health::{Component, show};
use adit_wire::health::codes::{ComponentKind, Quantity};
use std::fmt::Write as _;

/// A family: its name without suffix, and what it is.
struct Family {
    name: &'static str,
    kind: Type,
    help: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Gauge,
    Counter,
    Info,
}

/// A reading that is exported: quantity, family, and by how much a step of the reading is multiplied and divided to be in the
/// base unit.
struct Exported {
    quantity: Quantity,
    family: Family,
    times: i64,
    over: i64,
}

const fn gauge(quantity: Quantity, name: &'static str, times: i64, over: i64, help: &'static str) -> Exported {
    Exported { quantity, family: Family { name, kind: Type::Gauge, help }, times, over }
}

const fn counter(quantity: Quantity, name: &'static str, times: i64, help: &'static str) -> Exported {
    Exported { quantity, family: Family { name, kind: Type::Counter, help }, times, over: 1 }
}

const MIB: i64 = 1 << 20;

/// What is exported of readings, by family.
const EXPORTED: &[Exported] = &[
    gauge(Quantity::TemperatureTenths, "adit_temperature_celsius", 1, 10, "Temperature."),
    gauge(Quantity::PowerOnHours, "adit_disk_power_on_seconds", 3_600, 1, "Time that a disk was powered."),
    counter(Quantity::WrittenGib, "adit_disk_written_bytes", 1 << 30, "Bytes written over a disk's life."),
    gauge(Quantity::ReallocatedSectors, "adit_disk_reallocated_sectors", 1, 1, "Sectors that were replaced."),
    gauge(Quantity::PendingSectors, "adit_disk_pending_sectors", 1, 1, "Sectors that wait for replacement."),
    counter(Quantity::UncorrectableErrors, "adit_disk_uncorrectable", 1, "Errors that were not corrected."),
    gauge(Quantity::WearPercent, "adit_disk_endurance_used_ratio", 1, 100, "Share of the rated life that is used."),
    gauge(Quantity::SparePercent, "adit_disk_spare_ratio", 1, 100, "Spare blocks that are left."),
    gauge(Quantity::Members, "adit_array_members", 1, 1, "Members that should be there."),
    gauge(Quantity::MembersMissing, "adit_array_members_missing", 1, 1, "Members that are missing."),
    gauge(Quantity::FreeMib, "adit_free_bytes", MIB, 1, "Space that is left."),
    gauge(Quantity::SizeMib, "adit_size_bytes", MIB, 1, "Size."),
    gauge(Quantity::ChargePermille, "adit_ups_charge_ratio", 1, 1_000, "Charge of a battery."),
    gauge(Quantity::RuntimeSeconds, "adit_ups_runtime_seconds", 1, 1, "How long a battery lasts."),
    gauge(Quantity::LoadPermille, "adit_ups_load_ratio", 1, 1_000, "Load of a UPS."),
    gauge(Quantity::PowerTenthWatts, "adit_power_watts", 1, 10, "Power."),
    gauge(Quantity::MemoryAvailableMib, "adit_memory_available_bytes", MIB, 1, "Memory left for programs."),
    counter(Quantity::OomKills, "adit_oom_kills", 1, "Processes killed for want of memory since boot."),
    gauge(Quantity::UnitsFailed, "adit_units_failed", 1, 1, "Failed services."),
    gauge(Quantity::SecurityUpdates, "adit_security_updates_pending", 1, 1, "Security updates that wait."),
    gauge(Quantity::StoredMib, "adit_backup_stored_bytes", MIB, 1, "Bytes that a store holds."),
    gauge(Quantity::Damaged, "adit_backup_damaged_records", 1, 1, "Damaged records of a store."),
    gauge(Quantity::Exit, "adit_backup_exit_code", 1, 1, "Exit code of a job's newest run."),
    gauge(Quantity::DurationSeconds, "adit_backup_duration_seconds", 1, 1, "How long a job's newest run took."),
    gauge(Quantity::AddedKib, "adit_backup_added_bytes", 1_024, 1, "What a source's newest backup added."),
];

/// Times of [`Quantity::LastMinutes`], by what the component is.
const LAST: [(ComponentKind, &str, &str); 3] = [
    (ComponentKind::Job, "adit_backup_last_run_timestamp_seconds", "When a job's newest run ended."),
    (ComponentKind::Source, "adit_backup_last_arrival_timestamp_seconds", "When a source's newest backup arrived."),
    (ComponentKind::Store, "adit_backup_last_verify_timestamp_seconds", "When a store was last read whole."),
];

/// The older text form of Prometheus, for whoever does not ask for OpenMetrics: counters are named with their suffix, there is
/// no type `info`, no unit and no end.
#[must_use]
pub fn plain_text(openmetrics: &str) -> String {
    let mut counter = String::new();
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("TYPE"), Some(name), Some("counter")) => {
                name.clone_into(&mut counter);
                put(&mut text, format_args!("# TYPE {name}_total counter"));
            }
            (Some("#"), Some("TYPE"), Some(name), Some("info")) => {
                put(&mut text, format_args!("# TYPE {name}_info gauge"))
            }
            (Some("#"), Some("HELP"), Some(name), Some(help)) if name == counter => {
                put(&mut text, format_args!("# HELP {name}_total {help}"));
            }
            (Some("#"), Some("HELP"), Some("adit_component"), Some(help)) => {
                put(&mut text, format_args!("# HELP adit_component_info {help}"));
            }
            (Some("#"), Some("UNIT" | "EOF"), ..) => {}
            _ => put(&mut text, format_args!("{line}")),
        }
    }
    text
}

/// The text, as OpenMetrics.
#[must_use]
pub fn render(view: &View) -> String {
    let mut text = String::new();
    hosts(&mut text, view);
    statuses(&mut text, view);
    components(&mut text, view);
    for exported in EXPORTED {
        readings(&mut text, view, exported);
    }
    for (kind, name, help) in LAST {
        times(&mut text, view, kind, name, help);
    }
    channels(&mut text, view);
    text.push_str("# EOF\n");
    text
}

/// The names of all series that there may be: public, and never used for anything else.
#[must_use]
pub fn names() -> Vec<String> {
    let fixed = [
        "adit_up",
        "adit_snapshot_age_seconds",
        "adit_status",
        "adit_rule_status",
        "adit_acked",
        "adit_component_info",
        "adit_notify_waiting_messages",
        "adit_notify_last_success_timestamp_seconds",
    ];
    let of_reading = |exported: &Exported| match exported.family.kind {
        Type::Counter => format!("{}_total", exported.family.name),
        Type::Gauge | Type::Info => exported.family.name.to_owned(),
    };
    let times = LAST.iter().map(|(_, name, _)| (*name).to_owned());
    fixed.map(ToOwned::to_owned).into_iter().chain(EXPORTED.iter().map(of_reading)).chain(times).collect()
}

/// Writing to a string cannot fail.
fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _infallible = writeln!(text, "{line}");
}

fn head(text: &mut String, family: &Family) {
    let kind = match family.kind {
        Type::Gauge => "gauge",
        Type::Counter => "counter",
        Type::Info => "info",
    };
    put(text, format_args!("# TYPE {} {kind}", family.name));
    let unit = ["celsius", "seconds", "bytes", "ratio", "watts"]
        .into_iter()
        .find(|unit| family.name.ends_with(&format!("_{unit}")));
    if let Some(unit) = unit.filter(|_| family.kind != Type::Info) {
        put(text, format_args!("# UNIT {} {unit}", family.name));
    }
    put(text, format_args!("# HELP {} {}", family.name, family.help));
}

fn plain(text: &mut String, name: &'static str, help: &'static str) {
    head(text, &Family { name, kind: Type::Gauge, help });
}

fn hosts(text: &mut String, view: &View) {
    let now = view.fleet.now;
    plain(text, "adit_up", "Whether an agent is heard.");
    for (name, host) in &view.fleet.hosts {
        let up = host.heard_t.is_some() && host.silent_s(now.t) < host.silent_after_s;
        put(text, format_args!("adit_up{{host=\"{}\",site=\"{}\"}} {}", label(name), label(&host.site), u8::from(up)));
    }
    plain(text, "adit_snapshot_age_seconds", "Time since an agent was heard.");
    for (name, host) in &view.fleet.hosts {
        if let Some(at) = host.heard_t {
            put(
                text,
                format_args!("adit_snapshot_age_seconds{{host=\"{}\"}} {}", label(name), now.t.saturating_sub(at)),
            );
        }
    }
}

fn statuses(text: &mut String, view: &View) {
    let labels = |host: &str, component: &str, check: &str| {
        format!("host=\"{}\",component=\"{}\",check=\"{check}\"", label(host), label(component))
    };
    plain(text, "adit_status", "How a check came out: 0 ok, 1 warning, 2 critical, 3 unknown.");
    for (name, host) in &view.fleet.hosts {
        for component in host.report.iter().flat_map(|report| &report.components) {
            for finding in &component.findings {
                let labels = labels(name, &component.id, finding.check.text());
                put(text, format_args!("adit_status{{{labels}}} {}", finding.verdict as u8));
            }
        }
    }
    plain(text, "adit_rule_status", "How an open rule of the monitor stands: 1 warning, 2 critical, 3 unknown.");
    let deadlines = view.incidents.iter().filter(|(_, incident)| incident.class == crate::alerts::Class::Deadline);
    for (subject, open) in deadlines.filter_map(|(subject, incident)| Some((subject, incident.open.as_ref()?))) {
        let labels = labels(&subject.host, &subject.component, &subject.topic);
        put(text, format_args!("adit_rule_status{{{labels}}} {}", open.verdict() as u8));
    }
    plain(text, "adit_acked", "Whether somebody knows of an open incident.");
    for (subject, incident) in view.incidents.iter().filter(|(_, incident)| incident.open.is_some()) {
        let labels = labels(&subject.host, &subject.component, &subject.topic);
        put(text, format_args!("adit_acked{{{labels}}} {}", u8::from(incident.ack.is_some())));
    }
}

fn components(text: &mut String, view: &View) {
    head(
        text,
        &Family { name: "adit_component", kind: Type::Info, help: "What a component is and what people call it." },
    );
    each(view, |name, component| {
        let (host, id, words) = (label(name), label(&component.id), label(&component.label));
        let kind = component.kind.text();
        put(
            text,
            format_args!(
                "adit_component_info{{host=\"{host}\",component=\"{id}\",kind=\"{kind}\",label=\"{words}\"}} 1"
            ),
        );
    });
}

fn each(view: &View, mut tell: impl FnMut(&str, &Component)) {
    for (name, host) in &view.fleet.hosts {
        // A component that stands there twice is told once: a series has one value.
        let mut seen = std::collections::BTreeSet::new();
        for component in host.report.iter().flat_map(|report| &report.components) {
            if seen.insert(&component.id) {
                tell(name, component);
            }
        }
    }
}

fn readings(text: &mut String, view: &View, exported: &Exported) {
    let mut headed = false;
    let suffix = if exported.family.kind == Type::Counter { "_total" } else { "" };
    each(view, |name, component| {
        let Some(value) = crate::fleet::reading(component, exported.quantity) else { return };
        if !headed {
            head(text, &exported.family);
            headed = true;
        }
        let steps = u32::try_from(exported.over).unwrap_or(1);
        let value = show::decimal(value.saturating_mul(exported.times), steps);
        let (host, id) = (label(name), label(&component.id));
        put(text, format_args!("{}{suffix}{{host=\"{host}\",component=\"{id}\"}} {value}", exported.family.name));
    });
}

fn times(text: &mut String, view: &View, kind: ComponentKind, name: &'static str, help: &'static str) {
    plain(text, name, help);
    each(view, |host, component| {
        if let Some(at_s) = crate::fleet::last_s(component).filter(|_| component.kind == kind) {
            put(text, format_args!("{name}{{host=\"{}\",component=\"{}\"}} {at_s}", label(host), label(&component.id)));
        }
    });
}

fn channels(text: &mut String, view: &View) {
    plain(text, "adit_notify_waiting_messages", "Messages that wait for a channel.");
    for (name, (queue, _)) in &view.channels {
        put(text, format_args!("adit_notify_waiting_messages{{channel=\"{}\"}} {}", label(name), queue.waiting));
    }
    plain(text, "adit_notify_last_success_timestamp_seconds", "When a channel last delivered a message.");
    for (name, (_, delivered_s)) in &view.channels {
        if let Some(at_s) = delivered_s {
            put(text, format_args!("adit_notify_last_success_timestamp_seconds{{channel=\"{}\"}} {at_s}", label(name)));
        }
    }
}

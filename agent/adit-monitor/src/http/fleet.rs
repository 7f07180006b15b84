// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The fleet as JSON, worst first: what `adit-monitor status` and a page show. Ages are seconds at the moment of the answer,
//! so that no reader needs the monitor's clock.

use crate::alerts::rank;
use crate::core::View;
use crate::fleet::Host;
use serde_json::{Value, json};

/// One line a host.
#[must_use]
pub fn fleet(view: &View) -> Value {
    let mut hosts: Vec<(&String, &Host)> = view.fleet.hosts.iter().map(|(name, host)| (name, &**host)).collect();
    hosts.sort_by_key(|(name, _)| (std::cmp::Reverse(rank(view.verdict_of(name))), (*name).clone()));
    let hosts: Vec<Value> = hosts.into_iter().map(|(name, host)| line(view, name, host)).collect();
    let channels: serde_json::Map<String, Value> = view
        .channels
        .iter()
        .map(|(name, (queue, delivered_s))| {
            let state = json!({"waiting": queue.waiting, "trouble": queue.trouble, "delivered": delivered_s});
            (name.clone(), state)
        })
        .collect();
    json!({"time": view.fleet.now.wall_s, "hosts": hosts, "channels": channels, "maintenance": windows(view)})
}

fn line(view: &View, name: &str, host: &Host) -> Value {
    let t = view.fleet.now.t;
    json!({
        "name": name, "site": host.site, "verdict": view.verdict_of(name).word(),
        "heard_ago_s": host.heard_t.map(|at| t.saturating_sub(at)), "connected": host.connected,
        "trouble": host.trouble, "software": host.software, "remote": host.remote,
        "incidents": incidents(view, name, false),
    })
}

fn incidents(view: &View, name: &str, with_quiet: bool) -> Vec<Value> {
    let t = view.fleet.now.t;
    let mut open: Vec<_> = view
        .incidents_of(name)
        .iter()
        .filter(|(_, incident)| with_quiet || !incident.is_quiet())
        .filter_map(|(subject, incident)| Some((subject, incident, incident.open.as_ref()?)))
        .collect();
    open.sort_by_key(|(subject, _, open)| {
        (std::cmp::Reverse(rank(open.verdict())), crate::alerts::cause_rank(&subject.topic))
    });
    let one = |(subject, incident, open): (
        &crate::alerts::Subject,
        &crate::alerts::engine::Incident,
        &crate::alerts::engine::Open,
    )| {
        json!({
            "path": subject.path(), "component": subject.component, "check": subject.topic,
            "verdict": open.verdict().word(), "text": incident.text, "since_ago_s": t.saturating_sub(open.since_t),
            "unstable": incident.unstable, "told": !incident.is_quiet(),
            "ack": incident.ack.as_ref().map(|ack| json!({
                "by": ack.by, "reason": ack.reason, "for_s": ack.until_t.saturating_sub(t)
            })),
        })
    };
    open.into_iter().map(one).collect()
}

fn windows(view: &View) -> Vec<Value> {
    let t = view.fleet.now.t;
    let one = |window: &crate::alerts::engine::Window| {
        json!({
            "scope": window.scope, "in_s": window.from_t.saturating_sub(t), "ends_in_s": window.until_t.saturating_sub(t),
            "reason": window.reason, "by": window.by,
        })
    };
    view.windows.iter().map(one).collect()
}

/// One host with its last words; none when there is no such agent.
#[must_use]
pub fn host(view: &View, name: &str) -> Option<Value> {
    let host = view.fleet.hosts.get(name)?;
    let mut value = line(view, name, host);
    value["incidents"] = incidents(view, name, true).into();
    value["report_ago_s"] = json!(host.report.as_ref().map(|_| view.fleet.now.t.saturating_sub(host.received_t)));
    let components = host.report.iter().flat_map(|report| &report.components);
    value["components"] = components
        .map(|component| {
            let findings = component.findings.iter().map(|finding| {
                json!({
                    "check": finding.check.text(), "verdict": finding.verdict.word(), "reason": finding.reason.text(),
                    "detail": finding.detail, "since": finding.since_s,
                })
            });
            let readings = component.readings.iter().map(|(quantity, value)| {
                let (name, unit, steps) = adit_health::show::parts(*quantity);
                json!({"quantity": name, "unit": unit, "value": value, "steps": steps})
            });
            json!({
                "kind": component.kind.text(), "id": component.id, "label": component.label,
                "findings": findings.collect::<Value>(), "readings": readings.collect::<Value>(),
            })
        })
        .collect();
    Some(value)
}

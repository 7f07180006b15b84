// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Network links: down that were up, flapping, errors, slower than they were, without a usable IPv6 address.

use crate::judge::Judge;
use crate::limits::Rule;
use crate::model::{Component, Finding};
use crate::readings::link::LinkReading;
use adit_wire::health::codes::{Check, ComponentKind, Quantity, Reason, Verdict};

/// A switch that starts anew takes a minute; after this long a link is down, seconds.
const DOWN_S: u64 = 90;
/// Least packet that IPv6 must be able to send whole, bytes (RFC 8200 §5). Below it the kernel takes the addresses away.
const MTU_MIN: i64 = 1_280;
/// So few errors are no share of anything.
const ERRORS_MIN: i64 = 50;

/// An interface; `None` for one that never had a carrier: a socket without a cable.
#[must_use]
pub fn link(judge: &mut Judge<'_>, link: &LinkReading) -> Option<Component> {
    let id = link.name.as_str();
    if judge.best(id, Check::LinkState, i64::from(link.is_up)) == 0 {
        return None;
    }
    let mut findings = vec![state(judge, link), errors(judge, link)];
    if link.master.is_none() {
        findings.push(addresses(judge, link));
    }
    let verdict = if link.mtu_bytes < MTU_MIN { Verdict::Critical } else { Verdict::Ok };
    findings
        .push(Finding::judged(Check::Mtu, verdict, Reason::MtuSmall).because(|| format!("{} bytes", link.mtu_bytes)));
    Some(Component {
        kind: ComponentKind::Link,
        id: id.to_owned(),
        label: id.to_owned(),
        findings,
        readings: vec![
            (Quantity::SpeedMbit, link.speed_mbit),
            (Quantity::MtuBytes, Some(link.mtu_bytes)),
            (Quantity::LinkErrors, Some(link.errors)),
            (Quantity::CarrierChanges, Some(link.carrier_changes)),
        ],
    })
}

fn state(judge: &mut Judge<'_>, link: &LinkReading) -> Finding {
    let id = link.name.as_str();
    let down = judge.lasting(id, Reason::LinkDown, link.is_wanted && !link.is_up).is_some_and(|for_s| for_s >= DOWN_S);
    let changes = judge.counter(id, Quantity::CarrierChanges, link.carrier_changes).two_days;
    let flaps = judge.level(id, Rule::LinkFlaps, changes);
    // While it is down it has no speed; the one it had stays known.
    let best = judge.best(id, Check::Mtu, link.speed_mbit.unwrap_or(0));
    let slower = link.speed_mbit.filter(|now| *now < best);
    let warning = |reason| Finding::new(Check::LinkState, Verdict::Warning, reason);
    match (down, flaps, slower) {
        (true, ..) => warning(Reason::LinkDown)
            .with_detail(link.master.as_ref().map(|master| format!("part of {master}")).unwrap_or_default()),
        (_, Verdict::Warning | Verdict::Critical, _) => Finding::new(Check::LinkState, flaps, Reason::LinkFlapping)
            .with_detail(format!("{changes} times in two days")),
        (_, _, Some(now)) => warning(Reason::LinkSlow).with_detail(format!("{now} of {best} Mbit/s")),
        _ => Finding::ok(Check::LinkState),
    }
}

fn errors(judge: &mut Judge<'_>, link: &LinkReading) -> Finding {
    let errors = judge.counter(&link.name, Quantity::LinkErrors, link.errors).two_days;
    let packets = judge.counter(&link.name, Quantity::Events, link.packets).two_days;
    let share = if errors < ERRORS_MIN { 0 } else { errors.saturating_mul(1_000_000) / packets.max(1) };
    let verdict = judge.level(&link.name, Rule::LinkErrors, share);
    Finding::judged(Check::LinkErrors, verdict, Reason::LinkErrors)
        .because(|| format!("{errors} of {packets} packets in two days"))
}

/// An interface that lost its addresses, or a machine that has none at all. One that serves an IPv4 network alone is well.
fn addresses(judge: &mut Judge<'_>, link: &LinkReading) -> Finding {
    let had = judge.best(&link.name, Check::Addresses, i64::from(link.addresses > 0)) == 1;
    let lacks = link.is_up && link.addresses == 0 && (had || !link.machine_has_address);
    let lacks = judge.lasting(&link.name, Reason::NoAddress, lacks).is_some_and(|for_s| for_s >= DOWN_S);
    let verdict = if lacks { Verdict::Warning } else { Verdict::Ok };
    Finding::judged(Check::Addresses, verdict, Reason::NoAddress)
}

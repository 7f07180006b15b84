// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A real message bus, on which a script plays systemd: a second implementation of D-Bus reads what ours writes.

use crate::Bench;
use adit_ask::{AskError, systemd};
use adit_health::readings::units::UnitsReading;
use adit_health::{Component, rules};
use adit_services::{HOSTS, Room, until};
use adit_wire::health::codes::{Check, ComponentKind, Reason, Verdict};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/lab/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="false"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>
"#;
/// The units that failed are the lines of a file.
const MANAGER: &str = r#"import dbus, dbus.service, dbus.mainloop.glib
from gi.repository import GLib
dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.bus.BusConnection("unix:path=/lab/bus")
name = dbus.service.BusName("org.freedesktop.systemd1", bus)
failed = lambda: open("/lab/failed").read().split()
class Manager(dbus.service.Object):
    @dbus.service.method("org.freedesktop.DBus.Properties", in_signature="ss", out_signature="v")
    def Get(self, interface, name):
        return dbus.UInt32(len(failed()))
    @dbus.service.method("org.freedesktop.systemd1.Manager", in_signature="as", out_signature="a(ssssssouso)")
    def ListUnitsFiltered(self, states):
        assert states == ["failed"]
        return [(unit, "Föö", "loaded", "failed", "failed", "", "/u", 0, "", "/") for unit in failed()]
Manager(bus, "/org/freedesktop/systemd1")
GLib.MainLoop().run()
"#;

#[test]
fn services_systemd_failed_units_come_over_a_real_bus() {
    let mut room = Room::new("systemd", "bus", HOSTS, &[]).unwrap();
    let bus = room.folder.join("bus");
    let ask = || systemd::ask(&bus, Duration::from_secs(5));
    assert!(matches!(ask(), Err(AskError::Connect { .. })), "there is no bus yet");
    room.write("bus.conf", BUS).unwrap();
    room.start("bus-daemon", ["dbus-daemon", "--config-file=/lab/bus.conf", "--nofork"]).unwrap();
    let nobody = until("the bus listens", LONG, ask, |answer| matches!(answer, Err(AskError::Refused { .. })));
    let words = nobody.unwrap_err().to_string();
    assert!(words.contains("ServiceUnknown"), "{words}");

    room.write("failed", "").unwrap();
    room.write("manager.py", MANAGER).unwrap();
    room.start("manager", ["python3", "/lab/manager.py"]).unwrap();
    let reading = until("the manager answers", LONG, ask, Result::is_ok).unwrap();
    assert_eq!(reading, UnitsReading::default());

    room.write("failed", "nginx.service home-backup.mount").unwrap();
    let reading = ask().unwrap();
    assert_eq!(
        (reading.failed, reading.names.clone()),
        (2, vec!["home-backup.mount".to_owned(), "nginx.service".to_owned()])
    );
    let mut bench = Bench::default();
    let mut look = |seconds| {
        bench.look(seconds, |judge| {
            let findings = vec![rules::units::units(judge, "host", &reading, &[])];
            let (id, label) = ("host".to_owned(), "host".to_owned());
            vec![Component { kind: ComponentKind::Host, id, label, findings, readings: Vec::new() }]
        })
    };
    assert_eq!(look(0), []);
    assert_eq!(look(60), [(Check::Units, Verdict::Warning, Reason::UnitsFailed)]);

    let many: Vec<String> = (0..3000).map(|number| format!("job@{number}.service")).collect();
    room.write("failed", &many.join("\n")).unwrap();
    let reading = ask().unwrap();
    assert_eq!((reading.failed, reading.names.len()), (3000, systemd::NAMES_MAX));
}

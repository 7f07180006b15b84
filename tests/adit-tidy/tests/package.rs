// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Debian package, built around stand-ins for the binaries: what it holds, that its units are sound and tight, and
//! that the same source gives the same bytes. `make deb` builds it around the real, static binaries.

use adit_tidy::repository;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// How much of a unit may stand open, in systemd's own measure (0 none, 10.0 everything), times ten.
const AGENT_EXPOSURE_MAX: u32 = 20;
/// Device nodes and two capabilities are what it is for.
const PROBE_EXPOSURE_MAX: u32 = 20;
const BACKUP_EXPOSURE_MAX: u32 = 40;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("adit-package-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("bin")).expect("scratch directory");
        for binary in ["adit", "aditd", "adit-probe", "adit-monitor"] {
            let path = path.join("bin").join(binary);
            fs::write(&path, "#!/bin/sh\nexit 0\n").expect("stand-in");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode");
        }
        Self(path)
    }

    fn build(&self, output: &str) -> PathBuf {
        let output = self.0.join(output);
        let mut command = Command::new("bash");
        command.arg("images/packages/build-deb.sh").current_dir(repository::root());
        command.env("BINARIES", self.0.join("bin")).env("OUTPUT", &output).env("SOURCE_DATE_EPOCH", "1767225600");
        let printed = run(&mut command);
        PathBuf::from(printed.trim())
    }

    fn unpack(&self) -> PathBuf {
        let package = self.build("out");
        let root = self.0.join("root");
        run(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(&root));
        root
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("run {command:?}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode() & 0o7777
}

#[test]
fn the_package_holds_binaries_units_and_configuration() {
    let scratch = Scratch::new("content");
    let root = scratch.unpack();
    let control = fs::read_to_string(root.join("DEBIAN/control")).expect("control");
    assert!(control.contains("Package: adit\n") && !control.contains("Depends:"), "{control}");
    for (path, expected) in [
        ("usr/bin/adit", 0o755),
        ("usr/bin/aditd", 0o755),
        ("usr/bin/adit-probe", 0o755),
        ("usr/bin/adit-monitor", 0o755),
        ("usr/lib/systemd/system/adit-monitor.service", 0o644),
        ("etc/adit/adit-monitor.toml", 0o644),
        ("usr/share/adit/icinga2.conf", 0o644),
        ("usr/share/adit/prometheus.rules.yml", 0o644),
        ("usr/share/adit/grafana-dashboard.json", 0o644),
        ("usr/share/doc/adit/monitor.md", 0o644),
        ("usr/lib/systemd/system/aditd.service", 0o644),
        ("usr/lib/systemd/system/adit-probe.socket", 0o644),
        ("usr/lib/systemd/system/adit-probe.service", 0o644),
        ("usr/lib/systemd/system/adit-backup.service", 0o644),
        ("usr/lib/systemd/system/adit-backup.timer", 0o644),
        ("usr/lib/sysusers.d/adit.conf", 0o644),
        ("usr/lib/tmpfiles.d/adit.conf", 0o644),
        ("etc/adit/aditd.toml", 0o644),
        ("etc/default/adit-backup", 0o644),
        ("usr/share/doc/adit/copyright", 0o644),
        ("usr/share/doc/adit/README.md", 0o644),
        ("DEBIAN/postinst", 0o755),
    ] {
        assert_eq!(mode(&root.join(path)), expected, "{path}");
    }
    for file in fs::read_to_string(root.join("DEBIAN/conffiles")).expect("conffiles").lines() {
        assert!(root.join(file.trim_start_matches('/')).is_file(), "{file}");
    }
    run(Command::new("md5sum").args(["--check", "--quiet", "DEBIAN/md5sums"]).current_dir(&root));
}

#[test]
fn the_same_source_gives_the_same_package() {
    let scratch = Scratch::new("again");
    let (first, second) = (scratch.build("first"), scratch.build("second"));
    assert_eq!(fs::read(first).expect("first"), fs::read(second).expect("second"));
}

#[test]
fn the_example_configuration_names_the_default_port() {
    let text = fs::read_to_string(repository::root().join("images/packages/etc/aditd.toml")).expect("example");
    let table: toml::Table = text.parse().expect("TOML");
    let listen = table.get("listen").and_then(toml::Value::as_str);
    assert_eq!(listen, Some(format!("[::]:{}", adit_wire::DEFAULT_PORT).as_str()));
    let backup = fs::read_to_string(repository::root().join("images/packages/etc/adit-backup")).expect("defaults");
    assert!(backup.contains("--period 3h"), "the period of adit-backup.timer: {backup}");
}

#[test]
fn units_are_sound_and_tight() {
    let scratch = Scratch::new("units");
    let root = scratch.unpack();
    let units = root.join("usr/lib/systemd/system");
    for (unit, exposure_max) in [
        ("aditd.service", Some(AGENT_EXPOSURE_MAX)),
        ("adit-probe.service", Some(PROBE_EXPOSURE_MAX)),
        ("adit-monitor.service", Some(AGENT_EXPOSURE_MAX)),
        ("adit-backup.service", Some(BACKUP_EXPOSURE_MAX)),
        ("adit-backup.timer", None),
        ("adit-probe.socket", None),
    ] {
        let text = fs::read_to_string(units.join(unit)).expect("unit");
        // The commands lie in the unpacked package, not on this machine.
        let local = text.replace("=/usr/bin/", &format!("={}/usr/bin/", root.display()));
        fs::write(units.join(unit), local).expect("unit for the check");
        let Some(exposure_max) = exposure_max else { continue };
        let mut security = Command::new("systemd-analyze");
        security
            .args(["security", "--offline=true", "--no-pager", &format!("--threshold={exposure_max}")])
            .arg(units.join(unit));
        run(&mut security);
    }
    for unit in [
        "aditd.service",
        "adit-monitor.service",
        "adit-probe.service",
        "adit-probe.socket",
        "adit-backup.service",
        "adit-backup.timer",
    ] {
        run(Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(units.join(unit)));
    }
    let fires = run(Command::new("systemd-analyze").args(["calendar", "--iterations=2", "00/3:00"]));
    assert!(fires.contains("Normalized form: *-*-* 00/3:00:00"), "{fires}");
}

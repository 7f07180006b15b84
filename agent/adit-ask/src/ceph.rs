// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a Ceph cluster says of itself: the `ceph` command with a key that may only read (`mon 'allow r'`), or the
//! manager's metrics page, which needs no key. It knows the JSON of Nautilus to Squid. It never sends a command that
//! changes the cluster, and does not talk to the daemons' own sockets: one idle client there blocks all others.

use crate::child::{Job, Output, Program};
use crate::error::AskError;
use crate::http;
use crate::words::shortened;
use adit_health::readings::ceph::{CephCheck, CephReading, CephStatus};
use adit_health::show::rounded;
use serde_json::Value;
use std::ffi::OsString;
use std::net::SocketAddrV6;
use std::time::Duration;

/// What the command may print, bytes. The status of a cluster with 1000 OSDs has 30 KB; details are the long part.
pub const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// What a metrics page may hold, bytes: about 5 KB for an OSD.
pub const METRICS_BYTES_MAX: usize = 16 << 20;
/// Checks that are kept.
pub const CHECKS_MAX: usize = 64;
/// A sentence that is kept, bytes.
pub const SENTENCE_BYTES_MAX: usize = 256;
/// Where the manager's metrics lie.
pub const METRICS_PATH: &str = "/metrics";

/// How the command is called.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program, usually `ceph`.
    pub program: OsString,
    /// The user of the key, such as `client.adit`.
    pub name: String,
    /// The file with the key; `None` where Ceph's own search finds it.
    pub keyring: Option<OsString>,
    /// The cluster's configuration; `None` for /etc/ceph/ceph.conf.
    pub conf: Option<OsString>,
    /// How long to wait for a monitor, seconds. The whole call may take three times as long.
    pub connect_timeout_s: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { program: "ceph".into(), name: "client.adit".to_owned(), keyring: None, conf: None, connect_timeout_s: 5 }
    }
}

/// Asks one cluster by the command.
#[derive(Debug)]
pub struct Ceph {
    job: Job,
}

impl Ceph {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let mut argv: Vec<OsString> = vec![settings.program.clone()];
        argv.extend(["--connect-timeout".into(), settings.connect_timeout_s.to_string().into()]);
        argv.extend(["--name".into(), settings.name.clone().into()]);
        let files = [("--keyring", &settings.keyring), ("--conf", &settings.conf)];
        for (option, file) in files.into_iter().filter_map(|(option, file)| Some((option, file.clone()?))) {
            argv.extend([option.into(), file]);
        }
        let deadline = Duration::from_secs(u64::from(settings.connect_timeout_s) * 3);
        Self { job: Job::new(Program::new(argv).limits(deadline, OUTPUT_BYTES_MAX)) }
    }

    /// Asks for the status, and where it is not well for the details too.
    ///
    /// # Errors
    /// The program is missing or stuck, no monitor answers, the key is refused, the JSON is of no known form.
    pub fn ask(&mut self) -> Result<CephReading, AskError> {
        let mut reading = status(&self.json(&["status", "--format", "json"])?)?;
        if !reading.checks.is_empty() {
            let details = health(&self.json(&["health", "detail", "--format", "json"])?)?;
            (reading.status, reading.checks) = details;
        }
        Ok(reading)
    }

    fn json(&mut self, words: &[&str]) -> Result<Value, AskError> {
        let output = self.job.run(words.iter().copied())?;
        parse(&answer(&output)?)
    }
}

/// The standard output of a call that went well; else why it did not.
fn answer(output: &Output) -> Result<String, AskError> {
    if output.is_cut {
        return Err(AskError::TooLong { whom: WHOM.to_owned(), limit: OUTPUT_BYTES_MAX, unit: "bytes" });
    }
    if output.code == Some(0) {
        return Ok(output.text());
    }
    let said = output.stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing");
    // Without a key or with a wrong one: ENOENT 2, EPERM 1, EACCES 13, EINVAL 22 "access denied".
    let denied = ["[errno 13]", "[errno 1]", "[errno 2]", "EACCES", "EPERM", "access denied"];
    if denied.iter().any(|word| output.stderr.contains(word)) {
        return Err(AskError::denied(WHOM, said));
    }
    Err(AskError::refused(WHOM, said))
}

const WHOM: &str = "the ceph command";

/// JSON after the blank line that the command prints first.
fn parse(text: &str) -> Result<Value, AskError> {
    serde_json::from_str(text.trim()).map_err(|error| AskError::malformed(WHOM, error.to_string()))
}

/// A reading from `ceph status --format json`.
///
/// # Errors
/// There is no health in it.
pub fn status(json: &Value) -> Result<CephReading, AskError> {
    let health_json = json.get("health").ok_or_else(|| AskError::malformed(WHOM, "`health` was expected"))?;
    let (status, checks) = health(health_json)?;
    let count = |value: Option<&Value>| value.and_then(Value::as_u64).and_then(|count| u32::try_from(count).ok());
    // Nautilus has one more level.
    let osds = json.get("osdmap").map(|map| map.get("osdmap").unwrap_or(map));
    let osds = |key: &str| count(osds.and_then(|map| map.get(key)));
    let monitors = json.get("monmap");
    let listed = monitors.and_then(|map| map.get("mons")).and_then(Value::as_array);
    let listed = listed.and_then(|list| u32::try_from(list.len()).ok());
    let space = |key: &str| {
        let bytes = json.get("pgmap").and_then(|map| map.get(key)).and_then(Value::as_u64)?;
        i64::try_from(bytes >> 20).ok()
    };
    Ok(CephReading {
        fsid: json.get("fsid").and_then(Value::as_str).map(|id| shortened(id, 64)).unwrap_or_default(),
        status,
        checks,
        monitors: count(monitors.and_then(|map| map.get("num_mons"))).or(listed),
        in_quorum: json.get("quorum").and_then(Value::as_array).and_then(|list| u32::try_from(list.len()).ok()),
        osds: osds("num_osds"),
        osds_up: osds("num_up_osds"),
        osds_in: osds("num_in_osds"),
        used_mib: space("bytes_used"),
        total_mib: space("bytes_total"),
    })
}

/// Verdict and checks from `ceph health detail --format json`, or from the same object inside a status.
///
/// # Errors
/// There is no known status in it.
pub fn health(json: &Value) -> Result<(CephStatus, Vec<CephCheck>), AskError> {
    let umbrella = json.get("status").and_then(Value::as_str).and_then(severity);
    let umbrella = umbrella.ok_or_else(|| AskError::malformed(WHOM, "a health `status` was expected"))?;
    let mutes = json.get("mutes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut checks = Vec::new();
    for (code, check) in json.get("checks").and_then(Value::as_object).into_iter().flatten().take(CHECKS_MAX) {
        let text = |value: Option<&Value>| {
            let text = value.and_then(|value| value.get("message")).and_then(Value::as_str).unwrap_or_default();
            shortened(text, SENTENCE_BYTES_MAX)
        };
        let summary = check.get("summary");
        let count = summary.and_then(|summary| summary.get("count")).and_then(Value::as_u64);
        let is_muted = check
            .get("muted")
            .and_then(Value::as_bool)
            .unwrap_or_else(|| mutes.iter().any(|mute| mute.get("code").and_then(Value::as_str) == Some(code)));
        checks.push(CephCheck {
            code: shortened(code, 64),
            severity: check.get("severity").and_then(Value::as_str).and_then(severity).unwrap_or(CephStatus::Warn),
            count: count.and_then(|count| u32::try_from(count).ok()),
            muted: is_muted,
            summary: text(summary),
            detail: text(check.get("detail").and_then(|detail| detail.get(0))),
        });
    }
    Ok((umbrella, checks))
}

fn severity(word: &str) -> Option<CephStatus> {
    match word {
        "HEALTH_OK" => Some(CephStatus::Ok),
        "HEALTH_WARN" => Some(CephStatus::Warn),
        "HEALTH_ERR" => Some(CephStatus::Error),
        _ => None,
    }
}

/// Asks a manager's metrics page. A manager on standby answers with an empty page, which counts as refused: ask the next.
///
/// # Errors
/// Nobody listens, the deadline, a page without the cluster's health.
pub fn ask_metrics(manager: SocketAddrV6, deadline: Duration) -> Result<CephReading, AskError> {
    let page = http::get(manager, METRICS_PATH, deadline, METRICS_BYTES_MAX)?;
    metrics(&page)
        .ok_or_else(|| AskError::refused(&format!("the manager at {manager}"), "no ceph_health_status; on standby?"))
}

/// A reading from a metrics page; `None` without the cluster's health. A muted check cannot be told from another one here.
#[must_use]
pub fn metrics(page: &str) -> Option<CephReading> {
    let mut reading = CephReading::default();
    let mut is_told = false;
    for line in page.lines() {
        let Some(sample) = Sample::parse(line) else { continue };
        let is_one = sample.value > 0.5;
        let (part, whole) = match sample.name {
            "ceph_health_status" => {
                is_told = true;
                reading.status = match sample.value {
                    0.0 => CephStatus::Ok,
                    1.0 => CephStatus::Warn,
                    _ => CephStatus::Error,
                };
                continue;
            }
            "ceph_health_detail" => {
                // A check that was raised once stays on the page with the value 0.
                if is_one && reading.checks.len() < CHECKS_MAX {
                    reading.checks.extend(sample.check());
                }
                continue;
            }
            "ceph_cluster_total_bytes" => {
                reading.total_mib = rounded(sample.value / f64::from(1 << 20));
                continue;
            }
            "ceph_cluster_total_used_bytes" => {
                reading.used_mib = rounded(sample.value / f64::from(1 << 20));
                continue;
            }
            "ceph_mon_quorum_status" => (&mut reading.in_quorum, Some(&mut reading.monitors)),
            "ceph_osd_up" => (&mut reading.osds_up, Some(&mut reading.osds)),
            "ceph_osd_in" => (&mut reading.osds_in, None),
            _ => continue,
        };
        *part = Some(part.unwrap_or_default().saturating_add(u32::from(is_one)));
        if let Some(whole) = whole {
            *whole = Some(whole.unwrap_or_default().saturating_add(1));
        }
    }
    is_told.then_some(reading)
}

/// One line of the text exposition format (prometheus.io, "Exposition formats").
struct Sample<'p> {
    name: &'p str,
    labels: &'p str,
    value: f64,
}

impl<'p> Sample<'p> {
    fn parse(line: &'p str) -> Option<Self> {
        let line = line.trim();
        if line.starts_with('#') {
            return None;
        }
        let (name, rest) = line.split_at(line.find(['{', ' '])?);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once('}')?,
            None => ("", rest),
        };
        let value = rest.split_whitespace().next()?.parse().ok()?;
        Some(Self { name, labels, value })
    }

    /// The value of a label. Codes and severities hold no quotes.
    fn label(&self, name: &str) -> Option<&'p str> {
        self.labels.split(',').find_map(|label| {
            let (key, value) = label.split_once('=')?;
            (key.trim() == name).then(|| value.trim_matches('"'))
        })
    }

    fn check(&self) -> Option<CephCheck> {
        let code = shortened(self.label("name")?, 64);
        let severity = self.label("severity").and_then(severity).unwrap_or(CephStatus::Warn);
        Some(CephCheck { code, severity, ..CephCheck::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> CephReading {
        status(&parse(text).unwrap()).unwrap()
    }

    /// The shapes of a status by release, from ceph/ceph `src/mon/Monitor.cc` (`get_cluster_status`), `OSDMap::print_summary`
    /// and `MonMap::dump_summary`; values are ours.
    #[test]
    fn statuses_of_all_releases_are_read() {
        let nautilus = r#"{"fsid":"f-1","health":{"checks":{},"status":"HEALTH_OK"},"quorum":[0,1,2],
            "monmap":{"epoch":1,"mons":[{"rank":0},{"rank":1},{"rank":2}]},
            "osdmap":{"osdmap":{"epoch":9,"num_osds":6,"num_up_osds":6,"num_in_osds":5,"full":false}},
            "pgmap":{"bytes_used":1073741824,"bytes_total":10737418240}}"#;
        let reading = read(nautilus);
        assert_eq!([reading.monitors, reading.in_quorum], [Some(3), Some(3)]);
        assert_eq!([reading.osds, reading.osds_up, reading.osds_in], [Some(6), Some(6), Some(5)]);
        assert_eq!([reading.used_mib, reading.total_mib], [Some(1024), Some(10240)]);
        let pacific = r#"
            {"fsid":"f-2","health":{"status":"HEALTH_WARN","checks":{"MON_DOWN":{"severity":"HEALTH_WARN",
            "summary":{"message":"1/3 mons down, quorum a,b","count":1},"muted":false}},"mutes":[]},"quorum":[0,1],
            "quorum_names":["a","b"],"monmap":{"epoch":1,"min_mon_release_name":"pacific","num_mons":3},
            "osdmap":{"epoch":9,"num_osds":6,"num_up_osds":6,"osd_up_since":1,"num_in_osds":6,"osd_in_since":1}}"#;
        let reading = read(pacific);
        assert_eq!((reading.monitors, reading.in_quorum, reading.osds_up), (Some(3), Some(2), Some(6)));
        assert_eq!(reading.checks.len(), 1);
        assert_eq!((reading.checks[0].code.as_str(), reading.checks[0].count), ("MON_DOWN", Some(1)));
    }

    #[test]
    fn details_and_mutes_are_read() {
        let text = r#"{"checks":{"OSD_DOWN":{"severity":"HEALTH_WARN","summary":{"message":"1 osds down","count":1},
            "detail":[{"message":"osd.3 (root=default,host=x) is down"}],"muted":false},
            "OSDMAP_FLAGS":{"severity":"HEALTH_WARN","summary":{"message":"noout flag(s) set","count":1},"detail":[],"muted":true}},
            "status":"HEALTH_WARN","mutes":[{"code":"OSDMAP_FLAGS","ttl":"","sticky":false,"summary":"noout flag(s) set","count":0}]}"#;
        let (umbrella, checks) = health(&parse(text).unwrap()).unwrap();
        assert_eq!((umbrella, checks.len()), (CephStatus::Warn, 2));
        let down = checks.iter().find(|check| check.code == "OSD_DOWN").unwrap();
        assert_eq!((down.detail.as_str(), down.muted), ("osd.3 (root=default,host=x) is down", false));
        assert!(checks.iter().any(|check| check.code == "OSDMAP_FLAGS" && check.muted));
    }

    #[test]
    fn what_is_no_health_is_refused() {
        for text in ["{}", "[]", "null", r#"{"health":{}}"#, r#"{"health":{"status":"HEALTH_ODD"}}"#] {
            assert!(matches!(status(&parse(text).unwrap()), Err(AskError::Malformed { .. })), "{text}");
        }
        assert!(matches!(parse("Error"), Err(AskError::Malformed { .. })));
    }

    /// The words of the command and of librados.
    #[test]
    fn refusals_are_told_apart() {
        let output = |stderr: &str| Output {
            code: Some(1),
            signal: None,
            stdout: Vec::new(),
            is_cut: false,
            stderr: stderr.to_owned(),
        };
        for words in [
            "[errno 13] RADOS permission denied (error connecting to the cluster)\n",
            "[errno 2] RADOS object not found (error connecting to the cluster)\n",
            "Error EACCES: access denied\n",
        ] {
            assert!(matches!(answer(&output(words)), Err(AskError::Denied { .. })), "{words}");
        }
        let timed_out = answer(&output("[errno 110] RADOS timed out (error connecting to the cluster)\n"));
        assert!(matches!(timed_out, Err(AskError::Refused { .. })), "{timed_out:?}");
        assert!(matches!(answer(&Output { is_cut: true, ..output("") }), Err(AskError::TooLong { .. })));
    }

    /// Names and labels from ceph/ceph `src/pybind/mgr/prometheus/module.py`.
    #[test]
    fn metrics_are_read() {
        let page = "# HELP ceph_health_status Cluster health status\n# TYPE ceph_health_status untyped\nceph_health_status 1.0\n\
            ceph_health_detail{name=\"OSD_DOWN\",severity=\"HEALTH_WARN\"} 1.0\nceph_health_detail{name=\"PG_DEGRADED\",severity=\"HEALTH_WARN\"} 0.0\n\
            ceph_mon_quorum_status{ceph_daemon=\"mon.a\"} 1.0\nceph_mon_quorum_status{ceph_daemon=\"mon.b\"} 0.0\n\
            ceph_osd_up{ceph_daemon=\"osd.0\"} 1.0\nceph_osd_up{ceph_daemon=\"osd.1\"} 0.0\nceph_osd_in{ceph_daemon=\"osd.0\"} 1.0\n\
            ceph_cluster_total_bytes 10737418240.0\nceph_cluster_total_used_bytes 1073741824\nother{a=\"b}c\"} 3\nbroken{\n";
        let reading = metrics(page).unwrap();
        assert_eq!(reading.status, CephStatus::Warn);
        assert_eq!(reading.checks.iter().map(|check| check.code.as_str()).collect::<Vec<_>>(), ["OSD_DOWN"]);
        assert_eq!([reading.monitors, reading.in_quorum], [Some(2), Some(1)]);
        assert_eq!([reading.osds, reading.osds_up, reading.osds_in], [Some(2), Some(1), Some(1)]);
        assert_eq!([reading.used_mib, reading.total_mib], [Some(1024), Some(10240)]);
        assert_eq!(metrics(""), None);
    }

    proptest! {
        #[test]
        fn any_page_and_any_json_end(text in "\\PC{0,400}", line in "ceph_(health|osd)_(status|detail|up)[{ ][\\PC]{0,60}") {
            let _read = metrics(&format!("{line}\n{text}"));
            let _parsed = parse(&text).and_then(|json| status(&json));
        }
    }
}

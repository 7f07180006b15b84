// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The part of the configuration that is about health: what to ask beside the kernel, limits that an admin changed, plugins.
//!
//! What the machine itself shows needs no key: disks, arrays, file systems and sensors are found. Only what cannot be found
//! is configured here: who answers for a UPS, which clusters may be asked, which certificates matter.

use super::{ConfigError, absolute, check_keys, nearest};
use adit_health::limits::{Limit, LimitError, Limits, Rule};
use adit_link::Target;
use adit_link::serial::local;
use serde::Deserialize;
use std::net::SocketAddrV6;
use std::path::PathBuf;
use std::time::Duration;

/// Keys of `[health]`.
pub(super) const KEYS: [&str; 9] =
    ["ups", "ceph", "gluster", "certificates", "endpoints", "ignored_units", "probe", "socket", "shutdown"];
const KEYS_RULE: [&str; 4] = ["warning", "critical", "for_s", "off"];
const KEYS_PLUGIN: [&str; 5] = ["name", "command", "every_s", "timeout_s", "user"];
/// Where adit-probe answers unless told otherwise.
pub const PROBE_DEFAULT: &str = "/run/adit/probe.sock";
/// Plugins of one agent.
pub const PLUGINS_MAX: usize = 64;
/// UPSes that one agent asks.
pub const UPSES_MAX: usize = 8;
/// Certificates that one agent reads.
pub const CERTIFICATES_MAX: usize = 64;
/// Endpoints whose certificates one agent looks at.
pub const ENDPOINTS_MAX: usize = 64;
/// Units that may fail, of one host.
pub const IGNORED_UNITS_MAX: usize = 64;
/// How often a plugin runs, seconds: least, usual, most.
const PLUGIN_EVERY_S: (u64, u64, u64) = (10, 300, 86_400);
/// How long a plugin may take, seconds: usual, most.
const PLUGIN_TIMEOUT_S: (u64, u64) = (20, 300);
/// Port of a NUT server, as IANA has it.
const NUT_PORT: u16 = 3493;
/// Port of apcupsd's information server.
const APCUPSD_PORT: u16 = 3551;

/// What health is asked from, beside the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// UPSes, each by who answers for it.
    pub upses: Vec<UpsAt>,
    /// The user (such as client.adit) whose read-only key asks Ceph; none where there is no Ceph.
    pub ceph: Option<String>,
    /// Whether this host asks Gluster.
    pub gluster: bool,
    /// Files that hold certificates.
    pub certificates: Vec<PathBuf>,
    /// Endpoints that show certificates.
    pub endpoints: Vec<Target>,
    /// Units of systemd that may fail, by their whole names.
    pub ignored_units: Vec<String>,
    /// The socket of adit-probe.
    pub probe: PathBuf,
    /// Where programs on this machine ask how it is; without its directory there is no socket.
    pub socket: PathBuf,
    /// Whether a UPS whose battery is low shuts this machine down.
    pub shutdown: bool,
    /// Limits of rules.
    pub limits: Limits,
    /// Plugins.
    pub plugins: Vec<PluginConfig>,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            upses: Vec::new(),
            ceph: None,
            gluster: false,
            certificates: Vec::new(),
            endpoints: Vec::new(),
            ignored_units: Vec::new(),
            probe: PathBuf::from(PROBE_DEFAULT),
            socket: PathBuf::from(local::PATH),
            shutdown: false,
            limits: Limits::default(),
            plugins: Vec::new(),
        }
    }
}

/// Who answers for a UPS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpsAt {
    /// A NUT server, and the name of the UPS there.
    Nut {
        /// The name.
        name: String,
        /// The server.
        server: SocketAddrV6,
    },
    /// An apcupsd, which knows one UPS.
    Apcupsd {
        /// The server.
        server: SocketAddrV6,
    },
}

/// A plugin in the manner of Nagios.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginConfig {
    /// What its component is called.
    pub name: String,
    /// Program and arguments; no shell is between.
    pub command: Vec<String>,
    /// How often it runs.
    pub every: Duration,
    /// How long it may take.
    pub timeout: Duration,
    /// The user it runs as; none for the agent's own.
    pub user: Option<String>,
}

#[derive(Default, Deserialize)]
struct RawHealth {
    #[serde(default)]
    ups: Vec<String>,
    ceph: Option<String>,
    #[serde(default)]
    gluster: bool,
    #[serde(default)]
    certificates: Vec<PathBuf>,
    #[serde(default)]
    endpoints: Vec<String>,
    #[serde(default)]
    ignored_units: Vec<String>,
    probe: Option<PathBuf>,
    socket: Option<PathBuf>,
    #[serde(default)]
    shutdown: bool,
}

#[derive(Deserialize)]
struct RawPlugin {
    name: String,
    command: Vec<String>,
    every_s: Option<u64>,
    timeout_s: Option<u64>,
    user: Option<String>,
}

/// Reads `[health]`, `[rule.NAME]` and `[[plugin]]` out of the whole file.
pub(super) fn parse(table: &toml::Table) -> Result<HealthConfig, ConfigError> {
    let raw = match table.get("health") {
        None => RawHealth::default(),
        Some(toml::Value::Table(health)) => {
            check_keys(health, &KEYS, " in [health]")?;
            health.clone().try_into().map_err(super::toml_error)?
        }
        Some(_) => return Err(ConfigError::Toml("`health` is a table: write [health]".to_owned())),
    };
    limited("ups", raw.ups.len(), UPSES_MAX)?;
    limited("certificates", raw.certificates.len(), CERTIFICATES_MAX)?;
    limited("ignored_units", raw.ignored_units.len(), IGNORED_UNITS_MAX)?;
    limited("endpoints", raw.endpoints.len(), ENDPOINTS_MAX)?;
    Ok(HealthConfig {
        upses: raw.ups.iter().map(|value| parse_ups(value)).collect::<Result<_, _>>()?,
        ceph: raw.ceph.map(check_ceph).transpose()?,
        gluster: raw.gluster,
        certificates: raw
            .certificates
            .into_iter()
            .map(|path| absolute("certificates", path))
            .collect::<Result<_, _>>()?,
        endpoints: raw.endpoints.iter().map(|value| parse_endpoint(value)).collect::<Result<_, _>>()?,
        ignored_units: raw.ignored_units.into_iter().map(check_unit).collect::<Result<_, _>>()?,
        probe: absolute("probe", raw.probe.unwrap_or_else(|| PathBuf::from(PROBE_DEFAULT)))?,
        socket: absolute("socket", raw.socket.unwrap_or_else(|| PathBuf::from(local::PATH)))?,
        shutdown: raw.shutdown,
        limits: parse_rules(table)?,
        plugins: parse_plugins(table)?,
    })
}

fn limited(key: &'static str, count: usize, most: usize) -> Result<(), ConfigError> {
    if count <= most {
        return Ok(());
    }
    Err(ConfigError::Value { key, value: count.to_string(), why: format!("at most {most} of them") })
}

/// "name@[address]:port" of a NUT server, or "apcupsd@[address]:port".
fn parse_ups(value: &str) -> Result<UpsAt, ConfigError> {
    let wrong = || ConfigError::Value {
        key: "ups",
        value: value.to_owned(),
        why: "write \"NAME@[::1]\" for a UPS of a NUT server, or \"apcupsd@[::1]\"".to_owned(),
    };
    let (name, server) = value.split_once('@').ok_or_else(wrong)?;
    let word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || !name.chars().all(word) {
        return Err(wrong());
    }
    let mut at = super::parse_listen("ups", server)?;
    let apcupsd = name == "apcupsd";
    // The parser of addresses fills in adit's own port, which no UPS server has.
    if at.port() == adit_wire::DEFAULT_PORT {
        at.set_port(if apcupsd { APCUPSD_PORT } else { NUT_PORT });
    }
    Ok(if apcupsd { UpsAt::Apcupsd { server: at } } else { UpsAt::Nut { name: name.to_owned(), server: at } })
}

/// "name:port" or "[address]:port". The port must stand there: no service that shows certificates has adit's own, which the
/// parser of targets would fill in.
fn parse_endpoint(value: &str) -> Result<Target, ConfigError> {
    let refused = |why| ConfigError::Value { key: "endpoints", value: value.to_owned(), why };
    let target = Target::parse(value).map_err(|error| refused(error.to_string()))?;
    let port = match &target {
        Target::Address(address) => address.port(),
        Target::Name(_, port) => *port,
    };
    if value.ends_with(&format!(":{port}")) {
        return Ok(target);
    }
    Err(refused("write its port too, as in \"mail.example.org:993\" or \"[2001:db8::1]:443\"".to_owned()))
}

/// A unit as systemd names it: with its kind. A name without one would match nothing and hide that.
fn check_unit(name: String) -> Result<String, ConfigError> {
    let kind = name.rsplit_once('.').map(|(_, kind)| kind);
    if kind.is_some_and(|kind| !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_lowercase())) {
        return Ok(name);
    }
    let why = "write its whole name, as in \"nginx.service\" (systemctl list-units --failed)".to_owned();
    Err(ConfigError::Value { key: "ignored_units", value: name, why })
}

fn check_ceph(user: String) -> Result<String, ConfigError> {
    let plain = user
        .strip_prefix("client.")
        .is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)));
    if plain {
        return Ok(user);
    }
    let why = "write the user whose key may read, such as \"client.adit\" (ceph auth get-or-create client.adit mon \
               'allow r')";
    Err(ConfigError::Value { key: "ceph", value: user, why: why.to_owned() })
}

fn parse_rules(table: &toml::Table) -> Result<Limits, ConfigError> {
    let mut limits = Limits::default();
    let Some(rules) = table.get("rule") else { return Ok(limits) };
    let toml::Value::Table(rules) = rules else {
        return Err(ConfigError::Toml("a rule is a table: write [rule.NAME]".to_owned()));
    };
    for (name, value) in rules {
        let rule = Limits::rule(name).map_err(|_unknown| {
            let names: Vec<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
            ConfigError::UnknownKey { key: name.clone(), place: " in [rule]", hint: nearest(name, &names) }
        })?;
        let toml::Value::Table(value) = value else {
            return Err(ConfigError::Toml(format!("a rule is a table: write [rule.{name}]")));
        };
        check_keys(value, &KEYS_RULE, " in [rule.…]")?;
        let limit = changed(rule, value)?;
        limits.set(rule, limit).map_err(|error| refused(rule, &error))?;
    }
    Ok(limits)
}

fn refused(rule: Rule, error: &LimitError) -> ConfigError {
    let (steps, unit) = rule.scale();
    ConfigError::Value {
        key: "rule",
        value: rule.name().to_owned(),
        why: format!("{error}; limits are written in {unit}{}", if steps == 1 { "" } else { ", decimals are allowed" }),
    }
}

fn changed(rule: Rule, table: &toml::Table) -> Result<Limit, ConfigError> {
    let mut limit = rule.default_limit();
    if table.get("off").and_then(toml::Value::as_bool) == Some(true) {
        (limit.warning, limit.critical) = (None, None);
        return Ok(limit);
    }
    for (key, slot) in [("warning", &mut limit.warning), ("critical", &mut limit.critical)] {
        if let Some(value) = table.get(key) {
            *slot = Some(scaled(rule, key, value)?);
        }
    }
    if let Some(value) = table.get("for_s") {
        limit.for_s = value.as_integer().and_then(|value| u64::try_from(value).ok()).ok_or_else(|| {
            ConfigError::Value { key: "for_s", value: value.to_string(), why: "write whole seconds".to_owned() }
        })?;
    }
    Ok(limit)
}

/// A number in the unit that people use, in the rule's own steps.
fn scaled(rule: Rule, key: &'static str, value: &toml::Value) -> Result<i64, ConfigError> {
    let (steps, unit) = rule.scale();
    #[expect(clippy::cast_precision_loss, reason = "steps are 1, 10, 100 or 1000")]
    let scaled = match value {
        toml::Value::Integer(whole) => whole.checked_mul(steps),
        toml::Value::Float(number) => adit_health::show::rounded(number * steps as f64),
        toml::Value::String(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_)
        | toml::Value::Array(_)
        | toml::Value::Table(_) => None,
    };
    scaled.ok_or_else(|| ConfigError::Value { key, value: value.to_string(), why: format!("write a number of {unit}") })
}

fn parse_plugins(table: &toml::Table) -> Result<Vec<PluginConfig>, ConfigError> {
    let Some(value) = table.get("plugin") else { return Ok(Vec::new()) };
    let toml::Value::Array(plugins) = value else {
        return Err(ConfigError::Toml("plugins are a list: write [[plugin]]".to_owned()));
    };
    limited("plugin", plugins.len(), PLUGINS_MAX)?;
    let mut parsed: Vec<PluginConfig> = Vec::new();
    for value in plugins {
        if let toml::Value::Table(table) = value {
            check_keys(table, &KEYS_PLUGIN, " in [[plugin]]")?;
        }
        let plugin = plugin(value.clone().try_into().map_err(super::toml_error)?)?;
        if parsed.iter().any(|known| known.name == plugin.name) {
            let why = "two plugins have this name".to_owned();
            return Err(ConfigError::Value { key: "name", value: plugin.name, why });
        }
        parsed.push(plugin);
    }
    Ok(parsed)
}

fn plugin(raw: RawPlugin) -> Result<PluginConfig, ConfigError> {
    if raw.name.is_empty() || raw.name.len() > adit_wire::health::LABEL_BYTES_MAX {
        let why = format!("write a name of at most {} bytes", adit_wire::health::LABEL_BYTES_MAX);
        return Err(ConfigError::Value { key: "name", value: raw.name, why });
    }
    if !raw.command.first().is_some_and(|program| program.starts_with('/')) {
        let why =
            "write the program's whole path and its arguments, [\"/usr/lib/nagios/plugins/check_snmp\", \"-H\", …]";
        return Err(ConfigError::Value { key: "command", value: raw.command.join(" "), why: why.to_owned() });
    }
    let within = |key, value: Option<u64>, usual, least, most| match value.unwrap_or(usual) {
        value if (least..=most).contains(&value) => Ok(Duration::from_secs(value)),
        value => {
            let why = format!("write {least} to {most} seconds");
            Err(ConfigError::Value { key, value: value.to_string(), why })
        }
    };
    let (least, usual, most) = PLUGIN_EVERY_S;
    let every = within("every_s", raw.every_s, usual, least, most)?;
    let timeout = within("timeout_s", raw.timeout_s, PLUGIN_TIMEOUT_S.0, 1, PLUGIN_TIMEOUT_S.1)?;
    Ok(PluginConfig { name: raw.name, command: raw.command, every, timeout, user: raw.user })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parsed(text: &str) -> HealthConfig {
        Config::parse(text).expect(text).health
    }

    fn refused(text: &str) -> String {
        Config::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn nothing_is_asked_unless_told_so() {
        let health = parsed("");
        assert_eq!(health, HealthConfig::default());
        assert!(health.upses.is_empty() && health.ceph.is_none() && !health.gluster && !health.shutdown);
    }

    #[test]
    fn a_ups_is_a_name_at_a_server() {
        let health = parsed("[health]\nups = [\"eaton@[::1]\", \"apcupsd@[2001:db8::1]\", \"b@[::1]:4000\"]");
        assert_eq!(
            health.upses[0],
            UpsAt::Nut { name: "eaton".into(), server: "[::1]:3493".parse().expect("address") }
        );
        assert_eq!(health.upses[1], UpsAt::Apcupsd { server: "[2001:db8::1]:3551".parse().expect("address") });
        assert_eq!(health.upses[2], UpsAt::Nut { name: "b".into(), server: "[::1]:4000".parse().expect("address") });
        assert!(refused("[health]\nups = [\"eaton\"]").contains("write \"NAME@[::1]\""));
        assert!(refused("[health]\nups = [\"a b@[::1]\"]").contains("write \"NAME@[::1]\""));
        assert!(refused("[health]\nups = [\"a@127.0.0.1\"]").contains("IPv6 only"));
        let many = format!("[health]\nups = [{}]", "\"a@[::1]\",".repeat(UPSES_MAX + 1));
        assert!(refused(&many).contains("at most 8"));
    }

    #[test]
    fn an_endpoint_has_a_port() {
        let health = parsed("[health]\nendpoints = [\"Mail.example.org:993\", \"[2001:db8::1]:443\"]");
        let shown: Vec<String> = health.endpoints.iter().map(Target::to_string).collect();
        assert_eq!(shown, ["mail.example.org:993", "[2001:db8::1]:443"]);
        for bare in ["mail.example.org", "2001:db8::1", "[2001:db8::1]", "2001:db8::443"] {
            assert!(refused(&format!("[health]\nendpoints = [{bare:?}]")).contains("write its port too"), "{bare}");
        }
        assert!(refused("[health]\nendpoints = [\"192.0.2.1:443\"]").contains("IPv6 only"));
        let many = format!("[health]\nendpoints = [{}]", "\"a:1\",".repeat(ENDPOINTS_MAX + 1));
        assert!(refused(&many).contains("at most 64"));
    }

    #[test]
    fn a_unit_that_may_fail_has_its_whole_name() {
        let units = parsed("[health]\nignored_units = [\"user@1000.service\", \"home-backup.mount\"]").ignored_units;
        assert_eq!(units, ["user@1000.service", "home-backup.mount"]);
        for wrong in ["nginx", "nginx.", "1.2.3"] {
            let text = format!("[health]\nignored_units = [{wrong:?}]");
            assert!(refused(&text).contains("write its whole name"), "{wrong}");
        }
        let many = format!("[health]\nignored_units = [{}]", "\"a.service\",".repeat(IGNORED_UNITS_MAX + 1));
        assert!(refused(&many).contains("at most 64"));
    }

    #[test]
    fn limits_are_written_as_people_write_them() {
        let health =
            parsed("[rule.disk-temperature]\nwarning = 50.5\ncritical = 58\nfor_s = 60\n[rule.space]\noff = true");
        let limit = health.limits.of(Rule::DiskTemperature);
        assert_eq!((limit.warning, limit.critical, limit.for_s), (Some(505), Some(580), 60));
        let space = health.limits.of(Rule::Space);
        assert_eq!((space.warning, space.critical), (None, None));
    }

    #[test]
    fn a_wrong_rule_says_what_is_right() {
        assert_eq!(
            refused("[rule.disk-temprature]\nwarning = 1"),
            "unknown key `disk-temprature` in [rule]; did you mean `disk-temperature`?"
        );
        assert!(refused("[rule.space]\nwarning = 2\ncritical = 9").contains("would be critical"));
        assert_eq!(
            refused("[rule.space]\nwarning = \"much\""),
            "`warning` is \"\\\"much\\\"\": write a number of % free"
        );
        assert!(refused("[rule.space]\nwarnin = 2").contains("did you mean `warning`?"));
        assert!(refused("[rule.space]\nfor_s = -1").contains("write whole seconds"));
    }

    #[test]
    fn a_plugin_has_limits() {
        let text = "[[plugin]]\nname = \"pdu\"\ncommand = [\"/usr/lib/nagios/plugins/check_snmp\", \"-H\", \"pdu\"]\n";
        let plugin = parsed(text).plugins.remove(0);
        assert_eq!((plugin.every.as_secs(), plugin.timeout.as_secs(), plugin.user), (300, 20, None));
        assert!(refused(&format!("{text}{text}")).contains("two plugins have this name"));
        assert!(refused(&format!("{text}every_s = 1")).contains("write 10 to 86400 seconds"));
        assert!(refused(&format!("{text}timeout_s = 301")).contains("write 1 to 300 seconds"));
        assert!(refused("[[plugin]]\nname = \"x\"\ncommand = [\"check\"]").contains("whole path"));
        assert!(refused("[health]\nceph = \"admin\"").contains("client.adit"));
        let many: String = (0..=PLUGINS_MAX).map(|n| text.replace("pdu\"\n", &format!("{n}\"\n"))).collect();
        assert!(refused(&many).contains("at most 64"));
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The agent's one configuration file: raw text in, resolved values out.
//!
//! A file that passes [`Config::parse`] can't be wrong in itself; what depends on the machine (a missing directory, a port
//! in use) is found when it is used. Every key has a reason, and there are at most [`KEYS_MAX`] of them. Peers aren't
//! configured here: each is a file below the state directory.

pub mod health;

use adit_proto::token::Address;
use health::HealthConfig;
use serde::Deserialize;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::path::{Path, PathBuf};

/// The budget of keys: 9 are the agent's own, 12 are about health and name what cannot be found by looking.
pub const KEYS_MAX: usize = 21;
/// Where the file is looked for when none is named.
pub const PATH_DEFAULT: &str = "/etc/adit/aditd.toml";
/// The state directory when none is named.
pub const STATE_DEFAULT: &str = "/var/lib/adit";
/// Where `adit` keeps its state unless told otherwise; a machine without one reports no runs.
pub const BACKUPS_DEFAULT: &str = "/var/lib/adit-source";
/// Longest configuration file, bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Addresses that may be configured: what an address record holds.
pub const ADDRESSES_MAX: usize = adit_wire::signed::ADDRESSES_MAX;

const KEYS_TOP: [&str; 11] =
    ["listen", "state", "name", "address", "log", "backups", "console", "box", "health", "rule", "plugin"];
const KEYS_BOX: [&str; 1] = ["store"];

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen; none for an agent that only dials.
    pub listen: Option<SocketAddrV6>,
    /// The state directory.
    pub state: PathBuf,
    /// This machine's name for its peers; none for the host name.
    pub name: Option<String>,
    /// How this machine is reached, when that is not what its interfaces say.
    pub addresses: Vec<Address>,
    /// The least level of the log lines.
    pub log: log::LevelFilter,
    /// State directories of `adit` on this machine, whose run records health reports.
    pub backups: Vec<PathBuf>,
    /// A character device on which health is served to whoever holds the line.
    pub console: Option<PathBuf>,
    /// What makes the agent a box.
    pub store: Option<PathBuf>,
    /// What health is asked from, and its limits.
    pub health: HealthConfig,
}

/// Why a configuration is refused. Each text is a sentence for the person who wrote the file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("read the configuration")]
    Read(#[source] crate::files::FileError),
    /// It is no UTF-8.
    #[error("the configuration is not UTF-8 text")]
    Encoding,
    /// It is no TOML, or a value has the wrong type.
    #[error("{0}")]
    Toml(String),
    /// No such key.
    #[error("unknown key `{key}`{place}; {hint}")]
    UnknownKey {
        /// What was written.
        key: String,
        /// In which table.
        place: &'static str,
        /// The nearest key, or all of them.
        hint: String,
    },
    /// An IPv4 address.
    #[error("`{key}` names the IPv4 address {value}; adit speaks IPv6 only, because home boxes are reached by IPv6 without port forwarding: use an IPv6 address such as [::]:{port}", port = adit_wire::DEFAULT_PORT)]
    Ipv4 {
        /// Which key.
        key: &'static str,
        /// What was written.
        value: String,
    },
    /// A value that can't be used.
    #[error("`{key}` is {value:?}: {why}")]
    Value {
        /// Which key.
        key: &'static str,
        /// What was written.
        value: String,
        /// What is wrong with it and what would be right.
        why: String,
    },
    /// Neither a listener nor anything to do without one.
    #[error("a box needs `listen`: sources dial it; write listen = \"[::]:{port}\"", port = adit_wire::DEFAULT_PORT)]
    BoxWithoutListen,
}

#[derive(Deserialize)]
struct Raw {
    listen: Option<String>,
    state: Option<PathBuf>,
    name: Option<String>,
    #[serde(default)]
    address: OneOrMany,
    log: Option<String>,
    backups: Option<Vec<PathBuf>>,
    console: Option<PathBuf>,
    r#box: Option<RawBox>,
}

#[derive(Deserialize)]
struct RawBox {
    store: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it can't be read or is refused.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes = crate::files::read(path, FILE_BYTES_MAX).map_err(ConfigError::Read)?;
        Self::parse(core::str::from_utf8(&bytes).map_err(|_| ConfigError::Encoding)?)
    }

    /// Checks a text.
    ///
    /// # Errors
    /// When it is refused.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let table: toml::Table = toml::from_str(text).map_err(toml_error)?;
        check_keys(&table, &KEYS_TOP, "")?;
        if let Some(toml::Value::Table(table)) = table.get("box") {
            check_keys(table, &KEYS_BOX, " in [box]")?;
        }
        let raw: Raw = toml::from_str(text).map_err(toml_error)?;
        let addresses = match raw.address {
            OneOrMany::None => Vec::new(),
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        };
        if addresses.len() > ADDRESSES_MAX {
            return Err(ConfigError::Value {
                key: "address",
                value: addresses.len().to_string(),
                why: format!("at most {ADDRESSES_MAX} addresses fit a signed address record"),
            });
        }
        let config = Self {
            listen: raw.listen.map(|value| parse_listen("listen", &value)).transpose()?,
            state: absolute("state", raw.state.unwrap_or_else(|| PathBuf::from(STATE_DEFAULT)))?,
            name: raw.name.map(check_name).transpose()?,
            addresses: addresses.iter().map(|value| parse_reach("address", value)).collect::<Result<_, _>>()?,
            log: raw.log.map_or(Ok(log::LevelFilter::Info), |value| parse_log(&value))?,
            backups: raw
                .backups
                .unwrap_or_else(|| vec![PathBuf::from(BACKUPS_DEFAULT)])
                .into_iter()
                .map(|path| absolute("backups", path))
                .collect::<Result<_, _>>()?,
            console: raw.console.map(|path| absolute("console", path)).transpose()?,
            store: raw.r#box.map(|raw| absolute("store", raw.store)).transpose()?,
            health: health::parse(&table)?,
        };
        if config.store.is_some() && config.listen.is_none() {
            return Err(ConfigError::BoxWithoutListen);
        }
        Ok(config)
    }

    /// The configuration of a program that serves a carried store and nothing else.
    #[must_use]
    pub fn carried(listen: SocketAddrV6, store: &Path) -> Self {
        Self {
            listen: Some(listen),
            state: PathBuf::new(),
            name: None,
            addresses: Vec::new(),
            log: log::LevelFilter::Info,
            backups: Vec::new(),
            console: None,
            store: Some(store.to_owned()),
            health: HealthConfig::default(),
        }
    }

    /// The name this machine tells its peers.
    #[must_use]
    pub fn machine_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
            let name: String = name.chars().filter(|c| crate::peers::PeerName::allows(*c)).take(63).collect();
            if crate::peers::PeerName::new(&name).is_ok() { name } else { "host".to_owned() }
        })
    }
}

/// Reads the address to listen on: an IPv6 address in brackets, with or without a port and a zone.
///
/// # Errors
/// When it is something else.
pub fn parse_listen(key: &'static str, value: &str) -> Result<SocketAddrV6, ConfigError> {
    refuse_ipv4(key, value)?;
    let wrong = |why: &str| ConfigError::Value { key, value: value.to_owned(), why: why.to_owned() };
    let example = "write an IPv6 address in brackets and a port, such as \"[::]:11713\"";
    let (host, port) = split_port(value).ok_or_else(|| wrong(example))?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let (ip, zone) = host.split_once('%').map_or((host, None), |(ip, zone)| (ip, Some(zone)));
    let ip: Ipv6Addr = ip.parse().map_err(|_| wrong(example))?;
    let scope = match zone {
        None => 0,
        Some(zone) => zone_index(zone).ok_or_else(|| wrong("there is no network interface of that name"))?,
    };
    Ok(SocketAddrV6::new(ip, port.unwrap_or(adit_wire::DEFAULT_PORT), 0, scope))
}

/// Reads an address or a name at which a machine is reached.
///
/// # Errors
/// When it is neither, or IPv4.
pub fn parse_reach(key: &'static str, value: &str) -> Result<Address, ConfigError> {
    refuse_ipv4(key, value)?;
    let wrong = |why: &str| ConfigError::Value { key, value: value.to_owned(), why: why.to_owned() };
    let example = "write \"[2001:db8::1]:11713\" or \"box.example.org:11713\"";
    let (host, port) = split_port(value).ok_or_else(|| wrong(example))?;
    let port = port.unwrap_or(adit_wire::DEFAULT_PORT);
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address = match bare.parse::<Ipv6Addr>() {
        Ok(ip) => Address::Ip(ip, port),
        Err(_) => Address::Name(bare.to_owned(), port),
    };
    if address.is_usable() { Ok(address) } else { Err(wrong(example)) }
}

/// Splits off a port; a bare IPv6 address has none.
fn split_port(value: &str) -> Option<(&str, Option<u16>)> {
    if value.ends_with(']') || value.matches(':').count() > 1 && !value.starts_with('[') {
        return Some((value, None));
    }
    match value.rsplit_once(':') {
        None => Some((value, None)),
        Some((host, port)) => port.parse().ok().map(|port| (host, Some(port))),
    }
}

fn zone_index(zone: &str) -> Option<u32> {
    zone.parse().ok().or_else(|| {
        if zone.contains('/') {
            return None;
        }
        std::fs::read_to_string(format!("/sys/class/net/{zone}/ifindex")).ok()?.trim().parse().ok()
    })
}

fn refuse_ipv4(key: &'static str, value: &str) -> Result<(), ConfigError> {
    let host = value.split_once(':').map_or(value, |(host, _)| host);
    let is_ipv4 = host.split('.').count() == 4 && host.split('.').all(|part| part.parse::<u8>().is_ok());
    if is_ipv4 { Err(ConfigError::Ipv4 { key, value: value.to_owned() }) } else { Ok(()) }
}

fn absolute(key: &'static str, path: PathBuf) -> Result<PathBuf, ConfigError> {
    if path.is_absolute() {
        return Ok(path);
    }
    let value = path.display().to_string();
    Err(ConfigError::Value { key, value, why: "write the whole path, beginning with /".to_owned() })
}

fn check_name(name: String) -> Result<String, ConfigError> {
    match crate::peers::PeerName::new(&name) {
        Ok(_) => Ok(name),
        Err(error) => Err(ConfigError::Value { key: "name", value: name, why: error.to_string() }),
    }
}

fn parse_log(value: &str) -> Result<log::LevelFilter, ConfigError> {
    value.parse().map_err(|_| ConfigError::Value {
        key: "log",
        value: value.to_owned(),
        why: "write error, warn, info, debug or trace".to_owned(),
    })
}

fn toml_error(error: toml::de::Error) -> ConfigError {
    ConfigError::Toml(error.to_string().trim_end().to_owned())
}

fn check_keys(table: &toml::Table, known: &[&str], place: &'static str) -> Result<(), ConfigError> {
    let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    Err(ConfigError::UnknownKey { key: key.clone(), place, hint: nearest(key, known) })
}

/// "did you mean …" when a known key is near, else all keys.
fn nearest(key: &str, known: &[&str]) -> String {
    let near = known.iter().map(|known| (distance(key, known), *known)).min();
    match near {
        Some((edits, near)) if edits <= 2.max(key.len() / 3) => format!("did you mean `{near}`?"),
        Some(_) | None => format!("the keys here are {}", known.join(", ")),
    }
}

/// Edits (insert, remove, replace) that turn one word into the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of a text, as a person reads it.
    fn refused(text: &str) -> String {
        Config::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn a_box_needs_three_lines() {
        let config = Config::parse("listen = \"[::1]:7\"\nstate = \"/s\"\n[box]\nstore = \"/b\"\n").expect("valid");
        assert_eq!(config.listen, Some("[::1]:7".parse().expect("address")));
        assert_eq!((config.state, config.store), (PathBuf::from("/s"), Some(PathBuf::from("/b"))));
        assert_eq!(config.log, log::LevelFilter::Info);
    }

    #[test]
    fn an_agent_needs_none() {
        let config = Config::parse("").expect("valid");
        assert_eq!((config.listen, config.store), (None, None));
        assert_eq!(config.state, PathBuf::from(STATE_DEFAULT));
        assert_eq!(config.backups, [PathBuf::from(BACKUPS_DEFAULT)]);
        assert_eq!(Config::parse("backups = []").expect("valid").backups, Vec::<PathBuf>::new());
    }

    #[test]
    fn the_port_may_be_left_out() {
        for text in ["listen = \"[::]\"", "listen = \"::\""] {
            assert_eq!(Config::parse(text).expect(text).listen.expect(text).port(), adit_wire::DEFAULT_PORT);
        }
        let config =
            Config::parse("address = [\"box.example.org\", \"2001:db8::1\", \"[2001:db8::2]:9\"]").expect("valid");
        let shown: Vec<String> = config.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["box.example.org:11713", "[2001:db8::1]:11713", "[2001:db8::2]:9"]);
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        assert_eq!(refused("lisen = \"[::]:1\""), "unknown key `lisen`; did you mean `listen`?");
        assert_eq!(
            refused("listen = \"[::]:1\"\n[box]\nstorage = \"/b\""),
            "unknown key `storage` in [box]; did you mean `store`?"
        );
        assert_eq!(
            refused("colour = 1"),
            "unknown key `colour`; the keys here are listen, state, name, address, log, backups, console, box, health, rule, plugin"
        );
    }

    #[test]
    fn ipv4_is_refused_with_the_reason() {
        let reason = "adit speaks IPv6 only, because home boxes are reached by IPv6 without port forwarding: use an IPv6 address such as [::]:11713";
        assert_eq!(refused("listen = \"0.0.0.0:1\""), format!("`listen` names the IPv4 address 0.0.0.0:1; {reason}"));
        assert_eq!(refused("address = \"192.0.2.7\""), format!("`address` names the IPv4 address 192.0.2.7; {reason}"));
    }

    #[test]
    fn values_say_what_would_be_right() {
        assert_eq!(
            refused("listen = \"everywhere\""),
            "`listen` is \"everywhere\": write an IPv6 address in brackets and a port, such as \"[::]:11713\""
        );
        assert_eq!(refused("state = \"here\""), "`state` is \"here\": write the whole path, beginning with /");
        assert_eq!(refused("log = \"loud\""), "`log` is \"loud\": write error, warn, info, debug or trace");
        assert_eq!(
            refused("address = \"a b\""),
            "`address` is \"a b\": write \"[2001:db8::1]:11713\" or \"box.example.org:11713\""
        );
        assert_eq!(
            refused("[box]\nstore = \"/b\""),
            "a box needs `listen`: sources dial it; write listen = \"[::]:11713\""
        );
        assert!(refused("listen = 7").contains("invalid type: integer `7`, expected a string"));
        assert!(refused("listen = ").contains("line 1, column 10"));
        assert!(refused("[box]").contains("missing field `store`"));
    }

    #[test]
    fn the_budget_of_keys_holds() {
        assert!(KEYS_TOP.len() + KEYS_BOX.len() + health::KEYS.len() <= KEYS_MAX);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The monitor's one configuration file: raw text in, resolved values out. A file that passes [`Config::parse`] can't be
//! wrong in itself. Agents need not stand in it: a peer file or a token makes one; an `[[agent]]` says what is special of it.

use crate::alerts::Policy;
use crate::channels::{ChannelConfig, RawChannel};
use adit_link::Target;
use adit_peers::files::{self, FileError};
use adit_peers::peers::{PeerName, unhex};
use adit_proto::token::Address;
use adit_wire::ids::PublicKey;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the file is looked for when none is named.
pub const PATH_DEFAULT: &str = "/etc/adit/adit-monitor.toml";
/// The state directory when none is named.
pub const STATE_DEFAULT: &str = "/var/lib/adit-monitor";
/// The socket of the local programs when none is named.
pub const SOCKET_DEFAULT: &str = "/run/adit-monitor/monitor.sock";
/// Where HTTP is served when nothing is said: for a reverse proxy and Prometheus on the same machine.
pub const HTTP_DEFAULT: SocketAddrV6 = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 11_780, 0, 0);
/// Time between two polls of one agent.
pub const INTERVAL_DEFAULT: Duration = Duration::from_secs(60);
/// Shortest time between two polls.
pub const INTERVAL_MIN: Duration = Duration::from_secs(10);
/// Longest time between two polls.
pub const INTERVAL_MAX: Duration = Duration::from_secs(3_600);
/// Agents of one monitor.
pub const AGENTS_MAX: usize = 16_384;
/// Channels of one monitor.
pub const CHANNELS_MAX: usize = 16;
/// Longest configuration file, bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The state directory.
    pub state: PathBuf,
    /// Where agents dial in; none for a monitor that only dials.
    pub listen: Option<SocketAddrV6>,
    /// This monitor's name for its agents.
    pub name: String,
    /// How agents reach it, when its interfaces don't say.
    pub addresses: Vec<Address>,
    /// Time between two polls of one agent.
    pub interval: Duration,
    /// The least level of log lines.
    pub log: log::LevelFilter,
    /// Where HTTP is served; none for the socket alone.
    pub http: Option<SocketAddrV6>,
    /// The socket of local programs.
    pub socket: PathBuf,
    /// Fetched once a minute: an outside service that notices when the monitor itself is dead.
    pub heartbeat: Option<String>,
    /// What is special of agents, by name.
    pub agents: BTreeMap<PeerName, AgentConfig>,
    /// Where messages go.
    pub channels: Vec<ChannelConfig>,
    /// Times of the alerts.
    pub policy: Policy,
}

/// What the file says of one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentConfig {
    /// Its key, when no peer file has it.
    pub key: Option<PublicKey>,
    /// Where to dial it.
    pub addresses: Vec<String>,
    /// Machines of one site are told in one message.
    pub site: String,
    /// Silence after which it is critical, seconds; none for the usual.
    pub silent_after_s: Option<u64>,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("read the configuration")]
    Read(#[from] FileError),
    /// It is no UTF-8.
    #[error("the configuration is not UTF-8 text")]
    Encoding,
    /// It is no TOML, has an unknown key or a value of the wrong type.
    #[error("{0}")]
    Toml(String),
    /// A value that can't be used.
    #[error("`{key}` is {value:?}: {why}")]
    Value {
        /// Which key.
        key: String,
        /// What was written.
        value: String,
        /// What is wrong with it.
        why: String,
    },
}

fn wrong(key: &str, value: impl Into<String>, why: impl std::fmt::Display) -> ConfigError {
    ConfigError::Value { key: key.to_owned(), value: value.into(), why: why.to_string() }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    state: Option<PathBuf>,
    listen: Option<String>,
    name: Option<String>,
    #[serde(default)]
    address: Vec<String>,
    interval: Option<String>,
    log: Option<String>,
    http: Option<String>,
    socket: Option<PathBuf>,
    heartbeat: Option<String>,
    silent_after: Option<String>,
    #[serde(default)]
    agent: Vec<RawAgent>,
    #[serde(default)]
    channel: Vec<RawChannel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAgent {
    name: String,
    key: Option<String>,
    #[serde(default)]
    address: Vec<String>,
    #[serde(default)]
    site: String,
    silent_after: Option<String>,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// What is wrong, for the person who wrote it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes = files::read(path, FILE_BYTES_MAX)?;
        Self::parse(core::str::from_utf8(&bytes).map_err(|_| ConfigError::Encoding)?)
    }

    /// Checks a text.
    ///
    /// # Errors
    /// What is wrong, for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let raw: Raw = toml::from_str(text).map_err(|error| ConfigError::Toml(error.to_string().trim().to_owned()))?;
        let name = raw.name.unwrap_or_else(host_name);
        PeerName::new(&name).map_err(|error| wrong("name", &name, error))?;
        let interval = raw.interval.as_deref().map_or(Ok(INTERVAL_DEFAULT), |text| span("interval", text))?;
        if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
            return Err(wrong("interval", raw.interval.unwrap_or_default(), "between 10s and 1h"));
        }
        let mut policy = Policy::of_interval(interval.as_secs());
        if let Some(text) = &raw.silent_after {
            policy.silent_after_s = span("silent_after", text)?.as_secs();
        }
        let mut agents = BTreeMap::new();
        for agent in raw.agent {
            let (name, agent) = agent.check()?;
            if agents.insert(name.clone(), agent).is_some() {
                return Err(wrong("agent.name", name.as_str(), "it stands there twice"));
            }
        }
        if raw.channel.len() > CHANNELS_MAX {
            return Err(wrong("channel", raw.channel.len().to_string(), format!("at most {CHANNELS_MAX}")));
        }
        let mut channels = Vec::new();
        for channel in raw.channel {
            let channel = channel.check().map_err(|why| wrong("channel", "…", why))?;
            if channels.iter().any(|other: &ChannelConfig| other.name == channel.name) {
                return Err(wrong("channel.name", channel.name, "it stands there twice"));
            }
            channels.push(channel);
        }
        Ok(Self {
            state: raw.state.unwrap_or_else(|| STATE_DEFAULT.into()),
            listen: raw.listen.as_deref().map(|text| socket("listen", text)).transpose()?,
            name,
            addresses: raw.address.iter().map(|text| address("address", text)).collect::<Result<_, _>>()?,
            interval,
            log: level(raw.log.as_deref())?,
            http: match raw.http.as_deref() {
                None => Some(HTTP_DEFAULT),
                Some("off") => None,
                Some(text) => Some(socket("http", text)?),
            },
            socket: raw.socket.unwrap_or_else(|| SOCKET_DEFAULT.into()),
            heartbeat: raw.heartbeat.map(|url| http_url("heartbeat", url)).transpose()?,
            agents,
            channels,
            policy,
        })
    }

    /// The site of an agent; empty when none is named.
    #[must_use]
    pub fn site_of(&self, agent: &str) -> String {
        let named = PeerName::new(agent).ok().and_then(|name| self.agents.get(&name));
        named.map(|agent| agent.site.clone()).unwrap_or_default()
    }

    /// Silence after which an agent is critical, seconds.
    #[must_use]
    pub fn silent_after_s(&self, agent: &str) -> u64 {
        let named = PeerName::new(agent).ok().and_then(|name| self.agents.get(&name));
        named.and_then(|agent| agent.silent_after_s).unwrap_or(self.policy.silent_after_s)
    }
}

impl RawAgent {
    fn check(self) -> Result<(PeerName, AgentConfig), ConfigError> {
        let name = PeerName::new(&self.name).map_err(|error| wrong("agent.name", &self.name, error))?;
        let key = self.key.map(|text| {
            let key = unhex(&text).and_then(|bytes| PublicKey::from_slice(&bytes));
            key.ok_or_else(|| wrong("agent.key", &text, "a key has 64 hexadecimal digits, as `aditd id` prints it"))
        });
        for text in &self.address {
            Target::parse(text).map_err(|error| wrong("agent.address", text, error))?;
        }
        let silent_after_s = self.silent_after.map(|text| span("agent.silent_after", &text)).transpose()?;
        let agent = AgentConfig {
            key: key.transpose()?,
            addresses: self.address,
            site: self.site,
            silent_after_s: silent_after_s.map(|span| span.as_secs()),
        };
        Ok((name, agent))
    }
}

/// A length of time: "90s", "15m", "2h" or "7d".
fn span(key: &str, text: &str) -> Result<Duration, ConfigError> {
    adit_peers::tokens::parse_lifetime(text).ok_or_else(|| wrong(key, text, "write 90s, 15m, 2h or 7d, at most 14d"))
}

fn socket(key: &str, text: &str) -> Result<SocketAddrV6, ConfigError> {
    let address: SocketAddrV6 =
        text.parse().map_err(|_| wrong(key, text, "write an IPv6 address and a port, such as [::]:11714"))?;
    if address.ip().to_ipv4_mapped().is_some() {
        return Err(wrong(key, text, "that is an IPv4 address; adit speaks IPv6 only"));
    }
    Ok(address)
}

fn address(key: &str, text: &str) -> Result<Address, ConfigError> {
    let address = match Target::parse(text).map_err(|error| wrong(key, text, error))? {
        Target::Address(address) => Address::Ip(*address.ip(), address.port()),
        Target::Name(name, port) => Address::Name(name, port),
    };
    if address.is_usable() { Ok(address) } else { Err(wrong(key, text, "nobody could dial it")) }
}

/// Checks that a text is the address of a web service.
pub(crate) fn http_url(key: &str, url: String) -> Result<String, ConfigError> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && !url.contains(char::is_whitespace) => Ok(url),
        _ => Err(wrong(key, url, "write a URL that begins with https:// or http://")),
    }
}

fn level(text: Option<&str>) -> Result<log::LevelFilter, ConfigError> {
    let Some(text) = text else { return Ok(log::LevelFilter::Info) };
    text.parse().map_err(|_| wrong("log", text, "write error, warn, info or debug"))
}

fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    if PeerName::new(&name).is_ok() { name } else { "monitor".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_a_monitor_that_only_dials() {
        let config = Config::parse("").expect("valid");
        assert_eq!((config.listen, config.http, config.interval), (None, Some(HTTP_DEFAULT), INTERVAL_DEFAULT));
        assert_eq!(config.policy.silent_after_s, 300);
    }

    #[test]
    fn a_full_file_is_read() {
        let text = format!(
            "state = \"/s\"\nlisten = \"[::]:11714\"\nname = \"mon\"\naddress = [\"mon.example.org:11714\"]\n\
             interval = \"30s\"\nhttp = \"off\"\nheartbeat = \"https://hc.example.org/x\"\n\
             [[agent]]\nname = \"cellar\"\nkey = \"{}\"\naddress = [\"[2001:db8::1]:11713\"]\nsite = \"berlin\"\nsilent_after = \"1h\"\n\
             [[channel]]\nname = \"chat\"\nkind = \"ntfy\"\nurl = \"https://ntfy.example.org/adit\"\n",
            "ab".repeat(32)
        );
        let config = Config::parse(&text).expect("valid");
        assert_eq!((config.site_of("cellar").as_str(), config.silent_after_s("cellar")), ("berlin", 3_600));
        assert_eq!((config.site_of("web").as_str(), config.silent_after_s("web")), ("", 300));
        assert_eq!((config.http, config.channels.len()), (None, 1));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("listen = \"0.0.0.0:1\"", "listen"),
            ("interval = \"1s\"", "interval"),
            ("colour = 1", "colour"),
            ("heartbeat = \"ftp://x\"", "heartbeat"),
            ("[[agent]]\nname = \"../x\"", "agent.name"),
            ("[[agent]]\nname = \"a\"\n[[agent]]\nname = \"a\"", "twice"),
            ("[[agent]]\nname = \"a\"\naddress = [\"192.0.2.1\"]", "IPv6 only"),
            ("[[agent]]\nname = \"a\"\nkey = \"abc\"", "64 hexadecimal"),
            ("[[channel]]\nname = \"a\"\nkind = \"pigeon\"", "pigeon"),
            ("[[channel]]\nname = \"a\"\nkind = \"ntfy\"\nurl = \"x\"", "https://"),
        ] {
            let error = Config::parse(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}

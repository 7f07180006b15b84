// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a person may say before the first start, and what is kept of it: one TOML file. On the stick it is `adit.toml`; once
//! read it lies with the box's own state, and the copy on the stick loses its one-time token. No lasting secret is in it.

use crate::network::Fixed;
use adit_slots::version::Version;
use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use std::net::Ipv6Addr;

/// Longest file, bytes.
pub(crate) const BYTES_MAX: usize = 32 << 10;
/// Longest host name, bytes (RFC 1035).
const HOSTNAME_BYTES_MAX: usize = 63;
/// Where a box listens unless told otherwise.
const LISTEN_DEFAULT: &str = "[::]:11713";

/// A person's settings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Preseed {
    /// The box's name.
    pub(crate) hostname: Option<String>,
    /// A fixed address with its prefix length; none for what routers announce.
    pub(crate) address: Option<String>,
    /// The router of the fixed address.
    pub(crate) gateway: Option<String>,
    /// Name servers instead of announced ones.
    #[serde(default)]
    pub(crate) dns: Vec<String>,
    /// Names or addresses under which others reach the box.
    #[serde(default)]
    pub(crate) reached_at: Vec<String>,
    /// The admin's key, pinned at the first start.
    pub(crate) admin: Option<Admin>,
    /// The monitor that is dialled at the first start.
    pub(crate) monitor: Option<Monitor>,
    /// Tables that go into the agent's configuration unchanged.
    pub(crate) health: Option<toml::Table>,
    /// Limits of rules, likewise.
    pub(crate) rule: Option<toml::Table>,
    /// Updates are taken from the monitor in this window.
    #[serde(default)]
    pub(crate) plugin: Vec<toml::Table>,
}

/// An admin's public key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    pub(crate) name: String,
    pub(crate) key: String,
}

/// A monitor's one-time token.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Monitor {
    pub(crate) name: String,
    pub(crate) token: String,
}

impl Preseed {
    /// Reads and checks a file.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        ensure!(text.len() <= BYTES_MAX, "the settings are longer than {BYTES_MAX} bytes");
        let read: Self = toml::from_str(text).context("understand the settings")?;
        if let Some(name) = &read.hostname {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
            let well = !name.is_empty() && name.len() <= HOSTNAME_BYTES_MAX && name.chars().all(fits);
            ensure!(well && !name.starts_with('-'), "hostname = {name:?}: use letters, digits and dashes");
        }
        drop(read.fixed()?);
        Ok(read)
    }

    /// The fixed address.
    pub(crate) fn fixed(&self) -> Result<Option<Fixed>> {
        let parse = |key: &str, text: &str| {
            text.parse::<Ipv6Addr>().with_context(|| format!("{key} = {text:?}: write an IPv6 address"))
        };
        let Some(text) = &self.address else {
            ensure!(self.gateway.is_none(), "gateway needs address");
            return Ok(None);
        };
        let (address, bits) = text.split_once('/').with_context(|| format!("address = {text:?}: write ADDRESS/64"))?;
        let prefix_bits = bits.parse().ok().filter(|bits| (1..=128).contains(bits));
        Ok(Some(Fixed {
            address: parse("address", address)?,
            prefix_bits: prefix_bits.with_context(|| format!("address = {text:?}: the prefix has 1 to 128 bits"))?,
            gateway: self.gateway.as_deref().map(|text| parse("gateway", text)).transpose()?,
            name_servers: self.dns.iter().map(|text| parse("dns", text)).collect::<Result<_>>()?,
        }))
    }

    /// The agent's configuration. `store` is there once the data are mounted, `console` where a serial line is the agent's.
    pub(crate) fn agent_config(&self, store: Option<&str>, console: Option<&str>) -> Result<String> {
        let mut table = toml::Table::new();
        let text = |text: &str| toml::Value::String(text.to_owned());
        table.insert("listen".to_owned(), text(LISTEN_DEFAULT));
        if let Some(name) = &self.hostname {
            table.insert("name".to_owned(), text(name));
        }
        if !self.reached_at.is_empty() {
            let names = self.reached_at.iter().map(|name| text(name)).collect();
            table.insert("address".to_owned(), toml::Value::Array(names));
        }
        if let Some(console) = console {
            table.insert("console".to_owned(), text(console));
        }
        if let Some(store) = store {
            let inner = toml::Table::from_iter([("store".to_owned(), text(store))]);
            table.insert("box".to_owned(), toml::Value::Table(inner));
        }
        for (name, value) in [("health", &self.health), ("rule", &self.rule)] {
            table.extend(value.clone().map(|value| (name.to_owned(), toml::Value::Table(value))));
        }
        if !self.plugin.is_empty() {
            let plugins = self.plugin.iter().cloned().map(toml::Value::Table).collect();
            table.insert("plugin".to_owned(), toml::Value::Array(plugins));
        }
        Ok(toml::to_string(&table)?)
    }
}

/// The file without what may be used once only.
pub(crate) fn without_token(text: &str) -> Result<String> {
    let mut table: toml::Table = toml::from_str(text)?;
    table.remove("monitor");
    Ok(toml::to_string(&table)?)
}

/// The name of a box that was given none: stable, and told apart from its neighbour's.
pub(crate) fn default_hostname(key: &[u8]) -> String {
    let hash = blake3::derive_key("adit host name v1", key);
    format!("adit-{:02x}{:02x}", hash[0], hash[1])
}

/// The line that the console shows about a version.
pub(crate) fn title(version: Version) -> String {
    format!("adit {version}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_an_agents_configuration() {
        let text = "hostname = \"cellar\"\naddress = \"2001:db8::5/64\"\ngateway = \"fe80::1\"\ndns = [\"2001:db8::53\"]\n\
            [health]\nshutdown = true\n";
        let read = Preseed::parse(text).unwrap();
        let fixed = read.fixed().unwrap().unwrap();
        assert_eq!((fixed.prefix_bits, fixed.name_servers.len()), (64, 1));
        let config = read.agent_config(Some("/srv/adit/store"), None).unwrap();
        for wanted in ["listen = \"[::]:11713\"", "name = \"cellar\"", "store = \"/srv/adit/store\"", "shutdown = true"]
        {
            assert!(config.contains(wanted), "{config}");
        }
        assert!(!read.agent_config(None, None).unwrap().contains("[box]"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for wrong in [
            "hostname = \"my box\"",
            "hostname = \"-a\"",
            "address = \"192.0.2.1/24\"",
            "address = \"2001:db8::5\"",
            "address = \"2001:db8::5/129\"",
            "gateway = \"fe80::1\"",
            "colour = \"red\"",
            "[admin]\nname = \"anna\"",
        ] {
            assert!(Preseed::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Preseed::parse(&"#".repeat(BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn a_token_does_not_stay() {
        let text = "hostname = \"cellar\"\n[monitor]\nname = \"m\"\ntoken = \"adit1secret\"\n";
        let left = without_token(text).unwrap();
        assert!(left.contains("cellar") && !left.contains("secret"), "{left}");
    }
}
